//! Tests across crates and processes.
//!
//! The tests are in `it/`; `crash-node` is the reference node with a probe that kills the process at a named hand-over.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use w3bstream_pipeline::Probe;

/// Names the point at which [`Killer`] kills.
pub const POINT: &str = "CRASH_POINT";
/// After how many passes of that point.
pub const AFTER: &str = "CRASH_AFTER";
/// A file that is written before the kill, so that a test knows that the point was reached.
pub const MARK: &str = "CRASH_MARK";

/// Kills its own process, as the power would, when the flow has passed a point so many times.
pub struct Killer {
    point: String,
    after: u64,
    mark: PathBuf,
    passes: AtomicU64,
}

impl fmt::Debug for Killer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Killer({} × {})", self.point, self.after)
    }
}

impl Killer {
    /// What the environment asks for; `None` if it asks for nothing.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "a test harness talks to its child by the environment")]
    pub fn from_env() -> Option<Self> {
        let after = std::env::var(AFTER).ok()?.parse().ok()?;
        let (point, mark) = (std::env::var(POINT).ok()?, std::env::var(MARK).ok()?.into());
        Some(Self { point, after, mark, passes: AtomicU64::new(0) })
    }
}

impl Probe for Killer {
    fn at(&self, point: &'static str) {
        if point != self.point || self.passes.fetch_add(1, Ordering::SeqCst) + 1 != self.after {
            return;
        }
        // SIGKILL: nothing is flushed, no destructor runs. The thread must not go on until it has come.
        let marked = std::fs::write(&self.mark, point);
        let killed = Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
        drop((marked, killed));
        loop {
            std::thread::park();
        }
    }
}
