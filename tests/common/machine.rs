//! The pure client machine on a blocking socket, over UDP or TCP: a client with any credentials.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use sterna_stun::framing;
use sterna_turn::client::{AllocateOptions, ClientConfig, ClientError, Event, Link, TurnClient};

use super::SOON;

/// One look at the socket, between two looks at the clock.
const LOOK: Duration = Duration::from_millis(20);

/// A client and what carries its packets.
pub(crate) struct Machine {
    client: TurnClient,
    wire: Wire,
}

enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
}

impl Machine {
    pub(crate) fn new(server: SocketAddr, config: ClientConfig) -> Self {
        let wire = match config.link {
            Link::Datagram => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
                socket.connect(server).expect("loopback");
                socket.set_read_timeout(Some(LOOK)).expect("a timeout");
                Wire::Udp(socket)
            }
            Link::Stream => {
                let stream = TcpStream::connect(server).expect("a connection");
                stream.set_read_timeout(Some(LOOK)).expect("a timeout");
                Wire::Tcp(stream, Vec::new())
            }
        };
        let client = TurnClient::new(config, rand::random());
        Self { client, wire }
    }

    /// Asks for an allocation; tells why there is none.
    pub(crate) fn allocate(&mut self) -> Result<(), ClientError> {
        self.client
            .allocate(Instant::now(), AllocateOptions::default())?;
        self.answer()
    }

    /// Refreshes the allocation.
    pub(crate) fn refresh(&mut self) -> Result<(), ClientError> {
        self.client.refresh(Instant::now())?;
        self.answer()
    }

    /// Permits a peer.
    pub(crate) fn permit(&mut self, peer: IpAddr) -> Result<(), ClientError> {
        self.client.permit(Instant::now(), &[peer])?;
        self.answer()
    }

    /// Whether the server has let go of the client: refused its Refresh, or closed its connection.
    pub(crate) fn is_refused(&mut self) -> bool {
        self.refresh().is_err()
    }

    /// Works until the request is answered, one way or the other.
    fn answer(&mut self) -> Result<(), ClientError> {
        let deadline = Instant::now() + SOON;
        loop {
            assert!(Instant::now() < deadline, "no answer");
            self.client.handle_timeout(Instant::now());
            while let Some(packet) = self.client.poll_transmit() {
                let sent = match &mut self.wire {
                    Wire::Udp(socket) => socket.send(packet).map(drop),
                    Wire::Tcp(stream, _) => stream.write_all(packet),
                };
                if sent.is_err() {
                    return Err(ClientError::TimedOut);
                }
            }
            match self.receive() {
                Ok(Some(frame)) => {
                    self.client.handle_packet(Instant::now(), &frame);
                }
                Ok(None) => {}
                // Closed from the other side.
                Err(_) => return Err(ClientError::TimedOut),
            }
            while let Some(event) = self.client.poll_event() {
                match event {
                    Event::Allocated(_) | Event::Refreshed { .. } | Event::Permitted { .. } => {
                        return Ok(());
                    }
                    Event::Failed { error, .. } => return Err(error),
                    _ => {}
                }
            }
        }
    }

    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buf = [0; 2048];
        let got = match &mut self.wire {
            Wire::Udp(socket) => socket.recv(&mut buf),
            Wire::Tcp(stream, _) => stream.read(&mut buf),
        };
        let len = match got {
            Ok(len) => len,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        match &mut self.wire {
            Wire::Udp(_) => Ok(Some(buf[..len].to_vec())),
            Wire::Tcp(..) if len == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            Wire::Tcp(_, inbox) => {
                inbox.extend_from_slice(&buf[..len]);
                let whole = framing::next_frame(inbox).expect("a frame");
                Ok(whole
                    .filter(|len| *len <= inbox.len())
                    .map(|len| inbox.drain(..len).collect()))
            }
        }
    }
}
