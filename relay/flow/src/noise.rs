//! The handshake's cryptography: `snow`, with a random source that is passed in.

use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, StatelessTransportState};
use zeroize::Zeroizing;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use sterna_control_api::RelayKey;

use crate::Rung;
use crate::frame::{
    COOKIE_BYTES, NOISE_PROTOCOL, NONCE_BYTES, PROLOGUE, SEALED_HEAD_BYTES, TAG_BYTES, sealed_head,
};
use crate::{DropReason, SessionId};

/// The private half of an X25519 key.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// Takes 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> RelayKey {
        let mut dh = DefaultResolver
            .resolve_dh(&DHChoice::Curve25519)
            .expect("invariant: snow is built with curve25519");
        dh.set(&self.0[..]);
        let mut public = [0; 32];
        public.copy_from_slice(&dh.pubkey()[..32]);
        RelayKey(public)
    }

    /// The bytes, for the file that keeps them.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What the handshake is bound to, besides rung and nonce.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// `udp`: the cookie that proved the address.
    Cookie([u8; COOKIE_BYTES]),
    /// `quic` and `wss`: the 32 bytes of the TLS exporter.
    Exporter([u8; 32]),
}

fn prologue(rung: Rung, nonce: &[u8; NONCE_BYTES], binding: &Binding) -> Vec<u8> {
    let bound: &[u8] = match binding {
        Binding::Cookie(cookie) => cookie,
        Binding::Exporter(exporter) => exporter,
    };
    [PROLOGUE, &[rung.byte()], nonce, bound].concat()
}

/// Algorithms of snow, randomness of ours.
struct Resolver([u8; 32]);

struct SeededRandom(ChaCha12Rng);

impl Random for SeededRandom {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SeededRandom(ChaCha12Rng::from_seed(self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

fn builder<'a>(seed: [u8; 32]) -> Builder<'a> {
    let params: NoiseParams = NOISE_PROTOCOL
        .parse()
        .expect("invariant: a protocol that snow knows");
    Builder::with_resolver(params, Box::new(Resolver(seed)))
}

/// The device's half of a handshake, between its two messages.
pub(crate) struct Initiator(HandshakeState);

/// Writes Noise message 1.
pub(crate) fn initiate(
    seed: [u8; 32],
    secret: &Secret,
    node: &RelayKey,
    (rung, nonce, binding): (Rung, &[u8; NONCE_BYTES], &Binding),
    payload: &[u8],
) -> Result<(Initiator, Vec<u8>), snow::Error> {
    let prologue = prologue(rung, nonce, binding);
    let mut state = builder(seed)
        .local_private_key(&secret.0[..])?
        .remote_public_key(&node.0)?
        .prologue(&prologue)?
        .build_initiator()?;
    let mut out = vec![0; 32 + 48 + payload.len() + TAG_BYTES];
    let len = state.write_message(payload, &mut out)?;
    out.truncate(len);
    Ok((Initiator(state), out))
}

impl Initiator {
    /// Opens Noise message 2. A message that does not open leaves the handshake as it was.
    pub(crate) fn finish(mut self, noise: &[u8]) -> Result<(Vec<u8>, Keys), Box<Self>> {
        let mut payload = vec![0; noise.len()];
        // snow restores its symmetric state when a message fails to open.
        let Ok(len) = self.0.read_message(noise, &mut payload) else {
            return Err(Box::new(self));
        };
        payload.truncate(len);
        match self.0.into_stateless_transport_mode() {
            Ok(state) => Ok((payload, Keys::new(state))),
            Err(_) => unreachable!("message 2 is the last of IK"),
        }
    }
}

impl std::fmt::Debug for Initiator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Initiator")
    }
}

/// The node's half of a handshake, between its two messages.
pub(crate) struct Responder {
    state: HandshakeState,
    /// Who the initiator is.
    pub(crate) relay_key: RelayKey,
    /// What message 1 said.
    pub(crate) payload: Vec<u8>,
}

/// Opens Noise message 1.
pub(crate) fn respond(
    seed: [u8; 32],
    secret: &Secret,
    (rung, nonce, binding): (Rung, &[u8; NONCE_BYTES], &Binding),
    noise: &[u8],
) -> Result<Responder, snow::Error> {
    let prologue = prologue(rung, nonce, binding);
    let mut state = builder(seed)
        .local_private_key(&secret.0[..])?
        .prologue(&prologue)?
        .build_responder()?;
    let mut payload = vec![0; noise.len()];
    let len = state.read_message(noise, &mut payload)?;
    payload.truncate(len);
    let relay_key = state
        .get_remote_static()
        .and_then(|key| key.try_into().ok())
        .map(RelayKey)
        .ok_or(snow::Error::Input)?;
    Ok(Responder {
        state,
        relay_key,
        payload,
    })
}

impl Responder {
    /// Writes Noise message 2.
    pub(crate) fn finish(mut self, payload: &[u8]) -> Result<(Vec<u8>, Keys), snow::Error> {
        let mut out = vec![0; 32 + payload.len() + TAG_BYTES];
        let len = self.state.write_message(payload, &mut out)?;
        out.truncate(len);
        Ok((out, Keys::new(self.state.into_stateless_transport_mode()?)))
    }
}

/// The keys of a session, both ways, and the counters under them.
pub(crate) struct Keys {
    state: Box<StatelessTransportState>,
    sent: u64,
    window: ReplayWindow,
}

impl Keys {
    fn new(state: StatelessTransportState) -> Self {
        Self {
            state: Box::new(state),
            sent: 0,
            window: ReplayWindow::default(),
        }
    }

    /// Writes a sealed frame around a message.
    pub(crate) fn seal(&mut self, session: SessionId, message: &[u8]) -> Vec<u8> {
        let mut out = vec![0; SEALED_HEAD_BYTES + message.len() + TAG_BYTES];
        out[..SEALED_HEAD_BYTES].copy_from_slice(&sealed_head(session, self.sent));
        let sealed = self
            .state
            .write_message(self.sent, message, &mut out[SEALED_HEAD_BYTES..]);
        debug_assert!(sealed.is_ok(), "2^64 frames, or a message of 64 KiB");
        self.sent += 1;
        out
    }

    /// Opens a sealed frame; its counter is not used up before [`Keys::accept`].
    pub(crate) fn open(&self, counter: u64, ciphertext: &[u8]) -> Result<Vec<u8>, DropReason> {
        // The cheap question first: a replay costs no cryptography.
        if !self.window.is_new(counter) {
            return Err(DropReason::Replay);
        }
        let mut message = vec![0; ciphertext.len()];
        let len = self
            .state
            .read_message(counter, ciphertext, &mut message)
            .map_err(|_| DropReason::Seal)?;
        message.truncate(len);
        Ok(message)
    }

    /// Uses the counter of an opened frame up.
    pub(crate) fn accept(&mut self, counter: u64) {
        self.window.accept(counter);
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

use crate::replay::ReplayWindow;
