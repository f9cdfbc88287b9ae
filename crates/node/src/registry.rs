//! Backends by name. The stock registry is the only place that names implementations.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use w3bstream_chain::Chain;
use w3bstream_chain_evm::{EvmChain, EvmSettings};
use w3bstream_consensus::{ConsensusFactory, Solo, factory};
use w3bstream_engine::Engine;
use w3bstream_pipeline::{NoProbe, Probe};
use w3bstream_prover::Prover;
use w3bstream_prover_groth16::{Config as Groth16Config, Groth16Prover};
use w3bstream_storage::Storage;

use crate::config::EngineSettings;
use crate::engines;

/// What a storage factory gets.
#[derive(Clone, Copy, Debug)]
pub struct StorageContext<'a> {
    /// The node's data folder. A backend keeps its files in a folder of its own in it.
    pub dir: &'a Path,
    /// The backend's own settings: `[storage]` of `node.toml` without `kind`. Unknown keys must be errors.
    pub settings: &'a toml::Table,
}

/// Makes a storage backend.
pub type StorageFactory = Arc<dyn Fn(StorageContext<'_>) -> anyhow::Result<Arc<dyn Storage>> + Send + Sync>;

/// What a chain factory gets.
#[derive(Clone, Copy, Debug)]
pub struct ChainContext<'a> {
    /// The chain's id (EIP-155).
    pub id: u64,
    /// The backend's own settings: one of `[[chains]]` of `node.toml` without what every chain has. Unknown keys must
    /// be errors.
    pub settings: &'a toml::Table,
}

/// Makes a chain backend.
pub type ChainFactory = Arc<dyn Fn(ChainContext<'_>) -> anyhow::Result<Arc<dyn Chain>> + Send + Sync>;

/// Makes a proof system, for so many proofs at the same time.
pub type ProverFactory = Arc<dyn Fn(usize) -> anyhow::Result<Arc<dyn Prover>> + Send + Sync>;

/// Makes an engine from its own settings: `[engine]` of `node.toml` without `kind`. Unknown keys must be errors.
pub type EngineFactory = Arc<dyn Fn(&toml::Table) -> anyhow::Result<Arc<dyn Engine>> + Send + Sync>;

/// Backends by the names that settings and manifests use.
#[derive(Clone)]
pub struct Registry {
    storage: BTreeMap<String, StorageFactory>,
    consensus: BTreeMap<String, Arc<dyn ConsensusFactory>>,
    chains: BTreeMap<String, ChainFactory>,
    provers: Vec<ProverFactory>,
    engines: BTreeMap<String, EngineFactory>,
    probe: Arc<dyn Probe>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("storage", &self.storage.keys().collect::<Vec<_>>())
            .field("consensus", &self.consensus.keys().collect::<Vec<_>>())
            .field("engines", &self.engines.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// The backends of the reference node: SQLite, solo, wasmer, EVM chains over JSON-RPC, Groth16.
    #[must_use]
    pub fn stock() -> Self {
        let empty = Self {
            storage: BTreeMap::new(),
            consensus: BTreeMap::new(),
            chains: BTreeMap::new(),
            provers: Vec::new(),
            engines: engines::stock(),
            probe: Arc::new(NoProbe),
        };
        empty
            .with_storage("sqlite", open_sqlite)
            .with_consensus(factory::<Solo>())
            .with_chain("evm", open_evm)
            .with_prover(|threads| {
                let config = Groth16Config { threads, ..Groth16Config::default() };
                Ok(Arc::new(Groth16Prover::start(&config)?))
            })
    }

    /// Adds a storage backend, or replaces one.
    #[must_use]
    pub fn with_storage(
        mut self,
        name: &str,
        make: impl Fn(StorageContext<'_>) -> anyhow::Result<Arc<dyn Storage>> + Send + Sync + 'static,
    ) -> Self {
        self.storage.insert(name.to_owned(), Arc::new(make));
        self
    }

    /// Adds a consensus backend under its own name, or replaces one.
    #[must_use]
    pub fn with_consensus(mut self, factory: Arc<dyn ConsensusFactory>) -> Self {
        self.consensus.insert(factory.name().to_owned(), factory);
        self
    }

    /// Adds a chain backend, or replaces one.
    #[must_use]
    pub fn with_chain(
        mut self,
        name: &str,
        make: impl Fn(ChainContext<'_>) -> anyhow::Result<Arc<dyn Chain>> + Send + Sync + 'static,
    ) -> Self {
        self.chains.insert(name.to_owned(), Arc::new(make));
        self
    }

    /// Adds a proof system; `make` is told how many proofs it may make at the same time. The last one that has a name counts.
    #[must_use]
    pub fn with_prover(
        mut self,
        make: impl Fn(usize) -> anyhow::Result<Arc<dyn Prover>> + Send + Sync + 'static,
    ) -> Self {
        self.provers.push(Arc::new(make));
        self
    }

    /// Adds an engine, or replaces one.
    #[must_use]
    pub fn with_engine(
        mut self,
        name: &str,
        make: impl Fn(&toml::Table) -> anyhow::Result<Arc<dyn Engine>> + Send + Sync + 'static,
    ) -> Self {
        self.engines.insert(name.to_owned(), Arc::new(make));
        self
    }

    /// Tells `probe` of every hand-over, for tests that kill the process there.
    #[must_use]
    pub fn with_probe(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = probe;
        self
    }

    pub(crate) fn storage(
        &self,
        kind: &str,
        context: StorageContext<'_>,
    ) -> anyhow::Result<Arc<dyn Storage>> {
        let Some(make) = self.storage.get(kind) else {
            let known: Vec<&str> = self.storage.keys().map(String::as_str).collect();
            bail!("storage.kind is {kind:?}, but this node has only: {}", known.join(", "));
        };
        make(context)
    }

    pub(crate) fn chain(&self, kind: &str, context: ChainContext<'_>) -> anyhow::Result<Arc<dyn Chain>> {
        let Some(make) = self.chains.get(kind) else {
            let known: Vec<&str> = self.chains.keys().map(String::as_str).collect();
            bail!("a chain's kind is {kind:?}, but this node has only: {}", known.join(", "));
        };
        make(context)
    }

    pub(crate) fn has_chain(&self, kind: &str) -> bool {
        self.chains.contains_key(kind)
    }

    /// Starts every proof system, by its name.
    pub(crate) fn provers(&self, threads: usize) -> anyhow::Result<BTreeMap<String, Arc<dyn Prover>>> {
        let named = |make: &ProverFactory| make(threads).map(|prover| (prover.system().to_owned(), prover));
        self.provers.iter().map(named).collect()
    }

    pub(crate) fn has_storage(&self, kind: &str) -> bool {
        self.storage.contains_key(kind)
    }

    pub(crate) const fn consensus(&self) -> &BTreeMap<String, Arc<dyn ConsensusFactory>> {
        &self.consensus
    }

    pub(crate) fn engine(&self, settings: &EngineSettings) -> anyhow::Result<Arc<dyn Engine>> {
        match self.engines.get(&settings.kind) {
            Some(make) => make(&settings.settings),
            None => bail!(self.without_engine(&settings.kind).unwrap_or_default()),
        }
    }

    /// Why there is no such engine, if there is none.
    pub(crate) fn without_engine(&self, kind: &str) -> Option<String> {
        let known: Vec<&str> = self.engines.keys().map(String::as_str).collect();
        let why = || {
            let (known, hint) = (known.join(", "), engines::hint(kind));
            format!("engine.kind is {kind:?}, but this node has only: {known}{hint}")
        };
        (!known.contains(&kind)).then(why)
    }

    pub(crate) fn probe(&self) -> Arc<dyn Probe> {
        self.probe.clone()
    }
}

/// Settings of the SQLite backend.
#[derive(Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct SqliteSettings {
    file: std::path::PathBuf,
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self { file: "storage.sqlite".into() }
    }
}

/// Settings of the EVM backend.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct EvmFile {
    /// The node's URL, `http://…` or `https://…`.
    rpc: String,
    /// A file with the value of the `Authorization` header, if the node wants one.
    authorization_file: Option<std::path::PathBuf>,
}

fn open_evm(context: ChainContext<'_>) -> anyhow::Result<Arc<dyn Chain>> {
    let file: EvmFile = context
        .settings
        .clone()
        .try_into()
        .map_err(|e| anyhow::anyhow!("[[chains]] of node.toml, id = {}: {e}", context.id))?;
    let mut settings = EvmSettings::new(file.rpc, context.id);
    if let Some(path) = file.authorization_file {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("authorization-file of chain {}: {}", context.id, path.display()))?;
        settings.authorization = Some(text.trim().to_owned());
    }
    Ok(Arc::new(EvmChain::new(settings)?))
}

fn open_sqlite(context: StorageContext<'_>) -> anyhow::Result<Arc<dyn Storage>> {
    let settings: SqliteSettings =
        context.settings.clone().try_into().map_err(|e| anyhow::anyhow!("[storage] of node.toml: {e}"))?;
    let config = w3bstream_storage_sqlite::SqliteConfig::new(context.dir.join(settings.file));
    Ok(Arc::new(w3bstream_storage_sqlite::SqliteStorage::open(&config)?))
}
