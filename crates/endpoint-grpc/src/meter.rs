//! A call's request body: looks at the framing as the bytes go by, and keeps size, memory and time.
//!
//! tonic limits the size of a message alone. How long one takes, how long a stream is silent, and how many bytes all
//! unfinished messages have together, is watched here, before tonic sees them.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use w3bstream_types::RefusalKind;

use crate::problem::{Problem, ProblemKind};
use crate::server::Shared;

/// Bytes before each message: one flag, four of length (gRPC over HTTP/2, Length-Prefixed-Message).
const PREFIX: usize = 5;

/// The framing, as far as it was read.
#[derive(Debug, Default)]
struct Framing {
    prefix: [u8; PREFIX],
    have: usize,
    /// What is left of the message, once its prefix is whole.
    left: usize,
    /// Messages that are complete.
    complete: u64,
}

impl Framing {
    /// Inside a message, or inside its prefix.
    const fn inside(&self) -> bool {
        self.have > 0
    }

    /// Goes over `bytes`. True if a message ended in them.
    fn read(&mut self, mut bytes: &[u8], most: usize) -> Result<bool, Problem> {
        let before = self.complete;
        while !bytes.is_empty() {
            if self.have < PREFIX {
                let (now, rest) = bytes.split_at(bytes.len().min(PREFIX - self.have));
                for (place, byte) in self.prefix.iter_mut().skip(self.have).zip(now) {
                    *place = *byte;
                }
                self.have += now.len();
                bytes = rest;
                if self.have < PREFIX {
                    break;
                }
                let [flag, a, b, c, d] = self.prefix;
                if flag != 0 {
                    let detail = "this node takes no compressed messages; send the flag 0";
                    return Err(Problem::refusal(RefusalKind::Malformed, detail));
                }
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if length > most {
                    let detail = format!("the message has {length} bytes, this node takes at most {most}");
                    return Err(Problem::refusal(RefusalKind::TooLarge, detail));
                }
                self.left = length;
            }
            let now = bytes.len().min(self.left);
            self.left -= now;
            bytes = bytes.split_at(now).1;
            if self.left == 0 {
                self.have = 0;
                self.complete += 1;
            }
        }
        Ok(self.complete > before)
    }
}

/// Goes over a stream that may be anything, in pieces of any size: the messages are the same.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8], step: usize, most: usize) {
    let mut whole = Framing::default();
    let good = whole.read(bytes, most).is_ok();
    let mut pieces = Framing::default();
    let also = bytes.chunks(step).all(|piece| pieces.read(piece, most).is_ok());
    assert_eq!(good, also, "it depends on the pieces in which a stream comes");
    if good {
        let state = |f: &Framing| (f.have, f.left, f.complete, f.inside());
        assert_eq!(state(&whole), state(&pieces));
        assert!(whole.left <= most && whole.complete <= bytes.len() as u64 / PREFIX as u64);
    }
}

/// The body of one call.
#[derive(Debug)]
pub(crate) struct Meter {
    body: Incoming,
    shared: Arc<Shared>,
    /// The call takes one message.
    single: bool,
    framing: Framing,
    /// The share of the message that is not complete.
    held: Option<OwnedSemaphorePermit>,
    deadline: Pin<Box<Sleep>>,
    over: bool,
}

impl Meter {
    pub(crate) fn new(body: Incoming, shared: &Arc<Shared>, single: bool) -> Self {
        let limits = &shared.limits;
        let first = if single { limits.message_timeout } else { limits.stream_idle_timeout };
        Self {
            body,
            shared: Arc::clone(shared),
            single,
            framing: Framing::default(),
            held: None,
            deadline: Box::pin(sleep_until(Instant::now() + first)),
            over: false,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let limits = &self.shared.limits;
        let was_inside = self.framing.inside();
        let ended = self.framing.read(bytes, limits.max_message_bytes)?;
        if self.single && (self.framing.complete > 1 || self.framing.complete == 1 && self.framing.inside()) {
            return Err(Problem::refusal(RefusalKind::Malformed, "this method takes one message"));
        }
        if ended && !self.single {
            // tonic has it whole now, and the handler takes a share of its own for as long as it holds it. Where a
            // call has one message, the handler gets it only when the client has ended the call.
            self.held = None;
        }
        if self.framing.inside() || self.single {
            let share = self.shared.room(bytes.len())?;
            match &mut self.held {
                Some(all) => all.merge(share),
                none => *none = Some(share),
            }
        }
        if !self.single && (ended || !was_inside) {
            let span =
                if self.framing.inside() { limits.message_timeout } else { limits.stream_idle_timeout };
            self.deadline.as_mut().reset(Instant::now() + span);
        }
        Ok(())
    }

    fn too_slow(&self) -> Problem {
        let limits = &self.shared.limits;
        if self.single || self.framing.inside() {
            let most = limits.message_timeout.as_millis();
            let detail = format!("the message did not end within {most} ms");
            return Problem::new(ProblemKind::RequestTimeout, detail);
        }
        let most = limits.stream_idle_timeout.as_millis();
        Problem::new(ProblemKind::StreamIdle, format!("the stream was silent for {most} ms; open it again"))
    }

    /// Ends the body with a problem.
    fn stop(&mut self, problem: Problem) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.over = true;
        self.held = None;
        Poll::Ready(Some(Err(problem.into())))
    }

    /// How a body that the client has ended is taken.
    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.over = true;
        self.held = None;
        if self.framing.inside() {
            return self.stop(Problem::refusal(RefusalKind::Malformed, "the message ended early"));
        }
        if self.single && self.framing.complete == 0 {
            return self.stop(Problem::refusal(RefusalKind::Malformed, "the call has no message"));
        }
        Poll::Ready(None)
    }
}

impl Body for Meter {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        // Bytes that are there come first: time in which nobody asked for them is not the client's.
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref().map(|bytes| this.take(bytes)) {
                Some(Err(problem)) => this.stop(problem),
                _ => Poll::Ready(Some(Ok(frame))),
            },
            // The call was cancelled, or its connection is gone: nobody is there to be told anything.
            Poll::Ready(Some(Err(_))) => {
                this.over = true;
                this.held = None;
                Poll::Ready(Some(Err(Status::cancelled("the client ended the call"))))
            }
            Poll::Ready(None) => this.end(),
            Poll::Pending => {
                ready!(this.deadline.as_mut().poll(cx));
                let problem = this.too_slow();
                this.stop(problem)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut out = vec![0];
        out.extend(u32::try_from(length).unwrap().to_be_bytes());
        out.extend(std::iter::repeat_n(0xff, length));
        out
    }

    proptest! {
        #[test]
        fn messages_are_counted_however_they_are_cut(
            lengths in proptest::collection::vec(0usize..40, 0..12),
            cuts in proptest::collection::vec(1usize..9, 1..30),
            extra in 0usize..5,
        ) {
            let mut bytes: Vec<u8> = lengths.iter().flat_map(|l| message(*l)).collect();
            bytes.extend(std::iter::repeat_n(0, extra));
            let mut framing = Framing::default();
            let mut rest = bytes.as_slice();
            let mut ends = 0;
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at(rest.len().min(*cut));
                let before = framing.complete;
                let ended = framing.read(now, 100).unwrap();
                prop_assert_eq!(ended, framing.complete > before);
                ends += framing.complete - before;
                rest = later;
            }
            prop_assert_eq!(ends, lengths.len() as u64);
            prop_assert_eq!(framing.inside(), extra > 0);
        }

        #[test]
        fn no_bytes_make_it_panic(chunks in proptest::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut framing = Framing::default();
            for chunk in chunks {
                if framing.read(&chunk, 1000).is_err() { break; }
            }
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes() {
        let mut framing = Framing::default();
        framing.read(&[0, 0, 0, 0], 10).unwrap();
        let problem = framing.read(&[11], 10).unwrap_err();
        assert_eq!(problem.kind, ProblemKind::Refusal(RefusalKind::TooLarge));
        assert!(Framing::default().read(&[0, 0, 0, 0, 10], 10).is_ok());
    }
}
