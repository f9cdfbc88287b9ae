//! Hostile traffic against every endpoint of a real node at once, while an honest client is measured.
//! docs/hostile-traffic.md says what is done and what it must not do; `scripts/test-hostile` starts this program.

mod consumers;
mod grpc;
mod honest;
mod http;
mod idle;
mod malformed;
mod mqtt;
mod net;
mod nonsense;
mod overload;
mod site;
mod slow;
mod storm;
mod web;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::honest::{Honest, Window};
use crate::site::Site;

/// No latency below it fails the short campaign.
const LENIENT: Duration = Duration::from_secs(2);

/// How much of everything.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) full: bool,
    /// The binary of the node.
    pub(crate) node: PathBuf,
    /// Slow and half clients of each kind.
    pub(crate) slow: usize,
    /// Idle connections.
    pub(crate) idle: usize,
    /// Memory that all idle connections may take, in KiB.
    pub(crate) idle_kib: u64,
    /// How long they are held, and how long honest traffic is measured where nothing else sets the time.
    pub(crate) hold: Duration,
    /// How long mutated bytes are sent.
    pub(crate) nonsense: Duration,
    /// How long TLS handshakes are counted.
    pub(crate) handshakes: Duration,
    /// The least handshakes a second.
    pub(crate) least_handshakes: f64,
    /// How long slow consumers are fed.
    pub(crate) feed: Duration,
    /// How long more is offered than the node can take.
    pub(crate) overload: Duration,
    /// Who offers it.
    pub(crate) crowd: Crowd,
    /// Messages of each MQTT sender by which the node's capacity is measured.
    pub(crate) probe: usize,
    /// Honest clients of each protocol.
    pub(crate) honest: u32,
    /// After something was given back, until memory is looked at.
    pub(crate) settle: Duration,
    /// Below it a p99 is good, whatever it was quietly: this machine's own jitter.
    pub(crate) floor: Duration,
}

impl Plan {
    fn new(node: PathBuf, full: bool) -> Self {
        let seconds = Duration::from_secs;
        if full {
            return Self {
                full,
                node,
                slow: 1000,
                idle: 10_000,
                idle_kib: 200 << 10,
                hold: seconds(15),
                nonsense: seconds(60),
                handshakes: seconds(10),
                least_handshakes: 150.0,
                feed: seconds(30),
                overload: seconds(10),
                crowd: Crowd { mqtt: 40, http: 60, grpc: 50, coap: 10 },
                probe: 500,
                honest: 30,
                settle: seconds(3),
                floor: Duration::from_millis(25),
            };
        }
        // A node that is not optimised, on a machine that compiles meanwhile.
        Self {
            full,
            node,
            slow: 100,
            idle: 1000,
            idle_kib: 40 << 10,
            hold: seconds(3),
            nonsense: seconds(4),
            handshakes: seconds(3),
            // On the slowest machine: a node that does none would be noticed.
            least_handshakes: 5.0,
            feed: seconds(8),
            overload: seconds(2),
            crowd: Crowd { mqtt: 16, http: 24, grpc: 16, coap: 4 },
            probe: 60,
            honest: 10,
            settle: Duration::from_millis(1500),
            floor: Duration::from_millis(50),
        }
    }

    /// The latency above which the campaign fails where this is aimed at. The short one runs beside others' work, which takes the
    /// processor away for longer than any ruler of ours sees: it fails only over five times the aim, and never below [`LENIENT`].
    pub(crate) fn limit(&self, aim: Duration) -> Duration {
        if self.full { aim } else { (aim * 5).max(LENIENT) }
    }
}

/// Senders of the overload by their protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    /// Connections.
    pub(crate) mqtt: usize,
    /// Connections, each with one request at a time.
    pub(crate) http: usize,
    /// Calls at once.
    pub(crate) grpc: usize,
    /// Sockets, each with one request at a time.
    pub(crate) coap: usize,
}

/// What a phase found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// When honest traffic was measured; the whole phase if unset.
    pub(crate) window: Option<(Instant, Instant)>,
    /// The longest life of an attacker.
    pub(crate) longest: Option<Duration>,
    /// Lines for the reader.
    pub(crate) notes: Vec<String>,
    /// Aims that were missed.
    pub(crate) missed: Vec<String>,
    /// What the honest p99 is to be at most, where twice its quiet value is not the aim.
    pub(crate) aimed: Option<Duration>,
    /// Messages that were accepted, beside the honest client's.
    pub(crate) accepted: u64,
}

impl Found {
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Notes a figure, and the aim if it is missed.
    pub(crate) fn aim(&mut self, met: bool, text: impl Into<String>) {
        let text = text.into();
        if !met {
            self.missed.push(text.clone());
        }
        self.notes.push(text);
    }
}

pub(crate) fn say(text: &str) {
    // Nobody is there to be told that nobody reads.
    drop(writeln!(std::io::stdout(), "{text}"));
}

pub(crate) fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

pub(crate) fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

/// Idle connections first: what they cost is seen on a node whose memory nobody has used before.
const PHASES: [&str; 8] =
    ["idle", "storm", "malformed", "slow", "handshakes", "consumers", "overload", "refusals"];

/// Everything of one run.
struct Run {
    site: Arc<Site>,
    honest: Honest,
    plan: Plan,
    quiet: Window,
    accepted: u64,
    missed: Vec<String>,
}

impl Run {
    async fn new(plan: Plan) -> anyhow::Result<Self> {
        let site = Arc::new(Site::start(&plan.node, "").await?);
        let honest = Honest::start(&site, plan.honest).await?;
        // The first messages meet caches that are cold.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let from = Instant::now();
        tokio::time::sleep(plan.hold.max(Duration::from_secs(5))).await;
        let quiet = honest.window(from, Instant::now());
        let mut run = Self { site, honest, plan, quiet: quiet.clone(), accepted: 0, missed: Vec::new() };
        run.row("quiet", &quiet, &Found::default())?;
        Ok(run)
    }

    fn row(&mut self, name: &str, window: &Window, found: &Found) -> anyhow::Result<()> {
        let aim = found.aimed.unwrap_or((self.quiet.p99 * 2).max(self.plan.floor));
        // A message passes from thread to thread; each may be woken as late as one that only sleeps.
        let aim = aim + window.late * 2;
        let limit = self.plan.limit(aim);
        let longest = found.longest.map_or_else(|| "-".to_owned(), |l| format!("{:.1} s", l.as_secs_f64()));
        let each = window.each.map(ms).join(" / ");
        let count = window.messages;
        let (p50, p99) = (ms(window.p50), ms(window.p99));
        let (quiet, late, memory) = (ms(self.quiet.p99), ms(window.late), mib(self.site.memory()?));
        say(&format!(
            "{name:<11} honest p50 {p50:>8}  p99 {p99:>9} (MQTT / HTTP / gRPC {each}; {count} messages; quiet {quiet}, aim {}, fails \
             over {}, machine late by {late})  longest life {longest}  memory {memory}",
            ms(aim),
            ms(limit)
        ));
        if window.messages == 0 {
            self.missed.push(format!("{name}: no honest message was accepted"));
        }
        if name != "quiet" && window.p99 > limit {
            let worst = window.worst;
            self.missed.push(format!("{name}: honest p99 {p99} ({worst:?}) is over {}", ms(limit)));
        }
        Ok(())
    }

    async fn phase(&mut self, name: &str) -> anyhow::Result<()> {
        let (site, plan) = (&self.site, &self.plan);
        let from = Instant::now();
        let found = match name {
            "malformed" => malformed::run(site, plan).await,
            "slow" => slow::run(site, plan).await,
            "idle" => idle::run(site, plan).await,
            "storm" => storm::reconnects(site, plan).await,
            "handshakes" => storm::handshakes(site, plan).await,
            "consumers" => consumers::run(site, plan).await,
            "overload" => overload::run((site, &self.honest), plan).await,
            "refusals" => overload::refusals(plan).await,
            other => bail!("there is no phase {other}; there are {}", PHASES.join(", ")),
        };
        self.site.check()?;
        self.honest.check()?;
        let log = || format!("phase {name}; the node's log ends with\n{}\n", self.site.log());
        let found = found.with_context(log)?;
        let seconds = from.elapsed().as_secs_f64();
        let (from, to) = found.window.unwrap_or_else(|| (from, Instant::now()));
        let window = self.honest.window(from, to);
        self.row(name, &window, &found)?;
        for note in &found.notes {
            say(&format!("             {note}"));
        }
        say(&format!("             the phase took {seconds:.0} s"));
        self.missed.extend(found.missed.iter().map(|m| format!("{name}: {m}")));
        self.accepted += found.accepted;
        // What a phase leaves behind is not the next one's.
        tokio::time::sleep(Duration::from_secs(if self.plan.full { 2 } else { 1 })).await;
        Ok(())
    }

    /// Everything that was accepted is there once, and the node ends well.
    async fn end(mut self) -> anyhow::Result<Vec<String>> {
        let repeats = self.honest.repeats();
        let honest = self.honest.finish()?;
        let until = Instant::now() + Duration::from_secs(120);
        let (stored, backlog) = loop {
            let (stored, backlog) = self.site.stored().await?;
            if backlog == 0 || Instant::now() > until {
                break (stored, backlog);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let sent = honest + self.accepted;
        say(&format!(
            "end          {honest} honest messages ({repeats} sent again) and {} others accepted; the node has {stored}, {backlog} not ordered",
            self.accepted
        ));
        if stored != sent || backlog != 0 {
            self.missed
                .push(format!("{sent} messages were accepted, the node has {stored} ({backlog} wait)"));
        }
        let took = self.site.terminate()?;
        say(&format!("             the node ended in {:.1} s", took.as_secs_f64()));
        Ok(self.missed)
    }
}

async fn campaign(plan: Plan, phases: &[String]) -> anyhow::Result<Vec<String>> {
    let begun = Instant::now();
    let mut run = Run::new(plan).await?;
    for name in PHASES.iter().filter(|n| phases.is_empty() || phases.iter().any(|p| p == *n)) {
        run.phase(name).await?;
    }
    let missed = run.end().await?;
    say(&format!("took {:.0} s", begun.elapsed().as_secs_f64()));
    Ok(missed)
}

fn arguments() -> anyhow::Result<(Plan, Vec<String>)> {
    let (mut node, mut full, mut phases) = (None, false, Vec::new());
    let mut all = std::env::args().skip(1);
    while let Some(argument) = all.next() {
        match argument.as_str() {
            "--node" => node = all.next().map(PathBuf::from),
            "--full" => full = true,
            name if PHASES.contains(&name) => phases.push(name.to_owned()),
            other => {
                bail!("{other}: give --node BINARY, perhaps --full, perhaps some of {}", PHASES.join(", "))
            }
        }
    }
    Ok((Plan::new(node.context("--node BINARY is missing")?, full), phases))
}

fn main() -> ExitCode {
    let run = || {
        let (plan, phases) = arguments()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(campaign(plan, &phases))
    };
    match run() {
        Ok(missed) if missed.is_empty() => {
            say("every aim was met");
            ExitCode::SUCCESS
        }
        Ok(missed) => {
            for miss in missed {
                say(&format!("MISSED       {miss}"));
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("FAILED       {error:#}"));
            ExitCode::FAILURE
        }
    }
}
