//! The project's own tasks: `cargo xtask test | soak | tidy | docs | bench | lab | tools | ci`.
//!
//! Plain Rust with three dependencies, so that `cargo xtask` answers within seconds of a fresh
//! clone. Every task prints what it does and ends with exit status 0 (done), 1 (failed) or
//! 2 (wrong usage).
#![forbid(unsafe_code)]

mod bench;
mod ci;
mod docs;
mod lab;
mod process;
mod soak;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use process::{Failure, Outcome};

const HELP: &str = "\
The project's own tasks.

Usage: cargo xtask TASK [OPTIONS]

Tasks:
  test    everything that the README promises: tidy, then every test of the workspace
  soak    an hour of sessions that come and go, after which nothing may be left
  tidy    the rules of the house: arrows between crates, unsafe, licences, documents
  docs    regenerates the documents that come from the code
  bench   builds the command as it is shipped and runs `sterna bench …`
  lab     a small network with a NAT in namespaces, and a shell in it
  tools   which optional tools of the tests are here; `--install` brings the missing ones
  ci      what CI runs: .ci/run

Each task has --help. Example: cargo xtask test
";

/// One task: its name, its help and its entry point.
struct Task {
    name: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Outcome,
}

const TASKS: [Task; 8] = [
    Task {
        name: "test",
        help: test::HELP,
        run: test::run,
    },
    Task {
        name: "soak",
        help: soak::HELP,
        run: soak::run,
    },
    Task {
        name: "tidy",
        help: tidy::HELP,
        run: tidy::run,
    },
    Task {
        name: "docs",
        help: docs::HELP,
        run: docs::run,
    },
    Task {
        name: "bench",
        help: bench::HELP,
        run: bench::run,
    },
    Task {
        name: "lab",
        help: lab::HELP,
        run: lab::run,
    },
    Task {
        name: "tools",
        help: tools::HELP,
        run: tools::run,
    },
    Task {
        name: "ci",
        help: ci::HELP,
        run: ci::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            eprintln!("cargo xtask: {message}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(message)) => {
            eprintln!("cargo xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Outcome {
    let Some((name, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Err(Failure::Usage("which task?".to_owned()));
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{HELP}");
        return Ok(());
    }
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        return Err(Failure::Usage(format!(
            "no task {name:?}; see cargo xtask --help"
        )));
    };
    // `bench` hands everything behind its first word on, so only a leading --help is its own.
    if rest
        .first()
        .is_some_and(|first| first == "--help" || first == "-h")
    {
        print!("{}", task.help);
        return Ok(());
    }
    (task.run)(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_in_the_overview_and_has_a_help_with_an_example() {
        for task in &TASKS {
            assert!(
                HELP.contains(&format!("\n  {} ", task.name)),
                "{}",
                task.name
            );
            assert!(
                task.help
                    .contains(&format!("Usage: cargo xtask {}", task.name)),
                "{}",
                task.name
            );
            assert!(task.help.contains("Example"), "{}", task.name);
        }
    }

    #[test]
    fn an_unknown_task_is_wrong_usage() {
        assert!(matches!(
            dispatch(&["tset".to_owned()]),
            Err(Failure::Usage(_))
        ));
    }
}
