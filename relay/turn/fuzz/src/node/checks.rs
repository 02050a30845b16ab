//! What has to hold of everything that the node wants done.

use std::{net::SocketAddr, time::Duration};

use sterna_turn::Verdict;

use super::{super::forbidden::is_forbidden_to, Node};

impl Node {
    /// Whose allocation has this relayed address.
    pub(super) fn account_of(&self, relayed: SocketAddr) -> String {
        let mut living = self
            .servers
            .iter()
            .flat_map(|server| server.allocations(self.now));
        let view = living
            .find(|view| view.relayed == relayed || view.relayed_second == Some(relayed))
            .expect("what is open is somebody's");
        view.account.to_string()
    }

    /// Checks that a verdict is one that may be acted on.
    pub fn check(&mut self, verdict: &Verdict, len: usize) {
        match verdict {
            Verdict::ToPeer {
                port,
                peer,
                payload,
                ..
            } => {
                let open = self.ports.get(port).map(|(_, relayed)| *relayed);
                let relayed = open.expect("from a socket that is open");
                assert_eq!(
                    relayed.is_ipv4(),
                    peer.is_ipv4(),
                    "from the half of the peer's family"
                );
                let account = self.account_of(relayed);
                assert!(
                    !is_forbidden_to(&account, *peer),
                    "{peer} is forbidden to {account}"
                );
                assert!(!self.denied, "{peer} is denied");
                assert!(payload.end <= len);
            }
            Verdict::ToClient {
                client, payload, ..
            } => {
                let living = self
                    .servers
                    .iter()
                    .flat_map(|server| server.allocations(self.now));
                assert!(
                    living.into_iter().any(|view| view.client == *client),
                    "to nobody"
                );
                assert!(payload.end <= len);
            }
            Verdict::ToWorker {
                worker,
                to,
                from,
                payload,
            } => {
                let len = payload.len();
                let server = &mut self.servers[usize::from(worker.0)];
                let verdict = server.handle_relayed(self.now, *to, *from, len);
                assert!(
                    !matches!(verdict, Verdict::ToWorker { .. }),
                    "a packet goes in circles"
                );
                self.check(&verdict, len);
            }
            Verdict::ToOwner { .. } => panic!("a packet goes in circles"),
            Verdict::Handled | Verdict::Drop(_) => {}
        }
    }

    /// Lets everything end.
    pub fn check_nothing_is_left(&mut self) {
        self.pass(Duration::from_secs(10_000));
        assert!(self.ports.is_empty() && self.held.is_empty());
        assert!(self.listening.is_empty() && self.peers.is_empty());
        assert_eq!(
            self.registry.usage(),
            sterna_turn::registry::Usage::default()
        );
        assert!(
            self.servers
                .iter()
                .all(|server| server.poll_timeout().is_none() && server.moved_count() == 0)
        );
    }
}
