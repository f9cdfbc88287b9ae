//! Journals that are broken on purpose, one fault each. A kit that passes one of them is worth nothing, so
//! this crate's tests see to it that it fails every one, and names the property that must notice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use w3bstream_types::{Attestation, CertifiedBlock, ControlTx, Digest, Genesis, MessageId, ProjectId};

use super::Place;
use crate::{Error, ErrorKind, Journal, MemoryJournal, OutboxEntry, OutboxId, RecordId, Write};

/// In what way a journal is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// None: this one passes, which shows that the others fail by their fault alone.
    None,
    /// Answers before it has synced; the last batches are lost without a close.
    AnswersBeforeSync,
    /// Is empty after each restart.
    LosesEverything,
    /// Keeps what a refused batch did before it was refused.
    AppliesPartOfABatch,
    /// Accepts a cursor that goes back.
    CursorGoesBack,
    /// Replaces a block.
    OverwritesBlocks,
    /// Accepts a block after a gap.
    AcceptsGaps,
    /// Replaces a genesis.
    OverwritesGeneses,
    /// Accepts another attestation and drops it.
    SwallowsAttestations,
    /// Says where a message was ordered last, not first.
    OrdersLast,
    /// Does not say in order where several messages are.
    DropsUnknown,
    /// Goes on naming controls that are ordered as pending.
    PendingForEver,
    /// Names pending controls from the highest nonce down.
    PendingBackwards,
    /// Loses the outbox with the process.
    ForgetsOutbox,
    /// Goes on naming side effects that are done.
    NeverDone,
    /// Does not count tries.
    ForgetsAttempts,
    /// Starts a side effect anew that is there already.
    RestartsEffects,
    /// Gives more than it was asked for.
    IgnoresLimits,
    /// Keeps a record that was removed.
    KeepsRecords,
    /// Shows the records of all projects.
    MixesRecords,
    /// Keeps a halt that was lifted.
    HaltsForEver,
    /// Halts every project at once.
    HaltsEverybody,
    /// Goes on working after close.
    WorksAfterClose,
}

/// Each fault with the property that must notice it; others may too.
pub const FAULTS: &[(Fault, &str)] = &[
    (Fault::AnswersBeforeSync, "survives_an_end_without_close"),
    (Fault::LosesEverything, "survives_close"),
    (Fault::AppliesPartOfABatch, "a_batch_is_applied_whole_or_not_at_all"),
    (Fault::CursorGoesBack, "cursors_never_go_back"),
    (Fault::OverwritesBlocks, "blocks_are_written_once_and_without_gap"),
    (Fault::AcceptsGaps, "blocks_are_written_once_and_without_gap"),
    (Fault::OverwritesGeneses, "geneses_are_written_once"),
    (Fault::SwallowsAttestations, "attestations_are_written_once"),
    (Fault::OrdersLast, "entries_are_found_where_they_were_ordered_first"),
    (Fault::DropsUnknown, "entries_are_found_where_they_were_ordered_first"),
    (Fault::PendingForEver, "pending_controls_are_those_not_ordered"),
    (Fault::PendingBackwards, "pending_controls_are_those_not_ordered"),
    (Fault::ForgetsOutbox, "survives_close"),
    (Fault::NeverDone, "side_effects_stay_until_they_are_done"),
    (Fault::ForgetsAttempts, "side_effects_stay_until_they_are_done"),
    (Fault::RestartsEffects, "side_effects_stay_until_they_are_done"),
    (Fault::IgnoresLimits, "pending_controls_are_those_not_ordered"),
    (Fault::KeepsRecords, "records_are_set_listed_and_removed"),
    (Fault::MixesRecords, "records_are_set_listed_and_removed"),
    (Fault::HaltsForEver, "halts_are_set_and_lifted"),
    (Fault::HaltsEverybody, "halts_are_set_and_lifted"),
    (Fault::WorksAfterClose, "a_closed_journal_refuses_everything"),
];

/// A place with a journal that has this fault.
#[derive(Debug)]
pub struct FaultyPlace {
    fault: Fault,
    disk: Arc<Disk>,
}

/// What outlives a handle.
#[derive(Debug)]
struct Disk {
    memory: Mutex<MemoryJournal>,
    /// Accepted batches, and how many of them are synced.
    log: Mutex<(Vec<Vec<Write>>, usize)>,
    /// Where each message was ordered last.
    last: Mutex<HashMap<MessageId, (ProjectId, u64, u64)>>,
    controls: Mutex<Vec<ControlTx>>,
}

impl FaultyPlace {
    /// An empty one.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        let disk = Disk {
            memory: Mutex::new(MemoryJournal::new()),
            log: Mutex::default(),
            last: Mutex::default(),
            controls: Mutex::default(),
        };
        Self { fault, disk: Arc::new(disk) }
    }

    /// A journal of the batches that `keep` leaves.
    async fn replayed(&self, keep: impl Fn(&Write) -> bool + Send) -> Result<MemoryJournal, Error> {
        let (log, synced) = lock(&self.disk.log).clone();
        let fresh = MemoryJournal::new();
        let count = if self.fault == Fault::AnswersBeforeSync { synced } else { log.len() };
        for batch in &log[..count] {
            fresh.commit(batch.iter().filter(|w| keep(w)).cloned().collect()).await?;
        }
        Ok(fresh)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Place for FaultyPlace {
    async fn open(&self) -> Result<Arc<dyn Journal>, Error> {
        let handle = match self.fault {
            Fault::LosesEverything => MemoryJournal::new(),
            Fault::AnswersBeforeSync => self.replayed(|_| true).await?,
            Fault::ForgetsOutbox => self.replayed(|w| !matches!(w, Write::Outbox(_))).await?,
            _ => lock(&self.disk.memory).reopen(),
        };
        *lock(&self.disk.memory) = handle.reopen();
        Ok(Arc::new(Faulty { fault: self.fault, inner: handle, disk: Arc::clone(&self.disk) }))
    }
}

/// Memory with one fault in front of it.
#[derive(Debug)]
struct Faulty {
    fault: Fault,
    inner: MemoryJournal,
    disk: Arc<Disk>,
}

impl Faulty {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// What the fault makes of a write.
    fn disturb(&self, write: Write) -> Option<Write> {
        Some(match (self.fault, write) {
            (Fault::NeverDone, Write::OutboxDone(_)) => return None,
            (Fault::KeepsRecords, Write::Record(_, None)) => return None,
            (Fault::HaltsForEver, Write::Halt(_, reason)) if reason.is_empty() => return None,
            (_, same) => same,
        })
    }

    /// Whether this fault takes what is refused for accepted.
    fn swallows(&self, batch: &[Write]) -> bool {
        batch.iter().any(|w| {
            matches!(
                (self.fault, w),
                (Fault::CursorGoesBack, Write::Cursor(..))
                    | (Fault::OverwritesBlocks | Fault::AcceptsGaps, Write::Block(..))
                    | (Fault::OverwritesGeneses, Write::Genesis(_))
                    | (Fault::SwallowsAttestations, Write::Attestation(..))
            )
        })
    }

    fn remember(&self, batch: &[Write]) {
        for write in batch {
            match write {
                Write::Block(project, block) => {
                    let height = block.block.header().height;
                    for (index, entry) in (0..).zip(block.block.entries()) {
                        if let w3bstream_types::Entry::Message(id) = entry {
                            lock(&self.disk.last).insert(*id, (*project, height, index));
                        }
                    }
                }
                Write::Control(tx) => lock(&self.disk.controls).push((**tx).clone()),
                _ => {}
            }
        }
        let mut log = lock(&self.disk.log);
        log.0.push(batch.to_vec());
        // Synced now and then, as a timer might do it.
        if log.0.len().is_multiple_of(3) {
            log.1 = log.0.len();
        }
    }
}

#[async_trait]
impl Journal for Faulty {
    async fn commit(&self, batch: Vec<Write>) -> Result<(), Error> {
        if self.is(Fault::RestartsEffects) {
            for id in effects(&batch) {
                self.inner.commit(vec![Write::OutboxDone(id)]).await?;
            }
        }
        let batch: Vec<Write> = batch.into_iter().filter_map(|write| self.disturb(write)).collect();
        if self.is(Fault::AppliesPartOfABatch) {
            for write in batch {
                self.inner.commit(vec![write]).await?;
            }
            return Ok(());
        }
        match self.inner.commit(batch.clone()).await {
            Ok(()) => self.remember(&batch),
            Err(e) if e.kind() == ErrorKind::Conflict && self.swallows(&batch) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    async fn geneses(&self) -> Result<Vec<Genesis>, Error> {
        self.inner.geneses().await
    }

    async fn block(&self, project: ProjectId, height: u64) -> Result<Option<CertifiedBlock>, Error> {
        self.inner.block(project, height).await
    }

    async fn last_height(&self, project: ProjectId) -> Result<u64, Error> {
        self.inner.last_height(project).await
    }

    async fn ordered(&self, ids: &[MessageId]) -> Result<Vec<Option<(ProjectId, u64, u64)>>, Error> {
        let mut found = self.inner.ordered(ids).await?;
        match self.fault {
            Fault::OrdersLast => {
                let last = lock(&self.disk.last);
                for (id, place) in ids.iter().zip(&mut found) {
                    *place = place.and_then(|_| last.get(id).copied());
                }
            }
            Fault::DropsUnknown => found.retain(Option::is_some),
            _ => {}
        }
        Ok(found)
    }

    async fn attestation(&self, project: ProjectId, height: u64) -> Result<Option<Attestation>, Error> {
        self.inner.attestation(project, height).await
    }

    async fn cursor(&self, project: ProjectId, name: &'static str) -> Result<u64, Error> {
        self.inner.cursor(project, name).await
    }

    async fn control(&self, id: Digest) -> Result<Option<ControlTx>, Error> {
        self.inner.control(id).await
    }

    async fn pending_controls(&self, project: ProjectId, limit: usize) -> Result<Vec<ControlTx>, Error> {
        let limit = if self.is(Fault::IgnoresLimits) { usize::MAX } else { limit };
        if self.is(Fault::PendingForEver) {
            let all = lock(&self.disk.controls).clone();
            return Ok(all.into_iter().filter(|tx| tx.project == project).take(limit).collect());
        }
        let mut found = self.inner.pending_controls(project, limit).await?;
        if self.is(Fault::PendingBackwards) {
            found.reverse();
        }
        Ok(found)
    }

    async fn outbox(&self, project: ProjectId, limit: usize) -> Result<Vec<OutboxEntry>, Error> {
        let mut found = self.inner.outbox(project, limit).await?;
        if self.is(Fault::ForgetsAttempts) {
            found.iter_mut().for_each(|e| e.attempts = e.attempts.min(1));
        }
        Ok(found)
    }

    async fn record(&self, id: &RecordId) -> Result<Option<Vec<u8>>, Error> {
        self.inner.record(id).await
    }

    async fn records(&self, after: &RecordId, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        let mut found = self.inner.records(after, limit).await?;
        if self.is(Fault::MixesRecords) {
            let other = RecordId { project: super::fixtures::project(2), ..after.clone() };
            found.extend(self.inner.records(&other, limit).await?);
        }
        Ok(found)
    }

    async fn halted(&self, project: ProjectId) -> Result<Option<String>, Error> {
        if self.is(Fault::HaltsEverybody) {
            let geneses = [1, 2].map(super::fixtures::project);
            for other in geneses {
                if let Some(reason) = self.inner.halted(other).await? {
                    return Ok(Some(reason));
                }
            }
        }
        self.inner.halted(project).await
    }

    async fn close(&self) -> Result<(), Error> {
        {
            let mut log = lock(&self.disk.log);
            log.1 = log.0.len();
        }
        if self.is(Fault::WorksAfterClose) {
            return Ok(());
        }
        self.inner.close().await
    }
}

fn effects(batch: &[Write]) -> Vec<OutboxId> {
    let ids = batch.iter().filter_map(|w| if let Write::Outbox(ids) = w { Some(ids) } else { None });
    ids.flatten().copied().collect()
}
