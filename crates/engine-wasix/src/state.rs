//! The project's state, as the guest's thread asks for it.
//!
//! State may be read on the thread of the call alone, by whom it is borrowed; the guest runs on a thread of its own, whose files
//! want to own what they hold. So the files ask through a channel, and the call's thread answers until the guest is done.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use w3bstream_engine::{Error, ErrorKind, HostState};

/// What the guest's thread has to say.
pub(crate) enum Ask<T> {
    /// Wants a key.
    Get(Vec<u8>),
    /// Is done.
    Done(T),
}

type Answer = Result<Option<Vec<u8>>, Error>;

/// The guest's end.
#[derive(Debug)]
pub(crate) struct Asker<T> {
    ask: SyncSender<Ask<T>>,
    answer: Mutex<Receiver<Answer>>,
}

/// The call's end.
#[derive(Debug)]
pub(crate) struct Answerer<T> {
    ask: Receiver<Ask<T>>,
    answer: SyncSender<Answer>,
}

/// Both ends. One question is under way at a time, so each direction holds one.
pub(crate) fn channel<T>() -> (Asker<T>, Answerer<T>) {
    let (ask, asked) = sync_channel(1);
    let (answer, answered) = sync_channel(1);
    (Asker { ask, answer: Mutex::new(answered) }, Answerer { ask: asked, answer })
}

impl<T> Asker<T> {
    /// The value of a key as it was before the call.
    pub(crate) fn get(&self, key: Vec<u8>) -> Answer {
        let gone = || Error::new(ErrorKind::Host, "the call ended before its guest");
        let answers = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        self.ask.send(Ask::Get(key)).map_err(|_| gone())?;
        answers.recv().map_err(|_| gone())?
    }

    /// Says that the guest is done.
    pub(crate) fn done(&self, result: T) {
        // If nobody listens any more there is nobody to tell.
        let _ = self.ask.send(Ask::Done(result));
    }
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum NoEnd {
    /// The guest's thread ended without a word.
    Silent,
    /// It took longer than the guard allows.
    TooLong,
}

impl<T> Answerer<T> {
    /// Answers until the guest is done, or `guard` is over.
    pub(crate) fn serve(&self, state: &mut dyn HostState, guard: Duration) -> Result<T, NoEnd> {
        let end = Instant::now() + guard;
        loop {
            match self.ask.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Ask::Done(result)) => return Ok(result),
                Ok(Ask::Get(key)) => self.answer.send(state.kv_get(&key)).map_err(|_| NoEnd::Silent)?,
                Err(RecvTimeoutError::Timeout) => return Err(NoEnd::TooLong),
                Err(RecvTimeoutError::Disconnected) => return Err(NoEnd::Silent),
            }
        }
    }
}
