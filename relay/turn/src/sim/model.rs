//! What RFC 8656 and the policy say, in the plainest words: maps, scans, no shortcuts.

mod mobility;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use self::mobility::{Claim, Tickets};
use crate::{DropReason, Transport, testing::Caller};

pub(super) const RELAY_V4: &str = "198.51.100.1";
pub(super) const RELAY_V6: &str = "2620:5::1";
pub(super) const PORTS: std::ops::RangeInclusive<u16> = 50_000..=50_013;
pub(super) const FOREIGN: [u16; 3] = [50_002, 50_005, 50_012];
pub(super) const USER_MAX: usize = 5;

/// The client's end of a 5-tuple.
pub(super) type Tuple = (Transport, u32, SocketAddr);

/// A request, as its sender means it.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Allocate {
        v6: bool,
        /// Both families.
        dual: bool,
        even: Option<bool>,
        token: Option<[u8; 8]>,
        lifetime_s: Option<u32>,
        /// A ticket is wanted.
        mobile: bool,
    },
    Refresh {
        ticket: Option<Vec<u8>>,
        v6: Option<bool>,
        lifetime_s: u32,
    },
    Permit(Vec<SocketAddr>),
    Bind(u16, SocketAddr),
}

/// Who asks, and with what.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub(super) name: String,
    pub(super) right: bool,
    pub(super) nonce: Vec<u8>,
    pub(super) transaction: u64,
    /// Who can tell whether an answer is signed as it should be.
    pub(super) caller: Box<Caller>,
}

/// What the answer to a request is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// 0 for success.
    pub(super) code: u16,
    pub(super) told: Told,
}

impl From<u16> for Expected {
    fn from(code: u16) -> Self {
        Self {
            code,
            told: Told::Nothing,
        }
    }
}

/// What an answer is to say of tickets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    /// A ticket that was never given before.
    New,
    Again(Vec<u8>),
}

/// Data, as its sender means it.
#[derive(Copy, Clone, Debug)]
pub(super) enum Datum {
    Send(SocketAddr, usize),
    Channel(u16, usize),
}

/// Where data is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    ToPeer {
        relayed: SocketAddr,
        peer: SocketAddr,
        len: usize,
    },
    ToClient {
        tuple: Tuple,
        channel: Option<u16>,
        from: SocketAddr,
        len: usize,
    },
    ToWorker {
        worker: usize,
        to: SocketAddr,
        from: SocketAddr,
        len: usize,
    },
    Drop(DropReason),
}

#[derive(Clone, Debug)]
pub(super) struct Alloc {
    /// Where data for the client goes.
    home: Tuple,
    /// The home is a connection that is gone.
    away: bool,
    /// Moved to, and no data from there so far; the newest last.
    waiting: Vec<Tuple>,
    tickets: Option<Tickets>,
    /// Relayed addresses and their ends: one, or one of each family.
    pub(super) halves: Vec<(SocketAddr, Instant)>,
    pub(super) worker: usize,
    name: String,
    permissions: BTreeMap<IpAddr, Instant>,
    channels: BTreeMap<u16, (SocketAddr, Instant)>,
    transaction: u64,
    pub(super) lifetime_s: u32,
    pub(super) token: Option<[u8; 8]>,
    refused: Option<(bool, u16)>,
}

impl Alloc {
    fn half(&self, v6: bool) -> Option<SocketAddr> {
        let mut halves = self.halves.iter();
        halves
            .find(|(relayed, _)| relayed.is_ipv6() == v6)
            .map(|(relayed, _)| *relayed)
    }

    pub(super) fn has(&self, relayed: SocketAddr) -> bool {
        self.halves.iter().any(|(half, _)| *half == relayed)
    }

    /// Gives the halves that are meant another end.
    fn refresh(&mut self, now: Instant, v6: Option<bool>, lifetime_s: u32) {
        let end = match lifetime_s {
            0 => now,
            lifetime_s => now + seconds(lifetime_s.clamp(600, 3600)),
        };
        for half in &mut self.halves {
            if v6.is_none_or(|v6| half.0.is_ipv6() == v6) {
                half.1 = end;
            }
        }
    }

    /// What belongs to no half goes.
    fn prune(&mut self) {
        let (v4, v6) = (self.half(false).is_some(), self.half(true).is_some());
        let stays = |ip: IpAddr| if ip.is_ipv6() { v6 } else { v4 };
        self.permissions.retain(|ip, _| stays(*ip));
        self.channels.retain(|_, (peer, _)| stays(peer.ip()));
    }
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) allocs: Vec<Alloc>,
    /// Token → held address, account, end.
    reserved: BTreeMap<[u8; 8], (SocketAddr, String, Instant)>,
    /// Nonce → whom it was given to, and in which minute.
    pub(super) nonces: BTreeMap<Vec<u8>, (SocketAddr, u64)>,
    /// Every ticket that was ever given.
    given: BTreeSet<Vec<u8>>,
    pub(super) forbids_mobility: bool,
    pub(super) deny_dns: bool,
    pub(super) draining: bool,
    pub(super) minute: u64,
}

fn seconds(s: u32) -> Duration {
    Duration::from_secs(s.into())
}

impl Model {
    /// Forgets what has ended by now.
    pub(super) fn at(&mut self, now: Instant, minute: u64) {
        self.minute = minute;
        for alloc in &mut self.allocs {
            alloc.halves.retain(|(_, end)| *end > now);
            alloc.prune();
            alloc.permissions.retain(|_, end| *end > now);
            alloc.channels.retain(|_, (_, end)| *end > now);
        }
        self.allocs.retain(|alloc| !alloc.halves.is_empty());
        self.reserved.retain(|_, (_, _, end)| *end > now);
    }

    /// The allocation of a 5-tuple.
    pub(super) fn of(&self, tuple: Tuple) -> Option<&Alloc> {
        self.allocs.iter().find(|alloc| alloc.is_at(tuple))
    }

    fn of_mut(&mut self, tuple: Tuple) -> Option<&mut Alloc> {
        self.allocs.iter_mut().find(|alloc| alloc.is_at(tuple))
    }

    /// The answer to a request that comes to a worker. Where an allocation is, the machine has to tell.
    pub(super) fn request(
        &mut self,
        now: Instant,
        tuple: Tuple,
        worker: usize,
        ask: &Ask,
        by: &Signature,
    ) -> Expected {
        let known = ["alice", "bob"].contains(&by.name.as_str());
        if !by.right || !known {
            return 401.into();
        }
        let fresh = self
            .nonces
            .get(&by.nonce)
            .is_some_and(|(to, minute)| *to == tuple.2 && self.minute - minute <= 60);
        if !fresh {
            return 438.into();
        }
        match ask {
            Ask::Allocate { even, token, .. } => self.allocate(tuple, ask, *even, *token, by),
            &Ask::Refresh {
                ticket: Some(ref ticket),
                v6,
                lifetime_s,
            } => {
                let claim = Claim {
                    ticket,
                    v6,
                    lifetime_s,
                };
                self.claimed(now, tuple, worker, claim, by)
            }
            _ => self.within(now, tuple, ask, by).into(),
        }
    }

    /// The code of the answer to what is asked of the allocation of a 5-tuple.
    fn within(&mut self, now: Instant, tuple: Tuple, ask: &Ask, by: &Signature) -> u16 {
        let Some(alloc) = self.of(tuple) else {
            return 437;
        };
        if alloc.name != by.name {
            return 441;
        }
        match ask {
            &Ask::Refresh { v6, lifetime_s, .. } => {
                if v6.is_some_and(|v6| alloc.half(v6).is_none()) {
                    return 443;
                }
                if let Some(alloc) = self.of_mut(tuple) {
                    alloc.refresh(now, v6, lifetime_s);
                }
                self.at(now, self.minute);
                0
            }
            Ask::Permit(peers) => {
                if peers.is_empty() {
                    return 400;
                }
                for peer in peers {
                    if alloc.half(peer.is_ipv6()).is_none() {
                        return 443;
                    }
                    if !self.permits(peer.ip()) {
                        return 403;
                    }
                }
                for peer in peers {
                    self.install(now, tuple, peer.ip());
                }
                0
            }
            Ask::Bind(number, peer) => {
                let mut channels = alloc.channels.iter();
                let otherwise = channels.any(|(n, (p, _))| (n == number) != (p == peer));
                if !(0x4000..=0x4fff).contains(number) || otherwise {
                    return 400;
                }
                if alloc.half(peer.is_ipv6()).is_none() {
                    return 443;
                }
                if !self.permits(peer.ip()) || !self.permits_port(*peer) {
                    return 403;
                }
                self.install(now, tuple, peer.ip());
                if let Some(alloc) = self.of_mut(tuple) {
                    alloc.channels.insert(*number, (*peer, now + seconds(600)));
                }
                0
            }
            Ask::Allocate { .. } => unreachable!("answered above"),
        }
    }

    fn allocate(
        &mut self,
        tuple: Tuple,
        ask: &Ask,
        even: Option<bool>,
        token: Option<[u8; 8]>,
        by: &Signature,
    ) -> Expected {
        let Ask::Allocate {
            v6, dual, mobile, ..
        } = *ask
        else {
            unreachable!("asked for by Allocate only")
        };
        if let Some(alloc) = self.of(tuple) {
            if alloc.transaction != by.transaction {
                return 437.into();
            }
            let again = |tickets: &Tickets| Told::Again(tickets.current().to_vec());
            return Expected {
                code: 0,
                told: alloc.tickets.as_ref().map_or(Told::Nothing, again),
            };
        }
        if token.is_some() && (v6 || dual || even.is_some()) || v6 && dual {
            return 400.into();
        }
        if dual && even == Some(true) {
            return 400.into();
        }
        if mobile && self.forbids_mobility {
            return 405.into();
        }
        let granted = Expected {
            code: 0,
            told: if mobile { Told::New } else { Told::Nothing },
        };
        if let Some(token) = token {
            let held = self
                .reserved
                .get(&token)
                .is_some_and(|(_, name, _)| *name == by.name);
            if !held || self.draining {
                return 508.into();
            }
            // The reservation's place in the quota becomes the allocation's.
            return granted;
        }
        if self.draining {
            return 508.into();
        }
        let wants = if even == Some(true) { 2 } else { 1 };
        if self.held_by(&by.name) + wants > USER_MAX {
            return 486.into();
        }
        let (halves, _) = self.halves_for(v6, dual, even, &by.name);
        if halves.is_empty() {
            return 508.into();
        }
        granted
    }

    /// Relayed and reserved addresses of a user.
    fn held_by(&self, name: &str) -> usize {
        let reserved = self.reserved.values();
        let allocs = self.allocs.iter().filter(|alloc| alloc.name == name);
        reserved.filter(|(_, holder, _)| holder == name).count()
            + allocs.map(|alloc| alloc.halves.len()).sum::<usize>()
    }

    /// Which families are to be had of those that are wanted, and what is said of the other one.
    fn halves_for(
        &self,
        v6: bool,
        dual: bool,
        even: Option<bool>,
        name: &str,
    ) -> (Vec<bool>, Option<(bool, u16)>) {
        if !dual {
            let had = self.is_to_be_had(v6, even);
            return (Vec::from_iter(had.then_some(v6)), None);
        }
        let room_for_two = self.held_by(name) + 2 <= USER_MAX;
        let mut halves = Vec::new();
        let mut refused = None;
        for v6 in [false, true] {
            if self.is_to_be_had(v6, even) && (room_for_two || !v6) {
                halves.push(v6);
            } else {
                refused = Some((v6, 508));
            }
        }
        (halves, refused)
    }

    fn is_to_be_had(&self, v6: bool, even: Option<bool>) -> bool {
        let ip: IpAddr = if v6 { RELAY_V6 } else { RELAY_V4 }.parse().expect("ok");
        let free = |port: u16| {
            let addr = SocketAddr::new(ip, port);
            PORTS.contains(&port)
                && (v6 || !FOREIGN.contains(&port))
                && self.allocs.iter().all(|alloc| !alloc.has(addr))
                && self.reserved.values().all(|(held, _, _)| *held != addr)
        };
        let fits = |port: u16| match even {
            None => free(port),
            Some(false) => port.is_multiple_of(2) && free(port),
            Some(true) => port.is_multiple_of(2) && free(port) && free(port + 1),
        };
        PORTS.into_iter().any(fits)
    }

    /// Takes note of an allocation that was granted, and of where.
    #[allow(clippy::too_many_arguments)] // all that an answer says
    pub(super) fn granted(
        &mut self,
        now: Instant,
        tuple: Tuple,
        worker: usize,
        ask: &Ask,
        by: &Signature,
        relayed: &[SocketAddr],
        refused: Option<(bool, u16)>,
        token: Option<[u8; 8]>,
    ) {
        let Ask::Allocate {
            v6,
            dual,
            even,
            token: shown,
            lifetime_s,
            mobile,
        } = ask
        else {
            return;
        };
        if let Some(alloc) = self.of(tuple) {
            let halves: Vec<_> = alloc.halves.iter().map(|(half, _)| *half).collect();
            assert_eq!(
                (&halves[..], alloc.refused, alloc.token),
                (relayed, refused, token),
                "the same success again, of what lives"
            );
            return;
        }
        for relayed in relayed {
            assert!(PORTS.contains(&relayed.port()));
            assert!(
                self.allocs.iter().all(|alloc| !alloc.has(*relayed)),
                "given twice"
            );
        }
        assert_eq!(token.is_some(), *even == Some(true));
        match shown.and_then(|shown| self.reserved.remove(&shown)) {
            Some((held, _, _)) => assert_eq!((relayed, refused), (&[held][..], None)),
            None => {
                let families: Vec<_> = relayed.iter().map(SocketAddr::is_ipv6).collect();
                let expected = self.halves_for(*v6, *dual, *even, &by.name);
                assert_eq!((families, refused), expected);
                for relayed in relayed {
                    assert!(self.reserved.values().all(|(held, _, _)| held != relayed));
                    assert!(even.is_none() || relayed.port().is_multiple_of(2));
                }
            }
        }
        if let Some(token) = token {
            let held = SocketAddr::new(relayed[0].ip(), relayed[0].port() + 1);
            self.reserved
                .insert(token, (held, by.name.clone(), now + seconds(60)));
        }
        let lifetime_s = lifetime_s.unwrap_or(600).clamp(600, 3600);
        let end = now + seconds(lifetime_s);
        let alloc = Alloc {
            home: tuple,
            away: false,
            waiting: Vec::new(),
            // The answer tells it.
            tickets: mobile.then(|| Tickets::new(Vec::new())),
            halves: relayed.iter().map(|relayed| (*relayed, end)).collect(),
            worker,
            name: by.name.clone(),
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
            transaction: by.transaction,
            lifetime_s,
            token,
            refused,
        };
        self.allocs.push(alloc);
    }

    fn install(&mut self, now: Instant, tuple: Tuple, ip: IpAddr) {
        if let Some(alloc) = self.of_mut(tuple) {
            alloc.permissions.insert(ip, now + seconds(300));
        }
    }

    /// Where data from a client goes.
    pub(super) fn route_of(&self, tuple: Tuple, datum: Datum) -> Route {
        let Some(alloc) = self.of(tuple) else {
            return Route::Drop(DropReason::NoAllocation);
        };
        let (peer, len) = match datum {
            Datum::Channel(number, len) => match alloc.channels.get(&number) {
                Some((peer, _)) => (*peer, len),
                None => return Route::Drop(DropReason::NoChannel),
            },
            Datum::Send(peer, len) => (peer, len),
        };
        let Some(relayed) = alloc.half(peer.is_ipv6()) else {
            return Route::Drop(DropReason::PeerFamilyMismatch);
        };
        if !alloc.permissions.contains_key(&peer.ip()) {
            return Route::Drop(DropReason::NoPermission);
        }
        if !self.permits_port(peer) {
            return Route::Drop(DropReason::PeerPortDenied);
        }
        assert!(self.permits(peer.ip()), "a permission for a forbidden peer");
        if !is_own(peer.ip()) {
            return Route::ToPeer { relayed, peer, len };
        }
        let mut others = self.allocs.iter();
        match others.find(|other| other.has(peer)) {
            None => Route::Drop(DropReason::OwnAddress),
            Some(other) if other.worker == alloc.worker => self.to_client(peer, relayed, len),
            Some(other) => Route::ToWorker {
                worker: other.worker,
                to: peer,
                from: relayed,
                len,
            },
        }
    }

    /// Where data for a relayed address goes.
    pub(super) fn to_client(&self, relayed: SocketAddr, from: SocketAddr, len: usize) -> Route {
        let mut allocs = self.allocs.iter();
        let Some(alloc) = allocs.find(|alloc| alloc.has(relayed)) else {
            return Route::Drop(DropReason::UnknownRelayPort);
        };
        if !alloc.permissions.contains_key(&from.ip()) {
            return Route::Drop(DropReason::NoPermission);
        }
        let mut channels = alloc.channels.iter();
        let channel = channels
            .find(|(_, (peer, _))| *peer == from)
            .map(|(number, _)| *number);
        Route::ToClient {
            tuple: alloc.home,
            channel,
            from,
            len,
        }
    }

    /// The operator denies a prefix, or no longer.
    pub(super) fn deny_dns(&mut self, deny: bool) {
        self.deny_dns = deny;
        if deny {
            for alloc in &mut self.allocs {
                alloc.permissions.retain(|ip, _| !is_dns(*ip));
                alloc.channels.retain(|_, (peer, _)| !is_dns(peer.ip()));
            }
        }
    }

    /// The operator ends the sessions of a user; returns how many.
    pub(super) fn revoke(&mut self, name: &str) -> usize {
        let before = self.allocs.len();
        self.allocs.retain(|alloc| alloc.name != name);
        before - self.allocs.len()
    }

    fn permits(&self, ip: IpAddr) -> bool {
        let public = [
            "8.8.8.8",
            "8.8.4.4",
            "1.1.1.1",
            "2606:4700::1",
            "::ffff:8.8.8.8",
        ];
        let public = public.iter().any(|public| public.parse() == Ok(ip));
        (public || is_own(ip)) && !(self.deny_dns && is_dns(ip))
    }

    fn permits_port(&self, peer: SocketAddr) -> bool {
        peer.port() >= 1024 && !(is_own(peer.ip()) && peer.port() == 3478)
    }
}

fn is_own(ip: IpAddr) -> bool {
    [RELAY_V4, RELAY_V6].iter().any(|own| own.parse() == Ok(ip))
}

fn is_dns(ip: IpAddr) -> bool {
    ["8.8.4.4", "2606:4700::1"]
        .iter()
        .any(|dns| dns.parse() == Ok(ip))
}
