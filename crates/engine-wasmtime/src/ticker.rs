//! The clock that stops what runs too long: a thread that counts while there are calls.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use w3bstream_engine::Error;

use crate::host;

/// What the clock counts in: a call is stopped at most this much after its time.
pub const TICK: Duration = Duration::from_millis(5);
/// After so many ticks without a call the clock stops, until there is one.
const IDLE_TICKS: u32 = 200;

/// Ticks after which a call has certainly had its time.
pub(crate) fn ticks(time: Duration) -> u64 {
    // The tick that runs when a call begins may be almost over.
    u64::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX / 2).saturating_add(1)
}

#[derive(Default)]
struct State {
    calls: AtomicUsize,
    /// The clock waits to be woken.
    idle: AtomicBool,
    closed: Mutex<bool>,
    woken: Condvar,
}

impl State {
    fn wake(&self) {
        // Under the lock, so that it is not lost between the clock's last look and its wait.
        drop(self.closed.lock().unwrap_or_else(PoisonError::into_inner));
        self.woken.notify_all();
    }

    /// Waits one tick, or, after many without a call, for the next one. `false` once it is over.
    fn wait(&self, quiet: &mut u32) -> bool {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        *quiet = if self.calls.load(Ordering::SeqCst) > 0 { 0 } else { *quiet + 1 };
        if *quiet < IDLE_TICKS {
            let (closed, _) = self.woken.wait_timeout(closed, TICK).unwrap_or_else(PoisonError::into_inner);
            return !*closed;
        }
        self.idle.store(true, Ordering::SeqCst);
        let asleep = |closed: &mut bool| !*closed && self.calls.load(Ordering::SeqCst) == 0;
        let closed = self.woken.wait_while(closed, asleep).unwrap_or_else(PoisonError::into_inner);
        self.idle.store(false, Ordering::SeqCst);
        *quiet = 0;
        !*closed
    }
}

/// The clock. Dropping it ends its thread.
pub(crate) struct Ticker {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engine: wasmtime::Engine) -> Result<Self, Error> {
        let state = Arc::new(State::default());
        let seen = Arc::clone(&state);
        let run = move || {
            let mut quiet = 0;
            while seen.wait(&mut quiet) {
                engine.increment_epoch();
            }
        };
        let thread = std::thread::Builder::new().name("wasmtime-clock".into()).spawn(run);
        let thread = thread.map_err(|e| host("no thread for the clock of calls").with_source(e))?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// To be held while a call runs.
    pub(crate) fn call(&self) -> Timed {
        self.state.calls.fetch_add(1, Ordering::SeqCst);
        if self.state.idle.load(Ordering::SeqCst) {
            self.state.wake();
        }
        Timed(Arc::clone(&self.state))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.state.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.state.woken.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, and a panic of it was told already.
            let _ = thread.join();
        }
    }
}

/// A call that the clock counts for.
pub(crate) struct Timed(Arc<State>);

impl Drop for Timed {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_never_shorter_than_its_ticks() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(TICK), 2);
        assert_eq!(ticks(TICK + Duration::from_nanos(1)), 3);
        assert!(ticks(Duration::MAX) > 1 << 60);
    }
}
