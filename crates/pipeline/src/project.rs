//! One project on this node: what its stages share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc, watch};
use w3bstream_consensus::DriverInput;
use w3bstream_engine::LogLine;
use w3bstream_types::{AppletName, Genesis, MessageId, OperatorName, ProjectId, ProjectName, Stored};

use crate::canary::Canaries;
use crate::counters::{Counters, Expected};
use crate::crew::Pace;
use crate::guest_counts::{GuestCounts, GuestMetrics};
use crate::handover::Handover;
use crate::recent::Recent;
use crate::settle::FeeAccount;
use crate::trigger::Board;

/// How many inputs may wait for a project's consensus driver. Senders wait beyond it; each stage has at
/// most a few under way.
const DRIVER_QUEUE: usize = 64;

/// A line that a guest logged.
#[derive(Clone, Debug)]
pub struct GuestLog {
    /// Which line of the project it is since the node started, from 1.
    pub number: u64,
    /// The applet.
    pub applet: AppletName,
    /// The message that it worked on.
    pub message: MessageId,
    /// The line.
    pub line: LogLine,
}

/// What the stages of one project share.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) id: ProjectId,
    pub(crate) name: ProjectName,
    pub(crate) genesis: Genesis,
    pub(crate) counters: Arc<Counters>,
    /// What its guests submitted.
    pub(crate) guest_metrics: GuestMetrics,
    /// How its guests failed, and what limits took away from them.
    pub(crate) guest_counts: GuestCounts,
    /// Something was stored, or a control transaction accepted.
    pub(crate) arrived: Notify,
    /// To the consensus driver.
    pub(crate) driver: mpsc::Sender<DriverInput>,
    /// Its removal is signed and not yet applied: it takes nothing more, and what it took is ordered first.
    pub(crate) leaving: AtomicBool,
    /// Messages of the store before this position stand in a final block.
    pub(crate) ordered_before: AtomicU64,
    /// Blocks of the journal that the executor need not read again.
    pub(crate) handover: Handover,
    /// The last height in the journal.
    pub(crate) journaled: watch::Sender<u64>,
    /// The last applied height.
    pub(crate) applied: watch::Sender<u64>,
    /// The last attested height.
    pub(crate) attested: watch::Sender<u64>,
    /// What its next batch waits for; empty if for nothing.
    pub(crate) waits: watch::Sender<String>,
    /// Why the project is halted.
    pub(crate) halted: watch::Sender<Option<String>>,
    /// What came last, for people who look.
    pub(crate) recent: Recent,
    /// How long its applets take.
    pub(crate) pace: Arc<Pace>,
    /// Modules that are tried beside its own.
    pub(crate) canaries: Canaries,
    /// How its triggers stand.
    pub(crate) triggers: Board,
    /// The last lines, and how many there were.
    logs: Mutex<(VecDeque<GuestLog>, u64)>,
    accounts: Mutex<BTreeMap<(u64, Option<OperatorName>), FeeAccount>>,
}

/// Where a project stood when the node started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resume {
    pub(crate) journaled: u64,
    pub(crate) applied: u64,
    pub(crate) attested: u64,
}

impl Project {
    pub(crate) fn new(
        genesis: Genesis,
        name: ProjectName,
        at: Resume,
        halted: Option<String>,
    ) -> (Arc<Self>, mpsc::Receiver<DriverInput>) {
        let (driver, inputs) = mpsc::channel(DRIVER_QUEUE);
        let project = Self {
            id: genesis.project,
            name,
            genesis,
            counters: Arc::default(),
            guest_metrics: GuestMetrics::default(),
            guest_counts: GuestCounts::default(),
            arrived: Notify::new(),
            driver,
            leaving: AtomicBool::new(false),
            ordered_before: AtomicU64::new(0),
            handover: Handover::default(),
            journaled: watch::Sender::new(at.journaled),
            applied: watch::Sender::new(at.applied),
            attested: watch::Sender::new(at.attested),
            waits: watch::Sender::default(),
            halted: watch::Sender::new(halted),
            recent: Recent::default(),
            pace: Arc::default(),
            canaries: Canaries::default(),
            triggers: Board::default(),
            logs: Mutex::default(),
            accounts: Mutex::default(),
        };
        (Arc::new(project), inputs)
    }

    /// Why the project does not go on; `None` if it does.
    pub(crate) fn halt_reason(&self) -> Option<String> {
        self.halted.borrow().clone()
    }

    /// Whether its removal is on its way.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// A message was stored, or was there already.
    pub(crate) fn took(&self, stored: &Stored, new: Option<Expected>) {
        if let Some(expected) = new {
            expected.stored();
            Counters::add(&self.counters.accepted, 1);
            self.recent.stored(stored);
        } else {
            Counters::add(&self.counters.duplicates, 1);
        }
    }

    pub(crate) fn log(&self, lines: impl Iterator<Item = GuestLog>, keep: usize) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let (logs, count) = &mut *logs;
        for mut line in lines {
            *count += 1;
            line.number = *count;
            tracing::debug!(project = %self.name, applet = %line.applet, level = line.line.level,
                "guest: {}", line.line.text);
            logs.push_back(line);
            if logs.len() > keep {
                logs.pop_front();
            }
        }
    }

    pub(crate) fn recent_logs(&self, limit: usize) -> Vec<GuestLog> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.0.iter().skip(logs.0.len().saturating_sub(limit)).cloned().collect()
    }

    /// Notes how the account stands that pays on a chain. A balance that the chain did not say is the one before.
    pub(crate) fn paid(&self, mut account: FeeAccount) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (account.chain, account.operator.clone());
        if account.balance.is_none() {
            account.balance = accounts.get(&key).and_then(|a| a.balance.clone());
        }
        accounts.insert(key, account);
    }

    pub(crate) fn accounts(&self) -> Vec<FeeAccount> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
