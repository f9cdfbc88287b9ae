//! The [`Vfs`] over folder and database.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Transaction;
use w3bstream_sqlite::Database;
use w3bstream_types::{Digest, MessageId, Output, ProjectId, SqlBudget, SqlOutcome, SqlStatement};
use w3bstream_vfs::{Applied, Entries, Error, SqlSession, Vfs};

use crate::config::Config;
use crate::error::Fault;
use crate::programs::Programs;
use crate::schema::SCHEMA;
use crate::sql::Rooms;
use crate::state::{self, Scan};

/// Programs and replicated state on the local disk.
#[derive(Debug)]
pub struct LocalVfs {
    programs: Arc<Programs>,
    database: Database,
    rooms: Arc<Rooms>,
}

impl LocalVfs {
    /// Opens the folder, or makes it. Blocks.
    ///
    /// # Errors
    /// [`Io`](w3bstream_vfs::ErrorKind::Io); [`Incompatible`](w3bstream_vfs::ErrorKind::Incompatible) if the
    /// data are of a newer version or another program's, which leaves them as they are;
    /// [`Corrupt`](w3bstream_vfs::ErrorKind::Corrupt).
    pub fn open(config: &Config) -> Result<Self, Error> {
        let programs = Programs::open(config.dir.join("programs"), config.max_program_bytes)?;
        let database = Database::open(&config.dir.join("state.db"), &SCHEMA, &config.sqlite)
            .map_err(|e| Error::from(Fault::from(e)))?;
        let rooms = Arc::new(Rooms::new(config.dir.join("sql")));
        Ok(Self { programs: Arc::new(programs), database, rooms })
    }

    /// Writes a copy of the state, as of one moment, to another file, while reads and writes go on. Programs
    /// are files that never change and can be copied afterwards.
    ///
    /// # Errors
    /// [`Io`](w3bstream_vfs::ErrorKind::Io), [`Closed`](w3bstream_vfs::ErrorKind::Closed).
    pub async fn copy_state_to(&self, path: &Path) -> Result<(), Error> {
        self.database.copy_to(path).await.map_err(|e| Fault::from(e).into())
    }

    /// A line for each thing that is wrong with the database's file. Reads all of it.
    ///
    /// # Errors
    /// [`Io`](w3bstream_vfs::ErrorKind::Io), [`Closed`](w3bstream_vfs::ErrorKind::Closed).
    pub async fn integrity_check(&self) -> Result<Vec<String>, Error> {
        self.database.integrity_check().await.map_err(|e| Fault::from(e).into())
    }

    /// Stores a block's state and ends before the project's database has it, as a crash may.
    #[cfg(test)]
    pub(crate) fn store_state_only(&self, project: ProjectId, applied: Applied) {
        let job = move |tx: &Transaction<'_>| state::apply(tx, project, (&applied, 0));
        let stored: Result<Digest, Fault> = pollster::block_on(self.database.write(1, job));
        assert!(stored.is_ok(), "{stored:?}");
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.database.read(job).await.map_err(Error::from)
    }

    /// Works on program files on a thread of the database's readers: nothing blocks an async thread, and
    /// after close it is refused like everything else.
    async fn file<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Programs) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let programs = Arc::clone(&self.programs);
        self.read(move |_| job(&programs).map_err(Fault)).await
    }
}

#[async_trait]
impl Vfs for LocalVfs {
    fn name(&self) -> &str {
        "local"
    }

    async fn put_program(&self, bytes: Vec<u8>) -> Result<Digest, Error> {
        self.file(move |programs| programs.put(&bytes)).await
    }

    async fn program(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        self.file(move |programs| programs.get(digest)).await
    }

    async fn head(&self, project: ProjectId) -> Result<(u64, Digest), Error> {
        self.read(move |tx| state::head(tx, project)).await
    }

    async fn get(&self, project: ProjectId, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let key = key.to_vec();
        self.read(move |tx| state::get(tx, project, &key)).await
    }

    async fn scan(
        &self,
        project: ProjectId,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Result<Entries, Error> {
        let scan = Scan { prefix: prefix.to_vec(), after: after.to_vec(), limit };
        self.read(move |tx| state::scan(tx, project, &scan)).await
    }

    /// A job of its own on the writer thread. If the future is dropped, the block may or may not be applied.
    async fn apply(&self, project: ProjectId, applied: Applied) -> Result<Digest, Error> {
        let size = state::size(&applied);
        let sql = !applied.sql.is_empty();
        let durable = if sql { self.rooms.durable(project) } else { 0 };
        let job = move |tx: &Transaction<'_>| state::apply(tx, project, (&applied, durable));
        let root = self.database.write(size, job).await.map_err(|fault: Fault| fault.0)?;
        if sql {
            let rooms = Arc::clone(&self.rooms);
            self.read(move |tx| rooms.commit(tx, project)).await?;
        }
        Ok(root)
    }

    async fn result(
        &self,
        project: ProjectId,
        height: u64,
    ) -> Result<Option<(Digest, Digest, Vec<Output>)>, Error> {
        self.read(move |tx| state::result(tx, project, height)).await
    }

    async fn outputs_of(&self, project: ProjectId, id: MessageId) -> Result<Option<(u64, u64, u64)>, Error> {
        self.read(move |tx| state::outputs_of(tx, project, id)).await
    }

    async fn sql(&self, project: ProjectId) -> Result<Box<dyn SqlSession>, Error> {
        let rooms = Arc::clone(&self.rooms);
        self.read(move |tx| rooms.session(tx, project)).await
    }

    async fn sql_read(
        &self,
        project: ProjectId,
        statement: SqlStatement,
        budget: SqlBudget,
    ) -> Result<SqlOutcome, Error> {
        let rooms = Arc::clone(&self.rooms);
        self.read(move |_| rooms.read(project, &statement, &budget)).await
    }

    async fn close(&self) -> Result<(), Error> {
        self.database.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
