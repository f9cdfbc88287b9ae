//! Named tasks, shutdown and drain.
//!
//! **Takes** futures with names; **gives** one place that knows which of them still run. This is the only
//! crate that spawns.
//!
//! # Invariants
//! - Every task has a name. A task that panics is reported by its name, never swallowed.
//! - [`Tasks::stop`] asks, [`Tasks::join`] waits up to a deadline and then aborts what is left and names it.
//! - Dropping the last handle of a group aborts its tasks.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A group of tasks that are stopped together. Clones are handles of one group.
#[derive(Clone, Debug)]
pub struct Tasks(Arc<Group>);

#[derive(Debug)]
struct Group {
    name: &'static str,
    stop: CancellationToken,
    tracker: TaskTracker,
    state: Mutex<State>,
    failed: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    running: BTreeMap<u64, (String, Option<AbortHandle>)>,
    failures: Vec<String>,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop.cancel();
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (_, handle) in state.running.values() {
            if let Some(handle) = handle {
                handle.abort();
            }
        }
    }
}

/// Tells a task that it should end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Resolves when the group is asked to stop.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// As [`Self::requested`], for a handle that is given away.
    pub async fn requested_owned(self) {
        self.0.cancelled_owned().await;
    }

    /// True once the group was asked to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Takes itself off the list when its task ends, however it ends.
struct Entry {
    group: std::sync::Weak<Group>,
    id: u64,
    panicked: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(group) = self.group.upgrade() else { return };
        let mut state = group.lock();
        let Some((name, _)) = state.running.remove(&self.id) else { return };
        if self.panicked {
            tracing::error!(group = group.name, task = %name, "task panicked");
            state.failures.push(name);
            drop(state);
            group.failed.cancel();
        }
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The lock guards plain data: after a panic elsewhere it is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, name: String) -> (u64, Entry) {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.running.insert(id, (name, None));
        (id, Entry { group: Arc::downgrade(self), id, panicked: false })
    }
}

impl Tasks {
    /// An empty group. `name` appears in logs.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self(Arc::new(Group {
            name,
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
            state: Mutex::default(),
            failed: CancellationToken::new(),
        }))
    }

    /// Starts a task. It should end soon after [`Shutdown::requested`]; see [`Self::shutdown`].
    pub fn spawn<F>(&self, name: impl Into<String>, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (id, entry) = self.0.enter(name.into());
        let handle = self.0.tracker.spawn(async move {
            // The whole entry moves in, not only its field: it leaves the list when the task ends.
            let mut entry = entry;
            // The future is dropped with the panic, so nobody can see what the panic left half done.
            entry.panicked = AssertUnwindSafe(future).catch_unwind().await.is_err();
        });
        if let Some((_, slot)) = self.0.lock().running.get_mut(&id) {
            *slot = Some(handle.abort_handle());
        }
    }

    /// Runs a closure on a thread of its own from the runtime's pool, for what blocks or computes.
    pub fn spawn_blocking<F>(&self, name: impl Into<String>, work: F)
    where
        F: FnOnce() + Send + 'static,
    {
        let (_, entry) = self.0.enter(name.into());
        self.0.tracker.spawn_blocking(move || {
            let mut entry = entry;
            entry.panicked = std::panic::catch_unwind(AssertUnwindSafe(work)).is_err();
        });
    }

    /// What tasks of this group listen to.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        Shutdown(self.0.stop.clone())
    }

    /// Asks every task to end.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    /// Resolves with the name of the first task that panicked.
    pub async fn failed(&self) -> String {
        self.0.failed.cancelled().await;
        self.0.lock().failures.first().cloned().unwrap_or_default()
    }

    /// The names of the tasks that run now.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        self.0.lock().running.values().map(|(name, _)| name.clone()).collect()
    }

    /// Asks every task to end and waits for them, up to `deadline`.
    ///
    /// # Errors
    /// The names of the tasks that had to be aborted, and of those that had panicked.
    pub async fn join(&self, deadline: Duration) -> Result<(), Vec<String>> {
        self.stop();
        self.0.tracker.close();
        let in_time = tokio::time::timeout(deadline, self.0.tracker.wait()).await.is_ok();
        let mut state = self.0.lock();
        let mut names = std::mem::take(&mut state.failures);
        if !in_time {
            for (name, handle) in state.running.values() {
                names.push(name.clone());
                if let Some(handle) = handle {
                    handle.abort();
                }
            }
        }
        if names.is_empty() { Ok(()) } else { Err(names) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn tasks_end_when_they_are_asked_to() {
        block_on(async {
            let tasks = Tasks::new("t");
            let shutdown = tasks.shutdown();
            tasks.spawn("waits", async move { shutdown.requested().await });
            assert_eq!(tasks.running(), ["waits"]);
            assert_eq!(tasks.join(Duration::from_secs(5)).await, Ok(()));
            assert!(tasks.running().is_empty());
        });
    }

    #[test]
    fn what_does_not_end_is_aborted_and_named() {
        block_on(async {
            let tasks = Tasks::new("t");
            tasks.spawn("ends", async {});
            tasks.spawn("hangs", std::future::pending());
            assert_eq!(tasks.join(Duration::from_millis(20)).await, Err(vec!["hangs".to_owned()]));
        });
    }

    #[test]
    fn a_panic_is_reported_by_name() {
        block_on(async {
            let tasks = Tasks::new("t");
            tasks.spawn("breaks", async { panic!("on purpose") });
            assert_eq!(tasks.failed().await, "breaks");
            assert_eq!(tasks.join(Duration::from_secs(5)).await, Err(vec!["breaks".to_owned()]));
        });
    }

    #[test]
    fn dropping_the_group_aborts_its_tasks() {
        block_on(async {
            let tasks = Tasks::new("t");
            let (alive, gone) = tokio::sync::oneshot::channel::<()>();
            tasks.spawn("holds", async move {
                let _alive = alive;
                std::future::pending::<()>().await;
            });
            tokio::task::yield_now().await;
            drop(tasks);
            assert!(gone.await.is_err(), "the task was dropped with what it held");
        });
    }
}
