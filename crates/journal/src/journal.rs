//! The trait that a backend implements.

use std::fmt::Debug;

use async_trait::async_trait;
use w3bstream_types::{Attestation, CertifiedBlock, ControlTx, Digest, Genesis, MessageId, ProjectId};

use crate::Error;

/// Names one side effect for ever: the project, the height of its block, and its index among the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxId {
    /// The project.
    pub project: ProjectId,
    /// The block's height.
    pub height: u64,
    /// The output's index in the block.
    pub index: u64,
}

/// A side effect that is still to be performed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its name.
    pub id: OutboxId,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last try failed; empty if there was none.
    pub last_error: String,
}

/// Names one record of a project's stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The project.
    pub project: ProjectId,
    /// The stage's name for this kind of record.
    pub space: &'static str,
    /// The key; records of a space are listed by rising key, byte by byte.
    pub key: Vec<u8>,
}

/// One change. A batch of them is applied in order, as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The project's genesis. Written once.
    Genesis(Box<Genesis>),
    /// A final block of a project, with the index from its entries to its height. Written once per height;
    /// heights start at 1 and must be without gap: a later one is a [`crate::ErrorKind::Conflict`].
    Block(ProjectId, Box<CertifiedBlock>),
    /// The attestation of a block. Written once per height.
    Attestation(ProjectId, Box<Attestation>),
    /// A named number, such as how far a stage has come. Never goes backwards: a lower value is a
    /// [`crate::ErrorKind::Conflict`].
    Cursor(ProjectId, &'static str, u64),
    /// A control transaction that was accepted and is to be ordered. Writing it again changes nothing.
    Control(Box<ControlTx>),
    /// Side effects to perform. One that is there already stays as it is.
    Outbox(Vec<OutboxId>),
    /// A side effect failed; it stays, with one more attempt. Nothing if it is not there.
    OutboxFailed(OutboxId, String),
    /// A side effect was performed; it is removed. Nothing if it is not there.
    OutboxDone(OutboxId),
    /// Sets or, with `None`, removes one record of a space: the books of one stage, such as its transactions on a
    /// chain. What it holds is that stage's business.
    Record(RecordId, Option<Vec<u8>>),
    /// A project was halted, with the reason; an empty reason lifts it.
    Halt(ProjectId, String),
}

/// The node's own state.
#[async_trait]
pub trait Journal: Send + Sync + Debug {
    /// Applies a batch; durable when it returns.
    ///
    /// # Errors
    /// [`Error`]; then nothing of the batch was applied.
    async fn commit(&self, batch: Vec<Write>) -> Result<(), Error>;

    /// The genesis of every project of this node, by rising project id.
    ///
    /// # Errors
    /// [`Error`], as for every read.
    async fn geneses(&self) -> Result<Vec<Genesis>, Error>;

    /// The block at a height.
    ///
    /// # Errors
    /// [`Error`].
    async fn block(&self, project: ProjectId, height: u64) -> Result<Option<CertifiedBlock>, Error>;

    /// The height of the last block; 0 if there is none.
    ///
    /// # Errors
    /// [`Error`].
    async fn last_height(&self, project: ProjectId) -> Result<u64, Error>;

    /// In which block, and as which entry of it, a message was ordered first.
    ///
    /// # Errors
    /// [`Error`].
    async fn ordered(&self, ids: &[MessageId]) -> Result<Vec<Option<(ProjectId, u64, u64)>>, Error>;

    /// The attestation of a height.
    ///
    /// # Errors
    /// [`Error`].
    async fn attestation(&self, project: ProjectId, height: u64) -> Result<Option<Attestation>, Error>;

    /// A cursor; 0 if it was never set.
    ///
    /// # Errors
    /// [`Error`].
    async fn cursor(&self, project: ProjectId, name: &'static str) -> Result<u64, Error>;

    /// A control transaction by its id.
    ///
    /// # Errors
    /// [`Error`].
    async fn control(&self, id: Digest) -> Result<Option<ControlTx>, Error>;

    /// A project's control transactions that no block has ordered yet, by rising nonce (then by id), at most
    /// `limit`.
    ///
    /// # Errors
    /// [`Error`].
    async fn pending_controls(&self, project: ProjectId, limit: usize) -> Result<Vec<ControlTx>, Error>;

    /// Side effects to perform, by rising height and index, at most `limit`.
    ///
    /// # Errors
    /// [`Error`].
    async fn outbox(&self, project: ProjectId, limit: usize) -> Result<Vec<OutboxEntry>, Error>;

    /// A record; `None` if there is none.
    ///
    /// # Errors
    /// [`Error`].
    async fn record(&self, id: &RecordId) -> Result<Option<Vec<u8>>, Error>;

    /// The records of the space of `after` with a higher key, by rising key, at most `limit`. An empty key comes
    /// before all others and names no record.
    ///
    /// # Errors
    /// [`Error`].
    async fn records(&self, after: &RecordId, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error>;

    /// Why a project is halted; `None` if it is not.
    ///
    /// # Errors
    /// [`Error`].
    async fn halted(&self, project: ProjectId) -> Result<Option<String>, Error>;

    /// Waits for what is under way and releases files and threads. Idempotent.
    ///
    /// # Errors
    /// [`Error`].
    async fn close(&self) -> Result<(), Error>;
}
