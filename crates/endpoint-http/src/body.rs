//! Reads a request's body: no more than is allowed, and not slower.

use axum::body::Body;
use http_body_util::BodyExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use w3bstream_limits::ByteBudget;
use w3bstream_types::RefusalKind;

use crate::HttpLimits;
use crate::coding::{Coding, Decoder, STEP_BYTES};
use crate::problem::{Problem, ProblemKind};

/// A body with its share of the budget, which goes back when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    pub(crate) share: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// More of the body, with its share of `budget`.
    fn add(&mut self, budget: &ByteBudget, bytes: &[u8]) -> Result<(), Problem> {
        let share = budget.take(bytes.len()).ok_or_else(|| {
            Problem::refusal(RefusalKind::Overloaded, "the node holds too many bytes of unanswered messages")
        })?;
        match &mut self.share {
            Some(all) => all.merge(share),
            none => *none = Some(share),
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The body that this one is the compressed form of. Its memory is asked for before it is used; the decoder works at
    /// one go, so that slow clients hold none.
    pub(crate) fn decoded(
        self,
        coding: Coding,
        limits: &HttpLimits,
        budget: &ByteBudget,
    ) -> Result<Self, Problem> {
        let mut decoder = Decoder::new(coding, limits)?;
        let mut all = Self::default();
        for piece in self.bytes.chunks(STEP_BYTES) {
            let mut made = Vec::new();
            let room = limits.max_body_bytes - all.bytes.len();
            decoder.feed(piece, &mut made, room)?;
            all.add(budget, &made)?;
        }
        decoder.finish()?;
        Ok(all)
    }
}

/// A body of this size or less gets its memory at once, whatever length the client announces.
const FIRST_RESERVE: usize = 16 * 1024;

/// Reads `body` to its end.
pub(crate) async fn read(mut body: Body, limits: &HttpLimits, budget: &ByteBudget) -> Result<Held, Problem> {
    let start = Instant::now();
    let total = start + limits.body_timeout;
    let mut span = Span { end: start + limits.body_progress_timeout, bytes: 0 };
    let mut held = Held::default();
    let announced = usize::try_from(hyper::body::Body::size_hint(&body).lower()).unwrap_or(usize::MAX);
    held.bytes.reserve(announced.min(FIRST_RESERVE));
    loop {
        let Ok(frame) = timeout_at(total.min(span.end), body.frame()).await else {
            if Instant::now() >= total {
                return Err(too_slow(format!(
                    "the body did not end within {} ms",
                    limits.body_timeout.as_millis()
                )));
            }
            span.next(limits)?;
            continue;
        };
        let Some(frame) = frame else { return Ok(held) };
        let frame = frame.map_err(|_| {
            Problem::refusal(RefusalKind::Malformed, "the body ended early or is badly framed")
        })?;
        let Ok(bytes) = frame.into_data() else { continue };
        if held.bytes.len() + bytes.len() > limits.max_body_bytes {
            return Err(too_large(limits));
        }
        held.add(budget, &bytes)?;
        span.bytes += bytes.len();
    }
}

/// A span of time in which some bytes must arrive.
struct Span {
    end: Instant,
    bytes: usize,
}

impl Span {
    fn next(&mut self, limits: &HttpLimits) -> Result<(), Problem> {
        if self.bytes < limits.body_progress_bytes {
            let (had, least) = (self.bytes, limits.body_progress_bytes);
            let span = limits.body_progress_timeout.as_millis();
            return Err(too_slow(format!("{had} bytes came within {span} ms, at least {least} must")));
        }
        *self = Self { end: self.end + limits.body_progress_timeout, bytes: 0 };
        Ok(())
    }
}

fn too_slow(detail: String) -> Problem {
    Problem::new(ProblemKind::RequestTimeout, detail)
}

pub(crate) fn too_large(limits: &HttpLimits) -> Problem {
    let most = limits.max_body_bytes;
    Problem::refusal(RefusalKind::TooLarge, format!("this node takes bodies of at most {most} bytes"))
}
