//! What stands between the socket and HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use w3bstream_endpoint::{Endpoint as _, async_trait};
use w3bstream_endpoint_http::{Accept, BoxIo, HttpConfig};

use crate::harness::*;

/// A handshake of one byte, and a secret that is easily guessed.
#[derive(Debug)]
struct Flip;

struct Flipped(BoxIo);

#[async_trait]
impl Accept for Flip {
    async fn accept(&self, mut stream: BoxIo) -> io::Result<BoxIo> {
        match stream.read_u8().await? {
            b'!' => Ok(Box::new(Flipped(stream))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn flip(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|b| *b ^= 0x55);
}

impl AsyncRead for Flipped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        flip(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flipped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut copy = buf.to_vec();
        flip(&mut copy);
        Pin::new(&mut self.0).poll_write(cx, &copy)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn exchange(client: &mut Client, bytes: &[u8], wanted: &[u8]) -> Vec<u8> {
    let mut sent = bytes.to_vec();
    flip(&mut sent);
    client.send(&sent).await;
    let mut got = Vec::new();
    while !got.windows(wanted.len()).any(|w| w == wanted) {
        let mut piece = vec![0; 1024];
        let read = tokio::time::timeout(PATIENCE, client.stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(read > 0, "cut off");
        flip(&mut piece[..read]);
        got.extend(&piece[..read]);
    }
    got
}

#[tokio::test]
async fn a_handshake_comes_first_and_both_protocols_behind_it() {
    let server = start_with(HttpConfig { limits: quick(), accept: Some(Arc::new(Flip)), ..local() });
    assert_eq!(server.endpoint.urls(), [format!("https://{}", server.addr)]);
    let mut client = server.client().await;
    client.send(b"!").await;
    exchange(&mut client, &get("/livez"), b"alive\n").await;
    // HTTP/2's preface and an empty SETTINGS are answered with SETTINGS.
    let mut client = server.client().await;
    client.send(b"!").await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    exchange(&mut client, &preface, &[4, 1, 0, 0, 0, 0]).await;
    drop(client);
    // A bad handshake, and one that never comes.
    let mut bad = server.client().await;
    bad.send(b"?").await;
    assert!(bad.ends().await);
    let start = std::time::Instant::now();
    let mut silent = server.client().await;
    assert!(silent.ends().await);
    let took = start.elapsed();
    assert!(
        took >= quick().head_timeout - Duration::from_millis(30) && took < Duration::from_secs(2),
        "{took:?}"
    );
    let mut client = server.client().await;
    client.send(b"!").await;
    let mut metrics = get("/metrics");
    metrics.truncate(metrics.len() - 2);
    metrics.extend(b"connection: close\r\n\r\n");
    let text = exchange(&mut client, &metrics, b"cut_total{deadline=\"close\"}").await;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("w3bstream_http_handshakes_failed_total 1"), "{text}");
    assert!(text.contains("w3bstream_http_connections_cut_total{deadline=\"head\"} 1"), "{text}");
    server.endpoint.close().await.unwrap();
}
