//! The two forms over MQTT, and where answers go.

use prost::Message as _;
use w3bstream_types::Malformed;

use super::{Channel, Event, Fill};

/// An event that came over MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttEvent {
    /// The channel.
    pub channel: Channel,
    /// The publisher's token, a secret.
    pub token: String,
    /// The event.
    pub event: Event,
}

/// `eventpb.Event`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ProtoEvent {
    #[prost(message, optional, tag = "1")]
    header: Option<ProtoHeader>,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

/// `eventpb.Header`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ProtoHeader {
    #[prost(string, tag = "1")]
    event_type: String,
    #[prost(string, tag = "2")]
    pub_id: String,
    #[prost(string, tag = "3")]
    token: String,
    #[prost(int64, tag = "4")]
    pub_time: i64,
    #[prost(string, tag = "5")]
    event_id: String,
}

/// Whether a topic may be one of the original's: those of a node begin with `w3b/`, the broker's own with `$`, and a node
/// answers on `ack/…`.
#[must_use]
pub fn is_legacy_topic(topic: &str) -> bool {
    !topic.starts_with("w3b/") && !topic.starts_with('$') && !topic.starts_with("ack/")
}

/// Reads a publication: to `{channel}` a protobuf event, to `{channel}/push/{token}/{type}` raw bytes, there optionally with a
/// fifth level `ts={n}&id={id}`.
///
/// # Errors
/// [`Malformed`] if the topic has any other number of levels, or the bytes are no event. The token is not repeated.
pub fn read_mqtt(topic: &str, payload: &[u8], fill: &Fill) -> Result<MqttEvent, Malformed> {
    let levels: Vec<&str> = topic.split('/').collect();
    match levels.as_slice() {
        [channel] => read_protobuf(channel, payload, fill),
        [channel, "push", token, event_type] => read_push((channel, token, event_type, ""), payload, fill),
        [channel, "push", token, event_type, rest] => {
            read_push((channel, token, event_type, rest), payload, fill)
        }
        _ => Err(Malformed::new(
            "topic",
            "must be {channel}, {channel}/push/{token}/{type}, or the latter with /ts={time}&id={id}",
        )),
    }
}

fn read_protobuf(channel: &str, payload: &[u8], fill: &Fill) -> Result<MqttEvent, Malformed> {
    let channel = Channel::parse(channel)?;
    let bad = |why: String| Malformed::new("eventpb.Event", why);
    let event = ProtoEvent::decode(payload).map_err(|e| bad(format!("is no protobuf message: {e}")))?;
    let header = event.header.ok_or_else(|| bad("has no header".into()))?;
    let token = token_of(&header.token)?;
    let parts = (header.event_type.as_str(), header.event_id.as_str(), Some(header.pub_time));
    Ok(MqttEvent { channel, token, event: Event::new(parts, event.payload, (fill, 0))? })
}

fn read_push(
    (channel, token, event_type, rest): (&str, &str, &str, &str),
    payload: &[u8],
    fill: &Fill,
) -> Result<MqttEvent, Malformed> {
    let (channel, token) = (Channel::parse(channel)?, token_of(token)?);
    let (mut time, mut id) = (None, "");
    for pair in rest.split('&').filter(|p| !p.is_empty()) {
        match pair.split_once('=') {
            Some(("ts", value)) => time = value.parse().ok(),
            Some(("id", value)) => id = value,
            _ => return Err(Malformed::new("topic", "the fifth level must be ts={time}&id={id}")),
        }
    }
    Ok(MqttEvent { channel, token, event: Event::new((event_type, id, time), payload.to_vec(), (fill, 0))? })
}

fn token_of(token: &str) -> Result<String, Malformed> {
    let token = token.trim();
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    if token.is_empty() || token.len() > 4096 || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Malformed::new("token", "must be 1 to 4096 printable ASCII characters"));
    }
    Ok(token.to_owned())
}

/// Where the answer to a publisher's events goes, at QoS 1.
#[must_use]
pub fn ack_topic(publisher_key: &str) -> String {
    format!("ack/{publisher_key}")
}

/// An `eventpb.Event`, as clients make it: for tests and tools.
#[must_use]
pub fn encode_event(
    (event_type, pub_id, token): (&str, &str, &str),
    (pub_time, event_id): (i64, &str),
    payload: &[u8],
) -> Vec<u8> {
    let header = ProtoHeader {
        event_type: event_type.to_owned(),
        pub_id: pub_id.to_owned(),
        token: token.to_owned(),
        pub_time,
        event_id: event_id.to_owned(),
    };
    ProtoEvent { header: Some(header), payload: payload.to_vec() }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use w3bstream_types::Timestamp;

    use super::*;

    const FILL: Fill = Fill { now: Timestamp(1_800_000_000_000), unique: [1; 16] };

    #[test]
    fn a_protobuf_event_has_the_published_field_numbers() {
        // header{event_type "T" (1), pub_id "k" (2), token "tok" (3), pub_time 1799999999 (4), event_id "ID" (5)}, payload "hi"
        let bytes = hex::decode("0a150a015412016b1a03746f6b20ffa3a7da062a02494412026869").unwrap();
        assert_eq!(encode_event(("T", "k", "tok"), (1_799_999_999, "ID"), b"hi"), bytes);
        let read = read_mqtt("aid_3_p", &bytes, &FILL).unwrap();
        assert_eq!((read.channel.project.as_str(), read.token.as_str()), ("p", "tok"));
        assert_eq!((read.event.event_type.as_str(), read.event.event_id.as_str()), ("t", "id"));
        assert_eq!(
            (read.event.time, read.event.payload.as_slice()),
            (Timestamp(1_799_999_999_000), &b"hi"[..])
        );
    }

    #[test]
    fn a_protobuf_event_without_header_or_token_is_refused() {
        for bytes in [&b""[..], &b"\xff\xff"[..], &encode_event(("T", "k", ""), (0, ""), b"")[..]] {
            read_mqtt("p", bytes, &FILL).unwrap_err();
        }
    }

    #[test]
    fn raw_bytes_have_everything_in_the_topic() {
        let short = read_mqtt("p/push/tok/ANY", b"x", &FILL).unwrap();
        assert_eq!((short.token.as_str(), short.event.event_type.as_str()), ("tok", "any"));
        assert_eq!((short.event.time, short.event.payload.as_slice()), (FILL.now, &b"x"[..]));
        assert!(short.event.event_id.ends_with("_w3b"));
        for fifth in ["ts=1799999999&id=A-1", "id=A-1&ts=1799999999000"] {
            let long = read_mqtt(&format!("p/push/tok/ANY/{fifth}"), b"x", &FILL).unwrap();
            assert_eq!(
                (long.event.time, long.event.event_id.as_str()),
                (Timestamp(1_799_999_999_000), "a-1")
            );
        }
    }

    #[test]
    fn other_numbers_of_levels_are_refused() {
        for topic in [
            "",
            "p/push",
            "p/push/t",
            "p/pull/t/e",
            "p/push/t/e/ts=1/x",
            "p/push/t/e/nonsense",
            "/push/t/e",
            "p/push//e",
        ] {
            let error = read_mqtt(topic, b"", &FILL).unwrap_err();
            assert!(!error.to_string().contains("/t/"), "a token is never repeated: {error}");
        }
    }

    #[test]
    fn topics_of_the_node_are_not_the_originals() {
        for (topic, legacy) in [
            ("w3b/p/t", false),
            ("$SYS/x", false),
            ("ack/dev", false),
            ("p", true),
            ("aid_1_p/push/t/e", true),
        ] {
            assert_eq!(is_legacy_topic(topic), legacy, "{topic}");
        }
        assert_eq!(ack_topic("dev"), "ack/dev");
    }
}
