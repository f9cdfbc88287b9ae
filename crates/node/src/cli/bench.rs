//! `bench ingest`: signed messages over MQTT against a running node.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Subcommand as ClapSubcommand;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::json;
use w3bstream_types::{
    Algorithm, Control, DeviceRegistration, Draft, ProjectId, ProjectName, Sequence, Timestamp,
};
use w3bstream_wallet_file::DeviceKey;

use super::{Where, print, print_value};
use crate::read_running;

#[derive(Debug, ClapSubcommand)]
pub(crate) enum Command {
    /// Send signed messages of new devices over MQTT and measure acknowledgements.
    Ingest {
        #[command(flatten)]
        at: Where,
        /// The project. Its devices of this measurement stay registered.
        #[arg(long)]
        project: ProjectName,
        /// MQTT connections, each a device of its own.
        #[arg(long, default_value_t = 100)]
        connections: usize,
        /// Messages that a connection has under way at once.
        #[arg(long, default_value_t = 10)]
        in_flight: u16,
        /// Messages of each connection.
        #[arg(long, default_value_t = 200)]
        messages: u32,
        /// Bytes of payload.
        #[arg(long, default_value_t = 256)]
        bytes: usize,
        /// Where to keep the devices' keys; they are made if not there.
        #[arg(long)]
        keys: Option<PathBuf>,
    },
}

/// One connection's plan.
struct Plan {
    url: String,
    project: (ProjectName, ProjectId),
    in_flight: u16,
    messages: u32,
    bytes: usize,
}

pub(crate) async fn run(command: Command, as_json: bool) -> anyhow::Result<()> {
    let Command::Ingest { at, project, connections, in_flight, messages, bytes, keys } = command;
    let (admin, owner) = (at.admin()?, at.owner()?);
    let found = admin.get(&format!("/v1/projects/{project}")).await?;
    let id = found["id"].as_str().unwrap_or("").parse()?;
    let url = read_running(&at.paths())?.mqtt.context("the node has no MQTT broker")?;
    let plan = Plan { url, project: (project.clone(), id), in_flight, messages, bytes };
    let mut devices = Vec::new();
    for i in 0..connections {
        let key = match &keys {
            Some(dir) => super::device::load_or_make(&dir.join(format!("bench-{i}.jwk")), Algorithm::EdDSA)?,
            None => DeviceKey::generate(Algorithm::EdDSA)?,
        };
        let registration = DeviceRegistration { device: key.did(), key: key.public(), event_types: vec![] };
        admin.change(&project, Control::RegisterDevice(registration), &owner).await?;
        devices.push(key);
    }
    // A boot epoch of this second: the same devices can be used again.
    let epoch =
        u32::try_from(w3bstream_types::Clock::now(&w3bstream_types::SystemClock).0 / 1000).unwrap_or(0);
    let started = Instant::now();
    let runs = devices.iter().map(|key| connection(&plan, key, epoch));
    let mut latencies = Vec::new();
    for run in futures_util::future::join_all(runs).await {
        latencies.extend(run?);
    }
    let seconds = started.elapsed().as_secs_f64();
    latencies.sort();
    let at_quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize].as_secs_f64() * 1000.0;
    let rate = latencies.len() as f64 / seconds;
    let (p50, p99) = (at_quantile(0.5), at_quantile(0.99));
    if as_json {
        print_value(&json!({
            "messages": latencies.len(), "connections": connections, "in_flight": in_flight, "bytes": bytes,
            "seconds": seconds, "messages_per_second": rate, "p50_ms": p50, "p99_ms": p99,
        }));
    } else {
        print(format!(
            "{} signed messages of {bytes} B, {connections} connections × {in_flight}",
            latencies.len()
        ));
        print(format!("{rate:.0} acknowledged/s   p50 {p50:.1} ms   p99 {p99:.1} ms   {seconds:.2} s"));
    }
    Ok(())
}

/// Sends one device's messages; gives the time from each publish to its acknowledgement.
async fn connection(plan: &Plan, key: &DeviceKey, epoch: u32) -> anyhow::Result<Vec<Duration>> {
    let address = plan.url.trim_start_matches("mqtt://");
    let (host, port) = address.rsplit_once(':').context("the broker's URL has no port")?;
    let mut options = MqttOptions::new(key.did().as_str().replace(':', "-"), host, port.parse()?);
    options.set_outgoing_inflight_upper_limit(plan.in_flight);
    let (client, mut events) = AsyncClient::new(options, usize::from(plan.in_flight));
    let topic = format!("w3b/{}/reading", plan.project.0);
    let publish = async {
        for counter in 0..plan.messages {
            let draft = Draft {
                audience: plan.project.1,
                key: key.key_id(),
                event_type: "reading".parse()?,
                sequence: Sequence::new(epoch, counter),
                time: Timestamp::NONE,
                payload: vec![b'x'; plan.bytes],
            };
            let salt = [0; 16];
            let bytes = w3bstream_wire::encode_envelope(&draft.sign_envelope(salt, key.secret()));
            client.publish(&topic, QoS::AtLeastOnce, false, bytes).await?;
        }
        anyhow::Ok(())
    };
    let (_, latencies) = tokio::try_join!(publish, acks(&mut events, plan.messages as usize))?;
    // What follows is only politeness: every message has its answer.
    let _ = client.disconnect().await;
    Ok(latencies)
}

async fn acks(events: &mut rumqttc::v5::EventLoop, n: usize) -> anyhow::Result<Vec<Duration>> {
    let mut sent = std::collections::HashMap::new();
    let mut latencies = Vec::with_capacity(n);
    while latencies.len() < n {
        match events.poll().await? {
            Event::Outgoing(rumqttc::Outgoing::Publish(pkid)) => {
                sent.insert(pkid, Instant::now());
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                if !matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
                    bail!("refused: {:?} {:?}", ack.reason, ack.properties.and_then(|p| p.reason_string));
                }
                let at = sent.remove(&ack.pkid).context("an acknowledgement of nothing")?;
                latencies.push(at.elapsed());
            }
            _ => {}
        }
    }
    Ok(latencies)
}
