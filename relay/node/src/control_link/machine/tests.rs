#![allow(clippy::unwrap_used)]

use sterna_control_api::node::DesiredState;

use super::super::testing::{Service, described};
use super::*;

/// How long an answer is on its way.
const LATENCY: Duration = Duration::from_millis(20);

/// A node and its service on a clock of their own.
struct World {
    now: Instant,
    began: Instant,
    machine: Machine,
    service: Service,
    /// Whether the service knows the node.
    knows: bool,
    /// What it says instead of answering.
    refuses: Option<Refusal>,
    /// Whether a join token is asked of nodes that are not known.
    token_counts: bool,
    probe: bool,
    /// Whether it holds heartbeats while there is nothing new.
    holds: bool,
    /// A heartbeat that it holds: until when, and what the node follows.
    held: Option<(Instant, u64)>,
    taken: Vec<Arc<Standing>>,
    calls: Vec<Said>,
}

/// A call, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    at: Duration,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Register { token: bool },
    Heartbeat { orders: u64, reachable: bool },
}

fn away() -> Refusal {
    Refusal::Unreachable("connection refused".to_owned())
}

fn unknown(code: Code) -> Refusal {
    Refusal::Problem {
        code,
        detail: "no".to_owned(),
        retry_after: None,
    }
}

impl World {
    fn new(standing: Option<Arc<Standing>>) -> Self {
        Self::seeded(standing, 1)
    }

    fn seeded(standing: Option<Arc<Standing>>, seed: u8) -> Self {
        let now = Instant::now();
        let mut machine = Machine::new(now, described(3478), standing, [seed; 32]);
        machine.connect(now, true, true);
        Self {
            now,
            began: now,
            machine,
            service: Service::new(),
            knows: false,
            refuses: None,
            token_counts: true,
            probe: true,
            holds: false,
            held: None,
            taken: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while let Some(action) = self.machine.poll_action(self.now) {
                self.act(&action);
            }
            let held = self.held.map(|(until, _)| until);
            match self.machine.poll_timeout().into_iter().chain(held).min() {
                Some(due) if due <= end => self.now = self.now.max(due),
                _ => break,
            }
            if held.is_some_and(|until| until <= self.now) {
                self.release();
            }
        }
        self.now = end;
    }

    /// Answers the heartbeat that is held.
    fn release(&mut self) {
        if let Some((_, follows)) = self.held.take() {
            let answer = Ok(self.service.beaten(follows));
            self.now += LATENCY;
            let news = self.machine.on_heartbeat(self.now, answer);
            self.taken.extend(news);
        }
    }

    /// Orders something else; a heartbeat that is held is answered with it.
    fn order(&mut self, change: impl FnOnce(&mut sterna_control_api::node::Orders)) {
        self.service.change(change);
        self.release();
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Probe => self.machine.on_probed(self.now, self.probe),
            Action::Register { show_token, .. } => {
                self.held = None;
                self.say(What::Register { token: *show_token });
                let answer = match &self.refuses {
                    Some(refusal) => Err(refusal.clone()),
                    None if self.knows || *show_token && self.token_counts => {
                        self.knows = true;
                        Ok(self.service.registered())
                    }
                    None => Err(unknown(Code::Unauthorized)),
                };
                self.now += LATENCY;
                let news = self.machine.on_registered(self.now, answer);
                self.taken.extend(news);
            }
            Action::Heartbeat {
                orders,
                reachable,
                wait,
            } => {
                let (orders, reachable) = (*orders, *reachable);
                self.say(What::Heartbeat { orders, reachable });
                self.held = None;
                let is_new = orders < self.service.orders.version;
                if self.holds && self.knows && self.refuses.is_none() && !is_new && !wait.is_zero()
                {
                    self.held = Some((self.now + *wait, orders));
                    return;
                }
                let answer = match &self.refuses {
                    Some(refusal) => Err(refusal.clone()),
                    None if self.knows => Ok(self.service.beaten(orders)),
                    None => Err(unknown(Code::Gone)),
                };
                self.now += LATENCY;
                let news = self.machine.on_heartbeat(self.now, answer);
                self.taken.extend(news);
            }
        }
    }

    fn say(&mut self, what: What) {
        let at = self.now.duration_since(self.began);
        self.calls.push(Said { at, what });
    }

    fn said(&mut self) -> Vec<What> {
        let said = self.calls.iter().map(|said| said.what).collect();
        self.calls.clear();
        said
    }

    fn versions(&self) -> Vec<u64> {
        self.taken
            .iter()
            .map(|taken| taken.orders().version)
            .collect()
    }

    fn present(&self) -> bool {
        self.machine
            .present_until()
            .is_some_and(|until| self.now < until)
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_new_node_registers_with_its_token_and_reports_at_once_that_it_is_reached() {
    let mut world = World::new(None);
    world.pass(SECOND);
    let heartbeat = What::Heartbeat {
        orders: 1,
        reachable: true,
    };
    assert_eq!(world.said(), [What::Register { token: true }, heartbeat]);
    assert_eq!(world.versions(), [1]);
    assert!(world.present());
    // From then on one heartbeat in 4.5 to 5 s.
    world.pass(MINUTE);
    let beats = world.said();
    assert!((12..=14).contains(&beats.len()), "{}", beats.len());
    assert!(beats.iter().all(|said| *said == heartbeat));
}

#[test]
fn a_service_that_is_away_stops_nothing_and_is_found_again_when_it_is_back() {
    let mut world = World::new(None);
    world.refuses = Some(away());
    world.pass(60 * MINUTE);
    assert!(world.versions().is_empty() && !world.present());
    let tries = world.said().len();
    assert!((120..=500).contains(&tries), "{tries} in an hour");
    world.refuses = None;
    world.pass(MINUTE);
    assert!(world.present());
    // An hour without it, and it has forgotten nothing: heartbeats go on.
    world.refuses = Some(away());
    world.pass(60 * MINUTE);
    assert!(!world.present());
    assert_eq!(world.machine.trouble(), Some("connection refused"));
    world.refuses = None;
    world.said();
    world.pass(MINUTE);
    assert!(world.present() && world.machine.trouble().is_none());
    let again = world.said();
    assert!(
        again
            .iter()
            .all(|said| matches!(said, What::Heartbeat { .. }))
    );
}

#[test]
fn a_fleet_whose_service_comes_back_does_not_come_back_as_one() {
    let fleet: Vec<_> = (0..200)
        .map(|seed| {
            let mut world = World::seeded(None, seed);
            world.refuses = Some(away());
            world.pass(10 * MINUTE);
            world.said();
            world.refuses = None;
            world.pass(2 * MINUTE);
            assert!(world.present());
            world.calls[0].at
        })
        .collect();
    let mut seconds = std::collections::BTreeMap::new();
    for at in fleet {
        *seconds.entry(at.as_secs()).or_insert(0) += 1;
    }
    let most = seconds.values().max().copied().unwrap();
    assert!(most <= 25, "{most} of 200 within one second: {seconds:?}");
}

#[test]
fn a_node_that_was_forgotten_registers_again_with_its_token() {
    let mut world = World::new(None);
    world.pass(10 * SECOND);
    world.knows = false;
    world.said();
    world.pass(10 * SECOND);
    assert!(world.knows && world.present());
    let said = world.said();
    let registered: Vec<_> = said
        .iter()
        .filter(|said| matches!(said, What::Register { .. }))
        .collect();
    let (without, with) = (
        What::Register { token: false },
        What::Register { token: true },
    );
    assert_eq!(registered, [&without, &with]);
}

#[test]
fn a_node_that_nobody_wants_asks_ever_more_seldom() {
    let mut world = World::new(None);
    world.token_counts = false;
    world.pass(60 * MINUTE);
    let tries = world.said();
    assert!((120..=700).contains(&tries.len()), "{}", tries.len());
    assert!(
        tries.contains(&What::Register { token: false }),
        "its key may be known"
    );
    // A service that registers it and then does not know it is no reason to hurry either.
    world.token_counts = true;
    world.pass(MINUTE);
    assert!(world.present());
    world.said();
    for _ in 0..600 {
        world.knows = false;
        world.pass(SECOND);
    }
    assert!(world.said().len() < 600);
}

#[test]
fn whoever_is_told_to_wait_waits() {
    let mut world = World::new(None);
    world.refuses = Some(Refusal::Problem {
        code: Code::TooMany,
        detail: "too many".to_owned(),
        retry_after: Some(30 * SECOND),
    });
    world.pass(29 * SECOND);
    assert_eq!(world.said().len(), 1);
    world.pass(32 * SECOND);
    assert_eq!(world.said().len(), 1);
}

#[test]
fn new_orders_are_taken_once_and_confirmed_at_once() {
    let mut world = World::new(None);
    world.pass(10 * SECOND);
    world
        .service
        .change(|orders| orders.state = DesiredState::Cordoned);
    world.said();
    world.pass(6 * SECOND);
    assert_eq!(world.versions(), [1, 2]);
    let orders: Vec<_> = world
        .said()
        .iter()
        .filter_map(|said| match said {
            What::Heartbeat { orders, .. } => Some(*orders),
            What::Register { .. } => None,
        })
        .collect();
    assert!(orders.starts_with(&[1, 2]), "{orders:?}");
}

#[test]
fn orders_arrive_at_once_where_heartbeats_are_held_and_nobody_calls_more_often() {
    let mut world = World::new(None);
    world.holds = true;
    world.pass(10 * SECOND);
    world.said();
    world.order(|orders| orders.state = DesiredState::Cordoned);
    assert_eq!(world.versions(), [1, 2]);
    world.pass(LATENCY);
    let confirmed = What::Heartbeat {
        orders: 2,
        reachable: true,
    };
    assert_eq!(world.said(), [confirmed]);
    world.pass(MINUTE);
    let beats = world.said();
    assert!((11..=14).contains(&beats.len()), "{}", beats.len());
    assert!(world.present());
}

#[test]
fn orders_that_follow_each_other_are_all_taken_in_half_a_second_and_few_calls() {
    let mut world = World::new(None);
    world.holds = true;
    world.pass(10 * SECOND);
    world.said();
    for step in 0..100 {
        world.order(|orders| orders.limits.allocations_max = step + 1);
        world.pass(SECOND / 10);
    }
    let calls = world.said().len();
    assert!(calls <= 22, "{calls} calls in ten seconds");
    world.pass(SECOND / 2);
    let newest = world.taken.last().unwrap().orders();
    assert_eq!(newest.limits.allocations_max, 100);
}

#[test]
fn a_heartbeat_that_is_held_is_given_up_for_one_that_says_more() {
    let mut world = World::new(None);
    world.holds = true;
    world.service.interval_s = 300;
    world.pass(10 * SECOND);
    world.said();
    world.machine.tell(world.now);
    world.pass(LATENCY);
    assert_eq!(world.said().len(), 1);
    assert!(world.held.is_some());
    // However long the interval is: proxies cut what is silent for a minute.
    world.pass(10 * MINUTE);
    let calls = world.said().len();
    assert!((12..=14).contains(&calls), "{calls} in ten minutes");
}

#[test]
fn a_service_that_is_back_answers_the_first_heartbeat_at_once() {
    let mut world = World::new(None);
    world.holds = true;
    world.pass(10 * SECOND);
    world.refuses = Some(away());
    world.release();
    world.pass(MINUTE);
    assert!(world.machine.trouble().is_some());
    world.refuses = None;
    while world.machine.trouble().is_some() {
        assert!(world.held.is_none(), "it is not held");
        world.pass(LATENCY);
    }
}

#[test]
fn orders_never_go_back_and_those_of_a_stranger_are_not_taken() {
    let mut world = World::new(None);
    world.service.orders.version = 5;
    world.pass(10 * SECOND);
    let now = world.now;
    let beat = |service: &Service| HeartbeatAnswer {
        orders: Some(service.signed()),
        heartbeat_interval_s: 5,
    };
    let mut older = Service::new();
    older.orders.version = 4;
    let mut stranger = Service::new();
    stranger.signer = Service::key(99);
    stranger.orders.version = 6;
    for wrong in [older, stranger] {
        assert!(world.machine.on_heartbeat(now, Ok(beat(&wrong))).is_none());
    }
    assert_eq!(world.versions(), [5]);
    // The stranger's came where the node was registered: it asks who counts, and goes on.
    world.said();
    world.pass(10 * SECOND);
    assert_eq!(world.said()[0], What::Register { token: false });
    assert!(world.present());
}

#[test]
fn a_node_that_was_away_for_longer_than_a_rotation_follows_the_new_key() {
    let mut world = World::new(None);
    world.pass(10 * SECOND);
    world.service.signer = Service::key(8);
    let keys = world.service.keys();
    world.service.change(|orders| orders.keys = keys);
    world.pass(10 * SECOND);
    assert_eq!(world.versions(), [1, 2]);
    assert!(world.present());
}

#[test]
fn a_service_that_was_restored_from_a_copy_is_followed_and_a_kept_answer_is_not() {
    let mut world = World::new(None);
    world.service.orders.version = 9;
    world.pass(10 * SECOND);
    let mut restored = Service::new();
    restored.orders.version = 3;
    restored.orders.issued = world.service.orders.issued;
    let known = world.taken[0].as_ref();
    let node = known.orders().node;
    let kept = Standing::joined(&restored.registered(), &node, Some(known));
    assert_eq!(kept.unwrap_err(), OrdersError::Older);
    restored.orders.issued += 1;
    let later = Standing::joined(&restored.registered(), &node, Some(known));
    assert_eq!(later.unwrap().orders().version, 3);
}

#[test]
fn a_restart_begins_with_what_was_known_and_without_the_token() {
    let service = Service::new();
    let standing = Standing::new(service.signed(), &service.keys(), &service.orders.node).unwrap();
    let mut world = World::new(Some(Arc::new(standing)));
    world.knows = true;
    world.pass(SECOND);
    assert_eq!(world.said()[0], What::Register { token: false });
    assert!(world.versions().is_empty(), "nothing is new");
    world
        .service
        .change(|orders| orders.turn_secrets.push("next".to_owned()));
    world.pass(10 * SECOND);
    assert_eq!(world.versions(), [2]);
}

#[test]
fn a_change_of_address_is_registered_at_once_and_probed() {
    let mut world = World::new(None);
    world.pass(10 * SECOND);
    world.said();
    world.machine.describe(world.now, described(3478));
    world.pass(100 * LATENCY / 20);
    world.said();
    world.probe = false;
    world.machine.describe(world.now, described(4000));
    world.pass(SECOND / 2);
    assert_eq!(world.said()[0], What::Register { token: false });
    // One probe that fails is not believed, two are.
    world.pass(SECOND);
    let unreached = What::Heartbeat {
        orders: 1,
        reachable: false,
    };
    assert_eq!(world.said().last(), Some(&unreached));
    world.probe = true;
    world.pass(6 * SECOND);
    assert!(world.machine.reachable());
}

#[test]
fn a_change_of_state_does_not_wait_for_the_interval() {
    let mut world = World::new(None);
    world.service.interval_s = 300;
    world.pass(10 * SECOND);
    world.said();
    world.machine.tell(world.now);
    world.pass(SECOND);
    assert_eq!(world.said().len(), 1);
    // While the service is away there is no hurry.
    world.refuses = Some(away());
    for _ in 0..10 {
        world.machine.tell(world.now);
        world.pass(LATENCY);
    }
    assert!(world.said().len() < 6);
}

#[test]
fn another_service_is_registered_with_and_none_is_left_alone() {
    let mut world = World::new(None);
    world.pass(10 * SECOND);
    world.said();
    world.machine.connect(world.now, false, false);
    world.pass(MINUTE);
    assert!(world.said().is_empty() && !world.present());
    world.machine.connect(world.now, true, true);
    world.pass(SECOND);
    assert_eq!(world.said()[0], What::Register { token: false });
    assert!(world.present());
}
