//! The honest client: signed messages at a fixed rate over MQTT, HTTP and gRPC, from the first moment to the last. What it
//! waits is counted from when a message was due, so a stall of the node hides nothing.
//!
//! It has a thread and a runtime of its own: work of the attackers in this process is no latency of the node.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::FutureExt as _;
use tokio::time::sleep_until;

use crate::net::{Carrier, source};
use crate::site::{Device, EVENTS, PROJECT, Site};
use crate::{grpc, http, mqtt, net};

/// How long it waits before it repeats what was refused for now, unless it was told.
const AGAIN: Duration = Duration::from_millis(200);

/// The three ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Mqtt,
    Http,
    Grpc,
}

pub(crate) const WAYS: [Over; 3] = [Over::Mqtt, Over::Http, Over::Grpc];

/// One message that was accepted.
#[derive(Clone, Copy, Debug)]
struct Sample {
    over: Over,
    due: Instant,
    took: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    samples: Mutex<Vec<Sample>>,
    /// How late this machine woke a thread that does nothing but sleep.
    late: Mutex<Vec<(Instant, Duration)>>,
    /// Tries after which a message was sent again.
    repeats: AtomicU64,
    stop: AtomicBool,
}

/// The running client.
pub(crate) struct Honest {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

/// What it saw in a span of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    pub(crate) messages: usize,
    /// Over all three protocols.
    pub(crate) p50: Duration,
    /// The worst of the three protocols' 99th percentiles, and whose it is.
    pub(crate) p99: Duration,
    pub(crate) worst: Option<Over>,
    /// Each protocol's own.
    pub(crate) each: [Duration; 3],
    /// The 99th percentile of how late this machine woke a thread that only sleeps: no node can be better than its machine.
    pub(crate) late: Duration,
}

fn lock(seen: &Seen) -> MutexGuard<'_, Vec<Sample>> {
    seen.samples.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The value below which a share of the sorted values lies.
pub(crate) fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let place = (sorted.len().saturating_sub(1) as f64 * q).ceil() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

impl Honest {
    /// Starts it, with so many clients of each protocol; it sends until [`Self::finish`]. Each sends one message a second, so that
    /// none waits behind its own unless it takes so long.
    pub(crate) async fn start(site: &Arc<Site>, count: u32) -> anyhow::Result<Self> {
        let mut clients = Vec::new();
        let turns = 3 * count;
        for n in 0..count {
            for (over, way) in WAYS.into_iter().zip(0..) {
                // No two are due at the same moment.
                let turn = Duration::from_secs(1) / turns * (3 * n + way);
                clients.push((over, turn, site.device().await?));
            }
        }
        let (seen, site) = (Arc::new(Seen::default()), Arc::clone(site));
        let theirs = Arc::clone(&seen);
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let ways =
                clients.into_iter().map(|(over, turn, device)| send(&site, &theirs, (over, turn), device));
            runtime.block_on(futures_util::future::try_join_all(ways)).map(drop)
        };
        let thread = std::thread::Builder::new().name("honest".into()).spawn(work)?;
        let measured = Arc::clone(&seen);
        std::thread::Builder::new().name("ruler".into()).spawn(move || ruler(&measured))?;
        Ok(Self { seen, thread: Some(thread) })
    }

    /// What was accepted of what was due in this span.
    pub(crate) fn window(&self, from: Instant, to: Instant) -> Window {
        let samples: Vec<Sample> =
            lock(&self.seen).iter().filter(|s| s.due >= from && s.due < to).copied().collect();
        let sorted = |over: Option<Over>| {
            let mine = samples.iter().filter(|s| over.is_none_or(|o| o == s.over));
            let mut all: Vec<Duration> = mine.map(|s| s.took).collect();
            all.sort();
            all
        };
        let of = |over| (quantile(&sorted(Some(over)), 0.99), over);
        let worst = WAYS.map(of).into_iter().max_by_key(|(p99, _)| *p99);
        let late = self.seen.late.lock().unwrap_or_else(PoisonError::into_inner);
        let mut late: Vec<Duration> =
            late.iter().filter(|(at, _)| *at >= from && *at < to).map(|(_, late)| *late).collect();
        late.sort();
        Window {
            messages: samples.len(),
            p50: quantile(&sorted(None), 0.5),
            p99: worst.map(|(p99, _)| p99).unwrap_or_default(),
            worst: worst.map(|(_, over)| over),
            each: WAYS.map(|over| of(over).0),
            late: quantile(&late, 0.99),
        }
    }

    /// How often it had to send something again.
    pub(crate) fn repeats(&self) -> u64 {
        self.seen.repeats.load(Ordering::Relaxed)
    }

    /// An error if it gave up.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            let ended = self.finish();
            bail!("the honest client gave up: {:?}", ended.err());
        }
        Ok(())
    }

    /// Ends it when what is under way is accepted; gives how many messages were accepted.
    pub(crate) fn finish(&mut self) -> anyhow::Result<u64> {
        self.seen.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the honest client panicked"))??;
        }
        Ok(lock(&self.seen).len() as u64)
    }
}

/// Sleeps, and notes by how much too long.
fn ruler(seen: &Seen) {
    let span = Duration::from_millis(5);
    while !seen.stop.load(Ordering::Relaxed) {
        let at = Instant::now();
        std::thread::sleep(span);
        let late = at.elapsed().saturating_sub(span);
        seen.late.lock().unwrap_or_else(PoisonError::into_inner).push((at, late));
    }
}

/// A connection of one kind, made again whenever it is lost.
enum Way {
    Mqtt(mqtt::Client, u16),
    Http(http::Client),
    Grpc(grpc::Client, futures_util::future::BoxFuture<'static, hyper::Result<()>>),
}

async fn open(site: &Site, over: Over, name: &str) -> anyhow::Result<Way> {
    Ok(match over {
        Over::Mqtt => Way::Mqtt(mqtt::Client::new(site.line(Carrier::Tcp, 9999).await?, name).await?, 0),
        Over::Http => Way::Http(http::Client::new(site.dial("http", 9999).await?)),
        Over::Grpc => {
            let io = net::dial(site.at("grpc")?, source(9999)).await?;
            let (client, connection) = grpc::Client::new(Box::new(io)).await?;
            Way::Grpc(client, connection.boxed())
        }
    })
}

/// What became of one try.
pub(crate) enum Tried {
    Accepted,
    /// Not now.
    Again(Duration),
}

/// Judges an HTTP answer to a message.
pub(crate) fn judge(answer: &http::Answer) -> anyhow::Result<Tried> {
    match answer.status {
        200 | 201 => Ok(Tried::Accepted),
        408 | 429 | 503 | 504 => {
            let wait = answer.header("retry-after").and_then(|s| s.parse().ok());
            let wait = wait.with_context(|| format!("{} without Retry-After", answer.status))?;
            Ok(Tried::Again(Duration::from_secs(wait)))
        }
        status => bail!("a good message was refused: {status} {}", String::from_utf8_lossy(&answer.body)),
    }
}

/// A reason code of a PUBACK for a good message.
pub(crate) fn judge_puback(code: u8) -> anyhow::Result<Tried> {
    // 0x10: nobody subscribes.
    if matches!(code, 0 | 0x10) {
        Ok(Tried::Accepted)
    } else {
        bail!("a good message was refused: {code:#x}")
    }
}

/// The status of a gRPC call with a good message.
pub(crate) fn judge_grpc(status: u16) -> anyhow::Result<Tried> {
    match status {
        0 => Ok(Tried::Accepted),
        s if grpc::AGAIN.contains(&s) => Ok(Tried::Again(AGAIN)),
        s => bail!("a good message was refused: status {s}"),
    }
}

impl Way {
    /// One try. The outer error is that of the connection, the inner one is final.
    async fn send(&mut self, envelope: &[u8]) -> anyhow::Result<anyhow::Result<Tried>> {
        Ok(match self {
            Self::Mqtt(client, id) => {
                *id = id.checked_add(1).unwrap_or(1);
                judge_puback(client.publish("w3b/cold-chain/reading", *id, envelope).await?)
            }
            Self::Http(client) => {
                let request = http::post(EVENTS, w3bstream_wire::CONTENT_TYPE_ENVELOPE, "", envelope);
                judge(&client.ask(&request).await?)
            }
            Self::Grpc(client, connection) => {
                let message = grpc::submit(PROJECT, envelope);
                let call = client.call("Ingest/Submit", &message);
                tokio::select! {
                    ended = connection => bail!("the connection ended: {ended:?}"),
                    answer = call => judge_grpc(answer?.0),
                }
            }
        })
    }
}

async fn send(
    site: &Site,
    seen: &Seen,
    (over, turn): (Over, Duration),
    mut device: Device,
) -> anyhow::Result<()> {
    let every = Duration::from_secs(1);
    let begun = Instant::now() + turn;
    let name = format!("honest-{}", device.did());
    let mut way = Some(open(site, over, &name).await?);
    for n in 0.. {
        if seen.stop.load(Ordering::Relaxed) {
            break;
        }
        let envelope = device.message()?;
        let due = begun + every * n;
        sleep_until(due.into()).await;
        loop {
            let wait = match &mut way {
                None => {
                    way = open(site, over, &name).await.ok();
                    if way.is_some() {
                        continue;
                    }
                    AGAIN
                }
                Some(open) => match open.send(&envelope).await {
                    Ok(judged) => match judged? {
                        Tried::Accepted => break,
                        Tried::Again(wait) => wait,
                    },
                    Err(_) => {
                        way = None;
                        Duration::ZERO
                    }
                },
            };
            if due.elapsed() > Duration::from_secs(120) {
                bail!("{over:?}: a good message is not accepted within two minutes");
            }
            seen.repeats.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(wait).await;
        }
        lock(seen).push(Sample { over, due, took: due.elapsed() });
    }
    Ok(())
}
