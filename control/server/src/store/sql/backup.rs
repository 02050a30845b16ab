//! A copy of a SQLite database, taken while the service runs.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};

use super::open::At;
use super::seal::{self, Sealer};
use crate::store::{OpenError, StoreConfig};

/// How far the numbers of orders and maps are ahead in a copy: more than a service counts between a
/// backup and its loss. Nodes and devices follow no older ones than they have seen.
const AHEAD: i64 = 1_000_000;

/// A backup that was taken.
#[derive(Clone, Debug)]
pub struct Backup {
    /// What was copied.
    pub database: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The key that the secrets in it are encrypted with, and which is not in it.
    pub key_file: PathBuf,
}

/// Why there is no backup: sentences for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// It is PostgreSQL's to do.
    #[error(
        "the database is PostgreSQL, whose own tools take backups of it: `pg_dump --format=custom \
         --file=FILE` with the URL of database.url; keep {0} elsewhere too, since the secrets in the \
         database are encrypted with it"
    )]
    Postgres(PathBuf),
    /// There is no database.
    #[error("there is no database at {0}; name the service's configuration with --config or --set")]
    Missing(PathBuf),
    /// There is a file already.
    #[error("{0} is there already; choose another name")]
    Exists(PathBuf),
    /// The file cannot be written.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] std::io::Error),
    /// The database, or its key.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SQLite.
    #[error("the database cannot be copied: {0}")]
    Copy(#[from] sqlx::Error),
    /// The copy is damaged, and so is most likely what was copied.
    #[error("the copy is damaged, and with it most likely the database: {0}")]
    Damaged(String),
}

/// Copies a SQLite database into a new file, as of one moment; the service may run meanwhile.
///
/// # Errors
/// [`BackupError`]; nothing is left of what was not finished.
pub async fn backup(config: &StoreConfig, to: &Path) -> Result<Backup, BackupError> {
    let At::Sqlite(database) = config.at()? else {
        return Err(BackupError::Postgres(config.key_file.clone()));
    };
    if !database.exists() {
        return Err(BackupError::Missing(database));
    }
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let draft = draft_of(to);
    let taken = take(&database, &config.key_file, &draft, to).await;
    let _gone_or_never_there = std::fs::remove_file(&draft);
    let bytes = taken?;
    Ok(Backup {
        database,
        bytes,
        key_file: config.key_file.clone(),
    })
}

/// Beside the file, under a name that nobody takes for a whole one.
fn draft_of(to: &Path) -> PathBuf {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    to.with_file_name(format!(".{name}.{:016x}", rand::random::<u64>()))
}

async fn take(
    database: &Path,
    key_file: &Path,
    draft: &Path,
    to: &Path,
) -> Result<u64, BackupError> {
    let file = |error| BackupError::File(to.to_owned(), error);
    // For its owner only, before anything is in it; SQLite copies into an empty file.
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft);
    made.map_err(file)?;
    let options = SqliteConnectOptions::new()
        .filename(database)
        .read_only(true);
    let mut connection = options.connect().await?;
    sqlx::query("VACUUM INTO $1")
        .bind(draft.to_string_lossy().into_owned())
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    let options = SqliteConnectOptions::new()
        .filename(draft)
        .journal_mode(SqliteJournalMode::Delete);
    let mut copy = options.connect().await?;
    finish(&mut copy, key_file).await?;
    copy.close().await?;
    let written = File::open(draft).and_then(|written| {
        written.sync_all()?;
        Ok(written.metadata()?.len())
    });
    let bytes = written.map_err(file)?;
    // A name that has come meanwhile is nobody's to replace.
    match std::fs::hard_link(draft, to) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(BackupError::Exists(to.to_owned()));
        }
        linked => linked.map_err(file)?,
    }
    let folder = to.parent().filter(|folder| *folder != Path::new(""));
    let folder = File::open(folder.unwrap_or(Path::new(".")));
    folder.and_then(|folder| folder.sync_all()).map_err(file)?;
    Ok(bytes)
}

/// Makes sure that the copy is whole and that its secrets can be read, and sets its numbers ahead.
async fn finish(copy: &mut SqliteConnection, key_file: &Path) -> Result<(), BackupError> {
    let said: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(&mut *copy)
        .await?;
    if said != "ok" {
        return Err(BackupError::Damaged(said));
    }
    let check: Option<Vec<u8>> = sqlx::query_scalar("SELECT content FROM meta WHERE name = $1")
        .bind(seal::CHECK)
        .fetch_optional(&mut *copy)
        .await?;
    if let Some(check) = check {
        let sealer = Sealer::read(key_file)?;
        let sealer = sealer.ok_or_else(|| OpenError::KeyFileMissing(key_file.to_owned()))?;
        if sealer.try_open(seal::CHECK, &check) != Some(seal::check_text()) {
            return Err(OpenError::KeyFileWrong(key_file.to_owned()).into());
        }
    }
    // But for places of overlay addresses, which are given out one after the other.
    sqlx::query("UPDATE versions SET version = version + $1 WHERE name NOT LIKE 'place %'")
        .bind(AHEAD)
        .execute(&mut *copy)
        .await?;
    Ok(())
}
