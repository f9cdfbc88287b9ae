//! Good bytes with a few of them changed, on every listener.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::mqtt::{connect, packet, publish, subscribe};
use crate::net::{UPGRADE, frame, put, source};
use crate::site::{EVENTS, Site};
use crate::web::{call, h2, preface};
use crate::{Found, grpc, http};

/// Changes of one seed are the same in every run.
const SEED: u64 = 0x5ead_0f5e;
/// Connections at once for each listener.
const AT_ONCE: u64 = 4;
/// How long an answer is waited for; most nonsense leads to none.
const BRIEFLY: Duration = Duration::from_millis(30);

/// Between two connections of one attacker.
const PAUSE: Duration = Duration::from_millis(120);

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let n = u64::try_from(n.max(1)).unwrap_or(1);
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n).unwrap_or(0)
    }

    /// Changes, cuts out, doubles or ends early.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let (at, kind) = (self.below(bytes.len()), self.below(8));
            let random = u8::try_from(self.below(256)).unwrap_or(0);
            match kind {
                0..=3 => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = if kind < 2 { *byte ^ 1 << self.below(8) } else { random };
                    }
                }
                4 => bytes.truncate(at),
                5 => bytes.insert(at, random),
                6 if !bytes.is_empty() => drop(bytes.remove(at)),
                _ => {
                    let part = bytes.get(at..).unwrap_or_default().to_vec();
                    bytes.extend(part);
                }
            }
        }
    }
}

/// What goes first unchanged, and what is changed, for each listener.
fn seeds(listener: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let properties =
        [vec![0, 6], b"site/a".to_vec(), vec![0, 1, 9, 1, 1, 3, 0, 1, b'x', 0x23, 0, 1, b'y']].concat();
    let mqtt = [
        (vec![], connect(5, "mutant")),
        (vec![], connect(4, "mutant")),
        (connect(5, ""), publish(5, "site/a", Some((1, 7)), b"payload")),
        (connect(5, ""), packet(0x32, &properties)),
        (connect(5, ""), publish(5, "w3b/cold-chain/reading", Some((2, 7)), &[8, 1, 18, 4, 1, 2, 3, 4])),
        (connect(5, ""), subscribe(5, 3, ["site/+", "$share/g/site/#"].into_iter(), 2)),
        (connect(5, ""), vec![0x62, 2, 0, 7, 0xc0, 0, 0xe0, 0]),
    ];
    let body = b"\x08\x01\x12\x10\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10";
    let event = http::post(EVENTS, "application/vnd.w3bstream.envelope", "", body);
    let requests = [
        event,
        http::post(
            &format!("{EVENTS}:batch"),
            "application/x-ndjson",
            "",
            b"{\"envelope\":\"AAAA\"}\n{\"jws\":\"e30.e30.AA\"}\n",
        ),
        http::post(
            "/v1/projects/cold-chain/sessions",
            "application/json",
            "",
            b"{\"statement\":\"e30.e30.AA\"}",
        ),
        b"GET /v1/projects/cold-chain/events?type=reading HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 1\r\n\r\n"
            .to_vec(),
        http::post(
            "/srv-applet-mgr/v0/login",
            "application/json",
            "",
            b"{\"username\":\"admin\",\"password\":\"x\"}",
        ),
    ];
    let message = grpc::framed(&grpc::submit("cold-chain", body));
    let head = h2(1, 4, 1, &call("/w3bstream.v1.Ingest/Submit"));
    match listener {
        "mqtt" | "mqtts" => mqtt.into(),
        "ws" => {
            let framed = |(first, bytes): (Vec<u8>, Vec<u8>)| {
                let first = if first.is_empty() { Vec::new() } else { frame(&first) };
                ([UPGRADE.to_vec(), first].concat(), frame(&bytes))
            };
            let upgrade = (Vec::new(), UPGRADE.to_vec());
            mqtt.into_iter().map(framed).chain([upgrade]).collect()
        }
        "grpc" => vec![
            (preface(), [head.clone(), h2(0, 1, 1, &message)].concat()),
            ([preface(), head].concat(), h2(0, 1, 1, &message)),
        ],
        "coap" => vec![(
            vec![],
            [vec![0x40, 2, 1, 2, 0xb3], b"w3b\x0acold-chain\x07reading\xff".to_vec(), body.to_vec()].concat(),
        )],
        _ => requests.map(|r| (Vec::new(), r)).into(),
    }
}

async fn attack(site: &Site, listener: &str, n: u64, (until, sent): (Instant, &AtomicU64)) {
    let seeds = seeds(listener);
    let mut random = Random(SEED ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    while Instant::now() < until {
        let Some((first, seed)) = seeds.get(random.below(seeds.len())) else { return };
        let Ok(mut io) = site.dial(listener, usize::try_from(n).unwrap_or(0)).await else { continue };
        let mut bytes = first.clone();
        let many = 1 + random.below(6);
        for _ in 0..many {
            let mut changed = seed.clone();
            random.change(&mut changed);
            bytes.extend(changed);
        }
        sent.fetch_add(u64::try_from(many).unwrap_or(0), Ordering::Relaxed);
        let _ = put(&mut io, &bytes).await;
        let _ = timeout(BRIEFLY, io.read(&mut [0; 1024])).await;
        // The attack is what is sent, not how much: this is no measurement of the generator.
        sleep(PAUSE).await;
    }
}

async fn attack_coap(site: &Site, n: u64, (until, sent): (Instant, &AtomicU64)) -> anyhow::Result<()> {
    let seeds = seeds("coap");
    let mut random = Random(SEED ^ n);
    while Instant::now() < until {
        let socket = UdpSocket::bind((source(random.below(100)), 0)).await?;
        socket.connect(site.at("coap")?).await?;
        for _ in 0..50 {
            let Some((_, seed)) = seeds.first() else { continue };
            let mut bytes = seed.clone();
            random.change(&mut bytes);
            bytes.truncate(1400);
            // The kernel may say that an earlier one was not wanted.
            let _ = socket.send(&bytes).await;
            sent.fetch_add(1, Ordering::Relaxed);
        }
        let _ = timeout(BRIEFLY, socket.recv(&mut [0; 1500])).await;
        sleep(PAUSE).await;
    }
    Ok(())
}

pub(crate) async fn run(site: &Site, time: Duration, found: &mut Found) {
    let (until, sent) = (Instant::now() + time, AtomicU64::new(0));
    let listeners = ["mqtt", "mqtts", "ws", "http", "https", "legacy", "grpc"];
    let each = listeners.into_iter().flat_map(|l| (0..AT_ONCE).map(move |n| (l, n)));
    let sent = &sent;
    let attacks = each.map(|(listener, n)| attack(site, listener, n, (until, sent)));
    let (_, coap) =
        tokio::join!(futures_util::future::join_all(attacks), attack_coap(site, 1, (until, sent)));
    if let Err(e) = coap {
        found.missed.push(format!("CoAP cannot be reached: {e}"));
    }
    let n = sent.load(Ordering::Relaxed);
    found.aim(n > 1000, format!("{n} changed packets, requests and datagrams in {time:?}, seed {SEED:#x}"));
}
