use clap::Parser;
#[derive(Parser)]
struct A {
    #[command(subcommand)]
    c: sterna_bench::BenchCommand,
}
fn main() -> std::process::ExitCode {
    A::parse().c.run()
}
