//! What can go wrong in a measurement, told to whoever started it.

use std::io;

use sterna_io::OpenError;
use sterna_io::probe::ProbeError;
use sterna_turn::client::ClientError;

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The arguments contradict each other.
    #[error("{0}")]
    Usage(&'static str),
    /// The server's name or address.
    #[error("{server}: {why}; give HOST:PORT")]
    UnknownServer {
        /// As it was given.
        server: String,
        /// What the resolver said.
        why: String,
    },
    /// The server could not be connected to.
    #[error("cannot reach {server} over {transport}: {error}")]
    Unreachable {
        /// Its address.
        server: std::net::SocketAddr,
        /// By what.
        transport: crate::target::Transport,
        /// What the system, or TLS, said.
        error: io::Error,
    },
    /// A request came to nothing.
    #[error("{what}: {error}")]
    Refused {
        /// The request.
        what: &'static str,
        /// Why.
        error: ClientError,
    },
    /// An allocation ended in the middle of a run.
    #[error(
        "an allocation ended in the middle of the run: the server forgot it, or did not refresh it"
    )]
    AllocationLost,
    /// The server closed a connection, or sent what is not TURN.
    #[error("a connection ended in the middle of the run: {0}")]
    StreamLost(io::Error),
    /// The control service, or a file of its load.
    #[error("{what}: {why}")]
    Control {
        /// What was wanted.
        what: String,
        /// Why it is not there.
        why: String,
    },
    /// Something did not happen in its time.
    #[error("{what}: not done in time; is the server rate-limiting us?")]
    TooSlow {
        /// What was waited for.
        what: &'static str,
    },
    /// A process that was to be observed.
    #[error("process {pid}: {error}")]
    NoSuchProcess {
        /// Its id.
        pid: u32,
        /// What the system said.
        error: io::Error,
    },
    /// A device found no way to a node of the flow relay.
    #[error("no way to the flow relay over {rung}: {why}")]
    NoFlowPath {
        /// By which rung.
        rung: &'static str,
        /// What was said.
        why: String,
    },
    /// A certificate or a key of TLS.
    #[error("{what}: {why}")]
    Tls {
        /// Which file or name.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A socket of our own.
    #[error(
        "a socket of the generator: {0}; with many allocations raise the limit of open files (ulimit -n)"
    )]
    Socket(#[from] io::Error),
    /// A socket that the engine does not take.
    #[error("a socket of the generator: {0}")]
    Engine(#[from] OpenError),
    /// No engine runs on this kernel.
    #[error("the generator's sockets: {0}")]
    NoEngine(#[from] ProbeError),
    /// A tool that a comparison needs.
    #[error("{0}")]
    Missing(&'static str),
    /// A tool, or a server that is compared, that failed.
    #[error("{what}: {why}")]
    Failed {
        /// Which.
        what: String,
        /// What it said.
        why: String,
    },
}

impl BenchError {
    /// Whether the arguments are to blame: the command then ends with status 2.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_) | Self::UnknownServer { .. })
    }
}
