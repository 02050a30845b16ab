//! TCP connections to and from peers (RFC 6062): their bytes, and their ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use sterna_bench::{BenchError, PeerStream, Session, Transport};
use sterna_turn::client::{PortWish, Relayed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::acts::payload;
use super::party::{allocate, credentials, options};
use super::{Way, World};

/// Of one allocation to different peers; a second one to the same would be refused (446).
const PEERS: usize = 4;

/// Longest wait for what takes loopback milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A peer over TCP that sends everything back, until it is dropped.
pub(super) struct EchoListener {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for EchoListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// So many echoes on each address.
pub(super) async fn listen(ips: &[IpAddr]) -> Vec<EchoListener> {
    let mut listeners = Vec::new();
    for ip in ips {
        for _ in 0..PEERS {
            let listener = TcpListener::bind((*ip, 0)).await.expect("a listener");
            let addr = listener.local_addr().expect("a bound listener");
            let accepting = tokio::spawn(accept(listener));
            listeners.push(EchoListener { addr, accepting });
        }
    }
    listeners
}

async fn accept(listener: TcpListener) {
    while let Ok((mut stream, _from)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.split();
            // It ends with the other end.
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
        });
    }
}

/// A session that relays connections: some to peers, some from peers, and one end for all.
pub(super) async fn session(world: &World, rng: &mut StdRng, user: &str) -> Result<(), BenchError> {
    let any = rng.random_range(0..world.ways.len());
    let way = world.way_beside(any, rng, |transport| transport != Transport::Udp);
    let Way { server, route, .. } = &world.ways[way];
    let mut options = options(*server, PortWish::Any);
    options.relayed = Relayed::Tcp;
    let (mut session, made) = allocate(route, user, options).await?;

    let of_family = |peer: &SocketAddr| peer.is_ipv4() == server.is_ipv4();
    let mut peers: Vec<_> = world
        .listeners
        .iter()
        .map(|peer| peer.addr)
        .filter(of_family)
        .collect();
    peers.shuffle(rng);
    let mut open: Vec<PeerStream> = Vec::new();
    let mut is_permitted = false;
    for _ in 0..rng.random_range(1..6) {
        if world.stop.load(Ordering::Relaxed) {
            break;
        }
        match (rng.random_range(0..4), peers.pop()) {
            (0, _) => session.refresh().await?,
            (1, _) => {
                // The client machine tells of a permission once.
                if !std::mem::replace(&mut is_permitted, true) {
                    session.permit(made.relayed.ip()).await?;
                }
                from_peer(world, rng, way, user, &mut session, made.relayed).await?;
            }
            (_, None) => {}
            (_, Some(peer)) => {
                let id = session.connect_peer(peer).await?;
                let mut stream = bind(world, rng, way, user, id).await?;
                echo(world, rng, &mut stream).await?;
                open.push(stream);
            }
        }
        if let Some(stream) = open.last_mut()
            && rng.random()
        {
            echo(world, rng, stream).await?;
        }
        if rng.random_range(0..3) == 0 {
            drop(open.pop());
        }
    }
    if rng.random_range(0..4) == 0 {
        // The control connection ends, and with it the allocation and all that it carries.
        World::count(&world.left);
        return Ok(());
    }
    session.release().await
}

/// A peer connects to the relayed address, may say something before it is heard, and ends.
async fn from_peer(
    world: &World,
    rng: &mut StdRng,
    way: usize,
    user: &str,
    session: &mut Session,
    relayed: SocketAddr,
) -> Result<(), BenchError> {
    let connecting = TcpStream::connect(relayed).await;
    let mut peer = connecting.map_err(BenchError::StreamLost)?;
    let (first, second) = (said(world, rng), said(world, rng));
    let is_early: bool = rng.random();
    if is_early {
        peer.write_all(&first)
            .await
            .map_err(BenchError::StreamLost)?;
    }
    let (from, id) = session.accept_peer(Instant::now() + PATIENCE).await?;
    if peer.local_addr().ok() != Some(from) {
        world.fail(format!(
            "{from} was announced, {:?} had connected",
            peer.local_addr()
        ));
    }
    let mut stream = bind(world, rng, way, user, id).await?;
    if !is_early {
        peer.write_all(&first)
            .await
            .map_err(BenchError::StreamLost)?;
    }
    let heard = stream
        .receive(first.len(), Instant::now() + PATIENCE)
        .await?;
    check(world, &heard, &first);
    stream.send(&second).await?;
    let mut heard = vec![0; second.len()];
    let reading = tokio::time::timeout(PATIENCE, peer.read_exact(&mut heard)).await;
    match reading {
        Ok(read) => read.map_err(BenchError::StreamLost)?,
        Err(_elapsed) => {
            return Err(BenchError::TooSlow {
                what: "the client's bytes",
            });
        }
    };
    check(world, &heard, &second);
    Ok(())
}

/// Binds a connection by one of the client's own, to whichever worker.
async fn bind(
    world: &World,
    rng: &mut StdRng,
    way: usize,
    user: &str,
    id: u32,
) -> Result<PeerStream, BenchError> {
    let way = world.way_beside(way, rng, |transport| transport != Transport::Udp);
    let stream = PeerStream::bind(&world.ways[way].route, credentials(user), id).await?;
    World::count(&world.connections);
    Ok(stream)
}

/// Sends bytes to an echo and takes them back.
async fn echo(world: &World, rng: &mut StdRng, stream: &mut PeerStream) -> Result<(), BenchError> {
    let said = said(world, rng);
    stream.send(&said).await?;
    let heard = stream
        .receive(said.len(), Instant::now() + PATIENCE)
        .await?;
    check(world, &heard, &said);
    Ok(())
}

/// Up to some ten kilobytes that nobody else says.
fn said(world: &World, rng: &mut StdRng) -> Vec<u8> {
    let tag = world.next_tag.fetch_add(1, Ordering::Relaxed);
    let parts = rng.random_range(1..16);
    (0..parts).flat_map(|number| payload(tag, number)).collect()
}

fn check(world: &World, heard: &[u8], said: &[u8]) {
    if heard == said {
        World::count(&world.sent);
        World::count(&world.verified);
    } else {
        let at = heard
            .iter()
            .zip(said)
            .position(|(heard, said)| heard != said);
        world.fail(format!(
            "byte {at:?} of {} over TCP is another one",
            said.len()
        ));
    }
}
