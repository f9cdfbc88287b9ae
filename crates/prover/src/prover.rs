//! The trait that a backend implements.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::{ArtefactSet, Claim, Error, Job, JobId, State};

/// Makes and verifies proofs.
///
/// Every method may be called from any task at any time and blocks no thread. All but [`Prover::close`] are cancel
/// safe: a call that is dropped has either happened or not, and may be repeated. A job goes on when nobody waits.
#[async_trait]
pub trait Prover: Send + Sync + Debug {
    /// The backend's name.
    fn name(&self) -> &str;

    /// The proof systems that it knows, by name.
    fn systems(&self) -> Vec<String>;

    /// Takes a job. Idempotent: the same job under the same name again changes nothing, whatever its state.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownSystem`](crate::ErrorKind::UnknownSystem);
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound),
    /// [`ErrorKind::WrongDigest`](crate::ErrorKind::WrongDigest) and
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) for its files;
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if another job has the name;
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) if no more jobs may be here.
    async fn submit(&self, id: JobId, job: Job) -> Result<(), Error>;

    /// A job's state.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound).
    async fn state(&self, id: JobId) -> Result<State, Error>;

    /// A job's state once it has ended.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), also if it is forgotten meanwhile;
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed) if the prover closes before it ends.
    async fn finished(&self, id: JobId) -> Result<State, Error>;

    /// Asks that a job ends. A waiting one has ended on return; a running one ends as cancelled, soon. For a job
    /// that has ended, nothing happens.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound).
    async fn cancel(&self, id: JobId) -> Result<(), Error>;

    /// Lets a failed or cancelled job wait again. For any other, nothing happens.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), and those of [`Self::submit`] about files;
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if it was cancelled and still runs.
    async fn retry(&self, id: JobId) -> Result<(), Error>;

    /// Drops an ended job, with its private numbers and its proof, and makes room for another. Idempotent.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if it has not ended.
    async fn forget(&self, id: JobId) -> Result<(), Error>;

    /// The verifying key of a circuit, as its files have it, in the system's form.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownSystem`](crate::ErrorKind::UnknownSystem), those of [`Self::submit`] about files,
    /// [`ErrorKind::BadArtefact`](crate::ErrorKind::BadArtefact),
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded).
    async fn verifying_key(&self, system: &str, artefacts: &ArtefactSet) -> Result<Vec<u8>, Error>;

    /// Checks a proof, from public data only. `Ok` means that it is one.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is none, or not in its only form;
    /// [`ErrorKind::BadArtefact`](crate::ErrorKind::BadArtefact) if the key is none;
    /// [`ErrorKind::BadInput`](crate::ErrorKind::BadInput) if the key is for another number of public numbers;
    /// [`ErrorKind::UnknownSystem`](crate::ErrorKind::UnknownSystem),
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded).
    async fn verify(&self, claim: Claim) -> Result<(), Error>;

    /// Ends all jobs and threads, and returns when they have ended. From then on, and from the start of this call,
    /// every method answers [`ErrorKind::Closed`](crate::ErrorKind::Closed), but for this one, which succeeds.
    ///
    /// # Errors
    /// None now; a backend elsewhere may fail.
    async fn close(&self) -> Result<(), Error>;
}
