//! One connection: what it is doing, and until when.
//!
//! hyper's keep-alive notices a peer that is gone. A peer that is there and does nothing, does not read, or never
//! greets, is noticed here: each connection carries its own book of what it is doing.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::body::{Bytes, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use crate::GrpcLimits;
use crate::acceptor::Transport;

/// Which deadline closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The peer did not greet.
    Handshake,
    /// There was no call for a long time.
    Idle,
    /// The client does not read its answers.
    Write,
    /// The endpoint was closed and this was still open.
    Close,
}

impl Cut {
    pub(crate) const ALL: [Self; 4] = [Self::Handshake, Self::Idle, Self::Write, Self::Close];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Idle => "idle",
            Self::Write => "write",
            Self::Close => "close",
        }
    }
}

/// How long a connection that was asked to end may take, once it has nothing to do.
const GRACE: Duration = Duration::from_secs(2);
/// The client's preface and the head of its first SETTINGS frame (RFC 9113 §3.4): with fewer bytes nobody has
/// greeted. What they are is for HTTP/2 to judge.
const GREETING: usize = 24 + 9;

/// The book of one connection.
#[derive(Debug)]
pub(crate) struct Conn {
    handshake: Duration,
    idle: Duration,
    write: Duration,
    doing: Mutex<Doing>,
}

#[derive(Debug)]
struct Doing {
    since: Instant,
    greeted: usize,
    blocked_since: Option<Instant>,
    ending_since: Option<Instant>,
    exchanges: usize,
    next_id: u64,
    /// Answers that were handed to HTTP/2 and must have been read by then.
    writing: BTreeMap<u64, Instant>,
    /// The connection's task, which must look again when a deadline is new.
    waker: Option<Waker>,
}

impl Conn {
    pub(crate) fn new(limits: &GrpcLimits) -> Arc<Self> {
        Arc::new(Self {
            handshake: limits.handshake_timeout,
            idle: limits.idle_timeout,
            write: limits.write_timeout,
            doing: Mutex::new(Doing {
                since: Instant::now(),
                greeted: 0,
                blocked_since: None,
                ending_since: None,
                exchanges: 0,
                next_id: 0,
                writing: BTreeMap::new(),
                waker: None,
            }),
        })
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        // Plain data: after a panic elsewhere it is still whole.
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call's head was read.
    pub(crate) fn begin(self: &Arc<Self>) -> Exchange {
        let mut doing = self.doing();
        doing.exchanges += 1;
        doing.next_id += 1;
        Exchange { conn: Arc::clone(self), id: doing.next_id }
    }

    /// The connection was asked to end.
    pub(crate) fn ending(&self) {
        self.doing().ending_since.get_or_insert_with(Instant::now);
    }

    fn bytes_came(&self, count: usize) {
        let mut doing = self.doing();
        if doing.greeted < GREETING {
            doing.greeted = doing.greeted.saturating_add(count);
            if doing.greeted >= GREETING {
                doing.since = Instant::now();
            }
        }
    }

    fn wrote(&self, blocked: bool) {
        let mut doing = self.doing();
        if blocked {
            doing.blocked_since.get_or_insert_with(Instant::now);
        } else {
            doing.blocked_since = None;
        }
    }

    /// The next moment at which something must have changed; `None` while the node itself works. Wakes `cx` when
    /// one is added.
    pub(crate) fn deadline(&self, cx: &Context<'_>) -> Option<(Instant, Cut)> {
        let mut doing = self.doing();
        if !doing.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            doing.waker = Some(cx.waker().clone());
        }
        let blocked = doing.blocked_since.map(|t| (t + self.write, Cut::Write));
        let unread = doing.writing.values().min().map(|t| (*t, Cut::Write));
        let waiting = (doing.exchanges == 0).then(|| match doing.ending_since {
            Some(t) => (t.max(doing.since) + GRACE, Cut::Idle),
            None if doing.greeted < GREETING => (doing.since + self.handshake, Cut::Handshake),
            None => (doing.since + self.idle, Cut::Idle),
        });
        [blocked, unread, waiting].into_iter().flatten().min_by_key(|(t, _)| *t)
    }
}

/// One call and its answers.
#[derive(Debug)]
pub(crate) struct Exchange {
    conn: Arc<Conn>,
    id: u64,
}

impl Exchange {
    /// Something was handed to HTTP/2, which asks for more as soon as the client's windows allow.
    fn writing(&self) {
        let deadline = Instant::now() + self.conn.write;
        let mut doing = self.conn.doing();
        let first = doing.writing.is_empty();
        doing.writing.insert(self.id, deadline);
        // Later ones are later: the connection looks at them when the first has passed.
        if first && let Some(waker) = doing.waker.clone() {
            drop(doing);
            waker.wake();
        }
    }

    fn asked(&self) {
        self.conn.doing().writing.remove(&self.id);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut doing = self.conn.doing();
        doing.writing.remove(&self.id);
        doing.exchanges = doing.exchanges.saturating_sub(1);
        if doing.exchanges == 0 {
            doing.since = Instant::now();
            if let Some(waker) = doing.waker.clone() {
                drop(doing);
                waker.wake();
            }
        }
    }
}

/// A call's answers, which hold its exchange until they were sent.
#[derive(Debug)]
pub(crate) struct Answered {
    body: Body,
    exchange: Exchange,
    /// The client may take its time: what it does not read is not kept for it.
    patient: bool,
}

impl Answered {
    pub(crate) const fn new(body: Body, exchange: Exchange, patient: bool) -> Self {
        Self { body, exchange, patient }
    }
}

impl hyper::body::Body for Answered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.exchange.asked();
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() && !self.patient {
            self.exchange.writing();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The transport, writing into its connection's book.
pub(crate) struct Watched {
    stream: Box<dyn Transport>,
    conn: Arc<Conn>,
}

impl Watched {
    pub(crate) fn new(stream: Box<dyn Transport>, conn: Arc<Conn>) -> Self {
        Self { stream, conn }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = Pin::new(&mut *self.stream).poll_read(cx, buf);
        let count = buf.filled().len().saturating_sub(before);
        if count > 0 {
            self.conn.bytes_came(count);
        }
        done
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut *self.stream).poll_write(cx, buf);
        self.conn.wrote(done.is_pending());
        done
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut *self.stream).poll_write_vectored(cx, bufs);
        self.conn.wrote(done.is_pending());
        done
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut *self.stream).poll_flush(cx);
        // Bytes wait inside an encrypted stream too. HTTP/2 flushes when all is written, so this hides no blocked write.
        self.conn.wrote(done.is_pending());
        done
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}
