//! The thread that writes.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;

use futures_channel::oneshot;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::queue::{Amount, Queue, Taken};
use crate::signal::Signal;
use crate::{Error, ErrorKind, Options};

/// One job with the way to its answer, whatever its types are.
pub(crate) trait Job: Send {
    /// Runs it inside a savepoint; `false` means that its changes are to be undone.
    fn run(&mut self, tx: &Transaction<'_>) -> bool;
    /// Answers: with its own result if the group was committed (or the job had failed by itself), else with
    /// the group's error.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

pub(crate) struct Typed<F, T, E> {
    todo: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Typed<F, T, E> {
    pub(crate) const fn new(todo: F, reply: oneshot::Sender<Result<T, E>>) -> Self {
        Self { todo: Some(todo), result: None, reply }
    }
}

impl<F, T, E> Job for Typed<F, T, E>
where
    F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn run(&mut self, tx: &Transaction<'_>) -> bool {
        let Some(todo) = self.todo.take() else { return false };
        // A panic ends one job, not the thread that everybody waits for; its savepoint is rolled back.
        let result = catch_unwind(AssertUnwindSafe(|| todo(tx)));
        let result = result.unwrap_or_else(|_| Err(panicked().into()));
        self.result.insert(result).is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let result = match (committed, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(Error::new(ErrorKind::Internal, "the job did not run").into()),
            // Also instead of a failure of the job's own: it may rest on another job's undone changes.
            (Err(e), _) => Err(e.into()),
        };
        // The caller may have gone; then nobody wants the answer.
        drop(self.reply.send(result));
    }
}

pub(crate) fn panicked() -> Error {
    Error::new(ErrorKind::Internal, "a database job panicked; its changes were undone")
}

/// Numbers that only rise.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) commits: AtomicU64,
    pub(crate) failed_commits: AtomicU64,
    pub(crate) jobs: AtomicU64,
    pub(crate) failed_jobs: AtomicU64,
    pub(crate) largest_batch: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) reads: AtomicU64,
}

pub(crate) type WriteQueue = Queue<Box<dyn Job>>;

pub(crate) struct Writer {
    pub(crate) conn: Connection,
    pub(crate) path: PathBuf,
    pub(crate) queue: Arc<WriteQueue>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) options: Options,
    pub(crate) readers: Vec<JoinHandle<()>>,
    pub(crate) done: Arc<Signal>,
}

/// Says that the thread has ended, also when it ends by a panic, so that nobody waits for ever.
struct Ending(Arc<WriteQueue>, Arc<Signal>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abandon();
        self.1.raise();
    }
}

impl Writer {
    /// Works until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let _ending = Ending(Arc::clone(&self.queue), Arc::clone(&self.done));
        let log_pages = Arc::new(AtomicU32::new(0));
        self.watch_log(&log_pages);
        let most = Amount { jobs: self.options.batch_jobs, bytes: self.options.batch_bytes };
        loop {
            let pending = log_pages.load(Ordering::Relaxed) > 0;
            match self.queue.take(most, pending.then_some(self.options.checkpoint_idle)) {
                Taken::Jobs(jobs) => {
                    self.commit_all(jobs.into());
                    if log_pages.load(Ordering::Relaxed) >= self.options.checkpoint_pages {
                        self.checkpoint(&log_pages);
                    }
                }
                Taken::Idle => self.checkpoint(&log_pages),
                Taken::Closed => break,
            }
        }
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
        if let Err(e) = self.conn.pragma(None, "wal_checkpoint", "TRUNCATE", |_| Ok(())) {
            tracing::warn!(path = %self.path.display(), error = %e, "the last checkpoint failed; the log stays");
        }
        if let Err((_, e)) = self.conn.close() {
            tracing::warn!(path = %self.path.display(), error = %e, "the database did not close cleanly");
        }
    }

    /// Has SQLite tell the length of the log after each commit, instead of copying it before the commit
    /// returns: callers get their answers first.
    fn watch_log(&mut self, pages: &Arc<AtomicU32>) {
        let pages = Arc::clone(pages);
        let hook = move |_: &mut rusqlite::hooks::Wal, n: i32| {
            pages.store(u32::try_from(n).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        };
        if let Err(e) = self.conn.wal_hook(Some(hook)) {
            tracing::warn!(error = %e, "cannot watch the log; SQLite's own checkpoints stay on");
        }
    }

    fn commit_all(&mut self, mut waiting: VecDeque<Box<dyn Job>>) {
        let largest = waiting.len() as u64;
        self.tally.largest_batch.fetch_max(largest, Ordering::Relaxed);
        while !waiting.is_empty() {
            let mut ran = Vec::with_capacity(waiting.len());
            let result = self.transaction(&mut waiting, &mut ran);
            self.tally.jobs.fetch_add(ran.len() as u64, Ordering::Relaxed);
            let counter = if result.is_ok() { &self.tally.commits } else { &self.tally.failed_commits };
            counter.fetch_add(1, Ordering::Relaxed);
            if let Err(e) = &result {
                tracing::warn!(path = %self.path.display(), jobs = ran.len(), error = %e, "commit failed");
            }
            for job in ran {
                job.answer(result.clone());
            }
        }
    }

    /// Runs jobs in one transaction and commits it. `ran` are those whose answer the result decides. Stops
    /// early if SQLite gave the whole transaction up, as it may on a full disk; the rest then gets another.
    fn transaction(
        &mut self,
        waiting: &mut VecDeque<Box<dyn Job>>,
        ran: &mut Vec<Box<dyn Job>>,
    ) -> Result<(), Error> {
        let path = &self.path;
        let failed = |e| Error::sqlite(&format!("cannot write to {}", path.display()), e);
        let tx = match self.conn.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(tx) => tx,
            Err(e) => {
                ran.extend(waiting.drain(..));
                return Err(failed(e));
            }
        };
        while let Some(mut job) = waiting.pop_front() {
            let kept = in_savepoint(&tx, || job.run(&tx));
            ran.push(job);
            let kept = kept.map_err(failed)?;
            if tx.is_autocommit() {
                let what = format!("cannot write to {}: SQLite undid the transaction", path.display());
                return Err(Error::new(ErrorKind::Full, what));
            }
            if !kept {
                self.tally.failed_jobs.fetch_add(1, Ordering::Relaxed);
            }
        }
        // After a failed fsync the connection stays open on purpose. Opening the file anew would read the
        // log back from the page cache, where the failed transaction looks committed although it is not on
        // disk, and a repeat would be answered as durable.
        tx.commit().map_err(|e| Error::sqlite(&format!("cannot commit to {}", path.display()), e))
    }

    fn checkpoint(&self, log_pages: &AtomicU32) {
        // Passive never waits for a reader. Only a log that has grown far beyond its limit, because readers
        // overlapped all the time, is worth waiting for them.
        let overgrown = log_pages.load(Ordering::Relaxed) / 8 >= self.options.checkpoint_pages.max(1);
        let mode = if overgrown { "RESTART" } else { "PASSIVE" };
        let mut left = 0_i64;
        let result = self.conn.pragma(None, "wal_checkpoint", mode, |row| {
            let (log, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
            left = log - copied;
            Ok(())
        });
        match result {
            Ok(()) if left <= 0 => log_pages.store(0, Ordering::Relaxed),
            // A reader holds the rest back; the next commit or idle moment tries again.
            Ok(()) => {}
            Err(e) => tracing::warn!(path = %self.path.display(), error = %e, "checkpoint failed"),
        }
        self.tally.checkpoints.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `body` between SAVEPOINT and RELEASE, and undoes what it did if it says so.
fn in_savepoint(tx: &Transaction<'_>, body: impl FnOnce() -> bool) -> rusqlite::Result<bool> {
    tx.prepare_cached("SAVEPOINT job")?.execute([])?;
    let keep = body();
    // SQLite has undone everything already, the savepoint too; the caller sees that.
    if tx.is_autocommit() {
        return Ok(false);
    }
    if !keep {
        tx.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    tx.prepare_cached("RELEASE job")?.execute([])?;
    Ok(keep)
}
