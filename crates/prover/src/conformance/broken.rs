//! Provers with one fault each. A kit that lets one of them pass is no kit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use w3bstream_types::Digest;

use super::{Builder, SumBuilder};
use crate::memory::SUM;
use crate::pool::Files;
use crate::{
    ArtefactSet, Artefacts, Claim, Control, Error, ErrorKind, Job, JobId, Pool, PoolConfig, Prover, State, Sum, System,
};

/// What is wrong with a [`Broken`] prover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every proof verifies.
    AcceptsAnyProof,
    /// The last public number does not matter.
    IgnoresAPublicNumber,
    /// The verifying key does not matter.
    IgnoresTheKey,
    /// What stands behind a proof does not matter.
    IgnoresTrailingBytes,
    /// Public numbers may be missing or too many.
    TakesAnyCount,
    /// Files are not those that their digests name.
    TakesAnyFile,
    /// The system's name does not matter.
    TakesAnySystem,
    /// What is not so is proved.
    ProvesLies,
    /// Another job under a known name is taken and dropped.
    MixesNames,
    /// Nothing is ever forgotten.
    KeepsForgotten,
    /// Progress goes back.
    ProgressFalls,
    /// A retry does nothing.
    LosesRetry,
    /// Cancelling does nothing.
    LosesCancel,
    /// Cancelling reaches jobs that wait, and no others.
    CannotStop,
    /// Any number of jobs is taken.
    Unbounded,
    /// A submit returns when the job has ended.
    ProvesInSubmit,
    /// A verification waits for the jobs that are there.
    VerifiesLast,
    /// Jobs of the prover before are still there.
    SharesJobs,
    /// It goes on after close.
    IgnoresClose,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 19] = [
        Self::AcceptsAnyProof,
        Self::IgnoresAPublicNumber,
        Self::IgnoresTheKey,
        Self::IgnoresTrailingBytes,
        Self::TakesAnyCount,
        Self::TakesAnyFile,
        Self::TakesAnySystem,
        Self::ProvesLies,
        Self::MixesNames,
        Self::KeepsForgotten,
        Self::ProgressFalls,
        Self::LosesRetry,
        Self::LosesCancel,
        Self::CannotStop,
        Self::Unbounded,
        Self::ProvesInSubmit,
        Self::VerifiesLast,
        Self::SharesJobs,
        Self::IgnoresClose,
    ];
}

/// Builds provers with one fault.
#[derive(Debug)]
pub struct Broken {
    fault: Fault,
    circuit: SumBuilder,
    first: Mutex<Option<Arc<Pool<BrokenSum>>>>,
}

impl Broken {
    /// Provers with this fault.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self { fault, circuit: SumBuilder, first: Mutex::default() }
    }
}

#[async_trait]
impl Builder for Broken {
    async fn open(&self, artefacts: Arc<dyn Artefacts>, jobs: usize) -> Box<dyn Prover> {
        let jobs = if self.fault == Fault::Unbounded { usize::MAX } else { jobs };
        let artefacts: Arc<dyn Artefacts> = if self.fault == Fault::TakesAnyFile {
            Arc::new(AnyFile(self.circuit.files()))
        } else {
            artefacts
        };
        let config = PoolConfig { jobs, ..PoolConfig::default() };
        #[allow(clippy::expect_used, reason = "a test without threads cannot go on")]
        let pool = Arc::new(Pool::open(BrokenSum(self.fault), artefacts, config).expect("threads"));
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = match (&*first, self.fault) {
            (Some(first), Fault::SharesJobs) => Arc::clone(first),
            _ => pool,
        };
        *first = Some(Arc::clone(&pool));
        Box::new(BrokenProver { pool, fault: self.fault, falling: AtomicU16::new(1000), jobs: Mutex::default() })
    }

    fn files(&self) -> Vec<Vec<u8>> {
        self.circuit.files()
    }

    fn job(&self, number: u64) -> Job {
        self.circuit.job(number)
    }

    fn unprovable(&self) -> Job {
        self.circuit.unprovable()
    }

    fn slow(&self, number: u64) -> Job {
        self.circuit.slow(number)
    }
}

/// Gives one file for every digest.
#[derive(Debug)]
struct AnyFile(Vec<Vec<u8>>);

#[async_trait]
impl Artefacts for AnyFile {
    async fn artefact(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        self.0.first().cloned().ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no artefact {digest}")))
    }
}

/// [`Sum`] with the faults that are a proof system's.
#[derive(Clone, Copy, Debug)]
struct BrokenSum(Fault);

impl BrokenSum {
    /// What a fault takes a claim for.
    fn taken(self, mut claim: Claim) -> Claim {
        match self.0 {
            Fault::IgnoresAPublicNumber => {
                if let Some(last) = claim.public.last_mut() {
                    *last = crate::Scalar::ZERO;
                }
            }
            Fault::IgnoresTheKey => claim.verifying_key = vec![0; 32],
            Fault::IgnoresTrailingBytes => claim.proof.truncate(32),
            Fault::TakesAnyCount => claim.public.resize(2, crate::Scalar::ZERO),
            _ => {}
        }
        claim
    }
}

impl System for BrokenSum {
    type Circuit = Digest;

    fn name(&self) -> &str {
        Sum.name()
    }

    fn roles(&self) -> &[&str] {
        Sum.roles()
    }

    fn load(&self, files: &Files) -> Result<Digest, Error> {
        Sum.load(files)
    }

    fn prove(&self, circuit: &Digest, job: &Job, control: &Control) -> Result<Vec<u8>, Error> {
        let proof = match Sum.prove(circuit, job, control) {
            Err(e) if self.0 == Fault::ProvesLies && e.kind() == ErrorKind::Unprovable => None,
            other => Some(other?),
        };
        let changed = matches!(self.0, Fault::IgnoresAPublicNumber | Fault::IgnoresTheKey);
        match proof {
            Some(proof) if !changed => Ok(proof),
            _ => {
                let key = circuit.as_bytes().to_vec();
                let (system, public) = (SUM.to_owned(), job.public.values());
                let claim = self.taken(Claim { system, verifying_key: key, public, proof: Vec::new() });
                Ok(crate::memory::proof(&claim.verifying_key, &claim.public))
            }
        }
    }

    fn verifying_key(&self, circuit: &Digest) -> Result<Vec<u8>, Error> {
        Sum.verifying_key(circuit)
    }

    fn verify(&self, claim: &Claim) -> Result<(), Error> {
        if self.0 == Fault::AcceptsAnyProof {
            return Ok(());
        }
        Sum.verify(&self.taken(claim.clone()))
    }
}

/// A pool with the faults that are not its proof system's.
#[derive(Debug)]
struct BrokenProver {
    pool: Arc<Pool<BrokenSum>>,
    fault: Fault,
    falling: AtomicU16,
    jobs: Mutex<BTreeMap<JobId, ()>>,
}

impl BrokenProver {
    fn system<'a>(&self, name: &'a str) -> &'a str {
        if self.fault == Fault::TakesAnySystem { SUM } else { name }
    }

    fn jobs(&self) -> Vec<JobId> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

#[async_trait]
impl Prover for BrokenProver {
    fn name(&self) -> &str {
        "broken"
    }

    fn systems(&self) -> Vec<String> {
        self.pool.systems()
    }

    async fn submit(&self, id: JobId, mut job: Job) -> Result<(), Error> {
        job.system = self.system(&job.system).to_owned();
        match self.pool.submit(id, job).await {
            Err(e) if self.fault == Fault::MixesNames && e.kind() == ErrorKind::Conflict => {}
            other => other?,
        }
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).insert(id, ());
        if self.fault == Fault::ProvesInSubmit {
            self.pool.finished(id).await?;
        }
        Ok(())
    }

    async fn state(&self, id: JobId) -> Result<State, Error> {
        let mut state = self.pool.state(id).await?;
        if let (State::Running(progress), Fault::ProgressFalls) = (&mut state, self.fault) {
            progress.thousandths = self.falling.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(state)
    }

    async fn finished(&self, id: JobId) -> Result<State, Error> {
        self.pool.finished(id).await
    }

    async fn cancel(&self, id: JobId) -> Result<(), Error> {
        let state = self.pool.state(id).await?;
        match self.fault {
            Fault::LosesCancel => Ok(()),
            Fault::CannotStop if state != State::Waiting => Ok(()),
            _ => self.pool.cancel(id).await,
        }
    }

    async fn retry(&self, id: JobId) -> Result<(), Error> {
        if self.fault == Fault::LosesRetry {
            return self.pool.state(id).await.map(|_| ());
        }
        self.pool.retry(id).await
    }

    async fn forget(&self, id: JobId) -> Result<(), Error> {
        if self.fault == Fault::KeepsForgotten { Ok(()) } else { self.pool.forget(id).await }
    }

    async fn verifying_key(&self, system: &str, artefacts: &ArtefactSet) -> Result<Vec<u8>, Error> {
        self.pool.verifying_key(self.system(system), artefacts).await
    }

    async fn verify(&self, mut claim: Claim) -> Result<(), Error> {
        claim.system = self.system(&claim.system).to_owned();
        if self.fault == Fault::VerifiesLast {
            for id in self.jobs() {
                self.pool.finished(id).await?;
            }
        }
        self.pool.verify(claim).await
    }

    async fn close(&self) -> Result<(), Error> {
        if self.fault == Fault::IgnoresClose { Ok(()) } else { self.pool.close().await }
    }
}
