//! The trait that a backend implements.

use std::fmt::Debug;

use async_trait::async_trait;
use w3bstream_types::{EventType, MessageId, Position, ProjectId, Record, SourceId, Timestamp, Trust};

use crate::Error;

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The message.
    pub record: Record,
    /// What its sender's identity rests on.
    pub trust: Trust,
    /// When it arrived at this node.
    pub received_at: Timestamp,
}

/// What became of one item of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is new and durable, at this position.
    New(Position),
    /// This message was stored before, at this position.
    Duplicate(Position),
    /// Another message, with this id, holds the same (project, source, sequence) or, for token messages,
    /// the same id with other bytes. The new one was kept as evidence, not as a record: the first
    /// [`MAX_CONFLICTS_PER_MESSAGE`] of them, each once.
    Conflict(MessageId),
}

/// How many other messages for one sequence number (or event id) are kept. The first proves that the sender
/// contradicts itself; more would only let it fill the disk.
pub const MAX_CONFLICTS_PER_MESSAGE: usize = 8;

/// Two messages for one sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictEvidence {
    /// The one that was stored first.
    pub kept: MessageId,
    /// The other, whole.
    pub refused: Item,
}

/// What a scan returns: items that match everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this project's. A scan without a project needs [`Capabilities::scan_all`].
    pub project: Option<ProjectId>,
    /// Only this source's.
    pub source: Option<SourceId>,
    /// Only this event type.
    pub event_type: Option<EventType>,
    /// Only what was received at or after this time.
    pub received_from: Option<Timestamp>,
    /// Only what was received before this time.
    pub received_to: Option<Timestamp>,
}

/// What a backend can do. Everything that it does not claim it must answer with
/// [`crate::ErrorKind::Unsupported`]; the kit checks both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What was appended survives the end of the process.
    pub persistent: bool,
    /// It also survives the loss of power.
    pub power_safe: bool,
    /// [`Storage::scan`] over all projects at once.
    pub scan_all: bool,
    /// Filters on source, event type and time.
    pub filters: bool,
    /// [`Storage::delete_before`].
    pub retention: bool,
    /// [`Storage::check`].
    pub integrity_check: bool,
}

/// Numbers about a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records stored.
    pub records: u64,
    /// Conflicts kept as evidence.
    pub conflicts: u64,
    /// Bytes on disk, as far as the backend knows.
    pub bytes: u64,
}

/// A long-term record of device data.
#[async_trait]
pub trait Storage: Send + Sync + Debug {
    /// The backend's name, as the node's settings give it and the data directory records it.
    fn name(&self) -> &str;

    /// What the backend can do.
    fn capabilities(&self) -> Capabilities;

    /// Stores a batch and says of each item what became of it, in order. Durable when it returns. Items of
    /// one batch are judged one after the other, so a repeat inside a batch is a `Duplicate` too.
    ///
    /// # Errors
    /// [`Error`]; then no item of the batch may be taken as stored, though some may be, and the whole batch
    /// can be sent again.
    ///
    /// # Cancel safety
    /// If the future is dropped the batch may or may not be stored; sending it again is safe.
    async fn append(&self, items: Vec<Item>) -> Result<Vec<Appended>, Error>;

    /// The records with these ids, in the order asked for; `None` where there is none.
    ///
    /// # Errors
    /// [`Error`].
    async fn get(&self, ids: &[MessageId]) -> Result<Vec<Option<(Position, Item)>>, Error>;

    /// Up to `limit` items after `after`, by rising position. An append that returned before the scan
    /// started is seen. Fewer than `limit` items mean that there were no more.
    ///
    /// # Errors
    /// [`Error`]; [`crate::ErrorKind::Unsupported`] for filters that the capabilities do not claim.
    async fn scan(
        &self,
        filter: &Filter,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Item)>, Error>;

    /// Conflicts of a project, in the order in which they were found, at most `limit`.
    ///
    /// # Errors
    /// [`Error`].
    async fn conflicts(&self, project: ProjectId, limit: usize) -> Result<Vec<ConflictEvidence>, Error>;

    /// Deletes up to `limit` of a project's records received before `time`, lowest position first, and says
    /// how many. Their ids and sequence numbers stay known, so a repeat is still a `Duplicate` and another
    /// message in its place a `Conflict`.
    ///
    /// # Errors
    /// [`Error`].
    async fn delete_before(&self, project: ProjectId, time: Timestamp, limit: usize) -> Result<u64, Error>;

    /// Reads everything and compares it with its digests. Gives a line for each thing that is wrong.
    ///
    /// # Errors
    /// [`Error`] if the check itself cannot run.
    async fn check(&self) -> Result<Vec<String>, Error>;

    /// Numbers about the store.
    ///
    /// # Errors
    /// [`Error`].
    async fn stats(&self) -> Result<Stats, Error>;

    /// Waits for what is under way and releases files and threads. Later calls give
    /// [`crate::ErrorKind::Closed`]. Idempotent.
    ///
    /// # Errors
    /// [`Error`].
    async fn close(&self) -> Result<(), Error>;
}
