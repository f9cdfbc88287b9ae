//! Phase 2: clients that begin and do not go on. Each sends a byte now and then, so that none is merely silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::AsyncReadExt as _;
use tokio::time::{sleep, timeout};

use crate::honest::quantile;
use crate::mqtt::{self, connect};
use crate::net::{CARRIERS, UPGRADE, dial, frame, put, secure, source};
use crate::site::{EVENTS, Site};
use crate::web::{call, decided, h2, preface};
use crate::{Found, Plan, http, ms};

/// All attackers must be gone by then.
const AIM: Duration = Duration::from_secs(30);
/// When the attack is given up.
const GIVE_UP: Duration = Duration::from_secs(75);
/// Time between two new connections of one kind.
const OPENED_EVERY: Duration = Duration::from_millis(5);
/// Time between two bytes.
const DRIP: Duration = Duration::from_millis(1500);

/// One kind of slow client.
struct Kind {
    name: &'static str,
    listener: &'static str,
    /// Goes through TLS before it becomes slow.
    secure: bool,
    /// What it sends at once.
    opening: Vec<u8>,
    /// What it then sends again and again.
    drip: Vec<u8>,
    /// A part of the count, in percent.
    share: usize,
}

fn kinds() -> Vec<Kind> {
    let head = b"POST /v1/projects/cold-chain/events HTTP/1.1\r\nHost: x\r\nA: ".to_vec();
    let body = |path: &str, kind: &str| {
        let mut bytes = http::post(path, kind, "", &[b'x'; 60_000]);
        bytes.truncate(bytes.len() - 59_000);
        bytes
    };
    let half = |bytes: Vec<u8>| bytes.get(..bytes.len() / 2).unwrap_or_default().to_vec();
    let begun =
        [preface(), h2(1, 4, 1, &call("/w3bstream.v1.Ingest/Submit")), h2(0, 0, 1, &[0, 0, 0, 0xff, 0])]
            .concat();
    let hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let event = body(EVENTS, "application/vnd.w3bstream.envelope");
    let batch = body(&format!("{EVENTS}:batch"), "application/x-ndjson");
    let kind = |name, listener, secure, opening, drip: &[u8], share| Kind {
        name,
        listener,
        secure,
        opening,
        drip: drip.to_vec(),
        share,
    };
    vec![
        kind("slow headers, HTTP", "http", false, head.clone(), b"a", 100),
        kind("slow headers, HTTPS", "https", true, head.clone(), b"a", 20),
        kind("slow bodies, HTTP", "http", false, event.clone(), b"x", 100),
        kind("slow bodies, HTTPS", "https", true, event, b"x", 20),
        kind("slow batches, HTTP", "http", false, batch, b"x", 10),
        kind("silence, HTTP", "http", false, vec![], b"", 20),
        kind("half CONNECTs, MQTT", "mqtt", false, half(connect(5, "slow")), b"a", 100),
        kind("half CONNECTs, MQTTS", "mqtts", true, half(connect(5, "slow")), b"a", 20),
        kind(
            "half CONNECTs, WebSocket",
            "ws",
            false,
            [UPGRADE.to_vec(), frame(&half(connect(5, "slow")))].concat(),
            &frame(b"a"),
            20,
        ),
        kind("half TLS handshakes, MQTTS", "mqtts", false, hello.clone(), b"\x01", 50),
        kind("half TLS handshakes, HTTPS", "https", false, hello, b"\x01", 50),
        kind("half upgrades, WebSocket", "ws", false, half(UPGRADE.to_vec()), b"a", 50),
        kind("half prefaces, gRPC", "grpc", false, b"PRI * HTTP/2.0\r\n".to_vec(), b"", 50),
        kind("slow messages, gRPC", "grpc", false, begun, &h2(0, 0, 1, b"x"), 50),
        kind("slow headers, the original's routes", "legacy", false, head.clone(), b"a", 20),
        kind("slow headers, admin", "admin", false, head, b"a", 20),
        kind("silence, admin", "admin", false, vec![], b"", 10),
    ]
}

/// Lives until the node ends it; gives how long that was.
async fn attacker(site: &Site, kind: &Kind, n: usize) -> anyhow::Result<Duration> {
    // As attackers' tools do it: so many new connections a second of each kind.
    sleep(OPENED_EVERY * u32::try_from(n)?).await;
    let stream = dial(site.at(kind.listener)?, source(n)).await?;
    let begun = Instant::now();
    let mut io: crate::net::BoxedIo =
        if kind.secure { Box::new(secure(&site.tls, stream).await?) } else { Box::new(stream) };
    let mut alive = put(&mut io, &kind.opening).await.is_ok();
    let (mut part, mut said) = ([0; 2048], Vec::new());
    while alive && begun.elapsed() < GIVE_UP {
        alive = match timeout(DRIP, io.read(&mut part)).await {
            Ok(Ok(0) | Err(_)) => false,
            // What the node says, it may say: it has to close. On HTTP/2 it ends the call; the connection may have others.
            Ok(Ok(n)) => {
                said.extend(part.get(..n).unwrap_or_default());
                kind.listener != "grpc" || !decided(&said)
            }
            Err(_) => put(&mut io, &kind.drip).await.is_ok(),
        };
    }
    Ok(begun.elapsed())
}

/// New clients while the attack goes on: how long each carrier of MQTT, and HTTP, takes from the first packet to a granted
/// CONNECT or an answer.
async fn newcomers(site: &Site, over: &AtomicBool) -> (Vec<Duration>, Vec<String>) {
    let (mut took, mut failed) = (Vec::new(), Vec::new());
    for n in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        let arrival = async {
            match CARRIERS.get(n % 5) {
                Some(carrier) => {
                    let line = site.line(*carrier, 7000).await?;
                    mqtt::Client::new(line, "newcomer").await.map(drop)
                }
                None => {
                    let io = site.dial("https", 7000).await?;
                    let asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
                    http::Client::new(io).ask(asked).await.map(drop)
                }
            }
        };
        match arrival.await {
            Ok(()) => took.push(begun.elapsed()),
            Err(e) => failed.push(format!("{:?}: {e:#}", CARRIERS.get(n % 5))),
        }
        sleep(Duration::from_millis(100)).await;
    }
    took.sort();
    (took, failed)
}

pub(crate) async fn run(site: &Arc<Site>, plan: &Plan) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let (kinds, over, failures) = (kinds(), AtomicBool::new(false), AtomicUsize::new(0));
    let from = Instant::now();
    let attack = async {
        let mut all = FuturesUnordered::new();
        for (k, kind) in kinds.iter().enumerate() {
            for n in 0..plan.slow * kind.share / 100 {
                let failures = &failures;
                all.push(async move {
                    let life = attacker(site, kind, n).await;
                    failures.fetch_add(life.is_err().into(), Ordering::Relaxed);
                    (k, life.unwrap_or_default())
                });
            }
        }
        let mut lives = vec![(0_usize, Duration::ZERO); kinds.len()];
        while let Some((k, life)) = all.next().await {
            if let Some((count, longest)) = lives.get_mut(k) {
                *count += 1;
                *longest = (*longest).max(life);
            }
        }
        over.store(true, Ordering::Relaxed);
        lives
    };
    let (lives, (took, failed)) = tokio::join!(attack, newcomers(site, &over));
    found.window = Some((from, Instant::now()));
    for (kind, (count, longest)) in kinds.iter().zip(lives) {
        found.longest = found.longest.max(Some(longest));
        let seconds = longest.as_secs_f64();
        found.aim(longest <= AIM, format!("{count:>5} × {:<36} gone after {seconds:.1} s", kind.name));
    }
    let failures = failures.load(Ordering::Relaxed);
    if failures > 0 {
        found.note(format!("{failures} of them could not even connect"));
    }
    let (count, p99) = (took.len(), quantile(&took, 0.99));
    let good = failed.is_empty() && p99 < plan.limit(Duration::from_secs(2));
    found.aim(
        good,
        format!(
            "{count} new clients meanwhile: p99 {}, {} failed {:?}",
            ms(p99),
            failed.len(),
            failed.first()
        ),
    );
    Ok(found)
}
