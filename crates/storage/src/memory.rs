//! The reference: everything in memory, nothing that is not part of the contract.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use w3bstream_types::{
    Canonical, Digest, Form, MessageId, Position, ProjectId, Sequence, SourceId, Timestamp,
};

use crate::{
    Appended, Capabilities, ConflictEvidence, Error, ErrorKind, Filter, Item, MAX_CONFLICTS_PER_MESSAGE,
    Stats, Storage,
};

/// Device data in memory: for tests and for reading. Everything is lost with the process.
pub struct MemoryStorage {
    state: Arc<Mutex<State>>,
    closed: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Highest position given so far. Never goes down, whatever is deleted.
    last: u64,
    /// Everything ever stored, also what was deleted since.
    known: HashMap<MessageId, Known>,
    /// Who holds a sequence number.
    sequences: HashMap<(ProjectId, SourceId, Sequence), MessageId>,
    /// What is there.
    records: BTreeMap<Position, Item>,
    conflicts: Vec<ConflictEvidence>,
}

#[derive(Clone, Copy)]
struct Known {
    position: Position,
    /// Of the record's canonical bytes: a token message's id does not bind them.
    bytes: Digest,
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").finish_non_exhaustive()
    }
}

impl MemoryStorage {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::default(), closed: AtomicBool::new(false) }
    }

    /// Another handle on the same data, open even if this one was closed: what a restart is to a persistent
    /// store, inside one process.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self { state: Arc::clone(&self.state), closed: AtomicBool::new(false) }
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, Error> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Closed, "the memory store was closed"));
        }
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn append(&mut self, item: Item) -> Appended {
        let (id, bytes) = (item.record.id(), item.record.digest());
        if let Some(known) = self.known.get(&id).copied() {
            // A signed message's id binds what was signed; only an event id of the sender's own can stand for other bytes.
            let own = matches!(item.record.form(), Form::Token(_) | Form::Session(_));
            let same = known.bytes == bytes || !own;
            return if same { Appended::Duplicate(known.position) } else { self.conflict(id, item) };
        }
        if let Some(sequence) = item.record.sequence() {
            let key = (item.record.project(), item.record.source(), sequence);
            if let Some(holder) = self.sequences.get(&key).copied() {
                return self.conflict(holder, item);
            }
            self.sequences.insert(key, id);
        }
        self.last += 1;
        let position = Position(self.last);
        self.known.insert(id, Known { position, bytes });
        self.records.insert(position, item);
        Appended::New(position)
    }

    fn conflict(&mut self, kept: MessageId, refused: Item) -> Appended {
        let mut others = self.conflicts.iter().filter(|c| c.kept == kept);
        let seen = others.clone().any(|c| c.refused.record == refused.record);
        if !seen && others.nth(MAX_CONFLICTS_PER_MESSAGE - 1).is_none() {
            self.conflicts.push(ConflictEvidence { kept, refused });
        }
        Appended::Conflict(kept)
    }
}

fn matches(filter: &Filter, item: &Item) -> bool {
    filter.project.is_none_or(|p| p == item.record.project())
        && filter.source.as_ref().is_none_or(|s| *s == item.record.source())
        && filter.event_type.as_ref().is_none_or(|t| t == item.record.event_type())
        && filter.received_from.is_none_or(|t| item.received_at >= t)
        && filter.received_to.is_none_or(|t| item.received_at < t)
}

#[async_trait]
impl Storage for MemoryStorage {
    fn name(&self) -> &str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            persistent: false,
            power_safe: false,
            scan_all: true,
            filters: true,
            retention: true,
            integrity_check: true,
        }
    }

    async fn append(&self, items: Vec<Item>) -> Result<Vec<Appended>, Error> {
        let mut state = self.state()?;
        Ok(items.into_iter().map(|item| state.append(item)).collect())
    }

    async fn get(&self, ids: &[MessageId]) -> Result<Vec<Option<(Position, Item)>>, Error> {
        let state = self.state()?;
        let find = |id: &MessageId| {
            let position = state.known.get(id)?.position;
            // Known, but not there: it was deleted.
            Some((position, state.records.get(&position)?.clone()))
        };
        Ok(ids.iter().map(find).collect())
    }

    async fn scan(
        &self,
        filter: &Filter,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Item)>, Error> {
        let state = self.state()?;
        let later = state.records.range(Position(after.0.saturating_add(1))..);
        let found = later.filter(|(_, item)| matches(filter, item)).take(limit);
        Ok(found.map(|(position, item)| (*position, item.clone())).collect())
    }

    async fn conflicts(&self, project: ProjectId, limit: usize) -> Result<Vec<ConflictEvidence>, Error> {
        let state = self.state()?;
        let of_project = state.conflicts.iter().filter(|c| c.refused.record.project() == project);
        Ok(of_project.take(limit).cloned().collect())
    }

    async fn delete_before(&self, project: ProjectId, time: Timestamp, limit: usize) -> Result<u64, Error> {
        let mut state = self.state()?;
        let old = |item: &Item| item.record.project() == project && item.received_at < time;
        let found = state.records.iter().filter(|(_, item)| old(item)).take(limit);
        let positions: Vec<Position> = found.map(|(position, _)| *position).collect();
        for position in &positions {
            state.records.remove(position);
        }
        Ok(positions.len() as u64)
    }

    async fn check(&self) -> Result<Vec<String>, Error> {
        let state = self.state()?;
        let wrong = |(position, item): (&Position, &Item)| {
            let known = state.known.get(&item.record.id()).copied();
            let sound = known.is_some_and(|k| k.position == *position && k.bytes == item.record.digest());
            (!sound).then(|| format!("the record at position {} is not what was stored", position.0))
        };
        Ok(state.records.iter().filter_map(wrong).collect())
    }

    async fn stats(&self) -> Result<Stats, Error> {
        let state = self.state()?;
        let (records, conflicts) = (state.records.len() as u64, state.conflicts.len() as u64);
        Ok(Stats { records, conflicts, bytes: 0 })
    }

    async fn close(&self) -> Result<(), Error> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}
