//! A worker as a process: how it is started, and how it ended.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use w3bstream_engine::tools::Cache;
use w3bstream_engine::{Error, ErrorKind};
use w3bstream_types::Digest;

use crate::WorkerConfig;
use crate::frame::Fault;
use crate::talk::Talk;
use crate::values::Terms;

/// This program, also after another has taken its place on the disk. It is shown by its name.
const THIS: &str = "/proc/self/exe";
/// How long a process that has closed its connection may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(1);
/// The longest line that is taken over from a worker, in bytes.
const MAX_LINE_BYTES: usize = 1024;
/// The most lines of a worker that are taken over in a second.
const MAX_LINES: u32 = 20;

/// Why a worker was ended, or found to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// By a signal.
    Signal,
    /// By itself.
    Exit,
    /// It took too long.
    Time,
    /// It said what it must not say.
    Frame,
    /// Between two calls.
    Idle,
    /// It did not come to be one.
    Start,
}

impl Reason {
    pub(crate) const ALL: [Self; 6] =
        [Self::Signal, Self::Exit, Self::Time, Self::Frame, Self::Idle, Self::Start];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Exit => "exit",
            Self::Time => "time",
            Self::Frame => "frame",
            Self::Idle => "idle",
            Self::Start => "start",
        }
    }
}

/// How a worker ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) reason: Reason,
    /// In words, from "worker process 7" on.
    pub(crate) how: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.how)
    }
}

/// A worker that runs. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) talk: Talk,
    /// Programs that it has: its own cache does the same.
    programs: Cache<()>,
    child: Child,
}

impl Worker {
    /// Starts a process and waits until it is a worker. Gives the name of its engine as well.
    pub(crate) fn start(config: &WorkerConfig) -> Result<(Self, String), Error> {
        let cannot = |e: io::Error| {
            let program =
                config.command.first().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
            host(format!("cannot start a worker process with {program:?}")).with_source(e)
        };
        let (child, stream, said) = spawn(config).map_err(cannot)?;
        let pid = child.id();
        let mut worker = Self { talk: Talk::new(stream), programs: Cache::new(config.cache_entries), child };
        let log = std::thread::Builder::new().name("worker-log".into()).spawn(move || {
            lines(said, |line| tracing::warn!(worker = pid, "{line}"));
        });
        // It ends when the worker does, and nobody waits for it.
        drop(log.map_err(cannot)?);
        let terms = Terms { cache_entries: config.cache_entries, memory_bytes: config.memory_bytes };
        match worker.talk.greet(&terms, config.start_time) {
            Ok(Ok(name)) => Ok((worker, name)),
            Ok(Err(e)) => Err(e),
            Err(fault) => {
                let ended = worker.end(&fault, config.start_time);
                Err(host(format!("{ended}, before it was ready; the node's log has what it said")))
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has a program.
    pub(crate) fn has(&self, program: &Digest) -> bool {
        self.programs.get(program).is_some()
    }

    /// It has a program from now on.
    pub(crate) fn got(&self, program: Digest) {
        self.programs.put(program, ());
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it after a fault and says what has happened. `time` is what it was given.
    pub(crate) fn end(mut self, fault: &Fault, time: Duration) -> Ended {
        let who = format!("worker process {}", self.pid());
        let status = match fault {
            Fault::Closed | Fault::Io(_) => self.wait(),
            Fault::TooLong | Fault::Frame(_) => None,
        };
        let (reason, how) = match (fault, status) {
            (_, Some(status)) => said_by(status),
            (Fault::TooLong, None) => {
                (Reason::Time, format!("was ended: it took longer than {} ms", time.as_millis()))
            }
            (fault, None) => (Reason::Frame, format!("was ended: {fault}")),
        };
        Ended { reason, how: format!("{who} {how}") }
    }

    /// How it ended, if it does within [`LAST_BREATH`].
    fn wait(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + LAST_BREATH;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
                _ => return None,
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has nothing to lose. One that is gone already cannot be ended, and is not waited for in vain.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn said_by(status: ExitStatus) -> (Reason, String) {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = signal_name(signal);
            (Reason::Signal, format!("was ended by signal {signal}{name}"))
        }
        (None, code) => (Reason::Exit, format!("ended with exit code {}", code.unwrap_or(-1))),
    }
}

const fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGILL => " (SIGILL)",
        libc::SIGTRAP => " (SIGTRAP)",
        libc::SIGABRT => " (SIGABRT: a panic or no memory)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGKILL => " (SIGKILL: by somebody, or because the system had no memory left)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGSYS => " (SIGSYS: a system call that is not allowed here)",
        _ => "",
    }
}

fn host(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Host, what)
}

fn spawn(config: &WorkerConfig) -> io::Result<(Child, UnixStream, PipeReader)> {
    let (ours, theirs) = UnixStream::pair()?;
    let (said, says) = io::pipe()?;
    let (program, arguments) = config.command.split_first().ok_or_else(|| io::Error::other("no command"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    if Path::new(program) == Path::new(THIS)
        && let Ok(name) = std::env::current_exe()
    {
        command.arg0(name);
    }
    // Nothing of the node's but its connection: no variables, no folder, not its terminal's signals.
    command.env_clear().current_dir("/").process_group(0);
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::from(says.try_clone()?)).stderr(says);
    let child = command.spawn()?;
    // With the command go our copies of the worker's ends: what it closes is closed.
    drop(command);
    Ok((child, ours, said))
}

/// Hands on what a worker says, line by line, as long as it is not too much.
fn lines(said: impl Read, mut tell: impl FnMut(&str)) {
    let mut said = BufReader::with_capacity(MAX_LINE_BYTES, said);
    let (mut since, mut told, mut dropped) = (Instant::now(), 0, 0_u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut said).take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line);
        let over = !matches!(read, Ok(n) if n > 0);
        if over || since.elapsed() >= Duration::from_secs(1) {
            if dropped > 0 {
                tell(&format!("{dropped} lines more were left out"));
            }
            (since, told, dropped) = (Instant::now(), 0, 0);
        }
        if over {
            return;
        }
        if told < MAX_LINES {
            told += 1;
            tell(String::from_utf8_lossy(&line).trim_end());
        } else {
            dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_says_is_bounded() {
        let mut told = vec![];
        let long = "x".repeat(2 * MAX_LINE_BYTES + 1);
        let said = format!("{long}\n{}last", "again\n".repeat(50));
        lines(said.as_bytes(), |line| told.push(line.to_owned()));
        assert_eq!(told.len(), MAX_LINES as usize + 1);
        assert_eq!([told[0].len(), told[1].len(), told[2].len()], [MAX_LINE_BYTES, MAX_LINE_BYTES, 1]);
        assert_eq!(told[3], "again");
        let dropped = 3 + 51 - MAX_LINES;
        assert_eq!(told.last().unwrap(), &format!("{dropped} lines more were left out"));
    }

    #[test]
    fn ends_are_said_in_words() {
        let status = |raw| said_by(ExitStatus::from_raw(raw));
        let said = |raw, expected: Reason, words: &str| {
            let (reason, how) = status(raw);
            assert!(reason == expected && how.contains(words), "{reason:?}: {how}");
        };
        said(libc::SIGSEGV, Reason::Signal, "signal 11 (SIGSEGV)");
        said(libc::SIGKILL, Reason::Signal, "no memory left");
        said(libc::SIGUSR1, Reason::Signal, "signal 10");
        said(7 << 8, Reason::Exit, "exit code 7");
    }
}
