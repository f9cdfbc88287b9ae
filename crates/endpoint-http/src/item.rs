//! One line of a batch: the message in it, and its result.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use w3bstream_types::{Accepted, EventType, RefusalKind, Submission, Timestamp, check_event_id};
use w3bstream_wire::{AckBody, CONTENT_TYPE_ENVELOPE, CONTENT_TYPE_JOSE, decode_message};

use crate::ingest::{default_type, malformed};
use crate::problem::Problem;

/// Standard base64 (RFC 4648 §4); padding may be left away.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A line that is an object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Object<'l> {
    #[serde(borrow)]
    envelope: Option<Cow<'l, str>>,
    event_id: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<EventType>,
    time: Option<Time>,
    #[serde(borrow)]
    payload: Option<&'l RawValue>,
    #[serde(borrow)]
    payload_base64: Option<Cow<'l, str>>,
}

/// Milliseconds, as a number or as decimal digits.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Time {
    Number(u64),
    Digits(String),
}

/// The message of a line; `token` is what the batch's head had.
pub(crate) fn parse(line: &[u8], token: Option<&str>) -> Result<Submission, Problem> {
    let line = line.trim_ascii();
    match line.first() {
        Some(b'{') => object(line, token),
        Some(b'"') => {
            let text: Cow<'_, str> = serde_json::from_slice(line).map_err(unreadable)?;
            jws(text.as_bytes())
        }
        _ if line.starts_with(b"eyJ") => jws(line),
        _ => Err(malformed("a line is a compact JWS or a JSON object")),
    }
}

fn unreadable(error: impl ToString) -> Problem {
    malformed(format!("the line is no message: {}", error.to_string()))
}

fn jws(text: &[u8]) -> Result<Submission, Problem> {
    decode_message(Some(CONTENT_TYPE_JOSE), text).map(Submission::Signed).map_err(unreadable)
}

fn object(line: &[u8], token: Option<&str>) -> Result<Submission, Problem> {
    let object: Object<'_> = serde_json::from_slice(line).map_err(unreadable)?;
    if let Some(text) = &object.envelope {
        let parts = [object.event_id.is_some(), object.event_type.is_some(), object.time.is_some()];
        if parts.contains(&true) || object.payload.is_some() || object.payload_base64.is_some() {
            return Err(malformed("an envelope carries everything inside; leave the other members away"));
        }
        let bytes = BASE64.decode(text.as_bytes()).map_err(|e| malformed(format!("envelope: {e}")))?;
        let record = decode_message(Some(CONTENT_TYPE_ENVELOPE), &bytes).map_err(unreadable)?;
        return Ok(Submission::Signed(record));
    }
    let event_id = object.event_id.ok_or_else(|| {
        malformed(
            "the object needs an envelope in base64, or with a token an event_id: your own id of the event",
        )
    })?;
    check_event_id(&event_id).map_err(|e| malformed(format!("event_id: {}", e.why)))?;
    let token = token.ok_or_else(|| {
        let detail =
            "an event without a signature needs a publisher's token or a session's JWT: send it as Authorization: Bearer";
        Problem::refusal(RefusalKind::BadToken, detail)
    })?;
    let payload = match (object.payload, &object.payload_base64) {
        (Some(raw), None) => payload(raw)?,
        (None, Some(text)) => {
            BASE64.decode(text.as_bytes()).map_err(|e| malformed(format!("payload_base64: {e}")))?
        }
        _ => return Err(malformed("an event has a payload or a payload_base64, one of them")),
    };
    let time = match object.time {
        None => 0,
        Some(Time::Number(time)) => time,
        Some(Time::Digits(digits)) => digits.parse().map_err(|_| malformed("time: is no 64-bit number"))?,
    };
    let event_type = object.event_type.map_or_else(default_type, Ok)?;
    Ok(Submission::of_bearer(token.to_owned(), event_id, event_type, (Timestamp(time), payload)))
}

/// A string's payload is its text; of any other value it is the JSON as it stands in the line, byte for byte.
fn payload(raw: &RawValue) -> Result<Vec<u8>, Problem> {
    if raw.get().starts_with('"') {
        let text: String = serde_json::from_str(raw.get()).map_err(unreadable)?;
        return Ok(text.into_bytes());
    }
    Ok(raw.get().as_bytes().to_vec())
}

/// The result of line `number`, as a line. `stopped`: from this line on nothing was read.
pub(crate) fn result(number: usize, result: &Result<Accepted, Problem>, stopped: bool) -> Vec<u8> {
    let mut value = match result {
        Ok(accepted) => {
            let body = serde_json::to_value(AckBody::from(accepted)).unwrap_or_default();
            with(body, "status", json!(if accepted.duplicate { 200 } else { 201 }))
        }
        Err(problem) => match problem.kind.retry_after() {
            Some(seconds) => with(problem.to_value(), "retry_after", json!(seconds)),
            None => problem.to_value(),
        },
    };
    value = with(value, "line", json!(number));
    if stopped {
        value = with(value, "stopped", json!(true));
    }
    let mut text = value.to_string().into_bytes();
    text.push(b'\n');
    text
}

fn with(mut value: Value, name: &str, member: Value) -> Value {
    if let Value::Object(object) = &mut value {
        object.insert(name.to_owned(), member);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(line: &str) -> (String, String, u64, Vec<u8>) {
        match parse(line.as_bytes(), Some("t")).unwrap() {
            Submission::Token { event_id, event_type, time, payload, .. } => {
                (event_id, event_type.to_string(), time.0, payload)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn payloads_are_exact() {
        for (payload, bytes) in [
            (r#""a\u00e9\n""#, "aé\n"),
            (r#"{"b": 1,  "a":1.0}"#, r#"{"b": 1,  "a":1.0}"#),
            ("12345678901234567890123", "12345678901234567890123"),
            ("[1, 2]", "[1, 2]"),
            ("\"\"", ""),
        ] {
            let line = format!("{{\"event_id\":\"1\",\"payload\":{payload}}}");
            assert_eq!(event(&line), ("1".into(), "default".into(), 0, bytes.into()), "{payload}");
        }
        let (_, _, _, binary) = event(r#"{"event_id":"1","payload_base64":"AP8"}"#);
        assert_eq!(binary, [0, 255]);
        let full = event(
            "{\"event_id\":\"1\",\"type\":\"door-open\",\"time\":\"18446744073709551615\",\"payload\":0}\r",
        );
        assert_eq!(full, ("1".into(), "door-open".into(), u64::MAX, b"0".to_vec()));
        assert_eq!(event(r#"{"event_id":"1","time":5,"payload":0}"#).2, 5);
    }

    #[test]
    fn lines_that_are_no_message() {
        for line in [
            "x",
            "{",
            "{}",
            "[]",
            "null",
            "eyJ",
            "\"eyJ\"",
            "\"",
            "{\"envelope\":\"!\"}",
            "{\"envelope\":\"CAc=\"}",
            "{\"envelope\":\"\",\"time\":1}",
            "{\"event_id\":\"1\"}",
            "{\"event_id\":\"a b\",\"payload\":0}",
            "{\"event_id\":\"1\",\"payload\":0,\"payload_base64\":\"\"}",
            "{\"event_id\":\"1\",\"payload\":null}",
            "{\"event_id\":\"1\",\"payload\":0,\"time\":-1}",
            "{\"event_id\":\"1\",\"payload\":0,\"time\":\"x\"}",
            "{\"event_id\":\"1\",\"payload\":0,\"type\":\"A\"}",
            "{\"event_id\":\"1\",\"payload\":0,\"more\":1}",
            "{\"event_id\":\"1\",\"event_id\":\"2\",\"payload\":0}",
            "\u{feff}{}",
        ] {
            let problem = parse(line.as_bytes(), Some("t")).expect_err(line);
            assert_eq!(problem.kind.code(), "malformed", "{line}: {}", problem.detail);
        }
        let deep = format!("{{\"event_id\":\"1\",\"payload\":{}", "[".repeat(100_000));
        assert!(parse(deep.as_bytes(), Some("t")).is_err());
        let unsigned = parse(br#"{"event_id":"1","payload":0}"#, None).unwrap_err();
        assert_eq!(unsigned.kind.code(), "bad-token");
    }
}
