//! One connection's socket: reads, writes, waits.

use std::io;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rmqtt_codec::{v3, v5};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::connect::{Connect, First, first_packet};
use crate::packet::{Codec, Granted, NotGranted};
use crate::proto::{End, Missing, Proto, State, TOPIC_ALIASES};
use crate::session::{Claim, ConnId, TooManySessions};
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
    let mut link = Link::new(stream);
    let conn = shared.next_conn.fetch_add(1, Ordering::Relaxed);
    let first = timeout(shared.config.connect_timeout, link.read_connect(&shared)).await;
    match first {
        Ok(Some(First::Connect(codec, connect))) => match open(&shared, conn, codec, *connect) {
            Ok(opened) => link.converse(opened, &shared).await,
            Err((mut codec, refused)) => link.refuse(&mut codec, refused, &shared).await,
        },
        Ok(Some(First::Refused(mut codec, refused))) => link.refuse(&mut codec, refused, &shared).await,
        _ => shared.counters.handshakes_failed.add(1),
    }
    shared.leave(conn);
}

/// A connection that was granted, and the CONNACK for it.
#[derive(Debug)]
struct Opened {
    proto: Proto,
    granted: Granted,
    session_present: bool,
    silence: Duration,
}

/// Grants a CONNECT.
fn open(
    shared: &Arc<Shared>,
    conn: ConnId,
    mut codec: Codec,
    connect: Connect,
) -> Result<Box<Opened>, (Codec, NotGranted)> {
    let config = &shared.config;
    let stopping = NotGranted {
        v5: v5::ConnectAckReason::ServerUnavailable,
        v4: v3::ConnectAckReason::ServiceUnavailable,
        why: "the node is stopping",
    };
    let arrivals = shared.arrivals().filter(|_| shared.phase() == Phase::Running);
    let Some(arrivals) = arrivals else { return Err((codec, stopping)) };
    codec.max_out = connect.max_packet_bytes.min(config.max_packet_bytes);
    let assigned = connect.client_id.is_empty().then(|| format!("w3b-{:x}-{conn:x}", shared.instance));
    let asked = match (connect.expiry_secs, connect.clean) {
        (Some(secs), _) => Duration::from_secs(secs.into()),
        (None, true) => Duration::ZERO,
        (None, false) => config.max_session_expiry,
    };
    let expiry = asked.min(config.max_session_expiry);
    let mailbox = shared.enter(conn);
    let claim = Claim {
        client_id: assigned.clone().unwrap_or(connect.client_id),
        clean: connect.clean,
        expiry,
        conn,
        wake: Arc::clone(&mailbox.wake),
    };
    let (session, session_present, due) = match shared.hub.attach(claim) {
        Ok(attached) => attached,
        Err(TooManySessions) => {
            let (v5, v4) = (v5::ConnectAckReason::QuotaExceeded, v3::ConnectAckReason::ServiceUnavailable);
            return Err((codec, NotGranted { v5, v4, why: "the node has too many sessions" }));
        }
    };
    if let Some(will) = due {
        shared.submit_will(will);
    }
    let asked_secs = u64::from(connect.keep_alive_secs);
    let keep_alive = match asked_secs {
        0 => config.max_keep_alive,
        secs => Duration::from_secs(secs).min(config.max_keep_alive),
    };
    let told_secs = u16::try_from(keep_alive.as_secs()).unwrap_or(u16::MAX);
    let granted = Granted {
        session_present,
        assigned_client_id: assigned,
        receive_max: NonZeroU16::new(config.max_in_flight_per_connection).unwrap_or(NonZeroU16::MIN),
        max_packet_bytes: u32::try_from(config.max_packet_bytes).unwrap_or(u32::MAX),
        keep_alive_secs: (keep_alive.as_secs() != asked_secs).then_some(told_secs),
        session_expiry_secs: (expiry != asked).then(|| u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX)),
        topic_alias_max: TOPIC_ALIASES,
    };
    let proto = Proto {
        shared: Arc::clone(shared),
        mailbox,
        arrivals,
        codec,
        session,
        conn,
        window: connect.receive_max,
        will: connect.will,
        state: State::default(),
    };
    Ok(Box::new(Opened { proto, granted, session_present, silence: keep_alive * 3 / 2 }))
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
        let next = [silent_at, stalled_at, proto.doomed_at()].into_iter().flatten().min();
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
