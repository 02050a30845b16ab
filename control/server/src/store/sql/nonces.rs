//! Nonces that were used.
//!
//! Nonces that come while others are being written wait for these and are then written together: one
//! flush of the disk for all that are waiting, so that calls do not queue up for it one by one.

use std::collections::HashSet;
use std::time::Duration;

use sterna_control_api::limits::NONCE_MEMORY_S;
use tokio::sync::{mpsc, oneshot};

use super::db::{Db, Value, values};
use super::reports::{in_few_sizes, places};
use crate::store::{Nonce, Result, StoreError};

/// Nonces that are written together.
const TOGETHER_MAX: usize = 512;
/// How long a caller waits before the database counts as away.
const WAIT_MAX: Duration = Duration::from_secs(6);

/// The way to the one that writes.
pub(super) struct Memory {
    asking: mpsc::Sender<Asking>,
}

struct Asking {
    nonce: Nonce,
    until: u64,
    answer: oneshot::Sender<Result<()>>,
}

impl Memory {
    pub(super) fn new(db: Db) -> Self {
        let (asking, asked) = mpsc::channel(TOGETHER_MAX);
        tokio::spawn(write(db, asked));
        Self { asking }
    }

    pub(super) async fn remember(&self, nonce: Nonce, now: u64) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let asking = Asking {
            nonce,
            until: now.saturating_add(NONCE_MEMORY_S),
            answer,
        };
        let work = async {
            let sent = self.asking.send(asking).await;
            sent.map_err(|_| StoreError::Unavailable)?;
            answered.await.map_err(|_| StoreError::Unavailable)?
        };
        let in_time = tokio::time::timeout(WAIT_MAX, work).await;
        in_time.map_err(|_| StoreError::Unavailable)?
    }
}

/// Writes what is asked until nobody can ask any more.
async fn write(db: Db, mut asked: mpsc::Receiver<Asking>) {
    let mut together = Vec::with_capacity(TOGETHER_MAX);
    while asked.recv_many(&mut together, TOGETHER_MAX).await > 0 {
        let written = write_together(&db, &together).await;
        match written {
            Ok(mut new) => {
                for asking in together.drain(..) {
                    // The first of equal ones within the batch takes it; the others are replays.
                    let is_new = new.remove(&asking.nonce);
                    let answer = if is_new {
                        Ok(())
                    } else {
                        Err(StoreError::Replayed)
                    };
                    let _gone_meanwhile = asking.answer.send(answer);
                }
            }
            Err(error) => {
                for asking in together.drain(..) {
                    let _gone_meanwhile = asking.answer.send(Err(error));
                }
            }
        }
    }
}

/// The nonces that were not remembered before.
async fn write_together(db: &Db, asked: &[Asking]) -> Result<HashSet<Nonce>> {
    let mut rows: Vec<_> = asked
        .iter()
        .map(|asking| (asking.nonce.key, asking.nonce.nonce, asking.until))
        .collect();
    // In one order, so that two replicas do not wait for each other.
    rows.sort_unstable();
    rows.dedup_by_key(|(key, nonce, _)| (*key, *nonce));
    let mut change = db.change().await?;
    let mut new = HashSet::new();
    for part in in_few_sizes(&rows) {
        let sql = format!(
            "INSERT INTO nonces (signer, nonce, until) VALUES {} \
             ON CONFLICT (signer, nonce) DO NOTHING RETURNING signer, nonce",
            places(part.len(), 3),
        );
        let values: Vec<Value> = part
            .iter()
            .flat_map(|(key, nonce, until)| values![key, nonce, *until])
            .collect();
        for row in change.rows_made(sql, values).await? {
            new.insert(Nonce {
                key: row.array("signer")?,
                nonce: row.array("nonce")?,
            });
        }
    }
    change.commit().await?;
    Ok(new)
}
