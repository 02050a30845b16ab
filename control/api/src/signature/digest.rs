//! `content-digest` (RFC 9530) with SHA-256.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The header's value for a body.
pub(super) fn of(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

/// Tells whether a value names the SHA-256 of the body; digests of other algorithms beside it do not
/// count.
pub(super) fn holds(given: &str, body: &[u8]) -> bool {
    let expected = of(body);
    given.split(',').any(|member| member.trim() == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9530 Appendix B.1, and Appendix B.2 for no content at all.
    #[test]
    fn the_published_digests_are_ours() {
        assert_eq!(
            of(b"{\"hello\": \"world\"}\n"),
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
        );
        assert_eq!(
            of(b""),
            "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
        );
    }

    #[test]
    fn a_digest_of_another_algorithm_may_stand_beside_ours_and_does_not_replace_it() {
        let both = format!("sha-512=:AAAA:, {}", of(b"body"));
        assert!(holds(&both, b"body"));
        assert!(!holds("sha-512=:AAAA:", b"body"));
        assert!(!holds("", b"body"));
    }
}
