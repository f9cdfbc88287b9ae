//! What more threads do for the execution of blocks.
//!
//! Two pipelines over rooms in memory, with wasmer, one on one thread and one on more, get the same messages. A block
//! begins when all of them are there, so nothing else runs while it is executed. What is measured is the time from
//! the begin of its execution until its handlers have run ([`Probe`]), by turns. Both must end with the same state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use w3bstream_consensus::{ConsensusFactory, MemoryDisk, Solo, Wal, factory};
use w3bstream_endpoint::{Feed, MemoryClient, MemoryEndpoint};
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};
use w3bstream_journal::MemoryJournal;
use w3bstream_pipeline::{OpenScratch, OpenWal, Options, Parts, Pipeline, Probe, SessionOptions};
use w3bstream_storage::MemoryStorage;
use w3bstream_types::{
    AckMode, Algorithm, Applet, BlockRules, Control, ControlTx, DeviceRegistration, Did, Digest, Draft, Form,
    GuestLimits, Manifest, OutputKind, Partition, ProjectId, Received, Record, Route, SecretKey, Sequence,
    Submission, SystemClock, Timestamp,
};
use w3bstream_vfs::{MemoryVfs, Vfs};
use w3bstream_wallet::{MemorySigner, Role, Signer as _};

use crate::handler::{PROGRAMS, percentile};

/// Devices that send, by turns.
const DEVICES: usize = 32;

/// A project and its messages.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// For people.
    pub what: &'static str,
    /// How many applets take each message.
    pub applets: usize,
    /// Into what their states are split.
    pub partition: Partition,
    /// The handler's module, as WAT; its handler is `h`.
    pub program: String,
}

/// Reads a key, counts up, writes it; before that, so many rounds of a loop.
fn counts(rounds: u32) -> String {
    format!(
        r#"(import "env" "ws_get_db" (func $get (param i32 i32 i32 i32) (result i32)))
           (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
           (memory (export "memory") 17) (data (i32.const 8) "n")
           (func (export "alloc") (param i32) (result i32) (i32.const 1024))
           (func (export "h") (param i32) (result i32) (local i32)
             (loop $l (br_if $l (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const {rounds}))))
             (drop (call $get (i32.const 8) (i32.const 1) (i32.const 16) (i32.const 20)))
             (i32.store (i32.const 1024) (i32.add (i32.load (i32.const 1024)) (i32.const 1)))
             (call $set (i32.const 8) (i32.const 1) (i32.const 1024) (i32.const 4)))"#
    )
}

/// The scenarios that are compared.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    // Some 2 ms a call.
    const COSTLY: u32 = 1_000_000;
    let scenario = |what, applets, partition, program| Scenario { what, applets, partition, program };
    let cheap = PROGRAMS[1].1.to_owned();
    vec![
        scenario("four applets, each costly", 4, Partition::None, counts(COSTLY)),
        scenario("one costly applet, split by device", 1, Partition::Device, counts(COSTLY)),
        scenario("one costly applet, not split", 1, Partition::None, counts(COSTLY)),
        scenario("four cheap applets", 4, Partition::None, cheap.clone()),
        scenario("one cheap applet, split by device", 1, Partition::Device, cheap.clone()),
        scenario("one cheap applet", 1, Partition::None, cheap),
    ]
}

/// What a scenario gave on so many threads.
#[derive(Clone, Debug)]
pub struct Side {
    /// As `engine.threads`.
    pub threads: usize,
    /// Calls of handlers a second, in the block that took half of the blocks no longer.
    pub calls_per_second: f64,
    /// That block's execution.
    pub median: Duration,
}

/// When blocks began to be executed, and how long their handlers took.
#[derive(Debug, Default)]
struct Watch(Mutex<(Option<Instant>, Vec<Duration>)>);

impl Probe for Watch {
    fn at(&self, point: &'static str) {
        let mut watch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match point {
            "execute.started" => watch.0 = Some(Instant::now()),
            "execute.ran" => {
                let took = watch.0.take().map(|begun| begun.elapsed());
                watch.1.extend(took);
            }
            _ => {}
        }
    }
}

impl Watch {
    /// The times since the last time that it was asked.
    fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).1)
    }
}

#[derive(Debug)]
struct Disk(MemoryDisk);

impl OpenWal for Disk {
    fn open(&self, _: ProjectId) -> Result<Box<dyn Wal>, w3bstream_consensus::Error> {
        Ok(Box::new(self.0.open()?))
    }
}

#[derive(Debug)]
struct Scratch;

impl OpenScratch for Scratch {
    fn open(&self) -> Result<Arc<dyn Vfs>, w3bstream_vfs::Error> {
        Ok(Arc::new(MemoryVfs::new()))
    }

    fn clear(&self) -> Result<(), w3bstream_vfs::Error> {
        Ok(())
    }
}

/// A node without a network.
struct World {
    pipeline: Pipeline,
    client: MemoryClient,
    vfs: MemoryVfs,
    watch: Arc<Watch>,
    project: ProjectId,
    stop: tokio::sync::oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<(), w3bstream_pipeline::Error>>,
}

fn secret(seed: usize) -> anyhow::Result<SecretKey> {
    let seed = u8::try_from(seed).context("a key's seed")?;
    SecretKey::from_bytes(Algorithm::EdDSA, &[seed; 32]).map_err(|e| anyhow!("{e}"))
}

fn manifest(scenario: &Scenario, program: Digest, entries: u32) -> anyhow::Result<Manifest> {
    let applet = |n: usize| {
        Ok(Applet {
            name: format!("applet-{n}").parse()?,
            program,
            routes: vec![Route { event_type: "default".parse()?, handler: "h".into() }],
            limits: GuestLimits { gas: 1_000_000_000, ..GuestLimits::default() },
            partition: scenario.partition,
        })
    };
    Ok(Manifest {
        name: "p".parse()?,
        owner: Did::key(&secret(255)?.public()),
        version: 1,
        ack: AckMode::Durable,
        max_payload_bytes: 1024,
        allow_tokens: false,
        allow_sessions: false,
        // Time enough to send all of them, before a block begins.
        blocks: BlockRules { max_entries: entries, max_delay_ms: 400 },
        env: vec![],
        applets: (0..scenario.applets).map(applet).collect::<anyhow::Result<_>>()?,
        settlements: vec![],
        chains: vec![],
        triggers: vec![],
        database: None,
    })
}

impl World {
    #[allow(clippy::disallowed_methods, reason = "the world owns this task and joins it")]
    async fn start(scenario: &Scenario, threads: usize, entries: u32) -> anyhow::Result<Self> {
        let endpoint = Arc::new(MemoryEndpoint::new(256));
        let (client, vfs, watch) = (endpoint.client(), MemoryVfs::new(), Arc::new(Watch::default()));
        let solo: Arc<dyn ConsensusFactory> = factory::<Solo>();
        let signer = Arc::new(MemorySigner::from_seed([7; 32])?);
        let parts = Parts {
            endpoints: vec![endpoint],
            publisher: None,
            storage: Arc::new(MemoryStorage::new()),
            journal: Arc::new(MemoryJournal::new()),
            vfs: Arc::new(vfs.reopen()),
            scratch: Arc::new(Scratch),
            engine: Arc::new(WasmerEngine::new(&WasmerConfig::default())),
            node: Did::key(&signer.public(Role::Node)?),
            signer,
            consensus: BTreeMap::from([("solo".to_owned(), solo)]),
            default_consensus: "solo".into(),
            wals: Arc::new(Disk(MemoryDisk::new())),
            chains: BTreeMap::new(),
            provers: BTreeMap::new(),
            settle_every: Duration::from_secs(1),
            trigger_every: Duration::from_secs(1),
            feed: Feed::default(),
            clock: Arc::new(SystemClock),
            probe: watch.clone(),
            sessions: SessionOptions::new([9; 32]),
            options: Options { threads, ..Options::default() },
        };
        let pipeline = Pipeline::build(parts).await?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let run = pipeline.clone().run(async { drop(stopped.await) }, Duration::from_secs(60));
        let ended = tokio::spawn(run);
        let bytes = wat::parse_str(format!("(module {})", scenario.program))?;
        let program = pipeline.put_program(bytes).await?;
        let mut manifest = manifest(scenario, program, entries)?;
        let project = manifest.project();
        let world = Self { pipeline, client, vfs, watch, project, stop, ended };
        // Devices are registered at once, and messages wait for each other afterwards.
        let rules = std::mem::take(&mut manifest.blocks);
        world.change(Control::Deploy(Box::new(manifest.clone()))).await?;
        for n in 1..=DEVICES {
            let key = secret(n)?.public();
            let device = DeviceRegistration { device: Did::key(&key), key, event_types: vec![] };
            world.change(Control::RegisterDevice(device)).await?;
        }
        (manifest.version, manifest.blocks) = (2, rules);
        world.change(Control::Deploy(Box::new(manifest))).await?;
        Ok(world)
    }

    async fn change(&self, change: Control) -> anyhow::Result<()> {
        let nonce = self.pipeline.next_nonce(self.project).await?;
        self.pipeline.submit(ControlTx::sign(self.project, nonce, change, &secret(255)?)).await?;
        Ok(())
    }

    /// How long the handlers of these messages took, which are one block if they are sent in time.
    async fn block(&self, messages: &[Record], calls: usize) -> anyhow::Result<Duration> {
        let mut height = self.vfs.head(self.project).await?.0;
        self.watch.take();
        for record in messages {
            let submission = Submission::Signed(record.clone());
            let received = Received { project: "p".parse()?, submission, received_at: Timestamp(5) };
            let answer = self.client.send(received).await;
            answer.map_err(|refusal| anyhow!("a message was refused: {refusal:?}"))?;
        }
        let mut seen = 0;
        for _ in 0..60_000 {
            while let Some((_, _, outputs)) = self.vfs.result(self.project, height + 1).await? {
                height += 1;
                seen += outputs.iter().filter(|o| o.kind == OutputKind::Result).count();
            }
            if seen >= calls {
                ensure!(seen == calls, "{seen} calls instead of {calls}");
                return Ok(self.watch.take().iter().sum());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err(anyhow!("{seen} of {calls} calls within a minute"))
    }

    async fn stop(self) -> anyhow::Result<(u64, Digest)> {
        let head = self.vfs.head(self.project).await?;
        drop(self.stop);
        self.ended.await??;
        Ok(head)
    }
}

/// Messages of all devices by turns; `round` makes them new ones.
fn messages(project: ProjectId, count: usize, round: usize) -> anyhow::Result<Vec<Record>> {
    let message = |n: usize| {
        let key = secret(1 + n % DEVICES)?;
        let draft = Draft {
            audience: project,
            key: Did::key(&key.public()).default_key_id(),
            event_type: "reading".parse()?,
            sequence: Sequence::new(0, u32::try_from(round * count + n)?),
            time: Timestamp(1),
            payload: b"21.5".to_vec(),
        };
        Ok(Record::new(Form::Envelope(draft.sign_envelope([0; 16], &key))))
    };
    (0..count).map(message).collect()
}

/// Runs a scenario on each number of threads, block by block in turns: `rounds` blocks of `count` messages.
///
/// # Errors
/// If a node does not do what is asked, or the states differ in the end.
pub async fn compare(
    scenario: &Scenario,
    threads: &[usize],
    (rounds, count): (usize, usize),
) -> anyhow::Result<Vec<Side>> {
    let entries = u32::try_from(count)?;
    let mut worlds = Vec::new();
    for threads in threads {
        worlds.push((*threads, World::start(scenario, *threads, entries).await?, Vec::new()));
    }
    // A block more, before anything counts, warms caches.
    for round in 0..=rounds {
        for (_, world, times) in &mut worlds {
            let messages = messages(world.project, count, round)?;
            let took = world.block(&messages, count * scenario.applets).await?;
            times.extend((round > 0).then_some(took));
        }
    }
    let (mut sides, mut heads) = (Vec::new(), Vec::new());
    for (threads, world, mut times) in worlds {
        let median = percentile(&mut times, 50);
        let calls = (count * scenario.applets) as f64;
        sides.push(Side { threads, calls_per_second: calls / median.as_secs_f64(), median });
        heads.push(world.stop().await?.1);
    }
    ensure!(heads.iter().all(|head| Some(head) == heads.first()), "the states differ: {heads:?}");
    Ok(sides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_does_the_same_on_one_thread_and_on_three() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for scenario in scenarios() {
            let program = scenario.program.replace("1000000", "100");
            let scenario = Scenario { program, ..scenario };
            let sides = runtime.block_on(compare(&scenario, &[1, 3], (1, 40))).unwrap();
            assert_eq!(sides.iter().map(|s| s.threads).collect::<Vec<_>>(), [1, 3]);
            assert!(sides.iter().all(|s| s.calls_per_second > 0.0), "{sides:?}");
        }
    }
}
