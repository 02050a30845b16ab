//! As much of a DERP client as a load needs: DERP version 2 over TLS, packets to and from a key.
//!
//! ```text
//! frame: type 1, length of the rest 4, rest
//!   1 server key   "DERP🔑", key 32               server, first
//!   2 client info  key 32, nonce 24, box of JSON   client, then
//!   3 server info  nonce 24, box of JSON           server, then
//!   4 send         destination's key 32, packet    client
//!   5 receive      source's key 32, packet         server
//! ```

use std::io;
use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use crypto_box::aead::Aead as _;
use crypto_box::{PublicKey, SalsaBox, SecretKey};
use rand::RngExt as _;
use rustls::pki_types::ServerName;
use sterna_client::relay::{Mark, Packet, Rung, tls};
use sterna_control_api::DeviceKey;
use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf,
    split,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const SERVER_KEY: u8 = 1;
const CLIENT_INFO: u8 = 2;
const SERVER_INFO: u8 = 3;
const SEND: u8 = 4;
const RECEIVE: u8 = 5;

const MAGIC: &[u8] = "DERP🔑".as_bytes();
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// The longest frame that a server sends: a packet of 64 KiB and its source.
const FRAME_BYTES_MAX: usize = (64 << 10) + KEY_BYTES;
/// The same bounds as those of a device of our own.
const FRAMES_MAX: usize = sterna_client::relay::limits::FRAMES_MAX;
const RECEIVED_MAX: usize = sterna_client::relay::limits::RECEIVED_MAX;
/// What is written and read at a time: more than a record of TLS.
const BUFFER_BYTES: usize = 64 << 10;

type Socket = TlsStream<TcpStream>;

/// A connection to a DERP server. Its tasks end with it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) key: DeviceKey,
    frames: mpsc::Sender<Bytes>,
}

/// Connects with a key of its own; packets come out of the receiver.
pub(crate) async fn connect(
    server: SocketAddr,
    host: &'static str,
) -> io::Result<(Client, mpsc::Receiver<Packet>)> {
    let socket = TcpStream::connect(server).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let connector = TlsConnector::from(tls::config(b"http/1.1"));
    let (reader, mut writer) = split(connector.connect(name, socket).await?);
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);

    let request = format!(
        "GET /derp HTTP/1.1\r\nHost: {host}\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"
    );
    writer.write_all(request.as_bytes()).await?;
    upgraded(&mut reader).await?;
    let (kind, hello) = read_frame(&mut reader).await?;
    let server_key = hello.strip_prefix(MAGIC).and_then(|key| key.first_chunk());
    let (SERVER_KEY, Some(server_key)) = (kind, server_key) else {
        return Err(io::Error::other("no DERP server"));
    };
    let secret = SecretKey::from(rand::rng().random::<[u8; KEY_BYTES]>());
    let nonce: [u8; NONCE_BYTES] = rand::rng().random();
    let sealed = SalsaBox::new(&PublicKey::from(*server_key), &secret)
        .encrypt(&nonce.into(), &br#"{"version":2}"#[..])
        .map_err(|_| io::Error::other("a box that does not close"))?;
    let key = *secret.public_key().as_bytes();
    let info = [&key[..], &nonce, &sealed].concat();
    writer.write_all(&head(CLIENT_INFO, info.len())).await?;
    writer.write_all(&info).await?;
    writer.flush().await?;
    while read_frame(&mut reader).await?.0 != SERVER_INFO {}

    let (frames, frames_out) = mpsc::channel(FRAMES_MAX);
    let (packets_in, packets) = mpsc::channel(RECEIVED_MAX);
    tokio::spawn(write(writer, frames_out));
    tokio::spawn(read(reader, packets_in));
    let key = DeviceKey(key);
    Ok((Client { key, frames }, packets))
}

impl Client {
    /// Sends a packet; `false` when it was dropped for want of room.
    pub(crate) fn send(&self, to: DeviceKey, payload: &[u8]) -> bool {
        let len = KEY_BYTES + payload.len();
        let mut frame = BytesMut::with_capacity(5 + len);
        frame.put_slice(&head(SEND, len));
        frame.put_slice(&to.0);
        frame.put_slice(payload);
        self.frames.try_send(frame.freeze()).is_ok()
    }
}

fn head(kind: u8, len: usize) -> [u8; 5] {
    let len = u32::try_from(len).expect("invariant: frames are short");
    let [a, b, c, d] = len.to_be_bytes();
    [kind, a, b, c, d]
}

/// Reads the answer to the upgrade to its empty line.
async fn upgraded(reader: &mut BufReader<ReadHalf<Socket>>) -> io::Result<()> {
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    if !line.starts_with("HTTP/1.1 101 ") {
        return Err(io::Error::other(format!("not upgraded: {}", line.trim())));
    }
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

async fn read_frame(reader: &mut BufReader<ReadHalf<Socket>>) -> io::Result<(u8, Bytes)> {
    let kind = reader.read_u8().await?;
    let len = usize::try_from(reader.read_u32().await?).map_err(io::Error::other)?;
    if len > FRAME_BYTES_MAX {
        return Err(io::Error::other("a frame that is too long"));
    }
    let mut rest = BytesMut::zeroed(len);
    reader.read_exact(&mut rest).await?;
    Ok((kind, rest.freeze()))
}

async fn read(mut reader: BufReader<ReadHalf<Socket>>, packets: mpsc::Sender<Packet>) {
    while let Ok((kind, rest)) = read_frame(&mut reader).await {
        let source = rest.first_chunk::<KEY_BYTES>().copied();
        if let (RECEIVE, Some(source)) = (kind, source) {
            let packet = Packet {
                peer: DeviceKey(source),
                mark: Mark::default(),
                payload: rest.slice(KEY_BYTES..),
                rung: Rung::Wss,
            };
            // Who does not fetch packets loses them, as on our own side.
            let _ = packets.try_send(packet);
        }
        if packets.is_closed() {
            return;
        }
    }
}

/// Writes frames; what has come meanwhile goes in the same write.
async fn write(mut writer: WriteHalf<Socket>, mut frames: mpsc::Receiver<Bytes>) {
    let mut batch = BytesMut::with_capacity(BUFFER_BYTES);
    while let Some(frame) = frames.recv().await {
        batch.put_slice(&frame);
        while batch.len() < BUFFER_BYTES {
            match frames.try_recv() {
                Ok(frame) => batch.put_slice(&frame),
                Err(_) => break,
            }
        }
        if writer.write_all(&batch).await.is_err() || writer.flush().await.is_err() {
            return;
        }
        batch.clear();
    }
    let _ = writer.shutdown().await;
}
