//! Backends that are broken on purpose, one fault each. A kit that passes one of them is worth nothing, so
//! this crate's tests see to it that it fails every one, and names the property that must notice.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use w3bstream_types::{MessageId, Position, ProjectId, Timestamp, Trust};

use super::Place;
use super::join::give_way;
use crate::{Appended, Capabilities, ConflictEvidence, Error, Filter, Item, MemoryStorage, Stats, Storage};

/// In what way a backend is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// None: this one passes, which shows that the others fail by their fault alone.
    None,
    /// Acknowledges before it has synced; what came since the last sync is lost without a close.
    AcknowledgesBeforeSync,
    /// Claims to be persistent and is empty after each restart.
    LosesEverything,
    /// Takes a repeat for a new record.
    StoresRepeats,
    /// Does not see a repeat inside one batch.
    MissesRepeatsInABatch,
    /// Takes the second message of a sequence number for a repeat of the first.
    IgnoresConflicts,
    /// Refuses the second message and keeps nothing of it.
    ForgetsEvidence,
    /// Forgets ids with the records that retention deletes.
    ForgetsDeletedIds,
    /// Returns a scan from the newest to the oldest.
    ScansBackwards,
    /// Returns pages that are shorter than asked for, though there is more.
    ShortPages,
    /// Returns the record at the cursor once more.
    RepeatsTheCursor,
    /// Starts at position 1 again after a restart, for new records.
    ReusesPositions,
    /// Claims filters and ignores them.
    IgnoresFilters,
    /// Claims no retention and deletes nevertheless.
    DoesWhatItDoesNotClaim,
    /// Gives a position away before it stores the record, so that a higher one can be seen first.
    PositionsBeforeRecords,
    /// Answers an append before a scan can see it.
    AnswersBeforeVisible,
    /// Returns every message as signed.
    MakesUpTrust,
    /// Leaves away what get does not find, so that answers shift.
    DropsMissing,
    /// Returns other projects' records too.
    MixesProjects,
    /// Deletes more than it was asked to.
    DeletesTooMuch,
    /// Goes on working after close.
    WorksAfterClose,
    /// Counts conflicts as records.
    Miscounts,
    /// Finds something wrong with a sound store.
    CriesWolf,
}

/// Each fault with the property that must notice it; others may too.
pub const FAULTS: &[(Fault, &str)] = &[
    (Fault::AcknowledgesBeforeSync, "survives_an_end_without_close"),
    (Fault::LosesEverything, "survives_close"),
    (Fault::StoresRepeats, "repeats_are_duplicates"),
    (Fault::MissesRepeatsInABatch, "repeats_are_duplicates"),
    (Fault::IgnoresConflicts, "conflicts_are_refused_and_kept"),
    (Fault::ForgetsEvidence, "token_events_conflict_by_their_bytes"),
    (Fault::ForgetsDeletedIds, "deletes_what_is_old_and_remembers_it"),
    (Fault::ScansBackwards, "positions_rise"),
    (Fault::ShortPages, "pages_are_full_and_without_gap"),
    (Fault::RepeatsTheCursor, "pages_are_full_and_without_gap"),
    (Fault::ReusesPositions, "positions_are_never_used_twice"),
    (Fault::IgnoresFilters, "filters_filter"),
    (Fault::DoesWhatItDoesNotClaim, "deletes_what_is_old_and_remembers_it"),
    (Fault::PositionsBeforeRecords, "a_cursor_misses_nothing_while_others_append"),
    (Fault::AnswersBeforeVisible, "a_cursor_misses_nothing_while_others_append"),
    (Fault::MakesUpTrust, "items_come_back_as_they_went_in"),
    (Fault::DropsMissing, "get_answers_in_the_order_asked"),
    (Fault::MixesProjects, "projects_are_kept_apart"),
    (Fault::DeletesTooMuch, "deletes_what_is_old_and_remembers_it"),
    (Fault::WorksAfterClose, "a_closed_store_refuses_everything"),
    (Fault::Miscounts, "stats_count"),
    (Fault::CriesWolf, "checks_find_nothing_wrong"),
];

/// A place with a backend that has this fault.
#[derive(Debug)]
pub struct FaultyPlace {
    fault: Fault,
    disk: Arc<Disk>,
}

/// What outlives a handle.
#[derive(Debug)]
struct Disk {
    memory: Mutex<MemoryStorage>,
    /// Every item in the order of its append, for faults that replay less than all.
    log: Mutex<Vec<Item>>,
    synced: AtomicU64,
    forgotten: Mutex<HashSet<MessageId>>,
}

impl FaultyPlace {
    /// An empty one.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        let disk = Disk {
            memory: Mutex::new(MemoryStorage::new()),
            log: Mutex::default(),
            synced: AtomicU64::new(0),
            forgotten: Mutex::default(),
        };
        Self { fault, disk: Arc::new(disk) }
    }
}

#[async_trait]
impl Place for FaultyPlace {
    async fn open(&self) -> Result<Arc<dyn Storage>, Error> {
        let handle = match self.fault {
            Fault::LosesEverything => MemoryStorage::new(),
            Fault::AcknowledgesBeforeSync => {
                let fresh = MemoryStorage::new();
                let synced = usize::try_from(self.disk.synced.load(Ordering::SeqCst)).unwrap_or(usize::MAX);
                let kept: Vec<Item> = lock(&self.disk.log).iter().take(synced).cloned().collect();
                fresh.append(kept.clone()).await?;
                *lock(&self.disk.log) = kept;
                fresh
            }
            _ => lock(&self.disk.memory).reopen(),
        };
        let offset = if self.fault == Fault::ReusesPositions { lock(&self.disk.log).len() as u64 } else { 0 };
        *lock(&self.disk.memory) = handle.reopen();
        Ok(Arc::new(Faulty {
            fault: self.fault,
            inner: handle,
            disk: Arc::clone(&self.disk),
            offset,
            late: Mutex::default(),
        }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory with one fault in front of it.
#[derive(Debug)]
struct Faulty {
    fault: Fault,
    inner: MemoryStorage,
    disk: Arc<Disk>,
    /// Subtracted from new positions.
    offset: u64,
    /// Positions that a scan does not see yet.
    late: Mutex<HashSet<Position>>,
}

impl Faulty {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Before the append proper: what the fault makes of the batch.
    async fn disturbed(&self, items: &[Item], answers: &mut [Appended]) {
        let mut in_batch = HashSet::new();
        for (item, answer) in items.iter().zip(answers.iter_mut()) {
            let id = item.record.id();
            let first = in_batch.insert(id);
            *answer = match *answer {
                Appended::New(p) if p.0 > self.offset => Appended::New(Position(p.0 - self.offset)),
                Appended::Duplicate(p) if self.is(Fault::StoresRepeats) => Appended::New(p),
                Appended::Duplicate(p) if self.is(Fault::MissesRepeatsInABatch) && !first => Appended::New(p),
                Appended::Conflict(kept) if self.is(Fault::IgnoresConflicts) => {
                    let found = self.inner.get(&[kept]).await.ok().and_then(|mut f| f.pop().flatten());
                    found.map_or(*answer, |(position, _)| Appended::Duplicate(position))
                }
                Appended::Duplicate(p)
                    if self.is(Fault::ForgetsDeletedIds) && lock(&self.disk.forgotten).contains(&id) =>
                {
                    Appended::New(p)
                }
                same => same,
            };
        }
    }
}

#[async_trait]
impl Storage for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            persistent: true,
            retention: !self.is(Fault::DoesWhatItDoesNotClaim),
            ..self.inner.capabilities()
        }
    }

    async fn append(&self, items: Vec<Item>) -> Result<Vec<Appended>, Error> {
        let mut answers = self.inner.append(items.clone()).await?;
        {
            let mut log = lock(&self.disk.log);
            log.extend(items.iter().cloned());
            // Synced now and then, as a timer might do it.
            if log.len() % 8 < items.len() || !self.is(Fault::AcknowledgesBeforeSync) {
                self.disk.synced.store(log.len() as u64, Ordering::SeqCst);
            }
        }
        if let (Fault::PositionsBeforeRecords | Fault::AnswersBeforeVisible, [Appended::New(position)]) =
            (self.fault, &answers[..])
        {
            if position.0 % 3 == 0 {
                lock(&self.late).insert(*position);
            }
            if self.is(Fault::PositionsBeforeRecords) {
                for _ in 0..position.0 % 5 {
                    give_way().await;
                }
                lock(&self.late).remove(position);
            }
        }
        self.disturbed(&items, &mut answers).await;
        Ok(answers)
    }

    async fn get(&self, ids: &[MessageId]) -> Result<Vec<Option<(Position, Item)>>, Error> {
        let mut found = self.inner.get(ids).await?;
        if self.is(Fault::DropsMissing) {
            found.retain(Option::is_some);
        }
        if self.is(Fault::MakesUpTrust) {
            found.iter_mut().flatten().for_each(|(_, item)| item.trust = Trust::Signature);
        }
        Ok(found)
    }

    async fn scan(
        &self,
        filter: &Filter,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Item)>, Error> {
        let filter = match self.fault {
            Fault::IgnoresFilters => Filter { project: filter.project, ..Filter::default() },
            Fault::MixesProjects => Filter { project: None, ..filter.clone() },
            _ => filter.clone(),
        };
        let after =
            if self.is(Fault::RepeatsTheCursor) { Position(after.0.saturating_sub(1)) } else { after };
        let limit = if self.is(Fault::ShortPages) { limit.min(3) } else { limit };
        let mut found = self.inner.scan(&filter, after, limit).await?;
        if self.is(Fault::ScansBackwards) {
            found.reverse();
        }
        let late = std::mem::take(&mut *lock(&self.late));
        found.retain(|(position, _)| !late.contains(position));
        if self.is(Fault::PositionsBeforeRecords) {
            lock(&self.late).extend(late);
        }
        Ok(found)
    }

    async fn conflicts(&self, project: ProjectId, limit: usize) -> Result<Vec<ConflictEvidence>, Error> {
        let limit = if self.is(Fault::ForgetsEvidence) { 0 } else { limit };
        self.inner.conflicts(project, limit).await
    }

    async fn delete_before(&self, project: ProjectId, time: Timestamp, limit: usize) -> Result<u64, Error> {
        let limit = if self.is(Fault::DeletesTooMuch) { limit.saturating_add(1) } else { limit };
        if self.is(Fault::ForgetsDeletedIds) {
            let filter = Filter { project: Some(project), received_to: Some(time), ..Filter::default() };
            let found = self.inner.scan(&filter, Position(0), limit).await?;
            lock(&self.disk.forgotten).extend(found.iter().map(|(_, item)| item.record.id()));
        }
        self.inner.delete_before(project, time, limit).await
    }

    async fn check(&self) -> Result<Vec<String>, Error> {
        if self.is(Fault::CriesWolf) {
            return Ok(vec!["wolf".into()]);
        }
        self.inner.check().await
    }

    async fn stats(&self) -> Result<Stats, Error> {
        let mut stats = Stats { bytes: 1, ..self.inner.stats().await? };
        if self.is(Fault::Miscounts) {
            stats.records += stats.conflicts;
        }
        Ok(stats)
    }

    async fn close(&self) -> Result<(), Error> {
        let length = lock(&self.disk.log).len() as u64;
        self.disk.synced.store(length, Ordering::SeqCst);
        if self.is(Fault::WorksAfterClose) {
            return Ok(());
        }
        self.inner.close().await
    }
}
