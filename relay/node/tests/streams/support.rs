//! What the tests of the stream side share: a sink that shows what reaches the workers, and a TLS
//! client.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use sterna_relay::config;
use sterna_relay::stream::{
    Protocols, SinkClosed, StreamConfig, StreamLimits, StreamListener, StreamOut, StreamSink,
    Streams,
};
use sterna_relay::tls::Certificates;
use sterna_turn::Client;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Nothing in these tests takes this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub enum Seen {
    Opened(Client, StreamOut),
    Frame(Bytes),
    Closed(Client),
}

/// Hands everything to the test, at most `capacity` at a time.
pub struct Sink(mpsc::Sender<Seen>);

impl StreamSink for Sink {
    async fn opened(&self, client: Client, out: StreamOut) -> Result<(), SinkClosed> {
        self.0
            .send(Seen::Opened(client, out))
            .await
            .map_err(|_| SinkClosed)
    }

    async fn frame(&self, _: Client, frame: Bytes) -> Result<(), SinkClosed> {
        self.0
            .send(Seen::Frame(frame))
            .await
            .map_err(|_| SinkClosed)
    }

    async fn closed(&self, client: Client) {
        let _ = self.0.send(Seen::Closed(client)).await;
    }
}

pub struct Bench {
    pub streams: Streams,
    pub seen: mpsc::Receiver<Seen>,
    pub addr: SocketAddr,
}

pub const LIMITS: StreamLimits = StreamLimits {
    connections_max: 100,
    per_prefix_max: 100,
    unauthenticated_idle_s: 20,
    handshake_s: 20,
    write_stall_s: 20,
    queue_bytes_max: 256 * 1024,
    queues_bytes_max: 256 * 1024 * 1024,
};

impl Bench {
    pub fn new(limits: impl Into<StreamConfig>) -> Self {
        Self::with(limits, Protocols::TcpAndTls, 1000, test_tls().acceptor())
    }

    pub fn with(
        config: impl Into<StreamConfig>,
        protocols: Protocols,
        capacity: usize,
        tls: TlsAcceptor,
    ) -> Self {
        let (sender, seen) = mpsc::channel(capacity);
        let listener = StreamListener::bind(localhost(), protocols).expect("a port of loopback");
        let streams =
            Streams::start(vec![listener], config, tls, Arc::new(Sink(sender))).expect("a runtime");
        let addr = streams.local_addrs()[0];
        Self {
            streams,
            seen,
            addr,
        }
    }

    pub async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.addr))
            .await
            .expect("a connection")
    }

    pub async fn next(&mut self) -> Seen {
        soon(self.seen.recv()).await.expect("the stream side runs")
    }

    pub async fn opened(&mut self) -> (Client, StreamOut) {
        match self.next().await {
            Seen::Opened(client, out) => (client, out),
            other => panic!("not opened: {other:?}"),
        }
    }

    pub async fn frame(&mut self) -> Bytes {
        match self.next().await {
            Seen::Frame(frame) => frame,
            other => panic!("not a frame: {other:?}"),
        }
    }

    pub async fn closed(&mut self) -> Client {
        match self.next().await {
            Seen::Closed(client) => client,
            other => panic!("not closed: {other:?}"),
        }
    }
}

pub fn localhost() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// The self-signed certificate of a node that was given none.
pub fn test_tls() -> Certificates {
    let dir = tempfile::tempdir().expect("a directory");
    Certificates::load(&config::Tls::default(), dir.path(), "test").expect("a certificate")
}

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("within patience")
}

/// Waits until a condition that other tasks bring about holds.
pub async fn eventually(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A Binding request; the last byte tells them apart.
pub fn binding(number: u8) -> Vec<u8> {
    let mut message = vec![
        0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    message.push(number);
    message
}

/// ChannelData as it is on TCP: padded to four bytes.
pub fn channel_data(payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len())
        .expect("a short payload")
        .to_be_bytes();
    let mut message = vec![0x40, 0, len[0], len[1]];
    message.extend_from_slice(payload);
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

pub struct ClientHello<'a> {
    pub alpn: &'a [&'a [u8]],
    pub version: &'static rustls::SupportedProtocolVersion,
}

pub async fn tls_connect(
    addr: SocketAddr,
    hello: &ClientHello<'_>,
) -> std::io::Result<TlsStream<TcpStream>> {
    tls_over(TcpStream::connect(addr).await?, hello).await
}

/// Speaks TLS on a connection that stands.
pub async fn tls_over(
    socket: TcpStream,
    hello: &ClientHello<'_>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[hello.version])
        .expect("a version of rustls")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    config.alpn_protocols = hello.alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    soon(TlsConnector::from(Arc::new(config)).connect(name, socket)).await
}

/// Takes any certificate: the tests look at it themselves.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
