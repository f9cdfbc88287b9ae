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
//! # The loop around it
//! ```
//! # use std::{collections::VecDeque, sync::Arc};
//! # use w3bstream_types::*;
//! use w3bstream_consensus::{
//!     Action, Built, ConsensusSigner, Driver, DriverInput, Error, MemoryDisk, Setup, Solo, factory,
//! };
//! # #[derive(Debug)]
//! # struct Key(SecretKey);
//! # impl ConsensusSigner for Key {
//! #     fn public(&self) -> Result<PublicKey, Error> { Ok(self.0.public()) }
//! #     fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> { Ok(self.0.sign(message)) }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let consensus = SecretKey::from_bytes(Algorithm::EdDSA, &[1; 32])?;
//! # let attestation = SecretKey::from_bytes(Algorithm::ES256K, &[2; 32])?;
//! # let did = Did::key(&consensus.public());
//! # let genesis = Genesis {
//! #     project: ProjectId::new(&did, &"demo".parse()?), backend: "solo".into(), abi_version: 1, epoch: 0,
//! #     created: Timestamp(1), members: vec![Member::sign(did, &consensus, &attestation)],
//! # };
//! # let (signer, mut waiting) = (Arc::new(Key(consensus)), vec![Entry::Control(Digest::of(b"tx"))]);
//! let setup = Setup::new(genesis, Some(0), factory::<Solo>(), signer);
//! // A node opens a `FileWal` in the project's directory.
//! let mut driver = Driver::open(setup, Box::new(MemoryDisk::new().open()?))?;
//! let (mut applied, mut now) = (0, Timestamp(10));
//! let mut inputs = VecDeque::from([DriverInput::Start { applied }, DriverInput::Pending]);
//! while !inputs.is_empty() {
//!     // Whatever has arrived meanwhile goes into one batch and shares one fsync.
//!     for action in driver.handle_batch(now, inputs.drain(..).collect())? {
//!         match action {
//!             Action::Build(request) => {
//!                 let entries = waiting.drain(..).collect(); // what no block holds yet
//!                 inputs.push_back(DriverInput::Built(Built { slot: request.slot, entries, time: now }));
//!             }
//!             Action::Committed(block) => {
//!                 // Write it to the journal by its height, execute it, commit both; then:
//!                 applied = block.block.header().height;
//!                 inputs.push_back(DriverInput::Applied { height: applied, state_root: Digest::ZERO });
//!                 // and `Pending` once more, if something is left to order.
//!             }
//!             Action::WakeAt(_) => {} // give `Tick` then
//!             Action::Halt(why) => return Err(why.into()),
//!             _ => {} // messages, validation and evidence: only in subnets of more than one
//!         }
//!     }
//!     now.0 += 1;
//! }
//! assert_eq!(driver.status().tip.height, 1);
//! # Ok(())
//! # }
//! ```
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
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
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
