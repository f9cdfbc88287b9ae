//! A bounded queue from async callers to a thread.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

/// How much of something: jobs, and the bytes that their callers said they carry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    pub(crate) jobs: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Queue<J> {
    state: Mutex<State<J>>,
    arrived: Condvar,
    capacity: Amount,
}

#[derive(Debug)]
struct State<J> {
    items: VecDeque<(usize, J)>,
    bytes: usize,
    waiting: Vec<Waker>,
    closed: bool,
}

/// What a thread gets from the queue.
#[derive(Debug)]
pub(crate) enum Taken<J> {
    Jobs(Vec<J>),
    /// Nothing came for the time that was given.
    Idle,
    /// Closed, and everything that had been queued was taken.
    Closed,
}

impl<J> Queue<J> {
    pub(crate) fn new(capacity: Amount) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, waiting: Vec::new(), closed: false };
        Self { state: Mutex::new(state), arrived: Condvar::new(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place. `Err` gives the job back: the queue is closed. One job always fits into an empty
    /// queue, however large it says it is.
    pub(crate) async fn push(&self, bytes: usize, job: J) -> Result<(), J> {
        let mut job = Some(job);
        poll_fn(|cx| {
            let mut state = self.lock();
            let Some(taken) = job.take() else { return Poll::Ready(Ok(())) };
            if state.closed {
                return Poll::Ready(Err(taken));
            }
            let full = state.items.len() >= self.capacity.jobs
                || (state.bytes.saturating_add(bytes) > self.capacity.bytes && !state.items.is_empty());
            if full {
                job = Some(taken);
                if !state.waiting.iter().any(|w| w.will_wake(cx.waker())) {
                    state.waiting.push(cx.waker().clone());
                }
                return Poll::Pending;
            }
            state.bytes = state.bytes.saturating_add(bytes);
            state.items.push_back((bytes, taken));
            drop(state);
            self.arrived.notify_one();
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Takes what is there, at least one job and at most `most`; blocks while there is nothing.
    pub(crate) fn take(&self, most: Amount, patience: Option<Duration>) -> Taken<J> {
        let mut state = self.lock();
        while state.items.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            state = match patience {
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(time) => {
                    let (state, timeout) =
                        self.arrived.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() && state.items.is_empty() && !state.closed {
                        return Taken::Idle;
                    }
                    state
                }
            };
        }
        let (mut jobs, mut bytes) = (Vec::new(), 0_usize);
        while let Some((size, _)) = state.items.front() {
            let next = bytes.saturating_add(*size);
            if !jobs.is_empty() && (jobs.len() >= most.jobs || next > most.bytes) {
                break;
            }
            bytes = next;
            jobs.extend(state.items.pop_front().map(|(_, job)| job));
        }
        state.bytes = state.bytes.saturating_sub(bytes);
        // All of them: waking only as many as fit could wake one that has been cancelled, and the rest
        // would sleep on.
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Taken::Jobs(jobs)
    }

    /// Refuses new jobs. What is queued can still be taken.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.arrived.notify_all();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Closes and drops what is queued: for a thread that ends before its time.
    pub(crate) fn abandon(&self) {
        self.close();
        let dropped = std::mem::take(&mut self.lock().items);
        drop(dropped);
    }
}
