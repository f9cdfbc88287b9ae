//! The write-ahead log: what a member must never forget.

mod file;
pub(crate) mod frame;
mod memory;

use std::fmt::Debug;

use crate::Error;

pub use file::FileWal;
pub use memory::{Damage, MemoryDisk, MemoryWal};

/// An append-only list of records.
///
/// # Guarantees
/// - What was appended before [`Self::sync`] returned is there after any crash.
/// - What was appended between two syncs is there as a whole or not at all.
/// - Nothing else is ever there: a log that is damaged in its middle refuses to open, with
///   [`crate::ErrorKind::CorruptWal`]. A damaged end is what a crash leaves of a sync that never returned;
///   it is dropped.
/// - After an error every later call fails; only opening it anew helps.
pub trait Wal: Send + Debug {
    /// All records, oldest first, without those that are not synced.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Wal`] or [`crate::ErrorKind::CorruptWal`].
    fn read(&mut self) -> Result<Vec<Vec<u8>>, Error>;

    /// Adds a record. Nothing is promised of it before [`Self::sync`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Wal`].
    fn append(&mut self, record: &[u8]) -> Result<(), Error>;

    /// Makes all that was appended durable. Does no I/O if there is nothing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Wal`].
    fn sync(&mut self) -> Result<(), Error>;

    /// Replaces all records by these, durably. A crash leaves the old ones or the new ones. What was
    /// appended and not synced is dropped.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Wal`].
    fn rewrite(&mut self, records: &[Vec<u8>]) -> Result<(), Error>;

    /// The size of what is synced, in bytes.
    fn bytes(&self) -> u64;
}

#[cfg(test)]
mod tests;
