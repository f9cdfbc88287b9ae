//! One connection: what it is doing, and until when.
//!
//! hyper's own timer starts when a connection falls silent, so one setting would be both the time for a
//! head and the time for keep-alive; and it looks neither at bytes before the protocol is known, nor at
//! HTTP/2, nor at a client that does not read. So each connection carries its own book of what it is doing.

use std::collections::BTreeMap;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::Version;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::HttpLimits;

/// Which deadline closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The head of a request did not come.
    Head,
    /// Nothing was asked for a long time.
    Idle,
    /// The client does not read its answer.
    Write,
    /// The endpoint was closed and this was still open.
    Close,
}

impl Cut {
    pub(crate) const ALL: [Self; 4] = [Self::Head, Self::Idle, Self::Write, Self::Close];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Write => "write",
            Self::Close => "close",
        }
    }
}

/// How long a connection that was asked to end may take, once it has nothing to do.
const GRACE: Duration = Duration::from_secs(2);

/// The book of one connection.
#[derive(Debug)]
pub(crate) struct Conn {
    head: Duration,
    idle: Duration,
    write: Duration,
    doing: Mutex<Doing>,
    linger: AtomicBool,
}

#[derive(Debug)]
struct Doing {
    since: Instant,
    asked_before: bool,
    http2: bool,
    head_since: Option<Instant>,
    blocked_since: Option<Instant>,
    ending_since: Option<Instant>,
    exchanges: usize,
    next_id: u64,
    writing: BTreeMap<u64, Instant>,
    /// The connection's task, which keeps the deadlines.
    watcher: Option<Waker>,
}

impl Conn {
    pub(crate) fn new(limits: &HttpLimits) -> Arc<Self> {
        Arc::new(Self {
            head: limits.head_timeout,
            idle: limits.idle_timeout,
            write: limits.write_timeout,
            doing: Mutex::new(Doing {
                since: Instant::now(),
                asked_before: false,
                http2: false,
                head_since: None,
                blocked_since: None,
                ending_since: None,
                exchanges: 0,
                next_id: 0,
                writing: BTreeMap::new(),
                watcher: None,
            }),
            linger: AtomicBool::new(false),
        })
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        // Plain data: after a panic elsewhere it is still whole.
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request's head was read.
    pub(crate) fn begin(self: &Arc<Self>, version: Version) -> Exchange {
        let mut doing = self.doing();
        doing.asked_before = true;
        doing.http2 = version >= Version::HTTP_2;
        doing.head_since = None;
        doing.exchanges += 1;
        doing.next_id += 1;
        Exchange { conn: Arc::clone(self), id: doing.next_id }
    }

    /// The peer may go on sending what nobody will read: after the answer, half-close, and wait until the peer
    /// has read it, or a reset would throw the answer away (RFC 9112 §9.6).
    pub(crate) fn linger(&self) {
        self.linger.store(true, Ordering::Relaxed);
    }

    /// The connection was asked to end.
    pub(crate) fn ending(&self) {
        self.doing().ending_since.get_or_insert_with(Instant::now);
    }

    fn bytes_came(&self) {
        let mut doing = self.doing();
        // On HTTP/2 a ping is no request: there only whole requests keep a connection.
        if doing.exchanges == 0 && !doing.http2 {
            doing.head_since.get_or_insert_with(Instant::now);
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

    /// The next moment at which something must have changed; `None` while the node itself works. `watcher` is woken if
    /// another task brings one about.
    pub(crate) fn deadline(&self, watcher: &Waker) -> Option<(Instant, Cut)> {
        let mut doing = self.doing();
        if doing.http2 && !doing.watcher.as_ref().is_some_and(|w| w.will_wake(watcher)) {
            doing.watcher = Some(watcher.clone());
        }
        let blocked = doing.blocked_since.map(|t| (t + self.write, Cut::Write));
        let unread = doing.writing.values().min().map(|t| (*t, Cut::Write));
        let waiting = (doing.exchanges == 0).then(|| match (doing.ending_since, doing.head_since) {
            (Some(t), _) => (t.max(doing.since) + GRACE, Cut::Idle),
            (None, Some(t)) => (t + self.head, Cut::Head),
            (None, None) if !doing.asked_before => (doing.since + self.head, Cut::Head),
            (None, None) => (doing.since + self.idle, Cut::Idle),
        });
        // Before the first request every byte counts from the accept.
        let first = (!doing.asked_before).then(|| (doing.since + self.head, Cut::Head));
        [blocked, unread, waiting, first].into_iter().flatten().min_by_key(|(t, _)| *t)
    }
}

/// One request and its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    conn: Arc<Conn>,
    id: u64,
}

impl Exchange {
    /// The client must read what there is in time.
    fn writing(&self) {
        let deadline = Instant::now() + self.conn.write;
        let mut doing = self.conn.doing();
        let news = doing.writing.is_empty();
        doing.writing.insert(self.id, deadline);
        // Streams of HTTP/2 have tasks of their own, and with a shut window nothing else wakes the connection's.
        let watcher = doing.watcher.clone().filter(|_| news);
        drop(doing);
        watcher.into_iter().for_each(Waker::wake);
    }

    /// The client has read all there is; the node makes more.
    fn making(&self) {
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
        }
    }
}

/// An answer's body that holds its exchange until it was sent.
#[derive(Debug)]
pub(crate) struct Answered {
    body: Body,
    exchange: Exchange,
    /// Its length is not known: each piece must be read in time, instead of all together.
    stream: bool,
}

impl Answered {
    pub(crate) fn new(body: Body, exchange: Exchange) -> Self {
        let stream = hyper::body::Body::size_hint(&body).exact().is_none();
        exchange.writing();
        Self { body, exchange, stream }
    }
}

impl hyper::body::Body for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // Asked for more, hyper has passed on what it had; with a window that stays shut it asks no more.
        match &polled {
            Poll::Pending if self.stream => self.exchange.making(),
            Poll::Ready(_) if self.stream => self.exchange.writing(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The socket, writing into its connection's book.
#[derive(Debug)]
pub(crate) struct Watched {
    stream: TcpStream,
    conn: Arc<Conn>,
    shut: Option<Lingering>,
}

#[derive(Debug)]
struct Lingering {
    until: Pin<Box<Sleep>>,
    left: usize,
    /// More bytes are expected, so silence is waited out.
    patient: bool,
}

/// How long, and for how many bytes, a closing connection listens to a peer that still sends.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 * 1024 * 1024;

impl Watched {
    pub(crate) const fn new(stream: TcpStream, conn: Arc<Conn>) -> Self {
        Self { stream, conn, shut: None }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.conn.bytes_came();
        }
        done
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.conn.wrote(done.is_pending());
        done
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.conn.wrote(done.is_pending());
        done
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.shut.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            let until = Box::pin(sleep(LINGER_TIME));
            let patient = this.conn.linger.load(Ordering::Relaxed);
            this.shut = Some(Lingering { until, left: LINGER_BYTES, patient });
        }
        let Some(lingering) = &mut this.shut else { return Poll::Ready(Ok(())) };
        let mut scratch = [0; 8192];
        while lingering.left > 0 && lingering.until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    lingering.left = lingering.left.saturating_sub(buf.filled().len());
                    lingering.patient = true;
                }
                Poll::Pending if lingering.patient => return Poll::Pending,
                _ => lingering.left = 0,
            }
        }
        lingering.left = 0;
        Poll::Ready(Ok(()))
    }
}
