//! Provers with one fault each. A kit that lets one of them pass is no kit.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use w3bstream_types::Digest;

pub use super::place::BrokenPlace;
use crate::{
    Artefacts, Circuit, Error, ErrorKind, FieldElement, Job, JobState, MemoryArtefacts, MemoryProver,
    PROOF_BYTES, Proof, Prover, TOY,
};

/// What is wrong with a [`Broken`] prover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: this one passes, which shows that the others fail by their fault alone.
    None,
    /// No proof verifies.
    RefusesGood,
    /// Every proof verifies.
    IgnoresProof,
    /// A proof verifies for any public numbers.
    IgnoresPublic,
    /// Says that it made a proof when there is none.
    ProvesAnything,
    /// Proves for the public numbers that the signals have, not for those of the job.
    IgnoresPublicOfJob,
    /// Says that what does not hold may hold later.
    FailsForAWhile,
    /// Uses bytes without checking their digest.
    UncheckedArtefacts,
    /// Prints signals.
    PrintsInputs,
    /// The second job with an id replaces the first.
    Replaces,
    /// The queue has no bound.
    Unbounded,
    /// Says that the queue is full, and keeps the job.
    KeepsRefused,
    /// Cancels nothing.
    CancelsNothing,
    /// Cancels what is done.
    CancelsDone,
    /// Forgets nothing.
    ForgetsNothing,
    /// A done job is unknown.
    ForgetsDone,
    /// Takes jobs of any system.
    AnySystem,
    /// Works on after it was closed.
    NeverCloses,
    /// Cannot be closed twice.
    ClosesOnce,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 18] = [
        Self::RefusesGood,
        Self::IgnoresProof,
        Self::IgnoresPublic,
        Self::ProvesAnything,
        Self::IgnoresPublicOfJob,
        Self::FailsForAWhile,
        Self::UncheckedArtefacts,
        Self::PrintsInputs,
        Self::Replaces,
        Self::Unbounded,
        Self::KeepsRefused,
        Self::CancelsNothing,
        Self::CancelsDone,
        Self::ForgetsNothing,
        Self::ForgetsDone,
        Self::AnySystem,
        Self::NeverCloses,
        Self::ClosesOnce,
    ];
}

#[derive(Default)]
struct Seen {
    jobs: Vec<Job>,
    cancelled: BTreeSet<Digest>,
    refused: BTreeSet<Digest>,
    closed: bool,
}

/// A prover with one fault.
pub struct Broken {
    fault: Fault,
    good: MemoryProver,
    artefacts: Arc<MemoryArtefacts>,
    seen: Mutex<Seen>,
}

impl Broken {
    /// The good prover with a fault; `artefacts` are the right ones.
    #[must_use]
    pub fn new(fault: Fault, good: MemoryProver, artefacts: Arc<MemoryArtefacts>) -> Self {
        Self { fault, good, artefacts, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn artefacts(&self, given: Arc<dyn Artefacts>) -> Arc<dyn Artefacts> {
        if self.fault == Fault::UncheckedArtefacts { Arc::clone(&self.artefacts) as _ } else { given }
    }

    fn told(&self, id: Digest, state: JobState) -> JobState {
        match (self.fault, state) {
            (Fault::ProvesAnything, JobState::Failed { .. }) => {
                Proof::from_bytes(&[1; PROOF_BYTES]).map_or(JobState::Cancelled, JobState::Done)
            }
            (Fault::FailsForAWhile, JobState::Failed { reason, .. }) => {
                JobState::Failed { reason, retry: true }
            }
            (Fault::CancelsDone, JobState::Done(_)) if self.seen().cancelled.contains(&id) => {
                JobState::Cancelled
            }
            (_, state) => state,
        }
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fault == Fault::PrintsInputs {
            let seen = self.seen();
            let values = seen.jobs.iter().flat_map(|job| job.inputs.iter().flat_map(|(_, values)| values));
            let low = |x: &FieldElement| x.to_be_bytes().iter().fold(0u128, |n, b| n << 8 | u128::from(*b));
            return f.debug_list().entries(values.map(low)).finish();
        }
        self.good.fmt(f)
    }
}

#[async_trait]
impl Prover for Broken {
    fn system(&self) -> &str {
        self.good.system()
    }

    async fn submit(&self, mut job: Job, artefacts: Arc<dyn Artefacts>) -> Result<(), Error> {
        let id = job.id;
        self.seen().jobs.push(job.clone());
        match self.fault {
            Fault::AnySystem => job.circuit.system = TOY.into(),
            Fault::IgnoresPublicOfJob => {
                job.public = job.inputs.iter().take(2).flat_map(|(_, values)| values.clone()).collect();
            }
            Fault::Replaces => self.good.forget(id).await?,
            _ => {}
        }
        let result = self.good.submit(job, self.artefacts(artefacts)).await;
        if result.as_ref().is_err_and(|e| e.kind() == ErrorKind::Busy) {
            self.seen().refused.insert(id);
        }
        result
    }

    async fn state(&self, id: Digest) -> Result<Option<JobState>, Error> {
        let state = self.good.state(id).await?.map(|state| self.told(id, state));
        Ok(match (self.fault, state) {
            (Fault::KeepsRefused, None) if self.seen().refused.contains(&id) => {
                Some(JobState::Queued { ahead: 0 })
            }
            (Fault::ForgetsDone, Some(JobState::Done(_))) => None,
            (_, state) => state,
        })
    }

    async fn wait(&self, id: Digest) -> Result<JobState, Error> {
        self.good.wait(id).await.map(|state| self.told(id, state))
    }

    async fn cancel(&self, id: Digest) -> Result<(), Error> {
        self.seen().cancelled.insert(id);
        if self.fault == Fault::CancelsNothing { Ok(()) } else { self.good.cancel(id).await }
    }

    async fn forget(&self, id: Digest) -> Result<(), Error> {
        if self.fault == Fault::ForgetsNothing { Ok(()) } else { self.good.forget(id).await }
    }

    async fn verify(
        &self,
        circuit: &Circuit,
        public: &[FieldElement],
        proof: &Proof,
        artefacts: Arc<dyn Artefacts>,
    ) -> Result<bool, Error> {
        let mut circuit = circuit.clone();
        if self.fault == Fault::AnySystem {
            circuit.system = TOY.into();
        }
        let good = self.good.verify(&circuit, public, proof, self.artefacts(artefacts)).await?;
        Ok(match self.fault {
            Fault::RefusesGood => false,
            Fault::IgnoresProof => true,
            // The right length of numbers is enough for it, if the proof was made by anybody.
            Fault::IgnoresPublic => good || proof.as_bytes()[..4] != [1; 4] && public.len() == 2,
            _ => good,
        })
    }

    async fn close(&self) -> Result<(), Error> {
        let closed = std::mem::replace(&mut self.seen().closed, true);
        match self.fault {
            Fault::NeverCloses => Ok(()),
            Fault::ClosesOnce if closed => Err(Error::new(ErrorKind::Closed, "the prover is closed")),
            _ => self.good.close().await,
        }
    }
}
