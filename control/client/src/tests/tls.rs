//! Certificates: those of the pinned authority, and no others.

use std::sync::{Arc, Mutex};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::server::{answer, options, serve};
use crate::{CallError, Caller, ControlClient, Options};

#[tokio::test]
async fn only_the_pinned_authority_is_believed() {
    let made = || generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let CertifiedKey { cert, signing_key } = made();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let seen = Arc::<Mutex<Vec<_>>>::default();
    let kept = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        let fine = Arc::new(|_, _: &_| answer(200, "text/plain", "ready"));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, Arc::clone(&fine), Arc::clone(&kept)).await;
            }
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let client = |name: &str, pem: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, pem).unwrap();
        let options = Options {
            ca_file: Some(path),
            ..options()
        };
        ControlClient::new(&url, Caller::Anonymous, &options).unwrap()
    };
    let stranger = client("stranger.pem", made().cert.pem());
    let error = stranger.ready().await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(seen.lock().unwrap().is_empty());
    client("ours.pem", cert.pem()).ready().await.unwrap();
    task.abort();
}
