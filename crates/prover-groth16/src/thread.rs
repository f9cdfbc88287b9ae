//! A thread for what is short but too long for a future: digests of keys, verifications.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use futures_channel::oneshot;
use w3bstream_prover::{Error, ErrorKind};

/// How many wait at most: a second of verifications.
const WAITING: usize = 128;

type Task = Box<dyn FnOnce() + Send>;

/// A thread with its end.
#[derive(Debug)]
pub(crate) struct Ending {
    ended: oneshot::Receiver<()>,
    handle: JoinHandle<()>,
}

impl Ending {
    /// Starts a thread.
    pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<Self, Error> {
        let (sender, ended) = oneshot::channel();
        let body = move || {
            let _until_the_end = sender;
            run();
        };
        let handle = std::thread::Builder::new().name(name.into()).spawn(body).map_err(|e| {
            Error::new(ErrorKind::Resources, format!("thread {name} cannot be started")).with_source(e)
        })?;
        Ok(Self { ended, handle })
    }

    /// Waits for its end without blocking.
    pub(crate) async fn join(self) -> Result<(), Error> {
        // Nothing is sent: the sender is dropped at the end, after which joining takes no time.
        let _ = self.ended.await;
        self.handle.join().map_err(|_| Error::new(ErrorKind::Resources, "a thread of the prover panicked"))
    }
}

/// Runs tasks one after the other.
#[derive(Debug)]
pub(crate) struct Side(Mutex<Option<SyncSender<Task>>>);

impl Side {
    pub(crate) fn start() -> Result<(Self, Ending), Error> {
        let (sender, tasks) = sync_channel::<Task>(WAITING);
        let ending = Ending::spawn("prover-side", move || {
            for task in tasks {
                // Its asker hears that it is gone.
                let _ = catch_unwind(AssertUnwindSafe(task));
            }
        })?;
        Ok((Self(Mutex::new(Some(sender))), ending))
    }

    fn sender(&self) -> MutexGuard<'_, Option<SyncSender<Task>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task and gives what it gives.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let closed = || Error::new(ErrorKind::Closed, "the prover is closed");
        let (sender, answer) = oneshot::channel();
        let task: Task = Box::new(move || {
            // Who asked may have gone.
            let _ = sender.send(task());
        });
        let sent = self.sender().as_ref().map(|queue| queue.try_send(task));
        match sent {
            Some(Ok(())) => answer.await.map_err(|_| closed()),
            Some(Err(TrySendError::Full(_))) => {
                Err(Error::new(ErrorKind::Busy, format!("{WAITING} verifications wait already")))
            }
            Some(Err(TrySendError::Disconnected(_))) | None => Err(closed()),
        }
    }

    /// Takes no more tasks; those that wait are still run.
    pub(crate) fn close(&self) {
        *self.sender() = None;
    }
}
