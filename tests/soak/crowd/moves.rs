//! A client whose network changes under it takes its allocation along (RFC 8016): to another socket or
//! connection, over whichever transport.

use std::net::SocketAddr;

use rand::RngExt as _;
use rand::rngs::StdRng;
use sterna_bench::BenchError;
use sterna_turn::client::ClientError;

use super::World;
use super::acts::exchange;
use super::party::Party;

/// Moves, and checks that what was opened before is open, both ways. The old socket is closed a while
/// after that, or just before the next move.
pub(super) async fn move_on(
    world: &World,
    rng: &mut StdRng,
    ours: &mut Party,
    peer: SocketAddr,
) -> Result<(), BenchError> {
    ours.open(peer, rng.random()).await?;
    ours.session.close_former();
    let way = world.way_beside(ours.way, rng, |_| true);
    ours.session.move_to(&world.ways[way].route).await?;
    ours.way = way;
    World::count(&world.moved);
    exchange(world, rng, ours, None, peer).await?;
    if rng.random() {
        ours.session.close_former();
    }
    Ok(())
}

/// A new socket may get the port of one that is gone and whose allocation lives on: then there is no
/// moving to it (RFC 8016 §3.2.2, 437).
pub(super) fn met_a_former_client(error: &BenchError) -> bool {
    matches!(
        error,
        BenchError::Refused {
            what: "Refresh",
            error: ClientError::Refused(437),
        }
    )
}
