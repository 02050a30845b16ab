//! The forwarding loop on tokio-uring: one thread, a task a socket, an operation a packet.

use std::io;
use std::rc::Rc;

use sterna_stun::channel_data::{self, ChannelData};
use tokio_uring::buf::BoundedBuf as _;
use tokio_uring::net::UdpSocket;

use super::{Flows, PACKET_BYTES_MAX, Sockets};
use crate::BenchError;

/// The channel of all flows.
const CHANNEL: u16 = 0x4000;

/// Receives of the listener that wait at the same time, so that a burst does not pay a round through
/// the kernel for each packet.
const LISTENER_TASKS: usize = 32;

pub(super) fn run(sockets: Sockets) -> Result<(), BenchError> {
    tokio_uring::start(forward(sockets))?;
    Ok(())
}

async fn forward(sockets: Sockets) -> io::Result<()> {
    let listener = Rc::new(UdpSocket::from_std(sockets.listener));
    let relays: Rc<[UdpSocket]> = sockets
        .relays
        .into_iter()
        .map(UdpSocket::from_std)
        .collect();
    let flows = Rc::new(Flows::new(sockets.clients, sockets.peer));
    for flow in 0..relays.len() {
        let (listener, relays) = (Rc::clone(&listener), Rc::clone(&relays));
        tokio_uring::spawn(to_client(flow, listener, relays, Rc::clone(&flows)));
    }
    for _ in 1..LISTENER_TASKS {
        let (listener, relays) = (Rc::clone(&listener), Rc::clone(&relays));
        tokio_uring::spawn(to_peer(listener, relays, Rc::clone(&flows)));
    }
    to_peer(listener, relays, flows).await
}

async fn to_peer(
    listener: Rc<UdpSocket>,
    relays: Rc<[UdpSocket]>,
    flows: Rc<Flows>,
) -> io::Result<()> {
    let mut buf = vec![0; PACKET_BYTES_MAX];
    loop {
        let (received, back) = listener.recv_from(buf).await;
        buf = back;
        let (len, from) = received?;
        let (Some(flow), Ok(data)) = (flows.by_client.get(&from), ChannelData::parse(&buf[..len]))
        else {
            continue;
        };
        let payload = channel_data::HEADER_BYTES..channel_data::HEADER_BYTES + data.data.len();
        // What a full buffer or a missing peer swallows is missed, and counted, by the generator.
        let (_, back) = relays[*flow].send_to(buf.slice(payload), flows.peer).await;
        buf = back.into_inner();
    }
}

async fn to_client(
    flow: usize,
    listener: Rc<UdpSocket>,
    relays: Rc<[UdpSocket]>,
    flows: Rc<Flows>,
) {
    let head = channel_data::HEADER_BYTES;
    let mut buf = vec![0; PACKET_BYTES_MAX];
    loop {
        let (received, back) = relays[flow].recv_from(buf.slice(head..)).await;
        buf = back.into_inner();
        let Ok((len, _)) = received else {
            return;
        };
        let payload = u16::try_from(len).unwrap_or(u16::MAX);
        buf[..head].copy_from_slice(&channel_data::header(CHANNEL, payload));
        let (_, back) = listener
            .send_to(buf.slice(..head + len), flows.clients[flow])
            .await;
        buf = back.into_inner();
    }
}
