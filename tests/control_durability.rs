//! What the control service has acknowledged is there after kill -9, over SQLite and PostgreSQL.
//!
//! Nodes and devices register, tokens and regions are made and keys are rotated, all at once and over
//! HTTP; in the middle of it the process is killed. Each thing that was answered with success has to
//! be there when it runs again, and its audit entry too; and nothing is there without an entry.
#![allow(clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod common;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use common::control::{Control, device_of, fresh_key, node_of};
use common::postgres::Postgres;
use common::{SOON, report, skip, wait_for};
use sterna_control_api::access::{NewApiToken, NewEnrolmentKey, NewJoinToken, Role};
use sterna_control_api::audit::{AuditEntry, Page};
use sterna_control_api::region::Region;
use sterna_control_api::rotation::{KeyPurpose, KeyStage, RotateKeys, RotationStep};
use sterna_control_api::{GroupId, SigningKey, TenantId};
use sterna_control_client::{CallError, Caller, ControlClient, Filter};
use tokio::runtime::Runtime;

/// Acknowledgements after which the service is killed, and how often.
const ACKNOWLEDGED_MIN: usize = 120;
const KILLS: usize = 3;
/// Callers of each kind that work at the same time.
const CALLERS: usize = 4;

#[test]
fn nothing_that_was_acknowledged_is_lost_by_kill_9_over_sqlite() {
    let lost_nothing = survive_kills(Control::start("", None));
    report(&format!("SQLite: {lost_nothing}"));
}

#[test]
fn nothing_that_was_acknowledged_is_lost_by_kill_9_over_postgresql() {
    let test = "nothing_that_was_acknowledged_is_lost_by_kill_9_over_postgresql";
    let server = match Postgres::start() {
        Ok(server) => server,
        Err(reason) => return skip(test, &reason),
    };
    let database = server.database("control").unwrap();
    let lost_nothing = survive_kills(Control::start(&database, None));
    report(&format!("PostgreSQL: {lost_nothing}"));
}

/// What was answered with success: the action of the audit log, and its subject.
type Acknowledged = Arc<Mutex<BTreeSet<(&'static str, String)>>>;

fn survive_kills(mut control: Control) -> String {
    let runtime = Runtime::new().unwrap();
    let administrator = control.administrator();
    let tokens = runtime.block_on(prepare(&control.client(administrator.clone())));
    let acknowledged = Acknowledged::default();
    for kill in 1..=KILLS {
        let over = Arc::new(AtomicBool::new(false));
        let load = Load {
            administrator: control.client(administrator.clone()),
            tokens: tokens.clone(),
            acknowledged: Arc::clone(&acknowledged),
            over: Arc::clone(&over),
        };
        let callers = load.begin(&runtime);
        wait_for("the load", 6 * SOON, || {
            let count = acknowledged.lock().unwrap().len();
            (count >= kill * ACKNOWLEDGED_MIN).then_some(())
        });
        control.kill();
        over.store(true, Ordering::Relaxed);
        for caller in callers {
            runtime.block_on(caller).unwrap();
        }
        control.start_again();
        let acknowledged = acknowledged.lock().unwrap();
        let administrator = control.client(administrator.clone());
        runtime.block_on(compare(&administrator, &acknowledged));
    }
    let count = acknowledged.lock().unwrap().len();
    format!("{count} changes acknowledged over {KILLS} kills, none lost")
}

/// A join token and an enrolment key for any number.
async fn prepare(administrator: &ControlClient) -> (String, String) {
    let join = NewJoinToken {
        region: "default".to_owned(),
        uses_max: 100_000,
        ttl_s: 3600,
        note: String::new(),
    };
    let enrolment = NewEnrolmentKey {
        tenant: TenantId(1),
        groups: vec![GroupId(1)],
        tags: Vec::new(),
        uses_max: 0,
        ttl_s: 3600,
        note: String::new(),
    };
    let join = administrator.make_join_token(&join).await.unwrap();
    let enrolment = administrator.make_enrolment_key(&enrolment).await.unwrap();
    (join.token, enrolment.token)
}

/// Everything that changes something, at once.
#[derive(Clone)]
struct Load {
    administrator: ControlClient,
    tokens: (String, String),
    acknowledged: Acknowledged,
    over: Arc<AtomicBool>,
}

#[derive(Copy, Clone)]
enum Kind {
    Node,
    Device,
    Token,
    Region,
    Keys,
}

impl Load {
    fn begin(&self, runtime: &Runtime) -> Vec<tokio::task::JoinHandle<()>> {
        let mut callers = Vec::new();
        for kind in [Kind::Node, Kind::Device, Kind::Token, Kind::Region] {
            for _ in 0..CALLERS {
                callers.push(runtime.spawn(self.clone().call(kind)));
            }
        }
        // One rotates: two would refuse each other's steps.
        callers.push(runtime.spawn(self.clone().call(Kind::Keys)));
        callers
    }

    /// Calls until the service is gone, and notes what was acknowledged.
    async fn call(self, kind: Kind) {
        while !self.over.load(Ordering::Relaxed) {
            let changed = match kind {
                Kind::Node => self.register_node().await,
                Kind::Device => self.register_device().await,
                Kind::Token => self.make_token().await,
                Kind::Region => self.make_region().await,
                Kind::Keys => self.rotate().await,
            };
            match changed {
                Ok(()) => {}
                Err(CallError::Unreachable(_)) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn acknowledge(&self, action: &'static str, subject: &impl ToString) {
        let mut acknowledged = self.acknowledged.lock().unwrap();
        acknowledged.insert((action, subject.to_string()));
    }

    fn by(&self, caller: impl Fn(SigningKey) -> Caller) -> (SigningKey, ControlClient) {
        let key = fresh_key();
        let client = self.administrator.with_caller(caller(key.clone()));
        (key, client)
    }

    async fn register_node(&self) -> Result<(), CallError> {
        let (key, client) = self.by(Caller::Node);
        let node = node_of(&key);
        client.register_node(&node, Some(&self.tokens.0)).await?;
        self.acknowledge("node.register", &node.identity);
        Ok(())
    }

    async fn register_device(&self) -> Result<(), CallError> {
        let (key, client) = self.by(Caller::Device);
        let device = device_of(&key);
        let registered = client
            .register_device(&device, Some(&self.tokens.1))
            .await?;
        self.acknowledge("device.register", &registered.id);
        Ok(())
    }

    async fn make_token(&self) -> Result<(), CallError> {
        let token = NewApiToken {
            role: Role::Auditor,
            ttl_s: 0,
            note: "for a test".to_owned(),
        };
        let made = self.administrator.make_api_token(&token).await?;
        self.acknowledge("token.create", &made.id);
        Ok(())
    }

    async fn make_region(&self) -> Result<(), CallError> {
        let region = Region {
            code: format!("r-{:016x}", rand::random::<u64>()),
            name: "A region".to_owned(),
            location: None,
            weight: 1,
        };
        self.administrator.add_region(&region).await?;
        self.acknowledge("region.create", &region.code);
        Ok(())
    }

    /// A next key, used, and the one before it taken out. After a kill a step may have been taken
    /// whose answer was lost: it is refused then, and the next one goes on.
    async fn rotate(&self) -> Result<(), CallError> {
        for step in [
            RotationStep::Prepare,
            RotationStep::Promote,
            RotationStep::Retire,
        ] {
            let rotate = RotateKeys {
                purpose: KeyPurpose::Turn,
                step,
                force: true,
            };
            match self.administrator.rotate_keys(&rotate).await {
                Err(CallError::Refused(refusal)) if refusal.problem.status == 409 => {}
                done => done?,
            }
            let key = self.administrator.keys(&Filter::default()).await?;
            let current = key
                .items
                .into_iter()
                .find(|key| key.purpose == KeyPurpose::Turn && key.stage == KeyStage::Current);
            if step == RotationStep::Promote {
                self.acknowledge("key.promote", &current.expect("a current key").id);
            }
        }
        Ok(())
    }
}

/// Everything acknowledged is there with its entry, and nothing is there without one.
async fn compare(administrator: &ControlClient, acknowledged: &BTreeSet<(&'static str, String)>) {
    let entries: Vec<AuditEntry> = all(async |page| administrator.audit(page).await).await;
    let noted: BTreeSet<(&str, String)> = entries
        .iter()
        .map(|entry| (entry.action.as_str(), entry.subject.clone()))
        .collect();
    for entry in acknowledged {
        assert!(noted.contains(entry), "{entry:?} has no audit entry");
    }
    let mut there: HashMap<&str, BTreeSet<String>> = HashMap::new();
    let nodes = all(async |page| administrator.nodes(page).await).await;
    let devices = all(async |page| administrator.devices(page).await).await;
    let tokens = all(async |page| administrator.api_tokens(page).await).await;
    let regions = all(async |page| administrator.regions(page).await).await;
    let keys = administrator.keys(&Filter::default()).await.unwrap().items;
    let named = |names: Vec<String>| names.into_iter().collect();
    there.insert(
        "node.register",
        named(nodes.iter().map(|node| node.id.to_string()).collect()),
    );
    there.insert(
        "device.register",
        named(devices.iter().map(|one| one.id.to_string()).collect()),
    );
    there.insert(
        "token.create",
        named(tokens.into_iter().map(|token| token.id).collect()),
    );
    there.insert(
        "region.create",
        named(regions.into_iter().map(|region| region.code).collect()),
    );
    for (action, subject) in acknowledged {
        match there.get(action) {
            Some(subjects) => assert!(subjects.contains(subject), "{action} {subject} is lost"),
            None => assert_eq!(*action, "key.promote"),
        }
    }
    for (action, subjects) in &there {
        for subject in subjects {
            let entry = (*action, subject.clone());
            assert!(noted.contains(&entry), "{entry:?} without an audit entry");
        }
    }
    for purpose in [KeyPurpose::Signing, KeyPurpose::Turn] {
        let current = keys
            .iter()
            .filter(|key| key.purpose == purpose && key.stage == KeyStage::Current);
        assert_eq!(current.count(), 1, "{purpose:?}");
    }
    // The newest promotion in the log is the key that is used.
    let promoted = entries.iter().find(|entry| {
        let became = entry
            .after
            .as_ref()
            .map(|after| after["stage"] == "current");
        entry.action == "key.promote" && became == Some(true)
    });
    if let Some(promoted) = promoted {
        let current = keys.iter().find(|key| key.id == promoted.subject);
        assert_eq!(current.map(|key| key.stage), Some(KeyStage::Current));
    }
}

/// A whole list.
async fn all<T>(list: impl AsyncFn(&Filter) -> Result<Page<T>, CallError>) -> Vec<T> {
    let mut filter = Filter {
        limit: Some(500),
        ..Filter::default()
    };
    let mut items = Vec::new();
    loop {
        let page = list(&filter).await.unwrap();
        items.extend(page.items);
        match page.next {
            Some(next) => filter.after = Some(next),
            None => return items,
        }
    }
}
