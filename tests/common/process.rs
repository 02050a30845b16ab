//! A child process whose output goes to files, that is signalled by its id and always reaped.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait_for;

/// A running program of a test.
pub(crate) struct Process {
    child: Child,
    name: String,
    stdout: PathBuf,
    stderr: PathBuf,
    folder: tempfile::TempDir,
}

impl Process {
    /// Starts it with its output in files, where it cannot block the program.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        Self::start_with_input(command, "")
    }

    /// Starts it with something to read on its standard input.
    pub(crate) fn start_with_input(command: &mut Command, input: &str) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let stdin = folder.path().join("stdin");
        fs::write(&stdin, input)?;
        let stdout = folder.path().join("stdout");
        let stderr = folder.path().join("stderr");
        let child = command
            .stdin(File::open(&stdin)?)
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?)
            .spawn()?;
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self {
            child,
            name,
            stdout,
            stderr,
            folder,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far, both streams.
    pub(crate) fn written(&self) -> String {
        self.stdout() + &self.stderr()
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read(&self.stdout)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read(&self.stderr)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Sends a signal to this process and to no other.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        // Not reaped yet, so the id is still its own.
        kill_process(id, signal).expect("a signal to our own child");
    }

    /// Its exit status, when it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child")
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait_for(&what, within, || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // Both fail only for a child that is gone, which is what we want.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let text = self.written();
            let from = text.char_indices().rev().nth(4_000).map_or(0, |(at, _)| at);
            eprintln!(
                "--- the last of what {} wrote:\n{}",
                self.name,
                &text[from..]
            );
        }
    }
}
