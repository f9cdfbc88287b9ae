//! Numbers about the flow, as metrics.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use w3bstream_types::{ProjectName, RefusalKind};

/// Counts of one project since the node started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) triggered: AtomicU64,
    pub(crate) blocks: AtomicU64,
    pub(crate) attested: AtomicU64,
    pub(crate) executed: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) failed_calls: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) outputs: AtomicU64,
    pub(crate) gas: AtomicU64,
    pub(crate) proofs: AtomicU64,
    pub(crate) settled: AtomicU64,
    pub(crate) settlement_gas: AtomicU64,
    /// Stored and not yet ordered.
    pub(crate) backlog: AtomicU64,
    /// Settlements of attested blocks that have not ended.
    pub(crate) settling: AtomicU64,
}

/// A message that is on its way to the store. It leaves the backlog when this is dropped, unless it was stored.
#[derive(Debug)]
pub(crate) struct Expected {
    counters: Arc<Counters>,
    stored: bool,
}

impl Expected {
    /// It is there, and will be ordered.
    pub(crate) fn stored(mut self) {
        self.stored = true;
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        if !self.stored {
            Counters::take(&self.counters.backlog, 1);
        }
    }
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Counts a message into the backlog before it is given to the store: from then on it may be ordered at any moment, and what is
    /// taken off before it is added would be there for ever.
    pub(crate) fn expect(self: &Arc<Self>) -> Expected {
        Self::add(&self.backlog, 1);
        Expected { counters: Arc::clone(self), stored: false }
    }

    /// Takes `n` off the backlog, which may have been estimated too low after a restart.
    pub(crate) fn ordered(&self, n: u64) {
        Self::take(&self.backlog, n);
    }

    /// Takes `n` off a gauge, which stays at zero below that.
    pub(crate) fn take(gauge: &AtomicU64, n: u64) {
        let less = |v: u64| Some(v.saturating_sub(n));
        // The closure never gives `None`, so this never fails.
        let _ = gauge.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(crate) fn rows(&self) -> [(&'static str, &'static str, u64); 16] {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        [
            ("w3b_messages_accepted_total", "Messages stored.", get(&self.accepted)),
            ("w3b_messages_duplicate_total", "Repeats of stored messages.", get(&self.duplicates)),
            ("w3b_triggers_told_total", "Messages that triggers made.", get(&self.triggered)),
            ("w3b_blocks_total", "Final blocks.", get(&self.blocks)),
            ("w3b_blocks_attested_total", "Blocks attested by a quorum.", get(&self.attested)),
            ("w3b_messages_executed_total", "Messages executed.", get(&self.executed)),
            ("w3b_events_total", "Events that handlers sent to handlers.", get(&self.events)),
            ("w3b_handler_failures_total", "Handler calls that did not return.", get(&self.failed_calls)),
            ("w3b_messages_rejected_total", "Messages ordered but not allowed.", get(&self.rejected)),
            ("w3b_outputs_performed_total", "Side effects performed.", get(&self.outputs)),
            ("w3b_gas_total", "Gas used by handlers.", get(&self.gas)),
            ("w3b_proofs_total", "Statements proven.", get(&self.proofs)),
            ("w3b_settled_total", "Statements that an Executor took.", get(&self.settled)),
            ("w3b_settlement_gas_total", "Gas used on chains by settlements.", get(&self.settlement_gas)),
            ("w3b_backlog_messages", "Messages stored and not yet ordered.", get(&self.backlog)),
            ("w3b_settlements_open", "Settlements that have not ended.", get(&self.settling)),
        ]
    }
}

/// Refusals by project and reason. Names that no project of this node has are counted together, so that
/// nobody can grow the table.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<(String, RefusalKind), u64>>);

impl Refusals {
    pub(crate) fn count(&self, project: Option<&ProjectName>, kind: RefusalKind) {
        let name = project.map_or_else(String::new, ToString::to_string);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *all.entry((name, kind)).or_default() += 1;
    }

    pub(crate) fn of(&self, project: &str) -> Vec<(RefusalKind, u64)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|((name, _), _)| name == project).map(|((_, kind), n)| (*kind, *n)).collect()
    }

    pub(crate) fn write_metrics(&self, out: &mut String) {
        let name = "w3b_messages_refused_total";
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP {name} Messages refused, by reason.\n# TYPE {name} counter");
        for ((project, kind), n) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writeln!(out, "{name}{{project=\"{project}\",reason=\"{kind}\"}} {n}");
        }
    }
}

/// All projects' counters in the Prometheus text format.
pub(crate) fn write_metrics(out: &mut String, projects: &[(ProjectName, std::sync::Arc<Counters>)]) {
    let Some((_, first)) = projects.first() else { return };
    for (row, (name, help, _)) in first.rows().iter().enumerate() {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (project, counters) in projects {
            let _ = writeln!(out, "{name}{{project=\"{project}\"}} {}", counters.rows()[row].2);
        }
    }
}

/// Which projects are halted, in the Prometheus text format.
pub(crate) fn write_halted(out: &mut String, projects: &[(ProjectName, bool)]) {
    let name = "w3b_project_halted";
    let _ = writeln!(out, "# HELP {name} 1 if the project is halted.\n# TYPE {name} gauge");
    for (project, halted) in projects {
        let _ = writeln!(out, "{name}{{project=\"{project}\"}} {}", u8::from(*halted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ordering stage may see a message in the store before whoever stored it hears so.
    #[test]
    fn what_is_ordered_before_it_is_known_to_be_stored_leaves_no_backlog() {
        let counters = Arc::new(Counters::default());
        let backlog = || counters.backlog.load(Ordering::Relaxed);
        let (first, repeat, lost) = (counters.expect(), counters.expect(), counters.expect());
        assert_eq!(backlog(), 3);
        counters.ordered(1);
        first.stored();
        assert_eq!(backlog(), 2);
        drop((repeat, lost));
        assert_eq!(backlog(), 0);
    }
}
