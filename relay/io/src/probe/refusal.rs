//! Why `io_uring` cannot run here, with the remedy.

use std::fmt;
use std::io;

use crate::limits::LISTENERS_MAX;
use crate::sockets;

/// Why `io_uring` cannot run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The administrator disabled it, for all (2) or for processes without privilege (1).
    #[error(
        "io_uring is disabled (kernel.io_uring_disabled={0}); set it to 0, or use engine = \"mmsg\""
    )]
    Disabled(u8),
    /// A filter or a security module forbids it.
    #[error(
        "io_uring is forbidden to this process ({}: a seccomp filter, as containers have by default); \
         allow io_uring_setup, io_uring_enter and io_uring_register, or use engine = \"mmsg\"",
        errno_name(*.0)
    )]
    Forbidden(i32),
    /// The kernel was built without it, or a sandbox pretends so.
    #[error(
        "this kernel ({0}) has no io_uring, or a sandbox hides it (ENOSYS); use engine = \"mmsg\""
    )]
    Missing(KernelVersion),
    /// It lacks multishot receives or rings of buffers.
    #[error("io_uring of this kernel ({0}) is too old: Linux 6.0 is needed; use engine = \"mmsg\"")]
    TooOld(KernelVersion),
    /// There was no memory for it.
    #[error(
        "io_uring got no memory (ENOMEM); raise the limit of locked memory (RLIMIT_MEMLOCK, now {0} KiB), \
         or use engine = \"mmsg\""
    )]
    NoMemory(u64),
    /// The table of its files does not fit under the limit.
    #[error(
        "io_uring needs more file descriptors than {0}, at least {min}; raise the limit of open files \
         (RLIMIT_NOFILE)",
        min = LISTENERS_MAX + 1
    )]
    NoDescriptors(u64),
    /// It can be set up, but packets do not pass.
    #[error(
        "io_uring can be set up, but packets do not pass on the loopback ({0}); use engine = \"mmsg\""
    )]
    Misbehaves(io::Error),
    /// Anything else that the kernel answered.
    #[error("io_uring cannot be set up ({0}); use engine = \"mmsg\"")]
    Other(io::Error),
}

/// The release of the running kernel.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct KernelVersion {
    /// The 6 of 6.18.
    pub major: u32,
    /// The 18 of 6.18.
    pub minor: u32,
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linux {}.{}", self.major, self.minor)
    }
}

impl KernelVersion {
    /// The running kernel's; 0.0 when it does not say.
    #[must_use]
    pub fn running() -> Self {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self::parse(&release)
    }

    fn parse(release: &str) -> Self {
        let mut numbers = release
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse().unwrap_or(0));
        Self {
            major: numbers.next().unwrap_or(0),
            minor: numbers.next().unwrap_or(0),
        }
    }
}

/// What an error of setting up the engine means here.
pub(super) fn of(error: io::Error) -> Refusal {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    explain(error, disabled, KernelVersion::running())
}

fn explain(error: io::Error, disabled: u8, kernel: KernelVersion) -> Refusal {
    let Some(errno) = error.raw_os_error() else {
        return Refusal::TooOld(kernel);
    };
    match errno {
        libc::EPERM | libc::EACCES if disabled > 0 => Refusal::Disabled(disabled),
        libc::EPERM | libc::EACCES => Refusal::Forbidden(errno),
        libc::ENOSYS => Refusal::Missing(kernel),
        libc::EINVAL | libc::EOPNOTSUPP => Refusal::TooOld(kernel),
        libc::ENOMEM => Refusal::NoMemory(sockets::locked_memory_limit() / 1_024),
        libc::EMFILE | libc::ENFILE => {
            Refusal::NoDescriptors(sockets::descriptor_limit().map_or(0, |limit| limit.rlim_cur))
        }
        _ => Refusal::Other(error),
    }
}

fn errno_name(errno: i32) -> &'static str {
    if errno == libc::EACCES {
        "EACCES"
    } else {
        "EPERM"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(errno: i32, disabled: u8) -> String {
        let kernel = KernelVersion::parse("5.15.0-91-generic");
        explain(io::Error::from_raw_os_error(errno), disabled, kernel).to_string()
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        assert_eq!(
            sentence(libc::EPERM, 2),
            "io_uring is disabled (kernel.io_uring_disabled=2); set it to 0, or use engine = \"mmsg\""
        );
        assert!(sentence(libc::EPERM, 0).contains("EPERM: a seccomp filter"));
        assert!(sentence(libc::ENOSYS, 0).contains("Linux 5.15"));
        assert!(sentence(libc::EINVAL, 0).contains("Linux 6.0 is needed"));
        assert!(sentence(libc::ENOMEM, 0).contains("RLIMIT_MEMLOCK"));
        assert!(sentence(libc::EMFILE, 0).contains("RLIMIT_NOFILE"));
    }

    #[test]
    fn releases_are_read_as_far_as_they_go() {
        assert_eq!(
            KernelVersion::parse("6.18.44-fc"),
            KernelVersion {
                major: 6,
                minor: 18
            }
        );
        assert_eq!(
            KernelVersion::parse(""),
            KernelVersion { major: 0, minor: 0 }
        );
        assert!(KernelVersion::parse("6.1") > KernelVersion::parse("5.19"));
    }
}
