//! What a running job and those who watch it say to each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{Error, ErrorKind, Progress};

/// A running job's line to the outside.
#[derive(Debug, Default)]
pub struct Control {
    cancelled: AtomicBool,
    progress: Mutex<Progress>,
}

impl Control {
    /// Says what is done now and how much of the job was done before it, in thousandths, and learns whether to go
    /// on. A number below an earlier one counts as that one.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`], which the proof system hands on at once.
    pub fn step(&self, step: &'static str, thousandths: u16) -> Result<(), Error> {
        self.check()?;
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let thousandths = thousandths.min(1000).max(progress.thousandths);
        *progress = Progress { step, thousandths };
        Ok(())
    }

    /// Learns whether to go on.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn check(&self) -> Result<(), Error> {
        if self.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "the job was cancelled"));
        }
        Ok(())
    }

    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    pub(super) fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_falls_and_stops_at_the_end() {
        let control = Control::default();
        for (said, seen) in [(10, 10), (300, 300), (20, 300), (2000, 1000)] {
            control.step("step", said).unwrap();
            assert_eq!(control.progress().thousandths, seen);
        }
    }

    #[test]
    fn a_cancelled_job_learns_it_at_its_next_step() {
        let control = Control::default();
        control.cancel();
        assert_eq!(control.step("step", 1).unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(control.progress(), Progress::default());
    }
}
