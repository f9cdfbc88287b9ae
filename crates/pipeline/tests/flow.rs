//! The flow over memory rooms: from a signature to an attestation, and what goes wrong on the way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "flow/canary.rs"]
mod canary;
#[path = "flow/events.rs"]
mod events;
#[path = "flow/lanes.rs"]
mod lanes;
#[path = "flow/live.rs"]
mod live;
#[path = "flow/native.rs"]
mod native;
#[path = "flow/reading.rs"]
mod reading;
#[path = "flow/removal.rs"]
mod removal;
#[path = "flow/replay.rs"]
mod replay;
#[path = "flow/sending.rs"]
mod sending;
#[path = "flow/sessions.rs"]
mod sessions;
#[path = "flow/settling.rs"]
mod settling;
#[path = "flow/triggers.rs"]
mod triggers;
#[path = "flow/versions.rs"]
mod versions;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use w3bstream_chain::memory::{FlakyChain, Troubles};
use w3bstream_chain_dev::{DevChain, Settings};
use w3bstream_consensus::{ConsensusFactory, MemoryDisk, Solo, Wal, factory};
use w3bstream_endpoint::{Answer, Feed, MemoryClient, MemoryEndpoint, Query as _};
use w3bstream_engine::{Call, Engine, GuestError, HostState, Module, Outcome, Uses};
use w3bstream_journal::MemoryJournal;
use w3bstream_pipeline::{
    CanaryLimits, ChainParts, NoProbe, OpenScratch, OpenWal, Options, Parts, Pipeline, Probe, ReceiptContent,
    SessionOptions,
};
use w3bstream_prover::{MemoryProver, Prover, TOY};
use w3bstream_storage::{Filter, MemoryStorage, Storage as _};
use w3bstream_types::{
    AckMode, Address, Algorithm, Applet, BlockRules, Canonical as _, Clock, ContractAnswer, ContractCall,
    Control, ControlTx, DeviceRegistration, Did, Digest, Draft, Form, GuestLimits, Manifest, MessageId,
    MessageState, Output, OutputKind, Partition, Position, ProjectId, Received, Record, RefusalKind, Route,
    SecretKey, Sequence, Submission, SystemClock, Timestamp, TokenRegistration, TransactionRequest,
    token_hash,
};
use w3bstream_vfs::{MemoryVfs, Vfs};
use w3bstream_wallet::{MemorySigner, Role, Signer as _};

use native::{FICKLE, Native};

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

/// The system's clock, put forward by some milliseconds.
#[derive(Debug, Default)]
struct ShiftedClock(AtomicU64);

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0.load(Ordering::SeqCst))
    }
}

/// What survives a restart.
struct World {
    storage: MemoryStorage,
    journal: MemoryJournal,
    vfs: MemoryVfs,
    disk: MemoryDisk,
    signer: Arc<MemorySigner>,
    chain: Arc<DevChain>,
    /// The way to the chain.
    line: Arc<FlakyChain>,
    clock: Arc<ShiftedClock>,
    feed: Feed,
    probe: Arc<dyn Probe>,
    canaries: CanaryLimits,
    owner: SecretKey,
    device: SecretKey,
}

/// A running pipeline.
struct Run {
    pipeline: Pipeline,
    client: MemoryClient,
    stop: tokio::sync::oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<(), w3bstream_pipeline::Error>>,
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(Algorithm::EdDSA, &[seed; 32]).unwrap()
}

impl World {
    fn new() -> Self {
        let chain = Arc::new(DevChain::new(Settings::default()));
        Self {
            line: Arc::new(FlakyChain::new(chain.clone(), 1, Troubles::default())),
            storage: MemoryStorage::new(),
            journal: MemoryJournal::new(),
            vfs: MemoryVfs::new(),
            disk: MemoryDisk::new(),
            signer: Arc::new(MemorySigner::from_seed([7; 32]).unwrap()),
            chain,
            clock: Arc::default(),
            feed: Feed::default(),
            probe: Arc::new(NoProbe),
            canaries: CanaryLimits::DEFAULT,
            owner: key(1),
            device: key(2),
        }
    }

    fn chain(&self) -> ChainParts {
        let settings = w3bstream_chain::submit::Settings {
            confirmations: 1,
            ..w3bstream_chain::submit::Settings::default()
        };
        ChainParts { chain: self.line.clone(), settings }
    }

    #[allow(clippy::disallowed_methods, reason = "the test owns this task and joins it")]
    async fn start(&self) -> Run {
        let endpoint = Arc::new(MemoryEndpoint::new(256));
        let client = endpoint.client();
        let solo: Arc<dyn ConsensusFactory> = factory::<Solo>();
        let parts = Parts {
            endpoints: vec![endpoint],
            publisher: None,
            storage: Arc::new(self.storage.reopen()),
            journal: Arc::new(self.journal.reopen()),
            vfs: Arc::new(self.vfs.reopen()),
            scratch: Arc::new(Scratch),
            engine: Arc::new(Native),
            node: Did::key(&self.signer.public(Role::Node).unwrap()),
            signer: self.signer.clone(),
            consensus: BTreeMap::from([("solo".to_owned(), solo)]),
            default_consensus: "solo".into(),
            wals: Arc::new(Disk(self.disk.clone())),
            chains: BTreeMap::from([(31_337, self.chain())]),
            provers: BTreeMap::from([(TOY.to_owned(), Arc::new(MemoryProver::new(8)) as Arc<dyn Prover>)]),
            settle_every: Duration::from_millis(5),
            trigger_every: Duration::from_millis(5),
            feed: self.feed.clone(),
            clock: self.clock.clone(),
            probe: self.probe.clone(),
            sessions: SessionOptions::new([9; 32]),
            options: Options { canaries: self.canaries, ..Options::default() },
        };
        let pipeline = Pipeline::build(parts).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let run = pipeline.clone().run(async { drop(stopped.await) }, Duration::from_secs(60));
        Run { pipeline, client, stop, ended: tokio::spawn(run) }
    }

    fn manifest(&self, ack: AckMode, programs: &[&str]) -> Manifest {
        let applet = |name: &&str| Applet {
            name: name.parse().unwrap(),
            program: Digest::of(name.as_bytes()),
            routes: vec![Route { event_type: "default".parse().unwrap(), handler: "run".into() }],
            limits: GuestLimits::default(),
            partition: Partition::None,
        };
        Manifest {
            name: "p".parse().unwrap(),
            owner: Did::key(&self.owner.public()),
            version: 1,
            ack,
            max_payload_bytes: 1024,
            allow_tokens: true,
            allow_sessions: true,
            blocks: BlockRules { max_entries: 8, max_delay_ms: 5 },
            env: vec![],
            applets: programs.iter().map(applet).collect(),
            settlements: vec![],
            chains: vec![],
            triggers: vec![],
            database: None,
        }
    }

    async fn change(&self, run: &Run, project: ProjectId, change: Control) -> Result<u64, String> {
        let nonce = run.pipeline.next_nonce(project).await.unwrap();
        let tx = ControlTx::sign(project, nonce, change, &self.owner);
        run.pipeline.submit(tx).await.map(|o| o.height).map_err(|e| e.to_string())
    }

    /// Deploys the programs and registers the device.
    async fn deploy(&self, run: &Run, ack: AckMode, programs: &[&str]) -> ProjectId {
        let manifest = self.manifest(ack, programs);
        let project = manifest.project();
        for program in programs {
            run.pipeline.put_program(program.as_bytes().to_vec()).await.unwrap();
        }
        self.change(run, project, Control::Deploy(Box::new(manifest))).await.unwrap();
        self.change(run, project, register(&self.device)).await.unwrap();
        project
    }

    fn message(&self, project: ProjectId, counter: u32) -> Record {
        self.message_named(project, &self.device, counter)
    }

    /// A message in the name of a device, signed by this world's.
    fn message_named(&self, project: ProjectId, device: &SecretKey, counter: u32) -> Record {
        let draft = Draft {
            audience: project,
            key: Did::key(&device.public()).default_key_id(),
            event_type: "reading".parse().unwrap(),
            sequence: Sequence::new(0, counter),
            time: Timestamp(1),
            payload: vec![counter as u8],
        };
        Record::new(Form::Envelope(draft.sign_envelope([0; 16], &self.device)))
    }
}

fn register(device: &SecretKey) -> Control {
    let (device, key) = (Did::key(&device.public()), device.public());
    Control::RegisterDevice(DeviceRegistration { device, key, event_types: vec![] })
}

impl Run {
    async fn send(&self, record: Record) -> Answer {
        let submission = Submission::Signed(record);
        self.client
            .send(Received { project: "p".parse().unwrap(), submission, received_at: Timestamp(5) })
            .await
    }

    async fn state(&self, id: MessageId) -> Vec<MessageState> {
        let life = self.pipeline.message(id).await.unwrap();
        life.map(|l| l.states.iter().map(|s| s.state).collect()).unwrap_or_default()
    }

    async fn reaches(&self, id: MessageId, wanted: MessageState) -> Vec<MessageState> {
        for _ in 0..500 {
            let states = self.state(id).await;
            if states.contains(&wanted) {
                return states;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} does not reach {wanted:?}: {:?}", self.state(id).await);
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap().unwrap();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

const LIFE: [MessageState; 4] =
    [MessageState::Stored, MessageState::Ordered, MessageState::Executed, MessageState::Attested];

#[test]
fn a_message_goes_through_every_room_and_its_receipt_verifies() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
        for counter in 0..20 {
            let record = world.message(project, counter);
            let id = record.id();
            let accepted = run.send(record).await.unwrap();
            assert_eq!((accepted.mode, accepted.duplicate), (AckMode::Executed, false));
            assert_eq!(accepted.results[0].code, i32::try_from(counter).unwrap(), "each ran once, in order");
            assert_eq!(run.reaches(id, MessageState::Attested).await, LIFE);
            let receipt =
                run.pipeline.receipt(id, ReceiptContent { payload: true, settlements: true }).await.unwrap();
            assert!(receipt.verify(None).is_ok());
        }
        let again = run.send(world.message(project, 3)).await.unwrap();
        assert!(again.duplicate && again.results[0].code == 3, "a repeat gets the first answer: {again:?}");
        let count =
            run.pipeline.applet_value(project, (&"counts".parse().unwrap(), None), b"count").await.unwrap();
        assert_eq!(count, Some(vec![20]), "the repeat did not run");
        run.stop().await;
    });
}

#[test]
fn a_message_that_was_accepted_is_a_repeat_even_when_it_is_below_the_window() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
        let first = run.send(world.message(project, 0)).await.unwrap();
        // A new boot epoch ends the window of the old one.
        let later = |epoch, counter| {
            let draft = Draft {
                audience: project,
                key: Did::key(&world.device.public()).default_key_id(),
                event_type: "reading".parse().unwrap(),
                sequence: Sequence::new(epoch, counter),
                time: Timestamp(1),
                payload: vec![9],
            };
            Record::new(Form::Envelope(draft.sign_envelope([0; 16], &world.device)))
        };
        run.send(later(1, 0)).await.unwrap();
        let again = run.send(world.message(project, 0)).await.unwrap();
        assert_eq!((again.id, again.duplicate, &again.results), (first.id, true, &first.results));
        let refused = run.send(later(0, 5)).await.unwrap_err();
        assert_eq!(
            (refused.kind, refused.next_epoch),
            (RefusalKind::TooOld, Some(2)),
            "one that is new is too old"
        );
        let count =
            run.pipeline.applet_value(project, (&"counts".parse().unwrap(), None), b"count").await.unwrap();
        assert_eq!(count, Some(vec![2]), "the repeat did not run");
        run.stop().await;
    });
}

/// Holds the first batch that was stored, until others have gone by.
#[derive(Debug, Default)]
struct SlowFirst(AtomicU64);

impl Probe for SlowFirst {
    fn at(&self, point: &'static str) {
        if point == "admit.stored" && self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

#[test]
fn a_message_that_is_executed_before_anybody_waits_for_it_is_answered() {
    block_on(async {
        let mut world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
        run.stop().await;
        world.probe = Arc::new(SlowFirst::default());
        let run = world.start().await;
        let slow = run.send(world.message(project, 0));
        let others = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            // It wakes the sequencer, which takes what is stored: the slow one's message too.
            run.send(world.message(project, 1)).await
        };
        let both = tokio::time::timeout(Duration::from_secs(10), futures_util::future::join(slow, others));
        let (slow, other) = both.await.expect("both are answered");
        assert_eq!((slow.unwrap().results[0].code, other.unwrap().results[0].code), (0, 1));
        run.stop().await;
    });
}

#[test]
fn what_was_read_before_the_stop_is_answered_by_the_stop() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
        // More than a block takes, so that most of it still waits for its handlers when the stop comes.
        let waiting: Vec<_> = (0..200)
            .map(|counter| {
                let (project, submission) =
                    ("p".parse().unwrap(), Submission::Signed(world.message(project, counter)));
                let mut sending =
                    Box::pin(run.client.send(Received { project, submission, received_at: Timestamp(5) }));
                // Polled once, it is in the endpoint's queue.
                assert!(futures_util::FutureExt::now_or_never(&mut sending).is_none());
                sending
            })
            .collect();
        run.stop().await;
        for answer in futures_util::future::join_all(waiting).await {
            assert_eq!(answer.unwrap().mode, AckMode::Executed);
        }
    });
}

#[test]
fn what_comes_in_order_over_one_connection_is_stored_in_order() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Durable, &["counts"]).await;
        let sending = (0..2000).map(|counter| run.send(world.message(project, counter)));
        let answers: Vec<Answer> = futures_util::stream::iter(sending).buffered(200).collect().await;
        assert!(answers.iter().all(Result::is_ok));
        let filter = Filter { project: Some(project), ..Filter::default() };
        let stored = world.storage.scan(&filter, Position(0), 3000).await.unwrap();
        let counters: Vec<u32> = stored.iter().map(|(_, i)| i.record.sequence().unwrap().counter()).collect();
        assert_eq!(counters, (0..2000).collect::<Vec<_>>());
        run.stop().await;
    });
}

#[test]
fn a_failing_applet_changes_nothing_for_another() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Executed, &["counts", "fails", "other"]).await;
        let accepted = run.send(world.message(project, 0)).await.unwrap();
        let shown: Vec<_> =
            accepted.results.iter().map(|r| (r.applet.as_str(), r.code, r.error.as_deref())).collect();
        assert_eq!(shown, [("counts", 0, None), ("fails", -1, Some("trap")), ("other", 0, None)]);
        run.stop().await;
    });
}

#[test]
fn everything_goes_on_after_a_restart() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Durable, &["counts"]).await;
        let first: Vec<Record> = (0..50).map(|c| world.message(project, c)).collect();
        for record in &first {
            run.send(record.clone()).await.unwrap();
        }
        run.stop().await;
        let run = world.start().await;
        for record in &first {
            assert_eq!(run.reaches(record.id(), MessageState::Attested).await, LIFE);
            assert!(run.send(record.clone()).await.unwrap().duplicate, "it is known after the restart");
        }
        run.send(world.message(project, 50)).await.unwrap();
        run.reaches(world.message(project, 50).id(), MessageState::Attested).await;
        let count =
            run.pipeline.applet_value(project, (&"counts".parse().unwrap(), None), b"count").await.unwrap();
        assert_eq!(count, Some(vec![51]));
        run.stop().await;
    });
}

#[test]
fn a_conflict_is_refused_and_visible() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Durable, &["counts"]).await;
        run.send(world.message(project, 1)).await.unwrap();
        let draft = Draft {
            audience: project,
            key: Did::key(&world.device.public()).default_key_id(),
            event_type: "reading".parse().unwrap(),
            sequence: Sequence::new(0, 1),
            time: Timestamp(2),
            payload: vec![9],
        };
        let other = Record::new(Form::Envelope(draft.sign_envelope([0; 16], &world.device)));
        assert_eq!(run.send(other.clone()).await.unwrap_err().kind, RefusalKind::Conflict);
        assert_eq!(run.state(other.id()).await, [MessageState::Conflicted]);
        run.stop().await;
    });
}

#[test]
fn reordering_inside_the_window_is_accepted_and_an_older_boot_epoch_is_not() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
        for counter in [5, 2, 9, 0] {
            run.send(world.message(project, counter)).await.unwrap();
        }
        let at = |epoch, counter| {
            let draft = Draft {
                audience: project,
                key: Did::key(&world.device.public()).default_key_id(),
                event_type: "reading".parse().unwrap(),
                sequence: Sequence::new(epoch, counter),
                time: Timestamp(2),
                payload: vec![],
            };
            Record::new(Form::Envelope(draft.sign_envelope([0; 16], &world.device)))
        };
        run.send(at(1, 0)).await.unwrap();
        let refusal = run.send(at(0, 20)).await.unwrap_err();
        assert_eq!((refusal.kind, refusal.next_epoch), (RefusalKind::TooOld, Some(2)));
        run.stop().await;
    });
}

#[test]
fn a_revocation_that_is_ordered_first_rejects_what_was_stored() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Durable, &["counts"]).await;
        let record = world.message(project, 0);
        run.send(record.clone()).await.unwrap();
        run.reaches(record.id(), MessageState::Attested).await;
        world.change(&run, project, Control::RevokeDevice(Did::key(&world.device.public()))).await.unwrap();
        let refusal = run.send(world.message(project, 1)).await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Revoked);
        let back = world.change(&run, project, register(&world.device)).await.unwrap_err();
        assert!(back.contains("was revoked"), "{back}");
        run.stop().await;
    });
}

#[test]
fn control_transactions_of_others_and_out_of_turn_are_refused() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Durable, &["counts"]).await;
        let nonce = run.pipeline.next_nonce(project).await.unwrap();
        let foreign = ControlTx::sign(project, nonce, register(&key(9)), &key(8));
        assert!(run.pipeline.submit(foreign).await.unwrap_err().to_string().contains("owner"));
        let skipped = ControlTx::sign(project, nonce + 1, register(&key(9)), &world.owner);
        assert!(run.pipeline.submit(skipped).await.unwrap_err().to_string().contains("nonce"));
        let old = world.manifest(AckMode::Durable, &["counts"]);
        let old = world.change(&run, project, Control::Deploy(Box::new(old))).await.unwrap_err();
        assert!(old.contains("version"), "{old}");
        let mut missing = world.manifest(AckMode::Durable, &["never-uploaded"]);
        missing.version = 2;
        let missing = world.change(&run, project, Control::Deploy(Box::new(missing))).await.unwrap_err();
        assert!(missing.contains("upload"), "{missing}");
        run.stop().await;
    });
}

#[test]
fn a_token_publisher_sends_without_a_signature_until_it_is_revoked() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
        let publisher: w3bstream_types::PublisherName = "gateway".parse().unwrap();
        let registration = TokenRegistration {
            publisher: publisher.clone(),
            token_hash: token_hash("secret"),
            event_types: vec![],
        };
        world.change(&run, project, Control::RegisterToken(registration)).await.unwrap();
        let send = |token: &str, event_id: &str| {
            let submission = Submission::Token {
                token: token.into(),
                event_id: event_id.into(),
                event_type: "reading".parse().unwrap(),
                time: Timestamp::NONE,
                payload: vec![1],
            };
            run.client.send(Received { project: "p".parse().unwrap(), submission, received_at: Timestamp(5) })
        };
        assert_eq!(send("secret", "e1").await.unwrap().results[0].code, 0);
        assert!(send("secret", "e1").await.unwrap().duplicate);
        assert_eq!(send("wrong", "e2").await.unwrap_err().kind, RefusalKind::BadToken);
        world.change(&run, project, Control::RevokeToken(publisher)).await.unwrap();
        assert_eq!(send("secret", "e3").await.unwrap_err().kind, RefusalKind::BadToken);
        run.stop().await;
    });
}
