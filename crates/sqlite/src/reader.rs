//! The threads that read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_channel::oneshot;
use rusqlite::{Connection, Transaction};

use crate::Error;
use crate::queue::{Amount, Queue, Taken};
use crate::writer::panicked;

pub(crate) type ReadJob = Box<dyn FnOnce(&mut Connection) + Send>;
pub(crate) type ReadQueue = Queue<ReadJob>;

/// Works until the queue is closed and empty.
pub(crate) fn run(mut conn: Connection, queue: &Arc<ReadQueue>) {
    let one = Amount { jobs: 1, bytes: usize::MAX };
    while let Taken::Jobs(jobs) = queue.take(one, None) {
        for job in jobs {
            job(&mut conn);
        }
    }
}

/// A read in a transaction of its own, so that all its statements see one moment.
pub(crate) fn job<T, E, F>(todo: F, reply: oneshot::Sender<Result<T, E>>) -> ReadJob
where
    F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    Box::new(move |conn| {
        let result = match conn.transaction() {
            Ok(tx) => catch_unwind(AssertUnwindSafe(|| todo(&tx))).unwrap_or_else(|_| Err(panicked().into())),
            Err(e) => Err(Error::from(e).into()),
        };
        // The caller may have gone; then nobody wants the answer.
        drop(reply.send(result));
    })
}
