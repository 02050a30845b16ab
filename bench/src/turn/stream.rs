//! A run over TCP or TLS.

use super::{Outcome, TurnArgs};
use crate::BenchError;

pub(super) fn run(_args: &TurnArgs) -> Result<Outcome, BenchError> {
    Err(BenchError::Usage(
        "--transport tcp and tls are not there yet",
    ))
}
