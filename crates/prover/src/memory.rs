//! The readable references: artefacts in a map, and a prover of a system that proves nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use w3bstream_types::Digest;

use crate::{
    Artefacts, Circuit, Error, ErrorKind, FieldElement, Job, JobState, PROOF_BYTES, Proof, Prover, Signals,
};

/// The system of [`MemoryProver`]. Its proofs are digests that anybody can make: it is for tests alone.
pub const TOY: &str = "toy-that-proves-nothing";

/// Artefacts in a map.
#[derive(Default)]
pub struct MemoryArtefacts(RwLock<BTreeMap<Digest, Arc<[u8]>>>);

impl fmt::Debug for MemoryArtefacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(map.keys()).finish()
    }
}

impl MemoryArtefacts {
    /// Without any.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts bytes in and gives their digest.
    pub fn put(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.put_as(digest, bytes);
        digest
    }

    /// Puts bytes under a digest that need not be theirs, to test who checks.
    pub fn put_as(&self, digest: Digest, bytes: &[u8]) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(digest, bytes.into());
    }
}

#[async_trait]
impl Artefacts for MemoryArtefacts {
    async fn fetch(&self, digest: Digest) -> Result<Arc<[u8]>, Error> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let missing = || Error::new(ErrorKind::Missing, format!("artefact {digest} is not here"));
        map.get(&digest).cloned().ok_or_else(missing)
    }
}

struct Entry {
    job: Job,
    key: Arc<[u8]>,
    state: JobState,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<Digest, Entry>,
    /// The ids that wait, the next first.
    queue: Vec<Digest>,
    closed: bool,
}

/// A prover of [`TOY`]. It has no threads: a job is done when somebody waits for it.
///
/// Its one relation has the public signals `y` and `n` and the private signal `x`, and holds if y = −x. Program and key
/// may be any bytes.
pub struct MemoryProver {
    queue: usize,
    state: Mutex<State>,
}

impl fmt::Debug for MemoryProver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryProver").field("jobs", &self.lock().jobs.len()).finish_non_exhaustive()
    }
}

impl MemoryProver {
    /// A prover with at most `queue` waiting jobs.
    #[must_use]
    pub fn new(queue: usize) -> Self {
        Self { queue, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No method leaves the state half changed, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the prover is closed"));
        }
        Ok(state)
    }

    fn check_system(circuit: &Circuit) -> Result<(), Error> {
        if circuit.system == TOY {
            return Ok(());
        }
        let why = format!("this prover is for {TOY}, and the circuit for {}", circuit.system);
        Err(Error::new(ErrorKind::Unsupported, why))
    }
}

/// Fetches an artefact and checks its digest.
async fn fetch(artefacts: &dyn Artefacts, digest: Digest) -> Result<Arc<[u8]>, Error> {
    let bytes = artefacts.fetch(digest).await?;
    if Digest::of(&bytes) == digest {
        return Ok(bytes);
    }
    let why = format!("the bytes that came for artefact {digest} have another digest");
    Err(Error::new(ErrorKind::Artefact, why))
}

fn toy_proof(key: &[u8], public: &[FieldElement]) -> Option<Proof> {
    let public: Vec<_> = public.iter().flat_map(|x| x.to_be_bytes()).collect();
    let mut bytes = Vec::with_capacity(PROOF_BYTES);
    for i in 0..8u8 {
        let mut word = *Digest::tagged("w3b/toy-proof", &[key, &public, &[i]]).as_bytes();
        // Below the prime, as every word of a proof.
        word[0] = 0;
        bytes.extend_from_slice(&word);
    }
    Proof::from_bytes(&bytes).ok()
}

fn value(inputs: &Signals, name: &str) -> Option<FieldElement> {
    let (_, values) = inputs.iter().find(|(n, _)| n == name)?;
    if let [one] = values[..] { Some(one) } else { None }
}

/// The whole proof system.
fn prove(entry: &Entry) -> JobState {
    let job = &entry.job;
    let signal = |name| value(&job.inputs, name);
    let (Some(y), Some(n), Some(x), 3) = (signal("y"), signal("n"), signal("x"), job.inputs.len()) else {
        return failed("the circuit has the signals y, n and x, one number each");
    };
    if job.public != [y, n] {
        return failed("the public numbers are not those of the signals");
    }
    if y != x.negated() {
        return failed("y is not −x");
    }
    toy_proof(&entry.key, &job.public).map_or_else(|| failed("no proof"), JobState::Done)
}

fn failed(reason: &str) -> JobState {
    JobState::Failed { reason: reason.into(), retry: false }
}

#[async_trait]
impl Prover for MemoryProver {
    fn system(&self) -> &str {
        TOY
    }

    async fn submit(&self, job: Job, artefacts: Arc<dyn Artefacts>) -> Result<(), Error> {
        drop(self.open()?);
        job.check()?;
        Self::check_system(&job.circuit)?;
        fetch(&*artefacts, job.circuit.witness).await?;
        let key = fetch(&*artefacts, job.circuit.key).await?;
        let mut state = self.open()?;
        if let Some(known) = state.jobs.get(&job.id) {
            if known.job != job {
                let why = format!("another job has the id {}", job.id);
                return Err(Error::new(ErrorKind::Conflict, why));
            }
            if !known.state.may_be_resubmitted() {
                return Ok(());
            }
        }
        if state.queue.len() >= self.queue {
            let why = format!("{} jobs wait already", state.queue.len());
            return Err(Error::new(ErrorKind::Busy, why));
        }
        let ahead = state.queue.len();
        state.queue.push(job.id);
        state.jobs.insert(job.id, Entry { job, key, state: JobState::Queued { ahead } });
        Ok(())
    }

    async fn state(&self, id: Digest) -> Result<Option<JobState>, Error> {
        let state = self.open()?;
        let known = state.jobs.get(&id).map(|entry| entry.state.clone());
        let place = state.queue.iter().position(|queued| *queued == id);
        Ok(known.map(|known| place.map_or(known, |ahead| JobState::Queued { ahead })))
    }

    async fn wait(&self, id: Digest) -> Result<JobState, Error> {
        let mut state = self.open()?;
        let state = &mut *state;
        if let Some(place) = state.queue.iter().position(|queued| *queued == id) {
            for next in state.queue.drain(..=place) {
                if let Some(entry) = state.jobs.get_mut(&next) {
                    entry.state = prove(entry);
                }
            }
        }
        let unknown = || Error::new(ErrorKind::NotFound, format!("there is no job {id}"));
        state.jobs.get(&id).map(|entry| entry.state.clone()).ok_or_else(unknown)
    }

    async fn cancel(&self, id: Digest) -> Result<(), Error> {
        let mut state = self.open()?;
        state.queue.retain(|queued| *queued != id);
        if let Some(entry) = state.jobs.get_mut(&id).filter(|entry| !entry.state.is_final()) {
            entry.state = JobState::Cancelled;
        }
        Ok(())
    }

    async fn forget(&self, id: Digest) -> Result<(), Error> {
        let mut state = self.open()?;
        state.queue.retain(|queued| *queued != id);
        state.jobs.remove(&id);
        Ok(())
    }

    async fn verify(
        &self,
        circuit: &Circuit,
        public: &[FieldElement],
        proof: &Proof,
        artefacts: Arc<dyn Artefacts>,
    ) -> Result<bool, Error> {
        drop(self.open()?);
        Self::check_system(circuit)?;
        let key = fetch(&*artefacts, circuit.key).await?;
        Ok(toy_proof(&key, public) == Some(*proof))
    }

    async fn close(&self) -> Result<(), Error> {
        let mut state = self.lock();
        *state = State { closed: true, ..State::default() };
        Ok(())
    }
}
