//! What a 401 or 438 offers beside realm and nonce, within the amplification budget.
//!
//! A datagram's source is unproved: its answer is at most 3.5 times as long as an Allocate of 28
//! bytes or, where it is longer, as the request. THIRD-PARTY-AUTHORIZATION goes first, since whoever configured it
//! wants it to be seen; PASSWORD-ALGORITHMS, whose absence costs nothing but SHA-256, goes with it
//! where there is room left. A client that sends FINGERPRINT or SOFTWARE gets both.

use sterna_stun::{attr::ErrorCode, nonce::Features, padding};

use super::respond::Request;
use crate::{ServerConfig, limits::CHALLENGE_BYTES_MIN};

/// Header, ERROR-CODE, the header of REALM, NONCE of 33 bytes.
const FIXED_BYTES: usize = 20 + 8 + 4 + (4 + 36);
/// PASSWORD-ALGORITHMS with two algorithms.
const ALGORITHMS_BYTES: usize = 4 + 8;
const FINGERPRINT_BYTES: usize = 8;

/// What is offered.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// What the nonce announces, and PASSWORD-ALGORITHMS with it.
    pub(super) features: Features,
    /// Whether THIRD-PARTY-AUTHORIZATION is there.
    pub(super) third_party: bool,
}

impl Offer {
    /// The offer of an answer with `code`.
    pub(super) fn of(config: &ServerConfig, request: &Request, code: u16) -> Self {
        let transport = request.client.transport;
        let features = config.features(transport);
        // RFC 7635 §4: it is a 401 that tells of it. Who gets a 438 has a token or needs none.
        if config.oauth.is_empty() || code != ErrorCode::UNAUTHENTICATED {
            return Self {
                features,
                third_party: false,
            };
        }
        if transport.is_stream() {
            return Self {
                features,
                third_party: true,
            };
        }
        let padded = |len: usize| len + padding(len);
        let room = request.len.max(CHALLENGE_BYTES_MIN) * 7 / 2;
        let fingerprint = if request.fingerprint {
            FINGERPRINT_BYTES
        } else {
            0
        };
        let bare = FIXED_BYTES + padded(config.realm.len()) + fingerprint;
        let with_third_party = bare + 4 + padded(config.oauth.server_name().len());
        let third_party = with_third_party <= room;
        let before = if third_party { with_third_party } else { bare };
        let password_algorithms = config.password_algorithms && before + ALGORITHMS_BYTES <= room;
        Self {
            features: Features {
                password_algorithms,
                ..features
            },
            third_party,
        }
    }
}
