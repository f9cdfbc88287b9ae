//! The body of a batch, line by line, with no more in memory than one line and what was read with it.

use axum::body::Body;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};
use w3bstream_types::RefusalKind;

use crate::HttpLimits;
use crate::coding::{Coding, Decoder, STEP_BYTES};
use crate::ingest::malformed;
use crate::problem::{Problem, ProblemKind};

/// What comes next of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A line, without its end.
    Line(Vec<u8>),
    /// A line that is longer than allowed; its bytes are gone.
    TooLong,
    /// The batch has ended.
    End,
    /// Nothing more is read, and why.
    Stop(Problem),
}

/// Reads lines.
pub(crate) struct Lines {
    body: Body,
    decoder: Option<Decoder>,
    /// What came and is not decoded yet, from `raw_at` on.
    raw: Vec<u8>,
    raw_at: usize,
    /// What is decoded and is no line yet, from `at` on; no line end stands before `looked`.
    text: Vec<u8>,
    at: usize,
    looked: usize,
    /// The rest of a line that is too long is thrown away.
    skipping: bool,
    ended: bool,
    total: usize,
    span: Option<Span>,
    limits: HttpLimits,
}

/// A time in which some bytes must come.
#[derive(Clone, Copy)]
struct Span {
    end: Instant,
    bytes: usize,
}

impl Lines {
    pub(crate) fn new(body: Body, coding: Option<Coding>, limits: &HttpLimits) -> Result<Self, Problem> {
        Ok(Self {
            body,
            decoder: coding.map(|c| Decoder::new(c, limits)).transpose()?,
            raw: Vec::new(),
            raw_at: 0,
            text: Vec::new(),
            at: 0,
            looked: 0,
            skipping: false,
            ended: false,
            total: 0,
            span: None,
            limits: limits.clone(),
        })
    }

    /// Nobody has asked for a while: the client is not to blame for that time.
    pub(crate) fn rested(&mut self) {
        self.span = None;
    }

    /// Reads the first bytes, so that a request whose body never comes is answered with a status.
    pub(crate) async fn begin(&mut self) -> Result<(), Problem> {
        self.read().await
    }

    /// The next line.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Next {
        loop {
            if let Some(next) = self.cut() {
                return next;
            }
            if let Err(problem) = self.step().await {
                self.ended = true;
                (self.raw, self.text) = (Vec::new(), Vec::new());
                (self.raw_at, self.at, self.looked) = (0, 0, 0);
                return Next::Stop(problem);
            }
        }
    }

    /// A line of what is there.
    fn cut(&mut self) -> Option<Next> {
        let most = self.limits.batch_line_bytes;
        let fresh = self.text.get(self.looked..).unwrap_or_default();
        let Some(length) = fresh.iter().position(|b| *b == b'\n') else {
            self.looked = self.text.len();
            if self.skipping || self.text.len() - self.at > most {
                self.skipping = true;
                self.text.clear();
                (self.at, self.looked) = (0, 0);
            }
            return self.last();
        };
        let (from, end) = (self.at, self.looked + length);
        (self.at, self.looked) = (end + 1, end + 1);
        if std::mem::take(&mut self.skipping) || end - from > most {
            return Some(Next::TooLong);
        }
        Some(Next::Line(self.text.get(from..end).unwrap_or_default().to_vec()))
    }

    /// What stands behind the last line end, once there is nothing more.
    fn last(&mut self) -> Option<Next> {
        if !self.ended || self.raw_at < self.raw.len() {
            return None;
        }
        if std::mem::take(&mut self.skipping) {
            return Some(Next::TooLong);
        }
        let rest = self.text.split_off(self.at);
        self.text = Vec::new();
        (self.at, self.looked) = (0, 0);
        Some(if rest.is_empty() { Next::End } else { Next::Line(rest) })
    }

    /// Decodes some of what came, or reads more.
    async fn step(&mut self) -> Result<(), Problem> {
        self.text.drain(..self.at);
        self.looked -= self.at;
        self.at = 0;
        if self.raw_at >= self.raw.len() {
            self.read().await?;
        }
        let rest = self.raw.get(self.raw_at..).unwrap_or_default();
        let before = self.text.len();
        let room = self.limits.batch_bytes.saturating_sub(self.total);
        let too_large = || {
            let detail =
                format!("a batch has at most {} bytes; the next one may follow", self.limits.batch_bytes);
            Problem::refusal(RefusalKind::TooLarge, detail)
        };
        match &mut self.decoder {
            None => {
                if rest.len() > room {
                    return Err(too_large());
                }
                self.text.extend_from_slice(rest);
                self.raw_at = self.raw.len();
            }
            Some(decoder) => {
                let piece = rest.get(..STEP_BYTES.min(rest.len())).unwrap_or_default();
                decoder.feed(piece, &mut self.text, room)?;
                self.raw_at += piece.len();
                if self.ended && self.raw_at >= self.raw.len() {
                    decoder.finish()?;
                }
            }
        }
        self.total += self.text.len() - before;
        Ok(())
    }

    /// Reads the next piece of the body into `raw`, which is used up.
    async fn read(&mut self) -> Result<(), Problem> {
        if self.ended || self.raw_at < self.raw.len() {
            return Ok(());
        }
        loop {
            let fresh = Span { end: Instant::now() + self.limits.body_progress_timeout, bytes: 0 };
            let span = *self.span.get_or_insert(fresh);
            let Ok(frame) = timeout_at(span.end, self.body.frame()).await else {
                if span.bytes < self.limits.body_progress_bytes {
                    let (had, least) = (span.bytes, self.limits.body_progress_bytes);
                    let within = self.limits.body_progress_timeout.as_millis();
                    let detail = format!("{had} bytes came within {within} ms, at least {least} must");
                    return Err(Problem::new(ProblemKind::RequestTimeout, detail));
                }
                self.span = None;
                continue;
            };
            let Some(frame) = frame else {
                self.ended = true;
                return Ok(());
            };
            let frame = frame.map_err(|_| malformed("the body ended early or is badly framed"))?;
            let Ok(bytes) = frame.into_data() else { continue };
            if bytes.is_empty() {
                continue;
            }
            if let Some(span) = &mut self.span {
                span.bytes += bytes.len();
                if span.bytes >= self.limits.body_progress_bytes {
                    self.span = None;
                }
            }
            (self.raw, self.raw_at) = (bytes.into(), 0);
            return Ok(());
        }
    }

    /// All of them, with what ends them.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) async fn all(mut self) -> Vec<Next> {
        let mut all = Vec::new();
        loop {
            let next = self.next().await;
            let last = matches!(next, Next::End | Next::Stop(_));
            all.push(next);
            if last {
                return all;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    async fn all(body: &[u8], coding: Option<Coding>, limits: &HttpLimits) -> Vec<Next> {
        Lines::new(Body::from(body.to_vec()), coding, limits).unwrap().all().await
    }

    fn line(text: &str) -> Next {
        Next::Line(text.into())
    }

    #[tokio::test]
    async fn lines_come_as_they_were_sent() {
        let limits = HttpLimits { batch_line_bytes: 4, ..HttpLimits::default() };
        for (body, wanted) in [
            ("", vec![Next::End]),
            ("a", vec![line("a"), Next::End]),
            ("a\n", vec![line("a"), Next::End]),
            ("\n\nab\r\ncd", vec![line(""), line(""), line("ab\r"), line("cd"), Next::End]),
            ("1234\n12345\n1\n", vec![line("1234"), Next::TooLong, line("1"), Next::End]),
            ("12345", vec![Next::TooLong, Next::End]),
        ] {
            assert_eq!(all(body.as_bytes(), None, &limits).await, wanted, "{body:?}");
            let packed = zstd::bulk::compress(body.as_bytes(), 1).unwrap();
            assert_eq!(all(&packed, Some(Coding::Zstd), &limits).await, wanted, "{body:?}, compressed");
        }
    }

    #[tokio::test]
    async fn a_line_without_end_takes_no_memory() {
        let limits = HttpLimits { batch_line_bytes: 1000, ..HttpLimits::default() };
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        gzip.write_all(&vec![b'x'; 10_000_000]).unwrap();
        gzip.write_all(b"\nok\n").unwrap();
        let packed = gzip.finish().unwrap();
        let mut lines = Lines::new(Body::from(packed), Some(Coding::Gzip), &limits).unwrap();
        assert_eq!(lines.next().await, Next::TooLong);
        assert!(lines.text.capacity() < 100_000, "{}", lines.text.capacity());
        assert_eq!(lines.next().await, line("ok"));
        assert_eq!(lines.next().await, Next::End);
    }

    #[tokio::test]
    async fn the_whole_is_bounded_and_a_bomb_or_a_cut_off_body_stops() {
        let limits = HttpLimits { batch_bytes: 10, ..HttpLimits::default() };
        let got = all(b"12345\n678901\n", None, &limits).await;
        assert!(matches!(&got[..], [Next::Stop(p)] if p.kind.code() == "too-large"), "{got:?}");
        let bomb = zstd::bulk::compress(&vec![b'\n'; 50_000_000], 3).unwrap();
        let got = all(&bomb, Some(Coding::Zstd), &HttpLimits::default()).await;
        assert!(matches!(got.last(), Some(Next::Stop(p)) if p.kind.code() == "too-large"));
        let good = zstd::bulk::compress(b"a\nb\n", 3).unwrap();
        let got = all(&good[..good.len() - 1], Some(Coding::Zstd), &HttpLimits::default()).await;
        assert!(matches!(got.last(), Some(Next::Stop(p)) if p.kind.code() == "malformed"), "{got:?}");
    }
}
