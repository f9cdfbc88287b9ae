//! Backends by name. The stock registry is the only place that names implementations.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use w3bstream_consensus::{ConsensusFactory, Solo, factory};
use w3bstream_engine::Engine;
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};
use w3bstream_pipeline::{NoProbe, Probe};
use w3bstream_storage::Storage;

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

/// Backends by the names that settings and manifests use.
#[derive(Clone)]
pub struct Registry {
    storage: BTreeMap<String, StorageFactory>,
    consensus: BTreeMap<String, Arc<dyn ConsensusFactory>>,
    engine: Arc<dyn Fn() -> anyhow::Result<Arc<dyn Engine>> + Send + Sync>,
    probe: Arc<dyn Probe>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("storage", &self.storage.keys().collect::<Vec<_>>())
            .field("consensus", &self.consensus.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// The backends of the reference node: SQLite, solo, wasmer.
    #[must_use]
    pub fn stock() -> Self {
        let empty = Self {
            storage: BTreeMap::new(),
            consensus: BTreeMap::new(),
            engine: Arc::new(|| Ok(Arc::new(WasmerEngine::new(&WasmerConfig::default())))),
            probe: Arc::new(NoProbe),
        };
        empty.with_storage("sqlite", open_sqlite).with_consensus(factory::<Solo>())
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

    /// Replaces the engine.
    #[must_use]
    pub fn with_engine(
        mut self,
        make: impl Fn() -> anyhow::Result<Arc<dyn Engine>> + Send + Sync + 'static,
    ) -> Self {
        self.engine = Arc::new(make);
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

    pub(crate) fn has_storage(&self, kind: &str) -> bool {
        self.storage.contains_key(kind)
    }

    pub(crate) const fn consensus(&self) -> &BTreeMap<String, Arc<dyn ConsensusFactory>> {
        &self.consensus
    }

    pub(crate) fn engine(&self) -> anyhow::Result<Arc<dyn Engine>> {
        (self.engine)()
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

fn open_sqlite(context: StorageContext<'_>) -> anyhow::Result<Arc<dyn Storage>> {
    let settings: SqliteSettings =
        context.settings.clone().try_into().map_err(|e| anyhow::anyhow!("[storage] of node.toml: {e}"))?;
    let config = w3bstream_storage_sqlite::SqliteConfig::new(context.dir.join(settings.file));
    Ok(Arc::new(w3bstream_storage_sqlite::SqliteStorage::open(&config)?))
}
