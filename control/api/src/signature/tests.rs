#![allow(clippy::unwrap_used)]

use super::*;

const NOW: u64 = 1_700_000_000;
const NONCE: Freshness = Freshness::Nonce([7; 16]);

fn key() -> SigningKey {
    SigningKey::from_seed(&[42; 32])
}

fn target() -> Target<'static> {
    Target {
        method: "POST",
        authority: "control.example:8478",
        path: "/api/v1/nodes/register",
        query: "dry=1",
        authorization: "Bearer sterna-join-1.a.b",
        body: b"{}",
    }
}

fn read() -> Target<'static> {
    Target {
        method: "GET",
        authority: "control.example",
        path: "/api/v1/relay-map",
        ..Target::default()
    }
}

fn check(target: &Target<'_>, headers: &SignatureHeaders) -> Result<Claims, SignatureError> {
    verify(
        target,
        &headers.signature_input,
        &headers.signature,
        headers.content_digest.as_deref(),
        NOW,
    )
}

/// Signs with any parameters, as somebody else's software would.
fn signed_as(target: &Target<'_>, components: &[&str], params: &str) -> SignatureHeaders {
    let digest = Some(digest::of(target.body));
    let params = format!("(\"{}\"){params}", components.join("\" \""));
    let text = base::base(components, &params, |name| {
        let other = (name == "date").then(|| "today".into());
        target.component(name, digest.as_deref()).or(other)
    });
    let signature = STANDARD.encode(key().sign(text.unwrap().as_bytes()));
    SignatureHeaders {
        signature_input: format!("sig1={params}"),
        signature: format!("sig1=:{signature}:"),
        content_digest: digest.filter(|_| !target.body.is_empty()),
    }
}

fn params() -> String {
    let headers = sign(&key(), &read(), NOW, NONCE);
    let (_, params) = headers.signature_input.split_once(')').unwrap();
    params.to_owned()
}

/// RFC 9421 Appendix B.2.6, through the code that signs requests of ours: base and signature are
/// those that are published (Ed25519 is deterministic).
#[test]
fn the_published_ed25519_signature_is_ours() {
    let header = concat!(
        r#"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length")"#,
        r#";created=1618884473;keyid="test-key-ed25519""#,
    );
    let message = Target {
        method: "POST",
        authority: "example.com",
        path: "/foo",
        query: "param=Value&Pet=dog",
        ..Target::default()
    };
    let input = parse::input(header).unwrap();
    let base = base::base(&input.components, input.params_text, |name| {
        Some(match name {
            "date" => "Tue, 20 Apr 2021 02:07:55 GMT".into(),
            "content-type" => "application/json".into(),
            "content-length" => "18".into(),
            name => message.component(name, None)?,
        })
    })
    .unwrap();
    assert_eq!(
        base,
        concat!(
            "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n",
            "\"@method\": POST\n",
            "\"@path\": /foo\n",
            "\"@authority\": example.com\n",
            "\"content-type\": application/json\n",
            "\"content-length\": 18\n",
            "\"@signature-params\": (\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" ",
            "\"content-length\");created=1618884473;keyid=\"test-key-ed25519\"",
        )
    );
    // Appendix B.1.4: test-key-ed25519.
    let seed = text::decode_array("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU").unwrap();
    let public = text::decode_array("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs").unwrap();
    let signature = parse::signature(
        "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
        input.label,
    )
    .unwrap();
    let signing = SigningKey::from_seed(&seed);
    assert_eq!(signing.verifying_key().to_bytes(), public);
    assert_eq!(signing.sign(base.as_bytes()).as_slice(), signature);
    let signature = signature.try_into().unwrap();
    assert!(
        VerifyingKey::from_bytes(&public)
            .unwrap()
            .verify(base.as_bytes(), &signature)
    );
}

#[test]
fn the_headers_are_these_to_the_letter() {
    let headers = sign(&key(), &target(), NOW, NONCE);
    assert_eq!(
        headers.signature_input,
        concat!(
            r#"sterna=("@method" "@authority" "@path" "@query" "content-digest" "authorization")"#,
            r#";created=1700000000;nonce="n-BwcHBwcHBwcHBwcHBwcHBw""#,
            r#";keyid="GX9rI-FshTLGq8g4-s1ep4m-DHaykgM0A5v6iz02jWE";alg="ed25519";tag="sterna-control-1""#,
        )
    );
    assert_eq!(
        headers.content_digest.as_deref(),
        Some("sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:")
    );
    assert!(headers.signature.starts_with("sterna=:"));
}

#[test]
fn what_is_signed_verifies_and_names_its_key_time_and_freshness() {
    for (target, freshness) in [
        (target(), NONCE),
        (read(), Freshness::Counter(0)),
        (read(), Freshness::Counter(u64::MAX)),
    ] {
        let claims = check(&target, &sign(&key(), &target, NOW, freshness));
        let expected = Claims {
            key: key().verifying_key().to_bytes(),
            created: NOW,
            freshness,
        };
        assert_eq!(claims, Ok(expected));
    }
}

#[test]
fn nothing_that_is_covered_can_be_changed() {
    let headers = sign(&key(), &target(), NOW, NONCE);
    let changes = [
        Target {
            method: "PUT",
            ..target()
        },
        Target {
            authority: "other.example:8478",
            ..target()
        },
        Target {
            path: "/api/v1/nodes/register/",
            ..target()
        },
        Target {
            query: "",
            ..target()
        },
        Target {
            authorization: "Bearer sterna-join-1.a.c",
            ..target()
        },
    ];
    for changed in changes {
        assert_eq!(
            check(&changed, &headers),
            Err(SignatureError::BadSignature),
            "{changed:?}"
        );
    }
    let other_body = Target {
        body: b"{ }",
        ..target()
    };
    assert_eq!(check(&other_body, &headers), Err(SignatureError::Digest));
    let mut redated = headers.clone();
    redated.signature_input = redated.signature_input.replace("1700000000", "1700000001");
    assert_eq!(
        check(&target(), &redated),
        Err(SignatureError::BadSignature)
    );
    let mut other_digest = headers;
    other_digest.content_digest = Some(digest::of(b"{ }"));
    assert_eq!(
        check(&other_body, &other_digest),
        Err(SignatureError::BadSignature)
    );
}

#[test]
fn the_authority_has_no_case_and_an_empty_path_is_the_root() {
    let headers = sign(&key(), &read(), NOW, NONCE);
    let shouted = Target {
        authority: "CONTROL.example",
        ..read()
    };
    assert!(check(&shouted, &headers).is_ok());
    let root = Target {
        path: "/",
        ..read()
    };
    let empty = Target { path: "", ..read() };
    assert!(check(&root, &sign(&key(), &empty, NOW, NONCE)).is_ok());
}

#[test]
fn a_token_that_was_put_beside_a_signature_is_refused() {
    let without = Target {
        authorization: "",
        ..target()
    };
    let headers = sign(&key(), &without, NOW, NONCE);
    assert_eq!(
        check(&target(), &headers),
        Err(SignatureError::Missing("authorization"))
    );
    let with = sign(&key(), &target(), NOW, NONCE);
    assert_eq!(
        check(&without, &with),
        Err(SignatureError::Missing("authorization"))
    );
}

#[test]
fn a_body_that_was_put_below_a_signature_is_refused() {
    let headers = sign(&key(), &read(), NOW, NONCE);
    let with = Target {
        body: b"{}",
        ..read()
    };
    assert_eq!(
        check(&with, &headers),
        Err(SignatureError::Missing("content-digest"))
    );
    let mut digest_too = headers;
    digest_too.content_digest = Some(digest::of(b"{}"));
    assert_eq!(
        check(&with, &digest_too),
        Err(SignatureError::Missing("content-digest"))
    );
    let mut no_digest = sign(&key(), &target(), NOW, NONCE);
    no_digest.content_digest = None;
    assert_eq!(
        check(&target(), &no_digest),
        Err(SignatureError::Missing("content-digest"))
    );
}

#[test]
fn a_signature_counts_for_sixty_seconds_to_either_side() {
    let created =
        |at| check(&read(), &sign(&key(), &read(), at, NONCE)).map(|claims| claims.created);
    assert_eq!(created(NOW - 60), Ok(NOW - 60));
    assert_eq!(created(NOW + 60), Ok(NOW + 60));
    assert_eq!(created(NOW - 61), Err(SignatureError::Stale));
    assert_eq!(created(NOW + 61), Err(SignatureError::Stale));
    assert_eq!(created(0), Err(SignatureError::Stale));
}

#[test]
fn components_may_come_in_any_order_and_label() {
    let headers = signed_as(
        &read(),
        &["@query", "@path", "@authority", "@method"],
        &params(),
    );
    assert!(check(&read(), &headers).is_ok());
}

#[test]
fn each_component_that_is_left_out_is_named() {
    let all = [
        METHOD,
        AUTHORITY,
        PATH,
        QUERY,
        CONTENT_DIGEST,
        AUTHORIZATION,
    ];
    for missing in all {
        let rest: Vec<_> = all.into_iter().filter(|name| *name != missing).collect();
        let headers = signed_as(&target(), &rest, &params());
        assert_eq!(
            check(&target(), &headers),
            Err(SignatureError::Missing(missing))
        );
    }
    let more = [METHOD, AUTHORITY, PATH, QUERY, "date"];
    let headers = signed_as(&read(), &more, &params());
    assert_eq!(check(&read(), &headers), Err(SignatureError::Component));
}

#[test]
fn each_parameter_that_is_wrong_has_its_own_reason() {
    let four = [METHOD, AUTHORITY, PATH, QUERY];
    let keyid = text::encode(&key().verifying_key().to_bytes());
    let cases = [
        (
            r#";tag="sterna-control-1""#,
            r#";tag="sterna-control-2""#,
            SignatureError::Tag,
        ),
        (r#";tag="sterna-control-1""#, "", SignatureError::Tag),
        (
            r#";alg="ed25519""#,
            r#";alg="hmac-sha256""#,
            SignatureError::Algorithm,
        ),
        (r#";alg="ed25519""#, "", SignatureError::Algorithm),
        (
            ";created=1700000000",
            "",
            SignatureError::Missing("created"),
        ),
        (
            r#";nonce="n-BwcHBwcHBwcHBwcHBwcHBw""#,
            "",
            SignatureError::Missing("nonce"),
        ),
        (
            &format!(";keyid=\"{keyid}\""),
            "",
            SignatureError::Missing("keyid"),
        ),
        (&keyid, "short", SignatureError::Malformed),
        (
            "n-BwcHBwcHBwcHBwcHBwcHBw",
            "BwcHBwcHBwcHBwcHBwcHBw",
            SignatureError::Malformed,
        ),
        (
            "n-BwcHBwcHBwcHBwcHBwcHBw",
            "c-01",
            SignatureError::Malformed,
        ),
        (
            "n-BwcHBwcHBwcHBwcHBwcHBw",
            "c-18446744073709551616",
            SignatureError::Malformed,
        ),
        (
            "n-BwcHBwcHBwcHBwcHBwcHBw",
            "n-BwcH",
            SignatureError::Malformed,
        ),
        (
            "created=1700000000",
            "created=\"1700000000\"",
            SignatureError::Malformed,
        ),
        (
            "created=",
            "expires=1700000000;created=",
            SignatureError::Malformed,
        ),
    ];
    for (from, to, expected) in cases {
        let params = params().replace(from, to);
        let headers = signed_as(&read(), &four, &params);
        assert_eq!(check(&read(), &headers), Err(expected), "{params}");
    }
}

#[test]
fn another_keys_name_or_a_weak_one_is_a_bad_signature() {
    let headers = sign(&key(), &read(), NOW, NONCE);
    let ours = text::encode(&key().verifying_key().to_bytes());
    let mut small_order = [0; 32];
    small_order[0] = 1;
    let others = [
        SigningKey::from_seed(&[1; 32]).verifying_key().to_bytes(),
        small_order,
        [0xFF; 32],
    ];
    for other in others {
        let mut forged = headers.clone();
        forged.signature_input = forged.signature_input.replace(&ours, &text::encode(&other));
        assert_eq!(check(&read(), &forged), Err(SignatureError::BadSignature));
    }
}

#[test]
fn a_line_feed_in_what_is_signed_is_no_second_component() {
    let path = "/a\n\"@query\": ?";
    let broken = Target { path, ..read() };
    let headers = sign(&key(), &broken, NOW, NONCE);
    assert_eq!(check(&broken, &headers), Err(SignatureError::Malformed));
}

#[test]
fn what_is_too_long_is_not_looked_at() {
    let path = "/".repeat(SIGNATURE_TARGET_BYTES_MAX);
    let long = Target {
        path: &path,
        ..read()
    };
    let headers = sign(&key(), &long, NOW, NONCE);
    assert_eq!(check(&long, &headers), Err(SignatureError::Malformed));
    let mut digest = sign(&key(), &target(), NOW, NONCE);
    digest.content_digest = Some(" ".repeat(SIGNATURE_HEADER_BYTES_MAX + 1));
    assert_eq!(check(&target(), &digest), Err(SignatureError::Malformed));
}
