//! `bench ingest`: signed messages over MQTT against a running node.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
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
        /// Messages a second over all connections; without it, as fast as they are acknowledged.
        #[arg(long, value_parser = positive)]
        rate: Option<f64>,
        /// Then send the same bytes to this broker, such as mqtt://127.0.0.1:1884, and give the ratio.
        #[arg(long)]
        rival: Option<String>,
    },
}

fn positive(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|e| format!("{e}"))?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("must be above 0".into()) }
}

/// One connection's plan.
struct Plan {
    project: ProjectName,
    in_flight: u16,
    /// Time between two messages of a connection; as fast as they are acknowledged if none.
    every: Option<Duration>,
}

/// What a broker did with the plan.
struct Figures {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    seconds: f64,
}

impl Figures {
    fn new(mut latencies: Vec<Duration>, seconds: f64) -> Self {
        latencies.sort();
        let at = |q: f64| {
            let place = (latencies.len().saturating_sub(1) as f64 * q) as usize;
            latencies.get(place).map_or(0.0, Duration::as_secs_f64) * 1000.0
        };
        Self { per_second: latencies.len() as f64 / seconds, p50_ms: at(0.5), p99_ms: at(0.99), seconds }
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "messages_per_second": self.per_second, "p50_ms": self.p50_ms, "p99_ms": self.p99_ms,
            "seconds": self.seconds,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_second, p50_ms, p99_ms, seconds } = self;
        write!(f, "{per_second:.0} acknowledged/s   p50 {p50_ms:.1} ms   p99 {p99_ms:.1} ms   {seconds:.2} s")
    }
}

pub(crate) async fn run(command: Command, as_json: bool) -> anyhow::Result<()> {
    let Command::Ingest { at, project, connections, in_flight, messages, bytes, keys, rate, rival } = command;
    let (admin, owner) = (at.admin()?, at.owner()?);
    let found = admin.get(&format!("/v1/projects/{project}")).await?;
    let id = found["id"].as_str().unwrap_or("").parse()?;
    let url = read_running(&at.paths())?.mqtt.context("the node has no MQTT broker")?;
    let every = rate.map(|r| Duration::from_secs_f64(connections as f64 / r));
    let plan = Plan { project: project.clone(), in_flight, every };
    let mut devices = Vec::new();
    for i in 0..connections {
        let key = match &keys {
            Some(dir) => super::device::load_or_make(&dir.join(format!("bench-{i}.jwk")), Algorithm::EdDSA)?,
            None => DeviceKey::generate(Algorithm::EdDSA)?,
        };
        let registration = DeviceRegistration { device: key.did(), key: key.public(), event_types: vec![] };
        admin.change(&project, Control::RegisterDevice(registration), &owner).await?;
        let messages = sign(&key, id, (messages, bytes))?;
        devices.push((key.did().as_str().replace(':', "-"), messages));
    }
    let ours = measure(&plan, &url, &devices).await.context("this node")?;
    let theirs = match &rival {
        Some(url) => Some(measure(&plan, url, &devices).await.with_context(|| format!("the rival {url}"))?),
        None => None,
    };
    let count = connections * messages as usize;
    if as_json {
        let mut value = ours.to_json();
        value["messages"] = count.into();
        value["connections"] = connections.into();
        value["in_flight"] = in_flight.into();
        value["bytes"] = bytes.into();
        if let Some(theirs) = &theirs {
            value["rival"] = theirs.to_json();
            value["ratio"] = (ours.per_second / theirs.per_second).into();
        }
        print_value(&value);
        return Ok(());
    }
    print(format!("{count} signed messages of {bytes} B, {connections} connections × {in_flight}"));
    print(format!("{ours}"));
    if let Some(theirs) = &theirs {
        print(format!("{theirs}   (the rival: the same bytes, neither checked nor kept)"));
        print(format!("{:.2} × the rival", ours.per_second / theirs.per_second));
    }
    Ok(())
}

/// Signs before the clock runs: devices sign on their own processors.
fn sign(
    key: &DeviceKey,
    project: ProjectId,
    (messages, bytes): (u32, usize),
) -> anyhow::Result<Vec<Vec<u8>>> {
    // A boot epoch of this second: the same devices can be used again.
    let now = w3bstream_types::Clock::now(&w3bstream_types::SystemClock);
    let epoch = u32::try_from(now.0 / 1000).unwrap_or(0);
    let event_type: w3bstream_types::EventType = "reading".parse()?;
    let draft = |counter| Draft {
        audience: project,
        key: key.key_id(),
        event_type: event_type.clone(),
        sequence: Sequence::new(epoch, counter),
        time: Timestamp::NONE,
        payload: vec![b'x'; bytes],
    };
    let encode = |c| w3bstream_wire::encode_envelope(&draft(c).sign_envelope([0; 16], key.secret()));
    Ok((0..messages).map(encode).collect())
}

async fn measure(plan: &Plan, url: &str, devices: &[(String, Vec<Vec<u8>>)]) -> anyhow::Result<Figures> {
    let started = Instant::now();
    let runs = devices.iter().map(|(name, messages)| connection(plan, url, (name, messages)));
    let mut latencies = Vec::new();
    for run in futures_util::future::join_all(runs).await {
        latencies.extend(run?);
    }
    Ok(Figures::new(latencies, started.elapsed().as_secs_f64()))
}

/// Sends one device's messages; gives the time from each publish to its acknowledgement. With a pace that is the
/// time from when the message was due, so that a stalled broker cannot hide what waits behind the stall.
async fn connection(
    plan: &Plan,
    url: &str,
    (name, messages): (&str, &[Vec<u8>]),
) -> anyhow::Result<Vec<Duration>> {
    let address = url.trim_start_matches("mqtt://");
    let (host, port) = address.rsplit_once(':').context("the broker's URL has no port")?;
    let mut options = MqttOptions::new(name, host, port.parse()?);
    options.set_outgoing_inflight_upper_limit(plan.in_flight);
    let (client, mut events) = AsyncClient::new(options, usize::from(plan.in_flight));
    let topic = format!("w3b/{}/reading", plan.project);
    let due = Mutex::new(VecDeque::new());
    let publish = async {
        let started = tokio::time::Instant::now();
        for (i, bytes) in messages.iter().enumerate() {
            if let Some(every) = plan.every {
                let at = started + every * u32::try_from(i)?;
                tokio::time::sleep_until(at).await;
                due.lock().unwrap_or_else(PoisonError::into_inner).push_back(at.into_std());
            }
            client.publish(&topic, QoS::AtLeastOnce, false, bytes.clone()).await?;
        }
        anyhow::Ok(())
    };
    let (_, latencies) = tokio::try_join!(publish, acks(&mut events, messages.len(), &due))?;
    // What follows is only politeness: every message has its answer.
    let _ = client.disconnect().await;
    Ok(latencies)
}

async fn acks(
    events: &mut rumqttc::v5::EventLoop,
    n: usize,
    due: &Mutex<VecDeque<Instant>>,
) -> anyhow::Result<Vec<Duration>> {
    let mut sent = std::collections::HashMap::new();
    let mut latencies = Vec::with_capacity(n);
    while latencies.len() < n {
        match events.poll().await? {
            Event::Outgoing(rumqttc::Outgoing::Publish(pkid)) => {
                let due = due.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                sent.insert(pkid, due.unwrap_or_else(Instant::now));
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
