//! The prover: threads, caches, and the trait.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use w3bstream_prover::{
    Artefacts, Circuit, Error, ErrorKind, FieldElement, Job, JobState, Proof, Prover, Step,
};
use w3bstream_types::{Digest, Disposition};

use crate::cache::Cache;
use crate::jobs::{Artefact, Run, Table, Wait, Work};
use crate::prove::{Stopped, Watch, points};
use crate::thread::{Ending, Side};
use crate::{Program, ProvingKey, VerifyingKey, WitnessLimits};

/// The proof system's name.
pub const SYSTEM: &str = "groth16-bn254";

/// Settings of the prover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many proofs are made at the same time, each on one thread.
    pub threads: usize,
    /// How many jobs wait at most.
    pub queue: usize,
    /// How many results are kept until they are forgotten; beyond, the oldest go.
    pub results: usize,
    /// How many keys and programs stay in memory. A key takes about as much as its file.
    pub circuits: usize,
    /// What a witness program may use.
    pub witness: WitnessLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self { threads: 1, queue: 32, results: 1024, circuits: 4, witness: WitnessLimits::default() }
    }
}

struct Shared {
    table: Table,
    programs: Cache<Arc<Program>>,
    keys: Cache<Arc<ProvingKey>>,
    verifying: Cache<Arc<VerifyingKey>>,
    witness: WitnessLimits,
}

/// A prover with threads of its own. Dropping it without [`Prover::close`] ends them as soon as they notice.
pub struct Groth16Prover {
    shared: Arc<Shared>,
    side: Side,
    threads: Mutex<Vec<Ending>>,
}

impl fmt::Debug for Groth16Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groth16Prover").field("table", &self.shared.table).finish_non_exhaustive()
    }
}

impl Drop for Groth16Prover {
    fn drop(&mut self) {
        self.shared.table.close();
    }
}

impl Groth16Prover {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`ErrorKind::Resources`] if one cannot be started.
    pub fn start(config: &Config) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            table: Table::new(config.queue, config.results),
            programs: Cache::new(config.circuits),
            keys: Cache::new(config.circuits),
            // Some hundred bytes each.
            verifying: Cache::new(config.circuits.saturating_mul(16)),
            witness: config.witness,
        });
        let (side, ending) = Side::start()?;
        // From here on dropping ends those that run.
        let prover = Self { shared, side, threads: Mutex::new(vec![ending]) };
        for i in 0..config.threads.max(1) {
            let shared = Arc::clone(&prover.shared);
            let ending = Ending::spawn(&format!("prover-{i}"), move || {
                while let Some(run) = shared.table.next() {
                    let end = shared.end_of(&run);
                    shared.table.finish(&run, end);
                }
            })?;
            prover.threads.lock().unwrap_or_else(PoisonError::into_inner).push(ending);
        }
        Ok(prover)
    }

    /// An artefact's bytes, which have their digest.
    async fn fetch(&self, artefacts: &dyn Artefacts, digest: Digest) -> Result<Arc<[u8]>, Error> {
        let bytes = artefacts.fetch(digest).await?;
        let own = Arc::clone(&bytes);
        if self.side.run(move || Digest::of(&own)).await? == digest {
            return Ok(bytes);
        }
        let why = format!("the bytes that came for artefact {digest} have another digest");
        Err(Error::new(ErrorKind::Artefact, why))
    }

    async fn verifying(&self, artefacts: &dyn Artefacts, key: Digest) -> Result<Arc<VerifyingKey>, Error> {
        if let Some(ready) = self.shared.verifying.get(key) {
            return Ok(ready);
        }
        let bytes = self.fetch(artefacts, key).await?;
        let read = Arc::new(self.side.run(move || VerifyingKey::read(&bytes)).await??);
        self.shared.verifying.put(key, Arc::clone(&read));
        Ok(read)
    }
}

fn check_system(circuit: &Circuit) -> Result<(), Error> {
    if circuit.system == SYSTEM {
        return Ok(());
    }
    let why = format!("this prover is for {SYSTEM}, and the circuit for {}", circuit.system);
    Err(Error::new(ErrorKind::Unsupported, why))
}

/// What tells jobs with one id apart, without keeping their private numbers.
fn fingerprint(job: &Job) -> Digest {
    let mut bytes = Vec::new();
    let length = |n: usize| u64::try_from(n).unwrap_or(u64::MAX).to_be_bytes();
    for (name, values) in &job.inputs {
        bytes.extend_from_slice(&length(name.len()));
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&length(values.len()));
        bytes.extend(values.iter().flat_map(|x| x.to_be_bytes()));
    }
    let public: Vec<u8> = job.public.iter().flat_map(|x| x.to_be_bytes()).collect();
    let Circuit { system, witness, key } = &job.circuit;
    let parts: [&[u8]; 5] = [system.as_bytes(), witness.as_bytes(), key.as_bytes(), &public, &bytes];
    Digest::tagged("w3b/prover-job", &parts)
}

impl Shared {
    /// Does a job.
    fn end_of(&self, run: &Run) -> JobState {
        let job = &run.work.job;
        let done = catch_unwind(AssertUnwindSafe(|| self.prove(run)));
        match done {
            Ok(Ok(proof)) => JobState::Done(proof),
            Ok(Err(Stopped::Cancelled)) => JobState::Cancelled,
            Ok(Err(Stopped::Failed(e))) => {
                let retry = e.disposition() == Disposition::Retry;
                tracing::warn!(job = %job.id, key = %job.circuit.key, error = %e, "no proof");
                JobState::Failed { reason: e.to_string(), retry }
            }
            Err(_) => {
                tracing::error!(job = %job.id, key = %job.circuit.key, "the prover panicked");
                JobState::Failed { reason: "the prover panicked".into(), retry: false }
            }
        }
    }

    fn prove(&self, run: &Run) -> Result<Proof, Stopped> {
        let step = |step, done| {
            self.table.progress(run, step, done);
            if run.is_cancelled() { Err(Stopped::Cancelled) } else { Ok(()) }
        };
        let work = &run.work;
        let program = self.program(work).map_err(Stopped::Failed)?;
        step(Step::Loading, 5)?;
        let key = self.key(work).map_err(Stopped::Failed)?;
        step(Step::Witness, 15)?;
        let witness = program.run(&work.job.inputs).map_err(Stopped::Failed)?;
        if work.job.public.len() != key.verifying().public() || !witness.has_public(&work.job.public) {
            let why = "the circuit has other public numbers for these signals than the job";
            return Err(Stopped::Failed(Error::new(ErrorKind::Signals, why)));
        }
        step(Step::Proving, 25)?;
        // The sums are the seven tenths between 25 and 95.
        let mut progress = |sums: u8| self.table.progress(run, Step::Proving, 25 + sums.min(100) / 10 * 7);
        let mut watch = Watch { cancelled: &|| run.is_cancelled(), progress: &mut progress };
        let points = points(&key, &witness, &mut watch)?;
        step(Step::Checking, 95)?;
        if !key.verifying().accepts(&work.job.public, &points) {
            let why = "the proof does not verify: program and key are of different circuits, or a signal that the \
                       program calculates does not satisfy the circuit";
            return Err(Stopped::Failed(Error::new(ErrorKind::Artefact, why)));
        }
        points.to_proof().map_err(Stopped::Failed)
    }

    fn program(&self, work: &Work) -> Result<Arc<Program>, Error> {
        let digest = work.job.circuit.witness;
        let bytes = match (&work.program, self.programs.get(digest)) {
            (Artefact::Ready(ready), _) => return Ok(Arc::clone(ready)),
            (_, Some(ready)) => return Ok(ready),
            (Artefact::Bytes(bytes), None) => bytes,
        };
        let program = Arc::new(Program::compile(bytes, self.witness)?);
        self.programs.put(digest, Arc::clone(&program));
        Ok(program)
    }

    fn key(&self, work: &Work) -> Result<Arc<ProvingKey>, Error> {
        let digest = work.job.circuit.key;
        let bytes = match (&work.key, self.keys.get(digest)) {
            (Artefact::Ready(ready), _) => return Ok(Arc::clone(ready)),
            (_, Some(ready)) => return Ok(ready),
            (Artefact::Bytes(bytes), None) => bytes,
        };
        let key = Arc::new(ProvingKey::read(bytes)?);
        self.keys.put(digest, Arc::clone(&key));
        Ok(key)
    }
}

#[async_trait]
impl Prover for Groth16Prover {
    fn system(&self) -> &str {
        SYSTEM
    }

    async fn submit(&self, job: Job, artefacts: Arc<dyn Artefacts>) -> Result<(), Error> {
        let shared = &self.shared;
        shared.table.check_open()?;
        job.check()?;
        check_system(&job.circuit)?;
        let fingerprint = fingerprint(&job);
        if !shared.table.wants(job.id, fingerprint)? {
            return Ok(());
        }
        let program = match shared.programs.get(job.circuit.witness) {
            Some(ready) => Artefact::Ready(ready),
            None => Artefact::Bytes(self.fetch(&*artefacts, job.circuit.witness).await?),
        };
        let key = match shared.keys.get(job.circuit.key) {
            Some(ready) => Artefact::Ready(ready),
            None => Artefact::Bytes(self.fetch(&*artefacts, job.circuit.key).await?),
        };
        shared.table.push(Work { job, program, key }, fingerprint)
    }

    async fn state(&self, id: Digest) -> Result<Option<JobState>, Error> {
        self.shared.table.state(id)
    }

    async fn wait(&self, id: Digest) -> Result<JobState, Error> {
        match self.shared.table.wait(id)? {
            Wait::Now(state) => Ok(state),
            Wait::Later(state) => state.await.map_err(|_| self.shared.table.gone(id)),
        }
    }

    async fn cancel(&self, id: Digest) -> Result<(), Error> {
        self.shared.table.cancel(id)
    }

    async fn forget(&self, id: Digest) -> Result<(), Error> {
        self.shared.table.forget(id)
    }

    async fn verify(
        &self,
        circuit: &Circuit,
        public: &[FieldElement],
        proof: &Proof,
        artefacts: Arc<dyn Artefacts>,
    ) -> Result<bool, Error> {
        self.shared.table.check_open()?;
        check_system(circuit)?;
        let key = self.verifying(&*artefacts, circuit.key).await?;
        let (public, proof) = (public.to_vec(), *proof);
        self.side.run(move || key.verify(&public, &proof)).await
    }

    async fn close(&self) -> Result<(), Error> {
        self.shared.table.close();
        self.side.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            thread.join().await?;
        }
        Ok(())
    }
}
