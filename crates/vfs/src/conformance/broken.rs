//! Stores with one fault each. A kit that lets one of them pass is no kit.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use w3bstream_types::{Digest, MessageId, Output, ProjectId};

use super::Builder;
use crate::memory::Project;
use crate::{Applied, Entries, Error, MemoryVfs, Vfs};

/// What is wrong with a [`Broken`] store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is there after a restart.
    ForgetsOnReopen,
    /// A program is given away without being checked.
    ServesUnchecked,
    /// A program is named by something else than its digest.
    OtherDigest,
    /// A height that is applied again changes the state again.
    AppliesTwice,
    /// A height that is applied again gives another root.
    OtherRootOnRepeat,
    /// Heights may be left out.
    AcceptsGaps,
    /// The root covers the guests' keys only.
    RootIgnoresRegistry,
    /// The root depends on the height too.
    RootKnowsHistory,
    /// A deleted key can still be read.
    KeepsDeleted,
    /// An empty value is taken for a deletion.
    EmptyIsDeleted,
    /// Results are lost.
    LosesResults,
    /// A message that is named again is moved to the later height.
    LastIndexWins,
    /// Scans go from the last key to the first.
    ScansBackwards,
    /// A scan gives the key that it should start above once more.
    ScanIncludesAfter,
    /// A scan does not stop where its prefix does.
    ScanLeavesPrefix,
    /// All projects share one state.
    MixesProjects,
    /// Half of a refused block is kept.
    KeepsHalfABlock,
    /// It goes on after close.
    IgnoresClose,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 18] = [
        Self::ForgetsOnReopen,
        Self::ServesUnchecked,
        Self::OtherDigest,
        Self::AppliesTwice,
        Self::OtherRootOnRepeat,
        Self::AcceptsGaps,
        Self::RootIgnoresRegistry,
        Self::RootKnowsHistory,
        Self::KeepsDeleted,
        Self::EmptyIsDeleted,
        Self::LosesResults,
        Self::LastIndexWins,
        Self::ScansBackwards,
        Self::ScanIncludesAfter,
        Self::ScanLeavesPrefix,
        Self::MixesProjects,
        Self::KeepsHalfABlock,
        Self::IgnoresClose,
    ];
}

/// Builds stores with one fault.
#[derive(Debug)]
pub struct Broken {
    fault: Fault,
    data: MemoryVfs,
}

impl Broken {
    /// A builder of stores with this fault.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self { fault, data: MemoryVfs::new() }
    }
}

#[async_trait]
impl Builder for Broken {
    async fn open(&self) -> Box<dyn Vfs> {
        let forgets = self.fault == Fault::ForgetsOnReopen;
        let inner = if forgets { MemoryVfs::new() } else { self.data.reopen() };
        Box::new(BrokenVfs { fault: self.fault, inner, deleted: Mutex::default() })
    }

    async fn damage_program(&self, digest: Digest) -> bool {
        damage(&self.data, digest)
    }
}

/// Changes the last byte of a program in memory, and says whether there is such a program.
#[must_use]
pub fn damage(vfs: &MemoryVfs, digest: Digest) -> bool {
    let mut data = vfs.data();
    let last = data.programs.get_mut(&digest).and_then(|bytes| bytes.last_mut());
    last.map(|byte| *byte ^= 1).is_some()
}

#[derive(Debug)]
struct BrokenVfs {
    fault: Fault,
    inner: MemoryVfs,
    // Deleted entries, for the fault that keeps them.
    deleted: Mutex<BTreeMap<ProjectId, Entries>>,
}

impl BrokenVfs {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn project(&self, project: ProjectId) -> ProjectId {
        if self.is(Fault::MixesProjects) { ProjectId(Digest::ZERO) } else { project }
    }

    fn change(&self, project: ProjectId, change: impl FnOnce(&mut Project)) {
        change(self.inner.data().projects.entry(project).or_default());
    }

    /// What the fault does before the block is applied.
    fn before(&self, project: ProjectId, applied: &mut Applied) {
        let height = applied.height;
        match self.fault {
            Fault::AppliesTwice => self.change(project, |p| {
                if p.results.contains_key(&height) {
                    p.results.remove(&height);
                    p.height = height - 1;
                }
            }),
            Fault::AcceptsGaps => self.change(project, |p| p.height = height.saturating_sub(1)),
            Fault::RootKnowsHistory => {
                applied.writes.insert(vec![0], Some(height.to_be_bytes().to_vec()));
            }
            Fault::EmptyIsDeleted => {
                applied.writes.values_mut().filter(|v| v.as_deref() == Some(&[])).for_each(|v| *v = None);
            }
            Fault::LastIndexWins => self.change(project, |p| {
                p.index.retain(|id, _| applied.index.iter().all(|(named, ..)| named != id));
            }),
            Fault::KeepsHalfABlock => self.change(project, |p| {
                let first = applied.writes.iter().next().and_then(|(k, v)| Some((k.clone(), v.clone()?)));
                p.entries.extend(first);
            }),
            Fault::KeepsDeleted => self.remember(project, applied),
            _ => {}
        }
    }

    fn remember(&self, project: ProjectId, applied: &Applied) {
        let data = self.inner.data();
        let Some(entries) = data.projects.get(&project).map(|p| &p.entries) else { return };
        let deleted = applied.writes.iter().filter(|(_, value)| value.is_none());
        let kept = deleted.filter_map(|(key, _)| Some((key.clone(), entries.get(key)?.clone())));
        let mut all = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(project).or_default().extend(kept);
    }

    /// The registry's writes go past the tree.
    async fn apply_without_registry(
        &self,
        project: ProjectId,
        mut applied: Applied,
    ) -> Result<Digest, Error> {
        let guest = applied.writes.extract_if(.., |key, _| key.first() == Some(&1)).collect();
        let registry = std::mem::replace(&mut applied.writes, guest);
        let root = self.inner.apply(project, applied).await?;
        self.change(project, |p| {
            for (key, value) in registry {
                match value {
                    Some(value) => p.entries.insert(key, value),
                    None => p.entries.remove(&key),
                };
            }
        });
        Ok(root)
    }
}

#[async_trait]
impl Vfs for BrokenVfs {
    fn name(&self) -> &str {
        "broken"
    }

    async fn put_program(&self, bytes: Vec<u8>) -> Result<Digest, Error> {
        let other = Digest::tagged("other", &[&bytes]);
        let digest = self.inner.put_program(bytes).await?;
        Ok(if self.is(Fault::OtherDigest) { other } else { digest })
    }

    async fn program(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        let result = self.inner.program(digest).await;
        if self.is(Fault::ServesUnchecked) {
            let data = self.inner.data();
            return data.programs.get(&digest).cloned().map_or(result, Ok);
        }
        result
    }

    async fn head(&self, project: ProjectId) -> Result<(u64, Digest), Error> {
        self.inner.head(self.project(project)).await
    }

    async fn get(&self, project: ProjectId, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let found = self.inner.get(self.project(project), key).await?;
        let all = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        let deleted = all.get(&project).and_then(|kept| kept.iter().find(|(k, _)| k == key));
        Ok(found.or(deleted.map(|(_, value)| value.clone())))
    }

    async fn scan(
        &self,
        project: ProjectId,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Result<Entries, Error> {
        let prefix =
            if self.is(Fault::ScanLeavesPrefix) { prefix.get(..1).unwrap_or(prefix) } else { prefix };
        let project = self.project(project);
        let mut found = self.inner.scan(project, prefix, after, limit).await?;
        if self.is(Fault::ScansBackwards) {
            found.reverse();
        }
        if self.is(Fault::ScanIncludesAfter) && after.starts_with(prefix) {
            let at = self.inner.get(project, after).await?.map(|value| (after.to_vec(), value));
            found.splice(..0, at);
            found.truncate(limit);
        }
        Ok(found)
    }

    async fn apply(&self, project: ProjectId, mut applied: Applied) -> Result<Digest, Error> {
        let project = self.project(project);
        let height = applied.height;
        self.before(project, &mut applied);
        let repeated = self.inner.result(project, height).await?.is_some();
        let root = if self.is(Fault::RootIgnoresRegistry) {
            self.apply_without_registry(project, applied).await?
        } else {
            self.inner.apply(project, applied).await?
        };
        let other = self.is(Fault::OtherRootOnRepeat) && repeated;
        Ok(if other { Digest::tagged("other", &[root.as_bytes()]) } else { root })
    }

    async fn result(
        &self,
        project: ProjectId,
        height: u64,
    ) -> Result<Option<(Digest, Digest, Vec<Output>)>, Error> {
        let result = self.inner.result(self.project(project), height).await?;
        Ok(result.filter(|_| !self.is(Fault::LosesResults)))
    }

    async fn outputs_of(&self, project: ProjectId, id: MessageId) -> Result<Option<(u64, u64, u64)>, Error> {
        self.inner.outputs_of(self.project(project), id).await
    }

    async fn close(&self) -> Result<(), Error> {
        if self.is(Fault::IgnoresClose) { Ok(()) } else { self.inner.close().await }
    }
}
