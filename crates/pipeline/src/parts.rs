//! What a pipeline is made of.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use w3bstream_chain::Chain;
use w3bstream_consensus::{ConsensusFactory, Wal};
use w3bstream_endpoint::{Endpoint, Feed, Publisher};
use w3bstream_engine::Engine;
use w3bstream_journal::Journal;
use w3bstream_prover::Prover;
use w3bstream_storage::Storage;
use w3bstream_types::{Clock, Did, GuestLimits, ProjectId};
use w3bstream_vfs::Vfs;
use w3bstream_wallet::{AdmitLimits, Signer};

use crate::{CanaryLimits, Probe, SessionOptions};

/// Opens the consensus log of a project.
pub trait OpenWal: Send + Sync + fmt::Debug {
    /// Opens or makes the log. Called once per project and run.
    ///
    /// # Errors
    /// [`w3bstream_consensus::Error`] if it cannot be read or written.
    fn open(&self, project: ProjectId) -> Result<Box<dyn Wal>, w3bstream_consensus::Error>;
}

/// Opens a vfs that is thrown away.
pub trait OpenScratch: Send + Sync + fmt::Debug {
    /// An empty vfs. What the one before has left is removed: one is used at a time. Blocks.
    ///
    /// # Errors
    /// [`w3bstream_vfs::Error`] if there is no room for it.
    fn open(&self) -> Result<Arc<dyn Vfs>, w3bstream_vfs::Error>;

    /// Removes what is there, once it was closed. Blocks.
    ///
    /// # Errors
    /// [`w3bstream_vfs::Error`] if it cannot be removed.
    fn clear(&self) -> Result<(), w3bstream_vfs::Error>;
}

/// The rooms of one node, each behind its trait.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Arrivals.
    pub endpoints: Vec<Arc<dyn Endpoint>>,
    /// Where messages to devices go; without one, a project's MQTT outputs wait.
    pub publisher: Option<Arc<dyn Publisher>>,
    /// The long-term record of device data.
    pub storage: Arc<dyn Storage>,
    /// The node's own state.
    pub journal: Arc<dyn Journal>,
    /// Programs and replicated state.
    pub vfs: Arc<dyn Vfs>,
    /// Where replays make older states anew.
    pub scratch: Arc<dyn OpenScratch>,
    /// Runs programs.
    pub engine: Arc<dyn Engine>,
    /// Keys by role.
    pub signer: Arc<dyn Signer>,
    /// The node's DID: its name in every genesis.
    pub node: Did,
    /// Consensus backends by name.
    pub consensus: BTreeMap<String, Arc<dyn ConsensusFactory>>,
    /// The consensus backend of new projects.
    pub default_consensus: String,
    /// Consensus logs.
    pub wals: Arc<dyn OpenWal>,
    /// Chains by their id; statements for others wait.
    pub chains: BTreeMap<u64, ChainParts>,
    /// Proof systems by name; statements that need another wait.
    pub provers: BTreeMap<String, Arc<dyn Prover>>,
    /// How often settlements that are under way are looked at.
    pub settle_every: Duration,
    /// How often triggers look at their chains and the time.
    pub trigger_every: Duration,
    /// Told of every message's progress, for live streams.
    pub feed: Feed,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Told of every hand-over.
    pub probe: Arc<dyn Probe>,
    /// Sessions of devices that cannot sign each message.
    pub sessions: SessionOptions,
    /// Limits.
    pub options: Options,
}

/// A chain, and how transactions are sent to it.
#[derive(Clone, Debug)]
pub struct ChainParts {
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// Confirmations, fees and limits.
    pub settings: w3bstream_chain::submit::Settings,
}

/// Limits of a pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Limits of a message.
    pub admit: AdmitLimits,
    /// The operator's caps on guests.
    pub guest_caps: GuestLimits,
    /// How many batches of arrivals are verified and stored at once, per endpoint.
    pub admit_tasks: usize,
    /// The most arrivals in one batch.
    pub admit_batch: usize,
    /// Messages of a project that may be stored and not yet ordered; above it senders are told to wait.
    pub max_backlog: u64,
    /// Lines of guests' logs that are kept in memory, per project.
    pub log_lines: usize,
    /// Limits of canaries.
    pub canaries: CanaryLimits,
    /// How many threads may run the handlers of one block, the project's own included. The others are shared by all projects.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            admit: AdmitLimits::default(),
            // The operator's table: what no manifest can exceed.
            guest_caps: GuestLimits {
                gas: 10_000_000_000,
                memory_bytes: 256 * 1024 * 1024,
                table_elements: 100_000,
                stack_slots: 64 * 1024,
                log_bytes: 64 * 1024,
                output_bytes: 4 * 1024 * 1024,
                kv_bytes: 16 * 1024 * 1024,
                host_calls: 1_000_000,
                sql_bytes: 16 * 1024 * 1024,
                events: 1_024,
                event_bytes: 4 * 1024 * 1024,
                event_depth: 64,
            },
            admit_tasks: 4,
            admit_batch: 128,
            max_backlog: 1_000_000,
            log_lines: 1000,
            canaries: CanaryLimits::default(),
            threads: std::thread::available_parallelism().map_or(1, Into::into),
        }
    }
}
