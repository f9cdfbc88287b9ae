//! The endpoint: listens, and hands over arrivals.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore, mpsc};
use w3bstream_endpoint::{Arrival, Endpoint, Error, ErrorKind, Publication, Publisher, async_trait};
use w3bstream_tasks::{Shutdown, Tasks};
use w3bstream_types::Clock;

use crate::metrics::Metrics;
use crate::packet::Outgoing;
use crate::shared::{Phase, Shared};
use crate::stream::{Caller, Door};
use crate::{Listener, MqttConfig, Secure, Transport, link, topic};

/// How long connections have to end in good order. Longer than any one of them may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How often sessions are looked at for those that have ended.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Devices over MQTT 3.1.1 and 5. See the [crate](crate) for what it does and does not do.
///
/// Dropping it cuts every connection, as the end of the process would; use [`Endpoint::stop_intake`] and
/// [`Endpoint::close`] to end in good order.
#[derive(Debug)]
pub struct MqttEndpoint {
    shared: Arc<Shared>,
    tasks: Tasks,
    /// With real ports; the first is `config.listen`.
    listeners: Vec<Listener>,
    arrivals: Mutex<mpsc::Receiver<Arrival>>,
}

impl MqttEndpoint {
    /// Listens on `config.listen` and on `config.more`, and serves from now on. Must be called inside a Tokio
    /// runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a setting is wrong or TLS is asked for, [`ErrorKind::Bind`] if an address cannot be
    /// listened on.
    pub async fn bind(config: MqttConfig, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Error> {
        Self::bind_with(config, clock, None).await
    }

    /// The same, with what ends TLS.
    ///
    /// # Errors
    /// As [`Self::bind`]; TLS may be asked for if `secure` is there.
    pub async fn bind_with(
        config: MqttConfig,
        clock: Arc<dyn Clock>,
        secure: Option<Arc<dyn Secure>>,
    ) -> Result<Arc<Self>, Error> {
        config.check()?;
        let first = Listener { address: config.listen, transport: Transport::Tcp };
        let (mut listeners, mut sockets) = (Vec::new(), Vec::new());
        for Listener { address, transport } in std::iter::once(first).chain(config.more.iter().copied()) {
            if transport.is_tls() && secure.is_none() {
                let what = format!("mqtt: {} needs a certificate; set up TLS", transport.url(address));
                return Err(Error::new(ErrorKind::Config, what));
            }
            let cannot = |e: std::io::Error| {
                let what = format!("mqtt: cannot listen on {address}; choose another address or port");
                Error::new(ErrorKind::Bind, what).with_source(e)
            };
            let socket = TcpListener::bind(address).await.map_err(cannot)?;
            listeners.push(Listener { address: socket.local_addr().map_err(cannot)?, transport });
            sockets.push((socket, transport));
        }
        let hall = Hall {
            room: Arc::new(Semaphore::new(config.max_connections)),
            door: Arc::new(Door::new(&config, secure)),
            tasks: Tasks::new("mqtt"),
        };
        let (shared, arrivals) = Shared::new(config, clock);
        for (socket, transport) in sockets {
            let name = format!("mqtt listener {transport:?}");
            hall.tasks.spawn(name, listen((socket, transport), Arc::clone(&shared), hall.clone()));
        }
        let sweeping = sweep(Arc::clone(&shared), Arc::clone(&hall.door), hall.tasks.shutdown());
        hall.tasks.spawn("mqtt sessions", sweeping);
        Ok(Arc::new(Self { shared, tasks: hall.tasks, listeners, arrivals: Mutex::new(arrivals) }))
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

    /// What it has counted.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.counters.snapshot()
    }
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
        for will in shared.hub.sweep() {
            shared.submit_will(will);
        }
        door.rates.sweep();
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
        self.tasks.join(CLOSE_WITHIN).await.map_err(|tasks| {
            Error::new(
                ErrorKind::Task,
                format!("mqtt: these tasks failed or did not end: {}", tasks.join(", ")),
            )
        })
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
        let key = Some(idempotency_key).filter(|k| !k.is_empty());
        self.shared.hub.publish(&topic.clone(), || Outgoing { topic, payload: payload.into(), key });
        Ok(())
    }
}
