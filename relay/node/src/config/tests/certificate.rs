//! Where the certificate comes from.

use super::*;

#[test]
fn a_certificate_without_its_key_is_refused_and_so_is_the_reverse() {
    let said = refusal(&format!("{USER}[tls]\ncertificate = \"c.pem\""));
    assert!(
        said.contains("tls.key: there is a tls.certificate without its key"),
        "{said}"
    );
    let said = refusal(&format!("{USER}[tls]\nkey = \"k.pem\""));
    assert!(
        said.contains("tls.certificate: there is a tls.key without its certificate"),
        "{said}"
    );
}

#[test]
fn acme_is_a_table_also_by_flag_and_never_beside_files() {
    let config = from_sets(&[
        "auth.secrets=0123456789abcdef",
        "turn.tls_listen=0.0.0.0:443",
        "tls.acme={ domains = [\"relay.example\", \"192.0.2.1\"], external_account = { key_id = \"k\", hmac_key = \"tide\" } }",
    ])
    .unwrap();
    let acme = config.tls.acme.clone().unwrap();
    assert_eq!(acme.directory, DEFAULT_DIRECTORY);
    assert_eq!(acme.challenge, AcmeChallenge::TlsAlpn01);
    assert!(config.warnings().is_empty(), "{:?}", config.warnings());
    assert!(!config.redacted().to_string().contains("tide"));
    for (acme, sentence) in [
        ("{}", "domains names 0 names"),
        (
            "{ domains = [\"*.example\"] }",
            "\"*.example\" is neither a host's name nor an address",
        ),
        (
            "{ domains = [\"a.example\"], directory = \"http://ca\" }",
            "is no https:// URL",
        ),
        (
            "{ domains = [\"a.example\"], http_listen = [\"0.0.0.0:80\"] }",
            "set challenge = \"http-01\"",
        ),
        (
            "{ domains = [\"a.example\"], challenge = \"dns-01\" }",
            "unknown variant",
        ),
        ("{ domain = [\"a.example\"] }", "unknown field"),
        (
            "{ domains = [\"a.example\"] }\ncertificate = \"c.pem\"\nkey = \"k.pem\"",
            "remove tls.certificate and tls.key",
        ),
    ] {
        let said = refusal(&format!("{USER}[tls]\nacme = {acme}"));
        assert!(
            said.contains("tls.acme: ") && said.contains(sentence),
            "{said}"
        );
    }
}

#[test]
fn acme_warns_where_the_authority_would_find_nobody() {
    let warning = |sets: &[&str]| {
        let sets: Vec<_> = [&["auth.secrets=0123456789abcdef"], sets].concat();
        from_sets(&sets).unwrap().warnings().concat()
    };
    let said = warning(&["tls.acme={ domains = [\"a.example\"] }"]);
    assert!(
        said.contains("TCP port 443 of a.example") && said.contains("turn.tls_listen"),
        "{said}"
    );
    let http = |listen: &str| {
        format!("tls.acme={{ domains = [\"a.example\"], challenge = \"http-01\"{listen} }}")
    };
    assert_eq!(warning(&[&http("")]), "");
    let said = warning(&[&http(", http_listen = [\"0.0.0.0:8080\"]")]);
    assert!(
        said.contains("TCP port 80") && said.contains("8080"),
        "{said}"
    );
}
