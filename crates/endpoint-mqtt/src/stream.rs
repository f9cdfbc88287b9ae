//! What a connection comes over: kinds of listeners, streams, and what is known of the peer.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use w3bstream_endpoint::async_trait;
use w3bstream_types::Did;

use crate::rate::Rates;
use crate::{MqttConfig, upgrade};

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// A stream of whatever kind.
pub type BoxedStream = Pin<Box<dyn Stream>>;

/// What carries MQTT's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP alone: `mqtt://`.
    Tcp,
    /// TLS: `mqtts://`.
    Tls,
    /// WebSocket (RFC 6455) at the path `/mqtt` with the subprotocol `mqtt`: `ws://`.
    WebSocket,
    /// WebSocket over TLS: `wss://`.
    WebSocketTls,
}

impl Transport {
    /// Whether it begins with a TLS handshake.
    #[must_use]
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::WebSocketTls)
    }

    /// Whether MQTT's bytes come in WebSocket frames.
    #[must_use]
    pub const fn is_web_socket(self) -> bool {
        matches!(self, Self::WebSocket | Self::WebSocketTls)
    }

    /// The URL of a listener of this kind.
    #[must_use]
    pub fn url(self, address: SocketAddr) -> String {
        match self {
            Self::Tcp => format!("mqtt://{address}"),
            Self::Tls => format!("mqtts://{address}"),
            Self::WebSocket => format!("ws://{address}{}", upgrade::PATH),
            Self::WebSocketTls => format!("wss://{address}{}", upgrade::PATH),
        }
    }
}

/// An address to listen on, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Port 0 takes a free one.
    pub address: SocketAddr,
    /// What is spoken there.
    pub transport: Transport,
}

/// What the TLS handshake has shown of a peer.
#[derive(Clone, Debug, Default)]
pub struct PeerInfo {
    /// DIDs in the client's certificate; empty if it showed none.
    pub certificate_dids: Vec<Did>,
    /// What tells later whether the certificate is still good; `None` if it showed none.
    pub shown: Option<Arc<dyn Shown>>,
}

/// What a client has shown below MQTT: its certificate.
pub trait Shown: Send + Sync + fmt::Debug {
    /// Whether it would still be taken. Asked every few seconds for as long as the client is connected, so it does not wait.
    fn holds(&self) -> bool;
}

/// Ends TLS. Implemented by the node, so that this crate knows no certificates.
#[async_trait]
pub trait Secure: Send + Sync + fmt::Debug {
    /// Does the handshake as a server. Dropped when it takes longer than `connect_timeout`.
    ///
    /// # Errors
    /// Why there is no secure connection, for the log.
    async fn accept(&self, stream: TcpStream) -> Result<(BoxedStream, PeerInfo), String>;

    /// Looks for what has changed, such as new revocation lists, before open connections are asked about.
    async fn refresh(&self) {}
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) certificate_dids: Vec<Did>,
    pub(crate) shown: Option<Arc<dyn Shown>>,
    pub(crate) transport: Transport,
}

/// What all listeners of one endpoint share.
#[derive(Debug)]
pub(crate) struct Door {
    secure: Option<Arc<dyn Secure>>,
    handshakes: Semaphore,
    pub(crate) rates: Rates,
}

/// A TCP connection that was accepted, and nothing more.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
}

impl Door {
    pub(crate) fn new(config: &MqttConfig, secure: Option<Arc<dyn Secure>>) -> Self {
        Self { secure, handshakes: Semaphore::new(config.max_handshakes), rates: Rates::new(config) }
    }

    /// Looks for revocations.
    pub(crate) async fn refresh(&self) {
        if let Some(secure) = &self.secure {
            secure.refresh().await;
        }
    }

    /// Does the handshakes that come before MQTT's own.
    pub(crate) async fn enter(
        &self,
        caller: Caller,
        config: &MqttConfig,
    ) -> Result<(BoxedStream, Peer), String> {
        let Caller { stream, address, transport } = caller;
        let mut peer = Peer { address, certificate_dids: Vec::new(), shown: None, transport };
        if transport == Transport::Tcp {
            return Ok((Box::pin(stream), peer));
        }
        // Who waits here waits within its own connect timeout.
        let _turn = self.handshakes.acquire().await.map_err(|e| e.to_string())?;
        let mut stream: BoxedStream = match &self.secure {
            Some(secure) if transport.is_tls() => {
                let (stream, info) = secure.accept(stream).await?;
                (peer.certificate_dids, peer.shown) = (info.certificate_dids, info.shown);
                stream
            }
            None if transport.is_tls() => return Err("there is nothing that does TLS".to_owned()),
            _ => Box::pin(stream),
        };
        if transport.is_web_socket() {
            stream = upgrade::upgrade(stream, config).await?;
        }
        Ok((stream, peer))
    }
}
