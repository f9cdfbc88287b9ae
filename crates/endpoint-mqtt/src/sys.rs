//! `$SYS/broker/…`: how the broker stands, for those who watch it over MQTT.

use std::sync::Arc;

use w3bstream_tasks::Shutdown;

use crate::message::Message;
use crate::metrics::Metrics;
use crate::shared::Shared;

fn values(metrics: &Metrics, uptime_secs: u64) -> [(&'static str, String); 11] {
    [
        ("version", concat!("w3bstream ", env!("CARGO_PKG_VERSION")).to_owned()),
        ("uptime", format!("{uptime_secs} seconds")),
        ("clients/connected", metrics.connections_now.to_string()),
        ("clients/total", metrics.sessions_now.to_string()),
        ("subscriptions/count", metrics.subscriptions_now.to_string()),
        ("retained messages/count", metrics.retained_now.to_string()),
        ("publish/messages/received", metrics.publishes.to_string()),
        ("publish/bytes/received", metrics.publish_bytes.to_string()),
        ("publish/messages/sent", metrics.queued.to_string()),
        ("publish/messages/dropped", metrics.dropped.to_string()),
        ("messages/accepted", metrics.accepted.to_string()),
    ]
}

/// Publishes the values as retained messages until it is asked to stop.
pub(crate) async fn publish(shared: Arc<Shared>, shutdown: Shutdown) {
    let every = shared.config.sys_every;
    if every.is_zero() {
        return;
    }
    let began = shared.now();
    loop {
        let uptime = shared.now().saturating_sub(began) / 1000;
        for (name, value) in values(&shared.counters.snapshot(), uptime) {
            let topic = format!("$SYS/broker/{name}");
            let message = Message::of_node(topic, value.into_bytes().into(), None);
            let message = Arc::new(Message { retain: true, ..message });
            shared.hub.retain(&message);
            shared.hub.forward(&message);
        }
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}
