//! Verifications and keys, on a thread that no job occupies.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use futures_channel::oneshot;

use super::shared::{self, Shared};
use super::table::closed;
use super::workers::panicked;
use super::System;
use crate::{Error, ErrorKind};

type Question<S> = Box<dyn FnOnce(&Shared<S>) + Send>;

/// The queue of questions. `None` once it was stopped.
pub(super) struct Questions<S: System>(Mutex<Option<SyncSender<Question<S>>>>);

impl<S: System> Questions<S> {
    pub(super) fn start(shared: &Arc<Shared<S>>, most: usize) -> Result<Self, Error> {
        let (sender, questions) = sync_channel::<Question<S>>(most.max(1));
        shared::start(shared, "prover-questions".to_owned(), move |shared| {
            for question in questions {
                question(shared);
            }
        })?;
        Ok(Self(Mutex::new(Some(sender))))
    }

    /// Answers what is queued and lets the thread end.
    pub(super) fn stop(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Shared<S>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, answer) = oneshot::channel();
        let question: Question<S> = Box::new(move |shared| {
            // Whoever asked may have gone: then it need not be computed.
            if !sender.is_canceled() {
                let outcome = catch_unwind(AssertUnwindSafe(|| question(shared)));
                let _ = sender.send(outcome.unwrap_or_else(|_| Err(panicked())));
            }
        });
        {
            let queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            queue.as_ref().ok_or_else(closed)?.try_send(question).map_err(|e| match e {
                TrySendError::Full(_) => Error::new(ErrorKind::Overloaded, "too many verifications wait; try later"),
                TrySendError::Disconnected(_) => closed(),
            })?;
        }
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl<S: System> fmt::Debug for Questions<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Questions").finish_non_exhaustive()
    }
}
