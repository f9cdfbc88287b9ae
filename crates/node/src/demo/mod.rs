//! `demo`: the whole path on one machine with nothing installed.

mod chain;
mod proof;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hyper::{Method, StatusCode, header};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};
use w3bstream_tasks::Tasks;
use w3bstream_types::{
    Algorithm, Control, DeviceRegistration, Did, Digest, Draft, Envelope, Genesis, Manifest, ProjectId,
    SecretKey, Sequence, Timestamp,
};
use w3bstream_wallet::Role;
use w3bstream_wallet_file::DeviceKey;

use crate::readings::{self, Columns, Reading, Series, Skipped, fahrenheit_to_celsius};
use chain::{Contracts, DemoChain};
use proof::{Files, Known};

use crate::{Admin, Config, Http, ManifestFile, NodeBuilder, Paths, Registry, Running, setup};

const APPLET: &[u8] = include_bytes!("../../../../artefacts/cold-chain.wasm");
const SEATTLE: &[u8] = include_bytes!("../../../../data/seattle-temps.csv");
const SAN_FRANCISCO: &[u8] = include_bytes!("../../../../data/sf-temps.csv");
const MANIFEST: &str = r#"
name = "cold-chain"

[env]
settle = "true"
alarm_above_mc = "25000"
alarm_below_mc = "2000"

[[applets]]
name = "cold-chain"
module = "cold-chain.wasm"
routes = [
  { event-type = "reading", handler = "reading" },
  { event-type = "default", handler = "default" },
]
"#;
/// How many messages a device has under way at once.
const IN_FLIGHT: usize = 100;
/// The same over HTTP, whose requests may overtake each other: fewer than a day has hours.
const REQUESTS: usize = 16;
/// How long the demo proves and settles, counted from its start, unless it is to settle everything.
const SETTLE_UNTIL: Duration = Duration::from_secs(75);
/// How long the demo waits for the last block to be attested.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `demo` is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) dir: PathBuf,
    pub(crate) keep: bool,
    pub(crate) json: bool,
    /// Settle everything, however long it takes.
    pub(crate) all: bool,
    /// A node of the user's chain, and the file with the key that pays there.
    pub(crate) rpc: Option<String>,
    pub(crate) rpc_key: Option<PathBuf>,
    /// A CSV file of one's own, with its columns.
    pub(crate) data: Option<(PathBuf, String, String, Option<String>)>,
}

/// A simulated device: its key and what it has measured.
struct Device {
    name: String,
    key: DeviceKey,
    readings: Vec<Reading>,
}

/// How a device's messages were answered. Counted from the answers, one by one.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    accepted: u64,
    refused: u64,
}

/// Runs the demo.
pub(crate) async fn run(registry: Registry, options: Options) -> anyhow::Result<()> {
    let started = Instant::now();
    let say = Say { quiet: options.json };
    let (series, skipped) = load(&options)?;
    let paths = Paths::new(&options.dir);
    let chain = match &options.rpc {
        Some(url) => DemoChain::of_node(url, options.rpc_key.as_deref()).await?,
        None => DemoChain::embedded(),
    };
    say.step("Starting a node: embedded MQTT broker, HTTP, SQLite, solo consensus, wasmer, Groth16");
    let (node, admin) = start(registry, &paths, &chain).await?;
    let running = node.running().clone();
    say.done(&format!("node   {}", running.node));
    say.done(&format!("MQTT   {}", running.mqtt.as_deref().unwrap_or("none")));
    say.done(&format!("HTTP   {}  (status page)", running.http));
    say.done(&format!("chain  {}", chain.shown));
    let tasks = Tasks::new("demo");
    let (stop, stopped) = oneshot::channel::<()>();
    let (ended, end) = oneshot::channel();
    tasks.spawn("node", async move {
        let result = node.run(async { drop(stopped.await) }).await;
        // The demo may have given up already; then nobody asks for the result.
        let _ = ended.send(result);
    });
    let stage = Stage { say: &say, admin: &admin, running: &running, paths: &paths, chain: &chain };
    let until = if options.all { None } else { Some(started + SETTLE_UNTIL) };
    let outcome = stage.story(series, until).await;
    let summary = outcome?.finish(started, &skipped, &say, &options)?;
    if options.json {
        print_line(&summary.to_string());
    }
    if options.keep {
        say.step(&format!("Still running: {}   (Ctrl-C ends it)", running.http));
        tokio::signal::ctrl_c().await?;
    }
    drop(stop);
    end.await.context("the node was lost")??;
    Ok(())
}

fn load(options: &Options) -> anyhow::Result<(Series, Skipped)> {
    if let Some((path, time, value, device)) = &options.data {
        return readings::load(path, &Columns { time, value, device: device.as_deref() });
    }
    let columns = Columns { time: "date", value: "temp", device: None };
    let (mut all, mut skipped) = readings::read(SEATTLE, &columns, "seattle")?;
    let (more, also) = readings::read(SAN_FRANCISCO, &columns, "san-francisco")?;
    all.extend(more);
    skipped.repeated += also.repeated;
    skipped.disordered += also.disordered;
    skipped.bad_rows += also.bad_rows;
    skipped.missing += also.missing;
    // The two stations report in degrees Fahrenheit.
    for reading in all.values_mut().flatten() {
        reading.milli = fahrenheit_to_celsius(reading.milli);
    }
    Ok((all, skipped))
}

async fn start(registry: Registry, paths: &Paths, chain: &DemoChain) -> anyhow::Result<(crate::Node, Admin)> {
    let mut config = Config::default();
    let registry = chain.join(registry, &mut config);
    let made = if paths.keys().exists() {
        let wallet = setup::open_wallet(paths, None)?;
        let admin_token = std::fs::read_to_string(paths.admin_token())?.trim().to_owned();
        setup::Made { wallet, admin_token }
    } else {
        setup::init(paths, &config, None)?
    };
    let node =
        NodeBuilder::new(registry, config, paths.clone(), made.wallet).with_free_ports(true).build().await?;
    let admin = Admin::new(node.running().admin.clone(), made.admin_token);
    Ok((node, admin))
}

/// What the story has shown.
struct Shown {
    project: Value,
    tally: Tally,
    files: Files,
    days: Vec<String>,
    sending: Duration,
    contracts: Contracts,
    settled: Settled,
}

/// What was settled, counted from the node's records of transactions.
#[derive(Default)]
struct Settled {
    proofs: u64,
    settled: u64,
    waiting: u64,
    gas: u64,
    proof_ms: Vec<u64>,
    after_ms: Vec<u64>,
    last: Option<Value>,
    seconds: f64,
}

/// Who plays.
struct Stage<'a> {
    say: &'a Say,
    admin: &'a Admin,
    running: &'a Running,
    paths: &'a Paths,
    chain: &'a DemoChain,
}

impl Stage<'_> {
    async fn story(&self, series: Series, settle_until: Option<Instant>) -> anyhow::Result<Shown> {
        let (say, admin) = (self.say, self.admin);
        let wallet = setup::open_wallet(self.paths, None)?;
        let owner = wallet.secret(Role::Owner)?.clone();
        wait_until_up(admin).await?;
        let (manifest, contracts) = self.deploy(&owner).await?;
        let devices = self.register(&owner, series).await?;
        let total: usize = devices.iter().map(|d| d.readings.len()).sum();
        say.step(&format!("Sending {total} signed readings, acknowledged when they are durable"));
        let sending = Instant::now();
        let tally = send_all(say, self.running, manifest.project(), &devices).await?;
        let sending = sending.elapsed();
        say.step("Waiting until every block is attested");
        let project = await_attested(admin).await?;
        let days = sample_days(admin, &devices).await;
        let settled = self.settle(settle_until).await?;
        say.step("Fetching one message's receipt and verifying it against anchors");
        let chosen = proof::chosen_message(&devices, project_id(&project)?)?;
        let program = manifest.applets.first().context("the manifest has no applet")?.program;
        let files = Files::of(self.paths.dir());
        let known = Known { devices: &devices, project: &project, program, chain: self.chain };
        proof::prove((say, admin), &files, chosen, &known).await?;
        let project = admin.get("/v1/projects/cold-chain").await?;
        Ok(Shown { project, tally, files, days, sending, contracts, settled })
    }

    /// Contracts and project. They name each other: the contract knows the project's id, which is made of owner and
    /// name; the manifest knows the contracts' addresses; the registry learns the genesis last.
    async fn deploy(&self, owner: &SecretKey) -> anyhow::Result<(Manifest, Contracts)> {
        let (say, admin, name) = (self.say, self.admin, "cold-chain".parse()?);
        let did = Did::key(&owner.public());
        say.step("Deploying the contracts: registry of subnets, Executor, Groth16 verifier, cold chain");
        let contracts = self.chain.deploy(ProjectId::new(&did, &name)).await?;
        say.done(&format!("Executor   {}", contracts.executor));
        say.done(&format!("cold chain {}", contracts.cold_chain));
        say.step("Deploying the project cold-chain: its manifest is signed by its owner");
        let text = format!("{MANIFEST}{}", chain::settlement(self.chain.id, &contracts));
        let loaded = ManifestFile::parse(&text, "the demo's manifest")?.with_files(
            &did,
            vec![APPLET.to_vec()],
            vec![chain::circuit()],
        )?;
        let mut manifest = loaded.manifest;
        for module in loaded.modules.into_values() {
            admin.put_program(module).await?;
        }
        for circuit in loaded.circuits {
            admin.put_circuit(circuit.witness).await?;
            admin.put_circuit(circuit.key).await?;
        }
        if let Ok(project) = admin.get(&format!("/v1/projects/{name}")).await {
            manifest.version = project["version"].as_u64().unwrap_or(0) + 1;
        }
        admin.change(&name, Control::Deploy(Box::new(manifest.clone())), owner).await?;
        let answer = admin.get(&format!("/v1/projects/{name}/genesis")).await?;
        let genesis: Genesis = serde_json::from_value(answer["genesis"].clone())?;
        self.chain.register(&contracts, &genesis).await?;
        let answer = admin.get(&format!("/v1/projects/{name}/settlements")).await?;
        self.chain.fund(answer["payer"].as_str().unwrap_or("").parse()?).await?;
        say.done("the contracts know the subnet's members");
        Ok((manifest, contracts))
    }

    async fn register(&self, owner: &SecretKey, series: Series) -> anyhow::Result<Vec<Device>> {
        let name = "cold-chain".parse()?;
        let mut devices = Vec::new();
        for (device, readings) in series {
            let key = DeviceKey::generate(Algorithm::EdDSA)?;
            let registration = DeviceRegistration {
                device: key.did(),
                key: key.public(),
                event_types: vec!["reading".parse()?],
            };
            self.admin.change(&name, Control::RegisterDevice(registration), owner).await?;
            self.say.done(&format!("registered {device}: {}", key.did()));
            devices.push(Device { name: device, key, readings });
        }
        Ok(devices)
    }

    /// Waits until everything is settled, or until it is time to end.
    async fn settle(&self, until: Option<Instant>) -> anyhow::Result<Settled> {
        self.say.step("Proving each device's day in zero knowledge, and settling it on the chain");
        let started = Instant::now();
        let bar = bar(0, "days settled", None).with_finish(ProgressFinish::AndLeave);
        bar.set_draw_target(self.say.target());
        let mut after = None;
        let mut all = Settled::default();
        loop {
            all.waiting = self.settlements(false, None).await?.len() as u64;
            // Those that ended since the last look; they come in any order, so all are counted at the end.
            let project = self.admin.get("/v1/projects/cold-chain").await?;
            let count = |name: &str| project["counters"][name].as_u64().unwrap_or(0);
            (all.settled, all.proofs) = (count("w3b_settled_total"), count("w3b_proofs_total"));
            bar.set_length(all.settled + all.waiting);
            bar.set_position(all.settled);
            if project["state"] == "Halted" {
                bail!("the project does not go on: {}", project["reason"]);
            }
            if all.waiting == 0 || until.is_some_and(|u| Instant::now() > u) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bar.finish();
        all.settled = 0;
        loop {
            let page = self.settlements(true, after).await?;
            let Some(last) = page.last() else { break };
            after = Some((last["height"].as_u64().unwrap_or(0), last["index"].as_u64().unwrap_or(0)));
            for settlement in page {
                all.settled += 1;
                all.gas += settlement["state"]["gas_used"].as_u64().unwrap_or(0);
                all.proof_ms.extend(settlement["state"]["proof_millis"].as_u64());
                all.after_ms.extend(settlement["state"]["after_millis"].as_u64());
                all.last = Some(settlement);
            }
        }
        all.proof_ms.sort_unstable();
        all.after_ms.sort_unstable();
        all.seconds = started.elapsed().as_secs_f64();
        Ok(all)
    }

    async fn settlements(&self, ended: bool, after: Option<(u64, u64)>) -> anyhow::Result<Vec<Value>> {
        let after = after.map_or_else(String::new, |(height, index)| format!("&after={height}.{index}"));
        let path = format!("/v1/projects/cold-chain/settlements?ended={ended}{after}");
        let mut answer = self.admin.get(&path).await?;
        Ok(serde_json::from_value(answer["settlements"].take())?)
    }
}

fn project_id(project: &Value) -> anyhow::Result<ProjectId> {
    Ok(project["id"].as_str().unwrap_or("").parse()?)
}

async fn wait_until_up(admin: &Admin) -> anyhow::Result<()> {
    for _ in 0..100 {
        if admin.get("/v1/status").await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    admin.get("/v1/status").await.map(|_| ()).context("the node does not come up")
}

/// The signed message of one reading. Deterministic, so that the demo can name a message without keeping it.
fn message(device: &Device, project: ProjectId, index: usize) -> anyhow::Result<Envelope> {
    let reading = device.readings[index];
    let payload = json!({ "device": device.name, "t": reading.time, "c": reading.milli }).to_string();
    let counter = u32::try_from(index).context("more than 2^32 readings")?;
    let draft = Draft {
        audience: project,
        key: device.key.key_id(),
        event_type: "reading".parse()?,
        sequence: Sequence::new(0, counter),
        time: Timestamp(u64::try_from(reading.time).unwrap_or(0)),
        payload: payload.into_bytes(),
    };
    // The salt must be unguessable, not random: a secret of the device and the sequence number give one.
    let secret =
        Digest::tagged("w3b/demo-salt/1", &[&device.key.secret().to_bytes(), &counter.to_be_bytes()]);
    let mut salt = [0; 16];
    salt.copy_from_slice(&secret.as_bytes()[..16]);
    Ok(draft.sign_envelope(salt, device.key.secret()))
}

/// Every other device speaks MQTT, the rest HTTP, all at the same time.
async fn send_all(
    say: &Say,
    running: &Running,
    project: ProjectId,
    devices: &[Device],
) -> anyhow::Result<Tally> {
    let bars = MultiProgress::with_draw_target(say.target());
    let mut sending = Vec::new();
    for (i, device) in devices.iter().enumerate() {
        let mqtt = running.mqtt.as_deref().filter(|_| i % 2 == 0);
        let protocol = if mqtt.is_some() { "MQTT" } else { "HTTP" };
        let bar = bars.add(bar(device.readings.len() as u64, &device.name, Some(protocol)));
        sending.push(async move {
            let tally = match mqtt {
                Some(url) => over_mqtt(url, project, device, &bar).await,
                None => over_http(&running.http, project, device, &bar).await,
            };
            bar.finish();
            tally
        });
    }
    let mut all = Tally::default();
    for tally in futures_util::future::join_all(sending).await {
        let tally = tally?;
        all.accepted += tally.accepted;
        all.refused += tally.refused;
    }
    Ok(all)
}

fn bar(len: u64, name: &str, protocol: Option<&str>) -> ProgressBar {
    let style = ProgressStyle::with_template("    {prefix:22} {bar:32} {pos:>6}/{len} {per_sec:>12}");
    let bar = ProgressBar::new(len).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_prefix(protocol.map_or_else(|| name.to_owned(), |p| format!("{name} ({p})")))
}

async fn over_mqtt(
    url: &str,
    project: ProjectId,
    device: &Device,
    bar: &ProgressBar,
) -> anyhow::Result<Tally> {
    let address = url.trim_start_matches("mqtt://");
    let (host, port) = address.rsplit_once(':').context("the broker's URL has no port")?;
    let mut options = MqttOptions::new(&device.name, host, port.parse()?);
    options.set_keep_alive(Duration::from_secs(30));
    options.set_outgoing_inflight_upper_limit(u16::try_from(IN_FLIGHT).unwrap_or(u16::MAX));
    let (client, mut events) = AsyncClient::new(options, IN_FLIGHT);
    let publish = async {
        for index in 0..device.readings.len() {
            let bytes = w3bstream_wire::encode_envelope(&message(device, project, index)?);
            client.publish("w3b/cold-chain/reading", QoS::AtLeastOnce, false, bytes).await?;
        }
        anyhow::Ok(())
    };
    let count = async {
        let mut tally = Tally::default();
        while tally.accepted + tally.refused < device.readings.len() as u64 {
            let Event::Incoming(Packet::PubAck(ack)) = events.poll().await? else { continue };
            match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => tally.accepted += 1,
                _ => tally.refused += 1,
            }
            bar.inc(1);
        }
        anyhow::Ok(tally)
    };
    let (published, tally) = tokio::try_join!(publish, count).map_err(|e| e.context("MQTT device"))?;
    let () = published;
    // What follows is only politeness: every message has its answer.
    let _ = client.disconnect().await;
    Ok(tally)
}

async fn over_http(
    url: &str,
    project: ProjectId,
    device: &Device,
    bar: &ProgressBar,
) -> anyhow::Result<Tally> {
    let http = Http::default();
    let url = format!("{url}/v1/projects/cold-chain/events");
    let kind = [(header::CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_ENVELOPE.to_owned())];
    let places = Semaphore::new(REQUESTS);
    let send = |index| {
        let (http, url, kind, places) = (&http, &url, &kind, &places);
        async move {
            let _place = places.acquire().await?;
            let bytes = w3bstream_wire::encode_envelope(&message(device, project, index)?);
            let answer = http.send((Method::POST, url), kind, bytes).await?;
            bar.inc(1);
            anyhow::Ok(answer.status == StatusCode::CREATED || answer.status == StatusCode::OK)
        }
    };
    let answers = futures_util::future::join_all((0..device.readings.len()).map(send)).await;
    let mut tally = Tally::default();
    for accepted in answers {
        if accepted.context("HTTP device")? {
            tally.accepted += 1;
        } else {
            tally.refused += 1;
        }
    }
    Ok(tally)
}

async fn await_attested(admin: &Admin) -> anyhow::Result<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let project = admin.get("/v1/projects/cold-chain").await?;
        let number = |name: &str| project[name].as_u64().unwrap_or(0);
        let waiting = project["counters"]["w3b_backlog_messages"].as_u64().unwrap_or(0);
        if waiting == 0 && number("height") == number("attested") {
            return Ok(project);
        }
        if project["state"] == "Halted" || Instant::now() > until {
            bail!("the project does not come to rest: {}", project["reason"]);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What the applet has kept of the first day of each device.
async fn sample_days(admin: &Admin, devices: &[Device]) -> Vec<String> {
    let mut lines = Vec::new();
    for device in devices.iter().take(4) {
        let Some(first) = device.readings.first() else { continue };
        let Ok(at) = jiff::Timestamp::from_millisecond(first.time) else { continue };
        let day = at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
        let key = format!("d%2F{}%2F{day}", device.name);
        if let Ok(bytes) = admin.get_bytes(&format!("/v1/projects/cold-chain/state/cold-chain/{key}")).await {
            lines.push(format!("{} {day}: {}", device.name, String::from_utf8_lossy(&bytes)));
        }
    }
    lines
}

impl Settled {
    fn median(&self) -> Option<u64> {
        self.proof_ms.get(self.proof_ms.len() / 2).copied()
    }

    fn tell(&self, say: &Say) {
        let all = self.settled + self.waiting;
        say.done(&format!("days settled           {} of {all}, by {} proofs", self.settled, self.proofs));
        if self.waiting > 0 {
            say.done(
                "                       (the rest would go on at the next start; --all settles everything)",
            );
        }
        say.done(&format!("gas                    {}", self.gas));
        if let Some(median) = self.median() {
            say.done(&format!("a proof, queue included {median} ms (median)"));
        }
        if let Some(last) = &self.last {
            let state = &last["state"];
            say.done(&format!("last transaction       {} in block {}", state["transaction"], state["block"]));
        }
        say.done("what a proof says: the day's statement follows from readings that open its commitment;");
        say.done(
            "that devices signed these readings is the quorum's word (here 1 of 1). The proving key is a",
        );
        say.done("DEVELOPMENT key: whoever made it could forge proofs. See docs/proofs.md.");
    }
}

impl Shown {
    fn finish(
        self,
        started: Instant,
        skipped: &Skipped,
        say: &Say,
        options: &Options,
    ) -> anyhow::Result<Value> {
        let seconds = started.elapsed().as_secs_f64();
        let counters = &self.project["counters"];
        let summary = json!({
            "messages": self.tally.accepted,
            "refused": self.tally.refused,
            "executed": counters["w3b_messages_executed_total"],
            "handler_failures": counters["w3b_handler_failures_total"],
            "blocks": self.project["height"],
            "attested": self.project["attested"],
            "seconds": (seconds * 100.0).round() / 100.0,
            "messages_per_second": (self.tally.accepted as f64 / self.sending.as_secs_f64()).round(),
            "skipped": skipped,
            "proofs": self.settled.proofs,
            "settled": self.settled.settled,
            "unsettled": self.settled.waiting,
            "gas": self.settled.gas,
            "proof_ms_median": self.settled.median(),
            "settled_after_ms_first": self.settled.after_ms.first(),
            "settled_after_ms_last": self.settled.after_ms.last(),
            "settling_seconds": (self.settled.seconds * 100.0).round() / 100.0,
            "executor": self.contracts.executor,
            "settled_topic": Digest::from_bytes(w3bstream_contracts::Settled::topic()),
            "contract": self.contracts.cold_chain,
            "receipt": self.files.receipt,
            "anchors": self.files.anchors,
            "key": self.files.key,
            "dir": options.dir,
        });
        say.step("Summary (counted from answers and from the node's state)");
        say.done(&format!("messages acknowledged  {}", summary["messages"]));
        say.done(&format!("refused                {}", summary["refused"]));
        say.done(&format!("executed               {}", summary["executed"]));
        say.done(&format!("blocks / attested      {} / {}", summary["blocks"], summary["attested"]));
        say.done(&format!("signed messages/s      {}", summary["messages_per_second"]));
        say.done(&format!("rows skipped           {}", serde_json::to_string(skipped)?));
        self.settled.tell(say);
        for line in &self.days {
            say.done(line);
        }
        say.done(&format!("receipt                {}", self.files.receipt.display()));
        say.done(&format!("anchors                {}", self.files.anchors.display()));
        say.done(&format!("seconds                {}", summary["seconds"]));
        say.step("Check the receipt yourself, on any machine:");
        say.done(&self.files.command());
        if self.tally.accepted == 0 {
            bail!("no message was accepted");
        }
        Ok(summary)
    }
}

/// Talks to the person; silent with `--json`.
struct Say {
    quiet: bool,
}

impl Say {
    fn target(&self) -> ProgressDrawTarget {
        if self.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
    }

    fn step(&self, text: &str) {
        if !self.quiet {
            print_line(&format!("\n▸ {text}"));
        }
    }

    fn done(&self, text: &str) {
        if !self.quiet {
            print_line(&format!("    {text}"));
        }
    }
}

#[allow(clippy::print_stdout, reason = "this is what the command is for")]
fn print_line(text: &str) {
    println!("{text}");
}

/// A fresh folder for a demo that was given none.
pub(crate) fn fresh_dir() -> anyhow::Result<PathBuf> {
    for i in 0..10_000 {
        let dir = Path::new("w3bstream-demo").join(format!("run-{i}"));
        if !dir.exists() {
            return Ok(dir);
        }
    }
    bail!("there are 10,000 demos in w3bstream-demo; remove some")
}
