//! The readable reference.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use w3bstream_types::{Digest, MessageId, Output, ProjectId};

use crate::{Applied, Entries, Error, ErrorKind, Vfs, check_sizes, tree};

/// Programs and state in memory.
///
/// The data outlive a handle: [`MemoryVfs::reopen`] gives a new one over the same data, as a process that
/// starts again finds its files.
#[derive(Debug, Default)]
pub struct MemoryVfs {
    data: Arc<Mutex<Data>>,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
pub(crate) struct Data {
    pub(crate) programs: BTreeMap<Digest, Vec<u8>>,
    pub(crate) projects: BTreeMap<ProjectId, Project>,
}

/// One project's state.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) height: u64,
    pub(crate) root: Digest,
    pub(crate) nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) entries: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) results: BTreeMap<u64, (Digest, Digest, Vec<Output>)>,
    pub(crate) index: BTreeMap<MessageId, (u64, u64, u64)>,
}

impl Default for Project {
    fn default() -> Self {
        let root = tree::EMPTY_ROOT;
        let (nodes, entries, results, index) = Default::default();
        Self { height: 0, root, nodes, entries, results, index }
    }
}

impl Project {
    fn apply(&mut self, applied: Applied) -> Result<Digest, Error> {
        if let Some((root, _, _)) = self.results.get(&applied.height) {
            return Ok(*root);
        }
        if applied.height != self.height + 1 {
            let what = format!("height {} does not follow {}", applied.height, self.height);
            return Err(Error::new(ErrorKind::WrongHeight, what));
        }
        check_sizes(&applied.writes)?;
        let nodes = &self.nodes;
        let change = tree::update(&|path| Ok(nodes.get(path).cloned()), self.root, &applied.writes)?;
        // Nothing fails from here on.
        for path in &change.delete {
            self.nodes.remove(path);
        }
        self.nodes.extend(change.put);
        for (key, value) in applied.writes {
            match value {
                Some(value) => self.entries.insert(key, value),
                None => self.entries.remove(&key),
            };
        }
        for (id, first, count) in applied.index {
            self.index.entry(id).or_insert((applied.height, first, count));
        }
        self.results.insert(applied.height, (change.root, applied.manifest, applied.outputs));
        (self.height, self.root) = (applied.height, change.root);
        Ok(change.root)
    }
}

impl MemoryVfs {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new handle over the same data.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self { data: Arc::clone(&self.data), closed: AtomicBool::new(false) }
    }

    /// The data, whether closed or not. They are consistent between any two statements of this module, so a
    /// panic elsewhere does not spoil them.
    pub(crate) fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_data(&self) -> Result<MutexGuard<'_, Data>, Error> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Closed, "the store in memory was closed"));
        }
        Ok(self.data())
    }
}

#[async_trait]
impl Vfs for MemoryVfs {
    fn name(&self) -> &str {
        "memory"
    }

    async fn put_program(&self, bytes: Vec<u8>) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        self.open_data()?.programs.insert(digest, bytes);
        Ok(digest)
    }

    async fn program(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        let data = self.open_data()?;
        let bytes = data
            .programs
            .get(&digest)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no program {digest}")))?;
        if Digest::of(bytes) != digest {
            return Err(Error::new(ErrorKind::WrongDigest, format!("the program {digest} was changed")));
        }
        Ok(bytes.clone())
    }

    async fn head(&self, project: ProjectId) -> Result<(u64, Digest), Error> {
        let data = self.open_data()?;
        Ok(data.projects.get(&project).map_or((0, tree::EMPTY_ROOT), |p| (p.height, p.root)))
    }

    async fn get(&self, project: ProjectId, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.open_data()?.projects.get(&project).and_then(|p| p.entries.get(key).cloned()))
    }

    async fn scan(
        &self,
        project: ProjectId,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Result<Entries, Error> {
        let data = self.open_data()?;
        let Some(project) = data.projects.get(&project) else { return Ok(Vec::new()) };
        let from =
            if after < prefix || after.is_empty() { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let found = project.entries.range::<[u8], _>((from, Bound::Unbounded));
        let found = found.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn apply(&self, project: ProjectId, applied: Applied) -> Result<Digest, Error> {
        self.open_data()?.projects.entry(project).or_default().apply(applied)
    }

    async fn result(
        &self,
        project: ProjectId,
        height: u64,
    ) -> Result<Option<(Digest, Digest, Vec<Output>)>, Error> {
        Ok(self.open_data()?.projects.get(&project).and_then(|p| p.results.get(&height).cloned()))
    }

    async fn outputs_of(&self, project: ProjectId, id: MessageId) -> Result<Option<(u64, u64, u64)>, Error> {
        Ok(self.open_data()?.projects.get(&project).and_then(|p| p.index.get(&id).copied()))
    }

    async fn close(&self) -> Result<(), Error> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}
