//! Room: proof jobs and proof systems.
//!
//! **Takes** a job: a proof system, a circuit's files by digest, public numbers that come from an attested
//! statement, private ones that the applet kept; **gives** a proof that a contract, or anybody with public data,
//! checks.
//!
//! # Invariants
//! - No proof leaves that does not verify for exactly the public numbers of its job.
//! - [`Prover::verify`] needs public data only, and says yes to one encoding of a number and of a proof.
//! - A job is named by its caller. Submitting it again changes nothing; another job of that name is refused.
//! - No method blocks its caller's thread: proofs are made on threads of the implementation.
//! - Jobs are in memory alone: what has to survive a crash is the statement, which the journal keeps, and the
//!   private data, which the applet's state keeps. After a restart the job is submitted again.
//! - Private numbers appear in no `Debug`, no error and no log.
//!
//! # From a statement to a circuit
//! [`Job::new`] makes a job of what a manifest says about a settlement, an attested statement and the JSON that the
//! applet stored: [`public_signals`] reads the statement's words strictly, [`private_signals`] the JSON.
//! [`Groth16Proof`] is the proof's encoding for contracts.
//!
//! # Implementing this room
//! For a proof system that runs in this process, implement [`System`], which computes and nothing else, and
//! let [`Pool`] do queue, threads, cancelling and caching. For one elsewhere, implement [`Prover`]. Then run the
//! kit of feature `conformance`. [`MemoryProver`] is the readable reference.

mod artefacts;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod job;
mod memory;
pub mod pool;
mod private;
mod proof;
mod prover;
mod scalar;
mod signals;
mod statement;

pub use artefacts::{ArtefactSet, Artefacts, MemoryArtefacts};
pub use async_trait::async_trait;
pub use error::{Error, ErrorKind};
pub use job::{Claim, Failure, Job, JobId, KEY, Progress, State, WITNESS};
pub use memory::{MemoryProver, SUM, Sum};
pub use pool::{Control, Pool, PoolConfig, System};
pub use private::{MAX_PRIVATE_BYTES, private_signals};
pub use proof::{BASE_MODULUS, Groth16Proof, PROOF_BYTES};
pub use prover::Prover;
pub use scalar::Scalar;
pub use signals::{MAX_VALUES, Signal, Signals};
pub use statement::{public_inputs, public_signals};
