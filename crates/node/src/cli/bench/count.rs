//! Counting what arrived, where it arrived.

use std::time::Duration;

use anyhow::{Context as _, bail};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::time::{Instant, sleep, timeout_at};
use w3bstream_types::ProjectName;

use crate::Admin;

/// How often the node is asked.
const EVERY: Duration = Duration::from_millis(20);
/// A count that has not changed for so long does not change any more.
const STILL: Duration = Duration::from_millis(500);
/// The same for executing, where a long block may take its time.
const STUCK: Duration = Duration::from_secs(30);

/// The node's own counters, from a moment on.
pub(super) struct OfNode {
    admin: Admin,
    path: String,
    accepted: u64,
    executed: u64,
}

impl OfNode {
    /// Begins to count.
    pub(super) async fn begin(admin: &Admin, project: &ProjectName) -> anyhow::Result<Self> {
        let path = format!("/v1/projects/{project}");
        let mut count = Self { admin: admin.clone(), path, accepted: 0, executed: 0 };
        (count.accepted, count.executed) = count.now().await?;
        Ok(count)
    }

    /// Stored and executed messages since the beginning. A message that was rejected has run its course too.
    async fn now(&self) -> anyhow::Result<(u64, u64)> {
        let project = self.admin.get(&self.path).await?;
        let of = |name: &str| {
            project["counters"][name].as_u64().with_context(|| format!("the node does not tell {name}"))
        };
        let executed = of("w3b_messages_executed_total")? + of("w3b_messages_rejected_total")?;
        Ok((of("w3b_messages_accepted_total")? - self.accepted, executed - self.executed))
    }

    /// How many of `sent` messages were stored.
    pub(super) async fn accepted(&self, sent: u64) -> anyhow::Result<u64> {
        self.wait(sent, STILL, |(accepted, _)| accepted).await
    }

    /// Waits until `sent` messages were executed.
    pub(super) async fn executed(&self, sent: u64) -> anyhow::Result<()> {
        let done = self.wait(sent, STUCK, |(_, executed)| executed).await?;
        if done < sent {
            bail!("only {done} of {sent} messages were executed; w3bstream project status says why");
        }
        Ok(())
    }

    async fn wait(
        &self,
        sent: u64,
        still: Duration,
        which: impl Fn((u64, u64)) -> u64,
    ) -> anyhow::Result<u64> {
        let (mut last, mut changed) = (which(self.now().await?), Instant::now());
        while last < sent && changed.elapsed() < still {
            sleep(EVERY).await;
            let now = which(self.now().await?);
            if now != last {
                (last, changed) = (now, Instant::now());
            }
        }
        Ok(last)
    }
}

/// What Mosquitto and its like publish about themselves: PUBLISH packets received.
const RECEIVED: &str = "$SYS/broker/publish/messages/received";
/// How long a broker may take between two of its reports. Mosquitto's `sys_interval` is 10 s if nothing else is set.
const REPORT: Duration = Duration::from_secs(12);
/// With `sys_interval 1` a report is no older than this.
const FRESH: Duration = Duration::from_millis(1500);

/// A broker's counter, from a moment on.
pub(super) struct OfBroker {
    // Lives as long as the event loop is polled.
    _client: AsyncClient,
    events: EventLoop,
    before: u64,
    last: Option<u64>,
}

impl OfBroker {
    /// Begins to count. Set `sys_interval 1` in the broker's settings, or what was sent just before may be counted too.
    pub(super) async fn begin(url: &str) -> anyhow::Result<Self> {
        let (host, port) = super::mqtt::address(url)?;
        let mut options = MqttOptions::new("bench-count", host, port);
        options.set_keep_alive(Duration::from_secs(600));
        let (client, events) = AsyncClient::new(options, 4);
        client.subscribe(RECEIVED, QoS::AtMostOnce).await?;
        let mut count = Self { _client: client, events, before: 0, last: None };
        count.hear(0, REPORT).await?;
        // The first report was kept from before; one that is fresh may follow.
        count.hear(u64::MAX, FRESH).await?;
        count.before = count.last.with_context(|| {
            format!(
                "the rival does not tell what it received ({RECEIVED}); set sys_interval 1 in its settings"
            )
        })?;
        Ok(count)
    }

    /// How many of `sent` messages the broker received.
    pub(super) async fn arrived(&mut self, sent: u64) -> anyhow::Result<u64> {
        self.hear(self.before + sent, REPORT).await?;
        Ok(self.last.unwrap_or(0).saturating_sub(self.before).min(sent))
    }

    /// Listens until at least so much was received, or nothing more comes for a time.
    async fn hear(&mut self, least: u64, patience: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        while self.last.is_none_or(|n| n < least) {
            // What is left when the time is over is only the next report.
            let Ok(event) = timeout_at(until, self.events.poll()).await else { return Ok(()) };
            if let Event::Incoming(Packet::Publish(publish)) = event? {
                let text = std::str::from_utf8(&publish.payload)?;
                self.last = Some(text.trim().parse().with_context(|| format!("{RECEIVED} says {text:?}"))?);
            }
        }
        Ok(())
    }
}
