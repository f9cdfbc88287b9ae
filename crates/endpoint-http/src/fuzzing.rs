//! For `w3bstream-fuzzing` alone: bodies, their codings and heads from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

use self::pieces::one_by_one;
use axum::body::Body;
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use w3bstream_limits::ByteBudget;
use w3bstream_types::{RefusalKind, Submission, check_event_id};

use crate::body::Held;
use crate::coding::{Coding, Decoder, STEP_BYTES};
use crate::ingest::read_any_head;
use crate::lines::{Lines, Next};
use crate::problem::ProblemKind;
use crate::{HttpLimits, Origin};

mod pieces {
    //! A body that comes in pieces.
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::body::Body;
    use bytes::Bytes;
    use hyper::body::Frame;

    struct Pieces(Vec<Bytes>);

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop().map(|piece| Ok(Frame::data(piece))))
        }
    }

    /// Pieces of so many bytes.
    pub(super) fn one_by_one(bytes: &Bytes, step: usize) -> Body {
        let pieces = bytes.chunks(step).map(|piece| bytes.slice_ref(piece)).rev();
        Body::new(Pieces(pieces.collect()))
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime can be made");
}

fn limits() -> HttpLimits {
    HttpLimits {
        batch_line_bytes: 512,
        batch_bytes: 16 << 10,
        max_body_bytes: 16 << 10,
        max_compression_ratio: 20,
        ..HttpLimits::default()
    }
}

/// One line of a batch.
pub fn line(bytes: &[u8]) {
    let with = crate::item::parse(bytes, Some("secret-token"));
    let without = crate::item::parse(bytes, None);
    match &with {
        Ok(Submission::Signed(_)) => assert_eq!(format!("{with:?}"), format!("{without:?}")),
        Ok(Submission::Token { event_id, payload, .. } | Submission::Session { event_id, payload, .. }) => {
            assert!(check_event_id(event_id).is_ok() && payload.len() <= bytes.len());
            let refused = without.expect_err("an event without a token is nobody's");
            assert_eq!(refused.kind, ProblemKind::Refusal(RefusalKind::BadToken));
        }
        Err(_) => assert!(without.is_err()),
    }
    let shown =
        crate::item::result(1, &Err(with.err().unwrap_or_else(|| crate::ingest::malformed("x"))), false);
    assert_eq!(shown.iter().filter(|b| **b == b'\n').count(), 1, "a result is more than one line");
    assert!(serde_json::from_slice::<serde_json::Value>(&shown).is_ok());
}

/// A batch, which may come in any pieces. The first byte says how it is packed and cut.
pub fn batch(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    let coding = [None, Some(Coding::Gzip), Some(Coding::Zstd)][usize::from(how % 3)];
    let rest = Bytes::copy_from_slice(rest);
    let whole = lines(Body::from(rest.clone()), coding);
    let plain: usize =
        whole.iter().map(|next| if let Next::Line(line) = next { line.len() + 1 } else { 0 }).sum();
    assert!(plain <= limits().batch_bytes + 1);
    assert!(
        whole
            .iter()
            .all(|next| !matches!(next, Next::Line(line) if line.len() > 512 || line.contains(&b'\n')))
    );
    if coding.is_none() && rest.len() <= limits().batch_bytes {
        let (short, long): (Vec<&[u8]>, Vec<_>) =
            rest.split(|b| *b == b'\n').partition(|line| line.len() <= 512);
        let read: Vec<&[u8]> = whole
            .iter()
            .filter_map(|next| if let Next::Line(line) = next { Some(&**line) } else { None })
            .collect();
        let trailing = usize::from(rest.is_empty() || rest.ends_with(b"\n"));
        assert_eq!(read, short[..short.len() - trailing], "other lines than those of the body");
        assert_eq!(whole.iter().filter(|next| **next == Next::TooLong).count(), long.len());
    }
    let pieces = lines(one_by_one(&rest, usize::from(how / 3) + 1), coding);
    if coding.is_none() && !matches!(whole.last(), Some(Next::Stop(_))) {
        assert_eq!(pieces, whole, "it depends on the pieces in which the body comes");
    }
}

fn lines(body: Body, coding: Option<Coding>) -> Vec<Next> {
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let mut lines = Lines::new(body, coding, &limits()).expect("there is memory");
            let mut all = Vec::new();
            loop {
                let next = lines.next().await;
                let last = matches!(next, Next::End | Next::Stop(_));
                all.push(next);
                if last {
                    return all;
                }
            }
        })
    })
}

/// Compressed bodies: no more comes out than is allowed, and the same in pieces of any size.
pub fn coding(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    let coding = if how % 2 == 0 { Coding::Gzip } else { Coding::Zstd };
    let limits = limits();
    let budget = ByteBudget::new(64 << 10);
    let held = Held { bytes: rest.to_vec(), share: None };
    let whole = held.decoded(coding, &limits, &budget).map(|held| held.bytes).ok();
    if let Some(whole) = &whole {
        assert!(whole.len() <= limits.max_body_bytes, "a body is larger than it may be");
        assert!(whole.len() <= rest.len() * limits.max_compression_ratio + (64 << 10), "a bomb went off");
    }
    assert_eq!(budget.free(), 64 << 10, "memory is not given back");
    let step = usize::from(how / 2) % STEP_BYTES + 1;
    let mut out = Vec::new();
    let Ok(mut decoder) = Decoder::new(coding, &limits) else { return };
    let fed = rest.chunks(step).all(|piece| {
        let room = limits.max_body_bytes - out.len();
        decoder.feed(piece, &mut out, room).is_ok()
    });
    if fed && decoder.finish().is_ok() {
        assert_eq!(Some(out), whole, "it depends on the pieces in which the body comes");
    }
}

/// Lines of a head: the query, then headers.
pub fn head(bytes: &[u8]) {
    let mut lines = bytes.split(|b| *b == b'\n');
    let query = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut headers = HeaderMap::new();
    for line in lines.take(20) {
        let (name, value) = line.split_at(line.iter().position(|b| *b == b':').unwrap_or(line.len()));
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else {
            continue;
        };
        if let Some(coding) = value.to_str().ok().and_then(|text| Coding::of(Some(text)).ok()) {
            assert!(coding.is_none_or(|c| matches!(c, Coding::Gzip | Coding::Zstd)));
        }
        headers.append(name, value);
    }
    let trace = crate::trace::Tracer::default().enter(&headers);
    assert!(trace.trace_id != 0 && trace.header().is_some());
    read_any_head(&headers);
    if let Ok(uri) = Uri::builder().path_and_query(format!("/e?{query}")).build() {
        let _ = Query::<crate::ingest::EventQuery>::try_from_uri(&uri);
    }
    if let Ok(origin) = query.parse::<Origin>() {
        assert_eq!(origin.as_str(), query);
        assert!(HeaderValue::from_str(origin.as_str()).is_ok());
    }
}
