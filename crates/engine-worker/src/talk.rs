//! The node's side of a conversation: what it says, what it answers, and what it waits for.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use w3bstream_engine::{Call, Error, ErrorKind, HostState, Outcome};
use w3bstream_types::{Digest, GuestLimits};

use crate::frame::{Fault, Kind, MAX_FRAME_BYTES, SMALL_BYTES, Wire};
use crate::values::{About, Asked, Terms, Told, error, outcome, put_call, ready};

/// A connection on which the other side has only so much time.
#[derive(Debug)]
pub(crate) struct Timed {
    stream: UnixStream,
    left: Duration,
}

impl Timed {
    /// Waits for the other side, on its time.
    fn wait<T>(
        &mut self,
        limit: impl FnOnce(&UnixStream, Option<Duration>) -> io::Result<()>,
        work: impl FnOnce(&mut UnixStream) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        limit(&self.stream, Some(self.left))?;
        let begin = Instant::now();
        let done = work(&mut self.stream);
        self.left = self.left.saturating_sub(begin.elapsed());
        done
    }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.wait(UnixStream::set_read_timeout, |stream| stream.read(into))
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(UnixStream::set_write_timeout, |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A program as the node keeps it, for workers that do not have it yet.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) digest: Digest,
    pub(crate) bytes: Arc<[u8]>,
}

/// How long a worker may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// For a call, without what the node itself takes to answer.
    pub(crate) call: Duration,
    /// For a program that it does not have yet.
    pub(crate) load: Duration,
}

/// A worker, as one talks to it. A [`Fault`] is the end of the conversation: nobody knows any more who speaks next.
#[derive(Debug)]
pub(crate) struct Talk(Wire<Timed>);

impl Talk {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self(Wire::new(Timed { stream, left: Duration::ZERO }))
    }

    /// Gives the other side so much time from now on.
    fn allow(&mut self, time: Duration) {
        self.0.stream().left = time;
    }

    /// The first frames; gives the name of the worker's engine.
    pub(crate) fn greet(&mut self, terms: &Terms, time: Duration) -> Result<Result<String, Error>, Fault> {
        self.allow(time);
        self.0.put(Kind::Hello, |e| terms.put(e))?;
        let frame = self
            .0
            .receive(|kind| matches!(kind, Kind::Ready | Kind::Failed).then_some(SMALL_BYTES))
            .map_err(not_a_worker)?;
        match frame.kind {
            Kind::Ready => frame.parse(ready).map(Ok),
            _ => frame.parse(error).map(Err),
        }
    }

    /// Sees to it that the worker has a program.
    pub(crate) fn load(&mut self, program: &Program, time: Duration) -> Result<Result<About, Error>, Fault> {
        self.allow(time);
        self.0.put(Kind::Load, |e| {
            e.digest(&program.digest);
        })?;
        // A handler's name, with its head, is no longer than in the program's own list of exports.
        let most = program.bytes.len().saturating_mul(4).saturating_add(SMALL_BYTES);
        let frame = self
            .0
            .receive(|kind| matches!(kind, Kind::Loaded | Kind::Unknown | Kind::Failed).then_some(most))?;
        let frame = if frame.kind == Kind::Unknown {
            self.0.send(Kind::Program, &program.bytes)?;
            self.0.receive(|kind| matches!(kind, Kind::Loaded | Kind::Failed).then_some(most))?
        } else {
            frame
        };
        if frame.kind == Kind::Failed {
            return frame.parse(error).map(Err);
        }
        let about = frame.parse(About::read)?;
        if about.program != program.digest {
            return Err(Fault::Frame(format!(
                "it has program {} in place of {}",
                about.program, program.digest
            )));
        }
        Ok(Ok(about))
    }

    /// Runs a call, and answers what the worker asks meanwhile.
    pub(crate) fn call(
        &mut self,
        program: &Program,
        call: &Call<'_>,
        state: &mut dyn HostState,
        times: Times,
    ) -> Result<Result<Outcome, Error>, Fault> {
        let has_database = state.has_database();
        let most = most_bytes(call.limits);
        let (mut failed, mut sent) = (None, false);
        self.allow(times.call);
        self.0.put(Kind::Call, |e| put_call(e, &program.digest, call, has_database))?;
        let frame = loop {
            let frame = self.0.receive(&most)?;
            match frame.kind {
                Kind::Ask if failed.is_none() => {
                    let told = answer(state, frame.parse(Asked::read)?);
                    self.0.put(Kind::Answer, |e| told.put(e))?;
                    if let Told::Failed(e) = told {
                        failed = Some(e);
                    }
                }
                Kind::Unknown if !std::mem::replace(&mut sent, true) => {
                    if let Err(e) = self.load(program, times.load)? {
                        return Ok(Err(e));
                    }
                    self.allow(times.call);
                    self.0.put(Kind::Call, |e| put_call(e, &program.digest, call, has_database))?;
                }
                Kind::Outcome | Kind::Failed => break frame,
                _ => return Err(frame.unexpected()),
            }
        };
        let given =
            if frame.kind == Kind::Outcome { Ok(frame.parse(outcome)?) } else { Err(frame.parse(error)?) };
        // The state's own error, with its causes, is what the node has to act on.
        Ok(match failed {
            Some(e) => Err(e),
            None => given,
        })
    }
}

/// Who does not begin as a worker does is none.
fn not_a_worker(fault: Fault) -> Fault {
    match fault {
        Fault::Frame(why) => Fault::Frame(format!(
            "what was started is no worker ({why}): `worker-command` under [engine] in node.toml must name a program \
             of the same build that serves as one"
        )),
        other => other,
    }
}

/// What the state says; its panics are errors, as they would be in an engine of this process.
fn answer(state: &mut dyn HostState, asked: Asked) -> Told {
    let said = catch_unwind(AssertUnwindSafe(|| match asked {
        Asked::Get(key) => state.kv_get(&key).map(Told::Value),
        Asked::Contract(call) => state.contract(&call).map(Told::Contract),
        Asked::Sql(statement, budget) => state.sql(&statement, &budget).map(Told::Sql),
    }));
    let panicked = || Error::new(ErrorKind::Host, "the project's state panicked");
    said.unwrap_or_else(|_| Err(panicked())).unwrap_or_else(Told::Failed)
}

/// How long frames of a call may be: as its limits have it, with the heads of many small values.
fn most_bytes(limits: &GuestLimits) -> impl Fn(Kind) -> Option<usize> + use<> {
    let bytes = |parts: &[u64]| {
        let sum = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(*part));
        usize::try_from(sum).unwrap_or(usize::MAX).saturating_add(SMALL_BYTES).min(MAX_FRAME_BYTES)
    };
    // A key of one byte is four in its frame, an empty line eight.
    let given = [limits.kv_bytes, limits.output_bytes, limits.log_bytes].map(|n| n.saturating_mul(8));
    let outcome = bytes(&given);
    // Whatever it asks, it has in its memory.
    let ask = bytes(&[limits.memory_bytes, limits.sql_bytes]);
    move |kind| match kind {
        Kind::Outcome => Some(outcome),
        Kind::Ask => Some(ask),
        Kind::Failed | Kind::Unknown => Some(SMALL_BYTES),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
