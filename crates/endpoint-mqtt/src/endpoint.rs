//! The endpoint: listens, and hands over arrivals.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::Instant;
use w3bstream_endpoint::{
    Arrival, Endpoint, Error, ErrorKind, Publication, Publisher, SharedGate, async_trait,
};
use w3bstream_tasks::{Shutdown, Tasks};
use w3bstream_types::Clock;

use crate::log::Log;
use crate::message::Message;
use crate::metrics::Metrics;
use crate::rate::Pace;
use crate::shared::{Phase, Shared};
use crate::stream::{Caller, Door};
use crate::{Listener, MqttConfig, Originals, Secure, Transport, link, originals, sys, topic, wills};

/// How long connections have to end in good order. Longer than any one of them may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How often sessions are looked at for those that have ended.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Connections that may wait in the kernel, for each listener; the kernel may have a lower limit. Whom it has no place for asks
/// again after one, three and seven seconds.
const BACKLOG: u32 = 4096;

/// Devices over MQTT 3.1.1 and 5. See the [crate](crate) for what it does and does not do.
///
/// Dropping it cuts every connection, as the end of the process would; use [`Endpoint::stop_intake`] and
/// [`Endpoint::close`] to end in good order.
#[derive(Debug)]
pub struct MqttEndpoint {
    shared: Arc<Shared>,
    tasks: Tasks,
    log_tasks: Tasks,
    /// With real ports; the first is `config.listen`.
    listeners: Vec<Listener>,
    arrivals: Mutex<mpsc::Receiver<Arrival>>,
}

impl MqttEndpoint {
    /// Listens on `config.listen` and on `config.more`, and serves those whom `gate` admits from now on. Must be called
    /// inside a Tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a setting is wrong or TLS is asked for, [`ErrorKind::Bind`] if an address cannot be
    /// listened on, [`ErrorKind::State`] if the sessions of an earlier run cannot be read.
    pub async fn bind(
        config: MqttConfig,
        clock: Arc<dyn Clock>,
        gate: SharedGate,
    ) -> Result<Arc<Self>, Error> {
        Self::bind_with(config, clock, gate, None).await
    }

    /// The same, with what ends TLS.
    ///
    /// # Errors
    /// As [`Self::bind`]; TLS may be asked for if `secure` is there.
    pub async fn bind_with(
        config: MqttConfig,
        clock: Arc<dyn Clock>,
        gate: SharedGate,
        secure: Option<Arc<dyn Secure>>,
    ) -> Result<Arc<Self>, Error> {
        config.check()?;
        let log = config.sessions_file.as_deref().map(Log::open).transpose()?.map(Arc::new);
        let first = Listener { address: config.listen, transport: Transport::Tcp };
        let asked = std::iter::once(first).chain(config.more.iter().copied());
        let (listeners, sockets) = listen_on(asked, secure.is_some()).await?;
        let hall = Hall {
            room: Arc::new(Semaphore::new(config.max_connections)),
            pace: Arc::new(Pace::new(config.max_connection_rate)),
            door: Arc::new(Door::new(&config, secure)),
            tasks: Tasks::new("mqtt"),
        };
        let (shared, arrivals, words) = Shared::new(config, clock, (gate, log.clone()));
        shared.hub.restore(&shared.config, shared.now()).await?;
        // A group of its own: it is asked to end when nobody notes anything any more.
        let log_tasks = Tasks::new("mqtt log");
        if let Some(log) = log {
            log_tasks.spawn("mqtt log", log.run(log_tasks.shutdown()));
        }
        for (socket, transport) in sockets {
            let name = format!("mqtt listener {transport:?}");
            hall.tasks.spawn(name, listen((socket, transport), Arc::clone(&shared), hall.clone()));
        }
        let sweeping = sweep(Arc::clone(&shared), Arc::clone(&hall.door), hall.tasks.shutdown());
        hall.tasks.spawn("mqtt sessions", sweeping);
        let rechecking = recheck(Arc::clone(&shared), Arc::clone(&hall.door), hall.tasks.shutdown());
        hall.tasks.spawn("mqtt revocations", rechecking);
        let telling = originals::tell(Arc::clone(&shared), words, hall.tasks.shutdown());
        hall.tasks.spawn("mqtt originals", telling);
        hall.tasks.spawn("mqtt $SYS", sys::publish(Arc::clone(&shared), hall.tasks.shutdown()));
        Ok(Arc::new(Self { shared, tasks: hall.tasks, log_tasks, listeners, arrivals: Mutex::new(arrivals) }))
    }

    /// Where it listens for plain TCP (`config.listen`), with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.listeners.first().map_or(self.shared.config.listen, |l| l.address)
    }

    /// All listeners, with their real ports: `config.listen`, then `config.more` in its order.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Speaks to clients of the original W3bstream too, in the words of `originals`. Once; later calls change nothing.
    pub fn serve_originals(&self, originals: Arc<dyn Originals>) {
        let _ = self.shared.originals.set(originals);
    }

    /// What it has counted.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.counters.snapshot()
    }
}

/// Sockets with what is spoken on them, and where they really listen.
type Bound = (Vec<Listener>, Vec<(TcpListener, Transport)>);

async fn listen_on(asked: impl Iterator<Item = Listener>, secure: bool) -> Result<Bound, Error> {
    let (mut listeners, mut sockets) = (Vec::new(), Vec::new());
    for Listener { address, transport } in asked {
        if transport.is_tls() && !secure {
            let what = format!("mqtt: {} needs a certificate; set up TLS", transport.url(address));
            return Err(Error::new(ErrorKind::Config, what));
        }
        let cannot = |e: std::io::Error| {
            let what = format!("mqtt: cannot listen on {address}; choose another address or port");
            Error::new(ErrorKind::Bind, what).with_source(e)
        };
        let socket = bind(address).map_err(cannot)?;
        listeners.push(Listener { address: socket.local_addr().map_err(cannot)?, transport });
        sockets.push((socket, transport));
    }
    Ok((listeners, sockets))
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // After a restart, connections of the last run may still be ending.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Drop for MqttEndpoint {
    fn drop(&mut self) {
        self.shared.advance(Phase::Gone);
        self.tasks.stop();
    }
}

/// What the listeners of one endpoint share.
#[derive(Clone)]
struct Hall {
    /// A place for every connection that may be there.
    room: Arc<Semaphore>,
    /// How fast they are taken.
    pace: Arc<Pace>,
    door: Arc<Door>,
    tasks: Tasks,
}

async fn listen((listener, transport): (TcpListener, Transport), shared: Arc<Shared>, hall: Hall) {
    let shutdown = hall.tasks.shutdown();
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => return,
            accepted = listener.accept() => accepted,
        };
        while let Err(ready_at) = hall.pace.take(Instant::now()) {
            shared.counters.accepts_paused.add(1);
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep_until(ready_at) => {}
            }
        }
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly too many open files. Connections that wait are not lost by a pause.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&hall.room).try_acquire_owned() else {
            shared.counters.connections_over_cap.add(1);
            continue;
        };
        let counted = Counted::new(&shared);
        let (door, shared, shutdown) = (Arc::clone(&hall.door), Arc::clone(&shared), shutdown.clone());
        hall.tasks.spawn(format!("mqtt {address}"), async move {
            link::serve(Caller { stream, address, transport }, door, shared, shutdown).await;
            drop((counted, place));
        });
    }
}

/// A connection in the count of those that are there now, however its task ends.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.counters.connections_now.add(1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counters.connections_now.sub(1);
    }
}

async fn sweep(shared: Arc<Shared>, door: Arc<Door>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        wills::submit(&shared, shared.hub.sweep(shared.now())).await;
        door.rates.sweep();
    }
}

/// Ends connections whose certificate, registration or token was revoked.
async fn recheck(shared: Arc<Shared>, door: Arc<Door>, shutdown: Shutdown) {
    let every = shared.config.recheck_every;
    if every.is_zero() {
        return;
    }
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(every) => {}
        }
        // Reading files may take long where they are on a network: shutdown does not wait for it.
        tokio::select! {
            () = shutdown.requested() => return,
            () = door.refresh() => {}
        }
        let ended = shared.hub.recheck(&*shared.gate);
        if ended > 0 {
            tracing::info!(ended, "mqtt: connections were ended as what they had shown holds no longer");
        }
    }
}

#[async_trait]
impl Endpoint for MqttEndpoint {
    fn name(&self) -> &str {
        "mqtt"
    }

    fn urls(&self) -> Vec<String> {
        self.listeners.iter().map(|l| l.transport.url(l.address)).collect()
    }

    async fn next(&self) -> Option<Arrival> {
        self.arrivals.lock().await.recv().await
    }

    async fn stop_intake(&self) {
        self.shared.advance(Phase::Stopping);
    }

    async fn close(&self) -> Result<(), Error> {
        self.shared.advance(Phase::Closing);
        let mut left = self.tasks.join(CLOSE_WITHIN).await.err().unwrap_or_default();
        left.extend(self.log_tasks.join(CLOSE_WITHIN).await.err().unwrap_or_default());
        if left.is_empty() {
            return Ok(());
        }
        let what = format!("mqtt: these tasks failed or did not end: {}", left.join(", "));
        Err(Error::new(ErrorKind::Task, what))
    }
}

#[async_trait]
impl Publisher for MqttEndpoint {
    async fn publish(&self, publication: Publication) -> Result<(), Error> {
        let Publication { topic, payload, idempotency_key } = publication;
        if self.shared.phase() >= Phase::Closing {
            return Err(Error::new(ErrorKind::Closed, "mqtt: the endpoint is closing"));
        }
        if !topic::is_topic(&topic) {
            let what =
                format!("mqtt: {topic:?} is no topic; it must have no wildcards, and 16 levels at most");
            return Err(Error::new(ErrorKind::Config, what));
        }
        let room =
            self.shared.config.max_packet_bytes.saturating_sub(topic.len() + idempotency_key.len() + 64);
        if payload.len() > room {
            let what = format!("mqtt: {} bytes do not fit into max_packet_bytes", payload.len());
            return Err(Error::new(ErrorKind::Config, what));
        }
        let key = Some(idempotency_key.as_str()).filter(|k| !k.is_empty());
        self.shared.hub.publish(topic, |topic| Message::of_node(topic, payload.into(), key));
        // What waits for a session that outlives its connection survives a restart.
        let flushed = tokio::time::timeout(self.shared.config.stall_timeout, self.shared.hub.flush()).await;
        flushed.map_err(|_| {
            Error::new(ErrorKind::Overloaded, "mqtt: the message cannot be kept for its sessions now")
        })
    }
}
