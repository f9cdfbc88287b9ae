//! The workers of an engine: one for each call that runs, started when they are needed.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use w3bstream_engine::{EngineStats, Error};
use w3bstream_types::Digest;

use crate::WorkerConfig;
use crate::frame::Fault;
use crate::process::{Ended, Reason, Worker};

/// Ends that count for how long the next start waits: those of the last minute, and no more than these.
const REMEMBERED: Duration = Duration::from_secs(60);
const MAX_ENDS: usize = 16;
/// What the second end in that time costs; each further one costs twice as much.
const FIRST_DELAY: Duration = Duration::from_millis(50);
/// The longest that a start waits.
const MAX_DELAY: Duration = Duration::from_secs(10);
/// How often one call tries to start a worker.
const MAX_STARTS: u32 = 3;

/// When workers ended that nobody had told to: whoever starts another waits the longer, the more there were.
#[derive(Debug, Default)]
struct Ends(VecDeque<Instant>);

impl Ends {
    fn add(&mut self, now: Instant) {
        self.0.push_back(now);
        if self.0.len() > MAX_ENDS {
            self.0.pop_front();
        }
    }

    /// How long a start has to wait yet.
    fn delay(&mut self, now: Instant) -> Duration {
        while self.0.front().is_some_and(|at| now.saturating_duration_since(*at) > REMEMBERED) {
            self.0.pop_front();
        }
        let doublings = u32::try_from(self.0.len()).unwrap_or(u32::MAX).checked_sub(2);
        let (Some(doublings), Some(last)) = (doublings, self.0.back()) else { return Duration::ZERO };
        let wait = FIRST_DELAY.saturating_mul(1 << doublings.min(16)).min(MAX_DELAY);
        wait.saturating_sub(now.saturating_duration_since(*last))
    }
}

#[derive(Debug, Default)]
struct State {
    /// Those that nobody uses now, the one used last at the end.
    idle: Vec<Worker>,
    /// Process ids of all.
    live: Vec<u32>,
    /// Workers that are there or are being started.
    taken: usize,
    ends: Ends,
}

/// All workers.
#[derive(Debug)]
pub(crate) struct Pool {
    config: WorkerConfig,
    state: Mutex<State>,
    freed: Condvar,
    /// Calls that found all workers busy.
    waited: AtomicU64,
    starts: AtomicU64,
    ended: [AtomicU64; Reason::ALL.len()],
}

impl Pool {
    pub(crate) fn new(config: WorkerConfig) -> Self {
        let ended = [const { AtomicU64::new(0) }; Reason::ALL.len()];
        let (waited, starts) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { config, state: Mutex::default(), freed: Condvar::new(), waited, starts, ended }
    }

    pub(crate) const fn config(&self) -> &WorkerConfig {
        &self.config
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves plain data, whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Process ids of the workers that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.lock().live.clone()
    }

    /// Starts the first worker, so that what cannot work is known at once. Gives the name of its engine.
    pub(crate) fn begin(&self) -> Result<String, Error> {
        self.lock().taken += 1;
        let (leased, name) = self.start()?;
        drop(leased);
        Ok(name)
    }

    /// Calls under way, and those that have waited.
    pub(crate) fn stats(&self) -> EngineStats {
        let state = self.lock();
        let running = state.taken.saturating_sub(state.idle.len()) as u64;
        EngineStats { running, waited: self.waited.load(Ordering::Relaxed) }
    }

    /// A worker for one call; if possible one that has the program. Waits while all have work, and before a start if many
    /// have ended lately.
    pub(crate) fn take(&self, program: &Digest) -> Result<Leased<'_>, Error> {
        let (mut tries, mut waits) = (0, false);
        let mut state = self.lock();
        loop {
            let place = state.idle.iter().rposition(|worker| worker.has(program));
            if let Some(place) = place.or_else(|| state.idle.len().checked_sub(1)) {
                let mut worker = state.idle.remove(place);
                if worker.is_alive() {
                    return Ok(Leased { pool: self, worker: Some(worker) });
                }
                let why = "it was gone before it was needed";
                tracing::warn!(worker = worker.pid(), "a worker process has ended: {why}");
                self.count(&mut state, worker.pid(), Reason::Idle);
                continue;
            }
            if state.taken >= self.config.workers.max(1) {
                if !std::mem::replace(&mut waits, true) {
                    self.waited.fetch_add(1, Ordering::Relaxed);
                }
                state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let delay = state.ends.delay(Instant::now());
            if !delay.is_zero() {
                state = self.freed.wait_timeout(state, delay).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            state.taken += 1;
            drop(state);
            tries += 1;
            match self.start() {
                Ok((leased, _)) => return Ok(leased),
                Err(e) if tries < MAX_STARTS => tracing::warn!("{e}; it is tried again"),
                Err(e) => return Err(e),
            }
            state = self.lock();
        }
    }

    /// Starts a worker in a place that is taken already, and frees the place if that fails.
    fn start(&self) -> Result<(Leased<'_>, String), Error> {
        self.starts.fetch_add(1, Ordering::Relaxed);
        match Worker::start(&self.config) {
            Ok((worker, name)) => {
                self.lock().live.push(worker.pid());
                Ok((Leased { pool: self, worker: Some(worker) }, name))
            }
            Err(e) => {
                self.count(&mut self.lock(), 0, Reason::Start);
                Err(e)
            }
        }
    }

    /// A worker is gone.
    fn count(&self, state: &mut State, pid: u32, reason: Reason) {
        if let Some(counter) = self.ended.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        state.taken = state.taken.saturating_sub(1);
        state.live.retain(|live| *live != pid);
        state.ends.add(Instant::now());
        self.freed.notify_one();
    }

    /// The numbers of the workers, in the Prometheus text format.
    pub(crate) fn metrics(&self) -> String {
        let mut out = String::new();
        let live = self.lock().live.len();
        let starts = self.starts.load(Ordering::Relaxed);
        for (name, help, kind, value) in [
            ("w3b_engine_workers", "Worker processes of the engine that run.", "gauge", live as u64),
            ("w3b_engine_worker_starts_total", "Worker processes that were started.", "counter", starts),
        ] {
            // Writing to a string does not fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        let name = "w3b_engine_workers_ended_total";
        let _ = writeln!(
            out,
            "# HELP {name} Worker processes that ended and had to be replaced, by reason.\n# TYPE {name} counter"
        );
        for (reason, counter) in Reason::ALL.iter().zip(&self.ended) {
            let count = counter.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}{{reason=\"{}\"}} {count}", reason.name());
        }
        out
    }
}

/// A worker that one call has. It goes back to the others when this is dropped.
#[derive(Debug)]
pub(crate) struct Leased<'a> {
    pool: &'a Pool,
    worker: Option<Worker>,
}

impl Leased<'_> {
    /// The worker; `None` once it was ended.
    pub(crate) const fn worker(&mut self) -> Option<&mut Worker> {
        self.worker.as_mut()
    }

    /// Ends the worker. Its place is free for another.
    pub(crate) fn end(mut self, fault: &Fault, time: Duration) -> Option<Ended> {
        let worker = self.worker.take()?;
        let pid = worker.pid();
        let ended = worker.end(fault, time);
        self.pool.count(&mut self.pool.lock(), pid, ended.reason);
        Some(ended)
    }
}

impl Drop for Leased<'_> {
    fn drop(&mut self) {
        let Some(worker) = self.worker.take() else { return };
        if std::thread::panicking() {
            // Nobody knows who speaks next.
            let pid = worker.pid();
            drop(worker);
            self.pool.count(&mut self.pool.lock(), pid, Reason::Frame);
            return;
        }
        self.pool.lock().idle.push(worker);
        self.pool.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_have_ended_the_longer_the_next_start_waits() {
        let begin = Instant::now();
        let mut ends = Ends::default();
        assert_eq!(ends.delay(begin), Duration::ZERO);
        ends.add(begin);
        assert_eq!(ends.delay(begin), Duration::ZERO, "the first costs nothing");
        let mut last = Duration::ZERO;
        for n in 1..40 {
            ends.add(begin);
            let delay = ends.delay(begin);
            assert!(
                delay == MAX_DELAY || delay >= FIRST_DELAY && delay == last.max(FIRST_DELAY / 2) * 2,
                "{n}: {delay:?}"
            );
            last = delay;
        }
        assert_eq!((last, ends.0.len()), (MAX_DELAY, MAX_ENDS));
        assert_eq!(ends.delay(begin + MAX_DELAY), Duration::ZERO, "it has waited");
        assert_eq!(ends.delay(begin + REMEMBERED + Duration::from_secs(1)), Duration::ZERO);
        assert!(ends.0.is_empty(), "what was long ago is forgotten");
    }
}
