//! Files with keys in them: whole or not at all, readable by their owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Makes a directory that its owner only may look into, and those above it.
///
/// # Errors
/// When it is not there and cannot be made.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Writes a file unless there is one. Whoever comes second keeps the first one's.
///
/// # Errors
/// When it cannot be written.
pub fn create(path: &Path, text: &[u8]) -> io::Result<()> {
    with_draft(path, text, |draft| match fs::hard_link(draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    })?;
    sync_name(path)
}

/// Writes a file, in place of one that may be there.
///
/// # Errors
/// When it cannot be written; the one that was there is still whole.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    with_draft(path, text, |draft| fs::rename(draft, path))?;
    sync_name(path)
}

/// A new name is on the disk once its directory is.
fn sync_name(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => File::open("."),
        Some(dir) => File::open(dir),
        None => return Ok(()),
    }?
    .sync_all()
}

fn with_draft(
    path: &Path,
    text: &[u8],
    settle: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let draft = draft_path(path);
    let settled = write(&draft, text).and_then(|()| settle(&draft));
    // A draft that was renamed is gone already.
    let _ = fs::remove_file(&draft);
    settled
}

fn write(draft: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(text)?;
    file.sync_all()
}

fn draft_path(path: &Path) -> PathBuf {
    path.with_extension(format!(
        "{}.{:08x}",
        std::process::id(),
        rand::random::<u32>()
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_first_file_stays_where_one_is_created_and_goes_where_it_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/key.pem");
        make_dir(path.parent().unwrap()).unwrap();
        create(&path, b"one").unwrap();
        create(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "no drafts are left"
        );
    }
}
