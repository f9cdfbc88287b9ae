//! Queue and threads for proof systems that run in this process.
//!
//! A [`Pool`] makes a [`crate::Prover`] of a [`System`]: it takes jobs up to a bound, reads their files, keeps
//! circuits that were used last, runs jobs on threads of its own, checks every proof before it is given away, and
//! answers verifications on a thread that no job occupies.

mod control;
mod questions;
mod shared;
mod table;
mod workers;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{ArtefactSet, Artefacts, Claim, Error, Job, JobId, Prover, State};

pub use control::Control;

use questions::Questions;
use shared::Shared;

/// The files of a circuit by role. Their digests were checked.
pub type Files = BTreeMap<String, Arc<Vec<u8>>>;

/// A proof system: computes, and nothing else. Every method may take long and is called on a [`Pool`]'s threads.
pub trait System: Send + Sync + Debug + 'static {
    /// A circuit that is ready to be used.
    type Circuit: Send + Sync + 'static;

    /// Its name in manifests.
    fn name(&self) -> &str;

    /// The roles of the files that a circuit consists of. A job names exactly these.
    fn roles(&self) -> &[&str];

    /// Reads a circuit's files, which come from strangers. Called once for as long as the circuit is kept.
    ///
    /// # Errors
    /// [`ErrorKind::BadArtefact`](crate::ErrorKind::BadArtefact),
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge).
    fn load(&self, files: &Files) -> Result<Self::Circuit, Error>;

    /// Makes a proof, calling [`Control::step`] often enough that a job can be cancelled.
    ///
    /// # Errors
    /// That of [`Control::step`]; [`ErrorKind::Unprovable`](crate::ErrorKind::Unprovable) if the numbers do not
    /// satisfy the circuit, the public ones among them; [`ErrorKind::BadInput`](crate::ErrorKind::BadInput) if
    /// they are not the circuit's inputs.
    fn prove(&self, circuit: &Self::Circuit, job: &Job, control: &Control) -> Result<Vec<u8>, Error>;

    /// The circuit's verifying key.
    ///
    /// # Errors
    /// [`Error`].
    fn verifying_key(&self, circuit: &Self::Circuit) -> Result<Vec<u8>, Error>;

    /// As [`Prover::verify`].
    ///
    /// # Errors
    /// As [`Prover::verify`].
    fn verify(&self, claim: &Claim) -> Result<(), Error>;
}

/// Bounds of a [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Threads that prove, and so jobs that run at once. At least one.
    pub threads: usize,
    /// Jobs that may be here, those that ended and were not forgotten among them.
    pub jobs: usize,
    /// Circuits that are kept ready. At least one.
    pub circuits: usize,
    /// Verifications that may wait.
    pub questions: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        // One proof at a time: a proof system uses several cores by itself.
        Self { threads: 1, jobs: 64, circuits: 8, questions: 64 }
    }
}

/// A [`Prover`] made of one [`System`]. Dropping it cancels its jobs; [`Prover::close`] also waits for its threads.
#[derive(Debug)]
pub struct Pool<S: System> {
    shared: Arc<Shared<S>>,
    questions: Questions<S>,
}

impl<S: System> Pool<S> {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the system gives no threads.
    pub fn open(system: S, artefacts: Arc<dyn Artefacts>, config: PoolConfig) -> Result<Self, Error> {
        let shared = Arc::new(Shared::new(system, artefacts, config));
        // If one of the threads does not start, dropping this ends those that did.
        let pool = Self { questions: Questions::start(&shared, config.questions)?, shared };
        for number in 0..config.threads.max(1) {
            workers::start(&pool.shared, number)?;
        }
        Ok(pool)
    }
}

impl<S: System> Drop for Pool<S> {
    fn drop(&mut self) {
        self.shared.stop();
        self.questions.stop();
    }
}

#[async_trait]
impl<S: System> Prover for Pool<S> {
    fn name(&self) -> &str {
        self.shared.system.name()
    }

    fn systems(&self) -> Vec<String> {
        vec![self.shared.system.name().to_owned()]
    }

    async fn submit(&self, id: JobId, job: Job) -> Result<(), Error> {
        self.shared.check_system(&job.system)?;
        // Known jobs and full queues are answered before files are read.
        if self.shared.table().admits(id, &job)? {
            let material = self.shared.material(&job.artefacts).await?;
            self.shared.table().submit(id, job, material)?;
            self.shared.wake();
        }
        Ok(())
    }

    async fn state(&self, id: JobId) -> Result<State, Error> {
        self.shared.table().state(id)
    }

    async fn finished(&self, id: JobId) -> Result<State, Error> {
        let waiter = self.shared.table().wait(id)?;
        // A waiter is dropped without an answer if the pool closes.
        waiter.await.map_err(|_| table::closed())
    }

    async fn cancel(&self, id: JobId) -> Result<(), Error> {
        let ended = self.shared.table().cancel(id)?;
        ended.tell();
        Ok(())
    }

    async fn retry(&self, id: JobId) -> Result<(), Error> {
        let again = self.shared.table().again(id)?;
        if let Some(artefacts) = again {
            let material = self.shared.material(&artefacts).await?;
            self.shared.table().retry(id, material)?;
            self.shared.wake();
        }
        Ok(())
    }

    async fn forget(&self, id: JobId) -> Result<(), Error> {
        self.shared.table().forget(id)
    }

    async fn verifying_key(&self, system: &str, artefacts: &ArtefactSet) -> Result<Vec<u8>, Error> {
        self.shared.check_system(system)?;
        let material = self.shared.material(artefacts).await?;
        let set = artefacts.clone();
        self.questions
            .ask(move |shared| {
                let circuit = shared.circuit(&set, &material)?;
                shared.system.verifying_key(&circuit)
            })
            .await
    }

    async fn verify(&self, claim: Claim) -> Result<(), Error> {
        self.shared.check_system(&claim.system)?;
        self.questions.ask(move |shared| shared.system.verify(&claim)).await
    }

    async fn close(&self) -> Result<(), Error> {
        self.shared.stop();
        self.questions.stop();
        self.shared.threads_ended().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
