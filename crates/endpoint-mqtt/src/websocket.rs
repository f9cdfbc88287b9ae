//! MQTT's bytes in WebSocket frames (MQTT 5, section 6; RFC 6455), as a stream of bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink as _, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::MqttConfig;
use crate::stream::BoxedStream;

/// What a connection keeps for reading, idle or not.
const READ_BYTES: usize = 4 << 10;
/// Bytes of a frame that is sent. One frame at a time is held until the peer takes it.
const FRAME_BYTES: usize = 16 << 10;

/// The stream under the frames; knows whether bytes have come.
struct Inner {
    stream: BoxedStream,
    received: bool,
}

impl AsyncRead for Inner {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.stream.as_mut().poll_read(cx, buf);
        self.received |= buf.filled().len() > before;
        read
    }
}

impl AsyncWrite for Inner {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}

/// A WebSocket as a stream of bytes. Frames' boundaries mean nothing; what is no binary frame is an error of the
/// kind [`io::ErrorKind::InvalidData`], after which shutting down tells the peer why.
pub(crate) struct WebSocket {
    frames: WebSocketStream<Inner>,
    /// What of the last message was not taken yet.
    rest: Bytes,
    /// What the Close frame will say.
    code: CloseCode,
    /// The Close frame was sent: what comes is not looked at any more.
    closing: bool,
    /// Rings when a message is incomplete for too long. What reads from this stream cannot know, as nothing
    /// comes out before a message is complete.
    stalled: Option<Pin<Box<Sleep>>>,
    stall_timeout: Duration,
}

impl WebSocket {
    /// After the upgrade. `begun` is what came behind the request already.
    pub(crate) async fn new(stream: BoxedStream, begun: Vec<u8>, config: &MqttConfig) -> Self {
        let most = Some(config.max_web_socket_message_bytes);
        let limits = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(4 * FRAME_BYTES)
            .max_message_size(most)
            .max_frame_size(most);
        let inner = Inner { stream, received: !begun.is_empty() };
        Self {
            frames: WebSocketStream::from_partially_read(inner, begun, Role::Server, Some(limits)).await,
            rest: Bytes::new(),
            code: CloseCode::Normal,
            closing: false,
            stalled: None,
            stall_timeout: config.stall_timeout,
        }
    }

    /// A frame has ended.
    fn progress(&mut self) {
        self.frames.get_mut().received = false;
        self.stalled = None;
    }

    fn wrong(
        &mut self,
        code: CloseCode,
        why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> io::Error {
        self.code = code;
        io::Error::new(io::ErrorKind::InvalidData, why)
    }

    fn failed(&mut self, error: Error) -> io::Error {
        match error {
            Error::Io(error) => error,
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                io::ErrorKind::UnexpectedEof.into()
            }
            Error::Capacity(_) => self.wrong(CloseCode::Size, error),
            Error::Utf8(_) => self.wrong(CloseCode::Invalid, error),
            _ => self.wrong(CloseCode::Protocol, error),
        }
    }

    /// Nothing is there: waits, but not for ever in the midst of a message.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.frames.get_ref().received {
            return Poll::Pending;
        }
        let after = self.stall_timeout;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(after)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for WebSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closing {
            return this.frames.get_mut().stream.as_mut().poll_read(cx, buf);
        }
        loop {
            if !this.rest.is_empty() {
                let part = this.rest.split_to(this.rest.len().min(buf.remaining()));
                buf.put_slice(&part);
                return Poll::Ready(Ok(()));
            }
            // Pings are answered on the way, within.
            let next = match Pin::new(&mut this.frames).poll_next(cx) {
                Poll::Pending => return this.poll_stalled(cx),
                Poll::Ready(next) => next,
            };
            this.progress();
            match next {
                None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) => this.rest = bytes,
                Some(Ok(Message::Text(_))) => {
                    let error =
                        this.wrong(CloseCode::Unsupported, "a text frame: MQTT comes in binary frames");
                    return Poll::Ready(Err(error));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Poll::Ready(Err(this.failed(error))),
            }
        }
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let sent = match ready!(Pin::new(&mut this.frames).poll_ready(cx)) {
            Ok(()) => {
                let part = buf.get(..buf.len().min(FRAME_BYTES)).unwrap_or(buf);
                let frame = Message::Binary(Bytes::copy_from_slice(part));
                Pin::new(&mut this.frames).start_send(frame).map(|()| part.len())
            }
            Err(error) => Err(error),
        };
        Poll::Ready(sent.map_err(|e| this.failed(e)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = ready!(Pin::new(&mut this.frames).poll_flush(cx));
        Poll::Ready(flushed.map_err(|e| this.failed(e)))
    }

    /// Sends a Close frame and ends our side.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.closing {
            let ready = ready!(Pin::new(&mut this.frames).poll_ready(cx));
            if ready.is_ok() {
                let close = Message::Close(Some(CloseFrame { code: this.code, reason: "".into() }));
                // Fails if the peer has closed first, and was answered.
                let _ = Pin::new(&mut this.frames).start_send(close);
            }
            this.closing = true;
        }
        let _ = ready!(Pin::new(&mut this.frames).poll_flush(cx));
        this.frames.get_mut().stream.as_mut().poll_shutdown(cx)
    }
}
