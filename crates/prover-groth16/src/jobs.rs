//! Which jobs there are, and how far they are.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;
use w3bstream_prover::{Error, ErrorKind, Job, JobState, Step};
use w3bstream_types::Digest;

use crate::{Program, ProvingKey};

/// An artefact that is ready for use, or its bytes.
#[derive(Clone, Debug)]
pub(crate) enum Artefact<T> {
    Ready(Arc<T>),
    Bytes(Arc<[u8]>),
}

/// What a thread needs for a job.
pub(crate) struct Work {
    pub(crate) job: Job,
    pub(crate) program: Artefact<Program>,
    pub(crate) key: Artefact<ProvingKey>,
}

/// One running of a job. A job that is cancelled and submitted again is run again.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) work: Arc<Work>,
    number: u64,
    cancelled: Arc<AtomicBool>,
}

impl Run {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

struct Entry {
    fingerprint: Digest,
    state: JobState,
    /// What is to be done; gone with all private numbers once it is final.
    run: Option<Run>,
    waiters: Vec<oneshot::Sender<JobState>>,
}

impl Entry {
    /// Makes a state final and tells everybody.
    fn end(&mut self, state: JobState) {
        if let Some(run) = self.run.take() {
            run.cancelled.store(true, Ordering::Relaxed);
        }
        self.state = state;
        for waiter in self.waiters.drain(..) {
            // Who waited may have gone.
            let _ = waiter.send(self.state.clone());
        }
    }
}

#[derive(Default)]
struct State {
    jobs: HashMap<Digest, Entry>,
    queue: VecDeque<Digest>,
    /// Final jobs, the oldest first; may name some that are no longer final or are gone.
    finished: VecDeque<Digest>,
    running: usize,
    /// Counts runs.
    runs: u64,
    closed: bool,
}

/// All jobs.
pub(crate) struct Table {
    queue: usize,
    results: usize,
    state: Mutex<State>,
    wake: Condvar,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let mut s = f.debug_struct("Table");
        s.field("jobs", &state.jobs.len()).field("waiting", &state.queue.len());
        s.field("running", &state.running).field("closed", &state.closed).finish_non_exhaustive()
    }
}

/// A state, or what tells it later.
#[allow(clippy::large_enum_variant, reason = "made once for each call of wait")]
pub(crate) enum Wait {
    Now(JobState),
    Later(oneshot::Receiver<JobState>),
}

fn unknown(id: Digest) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no job {id}"))
}

impl Table {
    /// With at most so many waiting jobs, and so many results.
    pub(crate) fn new(queue: usize, results: usize) -> Self {
        Self { queue: queue.max(1), results: results.max(1), state: Mutex::default(), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No method leaves the state half changed, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the prover is closed"));
        }
        Ok(state)
    }

    /// Whether a job has to be queued: it is unknown, or may be submitted again. Refuses what cannot be queued.
    pub(crate) fn wants(&self, id: Digest, fingerprint: Digest) -> Result<bool, Error> {
        let state = self.open()?;
        self.wants_in(&state, id, fingerprint)
    }

    fn wants_in(&self, state: &State, id: Digest, fingerprint: Digest) -> Result<bool, Error> {
        if let Some(entry) = state.jobs.get(&id) {
            if entry.fingerprint != fingerprint {
                return Err(Error::new(ErrorKind::Conflict, format!("another job has the id {id}")));
            }
            if !entry.state.may_be_resubmitted() {
                return Ok(false);
            }
        }
        if state.queue.len() >= self.queue {
            let why = format!("{} proofs wait to be made already", state.queue.len());
            return Err(Error::new(ErrorKind::Busy, why));
        }
        Ok(true)
    }

    /// Queues a job.
    pub(crate) fn push(&self, work: Work, fingerprint: Digest) -> Result<(), Error> {
        let mut state = self.open()?;
        let id = work.job.id;
        // Meanwhile somebody else may have submitted it.
        if !self.wants_in(&state, id, fingerprint)? {
            return Ok(());
        }
        state.runs += 1;
        let run = Run { work: Arc::new(work), number: state.runs, cancelled: Arc::default() };
        let ahead = state.queue.len();
        let queued = JobState::Queued { ahead };
        state.jobs.insert(id, Entry { fingerprint, state: queued, run: Some(run), waiters: Vec::new() });
        state.queue.push_back(id);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// The next job, once there is one; `None` once the table is closed.
    pub(crate) fn next(&self) -> Option<Run> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(id) = state.queue.pop_front() {
                let Some(entry) = state.jobs.get_mut(&id) else { continue };
                let Some(run) = entry.run.clone() else { continue };
                entry.state = JobState::Running { step: Step::Loading, done: 0 };
                state.running += 1;
                return Some(run);
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The entry of a run, if it is still wanted.
    fn entry<'a>(state: &'a mut State, run: &Run) -> Option<&'a mut Entry> {
        let entry = state.jobs.get_mut(&run.work.job.id)?;
        let own = entry.run.as_ref().is_some_and(|own| own.number == run.number);
        own.then_some(entry)
    }

    /// Notes how far a run is.
    pub(crate) fn progress(&self, run: &Run, step: Step, done: u8) {
        if let Some(entry) = Self::entry(&mut self.lock(), run) {
            entry.state = JobState::Running { step, done };
        }
    }

    /// Notes how a run ended.
    pub(crate) fn finish(&self, run: &Run, end: JobState) {
        let mut state = self.lock();
        state.running = state.running.saturating_sub(1);
        if let Some(entry) = Self::entry(&mut state, run) {
            entry.end(end);
            self.finished(&mut state, run.work.job.id);
        }
    }

    /// Lets go of the oldest results.
    fn finished(&self, state: &mut State, id: Digest) {
        state.finished.retain(|other| *other != id);
        state.finished.push_back(id);
        while state.finished.len() > self.results {
            let Some(oldest) = state.finished.pop_front() else { return };
            if state.jobs.get(&oldest).is_some_and(|entry| entry.state.is_final()) {
                state.jobs.remove(&oldest);
            }
        }
    }

    pub(crate) fn state(&self, id: Digest) -> Result<Option<JobState>, Error> {
        let state = self.open()?;
        let Some(entry) = state.jobs.get(&id) else { return Ok(None) };
        let place = state.queue.iter().position(|queued| *queued == id);
        let queued = place.map(|place| JobState::Queued { ahead: place + state.running });
        Ok(Some(queued.unwrap_or_else(|| entry.state.clone())))
    }

    pub(crate) fn wait(&self, id: Digest) -> Result<Wait, Error> {
        let mut state = self.open()?;
        let entry = state.jobs.get_mut(&id).ok_or_else(|| unknown(id))?;
        if entry.state.is_final() {
            return Ok(Wait::Now(entry.state.clone()));
        }
        let (sender, receiver) = oneshot::channel();
        // Those who gave up waiting are not kept.
        entry.waiters.retain(|waiter| !waiter.is_canceled());
        entry.waiters.push(sender);
        Ok(Wait::Later(receiver))
    }

    /// Why a waiter was not told.
    pub(crate) fn gone(&self, id: Digest) -> Error {
        self.open().map_or_else(|closed| closed, |_| unknown(id))
    }

    pub(crate) fn cancel(&self, id: Digest) -> Result<(), Error> {
        let mut state = self.open()?;
        state.queue.retain(|queued| *queued != id);
        if let Some(entry) = state.jobs.get_mut(&id).filter(|entry| !entry.state.is_final()) {
            entry.end(JobState::Cancelled);
            self.finished(&mut state, id);
        }
        Ok(())
    }

    pub(crate) fn forget(&self, id: Digest) -> Result<(), Error> {
        let mut state = self.open()?;
        state.queue.retain(|queued| *queued != id);
        state.finished.retain(|other| *other != id);
        if let Some(run) = state.jobs.remove(&id).and_then(|entry| entry.run) {
            run.cancelled.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Cancels and forgets everything; from now on all say that it is closed.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        for entry in state.jobs.values() {
            if let Some(run) = &entry.run {
                run.cancelled.store(true, Ordering::Relaxed);
            }
        }
        *state = State { closed: true, running: state.running, ..State::default() };
        drop(state);
        self.wake.notify_all();
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.open().map(drop)
    }
}
