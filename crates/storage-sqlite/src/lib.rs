//! Device data in SQLite: the storage backend `sqlite`, which a node uses when it is not told otherwise.
//!
//! Durable when append answers, as far as disk and file system keep their word: one thread writes and
//! commits with an fsync whatever waits (see [`w3bstream_sqlite`]). A full disk is
//! [`ErrorKind::Unavailable`](w3bstream_storage::ErrorKind::Unavailable); nothing is acknowledged, and
//! appends work again once there is space. Everything that is read is compared with its digest first.
//!
//! # How it is kept
//! - `message` has a row for each message ever stored. Its `position` is the row's number; rows are never
//!   deleted, so that none is given twice and a repeat is known for ever.
//! - `body` is the record's canonical encoding, `seal` a digest over it, its trust and its time. Retention
//!   sets the body to null and SQLite overwrites the bytes.
//! - `message_id` finds a signed message by its id, at a price per append that does not grow.
//! - `conflict` is the evidence.

mod append;
mod check;
mod error;
mod ids;
mod read;
mod schema;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use w3bstream_sqlite::{Counters, Database, Options};
use w3bstream_storage::{Appended, Capabilities, ConflictEvidence, Error, Filter, Item, Stats, Storage};
use w3bstream_types::{MessageId, Position, ProjectId, Timestamp};

use crate::error::Fail;

/// The name under which a node's settings choose this backend.
pub const NAME: &str = "sqlite";

/// Settings of [`SqliteStorage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// The file. It and its directories are made if they are not there. Must be on a local file system.
    pub path: PathBuf,
    /// Page cache of each of the three connections, in KiB.
    #[serde(default = "default_cache_kib")]
    pub cache_kib: u32,
}

const fn default_cache_kib() -> u32 {
    8192
}

impl SqliteConfig {
    /// Defaults with this file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), cache_kib: default_cache_kib() }
    }
}

/// Device data in a SQLite file.
#[derive(Debug)]
pub struct SqliteStorage {
    db: Database,
}

impl SqliteStorage {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`](w3bstream_storage::ErrorKind::Incompatible) if it is another program's or
    /// a newer version's, which is left as it is; otherwise what SQLite or the operating system said.
    pub fn open(config: &SqliteConfig) -> Result<Self, Error> {
        let options = Options { cache_kib: config.cache_kib, ..Options::default() };
        let db = Database::open(&config.path, &schema::SCHEMA, &options).map_err(Fail::from)?;
        Ok(Self { db })
    }

    /// Writes a copy of one moment to another file, while the store goes on working.
    ///
    /// # Errors
    /// What SQLite or the operating system said; there is then no new file of that name.
    pub async fn copy_to(&self, path: &Path) -> Result<(), Error> {
        Ok(self.db.copy_to(path).await.map_err(Fail::from)?)
    }

    /// Numbers about commits and reads since the store was opened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.db.counters()
    }
}

#[async_trait]
impl Storage for SqliteStorage {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            persistent: true,
            power_safe: true,
            scan_all: true,
            filters: true,
            retention: true,
            integrity_check: true,
        }
    }

    async fn append(&self, items: Vec<Item>) -> Result<Vec<Appended>, Error> {
        if items.is_empty() {
            // Nothing to wait for, but a closed store refuses everything.
            return Ok(self.db.read(|_| Ok::<_, Fail>(Vec::new())).await?);
        }
        // Encoding and hashing happen here, on the caller's thread: the writer has only SQL to do.
        let rows = items.into_iter().map(append::Row::new).collect::<Result<Vec<_>, Error>>()?;
        let bytes = rows.iter().map(append::Row::size).sum();
        Ok(self.db.write(bytes, move |tx| append::append(tx, &rows)).await?)
    }

    async fn get(&self, ids: &[MessageId]) -> Result<Vec<Option<(Position, Item)>>, Error> {
        let ids = ids.to_vec();
        Ok(self.db.read(move |tx| read::get(tx, &ids)).await?)
    }

    async fn scan(
        &self,
        filter: &Filter,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Item)>, Error> {
        let filter = filter.clone();
        Ok(self.db.read(move |tx| read::scan(tx, &filter, after, limit)).await?)
    }

    async fn conflicts(&self, project: ProjectId, limit: usize) -> Result<Vec<ConflictEvidence>, Error> {
        Ok(self.db.read(move |tx| read::conflicts(tx, project, limit)).await?)
    }

    async fn delete_before(&self, project: ProjectId, time: Timestamp, limit: usize) -> Result<u64, Error> {
        let limit = read::limit(limit);
        let deleted = self.db.write(4096, move |tx| {
            let bound = (project.0.as_bytes(), read::saturated(time.0), limit);
            Ok::<_, Fail>(tx.prepare_cached(schema::DELETE_BEFORE)?.execute(bound)? as u64)
        });
        Ok(deleted.await?)
    }

    async fn check(&self) -> Result<Vec<String>, Error> {
        check::check(&self.db).await
    }

    async fn stats(&self) -> Result<Stats, Error> {
        let (records, conflicts): (i64, i64) = self
            .db
            .read(|tx| Ok::<_, Fail>(tx.query_row(schema::COUNT, [], |r| Ok((r.get(0)?, r.get(1)?)))?))
            .await?;
        let mut log = self.db.path().as_os_str().to_owned();
        log.push("-wal");
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
        let bytes = size(self.db.path()) + size(Path::new(&log));
        Ok(Stats { records: records.unsigned_abs(), conflicts: conflicts.unsigned_abs(), bytes })
    }

    async fn close(&self) -> Result<(), Error> {
        self.db.close().await;
        Ok(())
    }
}
