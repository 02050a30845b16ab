//! The service over HTTP: one behaviour, two databases. Each case starts a service of its own.
//!
//! PostgreSQL is Debian's package, started by the test in a temporary folder on a UNIX socket;
//! without it that half is skipped, visibly.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod crowd;
mod devices;
mod nodes;
mod people;
#[path = "../../../../tests/common/postgres.rs"]
#[allow(dead_code, reason = "the benchmark needs more of it")]
mod postgres;
mod raw;
mod refusals;
mod replicas;
mod scene;
mod sockets;
mod tools;

use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;

use postgres::Postgres;
use scene::Place;

/// A case: a behaviour of the service, on whichever database.
type Case = fn(Place) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! cases {
    ($($module:ident::$name:ident),+ $(,)?) => {
        const CASES: &[(&str, Case)] = &[
            $((concat!(stringify!($module), "::", stringify!($name)), |place| Box::pin($module::$name(place)))),+
        ];
    };
}

cases! {
    nodes::a_node_joins_reports_and_is_on_the_map,
    nodes::a_node_that_falls_silent_leaves_the_map_and_comes_back,
    nodes::a_heartbeat_is_held_until_there_is_something_to_say,
    nodes::an_operator_drains_a_node_and_its_orders_say_so,
    nodes::a_token_of_another_region_or_a_spent_one_lets_nobody_in,
    nodes::keys_rotate_when_every_node_knows_the_next_one,
    devices::a_device_enrols_and_gets_credentials_that_nodes_take,
    devices::devices_of_one_group_see_each_other_and_no_one_elses,
    devices::a_device_rotates_its_keys_and_goes_back,
    devices::a_revoked_device_is_told_and_gets_nothing_more,
    people::people_log_in_change_their_password_and_keep_an_administrator,
    people::a_role_that_is_too_low_changes_nothing_and_is_written_down,
    people::every_change_is_in_the_audit_log_with_before_and_after,
    people::the_audit_log_forgets_what_is_older_than_it_should_keep,
    refusals::a_signature_is_refused_that_is_stale_replayed_of_another_key_or_over_another_body,
    refusals::what_is_another_tenants_is_not_there,
    refusals::a_body_that_is_too_large_or_wrong_is_refused_with_its_field,
    refusals::an_address_that_guesses_is_slowed_down,
    refusals::what_is_unknown_and_what_is_forbidden_look_the_same,
    sockets::devices_signal_and_are_told_who_punches_first,
    sockets::a_socket_that_says_too_much_or_too_long_is_closed_with_its_reason,
    sockets::each_end_of_a_socket_has_its_code,
    sockets::the_newest_socket_of_a_device_is_the_one_that_counts,
    sockets::a_service_that_ends_says_so,
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn run(wanted: &[(&str, Case)], place: impl Fn(&str) -> Place) {
    for (name, case) in wanted {
        // Written as it begins, so that a case which hangs is known.
        let _ = writeln!(std::io::stderr(), "  {name}");
        runtime().block_on(case(place(&name.replace("::", "_"))));
    }
}

#[test]
fn the_service_behaves_over_sqlite() {
    run(CASES, |_| Place::sqlite());
}

#[test]
fn the_service_behaves_over_postgresql() {
    let server = match Postgres::start() {
        Ok(server) => Arc::new(server),
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED over PostgreSQL: {reason}");
            return;
        }
    };
    run(CASES, |name| Place::postgres(&server, name));
    let both: &[(&str, Case)] = &[
        (
            "replicas::devices_on_two_replicas_signal_and_one_replica_goes",
            |place| Box::pin(replicas::devices_on_two_replicas_signal_and_one_replica_goes(place)),
        ),
        (
            "replicas::a_node_hears_of_what_another_replica_has_revoked",
            |place| {
                Box::pin(replicas::a_node_hears_of_what_another_replica_has_revoked(
                    place,
                ))
            },
        ),
    ];
    run(both, |name| Place::postgres(&server, name));
}
