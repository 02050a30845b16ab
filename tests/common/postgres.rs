//! A PostgreSQL server of a test's own, from Debian's package: in a temporary folder, on a UNIX
//! socket, on no port. It ends with the value.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Whom the server runs as where we are root, which it refuses to run as: Debian's `nobody`.
const NOBODY: u32 = 65_534;

/// A running server, or one that was stopped for a while.
pub(crate) struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    running: Option<Child>,
    /// Whether what was committed would survive the power failing.
    durable: bool,
}

impl Postgres {
    /// Makes a server and waits until it takes connections; else why there can be none here.
    pub(crate) fn start() -> Result<Self, String> {
        Self::start_as(false)
    }

    /// The same, as careful with what was committed as a server that people depend on: to measure.
    pub(crate) fn start_durable() -> Result<Self, String> {
        Self::start_as(true)
    }

    fn start_as(durable: bool) -> Result<Self, String> {
        let programs = programs().ok_or("PostgreSQL is missing; apt-get install postgresql")?;
        let folder = tempfile::Builder::new()
            .prefix("sterna-pg-")
            .tempdir_in("/tmp")
            .map_err(|error| format!("/tmp: {error}"))?;
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder.path(), mode).map_err(|error| error.to_string())?;
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).map_err(|error| error.to_string())?;
        }
        let made = as_nobody(&programs.join("initdb"))
            .arg("--pgdata")
            .arg(folder.path().join("data"))
            .args(["--username=sterna", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync"])
            .current_dir(folder.path())
            .output()
            .map_err(|error| format!("initdb: {error}"))?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            return Err(format!("initdb: {}", said.trim()));
        }
        let mut server = Self {
            folder,
            programs,
            running: None,
            durable,
        };
        server.resume()?;
        Ok(server)
    }

    /// Starts it again after [`Postgres::stop`].
    pub(crate) fn resume(&mut self) -> Result<(), String> {
        let folder = self.folder.path();
        // No test lets the power fail, and what the system has taken survives everything else.
        let careless: &[&str] = if self.durable {
            &[]
        } else {
            &["-c", "fsync=off", "-c", "full_page_writes=off"]
        };
        let mut child = as_nobody(&self.programs.join("postgres"))
            .arg("-D")
            .arg(folder.join("data"))
            .arg("-k")
            .arg(folder)
            .args(["-c", "listen_addresses=", "-c", "max_connections=200"])
            .args(["-c", "shared_buffers=16MB"])
            .args(careless)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("postgres: {error}"))?;
        let log = child.stderr.take().ok_or("no log")?;
        self.running = Some(child);
        let mut said = String::new();
        let mut lines = BufReader::new(log).lines();
        for line in lines.by_ref().map_while(Result::ok) {
            if line.contains("ready to accept connections") {
                // What it says from here on nobody reads, and it must not wait for that.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(());
            }
            said.push_str(&line);
            said.push('\n');
        }
        Err(format!("postgres ended: {}", said.trim()))
    }

    /// Ends it at once; connections break. What was committed stays.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            // SIGQUIT: its immediate shutdown, which leaves no shared memory behind.
            let id = child.id().to_string();
            let asked = Command::new("kill").args(["-QUIT", &id]).status();
            if !asked.is_ok_and(|status| status.success()) {
                let _ended_already = child.kill();
            }
            let _status = child.wait();
        }
    }

    /// Makes an empty database.
    pub(crate) fn database(&self, name: &str) -> Result<String, String> {
        let made = Command::new(self.programs.join("createdb"))
            .arg("--host")
            .arg(self.folder.path())
            .args(["--username=sterna", "--no-password", name])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("createdb: {error}"))?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).trim().to_owned());
        }
        let folder = self.folder.path().display().to_string();
        Ok(format!(
            "postgres://sterna@localhost/{name}?host={}",
            folder.replace('/', "%2F")
        ))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where Debian keeps the server's programs, the newest version's.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, programs)| programs.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().map(|(_, programs)| programs)
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
