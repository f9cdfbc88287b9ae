//! Room: programs by digest, and each project's replicated state with its authenticated root.
//!
//! **Takes** program bytes, and the writes and outputs of an executed block; **gives** verified programs,
//! values by key, and a root that a subnet signs.
//!
//! # Invariants
//! - A program is checked against its digest whenever it is read.
//! - [`Vfs::apply`] stores writes, outputs and root of a height in one transaction. Applying a height again
//!   changes nothing and gives the stored root, so a crash between a block and its result costs nothing.
//! - The root depends on the keys and values alone, not on the order or grouping in which they came.
//! - Keys of the guests and of the registry live in the same map under different namespaces ([`key`]).
//!
//! # Implementing this room
//! Implement [`Vfs`] with [`tree`] for the root and run the kit of feature `conformance`. [`MemoryVfs`] is
//! the readable reference.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod key;
mod memory;
mod sql;
pub mod tree;
mod vfs;

pub use async_trait::async_trait;
pub use error::{Error, ErrorKind};
pub use memory::MemoryVfs;
pub use sql::SqlSession;
pub use vfs::{Applied, Entries, MAX_KEY_BYTES, MAX_VALUE_BYTES, Vfs, Writes, check_sizes};
