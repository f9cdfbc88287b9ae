//! The journal in SQLite.
//!
//! One batch is one transaction, committed with an fsync before [`Journal::commit`] answers; batches that
//! wait together share that fsync, and one that is refused undoes only itself (see [`w3bstream_sqlite`]).
//! Values are kept in their canonical encoding and decoded strictly, so that what is damaged is refused as
//! [`ErrorKind::Corrupt`](w3bstream_journal::ErrorKind::Corrupt) rather than taken for something else.

mod error;
mod read;
mod schema;
mod write;

use std::path::Path;

use async_trait::async_trait;
use w3bstream_journal::{Error, Journal, OutboxEntry, RecordId, Write};
use w3bstream_sqlite::{Counters, Database, Options};
use w3bstream_types::{Attestation, CertifiedBlock, ControlTx, Digest, Genesis, MessageId, ProjectId};

use crate::error::Fail;

/// The node's own state in a SQLite file.
#[derive(Debug)]
pub struct SqliteJournal {
    db: Database,
}

impl SqliteJournal {
    /// Opens the file, or makes it with its directories.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`](w3bstream_journal::ErrorKind::Incompatible) if it is another program's or
    /// a newer version's, which is left as it is; otherwise what SQLite or the operating system said.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let db = Database::open(path, &schema::SCHEMA, &Options::default()).map_err(Fail::from)?;
        Ok(Self { db })
    }

    /// Writes a copy of one moment to another file, while the journal goes on working.
    ///
    /// # Errors
    /// What SQLite or the operating system said; there is then no new file of that name.
    pub async fn copy_to(&self, path: &Path) -> Result<(), Error> {
        Ok(self.db.copy_to(path).await.map_err(Fail::from)?)
    }

    /// Reads the whole file and gives a line for each thing that is wrong with it.
    ///
    /// # Errors
    /// [`Error`] if the check itself cannot run.
    pub async fn check(&self) -> Result<Vec<String>, Error> {
        let mut found = self.db.integrity_check().await.map_err(Fail::from)?;
        let mut after = Some(0);
        while let Some(from) = after {
            let (lines, next) = self.db.read(move |tx| read::check(tx, from)).await?;
            found.extend(lines);
            after = next;
        }
        Ok(found)
    }

    /// Numbers about commits and reads since the journal was opened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.db.counters()
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn commit(&self, batch: Vec<Write>) -> Result<(), Error> {
        // Encoding happens here, on the caller's thread: the writer has only SQL to do.
        let steps = batch.into_iter().map(write::Step::new).collect::<Result<Vec<_>, Error>>()?;
        let bytes = steps.iter().map(write::Step::size).sum();
        Ok(self.db.write(bytes, move |tx| steps.iter().try_for_each(|step| step.apply(tx))).await?)
    }

    async fn geneses(&self) -> Result<Vec<Genesis>, Error> {
        Ok(self.db.read(read::geneses).await?)
    }

    async fn block(&self, project: ProjectId, height: u64) -> Result<Option<CertifiedBlock>, Error> {
        Ok(self.db.read(move |tx| read::value(tx, schema::BLOCK, project, height)).await?)
    }

    async fn last_height(&self, project: ProjectId) -> Result<u64, Error> {
        Ok(self.db.read(move |tx| read::last_height(tx, project)).await?)
    }

    async fn ordered(&self, ids: &[MessageId]) -> Result<Vec<Option<(ProjectId, u64, u64)>>, Error> {
        let ids = ids.to_vec();
        Ok(self.db.read(move |tx| read::ordered(tx, &ids)).await?)
    }

    async fn attestation(&self, project: ProjectId, height: u64) -> Result<Option<Attestation>, Error> {
        Ok(self.db.read(move |tx| read::value(tx, schema::ATTESTATION, project, height)).await?)
    }

    async fn cursor(&self, project: ProjectId, name: &'static str) -> Result<u64, Error> {
        Ok(self.db.read(move |tx| read::cursor(tx, project, name)).await?)
    }

    async fn control(&self, id: Digest) -> Result<Option<ControlTx>, Error> {
        Ok(self.db.read(move |tx| read::control(tx, id)).await?)
    }

    async fn pending_controls(&self, project: ProjectId, limit: usize) -> Result<Vec<ControlTx>, Error> {
        Ok(self.db.read(move |tx| read::pending(tx, project, limit)).await?)
    }

    async fn outbox(&self, project: ProjectId, limit: usize) -> Result<Vec<OutboxEntry>, Error> {
        Ok(self.db.read(move |tx| read::outbox(tx, project, limit)).await?)
    }

    async fn record(&self, id: &RecordId) -> Result<Option<Vec<u8>>, Error> {
        let id = id.clone();
        Ok(self.db.read(move |tx| read::record(tx, &id)).await?)
    }

    async fn records(&self, after: &RecordId, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        let after = after.clone();
        Ok(self.db.read(move |tx| read::records(tx, &after, limit)).await?)
    }

    async fn halted(&self, project: ProjectId) -> Result<Option<String>, Error> {
        Ok(self.db.read(move |tx| read::halted(tx, project)).await?)
    }

    async fn close(&self) -> Result<(), Error> {
        self.db.close().await;
        Ok(())
    }
}
