//! The reference: everything in memory, nothing that is not part of the contract.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use w3bstream_types::{Attestation, CertifiedBlock, ControlTx, Digest, Entry, Genesis, MessageId, ProjectId};

use crate::{Error, ErrorKind, Journal, OutboxEntry, OutboxId, RecordId, Write};

/// A journal in memory: for tests and for reading. Everything is lost with the process.
pub struct MemoryJournal {
    state: Arc<Mutex<State>>,
    closed: AtomicBool,
}

#[derive(Default)]
struct State {
    geneses: BTreeMap<ProjectId, Genesis>,
    blocks: BTreeMap<(ProjectId, u64), CertifiedBlock>,
    /// First place of each entry, messages and controls alike: their ids are digests of different domains.
    ordered: BTreeMap<Digest, (ProjectId, u64, u64)>,
    attestations: BTreeMap<(ProjectId, u64), Attestation>,
    cursors: BTreeMap<(ProjectId, &'static str), u64>,
    controls: BTreeMap<Digest, ControlTx>,
    outbox: BTreeMap<OutboxId, OutboxEntry>,
    records: BTreeMap<RecordId, Vec<u8>>,
    halted: BTreeMap<ProjectId, String>,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryJournal").finish_non_exhaustive()
    }
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::default(), closed: AtomicBool::new(false) }
    }

    /// Another handle on the same data, open even if this one was closed: what a restart is to a persistent
    /// journal, inside one process.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self { state: Arc::clone(&self.state), closed: AtomicBool::new(false) }
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, Error> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Closed, "the memory journal was closed"));
        }
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes one change back.
type Undo = Box<dyn FnOnce(&mut State)>;

/// Changes with the way back: what one write of a batch refuses, all of them undo.
struct Batch<'s> {
    state: &'s mut State,
    undo: Vec<Undo>,
}

impl Batch<'_> {
    /// Sets or removes one value of one map.
    fn set<K: Ord + Clone + 'static, V: 'static>(
        &mut self,
        map: fn(&mut State) -> &mut BTreeMap<K, V>,
        key: K,
        value: Option<V>,
    ) {
        let swap = move |state: &mut State, key: K, value: Option<V>| match value {
            Some(value) => map(state).insert(key, value),
            None => map(state).remove(&key),
        };
        let before = swap(self.state, key.clone(), value);
        self.undo.push(Box::new(move |state| {
            swap(state, key, before);
        }));
    }

    /// Sets a value that may be written only once.
    fn once<K: Ord + Clone + 'static, V: PartialEq + 'static>(
        &mut self,
        map: fn(&mut State) -> &mut BTreeMap<K, V>,
        key: K,
        value: V,
    ) -> Result<(), &'static str> {
        match map(self.state).get(&key) {
            None => {
                self.set(map, key, Some(value));
                Ok(())
            }
            Some(same) if *same == value => Ok(()),
            Some(_) => Err("another one is written already"),
        }
    }

    fn apply(&mut self, write: Write) -> Result<(), Error> {
        let conflict = |what: String| Error::new(ErrorKind::Conflict, what);
        match write {
            Write::Genesis(genesis) => {
                let project = genesis.project;
                self.once(|s| &mut s.geneses, project, *genesis)
                    .map_err(|why| conflict(format!("genesis of project {project}: {why}")))
            }
            Write::Block(project, block) => self.block(project, *block),
            Write::Attestation(project, attestation) => {
                let height = attestation.statement.height;
                self.once(|s| &mut s.attestations, (project, height), *attestation)
                    .map_err(|why| conflict(format!("attestation {height} of project {project}: {why}")))
            }
            Write::Cursor(project, name, value) => {
                let now = self.state.cursors.get(&(project, name)).copied().unwrap_or(0);
                if value < now {
                    let what =
                        format!("cursor {name:?} of project {project} is at {now}, not before {value}");
                    return Err(conflict(what));
                }
                self.set(|s| &mut s.cursors, (project, name), Some(value));
                Ok(())
            }
            Write::Control(control) => {
                let id = control.id();
                if !self.state.controls.contains_key(&id) {
                    self.set(|s| &mut s.controls, id, Some(*control));
                }
                Ok(())
            }
            Write::Outbox(ids) => {
                for id in ids {
                    if !self.state.outbox.contains_key(&id) {
                        let entry = OutboxEntry { id, attempts: 0, last_error: String::new() };
                        self.set(|s| &mut s.outbox, id, Some(entry));
                    }
                }
                Ok(())
            }
            Write::OutboxFailed(id, last_error) => {
                if let Some(entry) = self.state.outbox.get(&id) {
                    let attempts = entry.attempts.saturating_add(1);
                    self.set(|s| &mut s.outbox, id, Some(OutboxEntry { id, attempts, last_error }));
                }
                Ok(())
            }
            Write::OutboxDone(id) => {
                self.set(|s| &mut s.outbox, id, None);
                Ok(())
            }
            Write::Record(id, value) => {
                self.set(|s| &mut s.records, id, value);
                Ok(())
            }
            Write::Halt(project, reason) => {
                self.set(|s| &mut s.halted, project, Some(reason).filter(|r| !r.is_empty()));
                Ok(())
            }
        }
    }

    fn block(&mut self, project: ProjectId, block: CertifiedBlock) -> Result<(), Error> {
        let height = block.block.header().height;
        let conflict = |why: String| {
            Error::new(ErrorKind::Conflict, format!("block {height} of project {project}: {why}"))
        };
        let last = self.state.last_height(project);
        if height == 0 || height > last + 1 {
            return Err(conflict(format!("the last one is {last}, and heights have no gaps")));
        }
        let ids: Vec<Digest> = block.block.entries().iter().map(Entry::id).collect();
        self.once(|s| &mut s.blocks, (project, height), block).map_err(|why| conflict(why.into()))?;
        for (index, id) in ids.into_iter().enumerate() {
            if !self.state.ordered.contains_key(&id) {
                self.set(|s| &mut s.ordered, id, Some((project, height, index as u64)));
            }
        }
        Ok(())
    }
}

impl State {
    fn last_height(&self, project: ProjectId) -> u64 {
        let mut blocks = self.blocks.range((project, 0)..=(project, u64::MAX));
        blocks.next_back().map_or(0, |((_, height), _)| *height)
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn commit(&self, batch: Vec<Write>) -> Result<(), Error> {
        let mut state = self.state()?;
        let mut changes = Batch { state: &mut state, undo: Vec::new() };
        let result = batch.into_iter().try_for_each(|write| changes.apply(write));
        let undo = changes.undo;
        if result.is_err() {
            undo.into_iter().rev().for_each(|undo| undo(&mut state));
        }
        result
    }

    async fn geneses(&self) -> Result<Vec<Genesis>, Error> {
        Ok(self.state()?.geneses.values().cloned().collect())
    }

    async fn block(&self, project: ProjectId, height: u64) -> Result<Option<CertifiedBlock>, Error> {
        Ok(self.state()?.blocks.get(&(project, height)).cloned())
    }

    async fn last_height(&self, project: ProjectId) -> Result<u64, Error> {
        Ok(self.state()?.last_height(project))
    }

    async fn ordered(&self, ids: &[MessageId]) -> Result<Vec<Option<(ProjectId, u64, u64)>>, Error> {
        let state = self.state()?;
        Ok(ids.iter().map(|id| state.ordered.get(&id.0).copied()).collect())
    }

    async fn attestation(&self, project: ProjectId, height: u64) -> Result<Option<Attestation>, Error> {
        Ok(self.state()?.attestations.get(&(project, height)).cloned())
    }

    async fn cursor(&self, project: ProjectId, name: &'static str) -> Result<u64, Error> {
        Ok(self.state()?.cursors.get(&(project, name)).copied().unwrap_or(0))
    }

    async fn control(&self, id: Digest) -> Result<Option<ControlTx>, Error> {
        Ok(self.state()?.controls.get(&id).cloned())
    }

    async fn pending_controls(&self, project: ProjectId, limit: usize) -> Result<Vec<ControlTx>, Error> {
        let state = self.state()?;
        let pending =
            |(id, tx): &(&Digest, &ControlTx)| tx.project == project && !state.ordered.contains_key(id);
        let mut found: Vec<(&Digest, &ControlTx)> = state.controls.iter().filter(pending).collect();
        found.sort_by_key(|(id, tx)| (tx.nonce, **id));
        Ok(found.into_iter().take(limit).map(|(_, tx)| tx.clone()).collect())
    }

    async fn outbox(&self, project: ProjectId, limit: usize) -> Result<Vec<OutboxEntry>, Error> {
        let state = self.state()?;
        let of_project = state.outbox.values().filter(|e| e.id.project == project);
        Ok(of_project.take(limit).cloned().collect())
    }

    async fn record(&self, id: &RecordId) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.state()?.records.get(id).cloned())
    }

    async fn records(&self, after: &RecordId, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        let state = self.state()?;
        let behind = state.records.range((Bound::Excluded(after), Bound::Unbounded));
        let of_space = behind.take_while(|(id, _)| (id.project, id.space) == (after.project, after.space));
        Ok(of_space.take(limit).map(|(id, value)| (id.key.clone(), value.clone())).collect())
    }

    async fn halted(&self, project: ProjectId) -> Result<Option<String>, Error> {
        Ok(self.state()?.halted.get(&project).cloned())
    }

    async fn close(&self) -> Result<(), Error> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}
