//! UDP back ends: packets in, packets out, and nothing about what they mean.
//!
//! An [`Engine`] belongs to one worker thread. It owns that worker's sockets, its packet buffers
//! and its outgoing queue, and moves packets in batches: [`Engine::turn`] sends what was queued,
//! takes back the buffers of the last batch and waits for the next one, [`Engine::next_train`]
//! hands it out. Three engines pass the same test suite:
//!
//! - [`uring::UringEngine`]: one `io_uring` a worker, multishot receives into one shared ring of
//!   buffers, sends that complete inside the system call that submits them;
//! - [`mmsg::MmsgEngine`]: `recvmmsg`, `sendmmsg` and `epoll`, for kernels where `io_uring` is
//!   missing or forbidden;
//! - [`sim::SimEngine`]: a seeded network in memory on a virtual clock.
//!
//! [`probe::choose`] tries the kernel and says which one to run, and why.
//!
//! What makes the real ones fast is the same in both: packets of one flow that arrive together are
//! received as one train (`UDP_GRO`), and packets for one destination leave as one (`UDP_SEGMENT`).
//! The payload of a packet is never copied between its receive and its send: stripping a header
//! narrows the view, and a new header is written into the room before it or sent from an arena.
//!
//! This is the only crate of the house with `unsafe` code, and every block is behind a safe type.
#![allow(unexpected_cfgs, reason = "cargo-fuzz builds with cfg(fuzzing)")]

pub mod counters;
pub mod engine;
pub mod interfaces;
pub mod limits;
pub mod mmsg;
pub mod notice;
pub mod packet;
pub mod pool;
pub mod probe;
pub mod routes;
pub mod sim;
pub mod sockets;
pub mod steering;
pub mod uring;
pub mod waker;

mod core;
mod errors;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod memory;
mod outbox;
mod receive;
mod rest;
mod slots;
mod sockaddr;
mod transmit;
mod whole;

pub use counters::Counters;
pub use engine::{
    BudgetLine, Config, Description, Dscp, Engine, EngineKind, ListenerId, OpenError, Port,
    RelaySlot,
};
pub use notice::{IcmpError, Notice};
pub use packet::{Packet, Segments, Train};
pub use pool::SharedPacket;
pub use waker::Waker;
