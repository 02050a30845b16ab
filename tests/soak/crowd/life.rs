//! A client's life: session after session.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sterna_bench::BenchError;
use tokio::time::{sleep, timeout};

use super::acts::{act, exchange};
use super::party::Party;
use super::{CUT_USER, LEFT_USER, SESSION_MAX, World, connections, moves};
use crate::common::node;

/// One client: session after session.
pub(super) async fn life(world: Arc<World>, mut rng: StdRng) {
    while !world.stop.load(Ordering::Relaxed) {
        let plan = Plan::draw(&mut rng);
        let mut parties = Vec::new();
        let going = async {
            if plan.is_tcp {
                connections::session(&world, &mut rng, plan.user).await
            } else {
                session(&world, &mut rng, plan, &mut parties).await
            }
        };
        let ended = timeout(SESSION_MAX, going).await;
        World::count(&world.sessions);
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(_)) if plan.user == CUT_USER => {
                World::count(&world.cut);
                // Of two, one may live on.
                for Party { session, way, .. } in parties {
                    world.leave(plan.user, way, session.leave());
                }
                // While nobody knows the user, each attempt fails at once.
                sleep(Duration::from_millis(100)).await;
            }
            Ok(Err(error)) if moves::met_a_former_client(&error) => {
                for Party { session, way, .. } in parties {
                    world.leave(plan.user, way, session.leave());
                }
            }
            Ok(Err(error)) => world.fail(format!("{plan:?}: {error}")),
            Err(_) => world.fail(format!("{plan:?}: not done within {SESSION_MAX:?}")),
        }
    }
}

/// What kind of session it will be.
#[derive(Clone, Copy, Debug)]
struct Plan {
    user: &'static str,
    end: End,
    /// Two clients that talk to each other rather than one that talks to an echo.
    is_pair: bool,
    /// TCP connections are relayed, not datagrams.
    is_tcp: bool,
    acts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Refresh with lifetime 0.
    Release,
    /// The socket is closed without a word.
    Leave,
    /// The client is somewhere else, and begins anew from there.
    BeginAnew,
}

impl Plan {
    fn draw(rng: &mut StdRng) -> Self {
        let end = *[
            End::Release,
            End::Release,
            End::Release,
            End::Leave,
            End::BeginAnew,
        ]
        .choose(rng)
        .expect("some");
        let user = match (end, rng.random_range(0..20)) {
            (_, 0..=3) => CUT_USER,
            (End::Release, 4..=11) => node::USER,
            (End::Release, _) => node::OTHER_USER,
            // What is left over UDP lives on for ten minutes, so most of it must be ended by hand.
            (End::Leave | End::BeginAnew, 4) => LEFT_USER,
            (End::Leave | End::BeginAnew, _) => CUT_USER,
        };
        Self {
            user,
            end,
            is_pair: rng.random_range(0..4) == 0,
            is_tcp: rng.random_range(0..6) == 0,
            acts: rng.random_range(1..12),
        }
    }
}

/// A session from its Allocate to its end. Whatever may still have an allocation when it fails is left
/// in `parties`.
async fn session(
    world: &World,
    rng: &mut StdRng,
    plan: Plan,
    parties: &mut Vec<Party>,
) -> Result<(), BenchError> {
    let way = rng.random_range(0..world.ways.len());
    parties.push(Party::new(world, way, plan.user, rng).await?);
    if plan.is_pair {
        let other = world.way_beside(way, rng, |_| true);
        parties.push(Party::new(world, other, plan.user, rng).await?);
    }
    let (ours, theirs) = parties.split_first_mut().expect("just pushed");
    let mut theirs = theirs.first_mut();
    for _ in 0..plan.acts {
        if world.stop.load(Ordering::Relaxed) {
            break;
        }
        act(world, rng, ours, theirs.as_deref_mut()).await?;
    }
    if let Some(theirs) = theirs {
        theirs.session.release().await?;
    }
    match plan.end {
        End::Release => ours.session.release().await?,
        End::Leave => {
            World::count(&world.left);
            let Party { session, way, .. } = parties.swap_remove(0);
            world.leave(plan.user, way, session.leave());
        }
        End::BeginAnew => {
            // Where it is now, which is not where it began if it has moved.
            let way = ours.way;
            let route = &world.ways[way].route;
            world.leave(plan.user, way, ours.session.rewire(route).await?);
            // The node knows nobody at this address: the allocation is lost to the client.
            if ours.session.refresh().await.is_ok() {
                world.fail(format!("{plan:?}: an allocation followed its client"));
            }
            ours.begin_anew(world).await?;
            World::count(&world.begun_anew);
            let peer = world.peer(world.ways[way].server);
            ours.open(peer, true).await?;
            exchange(world, rng, ours, None, peer).await?;
            ours.session.release().await?;
        }
    }
    Ok(())
}
