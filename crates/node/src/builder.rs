//! From settings to a running node: build checks and binds everything, only run starts work.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use w3bstream_consensus::{FileWal, Wal};
use w3bstream_endpoint::{Challenge, Endpoint, Feed, MessageLife, OpenedSession, Query, Sessions};
use w3bstream_engine::Engine;
use w3bstream_engine_worker::WorkerEngine;
use w3bstream_journal_sqlite::SqliteJournal;
use w3bstream_pipeline::{ChainParts, OpenScratch, OpenWal, Options, Parts, Pipeline, SessionOptions};
use w3bstream_tasks::Tasks;
use w3bstream_types::{
    Clock, Did, MessageId, ProjectId, ProjectName, Refusal, RefusalKind, SettlementStep, SystemClock,
};
use w3bstream_vfs::Vfs;
use w3bstream_vfs_local::LocalVfs;
use w3bstream_wallet::{AdmitLimits, Signer};
use w3bstream_wallet_file::FileWallet;

use crate::admin::{self, AdminState};
use crate::listeners::{Listeners, Making};
use crate::{ChainContext, ChainSettings, Config, Paths, Registry, StatusPage, StorageContext, workers};

/// Puts a node together.
#[derive(Debug)]
pub struct NodeBuilder {
    registry: Registry,
    config: Config,
    paths: Paths,
    wallet: Arc<FileWallet>,
    clock: Arc<dyn Clock>,
    free_ports: bool,
}

/// The addresses of a running node, as they stand in `running.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    /// Process id.
    pub pid: u32,
    /// `http://…`: devices and status page.
    pub http: String,
    /// `https://…`: the same for those who reach the node from anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<String>,
    /// `mqtt://…`; absent without a broker.
    pub mqtt: Option<String>,
    /// `mqtts://…`: MQTT over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtts: Option<String>,
    /// `ws://…`: MQTT over WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ws: Option<String>,
    /// `wss://…`: MQTT over WebSocket and TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wss: Option<String>,
    /// `http://…` or `https://…`: gRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// `coap://…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coap: Option<String>,
    /// `http://…`: clients of the original W3bstream; absent unless they are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<String>,
    /// `http://…`: the admin API.
    pub admin: String,
    /// The node's DID.
    pub node: Did,
}

impl NodeBuilder {
    /// A node with these backends, settings, data folder and keys.
    #[must_use]
    pub fn new(registry: Registry, config: Config, paths: Paths, wallet: FileWallet) -> Self {
        let wallet = Arc::new(wallet);
        Self { registry, config, paths, wallet, clock: Arc::new(SystemClock), free_ports: false }
    }

    /// Takes a free port wherever the configured one is taken. For `demo` and `dev`, not for `run`.
    #[must_use]
    pub const fn with_free_ports(mut self, free: bool) -> Self {
        self.free_ports = free;
        self
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Everything that is missing or does not fit together, at once.
    fn check(&self) -> anyhow::Result<()> {
        let mut wrong = Vec::new();
        if !self.registry.has_storage(&self.config.storage.kind) {
            wrong
                .push(format!("storage.kind = {:?} is not a backend of this node", self.config.storage.kind));
        }
        if !self.registry.consensus().contains_key(&self.config.consensus.kind) {
            wrong.push(format!(
                "consensus.kind = {:?} is not a backend of this node",
                self.config.consensus.kind
            ));
        }
        wrong.extend(self.registry.without_engine(&self.config.engine.kind));
        for (i, chain) in self.config.chains.iter().enumerate() {
            if !self.registry.has_chain(&chain.kind) {
                wrong.push(format!(
                    "chain {}: kind = {:?} is not a backend of this node",
                    chain.id, chain.kind
                ));
            }
            if self.config.chains.iter().take(i).any(|c| c.id == chain.id) {
                wrong.push(format!("chain {} stands twice", chain.id));
            }
        }
        // CoAP's is a port of UDP.
        let (c, mqtt) = (&self.config, &self.config.mqtt);
        let on = |enabled, name, at| Some((name, at)).filter(|_| enabled);
        let ports = [
            Some(("http.listen", c.http.listen)),
            c.http.tls_listen.map(|at| ("http.tls-listen", at)),
            Some(("admin.listen", c.admin.listen)),
            on(mqtt.enabled, "mqtt.listen", mqtt.listen),
            mqtt.tls_listen.and_then(|at| on(mqtt.enabled, "mqtt.tls-listen", at)),
            mqtt.ws_listen.and_then(|at| on(mqtt.enabled, "mqtt.ws-listen", at)),
            mqtt.wss_listen.and_then(|at| on(mqtt.enabled, "mqtt.wss-listen", at)),
            on(c.grpc.enabled, "grpc.listen", c.grpc.listen),
            on(c.legacy.enabled, "legacy.listen", c.legacy.listen),
        ];
        let ports: Vec<_> = ports.into_iter().flatten().collect();
        for (i, (name, at)) in ports.iter().enumerate() {
            let clash = ports[..i].iter().find(|(_, other)| other == at && at.port() != 0);
            if let Some((other, _)) = clash.filter(|_| !self.free_ports) {
                wrong.push(format!("{name} and {other} are both {at}"));
            }
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            bail!("the settings do not fit together:\n  {}", wrong.join("\n  "))
        }
    }

    /// Checks the settings, opens every store and binds every socket. Starts nothing.
    ///
    /// # Errors
    /// What is wrong and what to change: a taken port, another process on the data folder, data of a newer
    /// version, a backend that is not there.
    pub async fn build(self) -> anyhow::Result<Node> {
        self.check()?;
        let lock = lock(&self.paths)?;
        let http = &self.config.http;
        let brief = match http.status {
            StatusPage::Auto => !http.listen.ip().is_loopback(),
            status => status == StatusPage::Brief,
        };
        let query = Arc::new(LateQuery { brief, ..LateQuery::default() });
        let public = Arc::new(query.briefly());
        let feed = Feed::default();
        let making = Making {
            config: &self.config,
            paths: &self.paths,
            wallet: &self.wallet,
            clock: &self.clock,
            query: &query,
            public: &public,
            feed: &feed,
            free_ports: self.free_ports,
        };
        let listeners = Arc::new(making.bind().await?);
        let node = self.wallet.node_did().context("keys")?;
        let context = StorageContext { dir: self.paths.dir(), settings: &self.config.storage.settings };
        let storage = self.registry.storage(&self.config.storage.kind, context)?;
        let (engine, workers) = self.engine()?;
        let parts = Parts {
            endpoints: listeners.endpoints(),
            publisher: listeners.publisher(),
            storage,
            journal: Arc::new(SqliteJournal::open(&self.paths.journal())?),
            vfs: Arc::new(LocalVfs::open(&w3bstream_vfs_local::Config::new(self.paths.vfs()))?),
            scratch: self.scratch()?,
            engine,
            signer: self.wallet.clone() as Arc<dyn Signer>,
            node: node.clone(),
            consensus: self.registry.consensus().clone(),
            default_consensus: self.config.consensus.kind.clone(),
            wals: Arc::new(FileWals(self.paths.wal())),
            chains: self.chains()?,
            provers: self.registry.provers(self.config.limits.provers())?,
            settle_every: Duration::from_millis(self.config.limits.settle_every_ms.max(1)),
            trigger_every: Duration::from_millis(self.config.limits.trigger_every_ms.max(1)),
            feed: feed.clone(),
            clock: self.clock.clone(),
            probe: self.registry.probe(),
            sessions: self.sessions()?,
            options: self.options(),
        };
        let pipeline = Pipeline::build(parts).await?;
        let running = running(&listeners, node)?;
        query.set(Late {
            pipeline: pipeline.clone(),
            running: running.clone(),
            listeners: listeners.clone(),
            workers,
        });
        let drain = Duration::from_millis(self.config.limits.drain_ms);
        Ok(Node {
            pipeline,
            listeners,
            running,
            paths: self.paths,
            drain,
            status: (query, public),
            _lock: lock,
        })
    }

    /// The engine; also as its workers have it, if it has such.
    fn engine(&self) -> anyhow::Result<(Arc<dyn Engine>, Workers)> {
        let settings = &self.config.engine;
        if !settings.process {
            return Ok((self.registry.engine(settings)?, None));
        }
        let workers = workers::start(settings)?;
        Ok((workers.clone(), Some(workers)))
    }

    /// Where replays work. What one has left that was cut off is removed.
    fn scratch(&self) -> anyhow::Result<Arc<dyn OpenScratch>> {
        let scratch = Scratch(self.paths.scratch());
        scratch.clear()?;
        Ok(Arc::new(scratch))
    }

    fn chains(&self) -> anyhow::Result<BTreeMap<u64, ChainParts>> {
        let open = |settings: &ChainSettings| {
            let context = ChainContext { id: settings.id, settings: &settings.settings };
            let chain = self.registry.chain(&settings.kind, context)?;
            Ok((settings.id, ChainParts { chain, settings: settings.submitter() }))
        };
        self.config.chains.iter().map(open).collect()
    }

    fn sessions(&self) -> anyhow::Result<SessionOptions> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
        let settings = &self.config.sessions;
        Ok(SessionOptions {
            life_seconds: settings.life_seconds,
            max_nonces: settings.max_nonces,
            ..SessionOptions::new(secret)
        })
    }

    fn options(&self) -> Options {
        let defaults = Options::default();
        Options {
            admit: AdmitLimits { max_payload_bytes: self.config.limits.max_payload_bytes },
            guest_caps: self.config.guests.0,
            max_backlog: self.config.limits.max_backlog,
            canaries: self.config.limits.canaries(),
            threads: self.config.engine.threads.unwrap_or(defaults.threads),
            ..defaults
        }
    }
}

/// Where everything is.
fn running(listeners: &Listeners, node: Did) -> anyhow::Result<Running> {
    let first = |urls: Vec<String>| urls.into_iter().next();
    let admin = format!("http://{}", listeners.admin.local_addr()?);
    let mqtt = listeners.mqtt.as_ref().map(|m| m.urls()).unwrap_or_default();
    Ok(Running {
        pid: std::process::id(),
        http: first(listeners.http.urls()).unwrap_or_default(),
        https: listeners.https.as_ref().and_then(|h| first(h.urls())),
        mqtts: mqtt.iter().find(|u| u.starts_with("mqtts:")).cloned(),
        ws: mqtt.iter().find(|u| u.starts_with("ws:")).cloned(),
        wss: mqtt.iter().find(|u| u.starts_with("wss:")).cloned(),
        mqtt: first(mqtt),
        grpc: listeners.grpc.as_ref().and_then(|g| first(g.urls())),
        coap: listeners.coap.as_ref().and_then(|c| first(c.urls())),
        legacy: listeners.legacy.as_ref().and_then(|l| first(l.listener.urls())),
        admin,
        node,
    })
}

/// Sees to it that one process at a time uses a data folder. The lock ends with the process.
fn lock(paths: &Paths) -> anyhow::Result<File> {
    std::fs::create_dir_all(paths.dir()).with_context(|| format!("cannot make {}", paths.dir().display()))?;
    let file = File::options().create(true).append(true).open(paths.lock()).context("lock file")?;
    if file.try_lock().is_err() {
        bail!("another process runs a node on {}; stop it, or give another --dir", paths.dir().display());
    }
    Ok(file)
}

/// Consensus logs as files.
#[derive(Debug)]
struct FileWals(PathBuf);

impl OpenWal for FileWals {
    fn open(&self, project: ProjectId) -> Result<Box<dyn Wal>, w3bstream_consensus::Error> {
        Ok(Box::new(FileWal::open(self.0.join(project.to_string()))?))
    }
}

/// A folder in which a replay makes states anew.
#[derive(Debug)]
struct Scratch(PathBuf);

impl OpenScratch for Scratch {
    fn open(&self) -> Result<Arc<dyn Vfs>, w3bstream_vfs::Error> {
        self.clear()?;
        Ok(Arc::new(LocalVfs::open(&w3bstream_vfs_local::Config::new(&self.0))?))
    }

    fn clear(&self) -> Result<(), w3bstream_vfs::Error> {
        match std::fs::remove_dir_all(&self.0) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                let what = format!("cannot remove {}", self.0.display());
                Err(w3bstream_vfs::Error::new(w3bstream_vfs::ErrorKind::Io, what).with_source(e))
            }
            _ => Ok(()),
        }
    }
}

/// The pipeline's answers, for endpoints that are bound before there is a pipeline.
#[derive(Debug, Default)]
pub(crate) struct LateQuery {
    late: Arc<OnceLock<Late>>,
    /// Nothing is told that is for operators only.
    brief: bool,
}

/// The engine once more, if it runs in processes of its own.
type Workers = Option<Arc<WorkerEngine>>;

/// What answers once the node is built.
#[derive(Debug)]
struct Late {
    pipeline: Pipeline,
    running: Running,
    listeners: Arc<Listeners>,
    workers: Workers,
}

impl LateQuery {
    /// The same answers, without what is for operators only.
    fn briefly(&self) -> Self {
        Self { late: self.late.clone(), brief: true }
    }

    pub(crate) const fn is_brief(&self) -> bool {
        self.brief
    }

    fn set(&self, late: Late) {
        // Set once, by `build`.
        let _ = self.late.set(late);
    }

    pub(crate) fn pipeline(&self) -> Option<&Pipeline> {
        self.late.get().map(|l| &l.pipeline)
    }

    pub(crate) fn running(&self) -> Option<&Running> {
        self.late.get().map(|l| &l.running)
    }
}

#[async_trait]
impl Query for LateQuery {
    async fn message(&self, id: MessageId) -> Result<Option<MessageLife>, w3bstream_endpoint::Error> {
        match self.pipeline() {
            Some(pipeline) => {
                let mut life = pipeline.message(id).await?;
                let settlements = life.iter_mut().flat_map(|l| &mut l.settlements);
                let open = |s: &SettlementStep| *s <= SettlementStep::Proven;
                for settlement in settlements.filter(|s| self.brief && s.attempts > 0 && open(&s.state)) {
                    // Why a try failed may name a chain's node, or say how an account stands.
                    "the node's operator knows why".clone_into(&mut settlement.reason);
                }
                Ok(life)
            }
            None => Ok(None),
        }
    }

    fn ready(&self) -> Result<(), String> {
        self.pipeline().map_or_else(|| Err("the node is starting".into()), Query::ready)
    }

    fn metrics(&self) -> String {
        let mut text = self.pipeline().map(Query::metrics).unwrap_or_default();
        if let Some(late) = self.late.get() {
            text.push_str(&late.listeners.metrics());
            text.push_str(&late.workers.as_ref().map(|w| w.metrics()).unwrap_or_default());
        }
        text
    }
}

fn starting() -> Refusal {
    Refusal::new(RefusalKind::NotReady, "the node is starting")
}

#[async_trait]
impl Sessions for LateQuery {
    async fn open(&self, project: &ProjectName, introduction: &str) -> Result<OpenedSession, Refusal> {
        match self.pipeline() {
            Some(pipeline) => pipeline.open(project, introduction).await,
            None => Err(starting()),
        }
    }

    fn challenge(&self, project: &ProjectName) -> Result<Challenge, Refusal> {
        self.pipeline().ok_or_else(starting)?.challenge(project)
    }
}

/// A node that is ready to run: everything is open and bound.
#[derive(Debug)]
pub struct Node {
    pipeline: Pipeline,
    listeners: Arc<Listeners>,
    running: Running,
    paths: Paths,
    drain: Duration,
    status: (Arc<LateQuery>, Arc<LateQuery>),
    _lock: File,
}

impl Node {
    /// Where it listens.
    #[must_use]
    pub const fn running(&self) -> &Running {
        &self.running
    }
    /// Its pipeline.
    #[must_use]
    pub const fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Runs until `stop` resolves, then drains.
    ///
    /// # Errors
    /// Why the node could not go on, or what did not end in time.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        // A server that answers before its projects are there would not know messages that it has.
        self.pipeline.resume().await?;
        let servers = Tasks::new("servers");
        self.listeners.start(&servers);
        let hash = admin::read_hash(&self.paths)?;
        let state =
            AdminState::new(self.pipeline.clone(), self.running.clone(), (hash, self.listeners.clone()));
        admin::serve(state, &servers);
        write_running(&self.paths, &self.running)?;
        let result = self.pipeline.run(stop, self.drain).await;
        let _ = std::fs::remove_file(self.paths.running());
        drop(self.status);
        let joined = servers.join(Duration::from_secs(5)).await;
        result?;
        joined.map_err(|late| anyhow::anyhow!("did not end in time: {}", late.join(", ")))
    }
}

fn write_running(paths: &Paths, running: &Running) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(running)?;
    std::fs::write(paths.running(), text).context("running.json")
}
