//! The trait that a backend implements.

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use w3bstream_types::{Digest, MessageId, Output, ProjectId, SqlBudget, SqlEntry, SqlOutcome, SqlStatement};

use crate::{Error, ErrorKind, SqlSession};

/// Changes of a project's state: a value to set, or `None` to delete. See [`crate::key`] for the keys.
pub type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Keys with their values, by rising key.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// The longest key, in bytes. The same for every backend: a write that one node takes, all must take.
pub const MAX_KEY_BYTES: usize = 4096;
/// The largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;

/// Checks keys and values against [`MAX_KEY_BYTES`] and [`MAX_VALUE_BYTES`]. A backend calls it in
/// [`Vfs::apply`]; the engine's limits keep a guest far below.
///
/// # Errors
/// [`ErrorKind::TooLarge`].
pub fn check_sizes(writes: &Writes) -> Result<(), Error> {
    for (key, value) in writes {
        let value = value.as_ref().map_or(0, Vec::len);
        if key.len() > MAX_KEY_BYTES || value > MAX_VALUE_BYTES {
            let what = format!(
                "a write has a key of {} bytes (limit {MAX_KEY_BYTES}) and a value of {value} (limit \
                 {MAX_VALUE_BYTES})",
                key.len()
            );
            return Err(Error::new(ErrorKind::TooLarge, what));
        }
    }
    Ok(())
}

/// What executing a block gave, to be stored as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The block's height; must be the state's height plus one (or one that was applied before).
    pub height: u64,
    /// Changes of the state.
    pub writes: Writes,
    /// The block's outputs, in order.
    pub outputs: Vec<Output>,
    /// Digest of the manifest in force after the block.
    pub manifest: Digest,
    /// Which outputs are about which message: (message, first output, number of outputs). The first height
    /// that names a message counts; later ones are about a repeat.
    pub index: Vec<(MessageId, u64, u64)>,
    /// What it did to the project's database, from [`SqlSession::finish`]; the rows that it changed stand in `writes`.
    pub sql: Vec<SqlEntry>,
}

/// Programs and replicated state.
#[async_trait]
pub trait Vfs: Send + Sync + Debug {
    /// The backend's name.
    fn name(&self) -> &str;

    /// Keeps a program and gives its digest. Durable when it returns. Idempotent.
    ///
    /// # Errors
    /// [`Error`].
    async fn put_program(&self, bytes: Vec<u8>) -> Result<Digest, Error>;

    /// A program, verified against its digest.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::WrongDigest`] if the disk holds other bytes.
    async fn program(&self, digest: Digest) -> Result<Vec<u8>, Error>;

    /// Height and root of a project's state; height 0 and the root of nothing for a new project.
    ///
    /// # Errors
    /// [`Error`].
    async fn head(&self, project: ProjectId) -> Result<(u64, Digest), Error>;

    /// The value of a key, as of [`Vfs::head`].
    ///
    /// # Errors
    /// [`Error`].
    async fn get(&self, project: ProjectId, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Up to `limit` keys that start with `prefix`, above `after` (empty: from the first), with their
    /// values, by rising key.
    ///
    /// # Errors
    /// [`Error`].
    async fn scan(
        &self,
        project: ProjectId,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Result<Entries, Error>;

    /// Stores the result of a block and gives the state's new root. Durable when it returns. For a height
    /// that was applied before: changes nothing and gives the root of that height, whatever else is passed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongHeight`] if the height is neither the next nor one that was applied,
    /// [`crate::ErrorKind::TooLarge`] for a key or value over the limit; nothing was changed then.
    async fn apply(&self, project: ProjectId, applied: Applied) -> Result<Digest, Error>;

    /// (state root, manifest digest, outputs) of an applied height; `None` if it was not applied.
    ///
    /// # Errors
    /// [`Error`].
    async fn result(
        &self,
        project: ProjectId,
        height: u64,
    ) -> Result<Option<(Digest, Digest, Vec<Output>)>, Error>;

    /// Which outputs of which height are about a message: (height, first output, number of outputs).
    ///
    /// # Errors
    /// [`Error`].
    async fn outputs_of(&self, project: ProjectId, id: MessageId) -> Result<Option<(u64, u64, u64)>, Error>;

    /// The project's database as of [`Vfs::head`], for the calls of the next block. Whoever else has it is waited for.
    /// What was done to it counts once [`Vfs::apply`] has stored the block with its log; the log is stored in that
    /// transaction, so the database is brought up to the state's height whatever happens in between.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] if this backend has none, which is the default;
    /// [`crate::ErrorKind::Corrupt`] if the database is not that of the state.
    async fn sql(&self, project: ProjectId) -> Result<Box<dyn SqlSession>, Error> {
        Err(unsupported(self.name(), project))
    }

    /// Runs a statement that only reads, for people who look.
    ///
    /// # Errors
    /// As [`Vfs::sql`].
    async fn sql_read(
        &self,
        project: ProjectId,
        statement: SqlStatement,
        budget: SqlBudget,
    ) -> Result<SqlOutcome, Error> {
        let _ = (statement, budget);
        Err(unsupported(self.name(), project))
    }

    /// Waits for what is under way and releases files and threads. Idempotent. Every other call then gives
    /// [`crate::ErrorKind::Closed`].
    ///
    /// # Errors
    /// [`Error`].
    async fn close(&self) -> Result<(), Error>;
}

fn unsupported(backend: &str, project: ProjectId) -> Error {
    let what =
        format!("the vfs {backend:?} has no databases, which project {project} declares; use vfs \"local\"");
    Error::new(ErrorKind::Unsupported, what)
}
