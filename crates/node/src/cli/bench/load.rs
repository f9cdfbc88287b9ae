//! The devices of a measurement, their messages, and the clock that all connections share.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use bytes::Bytes;
use futures_util::future::try_join_all;
use hyper::{Method, header};
use tokio::sync::Barrier;
use w3bstream_types::{
    Algorithm, Clock as _, Control, DeviceRegistration, Draft, IntroductionClaims, ProjectId, ProjectName,
    Sequence, SystemClock, Timestamp, TokenRegistration, token_hash,
};
use w3bstream_wallet_file::DeviceKey;

use super::figures::{Measured, Run, cpu_seconds};
use super::{Auth, Ingest, Via, grpc, http, mqtt};
use crate::cli::device::load_or_make;
use crate::client::Http;
use crate::setup::random_token;
use crate::{Admin, Running};

/// The event type of the messages.
pub(super) const TYPE: &str = "reading";
/// The publisher whose token messages carry.
const PUBLISHER: &str = "bench";
/// The shortest payload: the JSON without anything to fill it.
pub(super) const LEAST_PAYLOAD: usize = 64;
/// The readings' first time, in milliseconds: all have as many digits.
const FIRST_TIME: u64 = 1_262_304_000_000;

/// What every connection does.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) project: ProjectName,
    pub(super) via: Via,
    pub(super) qos: u8,
    pub(super) auth: Auth,
    pub(super) in_flight: u16,
    /// Messages before the clock runs.
    pub(super) warm_up: usize,
    /// Messages after that, at most.
    pub(super) messages: usize,
    /// Bytes of payload.
    pub(super) bytes: usize,
    /// Time between two messages of a connection; as fast as they are acknowledged if none.
    pub(super) every: Option<Duration>,
    /// Nothing is sent after so long.
    pub(super) most: Option<Duration>,
}

/// One connection's device.
#[derive(Debug)]
pub(super) struct Device {
    /// Unlike all others: an MQTT client id.
    pub(super) name: String,
    /// What its messages carry instead of signatures.
    pub(super) token: Option<String>,
    /// Makes ids of events unlike those of measurements before.
    pub(super) epoch: u32,
    /// Envelopes, or with a token payloads; first those before the clock runs.
    pub(super) messages: Vec<Bytes>,
}

impl Device {
    /// The id of the event with this index, for messages that carry a token.
    pub(super) fn event_id(&self, index: usize) -> String {
        format!("{}-{}-{index}", self.name, self.epoch)
    }
}

/// Makes the devices, registers them, and signs before the clock runs: devices sign on their own processors.
pub(super) async fn prepare(args: &Ingest, plan: &Plan, running: &Running) -> anyhow::Result<Vec<Device>> {
    let (admin, owner) = (args.at.admin()?, args.at.owner()?);
    let project = admin.get(&format!("/v1/projects/{}", plan.project)).await?;
    let id: ProjectId = project["id"].as_str().unwrap_or("").parse()?;
    let known = admin.get(&format!("/v1/projects/{}/devices", plan.project)).await?;
    let known: Vec<&str> =
        known.as_array().into_iter().flatten().filter_map(|d| d["device"].as_str()).collect();
    let epoch = next_epoch(args.keys.as_deref(), SystemClock.now())?;
    let publisher = match plan.auth {
        Auth::Token => Some(publisher_token(&admin, &plan.project, &owner).await?),
        Auth::Signed | Auth::Session => None,
    };
    let mut devices = Vec::with_capacity(args.connections);
    for i in 0..args.connections {
        let key = match &args.keys {
            Some(dir) => load_or_make(&dir.join(format!("bench-{i}.jwk")), Algorithm::EdDSA)?,
            None => DeviceKey::generate(Algorithm::EdDSA)?,
        };
        if plan.auth != Auth::Token && !known.contains(&key.did().as_str()) {
            let registration =
                DeviceRegistration { device: key.did(), key: key.public(), event_types: vec![] };
            admin.change(&plan.project, Control::RegisterDevice(registration), &owner).await?;
        }
        let token = match plan.auth {
            Auth::Signed => None,
            Auth::Token => publisher.clone(),
            Auth::Session => Some(session(&key, (&plan.project, id), running).await?),
        };
        let count = u32::try_from(plan.warm_up + plan.messages)?;
        let payload = |counter| payload(i, counter, plan.bytes);
        let messages = if token.is_some() {
            (0..count).map(|c| payload(c).into()).collect()
        } else {
            (0..count)
                .map(|c| sign(&key, id, Sequence::new(epoch, c), payload(c)))
                .collect::<anyhow::Result<_>>()?
        };
        devices.push(Device { name: key.did().as_str().replace(':', "-"), token, epoch, messages });
    }
    Ok(devices)
}

/// The boot epoch of this measurement, so that the same devices can be used again: the second in which it begins, or the one
/// after that of the last measurement with these keys, of which a second may see several.
fn next_epoch(keys: Option<&Path>, now: Timestamp) -> anyhow::Result<u32> {
    let second = u32::try_from(now.0 / 1000).context("the clock is beyond the year 2106")?;
    let Some(dir) = keys else { return Ok(second) };
    let file = dir.join("bench-epoch");
    let last: Option<u32> = match std::fs::read_to_string(&file) {
        Ok(text) => Some(text.trim().parse().with_context(|| format!("{} has no number", file.display()))?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", file.display())),
    };
    let epoch = last.map_or(second, |last| second.max(last.saturating_add(1)));
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&file, epoch.to_string()))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(epoch)
}

/// A reading. Its first 35 bytes name device and time, and are unlike those of all others.
pub(super) fn payload(device: usize, counter: u32, bytes: usize) -> Vec<u8> {
    let time = FIRST_TIME + u64::from(counter) * 1000;
    let celsius = 2000 + counter % 6000;
    let mut text = format!(r#"{{"d":"bench-{device:04}","t":{time},"c":{celsius},"pad":""#);
    let fill = bytes.saturating_sub(text.len() + 2);
    text.extend(std::iter::repeat_n('x', fill));
    text.push_str("\"}");
    text.into_bytes()
}

fn sign(key: &DeviceKey, audience: ProjectId, sequence: Sequence, payload: Vec<u8>) -> anyhow::Result<Bytes> {
    let (key_id, event_type) = (key.key_id(), TYPE.parse()?);
    let draft = Draft { audience, key: key_id, event_type, sequence, time: Timestamp::NONE, payload };
    Ok(w3bstream_wire::encode_envelope(&draft.sign_envelope([0; 16], key.secret())).into())
}

async fn publisher_token(
    admin: &Admin,
    project: &ProjectName,
    owner: &w3bstream_types::SecretKey,
) -> anyhow::Result<String> {
    let token = random_token()?;
    let registration = TokenRegistration {
        publisher: PUBLISHER.parse()?,
        token_hash: token_hash(&token),
        event_types: vec![],
    };
    admin.change(project, Control::RegisterToken(registration), owner).await?;
    Ok(token)
}

/// Opens a session over HTTP.
async fn session(
    key: &DeviceKey,
    (project, audience): (&ProjectName, ProjectId),
    running: &Running,
) -> anyhow::Result<String> {
    let introduction = IntroductionClaims {
        audience,
        device: key.did(),
        node: running.node.clone(),
        issued: SystemClock.now().0 / 1000,
        nonce: B64.encode(random_token()?),
        client: None,
    };
    let url = format!("{}/v1/projects/{project}/sessions", running.http);
    let kind = [(header::CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_JOSE.to_owned())];
    let body = introduction.sign(key.secret()).into_bytes();
    let opened = Http::default().send((Method::POST, &url), &kind, body).await?.ok();
    let opened =
        opened.context("cannot open a session; the project must have allow-sessions = true")?.json()?;
    Ok(opened["token"].as_str().context("the node's answer has no token")?.to_owned())
}

/// Where the connections wait for each other, and when the clock began to run.
#[derive(Debug)]
pub(super) struct Start(Barrier);

impl Start {
    /// Waits until every connection is ready.
    pub(super) async fn wait(&self) -> Instant {
        self.0.wait().await;
        Instant::now()
    }
}

/// The messages that one connection sends now, and when.
#[derive(Debug)]
pub(super) struct Share<'a> {
    plan: &'a Plan,
    /// Where they begin among the device's messages.
    pub(super) first: usize,
    /// Those that are sent: fewer than planned once the time is over.
    wanted: AtomicUsize,
    begun: tokio::time::Instant,
    clock: bool,
}

impl<'a> Share<'a> {
    /// Those before the clock runs.
    pub(super) fn warm_up(plan: &'a Plan) -> Self {
        let begun = tokio::time::Instant::now();
        Self { plan, first: 0, wanted: AtomicUsize::new(plan.warm_up), begun, clock: false }
    }

    /// Those after that.
    pub(super) fn measured(plan: &'a Plan, begun: Instant) -> Self {
        let wanted = AtomicUsize::new(plan.messages);
        Self { plan, first: plan.warm_up, wanted, begun: begun.into(), clock: true }
    }

    /// How many there are.
    pub(super) fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Acquire)
    }

    /// Waits until a message is due. Then it gives the moment at which it was due, so that a server that stalls cannot
    /// hide what waits behind the stall, and whether it is the last one.
    pub(super) async fn due(&self, index: usize) -> (Instant, bool) {
        let mut at = tokio::time::Instant::now();
        if let Some(every) = self.plan.every.filter(|_| self.clock) {
            at = self.begun + every.mul_f64(index as f64);
            tokio::time::sleep_until(at).await;
        }
        let over = self.clock && self.plan.most.is_some_and(|most| self.begun.elapsed() >= most);
        if over {
            // Before it is sent, so that whoever waits for answers knows when it has the last one.
            self.wanted.store(index + 1, Ordering::Release);
        }
        (at.into_std(), index + 1 >= self.wanted())
    }
}

/// Runs all connections at once.
pub(super) async fn measure(plan: &Plan, url: &str, devices: &[Device]) -> anyhow::Result<Measured> {
    let start = Start(Barrier::new(devices.len()));
    let cpu_before = cpu_seconds();
    let runs = devices.iter().map(|device| Box::pin(connection(plan, url, (device, &start))));
    // The first one that fails ends them all: the others would wait for it.
    let runs = try_join_all(runs).await?;
    Ok(Measured { runs, cpu_before })
}

async fn connection(plan: &Plan, url: &str, with: (&Device, &Start)) -> anyhow::Result<Run> {
    match plan.via {
        Via::Mqtt => mqtt::connection(plan, url, with).await,
        Via::Http => http::connection(plan, url, with).await,
        Via::HttpBatch => http::batches(plan, url, with).await,
        Via::Grpc => grpc::calls(plan, url, with).await,
        Via::GrpcStream => grpc::stream(plan, url, with).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_measurements_with_the_same_keys_have_an_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let at = |second: u64| next_epoch(Some(&keys), Timestamp(second * 1000)).unwrap();
        assert_eq!([at(7), at(7), at(7), at(20), at(3)], [7, 8, 9, 20, 21]);
        assert_eq!(next_epoch(None, Timestamp(7999)).unwrap(), 7);
        std::fs::write(keys.join("bench-epoch"), "x").unwrap();
        assert!(
            next_epoch(Some(&keys), Timestamp(9000)).is_err(),
            "rather than messages that were sent before"
        );
    }
}
