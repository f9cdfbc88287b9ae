//! The request that begins a WebSocket, and its frames.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use super::MAX_PACKET;
use crate::MqttConfig;
use crate::upgrade::judge_any;
use crate::websocket::WebSocket;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime can be made");
}

/// Bytes that come in pieces, and end.
struct Wire {
    bytes: Vec<u8>,
    at: usize,
    step: usize,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self.step.min(buf.remaining()).min(self.bytes.len() - self.at);
        buf.put_slice(&self.bytes[self.at..self.at + len]);
        self.at += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What comes out of a WebSocket, and how it ended.
fn read(begun: &[u8], rest: &[u8], step: usize) -> (Vec<u8>, Option<io::ErrorKind>) {
    let config = MqttConfig { max_web_socket_message_bytes: MAX_PACKET, ..MqttConfig::default() };
    let wire = Wire { bytes: rest.to_vec(), at: 0, step };
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let mut socket = WebSocket::new(Box::pin(wire), begun.to_vec(), &config).await;
            let mut all = Vec::new();
            let mut chunk = [0; 512];
            let end = loop {
                match socket.read(&mut chunk).await {
                    Ok(0) => break None,
                    Ok(n) => all.extend_from_slice(&chunk[..n]),
                    Err(error) => break Some(error.kind()),
                }
            };
            let _ = socket.shutdown().await;
            (all, end)
        })
    })
}

/// The request, if it is one; and frames, which may come in any pieces. The first byte says how they are cut.
pub fn websocket(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    judge_any(rest);
    let whole = read(&[], rest, usize::MAX);
    assert!(whole.0.len() <= rest.len(), "more comes out than went in");
    let cut = usize::from(how >> 3).min(rest.len());
    let pieces = read(&rest[..cut], &rest[cut..], usize::from(how & 7) + 1);
    assert_eq!(pieces, whole, "it depends on the pieces in which frames come");
}
