//! The endpoint: listens, and hands over arrivals.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore, mpsc};
use w3bstream_endpoint::{
    Arrival, Endpoint, Error, ErrorKind, Publication, Publisher, SharedGate, async_trait,
};
use w3bstream_tasks::{Shutdown, Tasks};
use w3bstream_types::Clock;

use crate::log::Log;
use crate::message::Message;
use crate::metrics::Metrics;
use crate::shared::{Phase, Shared};
use crate::{MqttConfig, link, sys, topic};

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
    log_tasks: Tasks,
    address: SocketAddr,
    arrivals: Mutex<mpsc::Receiver<Arrival>>,
}

impl MqttEndpoint {
    /// Listens on `config.listen` and serves those whom `gate` admits from now on. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a setting is wrong, [`ErrorKind::Bind`] if the address cannot be listened on,
    /// [`ErrorKind::State`] if the sessions of an earlier run cannot be read.
    pub async fn bind(
        config: MqttConfig,
        clock: Arc<dyn Clock>,
        gate: SharedGate,
    ) -> Result<Arc<Self>, Error> {
        config.check()?;
        let log = config.sessions_file.as_deref().map(Log::open).transpose()?.map(Arc::new);
        let cannot = |e: std::io::Error| {
            let what = format!("mqtt: cannot listen on {}; choose another address or port", config.listen);
            Error::new(ErrorKind::Bind, what).with_source(e)
        };
        let listener = TcpListener::bind(config.listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let (shared, arrivals) = Shared::new(config, clock, (gate, log.clone()));
        shared.hub.restore(shared.now()).await?;
        let tasks = Tasks::new("mqtt");
        // A group of its own: it is asked to end when nobody notes anything any more.
        let log_tasks = Tasks::new("mqtt log");
        if let Some(log) = log {
            log_tasks.spawn("mqtt log", log.run(log_tasks.shutdown()));
        }
        tasks.spawn("mqtt listener", listen(listener, Arc::clone(&shared), tasks.clone()));
        tasks.spawn("mqtt sessions", sweep(Arc::clone(&shared), tasks.shutdown()));
        tasks.spawn("mqtt $SYS", sys::publish(Arc::clone(&shared), tasks.shutdown()));
        Ok(Arc::new(Self { shared, tasks, log_tasks, address, arrivals: Mutex::new(arrivals) }))
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

impl Drop for MqttEndpoint {
    fn drop(&mut self) {
        self.shared.advance(Phase::Gone);
        self.tasks.stop();
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>, tasks: Tasks) {
    let shutdown = tasks.shutdown();
    let room = Arc::new(Semaphore::new(shared.config.max_connections));
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly too many open files. Connections that wait are not lost by a pause.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            shared.counters.connections_over_cap.add(1);
            continue;
        };
        let counted = Counted::new(&shared);
        let shared = Arc::clone(&shared);
        tasks.spawn(format!("mqtt {peer}"), async move {
            link::serve(stream, shared).await;
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

async fn sweep(shared: Arc<Shared>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        for will in shared.hub.sweep(shared.now()) {
            shared.submit_will(will);
        }
    }
}

#[async_trait]
impl Endpoint for MqttEndpoint {
    fn name(&self) -> &str {
        "mqtt"
    }

    fn urls(&self) -> Vec<String> {
        vec![format!("mqtt://{}", self.address)]
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
        self.shared.hub.publish(&topic.clone(), || Message::of_node(topic, payload.into(), key));
        // What waits for a session that outlives its connection survives a restart.
        let flushed = tokio::time::timeout(self.shared.config.stall_timeout, self.shared.hub.flush()).await;
        flushed.map_err(|_| {
            Error::new(ErrorKind::Overloaded, "mqtt: the message cannot be kept for its sessions now")
        })
    }
}
