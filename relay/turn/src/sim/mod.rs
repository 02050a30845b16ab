//! The machine beside a reference model, on a seeded network that loses, delays, repeats and
//! reorders, with clients that move, time that passes in jumps, and an operator who interferes.
//!
//! Every packet that reaches the node is first put to the model, which is slow and plain and
//! shares no code with the machine; then the machine has to come to the same conclusion. At the
//! end of each run nothing may be left of anything.

mod model;
mod world;

use self::world::World;

/// Runs one seed; the panic of a failing one names it.
fn run(seed: u64, workers: u8) {
    let outcome = std::panic::catch_unwind(|| World::new(seed, workers).run());
    if let Err(panic) = outcome {
        eprintln!("this was seed {seed} with {workers} worker(s)");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn one_worker_agrees_with_the_model() {
    (0..150).for_each(|seed| run(seed, 1));
}

#[test]
fn three_workers_agree_with_the_model() {
    (0..150).for_each(|seed| run(seed, 3));
}

#[test]
fn a_seed_replays_exactly() {
    let replay = || World::new(7, 3).run();
    assert_eq!(replay(), replay());
}

/// What the runs are made of: a simulation in which nothing happens agrees with any model.
#[test]
fn the_runs_reach_what_they_are_meant_to_reach() {
    let mut tally = world::Tally::default();
    (0..60).for_each(|seed| tally.add(&World::new(seed, 3).run()));
    for code in [0, 400, 401, 403, 405, 437, 438, 441, 443, 486, 508] {
        assert!(
            tally.codes.get(&code) > Some(&30),
            "too few answers {code}: {tally:?}"
        );
    }
    for verdict in [
        "to_peer",
        "channel",
        "data_indication",
        "to_worker",
        "icmp",
        "by_md5",
        "by_sha256",
        "by_sha256_under_a_hash",
        "dual",
        "by_another_worker",
    ] {
        assert!(
            tally.verdicts.get(verdict) > Some(&100),
            "too few {verdict}: {tally:?}"
        );
    }
    for move_ in ["moved", "moved_again", "break_made"] {
        assert!(
            tally.verdicts.get(move_) > Some(&30),
            "too few {move_}: {tally:?}"
        );
    }
    for reason in [
        "dual_in_part",
        "half_released",
        "no_permission",
        "no_channel",
        "no_allocation",
        "own_address",
        "peer_port_denied",
    ] {
        assert!(
            tally.verdicts.get(reason) > Some(&2),
            "too few {reason}: {tally:?}"
        );
    }
}
