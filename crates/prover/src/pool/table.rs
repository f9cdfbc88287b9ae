//! The jobs of a pool: a plain table, under one lock, that nobody holds for long.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_channel::oneshot;
use w3bstream_types::Digest;

use super::Control;
use super::shared::Material;
use crate::{ArtefactSet, Error, ErrorKind, Failure, Job, JobId, Progress, State};

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the prover was closed")
}

fn unknown(id: JobId) -> Error {
    Error::new(ErrorKind::NotFound, format!("no job {id} is here; submit it"))
}

/// Those who wait for a job's end, and how it ended. Told without the lock.
#[must_use]
#[derive(Default)]
pub(super) struct Ended(Vec<(oneshot::Sender<State>, State)>);

impl Ended {
    pub(super) fn tell(self) {
        for (waiter, state) in self.0 {
            // Whoever does not wait any more does not need to know.
            let _ = waiter.send(state);
        }
    }
}

/// A job that a worker runs.
pub(super) struct Task<C> {
    pub(super) id: JobId,
    pub(super) job: Arc<Job>,
    pub(super) material: Material<C>,
    pub(super) control: Arc<Control>,
}

enum Place<C> {
    Waiting(Material<C>),
    Running(Arc<Control>),
    Proved(Vec<u8>),
    Failed(Failure),
    Cancelled,
}

impl<C> Place<C> {
    fn state(&self) -> State {
        match self {
            Self::Waiting(_) => State::Waiting,
            Self::Running(control) => State::Running(control.progress()),
            Self::Proved(proof) => State::Proved(proof.clone()),
            Self::Failed(failure) => State::Failed(failure.clone()),
            Self::Cancelled => State::Cancelled,
        }
    }
}

struct Entry<C> {
    job: Arc<Job>,
    digest: Digest,
    place: Place<C>,
    waiters: Vec<oneshot::Sender<State>>,
}

impl<C> Entry<C> {
    fn end(&mut self, place: Place<C>) -> Ended {
        self.place = place;
        let state = self.place.state();
        Ended(self.waiters.drain(..).map(|waiter| (waiter, state.clone())).collect())
    }
}

/// The jobs. `C` is a circuit.
pub(super) struct Table<C> {
    jobs: BTreeMap<JobId, Entry<C>>,
    queue: VecDeque<JobId>,
    most: usize,
    closed: bool,
}

impl<C> Table<C> {
    pub(super) fn new(most: usize) -> Self {
        Self { jobs: BTreeMap::new(), queue: VecDeque::new(), most, closed: false }
    }

    pub(super) fn check_open(&self) -> Result<(), Error> {
        if self.closed { Err(closed()) } else { Ok(()) }
    }

    fn entry(&mut self, id: JobId) -> Result<&mut Entry<C>, Error> {
        self.check_open()?;
        self.jobs.get_mut(&id).ok_or_else(|| unknown(id))
    }

    /// Whether a job is new and has room; `false` if it is here already.
    pub(super) fn admits(&self, id: JobId, job: &Job) -> Result<bool, Error> {
        self.check_open()?;
        if let Some(known) = self.jobs.get(&id) {
            if known.digest == job.digest() {
                return Ok(false);
            }
            return Err(Error::new(ErrorKind::Conflict, format!("another job has the name {id}")));
        }
        if self.jobs.len() >= self.most {
            let what = format!("{} jobs are here, and no more may be; forget those that ended", self.jobs.len());
            return Err(Error::new(ErrorKind::Overloaded, what));
        }
        Ok(true)
    }

    /// Queues a job, unless the same one came meanwhile.
    pub(super) fn submit(&mut self, id: JobId, job: Job, material: Material<C>) -> Result<(), Error> {
        if self.admits(id, &job)? {
            let digest = job.digest();
            let place = Place::Waiting(material);
            self.jobs.insert(id, Entry { job: Arc::new(job), digest, place, waiters: Vec::new() });
            self.queue.push_back(id);
        }
        Ok(())
    }

    pub(super) fn state(&mut self, id: JobId) -> Result<State, Error> {
        self.entry(id).map(|entry| entry.place.state())
    }

    /// Gives the end of a job to whoever holds the receiver.
    pub(super) fn wait(&mut self, id: JobId) -> Result<oneshot::Receiver<State>, Error> {
        let entry = self.entry(id)?;
        let (waiter, receiver) = oneshot::channel();
        let state = entry.place.state();
        if state.ended() {
            Ended(vec![(waiter, state)]).tell();
        } else {
            entry.waiters.retain(|waiter| !waiter.is_canceled());
            entry.waiters.push(waiter);
        }
        Ok(receiver)
    }

    pub(super) fn cancel(&mut self, id: JobId) -> Result<Ended, Error> {
        let entry = self.entry(id)?;
        match &entry.place {
            Place::Running(control) => control.cancel(),
            Place::Waiting(_) => {
                let ended = entry.end(Place::Cancelled);
                self.queue.retain(|waiting| *waiting != id);
                return Ok(ended);
            }
            Place::Proved(_) | Place::Failed(_) | Place::Cancelled => {}
        }
        Ok(Ended::default())
    }

    /// The files of a job that may run again; `None` if it need not.
    pub(super) fn again(&mut self, id: JobId) -> Result<Option<ArtefactSet>, Error> {
        let entry = self.entry(id)?;
        match &entry.place {
            Place::Failed(_) | Place::Cancelled => Ok(Some(entry.job.artefacts.clone())),
            Place::Running(control) if control.is_cancelled() => {
                let what = format!("job {id} is being cancelled; wait until it has ended");
                Err(Error::new(ErrorKind::Conflict, what))
            }
            Place::Running(_) | Place::Waiting(_) | Place::Proved(_) => Ok(None),
        }
    }

    pub(super) fn retry(&mut self, id: JobId, material: Material<C>) -> Result<(), Error> {
        if self.again(id)?.is_some() {
            self.entry(id)?.place = Place::Waiting(material);
            self.queue.push_back(id);
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, id: JobId) -> Result<(), Error> {
        self.check_open()?;
        match self.jobs.get(&id).map(|entry| entry.place.state().ended()) {
            Some(false) => {
                Err(Error::new(ErrorKind::Conflict, format!("job {id} has not ended; cancel it first")))
            }
            Some(true) => {
                self.jobs.remove(&id);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The next job for a worker, which is running from now on.
    pub(super) fn next(&mut self) -> Option<Task<C>> {
        while let Some(id) = self.queue.pop_front() {
            let Some(entry) = self.jobs.get_mut(&id) else { continue };
            let control = Arc::new(Control::default());
            // Every queued job waits; a place of another kind stays as it is.
            match std::mem::replace(&mut entry.place, Place::Running(Arc::clone(&control))) {
                Place::Waiting(material) => {
                    return Some(Task { id, job: Arc::clone(&entry.job), material, control });
                }
                other => entry.place = other,
            }
        }
        None
    }

    /// Notes how a job ended. One that was cancelled while it ran is cancelled, whatever came out.
    pub(super) fn end(&mut self, id: JobId, outcome: Result<Vec<u8>, Error>) -> Ended {
        let Some(entry) = self.jobs.get_mut(&id) else { return Ended::default() };
        let cancelled = matches!(&entry.place, Place::Running(control) if control.is_cancelled());
        entry.end(match outcome {
            _ if cancelled => Place::Cancelled,
            Ok(proof) => Place::Proved(proof),
            Err(error) => Place::Failed(Failure::from(&error)),
        })
    }

    /// Cancels what runs and drops the rest; those who wait learn that the pool was closed.
    pub(super) fn close(&mut self) {
        self.closed = true;
        for entry in self.jobs.values() {
            if let Place::Running(control) = &entry.place {
                control.cancel();
            }
        }
        self.jobs.clear();
        self.queue.clear();
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// For `Debug`: jobs here, jobs that wait, and the progress of those that run.
    pub(super) fn summary(&self) -> (usize, usize, Vec<Progress>) {
        let running = self.jobs.values().filter_map(|entry| match &entry.place {
            Place::Running(control) => Some(control.progress()),
            _ => None,
        });
        (self.jobs.len(), self.queue.len(), running.collect())
    }
}
