//! Room: one order of messages for a subnet.
//!
//! **Takes** word that there is something to order, entries for a block, and other members' messages;
//! **gives** [`CertifiedBlock`](w3bstream_types::CertifiedBlock)s, final, gap-free and each once, and after
//! a crash the same ones again.
//!
//! A backend ([`Consensus`]) is a pure function from state and input to state and ordered outputs. The
//! [`Driver`] owns what is impure and dangerous: the write-ahead log, the timers, the key and its guard. The
//! host (`pipeline`) owns network, payloads and execution, and runs a loop around [`Driver::handle`].
//!
//! # Invariants
//! - Blocks, logs and messages carry digests, never payloads.
//! - Barrier: nothing leaves the driver before everything that was decided earlier is fsynced, the guard's
//!   entries included. Many steps share one fsync.
//! - A commit is final and leaves once per opened driver, by rising height. After a restart commits leave
//!   again until the host has said that they are applied, so the host keys them by height.
//! - One statement per slot: the [`Guard`] refuses a second one, across crashes, whatever a backend asks for.
//! - An error that is not [`ErrorKind::Input`] stops the driver for good. It never goes on in memory only;
//!   the host opens it again from its log, or halts the project, as [`Error::disposition`] says.
//! - Deterministic: no clock, no randomness, no I/O in a backend. [`DriverOptions::check_determinism`] runs
//!   two instances side by side and compares.
//!
//! # Implementing this room
//! Implement [`Consensus`], name it in a subnet's genesis, register [`factory`] with the node's builder, and
//! run the kit of feature `conformance` in your tests. [`Solo`] is the readable reference.

mod attestations;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod consensus;
mod driver;
mod erased;
mod error;
mod guard;
mod solo;
mod wal;

pub use attestations::{AttestationPool, Collected, Divergence, SignedStatement};
pub use consensus::{
    BuildSlot, Built, Claim, Consensus, Context, Desk, Evidence, Fault, FaultModel, Finality, Input, Output,
    Outputs, Profile, Recovery, Slot, TimerId, Tip, To, Verdict,
};
pub use driver::{
    Action, BuildRequest, Driver, DriverInput, DriverOptions, MAX_BLOCK_ENTRIES, Setup, Status,
};
pub use erased::{ConsensusFactory, ErasedConsensus, ErasedOutput, factory};
pub use error::{Error, ErrorKind};
pub use guard::{ConsensusSigner, Guard, GuardEntry, PHASE_ATTEST};
pub use solo::{Solo, SoloConfig, SoloRecord};
pub use wal::{Damage, FileWal, MemoryDisk, MemoryWal, Wal};
