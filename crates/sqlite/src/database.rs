//! The handle that callers hold.

use std::cell::Cell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use futures_channel::oneshot;
use rusqlite::Transaction;

use crate::open::{copy_to, open_reader, open_writer};
use crate::queue::{Amount, Queue};
use crate::reader::{self, ReadQueue};
use crate::signal::Signal;
use crate::writer::{Tally, Typed, WriteQueue, Writer};
use crate::{Error, ErrorKind, Options, Schema};

thread_local! {
    /// True on the threads of a database: they must not wait for their own end.
    static WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Numbers since the database was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transactions committed; those that changed something were fsynced once each.
    pub commits: u64,
    /// Transactions that failed to commit.
    pub failed_commits: u64,
    /// Write jobs run.
    pub jobs: u64,
    /// Write jobs that failed by themselves and were undone.
    pub failed_jobs: u64,
    /// Most jobs that were taken from the queue at once.
    pub largest_batch: u64,
    /// Times that the log was copied into the database.
    pub checkpoints: u64,
    /// Reads run.
    pub reads: u64,
}

/// An open database: a thread that writes and a few that read. Shared by reference or [`Arc`].
///
/// Dropping it without [`Self::close`] does what is queued, ends the threads and waits for them.
pub struct Database {
    path: PathBuf,
    writes: Arc<WriteQueue>,
    reads: Arc<ReadQueue>,
    tally: Arc<Tally>,
    done: Arc<Signal>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path).field("counters", &self.counters()).finish()
    }
}

impl Database {
    /// Opens a file, or makes it with its directories, and brings its tables up to date. Blocks while it
    /// migrates. Before data of an older version are changed they are copied to `<path>.v<version>.bak`.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`] for a file that is not this schema's or of a newer version, which is left
    /// as it is; otherwise what SQLite or the operating system said.
    pub fn open(path: &Path, schema: &Schema, options: &Options) -> Result<Self, Error> {
        let conn = open_writer(path, schema, options)?;
        let queue = Amount { jobs: options.queue_jobs.max(1), bytes: options.queue_bytes };
        let database = Self {
            path: path.to_owned(),
            writes: Arc::new(Queue::new(queue)),
            reads: Arc::new(Queue::new(queue)),
            tally: Arc::default(),
            done: Arc::default(),
            writer: Mutex::new(None),
        };
        let mut readers = Vec::new();
        // Connections first: if one cannot be opened, no thread is left behind.
        let connections: Result<Vec<_>, Error> =
            (0..options.readers.max(1)).map(|_| open_reader(path, options)).collect();
        for conn in connections? {
            let reads = Arc::clone(&database.reads);
            readers.push(database.spawn("read", move || reader::run(conn, &reads))?);
        }
        let writer = Writer {
            conn,
            path: path.to_owned(),
            queue: Arc::clone(&database.writes),
            tally: Arc::clone(&database.tally),
            options: *options,
            readers,
            done: Arc::clone(&database.done),
        };
        let writer = database.spawn("write", move || writer.run())?;
        *database.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(database)
    }

    fn spawn(&self, role: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let run = move || {
            WORKER.set(true);
            run();
        };
        Builder::new().name(format!("{stem}-{role}")).spawn(run).map_err(|e| Error::io(&self.path, &e))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a job on the writer thread and answers when the commit that contains it is durable. `bytes` is
    /// about how much the job writes; it bounds queue and commit.
    ///
    /// The job runs in a savepoint: if it returns an error (or panics), its changes, and only its own, are
    /// undone. It must neither commit nor roll back, and must not wait for this database.
    ///
    /// # Errors
    /// The job's own; that of the commit, then the job's changes were undone; [`ErrorKind::Closed`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the job may or may not run.
    pub async fn write<T, E, F>(&self, bytes: usize, job: F) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queued = self.writes.push(bytes, Box::new(Typed::new(job, reply))).await;
        if queued.is_err() {
            return Err(Error::closed(&self.path).into());
        }
        // The sender is dropped without an answer only when the thread has ended.
        answer.await.unwrap_or_else(|_| Err(Error::closed(&self.path).into()))
    }

    /// Runs a read on one of the reader threads, in a transaction of its own. It sees every write that was
    /// answered before this was called.
    ///
    /// # Errors
    /// The job's own; [`ErrorKind::Closed`].
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing is lost but the answer.
    pub async fn read<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        if self.reads.push(0, reader::job(job, reply)).await.is_err() {
            return Err(Error::closed(&self.path).into());
        }
        self.tally.reads.fetch_add(1, Ordering::Relaxed);
        answer.await.unwrap_or_else(|_| Err(Error::closed(&self.path).into()))
    }

    /// Writes a copy of one moment to another file, while reads and writes go on.
    ///
    /// # Errors
    /// What SQLite or the operating system said; [`ErrorKind::Closed`]. There is then no file of that name,
    /// or the one that was there before.
    pub async fn copy_to(&self, path: &Path) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let path = path.to_owned();
        let job: reader::ReadJob = Box::new(move |conn| {
            // The copy is not of this database, so that "only reads" does not hold for it.
            let allowed = conn.pragma_update(None, "query_only", false).map_err(Error::from);
            let result = allowed.and_then(|()| copy_to(conn, &path));
            let forbidden = conn.pragma_update(None, "query_only", true).map_err(Error::from);
            drop(reply.send(result.and(forbidden)));
        });
        self.reads.push(0, job).await.map_err(|_| Error::closed(&self.path))?;
        answer.await.unwrap_or_else(|_| Err(Error::closed(&self.path)))
    }

    /// Reads the whole file and gives a line for each thing that SQLite finds wrong with it.
    ///
    /// # Errors
    /// If the check cannot run; [`ErrorKind::Closed`].
    pub async fn integrity_check(&self) -> Result<Vec<String>, Error> {
        self.read(|tx| {
            let mut statement = tx.prepare("PRAGMA integrity_check")?;
            let lines = statement.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<Vec<String>>>();
            match lines {
                Ok(lines) => Ok(lines.into_iter().filter(|line| line != "ok").collect()),
                // So damaged that the check itself stops: that is a finding, not a failure.
                Err(e) => match Error::from(e) {
                    e if e.kind() == ErrorKind::Corrupt => Ok(vec![e.to_string()]),
                    e => Err(e),
                },
            }
        })
        .await
    }

    /// Numbers since the database was opened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let get = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
        Counters {
            commits: get(&self.tally.commits),
            failed_commits: get(&self.tally.failed_commits),
            jobs: get(&self.tally.jobs),
            failed_jobs: get(&self.tally.failed_jobs),
            largest_batch: get(&self.tally.largest_batch),
            checkpoints: get(&self.tally.checkpoints),
            reads: get(&self.tally.reads),
        }
    }

    /// Refuses new jobs, does those that are queued, copies the log into the database and ends the threads.
    /// Idempotent; every caller waits for the end.
    pub async fn close(&self) {
        self.stop();
        self.done.raised().await;
        self.join();
    }

    fn stop(&self) {
        // Readers end first; the writer waits for them before its last checkpoint.
        self.reads.close();
        self.writes.close();
    }

    fn join(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A job may hold the last reference; its thread cannot wait for itself.
        if let Some(writer) = writer.filter(|_| !WORKER.get()) {
            drop(writer.join());
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.stop();
        self.join();
    }
}
