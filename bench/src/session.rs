//! One TURN client on the tokio side: the machine, and the wire under it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use rand::RngExt as _;
use sterna_turn::client::{
    AllocateOptions, Allocated, ClientConfig, ClientError, Credentials, Event, Received, Request,
    Timers, TurnClient,
};
use tokio::time::{Instant as TokioInstant, sleep_until};

use crate::BenchError;
use crate::wire::{Route, Wire};

/// A client of one server.
pub(crate) struct Session {
    pub(crate) client: TurnClient,
    pub(crate) wire: Wire,
}

/// Data of a peer.
#[derive(Debug)]
pub(crate) struct FromPeer {
    pub(crate) peer: SocketAddr,
    pub(crate) payload: Bytes,
}

impl Session {
    /// Opens the wire; asks the server for nothing yet.
    pub(crate) async fn connect(
        route: &Route,
        credentials: Option<Credentials>,
        timers: Timers,
    ) -> Result<Self, BenchError> {
        let config = ClientConfig {
            timers,
            ..ClientConfig::new(route.link(), credentials)
        };
        let client = TurnClient::new(config, rand::rng().random());
        Ok(Self {
            client,
            wire: route.connect().await?,
        })
    }

    /// The client's own address as the server sees it.
    pub(crate) async fn binding(&mut self) -> Result<SocketAddr, BenchError> {
        let asked = self.client.binding(Instant::now());
        self.answer_to("Binding", asked, |event| match event {
            Event::Mapped { addr } => Some(addr),
            _ => None,
        })
        .await
    }

    /// Makes an allocation.
    pub(crate) async fn allocate(&mut self) -> Result<Allocated, BenchError> {
        let asked = self
            .client
            .allocate(Instant::now(), AllocateOptions::default());
        self.answer_to("Allocate", asked, |event| match event {
            Event::Allocated(allocated) => Some(allocated),
            _ => None,
        })
        .await
    }

    /// Permits a peer.
    pub(crate) async fn permit(&mut self, peer: IpAddr) -> Result<(), BenchError> {
        let asked = self.client.permit(Instant::now(), &[peer]);
        self.answer_to("CreatePermission", asked, |event| {
            matches!(event, Event::Permitted { .. }).then_some(())
        })
        .await
    }

    /// Binds a channel to a peer.
    pub(crate) async fn bind_channel(&mut self, peer: SocketAddr) -> Result<(), BenchError> {
        let asked = self.client.bind_channel(Instant::now(), peer).map(|_| ());
        self.answer_to("ChannelBind", asked, |event| {
            matches!(event, Event::ChannelBound { .. }).then_some(())
        })
        .await
    }

    /// Gives the allocation back.
    pub(crate) async fn release(&mut self) -> Result<(), BenchError> {
        let asked = self.client.release(Instant::now());
        self.answer_to("Refresh", asked, |event| {
            matches!(event, Event::Ended(_)).then_some(())
        })
        .await
    }

    /// Sends a payload to a peer by the shortest way there is.
    pub(crate) async fn send(
        &mut self,
        peer: SocketAddr,
        payload: &[u8],
    ) -> Result<(), BenchError> {
        let prefix = self
            .client
            .prefix(peer, payload.len())
            .map_err(refused("Send"))?;
        let tail = &[0; 3][..prefix.tail()];
        let sent = self.wire.send([prefix.bytes(), payload, tail]).await;
        sent.map_err(BenchError::StreamLost)
    }

    /// Waits for data of a peer until `deadline`, and does meanwhile what the client wants done.
    pub(crate) async fn receive_until(
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
        while let Some(bytes) = self.client.poll_transmit() {
            let sent = self.wire.send([bytes, &[], &[]]).await;
            sent.map_err(BenchError::StreamLost)?;
        }
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
                    Received::Answer | Received::Ignored(_) => None,
                })
            }
            () = ring => {
                self.client.handle_timeout(Instant::now());
                Ok(None)
            }
        }
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
        Request::Refresh { .. } => "Refresh",
        Request::CreatePermission { .. } => "CreatePermission",
        Request::ChannelBind { .. } => "ChannelBind",
    }
}
