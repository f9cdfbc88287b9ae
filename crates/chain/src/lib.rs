//! Room: one EVM chain, to read, watch and submit.
//!
//! **Takes** contract calls, filters and signed transactions; **gives** what one node of the chain says.
//! Never sees a device's payload or a private key.
//!
//! # Invariants
//! - Nothing is final because it was answered: callers count confirmations and compare block hashes.
//! - Submitting is idempotent: a transaction that is known already is a success.
//! - Answers are whole or an error: never a part of the logs of a range.
//! - No third-party types in the interface.
//!
//! # Implementing this room
//! Implement [`Chain`] and run the kit of feature `conformance`. Signing hashes, encodings and the receipts' trie
//! are here, as pure functions, so that all backends agree.

mod block;
mod call;
mod chain;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod encode;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hash;
pub mod memory;
mod rlp;
pub mod submit;
mod transaction;
pub mod trie;
pub mod watch;

pub use async_trait::async_trait;
pub use block::{
    Block, BlockId, Fees, Log, LogBlocks, LogFilter, LogPlace, MinedTransaction, Nonces, RawReceipts,
    Receipt, TxStatus,
};
pub use call::{Call, CallOutcome, ERROR_SELECTOR, PANIC_SELECTOR, Reason, Revert, Simulation};
pub use chain::Chain;
pub use error::{Error, ErrorKind};
pub use hash::Hash;
pub use transaction::{SignedTransaction, Transaction};
