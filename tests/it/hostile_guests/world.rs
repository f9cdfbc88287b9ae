//! A pipeline with the engine that nodes have, on a local vfs; everything else is in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use w3bstream_consensus::{ConsensusFactory, MemoryDisk, Solo, Wal, factory};
use w3bstream_endpoint::{Feed, MemoryClient, MemoryEndpoint, Query as _};
use w3bstream_engine::Engine;
use w3bstream_engine_wasix::{WasixConfig, WasixEngine};
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};
use w3bstream_journal::MemoryJournal;
use w3bstream_pipeline::{NoProbe, OpenScratch, OpenWal, Options, Parts, Pipeline, SessionOptions};
use w3bstream_storage::MemoryStorage;
use w3bstream_types::{
    AckMode, Algorithm, Applet, BlockRules, Control, ControlTx, Database, DeviceRegistration, Did, Digest,
    Draft, Form, GuestLimits, HandlerResult, Manifest, Partition, ProjectId, ProjectName, Received, Record,
    Route, SecretKey, Sequence, Submission, SystemClock, Timestamp,
};
use w3bstream_vfs::Vfs;
use w3bstream_vfs_local::LocalVfs;
use w3bstream_wallet::{MemorySigner, Role, Signer as _};

/// Applets on wasmer and WASI programs beside them, as in a node. `guard` is how long a WASI program may take.
pub(super) fn engine(cache_entries: usize, guard: Duration) -> Arc<dyn Engine> {
    let applets = WasmerEngine::new(&WasmerConfig { cache_entries, ..WasmerConfig::default() });
    let shared = applets.shared();
    let config = WasixConfig { cache_entries, guard, ..WasixConfig::default() };
    Arc::new(WasixEngine::new(Arc::new(applets), shared, config).unwrap())
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(future)
}

/// A new log for each project. Nothing here is started twice.
#[derive(Debug)]
struct Logs;

impl OpenWal for Logs {
    fn open(&self, _: ProjectId) -> Result<Box<dyn Wal>, w3bstream_consensus::Error> {
        Ok(Box::new(MemoryDisk::new().open()?))
    }
}

/// Nothing is replayed here.
#[derive(Debug)]
struct NoScratch;

impl OpenScratch for NoScratch {
    fn open(&self) -> Result<Arc<dyn Vfs>, w3bstream_vfs::Error> {
        Ok(Arc::new(w3bstream_vfs::MemoryVfs::new()))
    }

    fn clear(&self) -> Result<(), w3bstream_vfs::Error> {
        Ok(())
    }
}

/// A running node's inside, with the key of who owns all its projects and the key of the device that sends to them.
pub(super) struct World {
    pipeline: Pipeline,
    client: MemoryClient,
    stop: tokio::sync::oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<(), w3bstream_pipeline::Error>>,
    owner: SecretKey,
    device: SecretKey,
    vfs: Arc<LocalVfs>,
    _dir: tempfile::TempDir,
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(Algorithm::EdDSA, &[seed; 32]).unwrap()
}

/// Handlers of an applet by event type.
pub(super) type Routes<'a> = &'a [(&'a str, &'a str)];

/// An applet of a program that was put.
pub(super) fn applet(name: &str, program: Digest, routes: Routes<'_>, limits: GuestLimits) -> Applet {
    let route = |(event_type, handler): &(&str, &str)| Route {
        event_type: event_type.parse().unwrap(),
        handler: (*handler).to_owned(),
    };
    Applet {
        name: name.parse().unwrap(),
        program,
        routes: routes.iter().map(route).collect(),
        limits,
        partition: Partition::None,
    }
}

/// Counts its calls under the key `n` and gives how many there were before.
pub(super) const WELL: &str = r#"(module
  (import "env" "ws_get_db" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 8) "n")
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "well") (param i32) (result i32) (local $n i32)
    (if (i32.eqz (call $get (i32.const 8) (i32.const 1) (i32.const 16) (i32.const 20)))
      (then (local.set $n (i32.load (i32.const 1024)))))
    (i32.store (i32.const 32) (i32.add (local.get $n) (i32.const 1)))
    (drop (call $set (i32.const 8) (i32.const 1) (i32.const 32) (i32.const 4)))
    (local.get $n)))"#;

impl World {
    #[allow(clippy::disallowed_methods, reason = "the test owns this task and joins it")]
    pub(super) async fn start(engine: Arc<dyn Engine>, guest_caps: GuestLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vfs = Arc::new(LocalVfs::open(&w3bstream_vfs_local::Config::new(dir.path())).unwrap());
        let endpoint = Arc::new(MemoryEndpoint::new(256));
        let client = endpoint.client();
        let solo: Arc<dyn ConsensusFactory> = factory::<Solo>();
        let signer = Arc::new(MemorySigner::from_seed([7; 32]).unwrap());
        let parts = Parts {
            endpoints: vec![endpoint],
            publisher: None,
            storage: Arc::new(MemoryStorage::new()),
            journal: Arc::new(MemoryJournal::new()),
            vfs: vfs.clone(),
            scratch: Arc::new(NoScratch),
            engine,
            node: Did::key(&signer.public(Role::Node).unwrap()),
            signer,
            consensus: BTreeMap::from([("solo".to_owned(), solo)]),
            default_consensus: "solo".into(),
            wals: Arc::new(Logs),
            chains: BTreeMap::new(),
            provers: BTreeMap::new(),
            settle_every: Duration::from_secs(3600),
            trigger_every: Duration::from_secs(3600),
            feed: Feed::default(),
            clock: Arc::new(SystemClock),
            probe: Arc::new(NoProbe),
            sessions: SessionOptions::new([9; 32]),
            options: Options { guest_caps, ..Options::default() },
        };
        let pipeline = Pipeline::build(parts).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let run = pipeline.clone().run(async { drop(stopped.await) }, Duration::from_secs(60));
        Self {
            pipeline,
            client,
            stop,
            ended: tokio::spawn(run),
            owner: key(1),
            device: key(2),
            vfs,
            _dir: dir,
        }
    }

    /// Ends everything and waits for it.
    pub(super) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap().unwrap();
        self.vfs.close().await.unwrap();
    }

    /// Uploads a module; why it is refused.
    pub(super) async fn put(&self, module: Vec<u8>) -> Result<Digest, String> {
        self.pipeline.put_program(module).await.map_err(|e| {
            assert_eq!(e.kind(), w3bstream_pipeline::ErrorKind::Refused, "{e}");
            e.to_string()
        })
    }

    /// Deploys applets as the project's next version.
    pub(super) async fn deploy(&self, name: &str, applets: Vec<Applet>) -> Result<Project, String> {
        let project = Project::named(name, &self.owner);
        let version = self.pipeline.next_nonce(project.id).await.unwrap();
        let manifest = Manifest {
            name: project.name.clone(),
            owner: Did::key(&self.owner.public()),
            version,
            ack: AckMode::Executed,
            max_payload_bytes: 1 << 20,
            allow_tokens: false,
            allow_sessions: false,
            blocks: BlockRules { max_entries: 8, max_delay_ms: 1 },
            env: vec![("a".into(), "1".into())],
            applets,
            settlements: vec![],
            chains: vec![],
            triggers: vec![],
            database: Some(database()),
        };
        self.change(&project, Control::Deploy(Box::new(manifest))).await?;
        if version == 1 {
            let (device, key) = (Did::key(&self.device.public()), self.device.public());
            let registration = DeviceRegistration { device, key, event_types: vec![] };
            self.change(&project, Control::RegisterDevice(registration)).await?;
        }
        Ok(project)
    }

    async fn change(&self, project: &Project, change: Control) -> Result<(), String> {
        let nonce = self.pipeline.next_nonce(project.id).await.unwrap();
        let tx = ControlTx::sign(project.id, nonce, change, &self.owner);
        self.pipeline.submit(tx).await.map(drop).map_err(|e| e.to_string())
    }

    /// Sends the project's message number `counter`; its results, or why there are none.
    pub(super) async fn send(
        &self,
        project: &Project,
        counter: u32,
        (event_type, payload): (&str, &[u8]),
    ) -> Result<Vec<HandlerResult>, String> {
        let draft = Draft {
            audience: project.id,
            key: Did::key(&self.device.public()).default_key_id(),
            event_type: event_type.parse().unwrap(),
            sequence: Sequence::new(0, counter),
            time: Timestamp(1),
            payload: payload.to_vec(),
        };
        let record = Record::new(Form::Envelope(draft.sign_envelope([0; 16], &self.device)));
        let (project, submission) = (project.name.clone(), Submission::Signed(record));
        let answer = self.client.send(Received { project, submission, received_at: Timestamp(5) });
        match tokio::time::timeout(Duration::from_secs(60), answer).await {
            Ok(Ok(accepted)) => Ok(accepted.results),
            Ok(Err(refusal)) => Err(refusal.to_string()),
            Err(_) => Err(format!("no answer\n{}", self.metrics())),
        }
    }

    pub(super) fn metrics(&self) -> String {
        self.pipeline.metrics()
    }

    /// The number of a row of the metrics; 0 if there is none.
    pub(super) fn metric(&self, row: &str) -> u64 {
        let metrics = self.metrics();
        let found = metrics.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' '));
        found.map_or(0, |n| n.parse().unwrap())
    }

    pub(super) fn halted(&self, project: &str) -> bool {
        self.metric(&format!("w3b_project_halted{{project=\"{project}\"}}")) == 1
    }
}

/// A project of the world's owner.
#[derive(Clone, Debug)]
pub(super) struct Project {
    pub(super) name: ProjectName,
    pub(super) id: ProjectId,
}

impl Project {
    fn named(name: &str, owner: &SecretKey) -> Self {
        let name: ProjectName = name.parse().unwrap();
        Self { id: ProjectId::new(&Did::key(&owner.public()), &name), name }
    }
}

/// One table `t` of texts.
fn database() -> Database {
    let text = r#"{"tables":[{"name":"t","columns":[
        {"name":"id","datatype":"int64","autoincrement":true},{"name":"v","datatype":"text"}]}]}"#;
    serde_json::from_str(text).unwrap()
}
