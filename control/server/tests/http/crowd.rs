//! Many idle WebSockets, and what they cost the service: it runs in a process of its own, which is
//! this program again.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sterna_control::Control;
use sterna_control_api::access::NewEnrolmentKey;
use sterna_control_api::device::RegisterDevice;
use sterna_control_api::key::SigningKey;
use sterna_control_api::{DeviceIdentity, DeviceKey, RelayKey, TenantId};
use sterna_control_client::{Caller, ControlClient, Options, Socket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::scene::Place;

/// Devices, unless the environment's `STERNA_CROWD` says otherwise.
const DEVICES: u32 = 500;
/// What 10,000 idle WebSockets may cost in all: 300 MB.
const BYTES_PER_SOCKET_MAX: u64 = 30_000;
/// Devices that enrol and connect at the same time.
const AT_ONCE: usize = 32;
/// Tells the program that it is the service.
const CHILD: &str = "STERNA_CROWD_SERVICE";

/// The service, when this program was started as one; nothing otherwise.
#[test]
fn crowd_service() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let place = Place::sqlite();
        let mut config = place.config();
        config.limits.requests_per_address_per_s = 1_000_000;
        let control = Control::start(config).await.unwrap();
        let token = std::fs::read_to_string(control.admin_token_file()).unwrap();
        println!("\ncrowd {} {}", control.local_addr(), token.trim());
        // It ends when the one who has started it closes its input.
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        let _ = ended.await;
        control.stop().await;
    });
}

struct Service {
    child: Child,
    /// Held open, so that it may say more.
    _said: std::io::Lines<BufReader<ChildStdout>>,
    url: String,
    admin: ControlClient,
}

impl Service {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crowd::crowd_service", "--nocapture"])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.starts_with("crowd 127"));
        let line = line.expect("the service says where it is");
        let mut words = line.split(' ').skip(1);
        let url = format!("http://{}", words.next().unwrap());
        let admin = Caller::Bearer(words.next().unwrap().to_owned());
        let admin = ControlClient::new(&url, admin, &Options::default()).unwrap();
        Self {
            child,
            _said: lines,
            url,
            admin,
        }
    }

    async fn metric(&self, name: &str) -> f64 {
        let page = crate::raw::get(&self.url, "/metrics").await.body;
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn idle_websockets_cost_little() {
    let wanted = std::env::var("STERNA_CROWD")
        .ok()
        .and_then(|text| text.parse().ok());
    let wanted: u32 = wanted.unwrap_or(DEVICES);
    crate::runtime().block_on(async {
        let service = Service::start();
        let key = NewEnrolmentKey {
            tenant: TenantId(1),
            groups: Vec::new(),
            tags: Vec::new(),
            uses_max: 0,
            ttl_s: 3600,
            note: String::new(),
        };
        let enrolment: Arc<str> = service
            .admin
            .make_enrolment_key(&key)
            .await
            .unwrap()
            .token
            .into();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        // They answer pings and read what is pushed until they are dropped.
        let mut reading = JoinSet::new();
        // One first, so that what the first request costs is not counted.
        reading.spawn(read(enter(&service.admin, 0, &enrolment).await));
        let before = service.metric("process_resident_memory_bytes ").await;
        let mut coming = JoinSet::new();
        for number in 1..=wanted {
            let (admin, enrolment, places) = (
                service.admin.clone(),
                Arc::clone(&enrolment),
                Arc::clone(&places),
            );
            coming.spawn(async move {
                let _place = places.acquire_owned().await.unwrap();
                enter(&admin, number, &enrolment).await
            });
        }
        while let Some(socket) = coming.join_next().await {
            reading.spawn(read(socket.unwrap()));
        }
        // Registrations have buffers that come back.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let after = service.metric("process_resident_memory_bytes ").await;
        assert_eq!(
            service.metric("control_websockets ").await,
            f64::from(wanted + 1)
        );
        let each = (after - before) / f64::from(wanted);
        println!(
            "{wanted} idle WebSockets: {:.1} MB resident, {:.1} kB each",
            after / 1e6,
            each / 1e3
        );
        #[allow(clippy::cast_precision_loss)]
        let max = BYTES_PER_SOCKET_MAX as f64;
        assert!(each < max, "{each} bytes each");
        assert!(reading.try_join_next().is_none(), "none was closed");
    });
}

async fn read(mut socket: Socket) {
    while socket.next().await.is_ok() {}
}

async fn enter(admin: &ControlClient, number: u32, enrolment: &str) -> Socket {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    let key = SigningKey::from_seed(&seed);
    let device = RegisterDevice {
        identity: DeviceIdentity(key.verifying_key().to_bytes()),
        device_key: DeviceKey(seed),
        relay_key: RelayKey(seed),
        name: format!("device-{number}"),
        platform: "linux".to_owned(),
        version: "1".to_owned(),
        nat: sterna_control_api::device::NatReport::default(),
    };
    let client = admin.with_caller(Caller::Device(key));
    client
        .register_device(&device, Some(enrolment))
        .await
        .unwrap();
    client.socket().await.unwrap()
}
