//! What clients do between Allocate and the end, and the bytes that come back: each is checked.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sterna_bench::{BenchError, FromPeer};
use tokio::time::sleep;

use super::party::Party;
use super::{World, moves};

/// Longest wait for packets that are on their way: loopback takes microseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest payload: a video frame's packet and then some.
const PAYLOAD_BYTES_MAX: u64 = 1_400;

/// One random thing that a client does.
pub(super) async fn act(
    world: &World,
    rng: &mut StdRng,
    ours: &mut Party,
    theirs: Option<&mut Party>,
) -> Result<(), BenchError> {
    match rng.random_range(0..12) {
        0 => ours.session.refresh().await,
        1 => ours.session.binding().await.map(|_| ()),
        2 => {
            // Nobody is there, and nothing is sent: an entry in a table.
            let stranger = match ours.relayed {
                SocketAddr::V4(_) => IpAddr::from([192, 88, 98, rng.random()]),
                SocketAddr::V6(_) => IpAddr::from([0x2620, 0xFE, 0, 0, 0, 0, 0, rng.random()]),
            };
            // The client machine tells of each set once only.
            if ours.permitted.contains(&stranger) {
                return Ok(());
            }
            ours.permitted.push(stranger);
            ours.session.permit(stranger).await
        }
        10..=11 if ours.is_mobile => {
            let peer = world.peer(ours.relayed);
            moves::move_on(world, rng, ours, peer).await
        }
        3 => {
            sleep(Duration::from_millis(rng.random_range(0..200))).await;
            Ok(())
        }
        _ => {
            let by_channel = rng.random();
            let to = match &theirs {
                Some(theirs) => theirs.relayed,
                None => world.peer(ours.relayed),
            };
            ours.open(to, by_channel).await?;
            let Some(theirs) = theirs else {
                return exchange(world, rng, ours, None, to).await;
            };
            theirs.open(ours.relayed, rng.random()).await?;
            exchange(world, rng, ours, Some(theirs), to).await
        }
    }
}

/// Sends a few packets to a peer and takes what comes back, or what arrives at the other client.
pub(super) async fn exchange(
    world: &World,
    rng: &mut StdRng,
    ours: &mut Party,
    theirs: Option<&mut Party>,
    to: SocketAddr,
) -> Result<(), BenchError> {
    let tag = world.next_tag.fetch_add(1, Ordering::Relaxed);
    let count = rng.random_range(1..=8);
    let sender = ours.relayed;
    for number in 0..count {
        ours.session.send(to, &payload(tag, number)).await?;
        World::count(&world.sent);
    }
    let (hearer, from) = match theirs {
        Some(theirs) => (theirs, sender),
        None => (ours, to),
    };
    let mut missing: Vec<u64> = (0..count).collect();
    let deadline = Instant::now() + PATIENCE;
    while !missing.is_empty() {
        let Some(data) = hearer.session.receive_until(deadline).await? else {
            break;
        };
        match read(&data, from) {
            Some((its_tag, number)) if its_tag == tag && missing.contains(&number) => {
                missing.retain(|other| *other != number);
                World::count(&world.verified);
            }
            // One that had been given up.
            Some((its_tag, _)) if its_tag < tag => {}
            _ => world.fail(format!(
                "{} bytes of {} that nobody sent so: {:02x?}",
                data.payload.len(),
                data.peer,
                &data.payload[..data.payload.len().min(32)]
            )),
        }
    }
    if !hearer.may_lose {
        let lost = u64::try_from(missing.len()).expect("a few");
        world.lost.fetch_add(lost, Ordering::Relaxed);
    }
    Ok(())
}

/// A payload that says which one it is, in each of its bytes.
pub(super) fn payload(tag: u64, number: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(tag.rotate_left(8) ^ number);
    let len = rng.random_range(16..PAYLOAD_BYTES_MAX);
    let mut bytes = [tag.to_be_bytes(), number.to_be_bytes()].concat();
    bytes.extend((16..len).map(|_| rng.random::<u8>()));
    bytes
}

/// Which payload it is, if each byte is right and it comes from where it should.
fn read(data: &FromPeer, from: SocketAddr) -> Option<(u64, u64)> {
    let (tag, rest) = data.payload.split_first_chunk::<8>()?;
    let number = rest.first_chunk::<8>()?;
    let (tag, number) = (u64::from_be_bytes(*tag), u64::from_be_bytes(*number));
    let is_right = data.peer == from && data.payload[..] == payload(tag, number);
    is_right.then_some((tag, number))
}
