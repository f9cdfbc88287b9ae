//! A connection's stream with its buffers. Nothing here waits: what is polled and has not happened has changed
//! nothing, so it may be dropped at any time.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;
use tokio::time::Instant;

use crate::packet::Fault;
use crate::proto::End;
use crate::stream::BoxedStream;

/// Bytes that one read asks for.
const READ_BYTES: usize = 32 << 10;

pub(crate) struct Pipe {
    pub(crate) stream: BoxedStream,
    /// Read and not yet taken.
    pub(crate) buf: BytesMut,
    /// Not yet written.
    pub(crate) out: BytesMut,
    /// The stream may have bytes for us.
    pub(crate) readable: bool,
    /// When the last bytes came, or reading went on after a pause.
    pub(crate) heard: Instant,
    /// Since when the peer takes nothing.
    pub(crate) unread_since: Option<Instant>,
    /// The stream holds nothing back of what was written.
    flushed: bool,
}

impl Pipe {
    pub(crate) fn new(stream: BoxedStream) -> Self {
        Self {
            stream,
            buf: BytesMut::new(),
            out: BytesMut::new(),
            readable: false,
            heard: Instant::now(),
            unread_since: None,
            flushed: true,
        }
    }

    /// Reads once.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // On the stack, so that a connection that waits has no buffer.
        let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut chunk = ReadBuf::uninit(&mut space);
        let read = self.stream.as_mut().poll_read(cx, &mut chunk);
        self.readable = read.is_ready();
        ready!(read)?;
        if chunk.filled().is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.buf.extend_from_slice(chunk.filled());
        self.heard = Instant::now();
        Poll::Ready(Ok(()))
    }

    /// Writes as much as the stream takes; ready when nothing is left.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = self.poll_write_all(cx);
        if written.is_pending() {
            self.unread_since.get_or_insert_with(Instant::now);
        } else {
            self.unread_since = None;
        }
        written
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match ready!(self.stream.as_mut().poll_write(cx, &self.out))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.out.advance(n),
            }
            self.unread_since = None;
            self.flushed = false;
        }
        if !self.flushed {
            ready!(self.stream.as_mut().poll_flush(cx))?;
            self.flushed = true;
            self.out = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once if `reads`, or else writes what is left; ready when something has moved.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, reads: bool) -> Poll<io::Result<()>> {
        if reads && let Poll::Ready(read) = self.poll_read(cx) {
            return Poll::Ready(read);
        }
        if self.out.is_empty() && self.flushed {
            return Poll::Pending;
        }
        let before = self.out.len();
        match self.poll_write(cx) {
            Poll::Pending if self.out.len() == before => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
            done => done,
        }
    }
}

/// Polls once: what is not ready is left.
pub(crate) async fn at_once(
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
) -> Result<(), End> {
    let done = poll_fn(|cx| match poll(cx) {
        Poll::Ready(done) => Poll::Ready(done),
        Poll::Pending => Poll::Ready(Ok(())),
    });
    done.await.map_err(|e| end_of(&e))
}

/// What an error of the stream means to the connection.
pub(crate) fn end_of(error: &io::Error) -> End {
    match error.kind() {
        // The peer is there and can be told.
        io::ErrorKind::InvalidData => End::Fault(Fault::protocol(
            "what carries MQTT (TLS records, WebSocket frames) is not as it must be",
        )),
        io::ErrorKind::TimedOut => End::Stalled,
        _ => End::Gone,
    }
}
