//! One connection: what it does when, and what it waits for.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use w3bstream_tasks::Shutdown;

use crate::connect::{First, first_packet};
use crate::open::{Opened, open};
use crate::packet::{Codec, NotGranted};
use crate::pipe::{Pipe, at_once, end_of};
use crate::proto::{End, Missing, Proto};
use crate::rate::{Meter, next_publish};
use crate::shared::{Phase, Shared};
use crate::stream::{BoxedStream, Caller, Door, Peer};
use crate::wills;

/// Beyond so many bytes that the peer has not taken, nothing more is read from it.
const OUT_FULL: usize = 256 << 10;
/// How long the last packets may take to be written.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the peer is heard out after the last packet. Closing a socket with unread bytes would reset the
/// connection, and the peer would lose the last packets with the reason.
const LINGER: Duration = Duration::from_millis(500);
/// How often a connection that is to give its session away still reads.
const MOST_READS: usize = 64;
/// Further than any deadline.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// Serves one connection to its end.
pub(crate) async fn serve(caller: Caller, door: Arc<Door>, shared: Arc<Shared>, shutdown: Shutdown) {
    shared.counters.connections.add(1);
    // Acknowledgements are small, and already written in batches.
    let _ = caller.stream.set_nodelay(true);
    let first = tokio::select! {
        biased;
        // Who has not connected yet is not waited for.
        () = shutdown.requested() => None,
        first = timeout(shared.config.connect_timeout, arrive(caller, &door, &shared)) => first.ok().flatten(),
    };
    let conn = shared.next_conn.fetch_add(1, Ordering::Relaxed);
    match first {
        Some((mut link, peer, First::Connect(codec, connect))) => {
            match open(&shared, (conn, peer), (codec, *connect)).await {
                Ok(opened) => {
                    link.meter = door.rates.of(&opened.proto.session.client_id);
                    link.converse(opened, &shared).await;
                }
                Err((mut codec, refused)) => link.refuse(&mut codec, refused, &shared).await,
            }
        }
        Some((mut link, _, First::Refused(mut codec, refused))) => {
            link.refuse(&mut codec, refused, &shared).await;
        }
        _ => shared.counters.handshakes_failed.add(1),
    }
    shared.leave(conn);
}

/// Does the handshakes, and reads the first packet; `None` if there is nobody to talk to.
async fn arrive(caller: Caller, door: &Door, shared: &Shared) -> Option<(Link, Peer, First)> {
    let address = caller.address;
    match door.enter(caller, &shared.config).await {
        Ok((stream, peer)) => {
            let mut link = Link::new(stream);
            let first = link.read_connect(shared).await?;
            Some((link, peer, first))
        }
        Err(why) => {
            tracing::debug!(peer = %address, why, "handshake failed");
            None
        }
    }
}

/// What hinders the reading of more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// What the protocol misses.
    For(Missing),
    /// The client publishes more than it may: until then.
    Rate(Instant),
}

struct Link {
    pipe: Pipe,
    /// What the client has used of what it may publish; `None` without limit.
    meter: Option<Arc<Mutex<Meter>>>,
    /// The PUBLISH at the front was counted as held back.
    delayed: bool,
    /// Packets were taken since the protocol was last asked what to say.
    took: bool,
    /// Since when a packet is incomplete.
    partial_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// When the timer rings. Deadlines mostly move away, so it is set again only when it has rung or one
    /// has come nearer.
    armed: Instant,
}

impl Link {
    fn new(stream: BoxedStream) -> Self {
        let now = Instant::now();
        Self {
            pipe: Pipe::new(stream),
            meter: None,
            delayed: false,
            took: false,
            partial_since: None,
            timer: Box::pin(sleep_until(now + FAR)),
            armed: now + FAR,
        }
    }

    /// Reads up to a complete first packet; `None` if the peer went away.
    async fn read_connect(&mut self, shared: &Shared) -> Option<First> {
        loop {
            match first_packet(&mut self.pipe.buf, &shared.config) {
                First::Partial => {}
                First::Nonsense(why) => {
                    tracing::debug!(why, "connection closed before CONNECT");
                    return None;
                }
                first => return Some(first),
            }
            if let Err(error) = poll_fn(|cx| self.pipe.poll_read(cx)).await {
                tracing::debug!(%error, "connection ended before CONNECT");
                if matches!(end_of(&error), End::Fault(_)) {
                    self.finish().await;
                }
                return None;
            }
        }
    }

    async fn refuse(&mut self, codec: &mut Codec, refused: NotGranted, shared: &Shared) {
        shared.counters.connects_refused.add(1);
        codec.connack(&mut self.pipe.out, Err(refused));
        self.finish().await;
    }

    /// The life of a connection.
    async fn converse(&mut self, opened: Box<Opened>, shared: &Shared) {
        let Opened { mut proto, peer, granted, session_present, silence } = *opened;
        tracing::debug!(
            client = %proto.session.client_id, address = %peer.address, transport = ?peer.transport,
            dids = peer.certificate_dids.len(), "connected"
        );
        proto.codec.connack(&mut self.pipe.out, Ok(granted));
        if session_present {
            proto.resend(&mut self.pipe.out);
        }
        let end = loop {
            if let Err(end) = self.turn(&mut proto, silence, shared).await {
                break end;
            }
        };
        tracing::debug!(client = %proto.session.client_id, ?end, "connection ends");
        // Before the last packets: who reads them may already come back.
        if let Some(will) = proto.leave(&end) {
            wills::submit(&proto.shared, Some(will)).await;
        }
        if matches!(end, End::Asked { .. }) {
            // Who sees the connection closed may rely on it, over a crash as well: no will is given, the session ends when it asked.
            let _ = timeout(shared.config.stall_timeout, proto.kept()).await;
        }
        if !matches!(end, End::Gone) {
            proto.farewell(&end, &mut self.pipe.out);
            self.finish().await;
        }
    }

    /// Does what can be done now, then waits for something to change.
    async fn turn(&mut self, proto: &mut Proto, silence: Duration, shared: &Shared) -> Result<(), End> {
        if proto.session.is_asked() {
            self.yields(proto, shared).await?;
        }
        proto.settle(&mut self.pipe.out)?;
        let listens = shared.phase() == Phase::Running && proto.doomed_at().is_none();
        let input = Waits::For(Missing::Input);
        let mut waits = Waits::For(Missing::Answer);
        if listens {
            waits = self.take_in(proto)?;
            // Here and not only below: else the answers that come would hold up the reading.
            if self.pipe.readable && waits == input && self.pipe.out.len() < OUT_FULL {
                at_once(|cx| self.pipe.poll_read(cx)).await?;
                waits = self.take_in(proto)?;
            }
        }
        if std::mem::take(&mut self.took) {
            // What was acknowledged makes room for more.
            proto.settle(&mut self.pipe.out)?;
        }
        if !self.pipe.out.is_empty() && !proto.is_kept() {
            let kept = timeout(shared.config.stall_timeout, proto.kept()).await;
            kept.map_err(|_| End::Unkept)?;
        }
        at_once(|cx| self.pipe.poll_write(cx)).await?;
        let reads = listens && waits == input && self.pipe.out.len() < OUT_FULL;
        let resumes_at = match waits {
            Waits::Rate(at) => Some(at),
            Waits::For(_) => None,
        };
        self.check_deadlines(proto, (reads.then_some(silence), resumes_at), shared)?;
        let budget = match waits {
            Waits::For(Missing::Budget(bytes)) if listens => Some(bytes),
            _ => None,
        };
        tokio::select! {
            biased;
            () = proto.mailbox.wake.notified() => {}
            permit = shared.budget.wait(budget.unwrap_or(0)), if budget.is_some() => {
                proto.state.spare = permit;
            }
            moved = poll_fn(|cx| self.pipe.poll(cx, reads)) => moved.map_err(|e| end_of(&e))?,
            () = &mut self.timer => self.armed = Instant::now() + FAR,
        }
        if !reads {
            // A pause of ours is no silence of the peer's.
            self.pipe.heard = Instant::now();
        }
        Ok(())
    }

    /// Another connection wants the session: takes what has come before it does, which may be a DISCONNECT.
    async fn yields(&mut self, proto: &mut Proto, shared: &Shared) -> Result<(), End> {
        for _ in 0..MOST_READS {
            let listens = shared.phase() == Phase::Running && proto.doomed_at().is_none();
            if !listens || self.take_in(proto)? != Waits::For(Missing::Input) {
                break;
            }
            self.pipe.readable = false;
            at_once(|cx| self.pipe.poll_read(cx)).await?;
            if !self.pipe.readable {
                break;
            }
        }
        shared.hub.answer(&proto.session, proto.conn);
        Ok(())
    }

    /// Takes the packets that have been read.
    fn take_in(&mut self, proto: &mut Proto) -> Result<Waits, End> {
        let before = self.pipe.buf.len();
        let waits = match self.meter.clone() {
            None => Waits::For(proto.input(&mut self.pipe.buf, &mut self.pipe.out)?),
            Some(meter) => self.take_in_measured(proto, &meter)?,
        };
        let buf = &mut self.pipe.buf;
        self.took |= buf.len() < before;
        if buf.is_empty() {
            // An idle connection keeps no buffer.
            *buf = BytesMut::new();
        }
        if buf.is_empty() || waits != Waits::For(Missing::Input) {
            self.partial_since = None;
        } else if self.partial_since.is_none() || buf.len() < before {
            self.partial_since = Some(Instant::now());
        }
        Ok(waits)
    }

    /// The same where the client may publish so much only: one PUBLISH after the other.
    fn take_in_measured(&mut self, proto: &mut Proto, meter: &Mutex<Meter>) -> Result<Waits, End> {
        loop {
            let next = next_publish(&self.pipe.buf);
            let now = Instant::now();
            let part = match &next {
                Some(at) if at.start > 0 => at.start,
                Some(at) => {
                    let ready_at = meter.lock().unwrap_or_else(PoisonError::into_inner).ready_at();
                    if let Some(ready_at) = ready_at.filter(|at| *at > now) {
                        proto.shared.counters.publishes_delayed.add((!self.delayed).into());
                        self.delayed = true;
                        return Ok(Waits::Rate(ready_at));
                    }
                    at.end
                }
                None => self.pipe.buf.len(),
            };
            let mut taken = self.pipe.buf.split_to(part);
            let missing = proto.input(&mut taken, &mut self.pipe.out)?;
            let left = taken.len();
            taken.unsplit(std::mem::take(&mut self.pipe.buf));
            self.pipe.buf = taken;
            let Some(at) = next.filter(|_| left == 0) else { return Ok(Waits::For(missing)) };
            if at.start == 0 {
                meter.lock().unwrap_or_else(PoisonError::into_inner).take(part, now);
                self.delayed = false;
            }
        }
    }

    /// Ends the connection if a deadline has passed, else sets the timer to the next one.
    fn check_deadlines(
        &mut self,
        proto: &Proto,
        (silence, resumes_at): (Option<Duration>, Option<Instant>),
        shared: &Shared,
    ) -> Result<(), End> {
        let now = Instant::now();
        let stall = shared.config.stall_timeout;
        let silent_at = silence.map(|s| self.pipe.heard + s);
        let stalled = [self.partial_since.filter(|_| silence.is_some()), self.pipe.unread_since];
        let stalled_at = stalled.into_iter().flatten().min().map(|since| since + stall);
        if stalled_at.is_some_and(|at| at <= now) {
            return Err(End::Stalled);
        }
        if silent_at.is_some_and(|at| at <= now) {
            return Err(End::Silent);
        }
        let next = [silent_at, stalled_at, resumes_at, proto.wakes_at()].into_iter().flatten().min();
        if let Some(next) = next
            && next < self.armed
        {
            self.armed = next;
            self.timer.as_mut().reset(next);
        }
        Ok(())
    }

    /// Writes what is left, says that no more comes, and hears the peer out.
    async fn finish(&mut self) {
        let pipe = &mut self.pipe;
        let written = timeout(FAREWELL, async {
            // Whether or not the last packets could be written: the stream may have its own last word.
            let _ = poll_fn(|cx| pipe.poll_write(cx)).await;
            poll_fn(|cx| pipe.stream.as_mut().poll_shutdown(cx)).await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return;
        }
        let heard_out = async {
            loop {
                pipe.buf.clear();
                if poll_fn(|cx| pipe.poll_read(cx)).await.is_err() {
                    break;
                }
            }
        };
        let _ = timeout(LINGER, heard_out).await;
    }
}
