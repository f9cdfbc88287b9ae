//! The databases of all projects, and how each is brought up to the state's height.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension as _, Transaction, params};
use w3bstream_types::{
    Database, Decoder, Encoder, ProjectId, SqlBlock, SqlBudget, SqlChange, SqlEntry, SqlOutcome, SqlRefusal,
    SqlStatement,
};
use w3bstream_vfs::{Error, ErrorKind, SqlSession, key};

use super::run::{SqlDatabase, read};
use crate::error::{Fault, corrupt};
use crate::state;

/// After how many blocks what was committed is brought to the disk, and their logs can go.
const BLOCKS_PER_CHECKPOINT: u32 = 64;
/// How long a session waits for the one before.
const PATIENCE: Duration = Duration::from_secs(30);

/// The databases of this node: a file for each project, opened when it is first used.
#[derive(Debug)]
pub(crate) struct Rooms {
    dir: PathBuf,
    slots: Mutex<BTreeMap<ProjectId, Arc<Slot>>>,
}

/// One project's database, or nothing while somebody uses it.
#[derive(Debug, Default)]
struct Slot {
    inner: Mutex<Inner>,
    free: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    database: Option<SqlDatabase>,
    taken: bool,
    /// Blocks that were committed since the last checkpoint.
    blocks: u32,
    /// All up to this height is on the disk.
    durable: u64,
}

impl Slot {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // What it guards is whole between any two statements.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A database that is given back when this is dropped.
#[derive(Debug)]
struct Lease {
    slot: Arc<Slot>,
    database: Option<SqlDatabase>,
}

impl Lease {
    fn database(&mut self) -> Result<&mut SqlDatabase, Fault> {
        self.database.as_mut().ok_or_else(|| Fault(Error::new(ErrorKind::Closed, "the session has ended")))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut inner = self.slot.inner();
        inner.database = self.database.take();
        inner.taken = false;
        drop(inner);
        self.slot.free.notify_one();
    }
}

impl Rooms {
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self { dir, slots: Mutex::new(BTreeMap::new()) }
    }

    fn path(&self, project: ProjectId) -> PathBuf {
        self.dir.join(format!("{}.db", project.digest()))
    }

    fn slot(&self, project: ProjectId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(project).or_default())
    }

    /// Waits for the database, and opens it if it is not yet.
    fn take(&self, project: ProjectId) -> Result<Lease, Fault> {
        let (slot, until) = (self.slot(project), Instant::now() + PATIENCE);
        let mut inner = slot.inner();
        while inner.taken {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = format!("the database of project {project} is in use for more than {PATIENCE:?}");
                return Err(Fault(Error::new(ErrorKind::Io, what)));
            }
            inner = slot.free.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.taken = true;
        let open = inner.database.take();
        drop(inner);
        let mut lease = Lease { slot, database: open };
        if lease.database.is_none() {
            let io = |e: std::io::Error| {
                let what = format!("cannot make {}", self.dir.display());
                Fault(Error::new(ErrorKind::Io, what).with_source(e))
            };
            std::fs::create_dir_all(&self.dir).map_err(io)?;
            lease.database = Some(SqlDatabase::open(&self.path(project))?);
        }
        Ok(lease)
    }

    /// A session on the database as of the state's height.
    pub(crate) fn session(
        &self,
        tx: &Transaction<'_>,
        project: ProjectId,
    ) -> Result<Box<dyn SqlSession>, Fault> {
        let mut lease = self.take(project)?;
        catch_up(tx, project, &mut lease)?;
        lease.database()?.begin()?;
        Ok(Box::new(Session { lease: Some(lease) }))
    }

    /// Commits what the state has stored already.
    pub(crate) fn commit(&self, tx: &Transaction<'_>, project: ProjectId) -> Result<(), Fault> {
        let mut lease = self.take(project)?;
        catch_up(tx, project, &mut lease)?;
        let slot = Arc::clone(&lease.slot);
        let database = lease.database()?;
        let mut inner = slot.inner();
        inner.blocks += 1;
        if inner.blocks >= BLOCKS_PER_CHECKPOINT && database.checkpoint()? {
            (inner.blocks, inner.durable) = (0, database.height());
        }
        Ok(())
    }

    /// Logs below this height are of no use any more.
    pub(crate) fn durable(&self, project: ProjectId) -> u64 {
        self.slot(project).inner().durable
    }

    /// Runs a statement that only reads.
    pub(crate) fn read(
        &self,
        project: ProjectId,
        statement: &SqlStatement,
        budget: &SqlBudget,
    ) -> Result<SqlOutcome, Fault> {
        let path = self.path(project);
        if !path.exists() {
            return Ok(SqlOutcome::refused(SqlRefusal::NoDatabase));
        }
        read(&path, statement, budget)
    }
}

/// Commits the blocks that the state has and the database has not: the open one, if it is the only one, or from their
/// logs.
fn catch_up(tx: &Transaction<'_>, project: ProjectId, lease: &mut Lease) -> Result<(), Fault> {
    let database = lease.database()?;
    let here = database.height();
    let logs = logs(tx, project, here)?;
    let head = head(tx, project)?;
    if head < here || logs.last().map_or(here, |(height, _)| *height) != head {
        return Err(corrupt(format!(
            "the database of project {project} is of block {here}, and the state's last that changed it is {head}: \
             one of the two was put back alone; restore both from one backup"
        )));
    }
    let open = database.is_open();
    match logs.as_slice() {
        [] => Ok(()),
        [(height, log)] if open && log.as_slice() == database.log() => database.commit(*height),
        missing => {
            database.begin()?;
            for (height, log) in missing {
                tracing::info!(%project, height, "doing again what was not in the project's database yet");
                database.replay(log)?;
            }
            verify(tx, project, &database.block().rows)?;
            database.commit(head)
        }
    }
}

/// Compares rows with the digests that the state has of them.
fn verify(tx: &Transaction<'_>, project: ProjectId, rows: &[SqlChange]) -> Result<(), Fault> {
    for ((table, number), digest) in rows {
        let stored = state::get(tx, project, &key::sql_row(table, *number))?;
        if stored.as_deref() != digest.as_ref().map(|d| d.as_bytes().as_slice()) {
            return Err(corrupt(format!(
                "row {number} of table {table} of project {project} is not what the state's root says"
            )));
        }
    }
    Ok(())
}

type Logs = Vec<(u64, Vec<SqlEntry>)>;

/// The logs of blocks above a height, in order.
fn logs(tx: &Transaction<'_>, project: ProjectId, above: u64) -> Result<Logs, Fault> {
    let mut statement = tx.prepare_cached(
        "SELECT height, entries FROM sql_log
         WHERE project = (SELECT id FROM project WHERE project = ?1) AND height > ?2 ORDER BY height",
    )?;
    let above = i64::try_from(above).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![project.digest().as_bytes(), above])?;
    let mut logs = Vec::new();
    while let Some(row) = rows.next()? {
        let (height, bytes): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let entries = Decoder::new(&bytes).list(|d| d.item::<SqlEntry>());
        let entries = entries.map_err(|e| corrupt(format!("the SQL of height {height} is damaged: {e}")))?;
        logs.push((u64::try_from(height).unwrap_or(0), entries));
    }
    Ok(logs)
}

/// The last height that changed the database.
fn head(tx: &Transaction<'_>, project: ProjectId) -> Result<u64, Fault> {
    let sql = "SELECT max(height) FROM sql_log WHERE project = (SELECT id FROM project WHERE project = ?1)";
    let row = |row: &rusqlite::Row<'_>| row.get::<_, Option<i64>>(0);
    let found = tx.prepare_cached(sql)?.query_row([project.digest().as_bytes()], row).optional()?;
    Ok(found.flatten().and_then(|height| u64::try_from(height).ok()).unwrap_or(0))
}

/// Stores a block's log. The newest of those that are on the disk stays, to tell the height.
pub(crate) fn store(
    tx: &Transaction<'_>,
    project: i64,
    (height, durable): (u64, u64),
    log: &[SqlEntry],
) -> Result<(), Fault> {
    let signed = |height: u64| i64::try_from(height).unwrap_or(i64::MAX);
    let mut entries = Encoder::new();
    entries.list(log, |e, entry| {
        e.item(entry);
    });
    tx.prepare_cached("DELETE FROM sql_log WHERE project = ?1 AND height < ?2")?
        .execute(params![project, signed(durable)])?;
    tx.prepare_cached("INSERT INTO sql_log (project, height, entries) VALUES (?1, ?2, ?3)")?
        .execute(params![project, signed(height), entries.into_bytes()])?;
    Ok(())
}

/// A block's use of a database.
#[derive(Debug)]
struct Session {
    lease: Option<Lease>,
}

impl Session {
    fn database(&mut self) -> Result<&mut SqlDatabase, Fault> {
        match &mut self.lease {
            Some(lease) => lease.database(),
            None => Err(Fault(Error::new(ErrorKind::Closed, "the session has ended"))),
        }
    }
}

impl SqlSession for Session {
    fn declare(&mut self, from: Option<&Database>, to: &Database) -> Result<Result<(), String>, Error> {
        Ok(self.database()?.declare(from, to)?)
    }

    fn begin_call(&mut self) -> Result<(), Error> {
        Ok(self.database()?.begin_call()?)
    }

    fn run(&mut self, statement: &SqlStatement, budget: &SqlBudget) -> Result<SqlOutcome, Error> {
        Ok(self.database()?.run(statement, budget)?)
    }

    fn end_call(&mut self, keep: bool) -> Result<(), Error> {
        Ok(self.database()?.end_call(keep)?)
    }

    fn finish(mut self: Box<Self>) -> Result<SqlBlock, Error> {
        let block = self.database()?.block();
        if block.log.is_empty() {
            return Ok(block);
        }
        // Its transaction stays open: if this block is the one that is stored, it only has to be committed.
        drop(self.lease.take());
        Ok(block)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(Ok(database)) = self.lease.as_mut().map(Lease::database)
            && let Err(Fault(e)) = database.rollback()
        {
            tracing::warn!(error = %e, "a block's SQL could not be undone; it is when the next one begins");
        }
    }
}
