//! One connection's socket: connects, reads, writes, waits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use w3bstream_tls::TlsClient;

use crate::broker::{Broker, reached};
use crate::config::Address;
use crate::packet::{Codec, Granted, Incoming, frame};
use crate::session::{End, Missing, Session};
use crate::shared::{Phase, Shared};

/// Bytes that one read asks for.
const READ_BYTES: usize = 32 << 10;
/// Beyond so many bytes that the broker has not taken, nothing more is read from it.
const OUT_FULL: usize = 256 << 10;
/// How long the last packets may take to be written.
const FAREWELL: Duration = Duration::from_secs(2);
/// Further than any deadline.
const FAR: Duration = Duration::from_secs(86_400 * 365);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection from its beginning to its end.
pub(crate) async fn connection(
    broker: &Arc<Broker>,
    shared: &Arc<Shared>,
    phase: &mut watch::Receiver<Phase>,
) -> End {
    let limit = shared.config.connect_timeout;
    let connected = tokio::select! {
        connected = timeout(limit, Box::pin(connect(broker, shared))) => connected,
        () = reached(phase, Phase::Stopping) => return End::Closing,
    };
    let connected =
        connected.unwrap_or_else(|_| Err(format!("no CONNACK within {limit:?} (connect_timeout)")));
    let (mut link, granted) = match connected {
        Ok(connected) => connected,
        Err(why) => {
            broker.counters.connects_failed.add(1);
            return End::Gone(why);
        }
    };
    broker.granted(granted.session_present);
    let Some(arrivals) = shared.arrivals() else { return End::Closing };
    let mut codec = Codec::new(broker.config.version, shared.config.max_packet_bytes);
    codec.max_out = granted.max_packet_bytes.unwrap_or(u32::MAX).min(codec.max_out);
    let window = granted.receive_max.unwrap_or(u16::MAX);
    let mut session = Session::new(Arc::clone(broker), Arc::clone(shared), (codec, window), arrivals);
    let keep_alive = granted.keep_alive_secs.map(|secs| Duration::from_secs(secs.into()));
    link.keep_alive = keep_alive.filter(|k| !k.is_zero()).unwrap_or(broker.config.keep_alive);
    let end = match session.open(&mut link.out) {
        Ok(()) => link.converse(&mut session, shared, phase).await,
        Err(end) => end,
    };
    session.farewell(&end, &mut link.out);
    if !matches!(end, End::Gone(_)) {
        link.finish().await;
    }
    end
}

struct Link {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    /// Read and not yet taken.
    buf: BytesMut,
    /// Not yet written.
    out: BytesMut,
    /// Written, but perhaps still on this side of the encryption.
    unflushed: bool,
    keep_alive: Duration,
    /// When the last bytes came, or reading went on after a pause.
    heard: Instant,
    /// When the last bytes were written.
    spoke: Instant,
    /// Since when a packet is incomplete.
    partial_since: Option<Instant>,
    /// Since when the broker takes nothing.
    unread_since: Option<Instant>,
}

/// Connects up to CONNACK. Why it failed, in words.
async fn connect(broker: &Broker, shared: &Shared) -> Result<(Link, Granted), String> {
    let config = &broker.config;
    let address = Address::parse(&config.url).map_err(str::to_owned)?;
    let tcp = TcpStream::connect((address.host.as_str(), address.port)).await;
    let tcp = tcp.map_err(|e| format!("cannot connect to {}: {e}", config.url))?;
    // Acknowledgements are small, and already written in batches.
    let _ = tcp.set_nodelay(true);
    let stream: Box<dyn Stream> = if address.tls {
        // Read anew for each connection: renewed files are used.
        let client =
            TlsClient::open(&config.tls, Arc::clone(&shared.clock)).await.map_err(|e| e.to_string())?;
        Box::new(client.connect(&address.host, tcp).await.map_err(|e| e.to_string())?)
    } else {
        Box::new(tcp)
    };
    let mut link = Link::new(stream);
    let codec = Codec::new(config.version, shared.config.max_packet_bytes);
    if !codec.connect(&mut link.out, config, shared.config.max_packet_bytes) {
        return Err("CONNECT is larger than max_packet_bytes".to_owned());
    }
    let gone = |e: io::Error| format!("the connection ended before CONNACK: {e}");
    link.writer.write_all_buf(&mut link.out).await.map_err(gone)?;
    link.writer.flush().await.map_err(gone)?;
    loop {
        if let Some(at) = frame(&link.buf)? {
            if at.total > shared.config.max_packet_bytes {
                return Err("the broker answered CONNECT with too large a packet".to_owned());
            }
            if link.buf.len() >= at.total {
                let packet = codec.decode(&link.buf.split_to(at.total))?;
                return match packet {
                    Incoming::ConnAck(Ok(granted)) => Ok((link, granted)),
                    Incoming::ConnAck(Err(why)) => Err(format!("the broker refuses the connection: {why}")),
                    other => {
                        Err(format!("the broker did not answer CONNECT with CONNACK but with {other:?}"))
                    }
                };
            }
        }
        if link.reader.read_buf(&mut link.buf).await.map_err(gone)? == 0 {
            return Err("the broker closed the connection before CONNACK".to_owned());
        }
    }
}

impl Link {
    fn new(stream: Box<dyn Stream>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let now = Instant::now();
        Self {
            reader,
            writer,
            buf: BytesMut::new(),
            out: BytesMut::new(),
            unflushed: false,
            keep_alive: FAR,
            heard: now,
            spoke: now,
            partial_since: None,
            unread_since: None,
        }
    }

    /// The life of a connection.
    async fn converse(
        &mut self,
        session: &mut Session,
        shared: &Shared,
        phase: &mut watch::Receiver<Phase>,
    ) -> End {
        loop {
            if let Err(end) = self.turn(session, shared, phase).await {
                return end;
            }
        }
    }

    /// Does what can be done now, then waits for something to change.
    async fn turn(
        &mut self,
        session: &mut Session,
        shared: &Shared,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(), End> {
        let now = *phase.borrow_and_update();
        session.settle(now, &mut self.out)?;
        let listens = now == Phase::Running && session.doomed_at().is_none();
        let missing = if listens { self.take_in(session)? } else { Missing::Answer };
        let reads = listens && missing == Missing::Input && self.out.len() < OUT_FULL;
        if !reads {
            // A pause of ours is no silence of the broker's.
            self.heard = Instant::now();
        }
        let deadline = self.deadline(session, reads, shared.config.stall_timeout)?;
        let budget = match missing {
            Missing::Budget(bytes) if listens => Some(bytes),
            _ => None,
        };
        let writes = !self.out.is_empty() || self.unflushed;
        let wake = Arc::clone(&session.broker.wake);
        tokio::select! {
            biased;
            changed = phase.changed() => {
                if changed.is_err() {
                    return Err(End::Closing);
                }
            }
            () = wake.notified() => {}
            written = push(&mut self.writer, &mut self.out), if writes => self.wrote(written)?,
            permit = shared.budget.wait(budget.unwrap_or(0)), if budget.is_some() => session.spare = permit,
            read = async { self.buf.reserve(READ_BYTES); self.reader.read_buf(&mut self.buf).await }, if reads => {
                match read {
                    Ok(0) => return Err(End::Gone("the broker closed the connection".to_owned())),
                    Ok(_) => self.heard = Instant::now(),
                    Err(error) => return Err(gone(&error)),
                }
            }
            () = sleep_until(deadline) => {}
        }
        Ok(())
    }

    fn wrote(&mut self, written: io::Result<Pushed>) -> Result<(), End> {
        match written {
            Ok(Pushed::Written) => {
                (self.spoke, self.unflushed, self.unread_since) = (Instant::now(), true, None)
            }
            Ok(Pushed::Flushed) => (self.unflushed, self.unread_since) = (false, None),
            Err(error) => return Err(gone(&error)),
        }
        Ok(())
    }

    /// Takes the packets that have been read.
    fn take_in(&mut self, session: &mut Session) -> Result<Missing, End> {
        let before = self.buf.len();
        let missing = session.input(&mut self.buf, &mut self.out)?;
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

    /// The next moment at which something must happen; pings if it is time.
    fn deadline(&mut self, session: &Session, reads: bool, stall: Duration) -> Result<Instant, End> {
        let now = Instant::now();
        if self.out.is_empty() && !self.unflushed && now >= self.spoke + self.keep_alive {
            Codec::ping(&mut self.out);
            self.spoke = now;
        }
        if !self.out.is_empty() || self.unflushed {
            self.unread_since.get_or_insert(now);
        }
        let silent_at = reads.then(|| self.heard + self.keep_alive * 3 / 2);
        let stalled = [self.partial_since.filter(|_| reads), self.unread_since];
        let stalled_at = stalled.into_iter().flatten().min().map(|since| since + stall);
        if stalled_at.is_some_and(|at| at <= now) {
            return Err(End::Gone("the connection made no progress (stall_timeout)".to_owned()));
        }
        if silent_at.is_some_and(|at| at <= now) {
            return Err(End::Gone("the broker was silent for longer than the keep alive".to_owned()));
        }
        let ping_at = Some(self.spoke + self.keep_alive);
        let next = [silent_at, stalled_at, session.doomed_at(), ping_at].into_iter().flatten().min();
        Ok(next.unwrap_or(now + FAR))
    }

    /// Writes what is left, and says that no more comes.
    async fn finish(&mut self) {
        let written = timeout(FAREWELL, async {
            self.writer.write_all_buf(&mut self.out).await?;
            self.writer.shutdown().await
        });
        let _ = written.await;
    }
}

enum Pushed {
    Written,
    Flushed,
}

/// Writes what there is, else flushes what was written. Dropping the future loses nothing.
async fn push(writer: &mut WriteHalf<Box<dyn Stream>>, out: &mut BytesMut) -> io::Result<Pushed> {
    if out.is_empty() {
        writer.flush().await?;
        return Ok(Pushed::Flushed);
    }
    match writer.write_buf(out).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(Pushed::Written),
    }
}

fn gone(error: &io::Error) -> End {
    End::Gone(format!("the connection to the broker ended: {error}"))
}
