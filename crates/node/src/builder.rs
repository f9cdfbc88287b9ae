//! From settings to a running node: build checks and binds everything, only run starts work.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use w3bstream_consensus::{FileWal, Wal};
use w3bstream_endpoint::{
    Challenge, Endpoint, Feed, MessageLife, OpenedSession, Publisher, Query, Sessions, SharedGate,
};
use w3bstream_endpoint_http::{HttpConfig, HttpEndpoint, HttpLimits};
use w3bstream_endpoint_mqtt::{MqttConfig, MqttEndpoint};
use w3bstream_journal_sqlite::SqliteJournal;
use w3bstream_pipeline::{ChainParts, OpenWal, Options, Parts, Pipeline, SessionOptions};
use w3bstream_tasks::Tasks;
use w3bstream_types::{
    Clock, Did, MessageId, ProjectId, ProjectName, Refusal, RefusalKind, SettlementStep, SystemClock,
};
use w3bstream_vfs_local::LocalVfs;
use w3bstream_wallet::{AdmitLimits, Signer};
use w3bstream_wallet_file::FileWallet;

use crate::admin::{self, AdminState};
use crate::gate::NodeGate;
use crate::legacy::{self, Legacy};
use crate::{ChainContext, ChainSettings, Config, Paths, Registry, StatusPage, StorageContext, web};

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
    /// `mqtt://…`; absent without a broker.
    pub mqtt: Option<String>,
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
        let mut ports = vec![("http", self.config.http.listen), ("admin", self.config.admin.listen)];
        if self.config.mqtt.enabled {
            ports.push(("mqtt", self.config.mqtt.listen));
        }
        if self.config.legacy.enabled {
            ports.push(("legacy", self.config.legacy.listen));
        }
        for (i, (name, at)) in ports.iter().enumerate() {
            let clash = ports[..i].iter().find(|(_, other)| other == at && at.port() != 0);
            if let Some((other, _)) = clash.filter(|_| !self.free_ports) {
                wrong.push(format!("{name}.listen and {other}.listen are both {at}"));
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
        let feed = Feed::default();
        let http = self.bind_http(&query)?;
        let mqtt =
            if self.config.mqtt.enabled { Some(self.bind_mqtt(self.gate(&query)?).await?) } else { None };
        let legacy = if self.config.legacy.enabled { Some(self.open_legacy(&query).await?) } else { None };
        let admin = self.bind("admin", self.config.admin.listen).await?;
        let mut endpoints: Vec<Arc<dyn Endpoint>> = vec![http.clone()];
        endpoints.extend(mqtt.clone().map(|m| -> Arc<dyn Endpoint> { m }));
        if let Some(legacy) = &legacy {
            endpoints.push(legacy.endpoint.clone());
            endpoints.push(legacy.listener.clone());
        }
        let node = self.wallet.node_did().context("keys")?;
        let context = StorageContext { dir: self.paths.dir(), settings: &self.config.storage.settings };
        let storage = self.registry.storage(&self.config.storage.kind, context)?;
        let parts = Parts {
            endpoints,
            publisher: mqtt.clone().map(|m| -> Arc<dyn Publisher> { m }),
            storage,
            journal: Arc::new(SqliteJournal::open(&self.paths.journal())?),
            vfs: Arc::new(LocalVfs::open(&w3bstream_vfs_local::Config::new(self.paths.vfs()))?),
            engine: self.registry.engine()?,
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
        let running = Running {
            pid: std::process::id(),
            http: http.urls().first().cloned().unwrap_or_default(),
            mqtt: mqtt.as_ref().and_then(|m| m.urls().first().cloned()),
            legacy: legacy.as_ref().and_then(|l| l.listener.urls().first().cloned()),
            admin: format!("http://{}", admin.local_addr()?),
            node,
        };
        query.set(pipeline.clone(), running.clone());
        let drain = Duration::from_millis(self.config.limits.drain_ms);
        let legacy = legacy.map(|l| l.listener);
        let paths = self.paths;
        Ok(Node { pipeline, http, legacy, admin, running, paths, drain, status: query, _lock: lock })
    }

    async fn open_legacy(&self, query: &Arc<LateQuery>) -> anyhow::Result<Legacy> {
        let settings = &self.config.legacy;
        let parts = (query, &self.wallet, &self.clock);
        match legacy::open((settings, settings.listen), &self.paths, parts).await {
            Err(_) if self.free_ports => {
                legacy::open((settings, any_port(settings.listen)), &self.paths, parts).await
            }
            result => result.with_context(|| {
                format!("the original's routes on {}: legacy.listen in node.toml", settings.listen)
            }),
        }
    }

    /// Who may connect over MQTT.
    fn gate(&self, query: &Arc<LateQuery>) -> anyhow::Result<SharedGate> {
        let users = self.paths.dir().join(&self.config.mqtt.users);
        let gate = NodeGate::open(&self.config.mqtt, users, query.clone(), self.clock.clone())?;
        Ok(Arc::new(gate))
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
        Options {
            admit: AdmitLimits { max_payload_bytes: self.config.limits.max_payload_bytes },
            guest_caps: self.config.guests.0,
            max_backlog: self.config.limits.max_backlog,
            ..Options::default()
        }
    }

    fn bind_http(&self, query: &Arc<LateQuery>) -> anyhow::Result<Arc<HttpEndpoint>> {
        let listen = self.config.http.listen;
        let at = |listen| {
            let limits =
                HttpLimits { max_connections: self.config.http.max_connections, ..HttpLimits::default() };
            let extra = web::router(query.clone(), self.clock.clone(), self.config.http.status);
            let config = HttpConfig { listen, limits, extra: Some(extra), sessions: query.clone() };
            HttpEndpoint::bind(config, query.clone(), self.clock.clone())
        };
        match at(listen) {
            Err(_) if self.free_ports => Ok(at(any_port(listen))?),
            result => result.with_context(|| taken("http", listen)),
        }
    }

    async fn bind_mqtt(&self, gate: SharedGate) -> anyhow::Result<Arc<MqttEndpoint>> {
        let settings = &self.config.mqtt;
        let config = MqttConfig {
            listen: settings.listen,
            max_connections: settings.max_connections,
            max_packet_bytes: settings.max_packet_bytes,
            sessions_file: Some(self.paths.mqtt_sessions()),
            ..MqttConfig::default()
        };
        match MqttEndpoint::bind(config.clone(), self.clock.clone(), gate.clone()).await {
            Err(_) if self.free_ports => {
                let config = MqttConfig { listen: any_port(settings.listen), ..config };
                Ok(MqttEndpoint::bind(config, self.clock.clone(), gate).await?)
            }
            result => result.with_context(|| taken("mqtt", settings.listen)),
        }
    }

    async fn bind(&self, name: &str, listen: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
        match tokio::net::TcpListener::bind(listen).await {
            Err(_) if self.free_ports => Ok(tokio::net::TcpListener::bind(any_port(listen)).await?),
            result => result.with_context(|| taken(name, listen)),
        }
    }
}

const fn any_port(listen: SocketAddr) -> SocketAddr {
    SocketAddr::new(listen.ip(), 0)
}

fn taken(name: &str, listen: SocketAddr) -> String {
    format!(
        "cannot listen on {listen}; choose another address with {name}.listen in node.toml, or --{name} ADDRESS"
    )
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

/// The pipeline's answers, for endpoints that are bound before there is a pipeline.
#[derive(Debug, Default)]
pub(crate) struct LateQuery {
    pipeline: OnceLock<Pipeline>,
    running: OnceLock<Running>,
    /// Nothing is told that is for operators only.
    brief: bool,
}

impl LateQuery {
    pub(crate) const fn is_brief(&self) -> bool {
        self.brief
    }

    fn set(&self, pipeline: Pipeline, running: Running) {
        // Set once, by `build`.
        let _ = self.pipeline.set(pipeline);
        let _ = self.running.set(running);
    }

    pub(crate) fn pipeline(&self) -> Option<&Pipeline> {
        self.pipeline.get()
    }

    pub(crate) fn running(&self) -> Option<&Running> {
        self.running.get()
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
        self.pipeline().map(Query::metrics).unwrap_or_default()
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
    http: Arc<HttpEndpoint>,
    legacy: Option<Arc<HttpEndpoint>>,
    admin: tokio::net::TcpListener,
    running: Running,
    paths: Paths,
    drain: Duration,
    status: Arc<LateQuery>,
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
        self.http.start(&servers);
        if let Some(legacy) = &self.legacy {
            legacy.start(&servers);
        }
        let hash = admin::read_hash(&self.paths)?;
        let state = AdminState::new(self.pipeline.clone(), self.running.clone(), hash);
        admin::serve(self.admin, state, &servers);
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
