//! Phase 5: subscribers and watchers that never read, beside some that do.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};

use crate::honest::judge_puback;
use crate::mqtt::{self, connect, publish, subscribe};
use crate::net::{Carrier, dial_small, source};
use crate::site::{Device, EVENTS, Site};
use crate::web::{call, h2, preface};
use crate::{Found, Plan, grpc, mib};

/// Those that never read, of each kind.
const SLOW: usize = 20;
/// Bytes of a message between clients.
const PAYLOAD: usize = 4096;
/// Messages between clients per second, and as many of the device's.
const RATE: u32 = 250;
/// Memory that all slow consumers together may cost, in KiB: 1.3 MiB each of those with a queue, what the kernel has not counted.
const MOST_KIB: u64 = 96 << 10;
/// How long after the feed those who must be dropped may still be there. The node counts from when they stopped taking.
const GRACE: Duration = Duration::from_secs(12);

/// A connection that has asked for messages and will not read them.
async fn never_reads(site: &Site, listener: &str, n: usize, bytes: &[u8]) -> anyhow::Result<TcpStream> {
    let mut stream = dial_small(site.at(listener)?, source(n)).await?;
    stream.write_all(bytes).await?;
    Ok(stream)
}

/// Whether the node has ended a connection: what it left in the kernel is read first.
fn is_ended(stream: &TcpStream) -> bool {
    let mut part = [0; 4096];
    loop {
        match stream.try_read(&mut part) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

struct Slow {
    qos_0: Vec<TcpStream>,
    qos_1: Vec<TcpStream>,
    events: Vec<TcpStream>,
    watches: Vec<TcpStream>,
}

async fn slow(site: &Site) -> anyhow::Result<Slow> {
    let mut all = Slow { qos_0: vec![], qos_1: vec![], events: vec![], watches: vec![] };
    let filter = || ["site/feed"].into_iter();
    let get = format!("GET {EVENTS} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
    let watch = grpc::framed(&grpc::field(1, b"cold-chain"));
    let head = call("/w3bstream.v1.Messages/Watch");
    let watch = [preface(), h2(1, 4, 1, &head), h2(0, 1, 1, &watch)].concat();
    for n in 0..SLOW {
        for (qos, list) in [(0, &mut all.qos_0), (1, &mut all.qos_1)] {
            let name = format!("slow-{qos}-{n}");
            let bytes = [connect(5, &name), subscribe(5, 1, filter(), qos)].concat();
            list.push(never_reads(site, "mqtt", n, &bytes).await?);
        }
        all.events.push(never_reads(site, "http", n, &get).await?);
        all.watches.push(never_reads(site, "grpc", n, &watch).await?);
    }
    Ok(all)
}

/// Counts what a good subscriber gets, until the feed is over and nothing more comes.
async fn subscriber(site: &Site, over: &AtomicBool) -> anyhow::Result<u64> {
    let mut client = mqtt::Client::new(site.line(Carrier::Tcp, 500).await?, "good-subscriber").await?;
    client.line.send(&subscribe(5, 1, ["site/feed"].into_iter(), 1)).await?;
    let mut count = 0;
    loop {
        match timeout(Duration::from_secs(1), client.next()).await {
            Ok(packet) => {
                let (first, body) = packet?;
                if first & 0xf0 == 0x30 {
                    count += 1;
                    // Behind the topic.
                    let at = 2 + "site/feed".len();
                    let id = body.get(at..at + 2).context("no packet id")?;
                    client.line.send(&[0x40, 2, id[0], id[1]]).await?;
                }
            }
            Err(_) if over.load(Ordering::Relaxed) => return Ok(count),
            Err(_) => {}
        }
    }
}

/// Ids of the device's messages that the stream of events tells.
async fn events(site: &Site, source: &str, over: &AtomicBool) -> anyhow::Result<usize> {
    let mut io = site.dial("http", 501).await?;
    io.write_all(format!("GET {EVENTS}?source={source} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
        .await?;
    let (mut text, mut ids, mut part) = (String::new(), HashSet::new(), vec![0; 64 << 10]);
    loop {
        match timeout(Duration::from_secs(1), io.read(&mut part)).await {
            Ok(n) => {
                let n = n?;
                anyhow::ensure!(n > 0, "the stream of events ended");
                text.push_str(&String::from_utf8_lossy(part.get(..n).unwrap_or_default()));
                while let Some((event, rest)) = text.split_once("\n\n") {
                    let id = event.split_once("\"id\":\"").and_then(|(_, rest)| rest.get(..64));
                    ids.extend(id.map(str::to_owned));
                    text = rest.to_owned();
                }
            }
            Err(_) if over.load(Ordering::Relaxed) => return Ok(ids.len()),
            Err(_) => {}
        }
    }
}

/// The value of a field of bytes in a protobuf message, if it is among those before any other type.
fn field_of(mut message: &[u8], number: u8) -> Option<&[u8]> {
    loop {
        let (tag, rest) = message.split_first()?;
        let (mut length, mut at) = (0, 0);
        loop {
            let byte = *rest.get(at)?;
            length |= usize::from(byte & 0x7f) << (7 * at);
            at += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let value = rest.get(at..at + length)?;
        if *tag == number << 3 | 2 {
            return Some(value);
        }
        message = rest.get(at + length..)?;
    }
}

/// Ids of the device's messages that `Watch` tells.
async fn watch(site: &Site, source: &str, over: &AtomicBool) -> anyhow::Result<usize> {
    let (mut client, connection) = grpc::Client::new(site.dial("grpc", 502).await?).await?;
    let asked = [grpc::field(1, b"cold-chain"), grpc::field(2, source.as_bytes())].concat();
    let listen = async {
        let mut body = client.start("Messages/Watch", &asked).await?.into_body();
        let (mut buffer, mut ids) = (Vec::new(), HashSet::new());
        loop {
            match timeout(Duration::from_secs(1), body.frame()).await {
                Ok(frame) => {
                    let frame = frame.context("the watch ended")??;
                    buffer.extend(frame.data_ref().map(|d| d.to_vec()).unwrap_or_default());
                }
                Err(_) if over.load(Ordering::Relaxed) => return anyhow::Ok(ids.len()),
                Err(_) => {}
            }
            while let Some(Ok(head)) = buffer.get(1..5).map(<[u8; 4]>::try_from) {
                let length = usize::try_from(u32::from_be_bytes(head))?;
                let Some(message) = buffer.get(5..5 + length) else { break };
                let id = field_of(message, 1).and_then(|change| field_of(change, 2));
                ids.extend(id.map(<[u8]>::to_vec));
                buffer.drain(..5 + length);
            }
        }
    };
    tokio::select! {
        ended = connection => Err(anyhow::anyhow!("the connection ended: {ended:?}")),
        ids = listen => ids,
    }
}

/// Publishes to clients, and a device's messages to the node, at a fixed rate; gives how many of each.
async fn feed(
    site: &Site,
    mut device: Device,
    (time, over, peak): (Duration, &AtomicBool, &AtomicU64),
) -> anyhow::Result<u64> {
    let mut clients = mqtt::Client::new(site.line(Carrier::Tcp, 503).await?, "feeder").await?;
    let mut messages = mqtt::Client::new(site.line(Carrier::Tcp, 503).await?, "feeding-device").await?;
    let payload = vec![b'x'; PAYLOAD];
    let begun = Instant::now();
    let mut n = 0;
    while begun.elapsed() < time {
        // Ten at a time: one by one, this machine's timers would set the rate.
        for _ in 0..10 {
            n += 1;
            let id = u16::try_from(n % 60_000 + 1)?;
            clients.line.send(&publish(5, "site/feed", Some((1, id)), &payload)).await?;
            let message = device.message()?;
            messages.line.send(&publish(5, "w3b/cold-chain/reading", Some((1, id)), &message)).await?;
        }
        for client in [&mut clients, &mut messages] {
            for _ in 0..10 {
                let (first, body) = client.next().await?;
                anyhow::ensure!(first == 0x40, "no PUBACK: {first:#x}");
                judge_puback(body.get(2).copied().unwrap_or(0))?;
            }
        }
        peak.fetch_max(site.memory()?, Ordering::Relaxed);
        sleep_until((begun + Duration::from_secs(1) * n / RATE).into()).await;
    }
    // For what is still on its way.
    sleep(Duration::from_secs(2)).await;
    over.store(true, Ordering::Relaxed);
    Ok(u64::from(n))
}

pub(crate) async fn run(site: &Arc<Site>, plan: &Plan) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let device = site.device().await?;
    let did = device.did();
    let before = site.memory()?;
    let slow = slow(site).await?;
    let (over, peak) = (AtomicBool::new(false), AtomicU64::new(before));
    let from = Instant::now();
    let fed = async {
        // Until all have subscribed.
        sleep(Duration::from_secs(1)).await;
        feed(site, device, (plan.feed, &over, &peak)).await
    };
    let good = (subscriber(site, &over), events(site, &did, &over), watch(site, &did, &over));
    let (fed, got, told, watched) = tokio::try_join!(fed, good.0, good.1, good.2)?;
    found.window = Some((from, Instant::now()));
    found.accepted = fed;
    found.aim(
        got == fed && told as u64 == fed && watched as u64 == fed,
        format!(
            "{fed} fed: a reading subscriber got {got}, a stream of events told {told}, a watch {watched}"
        ),
    );
    let grown = peak.load(Ordering::Relaxed).saturating_sub(before);
    let count = SLOW * 4;
    found.aim(
        grown <= MOST_KIB,
        format!("memory grew by {} at most, with {count} that never read", mib(grown)),
    );
    let until = Instant::now() + GRACE;
    let ended = |list: &[TcpStream]| list.iter().filter(|s| is_ended(s)).count();
    // Not looked at before: looking is reading.
    tokio::time::sleep_until(until.into()).await;
    // At QoS 0 messages are left out for who is too slow.
    let (zero, one) = (ended(&slow.qos_0), ended(&slow.qos_1));
    found.aim(
        one == SLOW,
        format!("of {SLOW} MQTT subscribers each, {one} at QoS 1 and {zero} at QoS 0 were dropped"),
    );
    let (events, watches) = (ended(&slow.events), ended(&slow.watches));
    found.note(format!("of {SLOW} each, {events} streams of events and {watches} watches were dropped; the others will be told what they missed"));
    Ok(found)
}
