//! W3C Trace Context, level 2: which trace a request belongs to.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The name that the answer's side of the standard gives it.
pub(crate) const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// A request's place in a trace. Shown as `traceresponse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) trace_id: u128,
    /// The id of our own part.
    pub(crate) span_id: u64,
    flags: u8,
}

/// `sampled` and `random-trace-id`: the flags that level 2 knows.
const KNOWN_FLAGS: u8 = 0b11;
const RANDOM: u8 = 0b10;

/// Makes ids, without a source of random numbers of its own: the keys of the hasher are random in each process.
#[derive(Debug, Default)]
pub(crate) struct Tracer {
    keys: [RandomState; 3],
    count: AtomicU64,
}

impl Tracer {
    /// The trace that the headers name, or a new one. A header that is not exactly one good value counts for nothing.
    pub(crate) fn enter(&self, headers: &HeaderMap) -> Trace {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let span_id = self.number(2, count).max(1);
        let mut values = headers.get_all(TRACEPARENT).iter();
        let parent = match (values.next(), values.next()) {
            (Some(one), None) => parse(one.as_bytes()),
            _ => None,
        };
        let (trace_id, flags) = parent.unwrap_or_else(|| {
            let id = (u128::from(self.number(0, count)) << 64) | u128::from(self.number(1, count));
            (id.max(1), RANDOM)
        });
        Trace { trace_id, span_id, flags }
    }

    fn number(&self, key: usize, count: u64) -> u64 {
        self.keys.get(key).map_or(0, |keys| {
            let mut hasher = keys.build_hasher();
            hasher.write_u64(count);
            hasher.finish()
        })
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl Trace {
    pub(crate) fn header(self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.to_string()).ok()
    }
}

/// The trace id and the flags of a `traceparent` (§3.2.2): `version-traceid-parentid-flags`, of which later versions may
/// have more behind a further dash.
fn parse(value: &[u8]) -> Option<(u128, u8)> {
    let known = value.get(..55)?;
    let dashes = [2, 35, 52];
    let shaped = known.iter().enumerate().all(|(at, b)| match *b {
        b'-' => dashes.contains(&at),
        b => !dashes.contains(&at) && matches!(b, b'0'..=b'9' | b'a'..=b'f'),
    });
    let text = std::str::from_utf8(known).ok().filter(|_| shaped)?;
    let mut parts = text.split('-');
    let version = u8::from_str_radix(parts.next()?, 16).ok()?;
    let trace_id = u128::from_str_radix(parts.next()?, 16).ok()?;
    let parent_id = u64::from_str_radix(parts.next()?, 16).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    let ends = match version {
        0 => value.len() == 55,
        0xff => false,
        _ => value.get(55).is_none_or(|b| *b == b'-'),
    };
    (ends && trace_id != 0 && parent_id != 0).then_some((trace_id, flags & KNOWN_FLAGS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_good_parent_is_followed() {
        let id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        assert_eq!(parse(GOOD.as_bytes()), Some((id, 1)));
        assert_eq!(parse(GOOD.replace("-01", "-ff").as_bytes()), Some((id, 3)));
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(parse(later.as_bytes()), Some((id, 1)));
        assert_eq!(parse(format!("{later}-what-comes").as_bytes()), Some((id, 1)));
    }

    #[test]
    fn anything_else_begins_a_trace_of_its_own() {
        let zeros = GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let parentless = GOOD.replace("00f067aa0ba902b7", &"0".repeat(16));
        let long = format!("{GOOD}{}", "a".repeat(60_000));
        let (later, newest) = (GOOD.replacen("00", "cc", 1), GOOD.replacen("00", "ff", 1));
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}-x"),
            &GOOD.to_uppercase(),
            &zeros,
            &parentless,
            &long,
            &newest,
            &format!("{later}x"),
            &GOOD.replace('-', "_"),
            &GOOD.replacen("4b", "+b", 1),
            &GOOD.replacen("4b", "é", 1),
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn made_ids_differ_and_two_parents_are_none() {
        let tracer = Tracer::default();
        let (a, b) = (tracer.enter(&HeaderMap::new()), tracer.enter(&HeaderMap::new()));
        assert_ne!(a.trace_id, b.trace_id);
        assert_ne!(a.span_id, b.span_id);
        assert!(parse(a.to_string().as_bytes()).is_some_and(|p| p == (a.trace_id, RANDOM)));
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(Some(tracer.enter(&headers).trace_id), parse(GOOD.as_bytes()).map(|p| p.0));
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_ne!(Some(tracer.enter(&headers).trace_id), parse(GOOD.as_bytes()).map(|p| p.0));
    }
}
