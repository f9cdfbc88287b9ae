//! What every [`Prover`] must do, as tests that any implementation can run.
//!
//! Write a [`Builder`] that opens your prover and knows a circuit, and put one line into your tests:
//!
//! ```
//! use std::sync::Arc;
//! use w3bstream_prover::conformance::{Builder, SumBuilder, async_trait};
//! use w3bstream_prover::{Artefacts, Job, MemoryProver, PoolConfig, Prover, Sum};
//!
//! struct Mine(SumBuilder);
//!
//! #[async_trait]
//! impl Builder for Mine {
//!     async fn open(&self, artefacts: Arc<dyn Artefacts>, jobs: usize) -> Box<dyn Prover> {
//!         let config = PoolConfig { jobs, ..PoolConfig::default() };
//!         Box::new(MemoryProver::open(Sum, artefacts, config).unwrap())
//!     }
//!     fn files(&self) -> Vec<Vec<u8>> {
//!         self.0.files()
//!     }
//!     fn job(&self, number: u64) -> Job {
//!         self.0.job(number)
//!     }
//!     fn unprovable(&self) -> Job {
//!         self.0.unprovable()
//!     }
//!     fn slow(&self, number: u64) -> Job {
//!         self.0.slow(number)
//!     }
//! }
//!
//! w3bstream_prover::prover_conformance!(Mine(SumBuilder));
//! ```
//!
//! The kit ships provers that are [`broken`] on purpose and must find each one.

pub mod broken;
mod jobs;
mod proofs;
mod queue;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use async_trait::async_trait;
pub use jobs::{
    a_job_is_named_once, a_job_that_nobody_knows_is_not_found, a_retry_runs_again, progress_only_grows,
    what_is_unprovable_fails,
};
#[doc(hidden)]
pub use pollster::block_on;
pub use proofs::{
    a_proof_has_one_form, a_proof_is_for_its_key, a_proof_is_for_its_public_numbers, a_proof_verifies,
    artefacts_are_checked, malformed_claims_are_refused, systems_are_known_by_name,
};
pub use queue::{
    a_cancelled_job_does_not_end_as_proved, a_closed_prover_refuses, a_full_queue_refuses_and_recovers,
    a_new_prover_starts_empty, a_waiting_job_is_cancelled_at_once, callers_are_not_blocked,
};
use w3bstream_types::Digest;

use crate::memory::SUM;
use crate::{
    ArtefactSet, Artefacts, Claim, Error, ErrorKind, Job, JobId, MemoryArtefacts, Prover, Scalar, Signals, State,
};

/// Opens the prover under test and knows a circuit for it.
#[async_trait]
pub trait Builder: Send + Sync {
    /// Opens a prover that finds files in `artefacts`, takes up to `jobs` jobs, and proves one at a time.
    async fn open(&self, artefacts: Arc<dyn Artefacts>, jobs: usize) -> Box<dyn Prover>;

    /// The files of the circuit.
    fn files(&self) -> Vec<Vec<u8>>;

    /// A job that can be proved; for each number with other public numbers.
    fn job(&self, number: u64) -> Job;

    /// A job that is like [`Self::job`], but not so.
    fn unprovable(&self) -> Job;

    /// A job that can be proved and takes long enough to be cancelled in a fresh prover, 50 ms or more.
    fn slow(&self, number: u64) -> Job;
}

/// A [`Builder`]'s circuit for [`crate::Sum`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SumBuilder;

impl SumBuilder {
    /// As [`Builder::files`].
    #[must_use]
    pub fn files(&self) -> Vec<Vec<u8>> {
        vec![b"sum of parts".to_vec()]
    }

    /// As [`Builder::job`].
    #[must_use]
    pub fn job(&self, number: u64) -> Job {
        sum_job(number, 0, 0)
    }

    /// As [`Builder::unprovable`].
    #[must_use]
    pub fn unprovable(&self) -> Job {
        sum_job(1, 1, 0)
    }

    /// As [`Builder::slow`].
    #[must_use]
    pub fn slow(&self, number: u64) -> Job {
        sum_job(number, 0, 200)
    }
}

fn sum_job(number: u64, wrong_by: u64, milliseconds: u64) -> Job {
    let scalar = |n: u64| Scalar::from_u128(n.into());
    let mut job = Job {
        system: SUM.to_owned(),
        artefacts: ArtefactSet::from([("program".to_owned(), Digest::of(b"sum of parts"))]),
        public: Signals::default(),
        private: Signals::default(),
    };
    // Names that differ and lists that are short: this cannot fail.
    let _ = job.public.push("sum", vec![scalar(3 * number + 3 + wrong_by)]);
    let _ = job.public.push("count", vec![scalar(2)]);
    let _ = job.private.push("parts", vec![scalar(number + 1), scalar(2 * number + 2)]);
    let _ = job.private.push("milliseconds", vec![scalar(milliseconds)]);
    job
}

/// A promise that the prover under test does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property, by the name of its function.
    pub property: &'static str,
    /// What was seen.
    pub why: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.why)
    }
}

impl std::error::Error for Violation {}

macro_rules! properties {
    ($($name:ident),+ $(,)?) => {
        /// The properties' names.
        pub const NAMES: &[&str] = &[$(stringify!($name)),+];

        /// Runs every property.
        ///
        /// # Errors
        /// All violations that were found.
        pub async fn run_all(builder: &dyn Builder) -> Result<(), Vec<Violation>> {
            let mut found = Vec::new();
            $(
                // Boxed: the futures of all properties together would make a huge one.
                if let Err(violation) = Box::pin($name(builder)).await {
                    found.push(violation);
                }
            )+
            if found.is_empty() { Ok(()) } else { Err(found) }
        }
    };
}

properties!(
    a_proof_verifies,
    a_proof_is_for_its_public_numbers,
    a_proof_is_for_its_key,
    a_proof_has_one_form,
    malformed_claims_are_refused,
    artefacts_are_checked,
    systems_are_known_by_name,
    what_is_unprovable_fails,
    a_job_is_named_once,
    a_job_that_nobody_knows_is_not_found,
    progress_only_grows,
    a_retry_runs_again,
    a_waiting_job_is_cancelled_at_once,
    a_cancelled_job_does_not_end_as_proved,
    a_full_queue_refuses_and_recovers,
    callers_are_not_blocked,
    a_new_prover_starts_empty,
    a_closed_prover_refuses,
);

/// Emits one `#[test]` for each property of the kit; takes an expression that gives a
/// [`Builder`](crate::conformance::Builder), evaluated once for each.
#[macro_export]
macro_rules! prover_conformance {
    ($builder:expr) => {
        $crate::prover_conformance!(@each $builder;
            a_proof_verifies,
            a_proof_is_for_its_public_numbers,
            a_proof_is_for_its_key,
            a_proof_has_one_form,
            malformed_claims_are_refused,
            artefacts_are_checked,
            systems_are_known_by_name,
            what_is_unprovable_fails,
            a_job_is_named_once,
            a_job_that_nobody_knows_is_not_found,
            progress_only_grows,
            a_retry_runs_again,
            a_waiting_job_is_cancelled_at_once,
            a_cancelled_job_does_not_end_as_proved,
            a_full_queue_refuses_and_recovers,
            callers_are_not_blocked,
            a_new_prover_starts_empty,
            a_closed_prover_refuses,
        );
    };
    (@each $builder:expr; $($property:ident,)+) => {
        $(#[test]
        fn $property() -> Result<(), $crate::conformance::Violation> {
            let builder = $builder;
            $crate::conformance::block_on($crate::conformance::$property(&builder))
        })+
    };
}

/// How long the kit waits for something that should come soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// A prover under test with its files, and the property that tests it.
struct Probe {
    property: &'static str,
    prover: Box<dyn Prover>,
    artefacts: Arc<MemoryArtefacts>,
}

impl Probe {
    async fn new(property: &'static str, builder: &dyn Builder, jobs: usize) -> Self {
        let artefacts = Arc::new(MemoryArtefacts::default());
        for file in builder.files() {
            artefacts.add(file);
        }
        let given: Arc<dyn Artefacts> = Arc::<MemoryArtefacts>::clone(&artefacts);
        Self { property, prover: builder.open(given, jobs).await, artefacts }
    }

    fn fail<T>(&self, why: impl Into<String>) -> Result<T, Violation> {
        Err(Violation { property: self.property, why: why.into() })
    }

    fn ok<T>(&self, what: &str, result: Result<T, Error>) -> Result<T, Violation> {
        result.or_else(|e| self.fail(format!("{what}: {e}")))
    }

    fn kind<T>(&self, what: &str, result: Result<T, Error>, wanted: ErrorKind) -> Result<(), Violation> {
        match result {
            Ok(_) => self.fail(format!("{what} succeeds")),
            Err(e) if e.kind() == wanted => Ok(()),
            Err(e) => self.fail(format!("{what} fails with {:?} ({e}), should with {wanted:?}", e.kind())),
        }
    }

    async fn submit(&self, name: &str, job: Job) -> Result<JobId, Violation> {
        let id = job_id(name);
        self.ok(&format!("submit of {name}"), self.prover.submit(id, job).await)?;
        Ok(id)
    }

    /// Waits for a job's end, but not for ever.
    async fn end(&self, id: JobId) -> Result<State, Violation> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.ok("state", self.prover.state(id).await)?.ended() {
                return self.ok("finished", self.prover.finished(id).await);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.fail("a job does not end")
    }

    async fn proof(&self, id: JobId) -> Result<Vec<u8>, Violation> {
        match self.end(id).await? {
            State::Proved(proof) => Ok(proof),
            other => self.fail(format!("a job that can be proved ends as {other:?}")),
        }
    }

    /// Waits until a job runs; `false` if it ended before that was seen.
    async fn running(&self, id: JobId) -> Result<bool, Violation> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            match self.ok("state", self.prover.state(id).await)? {
                State::Running(_) => return Ok(true),
                State::Waiting => std::thread::sleep(Duration::from_millis(1)),
                _ => return Ok(false),
            }
        }
        self.fail("a job does not start")
    }

    /// The true claim of a job, proved.
    async fn claim(&self, name: &str, job: Job) -> Result<Claim, Violation> {
        let (system, public) = (job.system.clone(), job.public.values());
        let key = self.prover.verifying_key(&job.system, &job.artefacts).await;
        let verifying_key = self.ok("verifying_key", key)?;
        let id = self.submit(name, job).await?;
        Ok(Claim { system, verifying_key, public, proof: self.proof(id).await? })
    }
}

fn job_id(name: &str) -> JobId {
    JobId(Digest::tagged("kit/job", &[name.as_bytes()]))
}

#[cfg(test)]
mod tests;
