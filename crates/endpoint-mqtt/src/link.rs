//! One connection's socket: reads, writes, waits.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::connect::{First, first_packet};
use crate::open::{Opened, Peer, open};
use crate::packet::{Codec, NotGranted};
use crate::proto::{End, Missing, Proto};
use crate::shared::{Phase, Shared};

/// Bytes that one read asks for.
const READ_BYTES: usize = 32 << 10;
/// Beyond so many bytes that the peer has not taken, nothing more is read from it.
const OUT_FULL: usize = 256 << 10;
/// How long the last packets may take to be written.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the peer is heard out after the last packet. Closing a socket with unread bytes would reset the
/// connection, and the peer would lose the last packets with the reason.
const LINGER: Duration = Duration::from_millis(500);
/// Further than any deadline.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// Serves one connection to its end.
pub(crate) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    shared.counters.connections.add(1);
    // Acknowledgements are small, and already written in batches.
    let _ = stream.set_nodelay(true);
    let from_loopback = stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
    let peer = Peer { from_loopback, ..Peer::default() };
    let mut link = Link::new(stream);
    let conn = shared.next_conn.fetch_add(1, Ordering::Relaxed);
    let first = timeout(shared.config.connect_timeout, link.read_connect(&shared)).await;
    match first {
        Ok(Some(First::Connect(codec, connect))) => {
            match open(&shared, conn, (codec, *connect), peer).await {
                Ok(opened) => link.converse(opened, &shared).await,
                Err((mut codec, refused)) => link.refuse(&mut codec, refused, &shared).await,
            }
        }
        Ok(Some(First::Refused(mut codec, refused))) => link.refuse(&mut codec, refused, &shared).await,
        _ => shared.counters.handshakes_failed.add(1),
    }
    shared.leave(conn);
}

#[derive(Debug)]
struct Link {
    stream: TcpStream,
    /// Read and not yet taken.
    buf: BytesMut,
    /// Not yet written.
    out: BytesMut,
    /// The socket may have bytes for us.
    readable: bool,
    /// When the last bytes came, or reading went on after a pause.
    heard: Instant,
    /// Since when a packet is incomplete.
    partial_since: Option<Instant>,
    /// Since when the peer takes nothing.
    unread_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// When the timer rings. Deadlines mostly move away, so it is set again only when it has rung or one
    /// has come nearer.
    armed: Instant,
}

impl Link {
    fn new(stream: TcpStream) -> Self {
        let now = Instant::now();
        Self {
            stream,
            buf: BytesMut::new(),
            out: BytesMut::new(),
            readable: false,
            heard: now,
            partial_since: None,
            unread_since: None,
            timer: Box::pin(sleep_until(now + FAR)),
            armed: now + FAR,
        }
    }

    /// Reads up to a complete first packet; `None` if the peer went away.
    async fn read_connect(&mut self, shared: &Shared) -> Option<First> {
        loop {
            match first_packet(&mut self.buf, &shared.config) {
                First::Partial => {}
                First::Nonsense(why) => {
                    tracing::debug!(why, "connection closed before CONNECT");
                    return None;
                }
                first => return Some(first),
            }
            self.stream.readable().await.ok()?;
            self.read().ok()?;
        }
    }

    async fn refuse(&mut self, codec: &mut Codec, refused: NotGranted, shared: &Shared) {
        shared.counters.connects_refused.add(1);
        codec.connack(&mut self.out, Err(refused));
        self.finish().await;
    }

    /// The life of a connection.
    async fn converse(&mut self, opened: Box<Opened>, shared: &Shared) {
        let Opened { mut proto, granted, session_present, silence } = *opened;
        proto.codec.connack(&mut self.out, Ok(granted));
        if session_present {
            proto.resend(&mut self.out);
        }
        let end = loop {
            if let Err(end) = self.turn(&mut proto, silence, shared).await {
                break end;
            }
        };
        tracing::debug!(client = %proto.session.client_id, ?end, "connection ends");
        // Before the last packets: who reads them may already come back.
        proto.leave(&end);
        if !matches!(end, End::Gone) {
            proto.farewell(&end, &mut self.out);
            self.finish().await;
        }
    }

    /// Does what can be done now, then waits for something to change.
    async fn turn(&mut self, proto: &mut Proto, silence: Duration, shared: &Shared) -> Result<(), End> {
        proto.settle(&mut self.out)?;
        let listens = shared.phase() == Phase::Running && proto.doomed_at().is_none();
        let mut missing = Missing::Answer;
        if listens {
            missing = self.take_in(proto)?;
            if self.readable && missing == Missing::Input && self.out.len() < OUT_FULL {
                self.read().map_err(|_| End::Gone)?;
                missing = self.take_in(proto)?;
            }
        }
        if !self.out.is_empty() {
            let kept = timeout(shared.config.stall_timeout, proto.kept()).await;
            kept.map_err(|_| End::Unkept)?;
        }
        self.flush().map_err(|_| End::Gone)?;
        let reads = listens && missing == Missing::Input && self.out.len() < OUT_FULL;
        self.check_deadlines(proto, reads.then_some(silence), shared)?;
        let budget = match missing {
            Missing::Budget(bytes) if listens => Some(bytes),
            _ => None,
        };
        tokio::select! {
            biased;
            () = proto.mailbox.wake.notified() => {}
            permit = shared.budget.wait(budget.unwrap_or(0)), if budget.is_some() => {
                proto.state.spare = permit;
            }
            ready = self.stream.readable(), if reads => {
                ready.map_err(|_| End::Gone)?;
                self.readable = true;
            }
            ready = self.stream.writable(), if !self.out.is_empty() => {
                ready.map_err(|_| End::Gone)?;
            }
            () = &mut self.timer => self.armed = Instant::now() + FAR,
        }
        if !reads {
            // A pause of ours is no silence of the peer's.
            self.heard = Instant::now();
        }
        Ok(())
    }

    /// Takes the packets that have been read.
    fn take_in(&mut self, proto: &mut Proto) -> Result<Missing, End> {
        let before = self.buf.len();
        let missing = proto.input(&mut self.buf, &mut self.out)?;
        if self.buf.is_empty() {
            // An idle connection keeps no buffer.
            self.buf = BytesMut::new();
        }
        if self.buf.is_empty() || missing != Missing::Input {
            self.partial_since = None;
        } else if self.partial_since.is_none() || self.buf.len() < before {
            self.partial_since = Some(Instant::now());
        }
        Ok(missing)
    }

    /// Ends the connection if a deadline has passed, else sets the timer to the next one.
    fn check_deadlines(
        &mut self,
        proto: &Proto,
        silence: Option<Duration>,
        shared: &Shared,
    ) -> Result<(), End> {
        let now = Instant::now();
        let stall = shared.config.stall_timeout;
        let silent_at = silence.map(|s| self.heard + s);
        let stalled = [self.partial_since.filter(|_| silence.is_some()), self.unread_since];
        let stalled_at = stalled.into_iter().flatten().min().map(|since| since + stall);
        if stalled_at.is_some_and(|at| at <= now) {
            return Err(End::Stalled);
        }
        if silent_at.is_some_and(|at| at <= now) {
            return Err(End::Silent);
        }
        let next = [silent_at, stalled_at, proto.wakes_at()].into_iter().flatten().min();
        if let Some(next) = next
            && next < self.armed
        {
            self.armed = next;
            self.timer.as_mut().reset(next);
        }
        Ok(())
    }

    /// Reads once, without waiting.
    fn read(&mut self) -> io::Result<()> {
        self.buf.reserve(READ_BYTES);
        match self.stream.try_read_buf(&mut self.buf) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                self.heard = Instant::now();
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// Writes as much as the socket takes, without waiting.
    fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.out.advance(n);
                    self.unread_since = None;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.unread_since.get_or_insert_with(Instant::now);
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
        self.unread_since = None;
        self.out = BytesMut::new();
        Ok(())
    }

    /// Writes what is left, says that no more comes, and hears the peer out.
    async fn finish(&mut self) {
        let written = timeout(FAREWELL, async {
            while !self.out.is_empty() {
                self.stream.writable().await?;
                self.flush()?;
            }
            tokio::io::AsyncWriteExt::shutdown(&mut self.stream).await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return;
        }
        let heard_out = async {
            loop {
                self.buf.clear();
                if self.stream.readable().await.is_err() || self.read().is_err() {
                    break;
                }
            }
        };
        let _ = timeout(LINGER, heard_out).await;
    }
}
