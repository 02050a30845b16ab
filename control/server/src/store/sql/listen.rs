//! Announcements: within the process, or between replicas through PostgreSQL's LISTEN and NOTIFY.
//!
//! With PostgreSQL every announcement travels through the database, those to this instance as well,
//! so that all see them in one order. A notification carries fewer than 8000 bytes; a longer message
//! is put into a table and its number is announced.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPool};

use super::SqlStore;
use super::db::{Asked, CHANNEL, Db, values};
use crate::store::feed::{Announcement, Feed, MESSAGE_BYTES_MAX, Teller, Topic};
use crate::store::{Result, StoreError};

/// How long a message stays in the table, for replicas to fetch it.
pub(super) const MESSAGE_LIFETIME_S: u64 = 60;

/// The longest notification that PostgreSQL passes on, with its terminating zero: 8000 bytes.
const NOTIFICATION_BYTES_MAX: usize = 7999;
/// What a notification begins with whose message lies in the table.
const FETCH: &str = "fetch ";
/// What a notification says that only shows that the connection is alive.
const ALIVE: &str = "alive";

/// How often the connection is shown to be alive.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// How long nothing at all may come before the connection counts as lost: no reset has to arrive
/// for that.
const SILENCE_MAX: Duration = Duration::from_secs(35);
/// Between two attempts to listen again.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

impl SqlStore {
    pub(super) async fn tell(&self, topic: Topic, payload: &str) -> Result<()> {
        if payload.len() > MESSAGE_BYTES_MAX {
            return Err(StoreError::TooLong);
        }
        let announcement = Announcement {
            topic,
            payload: payload.to_owned(),
        };
        match &self.db {
            Db::Sqlite { .. } => self.teller.tell(Feed::Announced(announcement)),
            Db::Postgres(_) => notify(&mut self.db.ask().await?, &announcement).await?,
        }
        Ok(())
    }
}

/// Tells all replicas, within the transaction when there is one.
pub(super) async fn notify(asked: &mut Asked, announcement: &Announcement) -> Result<()> {
    let Announcement { topic, payload } = announcement;
    let mut text = format!("{topic} {payload}");
    if text.len() > NOTIFICATION_BYTES_MAX {
        let sql = "INSERT INTO messages (at, payload) \
            VALUES (CAST(extract(epoch FROM clock_timestamp()) AS BIGINT), $1) RETURNING id";
        let row = asked.row(sql, values![&text]).await?;
        let id: i64 = row.ok_or(StoreError::Unavailable)?.number("id")?;
        text = format!("{FETCH}{id}");
    }
    let sql = "SELECT pg_notify($1, $2)";
    asked.execute(sql, values![CHANNEL, text]).await?;
    Ok(())
}

/// Begins to listen; afterwards nothing that is announced is missed without being said.
pub(super) async fn listen(pool: PgPool, teller: Teller) -> sqlx::Result<tokio::task::AbortHandle> {
    let listener = connect(&pool).await?;
    let alive = show_alive(pool.clone());
    let keep = async move {
        tokio::select! {
            () = keep_listening(pool, listener, teller) => {}
            () = alive => {}
        }
    };
    Ok(tokio::spawn(keep).abort_handle())
}

async fn connect(pool: &PgPool) -> sqlx::Result<PgListener> {
    let mut listener = PgListener::connect_with(pool).await?;
    // We make the connection anew ourselves, to say that something may have been missed.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

async fn show_alive(pool: PgPool) {
    let mut ticks = tokio::time::interval(ALIVE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let notify = sqlx::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(ALIVE);
        // Where it fails nothing is heard, and that is what the listener acts on.
        let _heard_or_not = tokio::time::timeout(ALIVE_EVERY, notify.execute(&pool)).await;
    }
}

async fn keep_listening(pool: PgPool, mut listener: PgListener, teller: Teller) {
    loop {
        until_lost(&pool, &mut listener, &teller).await;
        tracing::warn!("the connection that tells of other replicas' changes was lost");
        let mut wait = RETRY_MIN;
        listener = loop {
            match tokio::time::timeout(SILENCE_MAX, connect(&pool)).await {
                Ok(Ok(again)) => break again,
                Ok(Err(sqlx::Error::PoolClosed)) => return,
                Ok(Err(_)) | Err(_) => {}
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        };
        // From here on everything is heard again.
        teller.tell(Feed::MaybeMissed);
        tracing::info!("other replicas' changes are heard again");
    }
}

async fn until_lost(pool: &PgPool, listener: &mut PgListener, teller: &Teller) {
    loop {
        let heard = tokio::time::timeout(SILENCE_MAX, listener.try_recv()).await;
        // Lost, closed, or nothing although we ourselves have sent something.
        let Ok(Ok(Some(heard))) = heard else {
            return;
        };
        let text = match heard.payload() {
            ALIVE => continue,
            text => match text.strip_prefix(FETCH) {
                None => text.to_owned(),
                Some(id) => match fetch(pool, id).await {
                    Some(text) => text,
                    None => {
                        teller.tell(Feed::MaybeMissed);
                        continue;
                    }
                },
            },
        };
        let (topic, payload) = text.split_once(' ').unwrap_or((&text, ""));
        // What a newer version announces is none of ours.
        if let Ok(topic) = topic.parse() {
            let payload = payload.to_owned();
            teller.tell(Feed::Announced(Announcement { topic, payload }));
        }
    }
}

async fn fetch(pool: &PgPool, id: &str) -> Option<String> {
    let id: i64 = id.parse().ok()?;
    let query = sqlx::query_scalar("SELECT payload FROM messages WHERE id = $1").bind(id);
    query.fetch_optional(pool).await.ok()?
}
