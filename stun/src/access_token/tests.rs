#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

// RFC 7635 appendix A: the same input for every sample.
const SERVER_NAME: &str = "blackdow.carleon.gov";
const LONG_TERM_KEY: &[u8; 32] = b"HGkj32KJGiuy098sdfaqbNjOiaz71923";
const MAC_KEY: &[u8] = b"ZksjpweoixXmvn67534m";
const TIMESTAMP: u64 = 92_470_300_704_768;
const ISSUED_UNIX_S: u64 = TIMESTAMP >> 16;
const LIFETIME_S: u32 = 3600;
const NONCE: &[u8; 12] = b"h4j3k2l2n4b5";

// RFC 7635 appendix A: AEAD_AES_256_GCM.
const SAMPLE_256: &[u8] =
    b"\x00\x0c\x68\x34\x6a\x33\x6b\x32\x6c\x32\x6e\x34\x62\x35\x61\x7e\xf1\x34\xa3\xd5\xe4\x4e\x9a\
      \x19\xcc\x7d\xc1\x04\xb0\xc0\x3d\x03\xb2\xa5\x51\xd8\xfd\xf5\xcd\x3b\x6d\xca\x6f\x10\xcf\xb7\
      \x7e\x5b\x2d\xde\xc8\x4d\x29\x3a\x5c\x50\x49\x93\x59\xf0\xc2\xe2\x6f\x76";

// RFC 7635 appendix A: AEAD_AES_128_GCM, whose key is the first half.
const SAMPLE_128: &[u8] =
    b"\x00\x0c\x68\x34\x6a\x33\x6b\x32\x6c\x32\x6e\x34\x62\x35\x7f\xb9\xe9\x9f\x08\x27\xbe\x3d\xf1\
      \xe1\xbd\x65\x14\x93\xd3\x03\x1d\x36\xdf\x57\x07\x97\x84\xae\xe5\xea\xcb\x65\xfa\xd4\xf2\x7f\
      \xab\x1a\x3f\x97\x97\x4b\x69\xf8\x51\xb2\x4b\xf5\xaf\x09\xed\xa3\x57\xe0";

fn sample() -> SessionToken {
    SessionToken::new(&Key::new(MAC_KEY), ISSUED_UNIX_S, LIFETIME_S).unwrap()
}

fn key(algorithm: TokenAlgorithm) -> TokenKey {
    TokenKey::new(algorithm, &LONG_TERM_KEY[..algorithm.key_bytes()]).unwrap()
}

fn sealed(algorithm: TokenAlgorithm, token: &SessionToken) -> Vec<u8> {
    let mut out = [0; TOKEN_BYTES_MAX];
    let len = key(algorithm).seal(SERVER_NAME, NONCE, token, &mut out);
    out[..len].to_vec()
}

/// A token whose sealed part is these bytes.
fn sealed_block(block: &[u8]) -> Vec<u8> {
    let aead = Aes256Gcm::new_from_slice(LONG_TERM_KEY).unwrap();
    let mut token = [&[0, 12][..], NONCE, block].concat();
    let nonce: Nonce<_> = (*NONCE).into();
    let buffer = (&mut token[14..]).into();
    let tag = aead.encrypt_inout_detached(&nonce, SERVER_NAME.as_bytes(), buffer);
    token.extend_from_slice(&tag.unwrap());
    token
}

fn opened(token: &[u8]) -> Result<SessionToken, TokenError> {
    key(TokenAlgorithm::A256Gcm).open(SERVER_NAME, token)
}

#[test]
fn the_sample_token_of_rfc_7635_is_made_and_opened() {
    assert_eq!(sample().timestamp(), TIMESTAMP);
    for (algorithm, token) in [
        (TokenAlgorithm::A256Gcm, SAMPLE_256),
        (TokenAlgorithm::A128Gcm, SAMPLE_128),
    ] {
        assert_eq!(sealed(algorithm, &sample()), token, "{algorithm:?}");
        assert_eq!(key(algorithm).open(SERVER_NAME, token), Ok(sample()));
    }
}

#[test]
fn a_token_is_for_one_server_and_of_one_key() {
    let forged = Err(TokenError::Forged);
    assert_eq!(
        key(TokenAlgorithm::A256Gcm).open("blackdow.carleon.go", SAMPLE_256),
        forged
    );
    assert_eq!(
        key(TokenAlgorithm::A128Gcm).open(SERVER_NAME, SAMPLE_256),
        forged
    );
    let mut other = *LONG_TERM_KEY;
    other[31] ^= 1;
    let other = TokenKey::new(TokenAlgorithm::A256Gcm, &other).unwrap();
    assert_eq!(other.open(SERVER_NAME, SAMPLE_256), forged);
    assert_ne!(other, key(TokenAlgorithm::A256Gcm));
}

#[test]
fn no_bit_of_a_token_can_be_changed() {
    for bit in 0..SAMPLE_256.len() * 8 {
        let mut token = SAMPLE_256.to_vec();
        token[bit / 8] ^= 1 << (bit % 8);
        assert!(opened(&token).is_err(), "bit {bit}");
    }
}

#[test]
fn every_prefix_of_a_token_is_refused() {
    for len in 0..SAMPLE_256.len() {
        assert!(opened(&SAMPLE_256[..len]).is_err(), "{len} bytes");
    }
    let longer = [SAMPLE_256, &[0]].concat();
    assert_eq!(opened(&longer), Err(TokenError::Forged));
    assert_eq!(
        opened(&[0; TOKEN_BYTES_MAX + 1]),
        Err(TokenError::Malformed)
    );
}

#[test]
fn what_was_sealed_in_another_form_is_refused_although_the_seal_is_right() {
    let block = |key_bytes: u16, key: &[u8], tail: &[u8]| {
        sealed_block(&[&key_bytes.to_be_bytes(), key, tail].concat())
    };
    assert!(opened(&block(20, &[7; 20], &[0; 12])).is_ok());
    assert!(opened(&block(64, &[7; 64], &[0; 12])).is_ok());
    let malformed = Err(TokenError::Malformed);
    for token in [
        block(21, &[7; 20], &[0; 12]),
        block(19, &[7; 20], &[0; 12]),
        block(0xFFFF, &[7; 20], &[0; 12]),
        block(20, &[7; 20], &[0; 13]),
        block(19, &[7; 19], &[0; 13]),
        block(0, &[], &[0; 32]),
    ] {
        assert_eq!(opened(&token), malformed);
    }
}

#[test]
fn another_length_of_nonce_is_refused() {
    for nonce_bytes in [0_u8, 11, 13, 16, 255] {
        let mut token = SAMPLE_256.to_vec();
        token[1] = nonce_bytes;
        assert_eq!(opened(&token), Err(TokenError::Malformed));
    }
}

// RFC 7635 §7: lifetime + Delta > abs(RDnew - TS), Delta = 5 s.
#[test]
fn a_token_is_good_for_its_lifetime_and_five_seconds_either_side() {
    let (token, issued) = (sample(), ISSUED_UNIX_S);
    assert_eq!(token.left_s(issued), Ok(3600));
    assert_eq!(token.left_s(issued + 5), Ok(3600));
    assert_eq!(token.left_s(issued + 6), Ok(3599));
    assert_eq!(token.left_s(issued + 3604), Ok(1));
    assert_eq!(token.left_s(issued + 3605), Err(TokenError::OutOfTime));
    assert_eq!(token.left_s(issued - 3604), Ok(1));
    assert_eq!(token.left_s(issued - 3605), Err(TokenError::OutOfTime));
    let none = SessionToken::new(&Key::new(MAC_KEY), issued, 0).unwrap();
    assert_eq!(none.left_s(issued), Err(TokenError::OutOfTime));
    let end = SessionToken::new(&Key::new(MAC_KEY), u64::MAX >> 16, u32::MAX).unwrap();
    assert!(end.left_s(0).is_err() && end.left_s(u64::MAX).is_err());
}

#[test]
fn keys_have_their_lengths_and_are_never_printed() {
    for algorithm in TokenAlgorithm::ALL {
        for len in [0, 15, 17, 24, 31, 33] {
            assert!(TokenKey::new(algorithm, &vec![1; len]).is_err());
        }
    }
    let wrong = TokenKey::new(TokenAlgorithm::A256Gcm, &[1; 16]).unwrap_err();
    assert_eq!(wrong.to_string(), "a key of A256GCM has 32 bytes, not 16");
    assert_eq!(
        format!("{:?}", key(TokenAlgorithm::A256Gcm)),
        "TokenKey(A256GCM)"
    );
    assert!(!format!("{:?}", sample()).contains("Zksj"));
    for len in [0, 19, 65] {
        assert!(SessionToken::new(&Key::new(&vec![1; len]), 0, 1).is_err());
    }
}

proptest! {
    #[test]
    fn any_session_key_comes_out_as_it_went_in(
        key_bytes in prop::collection::vec(any::<u8>(), SESSION_KEY_BYTES_MIN..=SESSION_KEY_BYTES_MAX),
        issued_unix_s in 0_u64..1 << 48,
        lifetime_s: u32,
        nonce: [u8; 12],
        name in ".{0,40}",
        short: bool,
    ) {
        let algorithm = if short { TokenAlgorithm::A128Gcm } else { TokenAlgorithm::A256Gcm };
        let token = SessionToken::new(&Key::new(&key_bytes), issued_unix_s, lifetime_s).unwrap();
        let mut out = [0; TOKEN_BYTES_MAX];
        let len = key(algorithm).seal(&name, &nonce, &token, &mut out);
        prop_assert_eq!(key(algorithm).open(&name, &out[..len]), Ok(token));
    }

    #[test]
    fn bytes_that_nobody_sealed_are_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 0..160),
        right_nonce_length: bool,
    ) {
        if right_nonce_length && bytes.len() > 1 {
            bytes[..2].copy_from_slice(&[0, 12]);
        }
        prop_assert!(opened(&bytes).is_err());
    }

    #[test]
    fn whatever_was_sealed_is_read_without_a_panic(
        block in prop::collection::vec(any::<u8>(), 0..100),
        key_bytes in prop::option::of(0_u16..100),
    ) {
        let mut block = block;
        if let Some(key_bytes) = key_bytes && block.len() > 1 {
            block[..2].copy_from_slice(&key_bytes.to_be_bytes());
        }
        let _ = opened(&sealed_block(&block));
    }
}
