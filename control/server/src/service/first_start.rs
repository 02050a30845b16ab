//! What a service makes for itself when its database is empty: keys, a region, and the token that
//! the first administrator calls with.

use std::path::{Path, PathBuf};

use sterna_control_api::access::{Role, TokenKind};
use sterna_control_api::region::Region;
use sterna_control_api::rotation::{KeyPurpose, KeyStage};
use sterna_daemon::private_file;
use tracing::info;

use super::callers::{Fresh, ShownKind};
use super::{keys, unix_s};
use crate::domain::{Act, KeyRecord, TokenRecord};
use crate::store::{Conflict, PageRequest, Store, StoreError};

/// The region that is there at first.
const REGION: &str = "default";
/// The file of the first administrator's token, in the data directory.
pub(crate) const ADMIN_TOKEN: &str = "admin.token";

/// Why the first start failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FirstStartError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The token's file.
    #[error("{path}: {error}")]
    File {
        path: PathBuf,
        error: std::io::Error,
    },
}

/// Makes what is missing. Several replicas may do so at once.
pub(crate) async fn prepare(store: &dyn Store, data_dir: &Path) -> Result<(), FirstStartError> {
    let act = Act::service(unix_s());
    for purpose in [KeyPurpose::Signing, KeyPurpose::Turn] {
        let (id, secret) = keys::fresh(purpose);
        let fresh = KeyRecord {
            id,
            purpose,
            stage: KeyStage::Current,
            secret,
            created: act.at,
            since: act.at,
            orders: 0,
        };
        store.first_key(&fresh, &act).await?;
    }
    if store.regions().await?.is_empty() {
        let region = Region {
            code: REGION.to_owned(),
            name: "Default".to_owned(),
            location: None,
            weight: 100,
        };
        match store.create_region(&region, &act).await {
            Ok(_) => info!(region = REGION, "made the first region"),
            // Another replica was faster.
            Err(StoreError::Conflict(Conflict::RegionExists)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    admin_token(store, data_dir, &act).await
}

/// The first administrator's token, where nobody could administrate otherwise.
async fn admin_token(store: &dyn Store, data_dir: &Path, act: &Act) -> Result<(), FirstStartError> {
    let first = PageRequest {
        after: None,
        limit: 1,
    };
    let people = store.users(&first).await?;
    let tokens = store.tokens(Some(TokenKind::Api), &first).await?;
    if !people.items.is_empty() || !tokens.items.is_empty() {
        return Ok(());
    }
    let path = data_dir.join(ADMIN_TOKEN);
    let file = |error| FirstStartError::File {
        path: path.clone(),
        error,
    };
    let fresh = Fresh::new(ShownKind::Token(TokenKind::Api));
    let record = TokenRecord {
        id: fresh.id.clone(),
        kind: TokenKind::Api,
        secret_hash: fresh.hash,
        note: "made at the first start; take it back once there are others".to_owned(),
        region: None,
        tenant: None,
        groups: Vec::new(),
        tags: Vec::new(),
        role: Some(Role::Administrator),
        uses: 0,
        uses_max: 0,
        created: act.at,
        expires: 0,
        revoked: false,
    };
    // The file first: a token that nobody can read would lock everybody out.
    private_file::replace(&path, format!("{}\n", *fresh.text).as_bytes()).map_err(file)?;
    store.create_token(&record, act).await?;
    info!(file = %path.display(), "made the first administrator's token");
    Ok(())
}
