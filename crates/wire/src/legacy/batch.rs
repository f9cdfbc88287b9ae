//! Many events of many devices in one request, with an account's key.

use serde::{Deserialize, Serialize};
use w3bstream_types::Malformed;

use super::{Event, EventResult, Fill};

/// The most events of one batch: ten times what the original's clients sent.
pub const MAX_BATCH: usize = 1000;

/// One event of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchItem {
    /// The device, which is also the publisher's key and name; an unknown one is registered.
    pub device: String,
    /// The event.
    pub event: Event,
}

#[derive(Deserialize)]
struct Raw {
    device_id: String,
    #[serde(default)]
    event_type: String,
    #[serde(default)]
    payload: String,
    #[serde(default)]
    timestamp: Option<i64>,
}

/// What became of one event of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnswer {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// What each handler said.
    pub results: Vec<EventResult>,
    /// Why the event was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Reads a batch. One event that cannot be read is an error of the whole, as with the original.
///
/// # Errors
/// [`Malformed`] if it is no list of events, or longer than [`MAX_BATCH`].
pub fn read_batch(body: &[u8], fill: &Fill) -> Result<Vec<BatchItem>, Malformed> {
    let bad = |why: String| Malformed::new("batch", why);
    let raw: Vec<Raw> = serde_json::from_slice(body).map_err(|e| {
        bad(format!("must be a JSON list of {{device_id, event_type, payload, timestamp}}: {e}"))
    })?;
    if raw.is_empty() || raw.len() > MAX_BATCH {
        return Err(bad(format!("has {} events, it must have 1 to {MAX_BATCH}", raw.len())));
    }
    let item = |(index, raw): (usize, Raw)| {
        if raw.device_id.is_empty() {
            return Err(bad(format!("event {index} has an empty device_id")));
        }
        let event =
            Event::new((&raw.event_type, "", raw.timestamp), raw.payload.into_bytes(), (fill, index))?;
        Ok(BatchItem { device: raw.device_id, event })
    };
    raw.into_iter().enumerate().map(item).collect()
}

#[cfg(test)]
mod tests {
    use w3bstream_types::Timestamp;

    use super::*;

    const FILL: Fill = Fill { now: Timestamp(1_800_000_000_000), unique: [1; 16] };

    #[test]
    fn a_batch_has_devices_types_and_times_in_seconds() {
        let body = br#"[{"device_id":"d1","event_type":"T","payload":"{\"x\":1}","timestamp":1799999999},{"device_id":"d2","payload":"p"}]"#;
        let items = read_batch(body, &FILL).unwrap();
        assert_eq!((items[0].device.as_str(), items[0].event.event_type.as_str()), ("d1", "t"));
        assert_eq!(items[0].event.payload, br#"{"x":1}"#);
        assert_eq!(items[0].event.time, Timestamp(1_799_999_999_000));
        assert_eq!(items[1].event.event_type.as_str(), "default");
        assert_ne!(items[0].event.event_id, items[1].event.event_id);
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        for body in ["", "{}", "[]", "[1]", r#"[{"payload":"p"}]"#, r#"[{"device_id":""}]"#] {
            read_batch(body.as_bytes(), &FILL).unwrap_err();
        }
        let long = |n: usize| format!("[{}]", vec![r#"{"device_id":"d"}"#; n].join(","));
        assert_eq!(read_batch(long(MAX_BATCH).as_bytes(), &FILL).unwrap().len(), MAX_BATCH);
        read_batch(long(MAX_BATCH + 1).as_bytes(), &FILL).unwrap_err();
    }
}
