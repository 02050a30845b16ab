//! The steps of a key's life: prepare, promote, roll back, retire.
//!
//! ```text
//! prepare            promote                     retire
//! ────────▶  next  ──────────▶  current          (all that it made has run out)
//!              ▲                   │ promote
//!              └──── rollback ─────┤
//!                                  ▼
//!                               previous  ──────────▶  retired
//! ```
//!
//! A next key is used only when every node that is there follows orders which tell of it, so that
//! no node is ever shown what it cannot verify.

use sterna_control_api::limits::KEYS_MAX;
use sterna_control_api::rotation::{KeyPurpose, KeyStage, RotationStep};

use super::{KeyRecord, KeySecret};

/// A step to take.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Whose keys.
    pub purpose: KeyPurpose,
    /// Which step.
    pub step: RotationStep,
    /// Take it although a node may not know the key, or signatures have not run out.
    pub force: bool,
    /// For [`RotationStep::Prepare`]: the id and the secret of the new key.
    pub fresh: Option<(String, KeySecret)>,
    /// The version of the orders that every node which is there follows at least; `u64::MAX`
    /// without nodes.
    pub followed: u64,
    /// Seconds for which anything that a key of this purpose made may be valid.
    pub lifetime_s: u64,
}

/// Why a step is not taken.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is a next key already.
    #[error("there is a next key already; promote it first")]
    NextExists,
    /// Prepare was asked for without a key, or with one whose id is taken.
    #[error("the new key has the id of another one; try again")]
    NotFresh,
    /// As many keys as nodes verify with are in use.
    #[error("{KEYS_MAX} keys are in use; retire previous ones first")]
    TooMany,
    /// There is no next key.
    #[error("there is no next key; prepare one first")]
    NoNext,
    /// A node has not confirmed the next key.
    #[error("not every node has confirmed the next key; wait, or force the step")]
    NotKnownEverywhere,
    /// There is nothing to go back to.
    #[error("there is no previous key to go back to")]
    NoPrevious,
    /// What a previous key has made may still be valid.
    #[error(
        "what the previous keys have made is still valid; wait until {until}, or force the step"
    )]
    StillValid {
        /// When the first of them may go, in seconds since 1970.
        until: u64,
    },
}

impl Rotation {
    /// The keys that change, as they are afterwards. `keys` are all of the purpose, `orders` is the
    /// version of the orders that tell of the change.
    ///
    /// # Errors
    /// Why the step is not taken; nothing changes then.
    pub fn apply(
        &self,
        keys: &[KeyRecord],
        now: u64,
        orders: u64,
    ) -> Result<Vec<KeyRecord>, Refusal> {
        match self.step {
            RotationStep::Prepare => self.prepare(keys, now, orders),
            RotationStep::Promote => self.promote(keys, now),
            RotationStep::Rollback => roll_back(keys, now),
            RotationStep::Retire => self.retire(keys, now),
        }
    }

    fn prepare(
        &self,
        keys: &[KeyRecord],
        now: u64,
        orders: u64,
    ) -> Result<Vec<KeyRecord>, Refusal> {
        if at(keys, KeyStage::Next).is_some() {
            return Err(Refusal::NextExists);
        }
        let in_use = keys.iter().filter(|key| key.stage != KeyStage::Retired);
        if in_use.count() >= KEYS_MAX {
            return Err(Refusal::TooMany);
        }
        let (id, secret) = self.fresh.clone().ok_or(Refusal::NotFresh)?;
        if keys.iter().any(|key| key.id == id) {
            return Err(Refusal::NotFresh);
        }
        Ok(vec![KeyRecord {
            id,
            purpose: self.purpose,
            stage: KeyStage::Next,
            secret,
            created: now,
            since: now,
            orders,
        }])
    }

    fn promote(&self, keys: &[KeyRecord], now: u64) -> Result<Vec<KeyRecord>, Refusal> {
        let next = at(keys, KeyStage::Next).ok_or(Refusal::NoNext)?;
        if !self.force && next.orders > self.followed {
            return Err(Refusal::NotKnownEverywhere);
        }
        let mut changed = vec![moved(next, KeyStage::Current, now)];
        changed.extend(at(keys, KeyStage::Current).map(|key| moved(key, KeyStage::Previous, now)));
        Ok(changed)
    }

    fn retire(&self, keys: &[KeyRecord], now: u64) -> Result<Vec<KeyRecord>, Refusal> {
        let previous = || keys.iter().filter(|key| key.stage == KeyStage::Previous);
        let until = |key: &KeyRecord| key.since.saturating_add(self.lifetime_s);
        let first = previous().map(until).min().ok_or(Refusal::NoPrevious)?;
        if !self.force && first > now {
            return Err(Refusal::StillValid { until: first });
        }
        let gone = previous().filter(|key| self.force || until(key) <= now);
        Ok(gone.map(|key| retired(key, now)).collect())
    }
}

/// The newest previous key becomes the current one again. A next key beside it has made nothing yet
/// and is taken out, since the current one takes its place.
fn roll_back(keys: &[KeyRecord], now: u64) -> Result<Vec<KeyRecord>, Refusal> {
    let previous = keys.iter().filter(|key| key.stage == KeyStage::Previous);
    let newest = previous
        .max_by_key(|key| (key.since, key.created))
        .ok_or(Refusal::NoPrevious)?;
    let mut changed = vec![moved(newest, KeyStage::Current, now)];
    changed.extend(at(keys, KeyStage::Next).map(|key| retired(key, now)));
    changed.extend(at(keys, KeyStage::Current).map(|key| moved(key, KeyStage::Next, now)));
    Ok(changed)
}

/// How many of the nodes that are there know a key, by the versions of the orders that they follow.
#[must_use]
pub fn known_by(key: &KeyRecord, followed: impl IntoIterator<Item = u64>) -> u32 {
    let know = followed.into_iter().filter(|orders| *orders >= key.orders);
    u32::try_from(know.count()).unwrap_or(u32::MAX)
}

fn at(keys: &[KeyRecord], stage: KeyStage) -> Option<&KeyRecord> {
    keys.iter().find(|key| key.stage == stage)
}

fn moved(key: &KeyRecord, stage: KeyStage, now: u64) -> KeyRecord {
    KeyRecord {
        stage,
        since: now,
        ..key.clone()
    }
}

/// Without its secret, which nobody needs any more.
fn retired(key: &KeyRecord, now: u64) -> KeyRecord {
    KeyRecord {
        secret: KeySecret::new(""),
        ..moved(key, KeyStage::Retired, now)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIFETIME_S: u64 = 100;

    fn rotation(step: RotationStep) -> Rotation {
        Rotation {
            purpose: KeyPurpose::Signing,
            step,
            force: false,
            fresh: None,
            followed: u64::MAX,
            lifetime_s: LIFETIME_S,
        }
    }

    fn prepare(id: &str) -> Rotation {
        Rotation {
            fresh: Some((id.to_owned(), KeySecret::new(id))),
            ..rotation(RotationStep::Prepare)
        }
    }

    /// Takes a step as the store does.
    fn take(
        keys: &mut Vec<KeyRecord>,
        rotation: &Rotation,
        now: u64,
        orders: u64,
    ) -> Result<(), Refusal> {
        for changed in rotation.apply(keys, now, orders)? {
            keys.retain(|key| key.id != changed.id);
            keys.push(changed);
        }
        Ok(())
    }

    fn stage(keys: &[KeyRecord], id: &str) -> KeyStage {
        keys.iter().find(|key| key.id == id).unwrap().stage
    }

    /// A current key "a", known since orders 1.
    fn first() -> Vec<KeyRecord> {
        vec![KeyRecord {
            id: "a".to_owned(),
            purpose: KeyPurpose::Signing,
            stage: KeyStage::Current,
            secret: KeySecret::new("a"),
            created: 1,
            since: 1,
            orders: 1,
        }]
    }

    #[test]
    fn a_next_key_is_used_only_when_every_node_that_is_there_knows_it() {
        let mut keys = first();
        take(&mut keys, &prepare("b"), 10, 7).unwrap();
        assert_eq!(stage(&keys, "b"), KeyStage::Next);
        let next = keys.iter().find(|key| key.id == "b").unwrap();
        assert_eq!(known_by(next, [6, 7, 8, 0]), 2);
        let mut promote = rotation(RotationStep::Promote);
        promote.followed = 6;
        let refused = take(&mut keys, &promote, 11, 8);
        assert_eq!(refused, Err(Refusal::NotKnownEverywhere));
        promote.followed = 7;
        take(&mut keys, &promote, 11, 8).unwrap();
        assert_eq!(stage(&keys, "b"), KeyStage::Current);
        assert_eq!(stage(&keys, "a"), KeyStage::Previous);

        take(&mut keys, &prepare("c"), 12, 9).unwrap();
        promote.followed = 0;
        promote.force = true;
        take(&mut keys, &promote, 13, 10).unwrap();
        assert_eq!(stage(&keys, "c"), KeyStage::Current);
    }

    #[test]
    fn a_rollback_brings_the_newest_previous_key_back_and_a_promotion_undoes_it() {
        let mut keys = first();
        for (id, now) in [("b", 10), ("c", 20)] {
            take(&mut keys, &prepare(id), now, now).unwrap();
            take(&mut keys, &rotation(RotationStep::Promote), now + 1, now).unwrap();
        }
        take(&mut keys, &rotation(RotationStep::Rollback), 30, 30).unwrap();
        let stages = ["a", "b", "c"].map(|id| stage(&keys, id));
        let expected = [KeyStage::Previous, KeyStage::Current, KeyStage::Next];
        assert_eq!(stages, expected);
        take(&mut keys, &rotation(RotationStep::Promote), 31, 31).unwrap();
        assert_eq!(stage(&keys, "c"), KeyStage::Current);

        // A next key that has signed nothing gives way.
        take(&mut keys, &prepare("d"), 40, 40).unwrap();
        take(&mut keys, &rotation(RotationStep::Rollback), 41, 41).unwrap();
        let stages = ["a", "b", "c", "d"].map(|id| stage(&keys, id));
        let expected = [
            KeyStage::Previous,
            KeyStage::Current,
            KeyStage::Next,
            KeyStage::Retired,
        ];
        assert_eq!(stages, expected);
    }

    #[test]
    fn previous_keys_are_retired_one_by_one_when_what_they_made_has_run_out() {
        let mut keys = first();
        for (id, now) in [("b", 10), ("c", 20)] {
            take(&mut keys, &prepare(id), now, now).unwrap();
            take(&mut keys, &rotation(RotationStep::Promote), now, now).unwrap();
        }
        let retire = rotation(RotationStep::Retire);
        let refused = take(&mut keys, &retire, 109, 50);
        assert_eq!(refused, Err(Refusal::StillValid { until: 110 }));
        take(&mut keys, &retire, 110, 50).unwrap();
        assert_eq!(stage(&keys, "a"), KeyStage::Retired);
        assert_eq!(stage(&keys, "b"), KeyStage::Previous);
        let gone = keys.iter().find(|key| key.id == "a").unwrap();
        assert_eq!(gone.secret.reveal(), "");
        let mut now = retire.clone();
        now.force = true;
        take(&mut keys, &now, 111, 51).unwrap();
        assert_eq!(stage(&keys, "b"), KeyStage::Retired);
        assert_eq!(take(&mut keys, &now, 112, 52), Err(Refusal::NoPrevious));
    }

    #[test]
    fn there_is_one_next_key_and_no_more_keys_than_nodes_verify_with() {
        let mut keys = first();
        take(&mut keys, &prepare("b"), 10, 10).unwrap();
        let refused = take(&mut keys, &prepare("c"), 10, 10);
        assert_eq!(refused, Err(Refusal::NextExists));
        let promote = rotation(RotationStep::Promote);
        take(&mut keys, &promote, 10, 10).unwrap();
        for number in 2..KEYS_MAX {
            take(&mut keys, &prepare(&format!("key-{number}")), 10, 10).unwrap();
            take(&mut keys, &promote, 10, 10).unwrap();
        }
        let refused = take(&mut keys, &prepare("one too many"), 10, 10);
        assert_eq!(refused, Err(Refusal::TooMany));
        let refused = take(&mut first(), &prepare("a"), 10, 10);
        assert_eq!(refused, Err(Refusal::NotFresh));
    }
}
