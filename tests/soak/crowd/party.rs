//! One end of a conversation.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use rand::RngExt as _;
use rand::rngs::StdRng;
use sterna_bench::{BenchError, Credentials, Route, Session};
use sterna_stun::attr::AddressFamily;
use sterna_turn::client::{AllocateOptions, Allocated, ClientError, FamilyWish, PortWish, Timers};

use super::{CUT_USER, PASSWORD, Way, World};
use crate::common::node;

/// One end of a conversation.
pub(super) struct Party {
    pub(super) session: Session,
    /// Which of the world's.
    pub(super) way: usize,
    pub(super) relayed: SocketAddr,
    /// Whoever may be cut may lose packets.
    pub(super) may_lose: bool,
    /// It has a ticket to move with.
    pub(super) is_mobile: bool,
    channels: Vec<SocketAddr>,
    pub(super) permitted: Vec<IpAddr>,
}

impl Party {
    pub(super) async fn new(
        world: &World,
        way: usize,
        user: &str,
        rng: &mut StdRng,
    ) -> Result<Self, BenchError> {
        let Way { server, route, .. } = &world.ways[way];
        // Where one that nobody comes for would outlast the soak, each is come for, and nobody makes
        // one who may be cut before that.
        let may_forget = world.may_forget.load(Ordering::Relaxed);
        let may_reserve = may_forget || user != CUT_USER;
        let wish = match rng.random_range(0..16) {
            0 => PortWish::Even,
            1 if may_reserve => PortWish::EvenAndNext,
            _ => PortWish::Any,
        };
        let mut options = options(*server, wish);
        // A dual allocation, of which the IPv4 half is used and both are held.
        if server.is_ipv4() && wish == PortWish::Any && rng.random_range(0..4) == 0 {
            options.family = FamilyWish::Both;
        }
        options.mobile = rng.random();
        let (session, made) = allocate(route, user, options).await?;
        if let Some(token) = made.reservation_token
            && (!may_forget || rng.random())
        {
            // The second of the pair, from anywhere.
            let options = AllocateOptions {
                port: PortWish::Reserved(token),
                ..AllocateOptions::default()
            };
            let (mut second, adopted) = allocate(route, user, options).await?;
            if adopted.relayed.port() != made.relayed.port() + 1 {
                world.fail(format!("{made:?}, then {adopted:?}"));
            }
            second.release().await?;
        }
        Ok(Self {
            session,
            way,
            relayed: made.relayed,
            may_lose: user == CUT_USER,
            is_mobile: options.mobile,
            channels: Vec::new(),
            permitted: Vec::new(),
        })
    }

    /// Makes another allocation in place of one that is lost.
    pub(super) async fn begin_anew(&mut self, world: &World) -> Result<(), BenchError> {
        let options = options(world.ways[self.way].server, PortWish::Any);
        self.relayed = self.session.allocate_with(options).await?.relayed;
        self.is_mobile = false;
        self.channels.clear();
        self.permitted.clear();
        Ok(())
    }

    /// Opens the way to a peer, unless it is open.
    pub(super) async fn open(
        &mut self,
        peer: SocketAddr,
        by_channel: bool,
    ) -> Result<(), BenchError> {
        if self.channels.contains(&peer) {
            return Ok(());
        }
        if by_channel {
            self.session.bind_channel(peer).await?;
            self.channels.push(peer);
        } else if !self.permitted.contains(&peer.ip()) {
            self.session.permit(peer.ip()).await?;
            self.permitted.push(peer.ip());
        }
        Ok(())
    }
}

/// Connects and allocates. A new socket may get the port of one that has left without a word, whose
/// allocation lives on: then another one is taken (RFC 8656 §7.4, 437).
pub(super) async fn allocate(
    route: &Route,
    user: &str,
    options: AllocateOptions,
) -> Result<(Session, Allocated), BenchError> {
    loop {
        let mut session = connect(route, user).await?;
        match session.allocate_with(options).await {
            Err(BenchError::Refused {
                error: ClientError::Refused(437),
                ..
            }) => {}
            made => return made.map(|made| (session, made)),
        }
    }
}

pub(super) async fn connect(route: &Route, user: &str) -> Result<Session, BenchError> {
    Session::connect(route, Some(credentials(user)), Timers::default()).await
}

pub(super) fn credentials(user: &str) -> Credentials {
    let password = match user {
        node::USER => node::PASSWORD,
        node::OTHER_USER => node::OTHER_PASSWORD,
        _ => PASSWORD,
    };
    Credentials {
        username: user.to_owned(),
        password: password.to_owned(),
    }
}

pub(super) fn options(server: SocketAddr, port: PortWish) -> AllocateOptions {
    AllocateOptions {
        family: match server {
            SocketAddr::V4(_) => FamilyWish::Any,
            SocketAddr::V6(_) => FamilyWish::Only(AddressFamily::Ipv6),
        },
        port,
        ..AllocateOptions::default()
    }
}
