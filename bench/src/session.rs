//! One TURN client on the tokio side: the machine, and the wire under it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use rand::RngExt as _;
use sterna_turn::client::{
    AllocateOptions, Allocated, ClientConfig, ClientError, Credentials, Event, Received, Redirect,
    Request, Timers, TurnClient,
};
use tokio::time::{Instant as TokioInstant, sleep_until};

use crate::BenchError;
use crate::wire::{Route, Wire};

mod peers;

pub use self::peers::PeerStream;

/// A client of one server.
#[derive(Debug)]
pub struct Session {
    /// The machine, for whoever needs more than the calls below.
    pub client: TurnClient,
    pub(crate) wire: Wire,
    route: Route,
    /// What it has moved away from.
    former: Vec<Wire>,
}

/// What a client has left behind. While it is held, its ports are nobody else's, whom the server would
/// take for that client.
#[derive(Debug)]
pub struct Left(#[expect(dead_code, reason = "it is held")] Vec<Wire>);

/// Data of a peer.
#[derive(Debug)]
pub struct FromPeer {
    /// Who sent it to the relayed address.
    pub peer: SocketAddr,
    /// What.
    pub payload: Bytes,
}

impl Session {
    /// Opens the wire; asks the server for nothing yet.
    pub async fn connect(
        route: &Route,
        credentials: Option<Credentials>,
        timers: Timers,
    ) -> Result<Self, BenchError> {
        let config = ClientConfig {
            timers,
            server: Some(route.server),
            ..ClientConfig::new(route.link(), credentials)
        };
        let client = TurnClient::new(config, rand::rng().random());
        Ok(Self {
            client,
            wire: route.connect().await?,
            route: route.clone(),
            former: Vec::new(),
        })
    }

    /// The client's own address as the server sees it.
    pub async fn binding(&mut self) -> Result<SocketAddr, BenchError> {
        let asked = self.client.binding(Instant::now());
        self.answer_to("Binding", asked, |event| match event {
            Event::Mapped { addr } => Some(addr),
            _ => None,
        })
        .await
    }

    /// Makes an allocation.
    pub async fn allocate(&mut self) -> Result<Allocated, BenchError> {
        self.allocate_with(AllocateOptions::default()).await
    }

    /// Makes an allocation of a certain kind.
    ///
    /// # Errors
    /// [`BenchError::Refused`] when the server refuses it.
    pub async fn allocate_with(
        &mut self,
        options: AllocateOptions,
    ) -> Result<Allocated, BenchError> {
        let mut asked = self.client.allocate(Instant::now(), options);
        loop {
            let answer = self.answer_to("Allocate", asked, |event| match event {
                Event::Allocated(allocated) => Some(Ok(allocated)),
                Event::Redirected(redirect) => Some(Err(redirect)),
                _ => None,
            });
            match answer.await? {
                Ok(allocated) => return Ok(allocated),
                Err(redirect) => asked = self.go_to(&redirect).await?,
            }
        }
    }

    /// The server that it speaks to; another one than at first after a redirection.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.route.server
    }

    /// Goes to the server that the present one names (RFC 8489 §10), over the same transport.
    async fn go_to(&mut self, redirect: &Redirect) -> Result<Result<(), ClientError>, BenchError> {
        self.route = self.route.elsewhere(redirect)?;
        self.wire = self.route.connect().await?;
        Ok(self.client.follow(Instant::now()))
    }

    /// Permits a peer.
    pub async fn permit(&mut self, peer: IpAddr) -> Result<(), BenchError> {
        let asked = self.client.permit(Instant::now(), &[peer]);
        self.answer_to("CreatePermission", asked, |event| {
            matches!(event, Event::Permitted { .. }).then_some(())
        })
        .await
    }

    /// Binds a channel to a peer.
    pub async fn bind_channel(&mut self, peer: SocketAddr) -> Result<(), BenchError> {
        let asked = self.client.bind_channel(Instant::now(), peer).map(|_| ());
        self.answer_to("ChannelBind", asked, |event| {
            matches!(event, Event::ChannelBound { .. }).then_some(())
        })
        .await
    }

    /// Makes the allocation live longer.
    pub async fn refresh(&mut self) -> Result<(), BenchError> {
        let asked = self.client.refresh(Instant::now());
        self.answer_to("Refresh", asked, |event| {
            matches!(event, Event::Refreshed { .. }).then_some(())
        })
        .await
    }

    /// Goes on over another socket or connection, as a client does whose address has changed: the
    /// server knows nothing of it, and the next request for the allocation finds none.
    pub async fn rewire(&mut self, route: &Route) -> Result<Left, BenchError> {
        let wire = route.connect().await?;
        self.route = route.clone();
        let mut left = std::mem::take(&mut self.former);
        left.push(std::mem::replace(&mut self.wire, wire));
        Ok(Left(left))
    }

    /// Takes the allocation along to another socket or connection (RFC 8016), over any transport of
    /// the same server. The old one stays open, whatever comes of it.
    ///
    /// # Errors
    /// [`BenchError::Refused`] when the server refuses, or gave no ticket.
    pub async fn move_to(&mut self, route: &Route) -> Result<(), BenchError> {
        let wire = route.connect().await?;
        self.route = route.clone();
        self.former.push(std::mem::replace(&mut self.wire, wire));
        let asked = self.client.moved(Instant::now(), route.link());
        let moved = self.answer_to("Refresh", asked, |event| match event {
            Event::Moved { .. } => Some(Ok(())),
            Event::Ended(_) => Some(Err(BenchError::AllocationLost)),
            _ => None,
        });
        moved.await??;
        // With the first packet from here, the server sends here.
        self.transmit().await
    }

    /// Closes what it has moved away from.
    pub fn close_former(&mut self) {
        self.former.clear();
    }

    /// Is gone without a word.
    #[must_use]
    pub fn leave(self) -> Left {
        let mut left = self.former;
        left.push(self.wire);
        Left(left)
    }

    /// Gives the allocation back.
    pub async fn release(&mut self) -> Result<(), BenchError> {
        let asked = self.client.release(Instant::now());
        self.answer_to("Refresh", asked, |event| {
            matches!(event, Event::Ended(_)).then_some(())
        })
        .await
    }

    /// Sends a payload to a peer by the shortest way there is.
    pub async fn send(&mut self, peer: SocketAddr, payload: &[u8]) -> Result<(), BenchError> {
        let prefix = self
            .client
            .prefix(peer, payload.len())
            .map_err(refused("Send"))?;
        let tail = &[0; 3][..prefix.tail()];
        let sent = self.wire.send([prefix.bytes(), payload, tail]).await;
        sent.map_err(BenchError::StreamLost)
    }

    /// Waits for data of a peer until `deadline`, and does meanwhile what the client wants done.
    pub async fn receive_until(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<FromPeer>, BenchError> {
        loop {
            while let Some(event) = self.client.poll_event() {
                check_upkeep(&event)?;
            }
            let data = self.step(Some(deadline)).await?;
            if data.is_some() || Instant::now() >= deadline {
                return Ok(data);
            }
        }
    }

    async fn answer_to<T>(
        &mut self,
        what: &'static str,
        asked: Result<(), ClientError>,
        pick: impl Fn(Event) -> Option<T>,
    ) -> Result<T, BenchError> {
        asked.map_err(refused(what))?;
        loop {
            while let Some(event) = self.client.poll_event() {
                if let Event::Failed { error, .. } = event {
                    return Err(BenchError::Refused { what, error });
                }
                if let Some(answer) = pick(event) {
                    return Ok(answer);
                }
            }
            // Data that comes in meanwhile is nobody's: nothing was sent yet, or all was received.
            self.step(None).await?;
        }
    }

    /// Sends what the client wants sent, then waits for a packet, the client's next deadline, or
    /// `deadline`.
    async fn step(&mut self, deadline: Option<Instant>) -> Result<Option<FromPeer>, BenchError> {
        self.transmit().await?;
        let alarm = self.client.poll_timeout().into_iter().chain(deadline).min();
        let ring = async {
            match alarm {
                Some(at) => sleep_until(TokioInstant::from_std(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            packet = self.wire.receive() => {
                let packet = packet.map_err(BenchError::StreamLost)?;
                Ok(match self.client.handle_packet(Instant::now(), &packet) {
                    Received::Data { peer, payload, .. } => {
                        Some(FromPeer { peer, payload: packet.slice(payload) })
                    }
                    Received::Answer
                    | Received::Attempt
                    | Received::Icmp { .. }
                    | Received::Ignored(_) => None,
                })
            }
            () = ring => {
                self.client.handle_timeout(Instant::now());
                Ok(None)
            }
        }
    }

    /// Sends what the client wants sent.
    async fn transmit(&mut self) -> Result<(), BenchError> {
        while let Some(bytes) = self.client.poll_transmit() {
            let sent = self.wire.send([bytes, &[], &[]]).await;
            sent.map_err(BenchError::StreamLost)?;
        }
        Ok(())
    }
}

fn refused(what: &'static str) -> impl Fn(ClientError) -> BenchError {
    move |error| BenchError::Refused { what, error }
}

/// Upkeep that fails ends a run: figures of a crippled session are worth nothing.
pub(crate) fn check_upkeep(event: &Event) -> Result<(), BenchError> {
    match event {
        Event::Failed { request, error } => Err(BenchError::Refused {
            what: name_of(request),
            error: *error,
        }),
        Event::Ended(_) => Err(BenchError::AllocationLost),
        _ => Ok(()),
    }
}

/// The RFC's name of a request.
pub(crate) fn name_of(request: &Request) -> &'static str {
    match request {
        Request::Binding => "Binding",
        Request::Allocate(_) => "Allocate",
        Request::Refresh { .. } | Request::Move { .. } => "Refresh",
        Request::CreatePermission { .. } => "CreatePermission",
        Request::ChannelBind { .. } => "ChannelBind",
        Request::Connect { .. } => "Connect",
        Request::ConnectionBind { .. } => "ConnectionBind",
    }
}
