//! The two databases behind one way to ask them: all that differs between them is here, in
//! [`open`](super::open) and in [`listen`](super::listen).
//!
//! Both take `$1`, `RETURNING` and `ON CONFLICT`, and all columns are 64-bit integers, texts or
//! bytes, so that each query is written once.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr as _, SqlStr, Sqlite, Transaction};

use super::SqlStore;
use super::listen::notify;
pub(super) use super::value::{Row, Value, corrupt, json, values, word};
use crate::store::feed::{Announcement, Feed, Teller, Topic};
use crate::store::{Result, StoreError};

/// How long one statement may take before the database counts as away.
const STATEMENT_WAIT_MAX: Duration = Duration::from_secs(5);

/// The channel of PostgreSQL on which all replicas are told.
pub(super) const CHANNEL: &str = "sterna_control";

/// The connections.
#[derive(Clone, Debug)]
pub(super) enum Db {
    /// One connection writes, since SQLite has one writer; several read what is committed.
    Sqlite { write: SqlitePool, read: SqlitePool },
    /// One pool for all.
    Postgres(PgPool),
}

/// A connection, in a transaction or not.
pub(super) struct Asked {
    inner: Inner,
}

enum Inner {
    Sqlite(PoolConnection<Sqlite>),
    SqliteTx(Transaction<'static, Sqlite>),
    Postgres(PoolConnection<Postgres>),
    PostgresTx(Transaction<'static, Postgres>),
}

impl Asked {
    /// Runs a statement; the answer is the number of rows that it changed.
    pub(super) async fn execute(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<u64, Failed> {
        self.run(sql.into_sql_str(), values).await
    }

    /// Runs a statement that was made of constant pieces.
    pub(super) async fn execute_made(
        &mut self,
        sql: String,
        values: Vec<Value>,
    ) -> Result<u64, Failed> {
        self.run(AssertSqlSafe(sql).into_sql_str(), values).await
    }

    /// The rows of a query.
    pub(super) async fn rows(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        self.fetch(sql.into_sql_str(), values).await
    }

    /// The rows of a query that was made of constant pieces.
    pub(super) async fn rows_made(&mut self, sql: String, values: Vec<Value>) -> Result<Vec<Row>> {
        self.fetch(AssertSqlSafe(sql).into_sql_str(), values).await
    }

    /// The first row of a query.
    pub(super) async fn row(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Option<Row>> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    async fn run(&mut self, sql: SqlStr, values: Vec<Value>) -> Result<u64, Failed> {
        let work = async {
            match &mut self.inner {
                Inner::Sqlite(connection) => {
                    let query = sqlite(sql, values).execute(&mut **connection);
                    query.await.map(|done| done.rows_affected())
                }
                Inner::SqliteTx(connection) => {
                    let query = sqlite(sql, values).execute(&mut **connection);
                    query.await.map(|done| done.rows_affected())
                }
                Inner::Postgres(connection) => {
                    let query = postgres(sql, values).execute(&mut **connection);
                    query.await.map(|done| done.rows_affected())
                }
                Inner::PostgresTx(connection) => {
                    let query = postgres(sql, values).execute(&mut **connection);
                    query.await.map(|done| done.rows_affected())
                }
            }
        };
        bounded(work).await
    }

    async fn fetch(&mut self, sql: SqlStr, values: Vec<Value>) -> Result<Vec<Row>> {
        let work = async {
            let rows: Vec<Row> = match &mut self.inner {
                Inner::Sqlite(connection) => {
                    let rows = sqlite(sql, values).fetch_all(&mut **connection).await?;
                    rows.into_iter().map(Row::Sqlite).collect()
                }
                Inner::SqliteTx(connection) => {
                    let rows = sqlite(sql, values).fetch_all(&mut **connection).await?;
                    rows.into_iter().map(Row::Sqlite).collect()
                }
                Inner::Postgres(connection) => {
                    let rows = postgres(sql, values).fetch_all(&mut **connection).await?;
                    rows.into_iter().map(Row::Postgres).collect()
                }
                Inner::PostgresTx(connection) => {
                    let rows = postgres(sql, values).fetch_all(&mut **connection).await?;
                    rows.into_iter().map(Row::Postgres).collect()
                }
            };
            Ok(rows)
        };
        Ok(bounded(work).await?)
    }
}

fn sqlite(
    sql: SqlStr,
    values: Vec<Value>,
) -> sqlx::query::Query<'static, Sqlite, sqlx::sqlite::SqliteArguments> {
    let query = sqlx::query::<Sqlite>(sql);
    values.into_iter().fold(query, |query, value| match value {
        Value::Int(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

fn postgres(
    sql: SqlStr,
    values: Vec<Value>,
) -> sqlx::query::Query<'static, Postgres, sqlx::postgres::PgArguments> {
    let query = sqlx::query::<Postgres>(sql);
    values.into_iter().fold(query, |query, value| match value {
        Value::Int(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

/// Why a statement did nothing.
pub(super) enum Failed {
    /// A row with this key is there already.
    Taken,
    /// Anything else.
    Other(StoreError),
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            // Where it was not expected, somebody else was faster: the caller may try again.
            Failed::Taken => Self::Unavailable,
            Failed::Other(error) => error,
        }
    }
}

/// What a statement answers where its row may be there already.
pub(super) trait OrTaken<T> {
    /// The error to answer with where the row is there already.
    fn or_taken(self, error: impl Into<StoreError>) -> Result<T>;
}

impl<T> OrTaken<T> for Result<T, Failed> {
    fn or_taken(self, error: impl Into<StoreError>) -> Result<T> {
        self.map_err(|failed| match failed {
            Failed::Taken => error.into(),
            Failed::Other(other) => other,
        })
    }
}

async fn bounded<T>(work: impl Future<Output = sqlx::Result<T>>) -> Result<T, Failed> {
    match tokio::time::timeout(STATEMENT_WAIT_MAX, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failed(error)),
        Err(_elapsed) => {
            tracing::warn!("the database has not answered within {STATEMENT_WAIT_MAX:?}");
            Err(Failed::Other(StoreError::Unavailable))
        }
    }
}

/// Whether the database is away or we asked it nonsense.
#[allow(clippy::needless_pass_by_value)]
fn failed(error: sqlx::Error) -> Failed {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    if error
        .as_database_error()
        .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
    {
        return Failed::Taken;
    }
    let ours = match &error {
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::TypeNotFound { .. } => true,
        // PostgreSQL's classes of data exceptions and of nonsense (Appendix A of its manual), and
        // SQLite's error and mismatch.
        sqlx::Error::Database(_) => code.is_some_and(|code| {
            (code.len() == 5 && (code.starts_with("22") || code.starts_with("42")))
                || code == "1"
                || code == "20"
        }),
        _ => false,
    };
    if ours {
        tracing::error!(%error, "the database does not understand what it was asked");
        return Failed::Other(StoreError::Corrupt);
    }
    tracing::debug!(%error, "the database is away");
    Failed::Other(StoreError::Unavailable)
}

impl Db {
    /// A connection for one query.
    pub(super) async fn ask(&self) -> Result<Asked> {
        let work = async {
            Ok(match self {
                Self::Sqlite { read, .. } => Inner::Sqlite(read.acquire().await?),
                Self::Postgres(pool) => Inner::Postgres(pool.acquire().await?),
            })
        };
        Ok(Asked {
            inner: bounded(work).await?,
        })
    }

    /// A connection that sees one moment.
    pub(super) async fn ask_at_one_moment(&self) -> Result<Asked> {
        let work = async {
            Ok(match self {
                Self::Sqlite { read, .. } => Inner::SqliteTx(read.begin().await?),
                Self::Postgres(pool) => Inner::PostgresTx(
                    pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                        .await?,
                ),
            })
        };
        Ok(Asked {
            inner: bounded(work).await?,
        })
    }

    /// A transaction that changes something.
    pub(super) async fn change(&self) -> Result<Asked> {
        let work = async {
            Ok(match self {
                Self::Sqlite { write, .. } => {
                    Inner::SqliteTx(write.begin_with("BEGIN IMMEDIATE").await?)
                }
                Self::Postgres(pool) => Inner::PostgresTx(pool.begin().await?),
            })
        };
        Ok(Asked {
            inner: bounded(work).await?,
        })
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Asked {
    /// Makes a transaction that announces nothing stay.
    pub(super) async fn commit(self) -> Result<()> {
        let work = async {
            match self.inner {
                Inner::SqliteTx(transaction) => transaction.commit().await,
                Inner::PostgresTx(transaction) => transaction.commit().await,
                Inner::Sqlite(_) | Inner::Postgres(_) => Ok(()),
            }
        };
        Ok(bounded(work).await?)
    }
}

/// A change under way. Without [`Change::commit`] nothing of it stays.
pub(super) struct Change {
    asked: Asked,
    announcements: Vec<Announcement>,
    teller: Teller,
}

impl std::ops::Deref for Change {
    type Target = Asked;

    fn deref(&self) -> &Asked {
        &self.asked
    }
}

impl std::ops::DerefMut for Change {
    fn deref_mut(&mut self) -> &mut Asked {
        &mut self.asked
    }
}

impl SqlStore {
    /// Begins a change.
    pub(super) async fn change(&self) -> Result<Change> {
        Ok(Change {
            asked: self.db.change().await?,
            announcements: Vec::new(),
            teller: self.teller.clone(),
        })
    }
}

impl Change {
    /// Waits until no other change holds this name, and holds it to the end of the transaction:
    /// what is looked up first and written afterwards stays as it was in between.
    pub(super) async fn lock(&mut self, name: &str) -> Result<()> {
        // SQLite has one writer, who is us.
        if let Inner::PostgresTx(_) = self.asked.inner {
            self.asked
                .execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
                    values![name],
                )
                .await?;
        }
        Ok(())
    }

    /// Tells everybody once this is committed.
    pub(super) fn announce(&mut self, topic: Topic, payload: impl Into<String>) {
        let payload = payload.into();
        self.announcements.push(Announcement { topic, payload });
    }

    /// Makes the change stay, and tells everybody. When this answers `Ok` it is on the disk.
    ///
    /// It goes on to the end where the caller is cancelled meanwhile, so that nobody is told of what
    /// is not there yet, and everybody of what is.
    pub(super) async fn commit(self) -> Result<()> {
        let finish = tokio::spawn(self.finish());
        finish.await.map_err(|_| StoreError::Unavailable)?
    }

    async fn finish(mut self) -> Result<()> {
        let told = std::mem::take(&mut self.announcements);
        let delivered_by_database = matches!(self.asked.inner, Inner::PostgresTx(_));
        if delivered_by_database {
            // PostgreSQL delivers them when the transaction is committed, to us as well.
            for announcement in &told {
                notify(&mut self.asked, announcement).await?;
            }
        }
        self.asked.commit().await?;
        if !delivered_by_database {
            for announcement in told {
                self.teller.tell(Feed::Announced(announcement));
            }
        }
        Ok(())
    }
}
