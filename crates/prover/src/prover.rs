//! The trait, and what it takes and gives.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use w3bstream_types::{Digest, MAX_STATEMENT_FIELDS};

use crate::{Error, ErrorKind, FieldElement, Proof};

/// The most public numbers of a job: a field of a statement makes at most two.
pub const MAX_PUBLIC: usize = 2 * MAX_STATEMENT_FIELDS;
/// The most signals of a job, by name.
pub const MAX_SIGNALS: usize = 256;
/// The most numbers in all signals of a job together.
pub const MAX_VALUES: usize = 1 << 16;

/// A circuit, by its artefacts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Circuit {
    /// The proof system, such as `groth16-bn254`.
    pub system: String,
    /// SHA-256 of the program that computes the witness.
    pub witness: Digest,
    /// SHA-256 of the proving key, which holds the verification key as well.
    pub key: Digest,
}

/// Values of one signal each, by its name in the circuit.
pub type Signals = Vec<(String, Vec<FieldElement>)>;

/// A proof to be made. `Debug` shows no value of a signal.
#[derive(Clone, PartialEq, Eq)]
pub struct Job {
    /// Who asks makes it: the same id for the same proof.
    pub id: Digest,
    /// The circuit.
    pub circuit: Circuit,
    /// The public numbers, in the order that the circuit declares them.
    pub public: Vec<FieldElement>,
    /// All signals of the circuit that have to be set, public ones included, by name. A signal of several dimensions is
    /// flattened, the last index counting fastest.
    pub inputs: Signals,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.inputs.iter().map(|(name, values)| (name, values.len())).collect();
        let mut s = f.debug_struct("Job");
        s.field("id", &self.id).field("circuit", &self.circuit).field("public", &self.public.len());
        s.field("inputs", &names).finish()
    }
}

impl Job {
    /// Checks what no prover takes.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if there are too many numbers or signals, or a signal stands twice.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::new(ErrorKind::Unsupported, format!("job {}: {why}", self.id)));
        if self.public.len() > MAX_PUBLIC || self.inputs.len() > MAX_SIGNALS {
            return refuse(format!(
                "has {} public numbers and {} signals; the most are {MAX_PUBLIC} and {MAX_SIGNALS}",
                self.public.len(),
                self.inputs.len()
            ));
        }
        let values: usize = self.inputs.iter().map(|(_, values)| values.len()).sum();
        if values > MAX_VALUES {
            return refuse(format!("has {values} numbers in its signals; the most are {MAX_VALUES}"));
        }
        for (i, (name, _)) in self.inputs.iter().enumerate() {
            if self.inputs.iter().take(i).any(|(other, _)| other == name) {
                return refuse(format!("signal {name:?} stands twice"));
            }
        }
        Ok(())
    }
}

/// What a prover is doing. The order is that of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Reads and checks program and key; short if they were used before.
    Loading,
    /// Runs the circuit's program.
    Witness,
    /// Makes the proof.
    Proving,
    /// Verifies what it made.
    Checking,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a proof has 256 bytes, and there are few states at a time")]
pub enum JobState {
    /// It waits for those before it.
    Queued {
        /// How many wait before it or run.
        ahead: usize,
    },
    /// It runs.
    Running {
        /// What is being done.
        step: Step,
        /// How much of the whole job is done, in percent; never shrinks.
        done: u8,
    },
    /// There is a proof, which the prover has verified.
    Done(Proof),
    /// There will be none.
    Failed {
        /// Why, without private numbers.
        reason: String,
        /// Whether submitting it again may help: not if the input does not satisfy the circuit.
        retry: bool,
    },
    /// It was cancelled.
    Cancelled,
}

impl JobState {
    /// Whether it stays as it is until the job is submitted again.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed { .. } | Self::Cancelled)
    }

    /// Whether the job is queued again if it is submitted again.
    #[must_use]
    pub const fn may_be_resubmitted(&self) -> bool {
        matches!(self, Self::Failed { retry: true, .. } | Self::Cancelled)
    }
}

/// Where a prover finds programs and keys. Who calls a prover implements it.
#[async_trait]
pub trait Artefacts: fmt::Debug + Send + Sync {
    /// The bytes with this digest. The prover checks the digest.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] if they are not here; any other error is handed on as it is.
    async fn fetch(&self, digest: Digest) -> Result<Arc<[u8]>, Error>;
}

/// A prover of one proof system.
///
/// All methods may be called from many threads. Work is done on threads of the prover's own, so no future of this trait
/// computes for long.
#[async_trait]
pub trait Prover: fmt::Debug + Send + Sync {
    /// The proof system, by the name that [`Circuit::system`] has.
    fn system(&self) -> &str;

    /// Queues a job, and fetches its artefacts if they are not at hand.
    ///
    /// A job with this id that waits, runs, is done or failed for good is left as it is.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if the queue is full; [`ErrorKind::Conflict`] if a different job has this id;
    /// [`ErrorKind::Unsupported`] for another system or after [`Job::check`]; [`ErrorKind::Artefact`] if bytes have
    /// another digest; [`ErrorKind::Closed`]; those of [`Artefacts::fetch`]. In all cases the job is as unknown as before.
    async fn submit(&self, job: Job, artefacts: Arc<dyn Artefacts>) -> Result<(), Error>;

    /// How far a job is; `None` if it is unknown.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`].
    async fn state(&self, id: Digest) -> Result<Option<JobState>, Error>;

    /// Waits until a job's state [is final](JobState::is_final), and gives it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the job is unknown or is forgotten meanwhile; [`ErrorKind::Closed`].
    async fn wait(&self, id: Digest) -> Result<JobState, Error>;

    /// Cancels a job that waits or runs. One that runs stops at the next step, and counts as cancelled at once. A job
    /// that is final or unknown is left as it is.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`].
    async fn cancel(&self, id: Digest) -> Result<(), Error>;

    /// Cancels a job and forgets it with its result.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`].
    async fn forget(&self, id: Digest) -> Result<(), Error>;

    /// Whether a proof shows that the circuit has a witness with these public numbers. Needs nothing private.
    ///
    /// `Ok(false)` is for everything that is wrong with proof or numbers: points that are on no curve or in a wrong
    /// subgroup, a wrong count of numbers, a proof of something else.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for another system; [`ErrorKind::Artefact`] if the key is none or its bytes have another
    /// digest; [`ErrorKind::Busy`]; [`ErrorKind::Closed`]; those of [`Artefacts::fetch`].
    async fn verify(
        &self,
        circuit: &Circuit,
        public: &[FieldElement],
        proof: &Proof,
        artefacts: Arc<dyn Artefacts>,
    ) -> Result<bool, Error>;

    /// Cancels everything and ends the threads. Waiters are told. Closing again is a success.
    ///
    /// # Errors
    /// [`ErrorKind::Resources`] if a thread did not end as it should have.
    async fn close(&self) -> Result<(), Error>;
}
