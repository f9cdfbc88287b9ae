//! What is kept of one call while it runs: why it stops, what it used, what it wrote.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use w3bstream_engine::abi::LOG_TRUNCATED;
use w3bstream_engine::{Error, GuestError, LogLine};
use w3bstream_types::{Digest, GuestLimits};

/// Bytes that an output counts beside its own.
pub(crate) const ENTRY_BYTES: u64 = 32;

/// Why a guest is stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The guest's doing.
    Guest(GuestError),
    /// It left by `proc_exit(0)`.
    Done,
    /// The host's doing: no outcome.
    Host(Error),
}

/// The book of one call. Everything in it depends on the call alone.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) limits: GuestLimits,
    /// Names the call: random numbers come from it.
    id: Digest,
    /// The guest's clock, in nanoseconds since the epoch. It stands at the block's time, but for what it is put forward.
    clock: u64,
    /// Where it stood first.
    start: u64,
    /// Open descriptors.
    pub(crate) open: BTreeSet<u32>,
    pub(crate) stop: Option<Stop>,
    host_calls: u64,
    drawn: u64,
    /// Gas that the files cost since it was last taken.
    pub(crate) cost: u64,
    pub(crate) output: Vec<u8>,
    pub(crate) logs: Vec<LogLine>,
    /// What was written to standard error behind the last line's end.
    line: Vec<u8>,
    log_bytes: u64,
    log_full: bool,
    /// Lines that were cut short or left away.
    pub(crate) cut_lines: u64,
}

/// A book that the guest's files and its host functions share.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Mutex<Book>>);

impl Shared {
    pub(crate) fn new(book: Book) -> Self {
        Self(Arc::new(Mutex::new(book)))
    }

    /// A panic of the WASI layer ends the call; what the book says by then still counts.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    pub(crate) fn new(limits: GuestLimits, id: Digest, block_time_ms: u64) -> Self {
        Self {
            limits,
            id,
            clock: block_time_ms.saturating_mul(1_000_000),
            start: block_time_ms.saturating_mul(1_000_000),
            open: BTreeSet::from([0, 1, 2]),
            stop: None,
            host_calls: 0,
            drawn: 0,
            cost: 0,
            output: Vec::new(),
            logs: Vec::new(),
            line: Vec::new(),
            log_bytes: 0,
            log_full: false,
            cut_lines: 0,
        }
    }

    /// Keeps why the guest is stopped. The first reason stays.
    pub(crate) fn stop(&mut self, stop: Stop) {
        self.stop.get_or_insert(stop);
    }

    pub(crate) fn count_host_call(&mut self) {
        self.host_calls += 1;
        if self.host_calls > self.limits.host_calls {
            self.stop(Stop::Guest(GuestError::HostCallLimit));
        }
    }

    /// The time that files show.
    pub(crate) const fn file_time(&self) -> u64 {
        self.start
    }

    /// What the clock shows. Each look puts it forward by a microsecond, so that a loop that waits for it ends.
    pub(crate) const fn now(&mut self) -> u64 {
        self.clock = self.clock.saturating_add(1_000);
        self.clock
    }

    /// Sleeps, in no time.
    pub(crate) const fn sleep_until(&mut self, time: u64) {
        if time > self.clock {
            self.clock = time;
        }
    }

    /// The next block of the call's random numbers.
    pub(crate) fn random(&mut self) -> [u8; 32] {
        self.drawn += 1;
        *Digest::tagged("w3b/wasi-random", &[self.id.as_bytes(), &self.drawn.to_be_bytes()]).as_bytes()
    }

    /// Takes what was written to standard output. `false` if that is more than the limit.
    pub(crate) fn answer(&mut self, bytes: &[u8]) -> bool {
        let room = self.limits.output_bytes.saturating_sub(ENTRY_BYTES + self.output.len() as u64);
        if bytes.len() as u64 > room {
            self.stop(Stop::Guest(GuestError::OutputLimit));
            return false;
        }
        self.output.extend_from_slice(bytes);
        true
    }

    /// Takes what was written to standard error: whole lines are logged, the rest waits for its end.
    pub(crate) fn print(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            if self.log_full {
                self.cut_lines += 1;
                continue;
            }
            let room = self.limits.log_bytes.saturating_sub(self.log_bytes + self.line.len() as u64);
            // One byte more than there is room for, so that the log knows that something is missing.
            let take = usize::try_from(room).unwrap_or(usize::MAX).saturating_add(1);
            self.line.extend_from_slice(part.get(..take).unwrap_or(part));
            if part.ends_with(b"\n") || part.len() >= take {
                self.flush();
            }
        }
    }

    /// Logs what waits for its line's end.
    pub(crate) fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
            self.log(2, text);
        }
    }

    /// Logs a line, or as much of it as there is room for.
    pub(crate) fn log(&mut self, level: i32, mut text: String) {
        if self.log_full {
            self.cut_lines += 1;
            return;
        }
        let room =
            usize::try_from(self.limits.log_bytes.saturating_sub(self.log_bytes)).unwrap_or(usize::MAX);
        if room == 0 || text.len() > room {
            let end = (0..=room.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or(0));
            text.push_str(LOG_TRUNCATED);
            self.log_full = true;
            self.cut_lines += 1;
        }
        self.log_bytes += text.len() as u64 + 1;
        self.logs.push(LogLine { level, text });
    }
}
