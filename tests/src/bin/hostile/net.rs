//! Connections of every carrier, from several addresses of this machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long a connection and its handshakes may take before an attack counts as failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes in both directions.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
pub(crate) type BoxedIo = Box<dyn Io>;

/// The `n`-th address of loopback from which to connect, so that a limit for one address is not all that is met.
pub(crate) fn source(n: usize) -> Ipv4Addr {
    let low = u8::try_from(n % 200).unwrap_or(0);
    let high = u8::try_from(n / 200 % 200).unwrap_or(0);
    Ipv4Addr::new(127, 1, high, low + 1)
}

/// Writes, and leaves nothing in TLS's own buffer: a write counts as done there as soon as it is encrypted.
pub(crate) async fn put(io: &mut BoxedIo, bytes: &[u8]) -> io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}

/// The host and port of a URL.
pub(crate) fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    host.parse().with_context(|| format!("{url} has no address"))
}

/// A TCP connection from an address of this machine.
pub(crate) async fn dial(to: SocketAddr, from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    dial_with(socket, to).await
}

/// The same whose kernel keeps hardly anything for a reader that does not read.
pub(crate) async fn dial_small(to: SocketAddr, from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    socket.bind((from, 0).into())?;
    dial_with(socket, to).await
}

async fn dial_with(socket: TcpSocket, to: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(PATIENCE, socket.connect(to)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A client's TLS that trusts the node's own certificate, with or without memory of earlier sessions.
pub(crate) fn tls(certificate: &Path, resumes: bool) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = if resumes { Resumption::in_memory_sessions(64) } else { Resumption::disabled() };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Begins TLS.
pub(crate) async fn secure(
    tls: &TlsConnector,
    stream: TcpStream,
) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost")?;
    Ok(timeout(PATIENCE, tls.connect(name, stream)).await.context("no TLS handshake")??)
}

/// What carries MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Tcp,
    Tls,
    Ws,
    Wss,
}

pub(crate) const CARRIERS: [Carrier; 4] = [Carrier::Tcp, Carrier::Tls, Carrier::Ws, Carrier::Wss];

/// The request that begins a WebSocket.
pub(crate) const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// A byte stream, perhaps inside WebSocket frames.
pub(crate) struct Line {
    io: BoxedIo,
    framed: bool,
    raw: Vec<u8>,
}

impl Line {
    /// Over TCP or TLS, or inside a WebSocket, which is begun here.
    pub(crate) async fn open(mut io: BoxedIo, framed: bool) -> anyhow::Result<Self> {
        if framed {
            put(&mut io, UPGRADE).await?;
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") {
                timeout(PATIENCE, io.read_exact(&mut byte)).await.context("no WebSocket")??;
                head.extend(byte);
            }
            if !head.starts_with(b"HTTP/1.1 101") {
                bail!("no WebSocket: {}", String::from_utf8_lossy(&head));
            }
        }
        Ok(Self { io, framed, raw: Vec::new() })
    }

    /// Sends bytes, in one WebSocket frame where there are frames.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.framed {
            let frame = frame(bytes);
            return put(&mut self.io, &frame).await;
        }
        put(&mut self.io, bytes).await
    }

    /// Sends bytes as they are, also where there are frames.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        put(&mut self.io, bytes).await
    }

    /// What comes next; empty at the end. A WebSocket's close frame is the end.
    pub(crate) async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            if self.framed
                && let Some((opcode, payload)) = take_frame(&mut self.raw)
            {
                match opcode {
                    8 => return Ok(Vec::new()),
                    0..=2 if !payload.is_empty() => return Ok(payload),
                    _ => continue,
                }
            }
            let n = self.io.read(&mut buffer).await?;
            if n == 0 || !self.framed {
                buffer.truncate(n);
                return Ok(buffer);
            }
            self.raw.extend(buffer.get(..n).unwrap_or_default());
        }
    }
}

/// A client's frame with a mask of zeros, which is a mask.
pub(crate) fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x82];
    match bytes.len() {
        n @ 0..=125 => out.push(0x80 | u8::try_from(n).unwrap_or(0)),
        n @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend(u16::try_from(n).unwrap_or(0).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend((n as u64).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(bytes);
    out
}

/// A server's frame from the front, if it is whole.
fn take_frame(raw: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (first, second) = (*raw.first()?, *raw.get(1)?);
    let (at, length) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(raw.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(raw.get(2..10)?.try_into().ok()?)).ok()?),
        n => (2, usize::from(n)),
    };
    let payload = raw.get(at..at + length)?.to_vec();
    raw.drain(..at + length);
    Some((first & 0x0f, payload))
}
