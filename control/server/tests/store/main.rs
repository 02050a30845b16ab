//! One behaviour, two databases: each case runs over SQLite and over PostgreSQL.
//!
//! PostgreSQL is Debian's package, started by the test in a temporary folder on a UNIX socket;
//! without it that half is skipped, visibly.
#![allow(clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod access;
mod changes;
mod devices;
mod feed;
mod keys;
mod nodes;
mod opening;
#[path = "../../../../tests/common/postgres.rs"]
#[allow(dead_code, reason = "the benchmark needs more of it")]
mod postgres;
mod replicas;

use std::io::Write as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use postgres::Postgres;
use sterna_control::domain::{Act, TokenRecord};
use sterna_control::store::{self, OpenError, SharedStore, StoreConfig};
use sterna_control_api::access::TokenKind;
use sterna_control_api::region::Region;
use sterna_control_api::{GroupId, TenantId};
use tempfile::TempDir;

/// A moment; every test has its own time.
pub(crate) const NOW: u64 = 1_700_000_000;

/// An empty database of a case's own.
#[derive(Clone)]
pub(crate) struct Fixture {
    url: String,
    folder: Arc<TempDir>,
}

impl Fixture {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("control.db").display());
        Self {
            url,
            folder: Arc::new(folder),
        }
    }

    fn postgres(server: &Postgres, name: &str) -> Self {
        Self {
            url: server.database(name).unwrap(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
        }
    }

    pub(crate) fn config(&self) -> StoreConfig {
        StoreConfig::new(&self.url, self.folder.path())
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.config().key_file
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres:")
    }

    pub(crate) async fn try_open(&self) -> Result<SharedStore, OpenError> {
        store::open(&self.config()).await
    }

    /// Opens it; one that was dropped just now may still be letting go of it.
    pub(crate) async fn open(&self) -> SharedStore {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            match self.try_open().await {
                Err(OpenError::InUse(_)) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                opened => return opened.unwrap(),
            }
        }
    }

    /// Does something to the database behind the store's back.
    pub(crate) async fn behind_its_back(&self, sql: &'static str) {
        use sqlx::{ConnectOptions as _, Connection as _};
        if self.is_postgres() {
            let options: sqlx::postgres::PgConnectOptions = self.url.parse().unwrap();
            let mut connection = options.connect().await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        } else {
            let path = self.url.strip_prefix("sqlite:").unwrap();
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let mut connection = options.connect().await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

/// An operator's act at [`NOW`].
pub(crate) fn act() -> Act {
    Act::new("user:olga", NOW)
}

pub(crate) fn region(code: &str) -> Region {
    Region {
        code: code.to_owned(),
        name: format!("Region {code}"),
        location: None,
        weight: 100,
    }
}

/// A join token of region "eu" that lets so many in.
pub(crate) fn join_token(id: &str, uses_max: u32) -> TokenRecord {
    TokenRecord {
        id: id.to_owned(),
        kind: TokenKind::Join,
        secret_hash: [1; 32],
        note: "for a test".to_owned(),
        region: Some("eu".to_owned()),
        tenant: None,
        groups: Vec::new(),
        tags: Vec::new(),
        role: None,
        uses: 0,
        uses_max,
        created: NOW,
        expires: NOW + 1000,
        revoked: false,
    }
}

/// An enrolment key of a tenant's for these groups, for any number of devices.
pub(crate) fn enrolment_key(id: &str, tenant: u64, groups: &[u32]) -> TokenRecord {
    TokenRecord {
        kind: TokenKind::Enrolment,
        region: None,
        tenant: Some(TenantId(tenant)),
        groups: groups.iter().copied().map(GroupId).collect(),
        tags: vec!["laptop".to_owned()],
        ..join_token(id, 0)
    }
}

/// Says what goes past the harness's capture; `cargo xtask test` counts the lines that say "skipped".
pub(crate) fn say(line: &str) {
    let line = format!("\n{line}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;
type Case = (&'static str, fn(Fixture) -> Running);

/// Cases, by their names.
macro_rules! cases {
    ($($module:ident::$case:ident,)+) => {
        [$((concat!(stringify!($module), "_", stringify!($case)), |fixture| Box::pin($module::$case(fixture)))),+]
    };
}

/// What holds for both databases.
const CASES: &[Case] = &cases![
    nodes::a_node_registers_with_a_token_once_and_without_one_afterwards,
    nodes::a_one_time_token_lets_exactly_one_of_many_in,
    nodes::a_registration_that_fails_leaves_its_token_unused,
    nodes::a_token_lets_nobody_in_that_it_is_not_for,
    nodes::what_an_operator_wants_of_a_node_gets_new_orders,
    nodes::the_last_heartbeat_of_each_node_is_kept,
    nodes::a_region_goes_when_its_nodes_are_gone,
    nodes::nodes_come_page_by_page_and_by_filter,
    keys::of_many_first_keys_one_stays,
    keys::a_rotation_goes_through_its_steps_and_back,
    keys::a_step_that_is_refused_changes_nothing,
    keys::a_copy_of_the_database_has_no_secret_in_it,
    devices::a_device_enrols_once_and_keeps_its_place,
    devices::devices_that_enrol_at_once_get_different_addresses,
    devices::an_address_is_given_again_only_when_it_is_free_and_all_others_were_used,
    devices::keys_are_rotated_with_an_overlap_and_rolled_back,
    devices::a_device_sees_those_that_share_a_group_and_a_new_version_with_each_change,
    devices::a_revoked_device_is_gone_for_its_peers_and_needs_a_key_to_come_back,
    devices::reports_are_kept_and_a_new_home_is_a_new_netmap,
    devices::a_revoked_tenant_enrols_nobody,
    access::people_have_unique_names_and_one_stays_administrator,
    access::of_many_first_users_one_stays,
    access::a_session_ends_with_its_time_its_person_and_the_password,
    access::a_token_that_was_taken_back_lets_nobody_in,
    access::tokens_come_page_by_page_and_by_kind,
    changes::a_change_and_its_audit_entry_are_one_transaction,
    changes::what_was_acknowledged_is_there_though_nothing_was_closed,
    changes::the_audit_log_tells_who_did_what_newest_first,
    changes::audit_entries_leave_when_they_are_too_old_and_never_before,
    changes::a_nonce_is_taken_once_and_remembered_across_a_restart,
    changes::a_revocation_stays_for_the_longest_of_its_times,
    changes::content_keeps_its_version_until_it_changes,
    feed::a_change_is_announced_when_it_is_there,
    feed::a_change_that_fails_is_not_announced,
    feed::messages_arrive_in_order_and_long_ones_whole,
    opening::migrations_are_pending_before_and_not_after_the_first_start,
    opening::a_database_of_a_newer_version_is_refused,
    opening::a_missing_or_wrong_key_file_is_said,
    opening::a_backup_is_taken_of_a_store_in_use_and_opens_with_its_key,
];

/// What holds between instances on one PostgreSQL.
const REPLICA_CASES: &[Case] = &cases![
    replicas::a_nonce_is_taken_once_among_all_replicas,
    replicas::a_one_time_token_lets_exactly_one_in_among_all_replicas,
    replicas::a_change_is_announced_to_other_replicas,
    replicas::replicas_number_the_same_content_alike,
    replicas::a_lost_connection_is_said_and_made_again,
    replicas::replicas_that_begin_at_once_agree,
];

fn run(runtime: &tokio::runtime::Runtime, (name, case): Case, fixture: Fixture) {
    let case = runtime.spawn(case(fixture));
    if let Err(error) = runtime.block_on(case) {
        panic!("{name}: {error}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn the_store_behaves_over_sqlite() {
    let runtime = runtime();
    for case in CASES {
        run(&runtime, *case, Fixture::sqlite());
    }
}

#[test]
fn the_store_behaves_alike_over_postgresql() {
    let server = match Postgres::start() {
        Ok(server) => server,
        Err(reason) => {
            return say(&format!(
                "skipped: the_store_behaves_alike_over_postgresql: {reason}"
            ));
        }
    };
    let runtime = runtime();
    for (number, case) in CASES.iter().chain(REPLICA_CASES).enumerate() {
        let fixture = Fixture::postgres(&server, &format!("case_{number}"));
        run(&runtime, *case, fixture);
    }
}

#[test]
fn a_database_that_is_away_is_said_quickly_and_used_again_when_it_is_back() {
    let mut server = match Postgres::start() {
        Ok(server) => server,
        Err(reason) => {
            return say(&format!(
                "skipped: a_database_that_is_away_is_said_quickly_and_used_again_when_it_is_back: {reason}"
            ));
        }
    };
    let fixture = Fixture::postgres(&server, "away");
    let runtime = runtime();
    let store = runtime.block_on(replicas::with_a_region(fixture.clone()));
    server.stop();
    runtime.block_on(replicas::is_away(&store));
    server.resume().unwrap();
    runtime.block_on(replicas::is_back(&store));
}
