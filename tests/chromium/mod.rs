//! Debian's Chromium, headless: a page of the test's own opened in a profile of its own.

pub(crate) mod site;
pub(crate) mod trust;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::common::SOON;
use crate::common::process::Process;
use crate::common::tools::tool;

/// What every start has in common.
const ARGUMENTS: [&str; 12] = [
    "--headless",
    "--disable-gpu",
    // Root has no sandbox to offer, and the only page is ours.
    "--no-sandbox",
    "--no-first-run",
    // Nothing but the page talks to anybody.
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-breakpad",
    // A test picture instead of a camera, and nobody is asked.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
];

/// The browser, or nothing after having said that `test` is skipped without it.
pub(crate) fn chromium(test: &str) -> Option<PathBuf> {
    tool(test, "chromium", "chromium")
}

/// A home folder that the browser has for itself: profile, caches, trusted authorities.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A running browser with one page; it ends when this is dropped.
pub(crate) struct Browser {
    process: Process,
}

impl Browser {
    pub(crate) fn open(program: &Path, home: &Home, url: &str) -> Self {
        let mut command = Command::new(program);
        command
            .args(ARGUMENTS)
            .arg(format!(
                "--user-data-dir={}",
                home.path().join("profile").display()
            ))
            .arg(url)
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_DATA_HOME")
            // A group of its own, so that its many processes can be ended together.
            .process_group(0);
        Self {
            process: Process::start(&mut command).expect("the browser"),
        }
    }

    /// Ends it as a desktop does: it ends its own processes first.
    pub(crate) fn close(mut self) {
        self.process.signal(Signal::TERM);
        self.process.wait(SOON);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Not reaped yet, so the id is still its own, and its group's.
        let group = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        if let (None, Some(group)) = (self.process.ended(), group) {
            // It fails only for a group that has just gone, which is what we want.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
