//! Room: the node's own state: blocks, attestations, cursors, control transactions, outbox.
//!
//! **Takes** batches of [`Write`]s; **gives** them back after any crash, a whole batch or nothing of it.
//! Always local to the node; never replicated, never device payloads.
//!
//! # Invariants
//! - A batch is atomic and durable when [`Journal::commit`] returns.
//! - Blocks and attestations are written once: the same value again is accepted, another one is a
//!   [`ErrorKind::Conflict`].
//! - Reads see every batch that was committed before they started.
//!
//! # Implementing this room
//! Implement [`Journal`] and run the kit of feature `conformance`. [`MemoryJournal`] is the readable reference.

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod journal;
mod memory;

pub use async_trait::async_trait;
pub use error::{Error, ErrorKind};
pub use journal::{Journal, OutboxEntry, OutboxId, RecordId, Write};
pub use memory::MemoryJournal;
