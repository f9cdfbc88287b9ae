//! Over MQTT 5.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, PubRecReason};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

use super::figures::Run;
use super::load::{Device, Plan, Share, Start, TYPE};

/// Host and port of an `mqtt://` URL.
pub(super) fn address(url: &str) -> anyhow::Result<(&str, u16)> {
    let address = url.trim_start_matches("mqtt://");
    let (host, port) = address.rsplit_once(':').context("the broker's URL has no port")?;
    Ok((host, port.parse().with_context(|| format!("{port:?} is no port"))?))
}

struct Client<'a> {
    client: AsyncClient,
    events: EventLoop,
    topic: String,
    qos: QoS,
    device: &'a Device,
}

/// One connection.
pub(super) async fn connection(
    plan: &Plan,
    url: &str,
    (device, start): (&Device, &Start),
) -> anyhow::Result<Run> {
    let (host, port) = address(url)?;
    let mut options = MqttOptions::new(&device.name, host, port);
    options.set_outgoing_inflight_upper_limit(plan.in_flight);
    // Or the last message of a few waits for the acknowledgement of the one before, by Nagle's algorithm.
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    if let Some(token) = &device.token {
        options.set_credentials(plan.project.as_str(), token);
    }
    let (client, mut events) = AsyncClient::new(options, usize::from(plan.in_flight));
    while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
    let qos = match plan.qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    let topic = format!("w3b/{}/{TYPE}", plan.project);
    let mut client = Client { client, events, topic, qos, device };
    client.exchange(&Share::warm_up(plan)).await?;
    let begun = start.wait().await;
    let share = Share::measured(plan, begun);
    let latencies = client.exchange(&share).await?;
    let ended = Instant::now();
    // What follows is only politeness: every message has its answer.
    let _ = client.client.disconnect().await;
    Ok(Run { begun, ended, sent: share.wanted(), latencies })
}

impl Client<'_> {
    /// Sends a share of the messages and takes their acknowledgements.
    ///
    /// At QoS 0 the last one goes at QoS 1: its acknowledgement says that the broker has come to the end of what this
    /// connection sent, since brokers read a connection's packets in order.
    async fn exchange(&mut self, share: &Share<'_>) -> anyhow::Result<Vec<Duration>> {
        if share.wanted() == 0 {
            return Ok(Vec::new());
        }
        let due = Mutex::new(VecDeque::new());
        let Self { client, events, topic, qos, device } = self;
        let publish = async {
            for (index, bytes) in device.messages.iter().skip(share.first).enumerate() {
                let (at, last) = share.due(index).await;
                let qos = if last && *qos == QoS::AtMostOnce { QoS::AtLeastOnce } else { *qos };
                if qos != QoS::AtMostOnce {
                    due.lock().unwrap_or_else(PoisonError::into_inner).push_back(at);
                }
                client.publish_bytes(topic.as_str(), qos, false, bytes.clone()).await?;
                if last {
                    break;
                }
            }
            anyhow::Ok(())
        };
        let answers = async {
            if *qos == QoS::AtMostOnce { end(events).await } else { acks(events, share, &due).await }
        };
        let ((), latencies) = tokio::try_join!(publish, answers)?;
        Ok(latencies)
    }
}

/// Waits for the one acknowledgement there is at QoS 0.
async fn end(events: &mut EventLoop) -> anyhow::Result<Vec<Duration>> {
    loop {
        if let Event::Incoming(packet) = events.poll().await?
            && acknowledged(&packet)?.is_some()
        {
            return Ok(Vec::new());
        }
    }
}

async fn acks(
    events: &mut EventLoop,
    share: &Share<'_>,
    due: &Mutex<VecDeque<Instant>>,
) -> anyhow::Result<Vec<Duration>> {
    let mut sent = HashMap::new();
    let mut latencies = Vec::with_capacity(share.wanted());
    while latencies.len() < share.wanted() {
        match events.poll().await? {
            Event::Outgoing(rumqttc::Outgoing::Publish(pkid)) => {
                let due = due.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                sent.insert(pkid, due.unwrap_or_else(Instant::now));
            }
            Event::Incoming(packet) => {
                if let Some(pkid) = acknowledged(&packet)? {
                    let at = sent.remove(&pkid).context("an acknowledgement of nothing")?;
                    latencies.push(at.elapsed());
                }
            }
            Event::Outgoing(_) => {}
        }
    }
    Ok(latencies)
}

/// The packet id of a message whose exchange has ended well. A broker that nobody listens at may say so.
fn acknowledged(packet: &Packet) -> anyhow::Result<Option<u16>> {
    match packet {
        Packet::PubAck(ack) => match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(Some(ack.pkid)),
            reason => {
                let why = ack.properties.as_ref().and_then(|p| p.reason_string.as_deref());
                bail!("refused: {reason:?} {}", why.unwrap_or(""))
            }
        },
        Packet::PubRec(received) => match received.reason {
            PubRecReason::Success | PubRecReason::NoMatchingSubscribers => Ok(None),
            reason => {
                let why = received.properties.as_ref().and_then(|p| p.reason_string.as_deref());
                bail!("refused: {reason:?} {}", why.unwrap_or(""))
            }
        },
        Packet::PubComp(complete) => Ok(Some(complete.pkid)),
        _ => Ok(None),
    }
}
