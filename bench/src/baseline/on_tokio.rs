//! The forwarding loop on tokio: one thread, a task a socket.

use std::io;
use std::net::UdpSocket as StdSocket;
use std::rc::Rc;

use sterna_stun::channel_data::{self, ChannelData};
use tokio::net::UdpSocket;
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};

use super::{Flows, PACKET_BYTES_MAX, Sockets};
use crate::BenchError;

/// The channel of all flows.
const CHANNEL: u16 = 0x4000;

pub(super) fn run(sockets: Sockets) -> Result<(), BenchError> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, forward(sockets))?;
    Ok(())
}

async fn forward(sockets: Sockets) -> io::Result<()> {
    let listener = Rc::new(from_std(sockets.listener)?);
    let relays = sockets.relays.into_iter().map(from_std);
    let relays = relays.collect::<io::Result<Rc<[UdpSocket]>>>()?;
    let flows = Rc::new(Flows::new(sockets.clients, sockets.peer));
    for flow in 0..relays.len() {
        spawn_local(to_client(
            flow,
            Rc::clone(&listener),
            Rc::clone(&relays),
            Rc::clone(&flows),
        ));
    }
    to_peer(&listener, &relays, &flows).await
}

fn from_std(socket: StdSocket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

async fn to_peer(listener: &UdpSocket, relays: &[UdpSocket], flows: &Flows) -> io::Result<()> {
    let mut buf = [0; PACKET_BYTES_MAX];
    loop {
        let (len, from) = listener.recv_from(&mut buf).await?;
        let (Some(flow), Ok(data)) = (flows.by_client.get(&from), ChannelData::parse(&buf[..len]))
        else {
            continue;
        };
        // What a full buffer or a missing peer swallows is missed, and counted, by the generator.
        let _ = relays[*flow].send_to(data.data, flows.peer).await;
    }
}

async fn to_client(
    flow: usize,
    listener: Rc<UdpSocket>,
    relays: Rc<[UdpSocket]>,
    flows: Rc<Flows>,
) {
    let mut buf = [0; PACKET_BYTES_MAX];
    let head = channel_data::HEADER_BYTES;
    while let Ok((len, _)) = relays[flow].recv_from(&mut buf[head..]).await {
        let payload = u16::try_from(len).unwrap_or(u16::MAX);
        buf[..head].copy_from_slice(&channel_data::header(CHANNEL, payload));
        let _ = listener
            .send_to(&buf[..head + len], flows.clients[flow])
            .await;
    }
}
