//! Time limits without an executor: a plain thread rings when the time is up.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// How long an answer may take before it counts as lost.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// How long nothing must happen before we believe that nothing will.
pub(super) const QUIET: Duration = Duration::from_millis(150);

#[derive(Default)]
struct Alarm {
    /// The waker to ring, and whether the bell is no longer needed.
    state: Mutex<(Option<Waker>, bool)>,
    cancelled: Condvar,
}

/// Cancels the alarm's thread when the wait is over, however it is.
struct Cancel(Arc<Alarm>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.0.cancelled.notify_all();
    }
}

fn ring_at(deadline: Instant) -> Cancel {
    let alarm = Arc::new(Alarm::default());
    let bell = Arc::clone(&alarm);
    std::thread::spawn(move || {
        let mut state = bell.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.1 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = bell.cancelled.wait_timeout(state, left).map_or_else(|e| e.into_inner().0, |(s, _)| s);
        }
        if let Some(waker) = state.0.take() {
            waker.wake();
        }
    });
    Cancel(alarm)
}

/// The future's value, or `None` if it takes longer than `limit`.
pub(super) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let deadline = Instant::now() + limit;
    let alarm = ring_at(deadline);
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        let mut state = alarm.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() >= deadline {
            return Poll::Ready(None);
        }
        state.0 = Some(cx.waker().clone());
        Poll::Pending
    })
    .await
}

/// Gives way once, as a future does that waits for something.
pub(super) async fn pause() {
    let mut first = true;
    poll_fn(|cx| {
        if std::mem::take(&mut first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}
