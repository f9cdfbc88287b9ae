//! The proofs that settlements need, asked for as far as the prover has room.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use w3bstream_prover::{Artefacts, Circuit, Job, JobState, PROOF_BYTES, Prover, signals};
use w3bstream_types::{Digest, ProjectId, ProofRule, Settlement};
use w3bstream_vfs::{Vfs, key};

use super::record::Settlement as Asked;
use crate::counters::Counters;
use crate::node::Shared;
use crate::{Error, ErrorKind};

/// Jobs of one project that wait or run in a prover. The prover's own queue is bounded too.
const MOST: usize = 8;

/// How far a proof is.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    /// It is there; how many milliseconds it took, waiting included.
    Done(Box<[u8; PROOF_BYTES]>, u64),
    /// For people: what it waits for. The words are few, since each change is journalled.
    Waits(Cow<'static, str>),
}

const QUEUED: Progress = Progress::Waits(Cow::Borrowed("waits in the prover's queue"));
const FULL: Progress = Progress::Waits(Cow::Borrowed("waits for the proofs before it"));

/// The job that proves the statement of an output.
pub(super) fn job_id(project: ProjectId, (height, index): (u64, u64)) -> Digest {
    let (height, index) = (height.to_be_bytes(), index.to_be_bytes());
    Digest::tagged("w3b/proof-job", &[project.0.as_bytes(), &height, &index])
}

/// The jobs of one project.
#[derive(Debug)]
pub(super) struct Proofs {
    shared: Arc<Shared>,
    project: ProjectId,
    /// Jobs under way, and since when.
    jobs: HashMap<Digest, Instant>,
}

impl Proofs {
    pub(super) fn new(shared: Arc<Shared>, project: ProjectId) -> Self {
        Self { shared, project, jobs: HashMap::new() }
    }

    /// The proof of a statement with the milliseconds that it took, once it is there. Asks the prover for it first.
    pub(super) async fn poll(
        &mut self,
        (height, index): (u64, u64),
        (settlement, rule): (&Settlement, &ProofRule),
        (asked, statement): (&Asked, &[u8]),
    ) -> Result<Progress, Error> {
        let system = &rule.system;
        let prover = self.shared.parts.provers.get(system).cloned().ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, format!("this node has no proof system {system:?}"))
        })?;
        let id = job_id(self.project, (height, index));
        match prover.state(id).await? {
            Some(JobState::Done(proof)) => {
                let since = self.jobs.remove(&id);
                let millis = since.map_or(0, |s| u64::try_from(s.elapsed().as_millis()).unwrap_or(u64::MAX));
                prover.forget(id).await?;
                self.count();
                return Ok(Progress::Done(Box::new(*proof.as_bytes()), millis));
            }
            Some(JobState::Queued { .. }) => return Ok(QUEUED),
            Some(JobState::Running { .. }) => return Ok(Progress::Waits("is being proven".into())),
            Some(JobState::Failed { reason, retry }) => {
                self.jobs.remove(&id);
                prover.forget(id).await?;
                let kind = if retry { ErrorKind::Unavailable } else { ErrorKind::Refused };
                return Err(Error::new(kind, format!("no proof: {reason}")));
            }
            Some(JobState::Cancelled) | None => {}
        }
        if self.jobs.len() >= MOST && !self.jobs.contains_key(&id) {
            self.forget_lost(&*prover).await?;
            return Ok(FULL);
        }
        let job = self.job(id, (settlement, rule), (asked, statement)).await?;
        let artefacts = Arc::new(Stored(self.shared.parts.vfs.clone()));
        match prover.submit(job, artefacts).await {
            Ok(()) => {
                self.jobs.insert(id, Instant::now());
                Ok(QUEUED)
            }
            Err(e) if e.kind() == w3bstream_prover::ErrorKind::Busy => Ok(FULL),
            Err(e) => Err(e.into()),
        }
    }

    async fn job(
        &self,
        id: Digest,
        (settlement, rule): (&Settlement, &ProofRule),
        (asked, statement): (&Asked, &[u8]),
    ) -> Result<Job, Error> {
        let name = settlement.private_key(statement)?;
        let applet = &asked.applet;
        let part = self.part(asked).await?;
        let place = key::guest(applet, part.as_ref().map_or(&[], |part| part.as_bytes()), name.as_bytes());
        let private = self.shared.parts.vfs.get(self.project, &place).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::Refused,
                format!("the applet {applet} stored no private inputs under {name}"),
            )
        })?;
        let (public, inputs) = signals(settlement, statement, &private)?;
        let circuit = Circuit { system: rule.system.clone(), witness: rule.witness, key: rule.key };
        Ok(Job { id, circuit, public, inputs })
    }

    /// The part of the applet's state in which the call was that asked, if the state is split.
    async fn part(&self, asked: &Asked) -> Result<Option<Digest>, Error> {
        let manifest = self.shared.manifest(self.project);
        let split = |a: &&w3bstream_types::Applet| a.name == asked.applet && !a.partition.is_none();
        let (Some(_), Some(id)) = (manifest.iter().flat_map(|m| &m.applets).find(split), asked.message)
        else {
            return Ok(None);
        };
        let stored = self.shared.store.get(&[id]).await?.into_iter().flatten().next();
        let stored = stored.ok_or_else(|| {
            Error::new(
                ErrorKind::Refused,
                format!("message {id}, whose part of the state has the inputs, is gone"),
            )
        })?;
        Ok(Some(key::part_of(&stored.record().source())))
    }

    /// Drops jobs of which the prover knows nothing any more, so that they take no place.
    async fn forget_lost(&mut self, prover: &dyn Prover) -> Result<(), Error> {
        for id in self.jobs.keys().copied().collect::<Vec<_>>() {
            if prover.state(id).await?.is_none() {
                self.jobs.remove(&id);
            }
        }
        Ok(())
    }

    fn count(&self) {
        if let Some(project) = self.shared.project(self.project) {
            Counters::add(&project.counters.proofs, 1);
        }
    }
}

/// Circuits lie beside the programs.
#[derive(Debug)]
struct Stored(Arc<dyn Vfs>);

#[async_trait]
impl Artefacts for Stored {
    async fn fetch(&self, digest: Digest) -> Result<Arc<[u8]>, w3bstream_prover::Error> {
        let missing = |e: w3bstream_vfs::Error| {
            let what = format!("the circuit's file {digest}; deploy the project again");
            w3bstream_prover::Error::new(w3bstream_prover::ErrorKind::Missing, what).with_source(e)
        };
        Ok(self.0.program(digest).await.map_err(missing)?.into())
    }
}
