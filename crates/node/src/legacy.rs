//! The node behind the routes of the original W3bstream: it signs as the owner of what they deploy.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use w3bstream_endpoint::{Answer, SharedQuery};
use w3bstream_endpoint_http::{HttpConfig, HttpEndpoint, HttpLimits};
use w3bstream_endpoint_legacy::{Backend, CRON, Fault, FaultKind, LegacyConfig, LegacyEndpoint, Plan};
use w3bstream_endpoint_mqtt::{OriginalEvent, Originals};
use w3bstream_pipeline::{ErrorKind, Pipeline};
use w3bstream_types::{
    AckMode, Algorithm, BlockRules, Clock, Control, ControlTx, Did, Digest, Manifest, ProjectId, ProjectName,
    PublisherName, SecretKey, token_hash,
};
use w3bstream_wallet::Role;
use w3bstream_wallet_file::FileWallet;
use w3bstream_wire::legacy::ack_topic;

use crate::builder::LateQuery;
use crate::setup::{random_token, write_private};
use crate::{LegacySettings, Paths};

/// The name of the account that is made when there is none.
const ADMIN: &str = "admin";
/// The account whose owner is the wallet's own: its projects are also those of the command line.
const FIRST_ACCOUNT: u64 = LegacyEndpoint::FIRST_ACCOUNT;

/// The routes and their listener.
#[derive(Debug)]
pub(crate) struct Legacy {
    pub(crate) endpoint: Arc<LegacyEndpoint>,
    pub(crate) listener: Arc<HttpEndpoint>,
}

/// Opens the state, makes the first account, and binds the listener.
pub(crate) async fn open(
    (settings, listen): (&LegacySettings, SocketAddr),
    paths: &Paths,
    (query, wallet, clock): (&Arc<LateQuery>, &Arc<FileWallet>, &Arc<dyn Clock>),
) -> anyhow::Result<Legacy> {
    let owner = wallet.secret(Role::Owner).context("the owner's key")?.clone();
    let backend = Arc::new(NodeBackend { late: query.clone(), owner });
    let config = LegacyConfig { max_in_flight: settings.max_in_flight, ..LegacyConfig::new(paths.legacy()) };
    let shared: SharedQuery = query.clone();
    let endpoint = LegacyEndpoint::open(config, backend, (shared.clone(), clock.clone())).await?;
    first_account(&endpoint, &paths.legacy_password()).await?;
    let limits = HttpLimits {
        max_connections: settings.max_connections,
        // Every event is such a request here.
        max_queries: settings.max_in_flight,
        ..HttpLimits::default()
    };
    let config = HttpConfig { limits, extra: Some(endpoint.router()), ..HttpConfig::new(listen) };
    let listener = HttpEndpoint::bind(config, shared, clock.clone())?;
    Ok(Legacy { endpoint, listener })
}

/// The words in which clients that came over MQTT are answered.
#[derive(Debug)]
pub(crate) struct Words(pub(crate) Arc<LegacyEndpoint>);

#[async_trait]
impl Originals for Words {
    async fn word(&self, event: OriginalEvent, answer: Answer) -> Option<(String, Vec<u8>)> {
        let OriginalEvent { channel, token, event_id, time } = event;
        let told = self.0.describe((&channel, &token), (event_id, time), &answer).await?;
        Some((ack_topic(&told.publisher_key), serde_json::to_vec(&told).ok()?))
    }
}

/// Makes the administrator's account with a random password, which is written to a file that only its owner can read.
async fn first_account(endpoint: &LegacyEndpoint, path: &Path) -> anyhow::Result<()> {
    if endpoint.has_account(ADMIN).await? {
        return Ok(());
    }
    if !path.exists() {
        write_private(path, &format!("{}\n", random_token()?))?;
    }
    let password = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    endpoint.set_admin(ADMIN, password.trim()).await?;
    tracing::info!("the original's routes have the account {ADMIN}; its password is in {}", path.display());
    Ok(())
}

/// Does as owner what an account asks for.
struct NodeBackend {
    late: Arc<LateQuery>,
    owner: SecretKey,
}

impl std::fmt::Debug for NodeBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeBackend")
    }
}

fn refused(why: impl Into<String>) -> Fault {
    Fault { kind: FaultKind::Refused, why: why.into() }
}

fn fault(e: w3bstream_pipeline::Error) -> Fault {
    let kind = match e.kind() {
        ErrorKind::Refused | ErrorKind::NotFound => FaultKind::Refused,
        _ => FaultKind::Unavailable,
    };
    Fault { kind, why: e.to_string() }
}

impl NodeBackend {
    fn pipeline(&self) -> Result<&Pipeline, Fault> {
        let starting = || Fault { kind: FaultKind::Unavailable, why: "the node is starting".to_owned() };
        self.late.pipeline().ok_or_else(starting)
    }

    /// An account's key: the wallet's owner key for the first one; for others one that follows from it, so that it is kept
    /// where that is kept, and as safely.
    fn key(&self, account: u64) -> Result<SecretKey, Fault> {
        if account == FIRST_ACCOUNT {
            return Ok(self.owner.clone());
        }
        let parts: [&[u8]; 2] = [&self.owner.to_bytes(), &account.to_be_bytes()];
        let seed = Digest::tagged("w3b/legacy-owner/1", &parts);
        SecretKey::from_bytes(Algorithm::EdDSA, seed.as_bytes()).map_err(|e| refused(e.to_string()))
    }

    async fn submit(&self, account: u64, name: &ProjectName, change: Control) -> Result<(), Fault> {
        let (pipeline, key) = (self.pipeline()?, self.key(account)?);
        let project = ProjectId::new(&Did::key(&key.public()), name);
        let nonce = pipeline.next_nonce(project).await.map_err(fault)?;
        pipeline.submit(ControlTx::sign(project, nonce, change, &key)).await.map_err(fault)?;
        Ok(())
    }
}

/// The manifest of a plan: what the original knows nothing of stays as it was.
fn manifest(plan: &Plan, owner: Did, current: Option<&Manifest>) -> Manifest {
    let (name, env, applets) = (plan.project.clone(), plan.env.clone(), plan.applets.clone());
    let version = current.map_or(1, |m| m.version + 1);
    let new = Manifest {
        name,
        owner,
        version,
        ack: AckMode::Executed,
        max_payload_bytes: 1024 * 1024,
        allow_tokens: plan.open,
        allow_sessions: false,
        blocks: BlockRules::default(),
        env,
        applets,
        settlements: Vec::new(),
        chains: Vec::new(),
        triggers: plan.triggers.clone(),
        database: plan.database.clone(),
    };
    let Some(current) = current else { return new };
    let Manifest { env, applets, allow_tokens, version, database, triggers: crons, .. } = new;
    let others = current.triggers.iter().filter(|t| !t.name.as_str().starts_with(CRON));
    let triggers = others.cloned().chain(crons).collect();
    let database = database.or_else(|| current.database.clone());
    Manifest { env, applets, allow_tokens, version, database, triggers, ..current.clone() }
}

#[async_trait]
impl Backend for NodeBackend {
    fn secret(&self) -> [u8; 32] {
        *Digest::tagged("w3b/legacy-tokens/1", &[&self.owner.to_bytes()]).as_bytes()
    }

    fn random(&self) -> Result<[u8; 32], Fault> {
        let mut bytes = [0; 32];
        let failed = |e: getrandom::Error| Fault { kind: FaultKind::Unavailable, why: e.to_string() };
        getrandom::fill(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    fn version(&self) -> String {
        format!("w3bstream {}", env!("CARGO_PKG_VERSION"))
    }

    async fn put_program(&self, module: Vec<u8>) -> Result<Digest, Fault> {
        self.pipeline()?.put_program(module).await.map_err(fault)
    }

    async fn deploy(&self, account: u64, plan: Plan) -> Result<(), Fault> {
        let pipeline = self.pipeline()?;
        let owner = Did::key(&self.key(account)?.public());
        let name = plan.project.clone();
        let current = pipeline.project_id(&name).and_then(|id| pipeline.manifest(id));
        let taken =
            |why: &str| Fault { kind: FaultKind::Taken, why: format!("the node's project {name} {why}") };
        if let Some(current) = &current {
            if current.owner != owner {
                return Err(taken("belongs to another owner; choose another name"));
            }
            if plan.new && !current.applets.is_empty() {
                return Err(taken("was deployed another way and has applets; choose another name"));
            }
        }
        let manifest = manifest(&plan, owner, current.as_deref());
        self.submit(account, &name, Control::Deploy(Box::new(manifest))).await
    }

    async fn change(&self, account: u64, project: &ProjectName, change: Control) -> Result<(), Fault> {
        self.submit(account, project, change).await
    }

    fn project(&self, name: &ProjectName) -> Option<ProjectId> {
        self.late.pipeline()?.project_id(name)
    }

    fn publisher(&self, project: &ProjectName, token: &str) -> Option<PublisherName> {
        let pipeline = self.late.pipeline()?;
        pipeline.publisher(pipeline.project_id(project)?, &token_hash(token))
    }
}
