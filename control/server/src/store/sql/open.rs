//! Opening a store: URLs, migrations, and what is refused.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqlSafeStr as _};

use super::db::{Db, values};
use super::listen;
use super::nonces::Memory;
use super::seal::{self, Sealer};
use super::{SqlStore, Teller};
use crate::store::{OpenError, SharedStore};

/// How long SQLite waits for a lock, which only a backup or a tool holds beside us.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long one waits for a connection before the database counts as away.
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(2);
/// Connections that read from SQLite.
const SQLITE_READERS: u32 = 4;
/// sqlx's own table of what was applied.
const MIGRATIONS_TABLE: &str = "_sqlx_migrations";

/// All migrations, oldest first: version, name, SQLite's, PostgreSQL's. One that was published never
/// changes.
const MIGRATIONS: [(i64, &str, &str, &str); 1] = [(
    1,
    "begin",
    include_str!("../../../migrations/sqlite/0001_begin.sql"),
    include_str!("../../../migrations/postgres/0001_begin.sql"),
)];

/// Where the store is.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `sqlite:PATH` or `postgres://USER@HOST/DATABASE`.
    pub url: String,
    /// The file with the key that secrets in the database are encrypted with; made where there is
    /// neither the file nor a secret. All replicas need the same.
    pub key_file: PathBuf,
    /// Connections to PostgreSQL at most, one of which listens.
    pub connections_max: u32,
}

impl StoreConfig {
    /// Where everything is beside each other in a folder.
    #[must_use]
    pub fn new(url: impl Into<String>, data_dir: &Path) -> Self {
        Self {
            url: url.into(),
            key_file: data_dir.join("control.key"),
            connections_max: 16,
        }
    }

    pub(super) fn at(&self) -> Result<At, OpenError> {
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.starts_with(':') {
                return Err(OpenError::Url);
            }
            return Ok(At::Sqlite(PathBuf::from(path)));
        }
        if ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| self.url.starts_with(scheme))
        {
            let options: PgConnectOptions = self
                .url
                .parse()
                .map_err(|error: sqlx::Error| OpenError::PostgresUrl(error.to_string()))?;
            return Ok(At::Postgres(Box::new(options)));
        }
        Err(OpenError::Url)
    }
}

/// A database, by its URL.
pub(super) enum At {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

/// A migration that a database has yet to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingMigration {
    /// Its number.
    pub version: i64,
    /// What it is about.
    pub name: &'static str,
}

/// Opens a store and brings its tables up to date.
///
/// # Errors
/// What the operator has to do first.
pub async fn open(config: &StoreConfig) -> Result<SharedStore, OpenError> {
    let teller = Teller::new();
    let (db, alone, listening) = match config.at()? {
        At::Sqlite(path) => {
            let alone = prepare_file(&path)?;
            let db = open_sqlite(&path).await?;
            (db, Some(alone), None)
        }
        At::Postgres(options) => {
            let pool = open_postgres(*options, config.connections_max).await?;
            let listening = listen::listen(pool.clone(), teller.clone());
            let listening = listening.await.map_err(unreachable)?;
            (Db::Postgres(pool), None, Some(listening))
        }
    };
    let sealer = match open_sealer(&db, &config.key_file).await {
        Ok(sealer) => sealer,
        Err(error) => {
            db.close().await;
            return Err(error);
        }
    };
    Ok(Arc::new(SqlStore {
        nonces: Memory::new(db.clone()),
        db,
        teller,
        sealer,
        listening,
        _alone: alone,
    }))
}

/// The migrations that a database has yet to get, without changing anything: all of them for one
/// that is not there.
///
/// # Errors
/// As [`open`]: one of a newer version is refused here as well.
pub async fn pending_migrations(config: &StoreConfig) -> Result<Vec<PendingMigration>, OpenError> {
    let applied = match config.at()? {
        At::Sqlite(path) if !path.exists() => Vec::new(),
        At::Sqlite(path) => {
            let options = SqliteConnectOptions::new().filename(&path).read_only(true);
            let mut connection = options.connect().await.map_err(unreachable)?;
            let sql = "SELECT count(*) FROM sqlite_master WHERE name = $1";
            let tables: i64 = sqlx::query_scalar(sql)
                .bind(MIGRATIONS_TABLE)
                .fetch_one(&mut connection)
                .await
                .map_err(unreachable)?;
            let applied = applied(&mut connection, tables).await?;
            connection.close().await.map_err(unreachable)?;
            applied
        }
        At::Postgres(options) => {
            let connect = tokio::time::timeout(CONNECTION_WAIT_MAX, options.connect());
            let mut connection = connect
                .await
                .map_err(|_| OpenError::Unreachable("it does not answer".to_owned()))?
                .map_err(unreachable)?;
            let sql = "SELECT count(*) FROM pg_tables WHERE tablename = $1 \
                AND schemaname = current_schema()";
            let tables: i64 = sqlx::query_scalar(sql)
                .bind(MIGRATIONS_TABLE)
                .fetch_one(&mut connection)
                .await
                .map_err(unreachable)?;
            let applied = applied(&mut connection, tables).await?;
            connection.close().await.map_err(unreachable)?;
            applied
        }
    };
    let known = MIGRATIONS.map(|(version, ..)| version);
    let newest = known.into_iter().max().unwrap_or(0);
    if let Some(&found) = applied.iter().find(|version| !known.contains(version)) {
        return Err(OpenError::Newer {
            found,
            known: newest,
        });
    }
    Ok(MIGRATIONS
        .iter()
        .filter(|(version, ..)| !applied.contains(version))
        .map(|&(version, name, ..)| PendingMigration { version, name })
        .collect())
}

async fn applied<C: Migrate>(connection: &mut C, tables: i64) -> Result<Vec<i64>, OpenError> {
    if tables == 0 {
        return Ok(Vec::new());
    }
    let applied = connection.list_applied_migrations(MIGRATIONS_TABLE).await;
    let applied = applied.map_err(migration_failed)?;
    Ok(applied.into_iter().map(|one| one.version).collect())
}

async fn open_sqlite(path: &Path) -> Result<Db, OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // Each commit is on the disk before it is answered.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_WAIT_MAX);
    let pool = || {
        SqlitePoolOptions::new()
            .acquire_timeout(BUSY_WAIT_MAX)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
    };
    let write = pool()
        .max_connections(1)
        .connect_with(options.clone())
        .await
        .map_err(unreachable)?;
    let migrator = migrator(|(_, _, sqlite, _)| sqlite);
    migrator.run(&write).await.map_err(migration_failed)?;
    let read = pool()
        .max_connections(SQLITE_READERS)
        .connect_with(options.read_only(true))
        .await
        .map_err(unreachable)?;
    Ok(Db::Sqlite { write, read })
}

async fn open_postgres(
    options: PgConnectOptions,
    connections_max: u32,
) -> Result<sqlx::PgPool, OpenError> {
    let options = options.application_name("sterna-control").options([
        // What hangs there must not hold locks for longer than anybody waits for it here.
        ("statement_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "10s"),
        // That a table of migrations is there already is no news.
        ("client_min_messages", "warning"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(connections_max.max(2))
        .acquire_timeout(CONNECTION_WAIT_MAX)
        .connect_with(options)
        .await
        .map_err(unreachable)?;
    let migrator = migrator(|(_, _, _, postgres)| postgres);
    migrator.run(&pool).await.map_err(migration_failed)?;
    Ok(pool)
}

fn migrator(
    sql: impl Fn((i64, &'static str, &'static str, &'static str)) -> &'static str,
) -> Migrator {
    let migrations = MIGRATIONS.map(|migration| {
        let (version, name, ..) = migration;
        Migration::new(
            version,
            name.into(),
            MigrationType::Simple,
            sql(migration).into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(migrations.to_vec())
}

fn migration_failed(error: MigrateError) -> OpenError {
    let known = MIGRATIONS.map(|(version, ..)| version);
    let known = known.into_iter().max().unwrap_or(0);
    match error {
        MigrateError::VersionMissing(found) if found > known => OpenError::Newer { found, known },
        MigrateError::VersionMissing(version)
        | MigrateError::VersionMismatch(version)
        | MigrateError::Dirty(version) => OpenError::Diverged(version),
        other => OpenError::Unreachable(other.to_string()),
    }
}

#[allow(clippy::needless_pass_by_value)]
fn unreachable(error: sqlx::Error) -> OpenError {
    OpenError::Unreachable(error.to_string())
}

/// The lock of a process that alone uses a SQLite file: its snapshot in memory would not see what
/// another one writes.
pub(super) struct Alone {
    _locked: File,
}

/// Makes folder and file where they are not there, for their owner only, and locks the file.
fn prepare_file(path: &Path) -> Result<Alone, OpenError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| OpenError::File { path, error }
    };
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    if let Some(folder) = folder {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(failed(folder))?;
    }
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(path)(error)),
    }
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let lock = PathBuf::from(lock);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock)
        .map_err(failed(&lock))?;
    match file.try_lock() {
        Ok(()) => Ok(Alone { _locked: file }),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(&lock)(error)),
    }
}

/// The key of the file, proved to be the one that the database's secrets are encrypted with.
async fn open_sealer(db: &Db, key_file: &Path) -> Result<Sealer, OpenError> {
    let away = |error: crate::store::StoreError| OpenError::Unreachable(error.to_string());
    let wrong = || OpenError::KeyFileWrong(key_file.to_owned());
    let find = "SELECT content FROM meta WHERE name = $1";
    let sealer = Sealer::read(key_file)?;
    let mut asked = db.ask().await.map_err(away)?;
    let there = asked
        .row(find, values![seal::CHECK])
        .await
        .map_err(away)?
        .is_some();
    drop(asked);
    let sealer = match sealer {
        Some(sealer) => sealer,
        None if there => return Err(OpenError::KeyFileMissing(key_file.to_owned())),
        None => Sealer::make(key_file)?,
    };
    let mut change = db.change().await.map_err(away)?;
    // Another replica may begin at the same time: the first one's check value stays.
    let sql = "INSERT INTO meta (name, content) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    let check = sealer.seal(seal::CHECK, &seal::check_text());
    let done = change.execute(sql, values![seal::CHECK, check]).await;
    done.map_err(|error| away(error.into()))?;
    let row = change.row(find, values![seal::CHECK]).await.map_err(away)?;
    let content = row.ok_or_else(wrong)?.bytes("content").map_err(away)?;
    let opened = sealer.try_open(seal::CHECK, &content);
    if opened != Some(seal::check_text()) {
        return Err(wrong());
    }
    change.commit().await.map_err(away)?;
    Ok(sealer)
}
