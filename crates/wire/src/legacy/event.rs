//! One event: what a request's query says of it, and how it is answered.

use serde::{Deserialize, Serialize};
use w3bstream_types::{Digest, EventType, Malformed, Submission, Timestamp, check_event_id};

use super::{BATCH_EVENT_TYPE, event_type_of};

/// How far a sender's clock may be away, in milliseconds, before the time of arrival counts instead.
pub const TIME_TOLERANCE_MS: u64 = 1_000_000;

/// What is put in where a sender says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// The time of arrival.
    pub now: Timestamp,
    /// Random bytes, new for each request.
    pub unique: [u8; 16],
}

impl Fill {
    /// The event id `<uuid>_w3b` of the request's `index`th event.
    #[must_use]
    pub fn event_id(&self, index: usize) -> String {
        let index = (index as u64).to_be_bytes();
        let digest = Digest::tagged("w3b/legacy-event-id/1", &[&self.unique, &index]).to_string();
        let part = |from: usize, to: usize| digest.get(from..to).unwrap_or_default();
        // Version 8 of RFC 9562: a digest's digits.
        format!("{}-{}-8{}-a{}-{}_w3b", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
    }
}

/// The query of an event request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct EventQuery {
    /// The event type; `DEFAULT` if not given.
    #[serde(default, rename = "eventType")]
    pub event_type: String,
    /// The sender's id of the event.
    #[serde(default, rename = "eventID")]
    pub event_id: String,
    /// The sender's time; text, so that an empty or odd one is no reason to refuse an event.
    #[serde(default)]
    pub timestamp: String,
    /// The token, if it is not in the header.
    #[serde(default)]
    pub authorization: String,
    /// With an account's key instead of a publisher's token: which device it is (the Python client).
    #[serde(default)]
    pub device_id: String,
}

impl EventQuery {
    /// Whether the body is a batch.
    #[must_use]
    pub fn is_batch(&self) -> bool {
        self.event_type == BATCH_EVENT_TYPE
    }
}

/// An event as it is handed to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event type.
    pub event_type: EventType,
    /// Lower-cased; made if the sender gave none.
    pub event_id: String,
    /// Its time as it is answered: the sender's, repaired, or that of arrival.
    pub time: Timestamp,
    /// Its time as it is recorded: none if the sender gave none of use, so that the same event sent again is the same record.
    pub sent: Timestamp,
    /// The bytes that an applet gets.
    pub payload: Vec<u8>,
}

impl Event {
    /// An event from what a sender says of it; `index` counts the events of one request.
    ///
    /// # Errors
    /// [`Malformed`] if the event id has blanks, control characters or characters beyond ASCII, or is longer than 128.
    pub fn new(
        (event_type, event_id, time): (&str, &str, Option<i64>),
        payload: Vec<u8>,
        (fill, index): (&Fill, usize),
    ) -> Result<Self, Malformed> {
        let event_id = if event_id.is_empty() { fill.event_id(index) } else { event_id.to_ascii_lowercase() };
        check_event_id(&event_id)?;
        let sent = sent_time(time, fill.now);
        let event_type = event_type_of(event_type)?;
        let time = sent.unwrap_or(fill.now);
        Ok(Self { event_type, event_id, time, sent: sent.unwrap_or(Timestamp::NONE), payload })
    }

    /// An event from a request's query and body.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_query(query: &EventQuery, body: Vec<u8>, fill: &Fill) -> Result<Self, Malformed> {
        let parts = (query.event_type.as_str(), query.event_id.as_str(), query.timestamp.parse().ok());
        Self::new(parts, body, (fill, 0))
    }

    /// What is handed to the node for a sender that holds `token`.
    #[must_use]
    pub fn submission(self, token: String) -> Submission {
        let Self { event_type, event_id, sent, payload, .. } = self;
        Submission::Token { token, event_id, event_type, time: sent, payload }
    }
}

/// A sender's time; that of arrival if it gave none of use. Some clients send seconds where milliseconds are meant; and a time
/// that is far from now, read in either way, is no time at all.
#[must_use]
pub fn repair_time(given: Option<i64>, now: Timestamp) -> Timestamp {
    sent_time(given, now).unwrap_or(now)
}

fn sent_time(given: Option<i64>, now: Timestamp) -> Option<Timestamp> {
    let near = |ms: &u64| ms.abs_diff(now.millis()) <= TIME_TOLERANCE_MS;
    let given = given.and_then(|t| u64::try_from(t).ok()).filter(|t| *t > 0);
    let in_seconds = given.and_then(|t| t.checked_mul(1000));
    given.filter(near).or(in_seconds.filter(near)).map(Timestamp)
}

/// The answer to an event: the body over HTTP, and what is published to [`ack_topic`](super::ack_topic).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventAnswer {
    /// The channel as it was addressed.
    pub channel: String,
    /// The publisher's number, as text.
    #[serde(rename = "publisherID")]
    pub publisher_id: String,
    /// The publisher's key.
    #[serde(rename = "publisherKey")]
    pub publisher_key: String,
    /// The event's id, as it is kept.
    #[serde(rename = "eventID")]
    pub event_id: String,
    /// The event's time in milliseconds.
    pub timestamp: u64,
    /// What each handler said; empty if none was called.
    pub results: Vec<EventResult>,
    /// Why the event was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What one handler said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventResult {
    /// The applet.
    #[serde(rename = "appletName")]
    pub applet: String,
    /// The number of its instance, as text.
    #[serde(rename = "instanceID")]
    pub instance: String,
    /// The exported function.
    pub handler: String,
    /// Always null: no handler ever returned bytes.
    #[serde(rename = "returnValue")]
    pub return_value: Option<String>,
    /// What it returned; −1 if it failed.
    pub code: i32,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const FILL: Fill = Fill { now: NOW, unique: [7; 16] };

    /// The third trap: a time in seconds is repaired.
    #[test]
    fn trap_03_seconds_become_milliseconds_and_far_times_become_now() {
        let edge = i64::try_from(NOW.0 - TIME_TOLERANCE_MS).unwrap();
        for (given, expected) in [
            (None, NOW.0),
            (Some(0), NOW.0),
            (Some(-5), NOW.0),
            (Some(i64::MAX), NOW.0),
            (Some(1_800_000_000), NOW.0),
            (Some(1_799_999_700), NOW.0 - 300_000),
            (Some(1_799_000_000), NOW.0),
            (Some(1_799_999_999_123), NOW.0 - 877),
            (Some(edge), NOW.0 - TIME_TOLERANCE_MS),
            (Some(edge - 1), NOW.0),
        ] {
            assert_eq!(repair_time(given, NOW), Timestamp(expected), "{given:?}");
        }
    }

    #[test]
    fn an_event_without_an_id_gets_one_and_every_id_is_small() {
        let made = Event::from_query(&EventQuery::default(), vec![], &FILL).unwrap();
        assert!(made.event_id.ends_with("_w3b") && made.event_id.len() == 40, "{}", made.event_id);
        assert_eq!(made.event_type.as_str(), "default");
        assert_ne!(FILL.event_id(0), FILL.event_id(1));
        assert_ne!(FILL.event_id(0), Fill { unique: [8; 16], ..FILL }.event_id(0));
        let query = EventQuery { event_id: "ABC-Def".into(), ..EventQuery::default() };
        assert_eq!(Event::from_query(&query, vec![1], &FILL).unwrap().event_id, "abc-def");
        for bad in ["a b", "é", &"x".repeat(129)] {
            let query = EventQuery { event_id: bad.into(), ..EventQuery::default() };
            Event::from_query(&query, vec![], &FILL).unwrap_err();
        }
    }

    #[test]
    fn a_time_that_is_no_number_is_no_reason_to_refuse() {
        let query = EventQuery { timestamp: "soon".into(), ..EventQuery::default() };
        let event = Event::from_query(&query, vec![], &FILL).unwrap();
        assert_eq!((event.time, event.sent), (NOW, Timestamp::NONE));
    }

    #[test]
    fn the_answer_has_the_names_of_the_original() {
        let result = EventResult {
            applet: "log".into(),
            instance: "9".into(),
            handler: "start".into(),
            ..EventResult::default()
        };
        let failed = EventResult { code: -1, error: Some("trap".into()), ..result.clone() };
        let answer = EventAnswer {
            channel: "aid_1_p".into(),
            publisher_id: "7".into(),
            publisher_key: "dev".into(),
            event_id: "x".into(),
            timestamp: 5,
            results: vec![result, failed],
            error: None,
        };
        let text = serde_json::to_string(&answer).unwrap();
        let expected = r#"{"channel":"aid_1_p","publisherID":"7","publisherKey":"dev","eventID":"x","timestamp":5,"results":[{"appletName":"log","instanceID":"9","handler":"start","returnValue":null,"code":0},{"appletName":"log","instanceID":"9","handler":"start","returnValue":null,"code":-1,"error":"trap"}]}"#;
        assert_eq!(text, expected);
    }
}
