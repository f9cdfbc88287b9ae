//! Room: proofs that a statement holds, made without showing what is private.
//!
//! **Takes** a [`Job`]: a circuit, public numbers and private ones ([`signals`] makes them from a statement and the JSON
//! that the guest kept); **gives** a [`Proof`] that anyone checks with the public numbers alone.
//!
//! # Invariants
//! - A job is known by its id. Submitting it again changes nothing while it waits, runs or is done; once it failed for
//!   a passing reason or was cancelled, it is queued again.
//! - [`JobState::Done`] holds a proof that [`Prover::verify`] accepts for the job's public numbers; a prover checks that
//!   itself before it says so.
//! - Artefacts are used only if their bytes have the digest that the circuit names.
//! - A queue has a bound. What does not fit is refused with [`ErrorKind::Busy`], and nothing was kept of it.
//! - Results are in memory. After a restart, or once a prover let go of an old result, a job is unknown, and its owner
//!   submits it again.
//! - Private numbers appear in no error, `Debug` or log.
//!
//! # Implementing this room
//! Implement [`Prover`] for a proof system of your own and run the kit of feature `conformance`. [`MemoryProver`] is
//! the readable reference: its proofs prove nothing, and it says so in its name for the system.

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod field;
mod memory;
mod proof;
mod prover;
mod signals;

pub use error::{Error, ErrorKind};
pub use field::{FieldElement, MODULUS};
pub use memory::{MemoryArtefacts, MemoryProver, TOY};
pub use proof::{BASE_MODULUS, PROOF_BYTES, Proof};
pub use prover::{
    Artefacts, Circuit, Job, JobState, MAX_PUBLIC, MAX_SIGNALS, MAX_VALUES, Prover, Signals, Step,
};
pub use signals::{MAX_PRIVATE_BYTES, public_signals, signals};
