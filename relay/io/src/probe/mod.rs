//! Which engine to run, found out by running it.
//!
//! [`choose`] makes an engine of the kind in question and sends it a train of packets over the
//! loopback, empty ones among them, byte for byte verified. What a kernel says it can do is not
//! believed: there are releases whose GSO mangles and guests whose GRO throttles.

mod refusal;
mod trial;

use std::fmt;
use std::io;
use std::str::FromStr;

use crate::engine::{Config, EngineKind};
use crate::mmsg::MmsgEngine;
use crate::uring::UringEngine;

pub use refusal::{KernelVersion, Refusal};
use trial::{Offloads, trial};

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum EngineChoice {
    /// `io_uring` where it works, else `recvmmsg`.
    #[default]
    Auto,
    /// `io_uring` or nothing.
    Uring,
    /// `recvmmsg`.
    Mmsg,
}

impl FromStr for EngineChoice {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        match text {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "mmsg" => Ok(Self::Mmsg),
            _ => Err(UnknownEngine),
        }
    }
}

/// The text names no engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an engine is \"auto\", \"uring\" or \"mmsg\"")]
pub struct UnknownEngine;

/// What was chosen, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Choice {
    /// [`EngineKind::Uring`] or [`EngineKind::Mmsg`].
    pub engine: EngineKind,
    /// Whether trains were received whole and intact.
    pub gro: bool,
    /// Whether groups were sent as they should.
    pub gso: bool,
    /// A sentence for the log.
    pub reason: String,
}

impl Choice {
    /// The configuration with only those offloads that work here.
    #[must_use]
    pub fn apply(&self, config: Config) -> Config {
        Config {
            gro: config.gro && self.gro,
            gso: config.gso && self.gso,
            ..config
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.engine, self.reason)
    }
}

/// Why no engine can run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// `engine = "uring"` was asked for and cannot be had.
    #[error(transparent)]
    Uring(Refusal),
    /// Not even plain sockets work.
    #[error(
        "packets do not pass on the loopback ({0}); is its interface up, and may this process open sockets?"
    )]
    Loopback(io::Error),
}

/// Tries the engines and says which one to run. Takes some milliseconds, and up to a few seconds
/// where packets get lost.
///
/// # Errors
/// [`ProbeError`], whose text is meant for the operator.
pub fn choose(choice: EngineChoice) -> Result<Choice, ProbeError> {
    let refused = match choice {
        EngineChoice::Mmsg => None,
        EngineChoice::Auto | EngineChoice::Uring => match uring() {
            Ok(choice) => return Ok(choice),
            Err(refusal) if choice == EngineChoice::Uring => {
                return Err(ProbeError::Uring(refusal));
            }
            Err(refusal) => Some(refusal),
        },
    };
    let offloads = trial(MmsgEngine::new).map_err(ProbeError::Loopback)?;
    let why = match refused {
        Some(refusal) => refusal.to_string(),
        None => "it was asked for".to_owned(),
    };
    Ok(made(EngineKind::Mmsg, offloads, &why))
}

fn uring() -> Result<Choice, Refusal> {
    // Making one tells apart what the kernel lacks from what does not pass.
    let engine = UringEngine::new(trial::config(false, false)).map_err(refusal::of)?;
    let why = format!(
        "io_uring works here ({})",
        crate::Engine::describe(&engine).detail
    );
    drop(engine);
    let offloads = trial(UringEngine::new).map_err(Refusal::Misbehaves)?;
    Ok(made(EngineKind::Uring, offloads, &why))
}

fn made(engine: EngineKind, Offloads { gro, gso }: Offloads, why: &str) -> Choice {
    let offloads = match (gro, gso) {
        (true, true) => "GRO and GSO pass on the loopback",
        (true, false) => "GRO passes on the loopback, GSO does not and is off",
        (false, true) => "GSO passes on the loopback, GRO does not and is off",
        (false, false) => "GRO and GSO do not pass on the loopback and are off",
    };
    Choice {
        engine,
        gro,
        gso,
        reason: format!("{why}; {offloads}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mmsg_is_had_when_it_is_asked_for() {
        let choice = choose(EngineChoice::Mmsg).expect("sockets");
        assert_eq!(choice.engine, EngineKind::Mmsg);
        assert!(choice.reason.starts_with("it was asked for; "), "{choice}");
    }

    #[test]
    fn auto_gives_a_reason_whatever_it_finds() {
        let choice = choose(EngineChoice::Auto).expect("sockets");
        match choice.engine {
            EngineKind::Uring => assert!(choice.reason.starts_with("io_uring works here")),
            _ => assert!(choice.reason.contains("io_uring"), "{choice}"),
        }
    }

    #[test]
    fn offloads_that_fail_are_turned_off_and_others_are_not_turned_on() {
        let failed = made(
            EngineKind::Mmsg,
            Offloads {
                gro: false,
                gso: true,
            },
            "x",
        );
        let config = failed.apply(Config::default());
        assert!(!config.gro && config.gso);
        let config = failed.apply(Config {
            gso: false,
            ..Config::default()
        });
        assert!(!config.gso);
    }

    #[test]
    fn engines_are_named_in_the_configuration() {
        assert_eq!("uring".parse(), Ok(EngineChoice::Uring));
        assert_eq!("epoll".parse::<EngineChoice>(), Err(UnknownEngine));
    }
}
