//! The relay map: only ready nodes, signed, and numbered alike by all replicas.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use sterna_control_api::node::NodeStatus;
use sterna_control_api::relay_map::{self, FORMAT, RelayMap, SignedRelayMap};
use sterna_control_api::signal::ToDevice;
use tracing::{error, info};

use super::Service;
use super::refusal::Refusal;
use super::view::View;
use crate::domain::NodeRecord;

/// The map that devices get now.
pub(crate) struct Published {
    /// Its version.
    pub(crate) version: u64,
    /// The map, signed.
    pub(crate) signed: SignedRelayMap,
    /// The same as JSON, which most requests are answered with.
    pub(crate) json: bytes::Bytes,
    /// What the version stands for.
    digest: [u8; 32],
}

impl Service {
    /// The map that devices get now.
    pub(crate) fn relay_map(&self) -> Result<Arc<Published>, Refusal> {
        let map = self.map.load_full();
        map.ok_or_else(|| Refusal::unavailable("the service is starting; try again"))
    }

    /// Makes the map anew where the nodes, the regions or the key have changed, and tells devices.
    pub(crate) async fn publish(&self) -> Result<(), Refusal> {
        // One at a time, so that a version is never followed by an older one.
        let _turn = self.publishing.lock().await;
        let now = self.now();
        let view = self.view.load_full();
        let ttl_s = u64::from(self.config.credentials.map_ttl_s);
        // Dates in steps, so that replicas agree on them, and every map lasts for most of its time.
        let issued = now - now % (ttl_s / 4).max(1);
        let regions = self.regions_of_map(&view, now);
        let digest = digest(&regions, issued, &view);
        let before = self.map.load_full();
        if before.as_ref().is_some_and(|map| map.digest == digest) {
            return Ok(());
        }
        let version = self.answered(self.store.version_of("relay map", &digest).await)?;
        let nodes = regions
            .iter()
            .map(|region| region.nodes.len())
            .sum::<usize>();
        let map = RelayMap {
            format: FORMAT,
            version,
            fleet: self.config.control.fleet,
            issued,
            expires: issued + ttl_s,
            regions,
        };
        let signed = map.sign(&view.signing).map_err(|error| {
            error!(%error, nodes, "the relay map cannot be made");
            Refusal::internal()
        })?;
        let json = serde_json::to_vec(&signed).map_err(|_| Refusal::internal())?;
        self.map.store(Some(Arc::new(Published {
            version,
            signed,
            json: json.into(),
            digest,
        })));
        info!(version, nodes, "relay map");
        self.hub
            .push_all(None, &ToDevice::RelayMapChanged { version });
        Ok(())
    }

    fn regions_of_map(&self, view: &View, now: u64) -> Vec<relay_map::Region> {
        let mut regions: Vec<_> = view
            .regions
            .iter()
            .map(|region| relay_map::Region {
                name: region.code.clone(),
                nodes: Vec::new(),
            })
            .collect();
        self.live.each(now, |node, status| {
            let region = regions.iter_mut().find(|region| region.name == node.region);
            if let (Some(region), Some(node)) = (region, on_the_map(node, status)) {
                region.nodes.push(node);
            }
        });
        for region in &mut regions {
            region.nodes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        regions.retain(|region| !region.nodes.is_empty());
        regions
    }
}

fn on_the_map(node: &NodeRecord, status: NodeStatus) -> Option<relay_map::Node> {
    let services = &node.services;
    Some(relay_map::Node {
        name: node.name.clone(),
        identity: node.id,
        noise_key: node.noise_key,
        state: status.in_map()?,
        load: node.heartbeat.as_ref().map_or(0, |last| last.report.load),
        stun: services.stun.clone(),
        udp: services.udp.clone(),
        quic: services.quic.clone(),
        wss: services.wss.clone(),
        host: services.host.clone(),
        pins: services.pins.clone(),
    })
}

/// Of all that a new version is made for. A node's load is none of it: it changes all the time.
fn digest(regions: &[relay_map::Region], issued: u64, view: &View) -> [u8; 32] {
    let mut calm = regions.to_vec();
    for node in calm.iter_mut().flat_map(|region| &mut region.nodes) {
        node.load = 0;
    }
    let content = serde_json::to_vec(&calm).unwrap_or_default();
    Sha256::new()
        .chain_update(issued.to_be_bytes())
        .chain_update(view.signing.id().0)
        .chain_update(content)
        .finalize()
        .into()
}
