//! The contracts' compiled code, and how their calls, events and errors are encoded.
//!
//! **Takes** attestations, outputs and addresses in the types of this project; **gives** call data, init code and decoded
//! answers as bytes. Sends nothing, signs nothing, knows no chain.
//!
//! # Invariants
//! - The code is that of `artefacts/contracts/`, built in: it was compiled from `contracts/` by the compiler named there.
//! - What is encoded here is what the contracts' ABI names: a test compares every signature.
//! - Answers of a chain are data of a stranger: decoding gives an error or nothing, and never panics.
//!
//! # Where to start
//! [`Execution`] is one settlement, ready for [`Execution::call_data`]; [`Settled`] is the event that it leaves.
//! [`deploy`] has what must stand on a chain before.

mod abi;
mod artefact;
pub mod cold_chain;
pub mod deploy;
mod executor;
mod groth16;
mod registry;

pub use abi::{function_selector, selector_of};
pub use artefact::{COLD_CHAIN, Contract, EXECUTOR, GROTH16_VERIFIER, RECORDER, SUBNET_REGISTRY};
pub use executor::{Execution, ExecutionError, OutputRef, Settled, decode_bool, executed_call, target_of};
pub use groth16::{Proof, VerifyingKey};
pub use registry::{Handover, advance_call, register_call};
