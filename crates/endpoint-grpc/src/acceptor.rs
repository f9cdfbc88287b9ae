//! What an accepted connection goes through before HTTP/2: nothing, or TLS.

use std::fmt::Debug;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use w3bstream_endpoint::async_trait;

/// A connection's bytes.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Turns accepted TCP connections into streams of bytes that carry HTTP/2.
#[async_trait]
pub trait Acceptor: Send + Sync + Debug {
    /// The scheme of the endpoint's URL: `http`, or `https` if connections are encrypted.
    fn scheme(&self) -> &'static str;

    /// Does what must be done before HTTP/2, such as a TLS handshake (with ALPN `h2`). It is given
    /// [`handshake_timeout`](crate::GrpcLimits::handshake_timeout) for that.
    ///
    /// # Errors
    /// Whatever the peer did wrong; its connection is closed.
    async fn accept(&self, stream: TcpStream) -> io::Result<Box<dyn Transport>>;
}

/// Plain TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

#[async_trait]
impl Acceptor for Plain {
    fn scheme(&self) -> &'static str {
        "http"
    }

    async fn accept(&self, stream: TcpStream) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(stream))
    }
}
