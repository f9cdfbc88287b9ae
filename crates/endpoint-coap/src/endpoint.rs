//! The endpoint: one socket, one task that reads it, and the way to the node.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use w3bstream_endpoint::{
    Ack, Answer, Arrival, Endpoint, Error, ErrorKind, MessageLife, SharedQuery, async_trait,
};
use w3bstream_tasks::Tasks;
use w3bstream_types::{Clock, MessageId, Received, Refusal, RefusalKind};

use crate::CoapConfig;
use crate::core::{Core, Effect};
use crate::metrics::{Counters, Metrics};

/// Datagrams that are read before answers are looked at.
const AT_ONCE: usize = 64;
/// How long a datagram may wait for the socket. Then it is lost, as any datagram may be.
const SEND_WITHIN: Duration = Duration::from_millis(20);

/// Devices over CoAP. See the [crate](crate) for what it does and does not do.
///
/// Dropping it closes the socket, as the end of the process would; use [`Endpoint::stop_intake`] and
/// [`Endpoint::close`] to end in good order.
#[derive(Debug)]
pub struct CoapEndpoint {
    shared: Arc<Shared>,
    tasks: Tasks,
    address: SocketAddr,
    close_within: Duration,
    arrivals: tokio::sync::Mutex<mpsc::Receiver<Arrival>>,
}

/// How far the endpoint has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running = 0,
    /// No message is taken; what is in flight can be answered.
    Stopping = 1,
    /// What has no answer is refused.
    Closing = 2,
    /// Nothing is sent any more.
    Gone = 3,
}

/// What the node has answered.
#[derive(Debug)]
enum Outcome {
    Message(u64, Answer),
    Question(u64, Result<Option<MessageLife>, Refusal>),
}

/// Shared by the endpoint, its task, and the acks.
#[derive(Debug)]
struct Shared {
    counters: Arc<Counters>,
    phase: AtomicU8,
    wake: Notify,
    /// No more than are in flight.
    outcomes: Mutex<Vec<Outcome>>,
    arrivals: Mutex<Option<mpsc::Sender<Arrival>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the data whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Stopping,
            2 => Phase::Closing,
            _ => Phase::Gone,
        }
    }

    fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        if phase >= Phase::Closing {
            *lock(&self.arrivals) = None;
        }
        self.wake.notify_one();
    }

    fn put(&self, outcome: Outcome) {
        lock(&self.outcomes).push(outcome);
        self.wake.notify_one();
    }
}

impl CoapEndpoint {
    /// Listens on `config.listen` and serves from now on. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a setting is wrong, [`ErrorKind::Bind`] if the address cannot be listened on.
    pub async fn bind(
        config: CoapConfig,
        query: SharedQuery,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        config.check()?;
        let cannot = |e: io::Error| {
            let what =
                format!("coap: cannot listen on {} (UDP); choose another address or port", config.listen);
            Error::new(ErrorKind::Bind, what).with_source(e)
        };
        let socket = UdpSocket::bind(config.listen).await.map_err(cannot)?;
        only_unicast(&socket).map_err(cannot)?;
        let address = socket.local_addr().map_err(cannot)?;
        // As many as are let in, so the channel is never full.
        let (sender, arrivals) = mpsc::channel(config.max_in_flight);
        let shared = Arc::new(Shared {
            counters: Arc::new(Counters::default()),
            phase: AtomicU8::new(0),
            wake: Notify::new(),
            outcomes: Mutex::default(),
            arrivals: Mutex::new(Some(sender)),
        });
        let tasks = Tasks::new("coap");
        let core = Core::new(Instant::now(), config.clone(), clock, Arc::clone(&shared.counters));
        let close_within = config.close_timeout + Duration::from_secs(3);
        let server =
            Server { socket, shared: Arc::clone(&shared), core, tasks: tasks.clone(), query, config };
        tasks.spawn("coap socket", server.run());
        let arrivals = tokio::sync::Mutex::new(arrivals);
        Ok(Arc::new(Self { shared, tasks, address, close_within, arrivals }))
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What it has counted.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.counters.snapshot()
    }
}

impl Drop for CoapEndpoint {
    fn drop(&mut self) {
        self.shared.advance(Phase::Gone);
        self.tasks.stop();
    }
}

/// Linux gives a socket on 0.0.0.0 what is sent to the groups that any other program of the host has joined.
fn only_unicast(socket: &UdpSocket) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match socket.local_addr()?.ip() {
        ip if !ip.is_unspecified() => {}
        std::net::IpAddr::V4(_) => socket2::SockRef::from(socket).set_multicast_all_v4(false)?,
        std::net::IpAddr::V6(_) => socket2::SockRef::from(socket).set_multicast_all_v6(false)?,
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
    Ok(())
}

/// The task that owns socket and state.
struct Server {
    socket: UdpSocket,
    shared: Arc<Shared>,
    core: Core,
    tasks: Tasks,
    query: SharedQuery,
    config: CoapConfig,
}

impl Server {
    async fn run(mut self) {
        // One byte more than is taken, to see what is cut off.
        let mut buffer = vec![0; self.config.max_datagram_bytes + 1];
        let mut closed_by = None;
        loop {
            let now = Instant::now();
            match self.shared.phase() {
                Phase::Running => {}
                Phase::Stopping => self.core.stop(now),
                Phase::Closing => {
                    closed_by.get_or_insert(now + self.config.close_timeout);
                }
                Phase::Gone => return,
            }
            for outcome in std::mem::take(&mut *lock(&self.shared.outcomes)) {
                match outcome {
                    Outcome::Message(number, answer) => self.core.answered(now, number, &answer),
                    Outcome::Question(number, answer) => self.core.found(now, number, &answer),
                }
            }
            if closed_by.is_some() {
                // After the outcomes: what was answered before `close` is told.
                self.core.refuse_all(now);
            }
            self.core.tick(now);
            self.perform().await;
            if closed_by.is_some_and(|by| now >= by || self.core.is_settled()) {
                return;
            }
            let until = closed_by.map_or_else(|| self.core.deadline(), |by| by.min(self.core.deadline()));
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = sleep_until(until) => {}
                read = self.socket.recv_from(&mut buffer) => self.read(read, &mut buffer).await,
            }
        }
    }

    /// Takes what was read, and more if more is there.
    async fn read(&mut self, first: io::Result<(usize, SocketAddr)>, buffer: &mut [u8]) {
        let mut read = first;
        let now = Instant::now();
        // What is read after `stop_intake` has returned is not taken.
        if self.shared.phase() != Phase::Running {
            self.core.stop(now);
        }
        for _ in 0..AT_ONCE {
            match read {
                Ok((length, from)) => {
                    let whole = length <= self.config.max_datagram_bytes;
                    let bytes = buffer.get(..length).unwrap_or_default();
                    self.core.datagram(now, from, bytes, whole);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Windows tells of datagrams that are larger than the buffer, and of hosts that were not there.
                Err(error) => {
                    tracing::debug!(%error, "cannot read a datagram");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    return;
                }
            }
            read = self.socket.try_recv_from(buffer);
        }
    }

    async fn perform(&mut self) {
        for effect in self.core.effects() {
            match effect {
                Effect::Send(to, bytes) => {
                    let sent = timeout(SEND_WITHIN, self.socket.send_to(&bytes, to)).await;
                    if !matches!(sent, Ok(Ok(_))) {
                        self.core.counters.send_errors.add(1);
                    }
                }
                Effect::Submit(number, received) => self.submit(number, *received),
                Effect::Ask(number, id) => self.ask(number, id),
            }
        }
    }

    fn submit(&self, number: u64, received: Received) {
        let shared = Arc::clone(&self.shared);
        let ack = Ack::new(move |answer| shared.put(Outcome::Message(number, answer)));
        let arrivals = lock(&self.shared.arrivals).clone();
        if let Some(arrivals) = arrivals {
            // A failure drops the ack, which refuses for now.
            let _ = arrivals.try_send(Arrival { received, ack });
        }
    }

    fn ask(&self, number: u64, id: MessageId) {
        let (query, shared) = (Arc::clone(&self.query), Arc::clone(&self.shared));
        let (shutdown, within) = (self.tasks.shutdown(), self.config.query_timeout);
        self.tasks.spawn("coap question", async move {
            let busy = || Refusal::new(RefusalKind::NotReady, "the message's state cannot be read now");
            let answer = tokio::select! {
                () = shutdown.requested() => return,
                answer = timeout(within, query.message(id)) => answer,
            };
            let answer = match answer {
                Ok(Ok(life)) => Ok(life),
                Ok(Err(error)) => {
                    // The cause may tell of the node's inside: it goes to the log, at a level that clients cannot flood.
                    tracing::debug!(%error, %id, "cannot answer a question for a message");
                    Err(busy())
                }
                Err(_) => Err(busy()),
            };
            shared.put(Outcome::Question(number, answer));
        });
    }
}

#[async_trait]
impl Endpoint for CoapEndpoint {
    fn name(&self) -> &str {
        "coap"
    }

    fn urls(&self) -> Vec<String> {
        vec![format!("coap://{}", self.address)]
    }

    async fn next(&self) -> Option<Arrival> {
        self.arrivals.lock().await.recv().await
    }

    async fn stop_intake(&self) {
        self.shared.advance(Phase::Stopping);
    }

    async fn close(&self) -> Result<(), Error> {
        self.shared.advance(Phase::Closing);
        self.tasks.join(self.close_within).await.map_err(|tasks| {
            Error::new(
                ErrorKind::Task,
                format!("coap: these tasks failed or did not end: {}", tasks.join(", ")),
            )
        })
    }
}
