//! Phase 6: what the node can take, then three times that. What it does not take now it refuses so that the sender tries again,
//! and at the end every message is there once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::net::UdpSocket;
use tokio::time::{sleep, sleep_until, timeout};

use crate::honest::{Honest, Tried, judge, judge_grpc, judge_puback, quantile};
use crate::mqtt::{self, publish};
use crate::net::{Carrier, source};
use crate::site::{Device, EVENTS, PROJECT, Site};
use crate::{Crowd, Found, Plan, grpc, http, mib, ms};

/// gRPC calls over one connection.
const CALLS: usize = 50;
/// What everything may take, retries included.
const PATIENCE: Duration = Duration::from_secs(150);
/// While another node works on the same processors, honest traffic may wait so long.
const NO_STALL: Duration = Duration::from_secs(1);
/// How much memory may grow, in KiB: what is in flight, and the records of so many messages.
const MOST_KIB: u64 = 128 << 10;

/// What the senders count.
#[derive(Default)]
struct Tally {
    accepted: AtomicU64,
    /// HTTP 503 and 429, gRPC `RESOURCE_EXHAUSTED` and `UNAVAILABLE`, CoAP 5.03, MQTT connections that were ended.
    refused: [AtomicU64; 4],
    /// From the last try of a message to its acceptance.
    took: std::sync::Mutex<Vec<Duration>>,
}

impl Tally {
    fn accept(&self, took: Duration) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.took.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(took);
    }

    fn refusals(&self) -> String {
        let [http, grpc, coap, mqtt] = self.refused.each_ref().map(|count| count.load(Ordering::Relaxed));
        format!(
            "refused for now: {http} × HTTP 503, {grpc} × gRPC, {coap} × CoAP 5.03, {mqtt} MQTT connections ended"
        )
    }

    fn refuse(&self, way: usize) {
        if let Some(count) = self.refused.get(way) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Messages of one sender, and when they are due: one after the other at this pace.
struct Load {
    messages: Vec<Vec<u8>>,
    begun: Instant,
    every: Duration,
}

impl Load {
    fn due(&self, n: usize) -> Instant {
        self.begun + self.every * u32::try_from(n).unwrap_or(u32::MAX)
    }
}

/// One connection that keeps to the broker's Receive Maximum, comes back when it is ended, and sends again what has no PUBACK.
async fn over_mqtt(site: &Site, load: Load, (n, most): (usize, u16), tally: &Tally) -> anyhow::Result<()> {
    let mut waiting: VecDeque<usize> = (0..load.messages.len()).collect();
    let mut flying: HashMap<u16, (usize, Instant)> = HashMap::new();
    let mut id = 0_u16;
    while !waiting.is_empty() || !flying.is_empty() {
        ensure!(load.begun.elapsed() < PATIENCE, "MQTT: {} messages are left", waiting.len() + flying.len());
        // What was under way is sent again on the new connection, in its order.
        let mut again: Vec<usize> = flying.drain().map(|(_, (place, _))| place).collect();
        again.sort_unstable();
        again.into_iter().rev().for_each(|place| waiting.push_front(place));
        let line = site.line(Carrier::Tcp, 600 + n).await;
        let Ok(mut client) = mqtt::Client::new(line?, &format!("flood-{n}")).await else {
            sleep(Duration::from_millis(500)).await;
            continue;
        };
        let window = usize::from(client.window.min(most));
        let ended = loop {
            let next = waiting.front().filter(|_| flying.len() < window).copied();
            if next.is_none() && flying.is_empty() {
                break Ok(());
            }
            let due = next.map(|place| load.due(place));
            tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if next.is_some() => {
                    let Some(message) = next.and_then(|place| load.messages.get(place)) else { break Ok(()) };
                    id = id.checked_add(1).unwrap_or(1);
                    let bytes = publish(5, "w3b/cold-chain/reading", Some((1, id)), message);
                    if let Err(e) = client.line.send(&bytes).await { break Err(e.into()) }
                    waiting.pop_front();
                    flying.insert(id, (next.unwrap_or(0), Instant::now()));
                }
                packet = client.next() => match packet {
                    Err(e) => break Err(e),
                    Ok((0x40, body)) => {
                        let id = body.get(..2).map(|b| u16::from_be_bytes([b[0], b[1]])).context("no id")?;
                        judge_puback(body.get(2).copied().unwrap_or(0))?;
                        if let Some((_, at)) = flying.remove(&id) {
                            tally.accept(at.elapsed());
                        }
                    }
                    Ok(_) => {}
                }
            }
        };
        if ended.is_err() {
            tally.refuse(3);
            sleep(Duration::from_millis(500)).await;
        }
    }
    Ok(())
}

/// One connection, one request at a time, as long after a refusal as it says.
async fn over_http(site: &Site, load: Load, n: usize, tally: &Tally) -> anyhow::Result<()> {
    let mut client = None;
    for (place, message) in load.messages.iter().enumerate() {
        sleep_until(load.due(place).into()).await;
        let request = http::post(EVENTS, w3bstream_wire::CONTENT_TYPE_ENVELOPE, "", message);
        loop {
            ensure!(load.begun.elapsed() < PATIENCE, "HTTP: a message is not accepted");
            let mut open: http::Client = match client.take() {
                Some(open) => open,
                None => http::Client::new(site.dial("http", 700 + n / 100).await?),
            };
            let at = Instant::now();
            // A connection that was ended is opened again, and the same bytes are sent again.
            let Ok(answer) = open.ask(&request).await else { continue };
            client = Some(open);
            match judge(&answer)? {
                Tried::Accepted => break tally.accept(at.elapsed()),
                Tried::Again(wait) => {
                    tally.refuse(0);
                    sleep(wait).await;
                }
            }
        }
    }
    Ok(())
}

async fn over_grpc(client: grpc::Client, load: Load, tally: &Tally) -> anyhow::Result<()> {
    let mut client = client;
    for (place, message) in load.messages.iter().enumerate() {
        sleep_until(load.due(place).into()).await;
        let message = grpc::submit(PROJECT, message);
        loop {
            ensure!(load.begun.elapsed() < PATIENCE, "gRPC: a message is not accepted");
            let at = Instant::now();
            let (status, _) = client.call("Ingest/Submit", &message).await?;
            match judge_grpc(status)? {
                Tried::Accepted => break tally.accept(at.elapsed()),
                Tried::Again(_) => {
                    tally.refuse(1);
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
    Ok(())
}

/// A Confirmable POST, repeated as RFC 7252 says, and again after Max-Age if the answer is 5.03.
async fn over_coap(site: &Site, load: Load, n: usize, tally: &Tally) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((source(800 + n), 0)).await?;
    socket.connect(site.at("coap")?).await?;
    let mut id = u16::try_from(n * 1000)?;
    for (place, message) in load.messages.iter().enumerate() {
        sleep_until(load.due(place).into()).await;
        loop {
            ensure!(load.begun.elapsed() < PATIENCE, "CoAP: a message is not accepted");
            id = id.wrapping_add(1);
            let at = Instant::now();
            let code = ask_coap(&socket, id, message).await?;
            match code {
                Some(0x44) => break tally.accept(at.elapsed()),
                Some(0xa3) => {
                    tally.refuse(2);
                    sleep(Duration::from_secs(1)).await;
                }
                Some(code) => bail!("CoAP: a good message was refused: {code:#x}"),
                None => {}
            }
        }
    }
    Ok(())
}

/// The code of the answer, if one comes.
async fn ask_coap(socket: &UdpSocket, id: u16, message: &[u8]) -> anyhow::Result<Option<u8>> {
    let mut datagram = vec![0x42, 2];
    let token = id.to_be_bytes();
    datagram.extend(token);
    datagram.extend(token);
    datagram.extend(b"\xb3w3b\x0acold-chain\x07reading\xff");
    datagram.extend(message);
    let mut answer = [0; 1500];
    for wait in [2, 4, 8] {
        socket.send(&datagram).await?;
        let until = Instant::now() + Duration::from_secs(wait);
        while let Ok(n) = tokio::time::timeout_at(until.into(), socket.recv(&mut answer)).await {
            let n = n?;
            let [first, code, high, low, a, b, ..] = answer;
            if n < 6 || code == 0 || [a, b] != token {
                continue;
            }
            if first >> 4 & 3 == 0 {
                // An answer of its own, which wants to be acknowledged.
                socket.send(&[0x60, 0, high, low]).await?;
            }
            return Ok(Some(code));
        }
    }
    Ok(None)
}

/// The devices of the flood, by protocol. Registering one takes the node a transaction, so they are used again.
struct Senders {
    mqtt: Vec<Device>,
    http: Vec<Device>,
    grpc: Vec<Device>,
    coap: Vec<Device>,
}

impl Senders {
    async fn register(site: &Site, crowd: Crowd) -> anyhow::Result<Self> {
        Ok(Self {
            mqtt: site.devices(crowd.mqtt).await?,
            http: site.devices(crowd.http).await?,
            grpc: site.devices(crowd.grpc).await?,
            coap: site.devices(crowd.coap).await?,
        })
    }
}

/// Signs for these senders, of whom each is due every so often for `time`.
fn loads(devices: &mut [Device], (per_second, time): (f64, Duration)) -> anyhow::Result<Vec<Load>> {
    let every = Duration::from_secs_f64(devices.len() as f64 / per_second);
    let count = (time.as_secs_f64() / every.as_secs_f64()).ceil().max(1.0) as usize;
    let mut all = Vec::new();
    for device in devices {
        let messages = (0..count).map(|_| device.message()).collect::<anyhow::Result<_>>()?;
        all.push(Load { messages, begun: Instant::now(), every });
    }
    Ok(all)
}

/// All begin at the same moment, each at its own place between two messages.
fn begin(loads: &mut [&mut Vec<Load>]) {
    let now = Instant::now();
    for group in loads {
        let senders = u32::try_from(group.len()).unwrap_or(1).max(1);
        for (n, load) in group.iter_mut().enumerate() {
            load.begun = now + load.every / senders * u32::try_from(n).unwrap_or(0);
        }
    }
}

/// How many messages a second the node accepts from connections that each keep ten under way.
async fn capacity(
    site: &Site,
    (devices, each): (&mut [Device], usize),
    tally: &Tally,
) -> anyhow::Result<f64> {
    let count = devices.len();
    let mut all = loads(devices, (count as f64, Duration::from_secs(each as u64)))?;
    // Due at once.
    all.iter_mut().for_each(|load| load.every = Duration::ZERO);
    begin(&mut [&mut all]);
    let begun = Instant::now();
    let senders = all.into_iter().enumerate().map(|(n, load)| over_mqtt(site, load, (n, 10), tally));
    futures_util::future::try_join_all(senders).await?;
    Ok((count * each) as f64 / begun.elapsed().as_secs_f64())
}

async fn flood(
    site: &Site,
    senders: &mut Senders,
    (capacity, time): (f64, Duration),
    tally: &Tally,
) -> anyhow::Result<(usize, Instant)> {
    let share = |part: f64| (capacity * 3.0 * part, time);
    let mut mqtt = loads(&mut senders.mqtt, share(0.45))?;
    let mut http = loads(&mut senders.http, share(0.25))?;
    let mut grpc = loads(&mut senders.grpc, share(0.25))?;
    let mut coap = loads(&mut senders.coap, share(0.05))?;
    let offered = [&mqtt, &http, &grpc, &coap].into_iter().flatten().map(|l| l.messages.len()).sum();
    let (mut clients, mut connections) = (Vec::new(), Vec::new());
    for n in 0..senders.grpc.len().div_ceil(CALLS) {
        let (client, connection) = grpc::Client::new(site.dial("grpc", 750 + n).await?).await?;
        clients.push(client);
        connections.push(connection);
    }
    begin(&mut [&mut mqtt, &mut http, &mut grpc, &mut coap]);
    let begun = Instant::now();
    let mqtt = mqtt.into_iter().enumerate().map(|(n, load)| over_mqtt(site, load, (n, u16::MAX), tally));
    let http = http.into_iter().enumerate().map(|(n, load)| over_http(site, load, n, tally));
    let grpc =
        grpc.into_iter().zip(clients.iter().cycle()).map(|(load, c)| over_grpc(c.clone(), load, tally));
    let coap = coap.into_iter().enumerate().map(|(n, load)| over_coap(site, load, n, tally));
    let all = async {
        use futures_util::future::try_join_all;
        tokio::try_join!(try_join_all(mqtt), try_join_all(http), try_join_all(grpc), try_join_all(coap))
    };
    let driven = futures_util::future::join_all(connections);
    tokio::select! {
        done = all => done.map(drop)?,
        ended = driven => bail!("gRPC: the connections ended: {ended:?}"),
    }
    Ok((offered, begun))
}

pub(crate) async fn run((site, honest): (&Arc<Site>, &Honest), plan: &Plan) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let mut senders = Senders::register(site, plan.crowd).await?;
    let before = site.memory()?;
    let first = Tally::default();
    let at_capacity = Instant::now();
    let capacity = capacity(site, (&mut senders.mqtt, plan.probe), &first).await?;
    let connections = plan.crowd.mqtt;
    found
        .note(format!("capacity {capacity:.0} signed messages a second over {connections} MQTT connections"));
    let busy = honest.window(at_capacity, Instant::now());
    found.note(format!(
        "honest p99 then {} (MQTT / HTTP / gRPC {})",
        ms(busy.p99),
        busy.each.map(ms).join(" / ")
    ));
    // Accepted traffic keeps the latency that it has when the node does all it can.
    found.aimed = Some((busy.p99 * 2).max(plan.floor));
    sleep(Duration::from_secs(1)).await;
    let (tally, peak) = (Tally::default(), AtomicU64::new(before));
    let watch = async {
        loop {
            peak.fetch_max(site.memory().unwrap_or(0), Ordering::Relaxed);
            sleep(Duration::from_millis(100)).await;
        }
    };
    let flooded = timeout(
        PATIENCE + Duration::from_secs(60),
        flood(site, &mut senders, (capacity, plan.overload), &tally),
    );
    let (offered, begun) = tokio::select! {
        () = watch => bail!("never"),
        done = flooded => done.context("the flood does not end")??,
    };
    found.window = Some((begun, begun + plan.overload));
    let accepted = tally.accepted.load(Ordering::Relaxed);
    let took = begun.elapsed().as_secs_f64();
    found.aim(
        accepted == offered as u64,
        format!(
            "{offered} offered within {:?}, {accepted} accepted in {took:.1} s, retries included",
            plan.overload
        ),
    );
    found.note(tally.refusals());
    let mut took = tally.took.into_inner().unwrap_or_default();
    took.sort();
    found.note(format!(
        "from a message's last try to its acceptance: p50 {}, p99 {}",
        ms(quantile(&took, 0.5)),
        ms(quantile(&took, 0.99))
    ));
    let grown = peak.load(Ordering::Relaxed).saturating_sub(before);
    found.aim(grown <= MOST_KIB, format!("memory grew by {} at most", mib(grown)));
    found.accepted = accepted + first.accepted.load(Ordering::Relaxed);
    Ok(found)
}

/// A second node that lets hardly any message wait: every protocol refuses for now, in its own words, and all messages arrive once
/// nevertheless.
pub(crate) async fn refusals(plan: &Plan) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let site = Site::start(&plan.node, "[limits]\nmax-backlog = 1\n").await?;
    let mut senders = Senders::register(&site, plan.crowd).await?;
    let tally = Tally::default();
    // With its retries, each message takes such a node a tenth of a second.
    let rate = if plan.full { 60.0 } else { 30.0 };
    let flooded = flood(&site, &mut senders, (rate, Duration::from_secs(2)), &tally);
    let flooded = timeout(PATIENCE + Duration::from_secs(60), flooded);
    let (offered, begun) = flooded.await.context("the flood does not end")??;
    let accepted = tally.accepted.load(Ordering::Relaxed);
    let each = tally.refused.iter().all(|count| count.load(Ordering::Relaxed) > 0);
    found.aim(each, tally.refusals());
    let (stored, _) = site.stored().await?;
    let once = accepted == offered as u64 && stored == accepted;
    let took = begun.elapsed().as_secs_f64();
    found.aim(once, format!("{offered} offered to a node that lets one wait: {accepted} accepted, {stored} stored, in {took:.1} s"));
    site.check()?;
    site.terminate()?;
    // The honest client is at the other node.
    found.aimed = Some(NO_STALL);
    Ok(found)
}
