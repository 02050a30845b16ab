//! What no honest client sends, of every kind, from a seed.

use rand::RngExt as _;
use rand::rngs::StdRng;
use sterna_stun::attr::{Lifetime, RequestedTransport};
use sterna_stun::message::Method;

use super::client::{Attributes, Client, new_transaction};
use super::node::{Node, OTHER_PASSWORD, OTHER_USER};

/// Nonsense of every kind that a listener may be sent.
pub(crate) fn nonsense(rng: &mut StdRng, signed: &[Vec<u8>]) -> Vec<u8> {
    let mut random = |len: usize| -> Vec<u8> { (0..len).map(|_| rng.random()).collect() };
    let kind = random(1)[0] % 8;
    let noise = random(2_048);
    let pick = usize::from(noise[0]);
    let place = usize::from(u16::from_be_bytes([noise[1], noise[2]]));
    let valid = signed[pick % signed.len()].clone();
    match kind {
        // Anything at all, also nothing.
        0 => noise[..place % 1_500].to_vec(),
        // A message that was cut off.
        1 => valid[..place % valid.len()].to_vec(),
        // A message with something behind it.
        2 => [valid, noise[..place % 700].to_vec()].concat(),
        // A header that promises another length.
        3 => {
            let mut message = valid;
            message[2..4].copy_from_slice(&noise[3..5]);
            message
        }
        // A signed message with a few bits turned over.
        4 => {
            let mut message = valid;
            for turn in 0..=pick % 4 {
                let at = usize::from(noise[8 + turn]) % message.len();
                message[at] ^= 1 << (noise[16 + turn] % 8);
            }
            message
        }
        // A good header over attributes of noise.
        5 => {
            let len = place % 1_024 / 4 * 4;
            let length = u16::try_from(len).expect("below 1,024");
            let mut message = valid[..20].to_vec();
            message[2..4].copy_from_slice(&length.to_be_bytes());
            message.extend(&noise[..len]);
            message
        }
        // Channel data that is shorter or longer than it says.
        6 => {
            let mut frame = vec![0x40, 0x00, noise[3], noise[4]];
            frame.extend(&noise[..place % 1_400]);
            frame
        }
        // Longer than anything that we ever receive in one piece.
        _ => noise
            .iter()
            .copied()
            .cycle()
            .take(20_000 + place % 40_000)
            .collect(),
    }
}

/// Messages as a client with credentials sends them, for `nonsense` to spoil.
pub(crate) fn signed_messages(node: &Node) -> Vec<Vec<u8>> {
    let client = Client::new(node.v4(), OTHER_USER, OTHER_PASSWORD);
    client.allocate().expect("an allocation");
    let encode = |method, attributes: Attributes<'_>| {
        client
            .encode(method, new_transaction(), attributes)
            .expect("fits")
    };
    vec![
        encode(Method::ALLOCATE, &|writer| {
            writer.attr(&RequestedTransport::UDP)
        }),
        encode(Method::REFRESH, &|writer| writer.attr(&Lifetime(600))),
        encode(Method::BINDING, &|_| Ok(())),
        encode(Method::CREATE_PERMISSION, &|_| Ok(())),
    ]
}
