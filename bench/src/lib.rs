//! Load generator, self-check and comparisons with other servers.
//!
//! | module | what it measures | command |
//! |---|---|---|
//! | [`self_check`] | whether a node relays, over each of its transports | `sterna`, at its start |
//! | [`alloc`] | allocations made and given back | `sterna bench alloc` |
//! | [`baseline`] | the forwarding loop on other runtimes | `sterna bench baseline` |
//! | [`compare`] | Sterna beside coturn and the bare loops | `sterna bench compare` |
//! | [`control`] | the control service, by requests that are signed for k6 | `sterna bench control sign` |
//! | [`derp`] | the flow relay beside Tailscale's derper | `sterna bench derp` |
//! | [`flow`] | packets between devices of the flow relay, by rungs | `sterna bench flow`, and `sterna` at its start |
//! | [`forward`] | our own share of a relayed packet, without a kernel | `sterna bench forward` |
//! | [`stun`] | Bindings | `sterna bench stun` |
//! | [`turn`] | packets through any TURN server, each accounted for | `sterna bench turn` |
//!
//! How to measure without fooling yourself is told in `bench/README.md`, beside this source.
#![forbid(unsafe_code)]

pub mod alloc;
pub mod baseline;
mod command;
pub mod compare;
pub mod control;
pub mod derp;
mod engine;
mod error;
pub mod flow;
pub mod forward;
mod ledger;
mod limits;
mod packet;
mod report;
mod results;
pub mod self_check;
mod session;
pub mod stun;
mod target;
mod tls;
pub mod turn;
mod watch;
mod wire;

pub use command::BenchCommand;
pub use engine::EngineArg;
pub use error::BenchError;
pub use report::{LatencySummary, Totals};
pub use session::{FromPeer, Left, PeerStream, Session};
pub use sterna_turn::client::Credentials;
pub use target::{Target, Transport};
pub use tls::Trust;
pub use wire::Route;
