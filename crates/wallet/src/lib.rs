//! Room: who sent it, and in whose name the node signs.
//!
//! **Takes** [`Received`](w3bstream_types::Received); **gives** [`Verified`](w3bstream_types::Verified) or a
//! refusal ([`admit`]). Signs with the key of a role ([`Signer`]).
//!
//! # Invariants
//! - Identity is judged against the project's *replicated* registry ([`Registry`]) and nothing else: no
//!   network, no cache of its own, no clock.
//! - A key has one [`Role`] and is never used for another.
//! - Private keys never appear in `Debug`, errors or logs.
//!
//! # Implementing this room
//! Implement [`Signer`] (for a KMS, an HSM) and run the kit of feature `conformance`. [`MemorySigner`] is the
//! readable reference.

mod admit;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod memory;
mod registry;
mod session;
mod signer;

pub use admit::{AdmitLimits, admit, not_served};
pub use error::{Error, ErrorKind};
pub use memory::{MemoryRegistry, MemorySigner};
pub use registry::{DeviceStatus, ProjectView, Registry, TokenStatus};
pub use session::{check_introduction, check_session};
pub use signer::{Role, Signer, member, node_did, project_fee_key};
