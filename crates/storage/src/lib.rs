//! Room: the long-term record of device data.
//!
//! **Takes** [`Verified`](w3bstream_types::Verified) messages; **gives** [`Stored`](w3bstream_types::Stored) ones, durable when [`Store::append`] returns.
//!
//! # Invariants
//! - Durable when append returns: an acknowledgement may leave then, and survives the process and, for a
//!   backend that claims [`Capabilities::power_safe`], the machine.
//! - Idempotent: a record that is there is [`Appended::Duplicate`]; the same (project, source, sequence or
//!   event id) with another message is [`Appended::Conflict`], kept as evidence and never returned by a scan.
//! - Positions rise with each append and are never used twice, so a reader with a cursor misses nothing.
//! - A backend never decodes a payload and never calls another room.
//!
//! # Implementing this room
//! Implement [`Storage`]; declare honestly what it can do in [`Capabilities`] and answer
//! [`ErrorKind::Unsupported`] to everything else; run the kit of feature `conformance` in your tests; register
//! it with the node's builder. [`MemoryStorage`] is the readable reference.

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod memory;
mod storage;
mod store;

pub use async_trait::async_trait;
pub use error::{Error, ErrorKind};
pub use memory::MemoryStorage;
pub use storage::{
    Appended, Capabilities, ConflictEvidence, Filter, Item, MAX_CONFLICTS_PER_MESSAGE, Stats, Storage,
};
pub use store::{Outcome, Store};
