//! The endpoint: all brokers together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;
use w3bstream_endpoint::{Arrival, Endpoint, Error, ErrorKind, Publication, Publisher, async_trait};
use w3bstream_tasks::Tasks;
use w3bstream_types::Clock;

use crate::broker::{Broker, Outgoing, live};
use crate::packet::Message;
use crate::shared::{Phase, Shared};
use crate::{BrokerStatus, BrokersConfig};

/// How long connections have to end in good order. Longer than any one of them may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Devices that speak to MQTT brokers of others. See the [crate](crate).
///
/// Dropping it cuts every connection, as the end of the process would; use [`Endpoint::stop_intake`] and
/// [`Endpoint::close`] to end in good order.
#[derive(Debug)]
pub struct BrokersEndpoint {
    shared: Arc<Shared>,
    brokers: Vec<Arc<Broker>>,
    tasks: Tasks,
    arrivals: Mutex<mpsc::Receiver<Arrival>>,
}

impl BrokersEndpoint {
    /// Connects to every broker from now on. That one cannot be reached is no error: it is tried again, and
    /// [`Self::status`] says so. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a setting is wrong.
    pub fn open(config: BrokersConfig, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Error> {
        config.check()?;
        let (shared, arrivals) = Shared::new(config, clock);
        let tasks = Tasks::new("brokers");
        let broker = |config: &crate::BrokerConfig| {
            Arc::new(Broker::new(config.clone(), shared.config.max_queued_messages, shared.clock.now()))
        };
        let brokers: Vec<_> = shared.config.brokers.iter().map(broker).collect();
        for broker in &brokers {
            let name = format!("broker {}", broker.config.name);
            tasks.spawn(name, live(Arc::clone(broker), Arc::clone(&shared)));
        }
        Ok(Arc::new(Self { shared, brokers, tasks, arrivals: Mutex::new(arrivals) }))
    }

    /// Every broker as it stands now, in the order of the settings.
    #[must_use]
    pub fn status(&self) -> Vec<BrokerStatus> {
        self.brokers.iter().map(|broker| broker.status()).collect()
    }
}

#[async_trait]
impl Endpoint for BrokersEndpoint {
    fn name(&self) -> &str {
        "brokers"
    }

    fn urls(&self) -> Vec<String> {
        self.brokers.iter().map(|broker| broker.config.url.clone()).collect()
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
            let what = format!("brokers: these tasks failed or did not end: {}", tasks.join(", "));
            Error::new(ErrorKind::Task, what)
        })
    }
}

#[async_trait]
impl Publisher for BrokersEndpoint {
    /// Sends the message at QoS 1 to every broker that takes publications. Unlike the trait promises, it returns when each
    /// of them has acknowledged it. If one is away, refuses or is too slow, that is an error to retry, although others may
    /// have it: receivers tell repeats by the idempotency key.
    async fn publish(&self, publication: Publication) -> Result<(), Error> {
        let Publication { topic, payload, idempotency_key } = publication;
        if *self.shared.phase.borrow() >= Phase::Closing {
            return Err(Error::new(ErrorKind::Closed, "brokers: the endpoint is closing"));
        }
        if topic.is_empty() || topic.len() > 1024 || topic.contains(['+', '#', '\0']) {
            let what =
                format!("brokers: {topic:?} is no topic; it must have no wildcards, and 1024 bytes at most");
            return Err(Error::new(ErrorKind::Config, what));
        }
        let key = Some(idempotency_key).filter(|k| !k.is_empty());
        let message = Message { topic, payload: payload.into(), key };
        let mut waiting = Vec::new();
        for broker in self.brokers.iter().filter(|broker| broker.config.publish) {
            let (done, acknowledged) = oneshot::channel();
            if !broker.queue(Outgoing { message: message.clone(), done: Some(done) }) {
                let what = format!(
                    "brokers: {} is away, or its queue (max_queued_messages) full",
                    broker.config.name
                );
                return Err(Error::new(ErrorKind::Overloaded, what));
            }
            waiting.push((&broker.config.name, acknowledged));
        }
        let limit = self.shared.config.publish_timeout;
        let all = timeout(limit, async {
            for (name, acknowledged) in waiting {
                let why = match acknowledged.await {
                    Ok(Ok(())) => continue,
                    Ok(Err(why)) => why,
                    Err(_) => "the connection ended before the acknowledgement".to_owned(),
                };
                return Err(Error::new(ErrorKind::Overloaded, format!("brokers: {name}: {why}")));
            }
            Ok(())
        });
        all.await.unwrap_or_else(|_| {
            let what = format!("brokers: no acknowledgement within {limit:?} (publish_timeout)");
            Err(Error::new(ErrorKind::Overloaded, what))
        })
    }
}

impl Drop for BrokersEndpoint {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}
