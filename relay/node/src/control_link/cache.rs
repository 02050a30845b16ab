//! What the node was told last, on its disk: it starts with that while the control service is away.
//!
//! The file holds the orders as they were signed, and the keys that they were verified with, so that
//! one that is damaged, cut short or another node's is told from a good one. It is replaced as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sterna_control_api::node::SignedOrders;
use sterna_control_api::{NodeId, VerifyingKey};
use sterna_daemon::private_file;
use tracing::{info, warn};

use super::standing::Standing;

/// In the data directory.
const FILE: &str = "orders.json";

/// The format that is written and understood.
const FORMAT: u16 = 1;

/// What lies on the disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    format: u16,
    /// The keys that verify the orders.
    keys: Vec<VerifyingKey>,
    orders: SignedOrders,
}

/// The file.
#[derive(Clone, Debug)]
pub(super) struct Cache(PathBuf);

impl Cache {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self(data_dir.join(FILE))
    }

    /// Reads what the node was told before its restart. A file that is no good is named in the log and
    /// left where it is: the next orders take its place.
    pub(super) fn load(&self, node: &NodeId) -> Option<Standing> {
        let path = self.0.display();
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(%path, %error, "the orders of the control service cannot be read; the node waits for new ones");
                return None;
            }
        };
        match read(&text, node) {
            Ok(standing) => {
                let orders = standing.orders();
                let now_s = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| since.as_secs());
                let age_s = now_s.saturating_sub(orders.issued);
                info!(%path, version = orders.version, fleet = %orders.fleet, age_s, "serving by the orders of before the restart, until the control service answers");
                Some(standing)
            }
            Err(reason) => {
                warn!(%path, reason, "the orders of the control service in this file are ignored; the node waits for new ones");
                None
            }
        }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// What the system says; the old file stays.
    pub(super) fn store(&self, standing: &Standing) -> io::Result<()> {
        let kept = Kept {
            format: FORMAT,
            keys: standing.verified_by(),
            orders: standing.signed().clone(),
        };
        let text = serde_json::to_vec_pretty(&kept).map_err(io::Error::other)?;
        if let Some(dir) = self.0.parent() {
            private_file::make_dir(dir)?;
        }
        private_file::replace(&self.0, &text)
    }

    /// The file's name, for the log.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

fn read(text: &str, node: &NodeId) -> Result<Standing, String> {
    let kept: Kept =
        serde_json::from_str(text).map_err(|error| format!("it is damaged: {error}"))?;
    if kept.format != FORMAT {
        return Err(format!(
            "it has format {}, which is not understood",
            kept.format
        ));
    }
    Standing::new(kept.orders, &kept.keys, node).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::testing::{NODE, Service};
    use super::*;

    fn standing(service: &Service) -> Standing {
        Standing::new(service.signed(), &service.keys(), &NODE).unwrap()
    }

    #[test]
    fn what_was_stored_is_served_by_after_a_restart_and_seen_by_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(&dir.path().join("data"));
        assert!(cache.load(&NODE).is_none());
        let mut service = Service::new();
        cache.store(&standing(&service)).unwrap();
        service.change(|orders| orders.turn_secrets.push("newer".to_owned()));
        cache.store(&standing(&service)).unwrap();
        let again = cache.load(&NODE).unwrap();
        assert_eq!(again.orders(), &service.orders);
        let mode = fs::metadata(cache.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn orders_of_keys_that_were_rotated_out_of_them_are_read_all_the_same() {
        let mut service = Service::new();
        let signer = service.keys();
        service.change(|orders| orders.keys = vec![Service::key(9).verifying_key()]);
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let taken = Standing::new(service.signed(), &signer, &NODE).unwrap();
        cache.store(&taken).unwrap();
        assert_eq!(cache.load(&NODE).unwrap().orders(), &service.orders);
    }

    #[test]
    fn a_file_that_is_damaged_cut_short_or_of_another_node_is_ignored_and_left() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        cache.store(&standing(&Service::new())).unwrap();
        assert!(cache.load(&NodeId([2; 32])).is_none(), "another node's");
        let whole = fs::read_to_string(cache.path()).unwrap();
        let half = whole[..whole.len() / 2].to_owned();
        let place = whole.find("\"orders\": \"").unwrap() + 20;
        let mut forged = whole.clone();
        let flipped = if &whole[place..=place] == "A" {
            "B"
        } else {
            "A"
        };
        forged.replace_range(place..=place, flipped);
        let later = whole.replacen("\"format\": 1", "\"format\": 2", 1);
        for bad in [half, forged, later, String::new()] {
            fs::write(cache.path(), &bad).unwrap();
            assert!(cache.load(&NODE).is_none(), "{bad}");
            assert_eq!(fs::read_to_string(cache.path()).unwrap(), bad);
        }
    }
}
