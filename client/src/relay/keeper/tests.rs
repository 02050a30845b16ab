//! The keeper's decisions, over links that are put in by hand.
#![allow(clippy::unwrap_used)]

use sterna_control_api::relay_map::{Node, NodeState};
use sterna_control_api::{NodeId, RelayKey};
use sterna_flow::Secret;
use sterna_flow::message::Restarting;

use super::super::Reason;
use super::super::limits::OLD_LINK_LIFE;
use super::*;

/// A keeper of a home, a spare and an alternate, and what it tells.
struct Bench {
    keeper: Keeper,
    events: mpsc::Receiver<Event>,
    paths: watch::Receiver<Paths>,
    /// The other ends of its links.
    links: BTreeMap<LinkId, mpsc::Receiver<Command>>,
    _packets: mpsc::Receiver<Packet>,
}

fn node(name: u8) -> Node {
    Node {
        name: name.to_string(),
        identity: NodeId([name; 32]),
        noise_key: RelayKey([name; 32]),
        state: NodeState::Ready,
        load: 0,
        stun: Vec::new(),
        udp: Vec::new(),
        quic: Vec::new(),
        wss: Vec::new(),
        host: String::new(),
        pins: Vec::new(),
    }
}

impl Bench {
    fn new() -> Self {
        let config = Config {
            secret: Secret::new([1; 32]),
            ticket: Vec::new(),
            nodes: [0, 1, 2].map(node).to_vec(),
            rungs: Rung::ALL.to_vec(),
        };
        let (packets_in, packets) = mpsc::channel(1);
        let (events_in, events) = mpsc::channel(100);
        let (paths_in, paths) = watch::channel(Paths::default());
        let dropped = Arc::default();
        let timing = Timing::default();
        Self {
            keeper: Keeper::new(config, timing, packets_in, events_in, paths_in, dropped),
            events,
            paths,
            links: BTreeMap::new(),
            _packets: packets,
        }
    }

    /// A link that stands.
    fn link(&mut self, place: usize, rung: Rung) -> LinkId {
        let id = LinkId(self.keeper.next_id);
        self.keeper.next_id += 1;
        let (commands, received) = mpsc::channel(100);
        let known = Known {
            place,
            node: self.keeper.config.nodes[place].identity,
            rung,
            commands,
            up: false,
            suspect: false,
            leaving: None,
            until: None,
        };
        self.keeper.links.insert(id, known);
        self.links.insert(id, received);
        self.keeper.stands(id);
        id
    }

    /// The links that packets take now.
    fn in_use(&self) -> Vec<LinkId> {
        let paths = self.paths.borrow();
        let of = |link: &mpsc::Sender<Command>| {
            let mut all = self.keeper.links.iter();
            let found = all.find(|(_, known)| known.commands.same_channel(link));
            *found.unwrap().0
        };
        paths.links().map(of).collect()
    }

    fn reasons(&mut self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            if let Event::Path { reason, .. } = event {
                reasons.push(reason);
            }
        }
        reasons
    }

    fn hear(&mut self, id: LinkId, event: device::Event) {
        self.keeper.hear(id, Report::Event(event));
    }

    fn alive(&mut self, id: LinkId) {
        let rtt = Duration::from_millis(10);
        let was_suspect = false;
        self.hear(id, device::Event::Alive { rtt, was_suspect });
    }
}

fn restarting(spread_ms: u32, alternates: &[u8]) -> device::Event {
    device::Event::Restarting(Restarting {
        reconnect_in_ms: 5_000,
        spread_ms,
        alternates: alternates.iter().map(|name| NodeId([*name; 32])).collect(),
    })
}

#[tokio::test]
async fn while_the_path_is_in_doubt_packets_go_over_both_until_one_answers() {
    for spare_answers in [true, false] {
        let mut bench = Bench::new();
        let home = bench.link(0, Rung::Udp);
        let spare = bench.link(1, Rung::Udp);
        assert_eq!(bench.in_use(), [home]);
        bench.hear(home, device::Event::Suspect);
        assert_eq!(bench.in_use(), [home, spare]);
        let asked = std::iter::from_fn(|| bench.links.get_mut(&spare)?.try_recv().ok());
        assert!(asked.into_iter().any(|word| matches!(word, Command::Check)));
        let first = if spare_answers { spare } else { home };
        bench.alive(first);
        assert_eq!(bench.in_use(), [first]);
        let expected: &[_] = if spare_answers {
            &[Reason::First, Reason::Failed]
        } else {
            &[Reason::First]
        };
        assert_eq!(bench.reasons(), expected);
        // Home is home, once it is trusted again.
        bench.alive(home);
        assert_eq!(bench.in_use(), [home]);
    }
}

#[tokio::test]
async fn with_both_in_doubt_packets_go_on_over_the_home_path() {
    let mut bench = Bench::new();
    let home = bench.link(0, Rung::Udp);
    let spare = bench.link(1, Rung::Udp);
    bench.hear(home, device::Event::Suspect);
    bench.hear(spare, device::Event::Suspect);
    assert_eq!(bench.in_use(), [home]);
    bench.alive(spare);
    assert_eq!(bench.in_use(), [spare]);
}

#[tokio::test]
async fn a_node_that_goes_away_is_left_for_the_spare_within_the_spread() {
    let mut moved = Vec::new();
    for _ in 0..40 {
        let mut bench = Bench::new();
        let home = bench.link(0, Rung::Udp);
        let other_rung_of_home = bench.link(0, Rung::Quic);
        let spare = bench.link(1, Rung::Wss);
        let told = Instant::now();
        bench.hear(home, restarting(60_000, &[2]));
        assert_eq!(bench.in_use(), [home], "not at once");
        let at = bench.keeper.links[&home].leaves_at().unwrap();
        moved.push(at - told);
        bench.keeper.act(at - Duration::from_millis(1));
        assert_eq!(bench.in_use(), [home]);
        bench.keeper.act(at);
        assert_eq!(bench.in_use(), [spare]);
        assert_eq!(bench.reasons().last(), Some(&Reason::Restarting));
        // Peers that move later still find it there.
        bench.keeper.act(told + Duration::from_secs(60));
        assert!(bench.keeper.links.contains_key(&home));
        bench.keeper.act(told + Duration::from_secs(63));
        assert!(!bench.keeper.links.contains_key(&home));
        assert!(!bench.keeper.links.contains_key(&other_rung_of_home));
    }
    moved.sort();
    assert!(moved[0] < Duration::from_secs(20), "{moved:?}");
    assert!(
        moved[39] > Duration::from_secs(40) && moved[39] < Duration::from_secs(61),
        "{moved:?}"
    );
}

#[tokio::test]
async fn without_a_spare_an_alternate_that_the_node_names_is_gone_to_and_left_when_home_is_back() {
    let mut bench = Bench::new();
    let home = bench.link(0, Rung::Udp);
    bench.hear(home, restarting(0, &[9, 2]));
    bench.keeper.act(Instant::now());
    assert_eq!(bench.in_use(), [home], "better than none");
    let tried = |keeper: &Keeper, place| keeper.links.values().any(|known| known.place == place);
    assert!(tried(&bench.keeper, 2), "the one that the map knows");
    let alternate = bench.link(2, Rung::Quic);
    assert_eq!(bench.in_use(), [alternate]);
    assert_eq!(bench.reasons(), [Reason::First, Reason::Restarting]);
    bench.keeper.lose(home);
    let again = bench.link(0, Rung::Quic);
    assert_eq!(bench.in_use(), [again]);
    bench.keeper.act(Instant::now() + OLD_LINK_LIFE);
    assert!(!bench.keeper.links.contains_key(&alternate));
}

#[tokio::test]
async fn a_device_with_nowhere_to_go_stays_to_the_end_and_comes_back_within_the_spread() {
    let mut bench = Bench::new();
    let home = bench.link(0, Rung::Udp);
    bench.hear(home, restarting(10_000, &[]));
    bench.keeper.act(Instant::now() + Duration::from_secs(10));
    assert_eq!(bench.in_use(), [home]);
    let ended = Instant::now();
    bench.keeper.lose(home);
    let (at, _) = bench.keeper.later.retry[&0];
    assert!(
        at >= ended && at <= ended + Duration::from_secs(25),
        "{:?}",
        at - ended
    );
}
