//! The way to the authority: HTTPS with the roots that the operator trusts.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Limited;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::AcmeError;

/// What an authority's answer may have; a chain of certificates has a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How long the TCP connection to an authority may take.
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(60);

/// An HTTPS client.
#[derive(Debug)]
pub(super) struct Web(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Web {
    /// A client that trusts the roots of `ca_file`, or the system's where there is none.
    pub(super) fn new(
        ca_file: Option<&Path>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, AcmeError> {
        let tls = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(ca_file)?)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }
}

impl HttpClient for Web {
    fn request(
        &self,
        request: hyper::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answer = self.0.request(request);
        Box::pin(async move {
            let answer = tokio::time::timeout(REQUEST_MAX, answer).await;
            let answer = answer.map_err(|_| Error::Other("no answer in time".into()))?;
            let answer = answer.map_err(|error| Error::Other(error.into()))?;
            Ok(BytesResponse::from(
                answer.map(|body| Limited::new(body, ANSWER_BYTES_MAX)),
            ))
        })
    }
}

/// The roots to check the authority's certificate by.
pub(super) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, AcmeError> {
    let none = |reason: String| AcmeError::Roots { reason };
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let named = |reason: String| none(format!("{}: {reason}", path.display()));
        let certificates = CertificateDer::pem_file_iter(path);
        for certificate in certificates.map_err(|error| named(error.to_string()))? {
            let certificate = certificate.map_err(|error| named(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| named(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(named("it holds no certificate".to_owned()));
        }
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(none(if errors.is_empty() {
            "the system has none".to_owned()
        } else {
            errors.join(", ")
        }));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_without_roots_is_named_with_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roots.pem");
        for text in [None, Some(""), Some("nothing")] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let said = roots(Some(&path)).unwrap_err().to_string();
            assert!(
                said.contains("roots.pem") && said.contains("tls.acme.ca_file"),
                "{said}"
            );
        }
    }
}
