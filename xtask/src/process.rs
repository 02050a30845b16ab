//! What every task needs: where the repository is, how a command is run, how a task ends.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::{Metadata, MetadataCommand};

/// How a task ends when it does not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The caller asked for something that does not exist: exit status 2.
    Usage(String),
    /// The task ran and found something wrong: exit status 1.
    Failed(String),
}

/// The result of a task.
pub(crate) type Outcome = Result<(), Failure>;

/// Shortens the common failure.
pub(crate) fn failed(message: impl Into<String>) -> Failure {
    Failure::Failed(message.into())
}

/// The repository's root: cargo says at run time where this package lies.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_path_buf)
}

/// `cargo`, the one that started us where there is one.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command with our own standard streams; anything but exit status 0 is a failure.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let name = describe(command);
    let status = command
        .status()
        .map_err(|error| failed(format!("{name}: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(failed(format!("{name}: {status}")))
    }
}

/// Runs a command and returns what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let name = describe(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(format!("{name}: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!("{name}: {}", output.status)));
    }
    String::from_utf8(output.stdout).map_err(|_| failed(format!("{name}: its output is not UTF-8")))
}

/// What `cargo metadata` says of the workspace and, with `dependencies`, of all that it builds on
/// for this machine.
pub(crate) fn metadata(dependencies: bool) -> Result<Metadata, Failure> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml"));
    if dependencies {
        // Without a platform, cargo would fetch the manifests of every other one.
        command.other_options(["--filter-platform".to_owned(), host_triple()?]);
    } else {
        command.no_deps();
    }
    command
        .exec()
        .map_err(|error| failed(format!("cargo metadata: {error}")))
}

/// The file of that name in `PATH`, where administrators' tools or Go's own lie, or where `go install`
/// puts programs, if there is one.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/go/bin"].map(PathBuf::from))
        .chain(go_folders())
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Where `go install` puts programs, without asking Go.
fn go_folders() -> impl Iterator<Item = PathBuf> {
    let folder = |name, below: &str| Some(PathBuf::from(std::env::var_os(name)?).join(below));
    let folders = [
        folder("GOBIN", ""),
        folder("GOPATH", "bin"),
        folder("HOME", "go/bin"),
    ];
    folders.into_iter().flatten()
}

/// Whether this process may do what only the administrator may.
pub(crate) fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn host_triple() -> Result<String, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output(Command::new(rustc).arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| failed("rustc -vV names no host"))
}

fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
