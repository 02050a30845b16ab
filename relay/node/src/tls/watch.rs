//! Serves a renewed certificate without being told: looks at the files every few seconds.
//!
//! Looking is enough, and sees what notifications of a directory miss: renewal tools write a new
//! file and rename it, or turn a symlink elsewhere in the path (certbot's `live`), and network file
//! systems notify nobody. A change is taken when the files have stood still for one look, so that a
//! pair which is being written is left to its writer.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::Certificates;

/// How often the files are looked at; a change is served after one to two of these.
pub(crate) const LOOK: Duration = Duration::from_secs(5);

/// The running watch; ends when dropped.
#[derive(Debug)]
pub struct Watch(JoinHandle<()>);

impl Watch {
    /// Looks every `every` from now on, on the runtime that this is called on.
    pub fn start(certificates: &Certificates, every: Duration) -> Self {
        let certificates = certificates.clone();
        Self(tokio::spawn(async move {
            let mut watcher = Watcher::new(certificates);
            let mut looks = interval(every);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                // A file system may take its time.
                let looked = tokio::task::spawn_blocking(move || {
                    watcher.look();
                    watcher
                });
                match looked.await {
                    Ok(back) => watcher = back,
                    Err(_) => return,
                }
            }
        }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What was seen, and what has been done about it.
#[derive(Debug)]
struct Watcher {
    certificates: Certificates,
    /// What the last look saw.
    seen: Option<Pair>,
    /// What was taken, or refused and said so.
    settled: Option<Pair>,
}

/// What tells one state of both files from another.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Pair([(PathBuf, Option<Stamp>); 2]);

/// What changes when a file is written, replaced, or reached through another symlink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watcher {
    fn new(certificates: Certificates) -> Self {
        Self {
            certificates,
            seen: None,
            settled: None,
        }
    }

    fn look(&mut self) {
        let now = self.certificates.files().map(Pair::of);
        let still = now == self.seen;
        self.seen.clone_from(&now);
        if !still || now.is_none() || now == self.settled {
            return;
        }
        self.settled = now;
        if let Err(error) = self.certificates.refresh() {
            warn!(%error, "the TLS certificate's files have changed and cannot be used; the old certificate stays");
        }
    }
}

impl Pair {
    fn of((certificate, key): (PathBuf, PathBuf)) -> Self {
        Self([certificate, key].map(|path| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        }))
    }
}

impl Stamp {
    /// Follows symlinks; nothing where there is no such file.
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config;
    use crate::tls::tests::pair;

    /// A directory as certbot keeps it: `live` is a symlink to what is served.
    struct Store {
        dir: tempfile::TempDir,
        watcher: Watcher,
    }

    impl Store {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            write_pair(&dir.path().join("1"), &pair((2020, 2081)));
            symlink(dir.path().join("1"), dir.path().join("live")).unwrap();
            let tls = config::Tls {
                certificate: Some(dir.path().join("live/c.pem")),
                key: Some(dir.path().join("live/k.pem")),
                acme: None,
            };
            let certificates = Certificates::load(&tls, dir.path(), "test").unwrap();
            let watcher = Watcher::new(certificates);
            Self { dir, watcher }
        }

        fn look_twice(&mut self) {
            self.watcher.look();
            self.watcher.look();
        }

        fn served(&self) -> String {
            self.watcher.certificates.certificate().sha256
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }
    }

    fn write_pair(dir: &Path, (certificate, key): &(String, String)) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("c.pem"), certificate).unwrap();
        fs::write(dir.join("k.pem"), key).unwrap();
    }

    #[test]
    fn a_symlink_that_is_turned_serves_the_new_certificate_at_the_second_look() {
        let mut store = Store::new();
        let first = store.served();
        store.look_twice();
        assert_eq!(store.served(), first);
        write_pair(&store.path("2"), &pair((2020, 2082)));
        symlink(store.path("2"), store.path("live.new")).unwrap();
        fs::rename(store.path("live.new"), store.path("live")).unwrap();
        store.watcher.look();
        assert_eq!(store.served(), first, "it may still be being written");
        store.watcher.look();
        assert_ne!(store.served(), first);
    }

    #[test]
    fn files_that_are_renamed_into_place_one_by_one_are_served_when_they_fit() {
        let mut store = Store::new();
        let first = store.served();
        store.look_twice();
        write_pair(&store.path("new"), &pair((2020, 2082)));
        fs::rename(store.path("new/c.pem"), store.path("1/c.pem")).unwrap();
        store.look_twice();
        let refused = store.watcher.settled.clone();
        store.look_twice();
        assert_eq!(store.served(), first, "the old key does not fit");
        assert_eq!(store.watcher.settled, refused, "and that is said once");
        fs::rename(store.path("new/k.pem"), store.path("1/k.pem")).unwrap();
        store.look_twice();
        assert_ne!(store.served(), first);
    }

    #[test]
    fn files_that_vanish_or_are_cut_short_leave_the_old_certificate() {
        let mut store = Store::new();
        let first = store.served();
        fs::write(store.path("1/c.pem"), "-----BEGIN CERT").unwrap();
        store.look_twice();
        fs::remove_file(store.path("1/k.pem")).unwrap();
        store.look_twice();
        assert_eq!(store.served(), first);
        write_pair(&store.path("1"), &pair((2020, 2082)));
        store.look_twice();
        assert_ne!(store.served(), first);
    }

    #[test]
    fn a_self_signed_certificate_is_not_watched() {
        let dir = tempfile::tempdir().unwrap();
        let none = config::Tls::default();
        let certificates = Certificates::load(&none, dir.path(), "test").unwrap();
        let mut watcher = Watcher::new(certificates);
        fs::remove_file(dir.path().join("self-signed.pem")).unwrap();
        let first = watcher.certificates.certificate();
        watcher.look();
        watcher.look();
        assert_eq!(watcher.certificates.certificate(), first);
        assert_eq!(watcher.settled, None);
    }
}
