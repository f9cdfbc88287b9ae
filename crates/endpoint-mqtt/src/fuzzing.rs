//! For `w3bstream-fuzzing` alone: topics, packets, connections and WebSockets from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

mod connection;
mod frames;

use bytes::{Buf as _, BytesMut};
use w3bstream_endpoint::covers;

pub use connection::{connect, connection};
pub use frames::websocket;

use crate::incoming::{Incoming, Publish};
use crate::message::{Delivery, Message, Options, Qos};
use crate::packet::{Codec, Version, frame_len};
use crate::router::Router;
use crate::topic::{Ingress, is_filter, is_topic, shared};

/// Largest packet of the listeners that are fuzzed.
pub(super) const MAX_PACKET: usize = 4096;

fn plain(qos: Qos) -> Options {
    Options { qos, no_local: false, retain_as_published: false, retain_handling: 0, id: None }
}

/// Whether a filter wants a topic, by the words of the standard (MQTT 5, section 4.7).
fn wants(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (filter, topic): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
    let matching = filter.iter().zip(&topic).take_while(|(f, t)| **f == "+" || f == t).count();
    match filter.get(matching) {
        Some(&"#") => true,
        None => matching == topic.len(),
        Some(_) => false,
    }
}

/// Lines: filters, and topics that they match or do not. The tree, the rules and the gate must agree.
pub fn topics(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split('\n').take(12).collect();
    let filters: Vec<&str> = lines.iter().copied().filter(|f| is_filter(f)).collect();
    let mut router = Router::default();
    for filter in &filters {
        router.subscribe(filter, *filter, plain(Qos::AtMostOnce));
    }
    for topic in lines.iter().filter(|t| is_topic(t)) {
        assert!(is_filter(topic), "a topic can be subscribed to");
        let mut told: Vec<&str> = router.matches(topic).into_iter().map(|(key, _)| key).collect();
        let mut wanted: Vec<&str> = filters.iter().copied().filter(|f| wants(f, topic)).collect();
        told.sort_unstable();
        told.dedup();
        wanted.sort_unstable();
        wanted.dedup();
        assert_eq!(told, wanted, "{topic:?}");
        if let Ok(ingress) = Ingress::parse(topic) {
            assert_eq!(format!("w3b/{}/{}", ingress.project, ingress.event_type), **topic);
        }
        for outer in &filters {
            for inner in filters.iter().filter(|inner| covers(outer, inner) && wants(inner, topic)) {
                assert!(
                    wants(outer, topic),
                    "{outer:?} is said to cover {inner:?}, and does not at {topic:?}"
                );
            }
        }
    }
    for line in &lines {
        if let Some((group, filter)) = shared(line).filter(|(_, filter)| !filter.is_empty()) {
            assert_eq!(format!("$share/{group}/{filter}"), *line);
            assert!(is_filter(filter) && !group.contains(['/', '+', '#']));
        }
    }
    for filter in &filters {
        router.unsubscribe(filter, filter);
    }
    assert_eq!(router.len(), 0, "a subscription stays for ever");
}

/// Packets of a client one behind the other, in the version that the first byte says.
pub fn packets(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let version = if first & 1 == 0 { Version::V4 } else { Version::V5 };
    let mut codec = Codec::new(version, MAX_PACKET);
    let mut buf = BytesMut::from(rest);
    loop {
        // What is complete does not depend on what follows.
        let Ok(Some((len, kind))) = codec.peek(&buf) else { return };
        assert!((2..=MAX_PACKET).contains(&len) && len <= buf.len());
        assert_eq!(codec.peek(&buf[..len]).ok(), Some(Some((len, kind))));
        assert_eq!(codec.peek(&buf[..len - 1]).ok(), Some(None), "a packet without its end is complete");
        let mut alone = BytesMut::from(&buf[..len]);
        let once = Codec::new(version, MAX_PACKET).decode(&mut alone);
        let before = buf.len();
        let packet = codec.decode(&mut buf);
        assert_eq!(once.is_ok(), packet.is_ok(), "what follows changes a packet");
        let Ok(packet) = packet else { return };
        assert_eq!(before - buf.len(), len, "the codec takes something else than the packet");
        if let Incoming::Publish(publish) = packet {
            published(&mut codec, publish);
        }
    }
}

/// A message is sent on and kept as it came.
fn published(codec: &mut Codec, publish: Publish) {
    if publish.topic.is_empty() {
        return;
    }
    let Publish { qos, packet_id, retain, topic, properties, payload, .. } = publish;
    assert_eq!(packet_id.is_some(), qos != Qos::AtMostOnce);
    let message = Message { topic, payload, properties, expires_at: None, qos, retain, from: None };
    keep(&message);
    let delivery = Delivery { message: message.clone().into(), qos, retain, ids: Vec::new(), stored: None };
    let mut out = BytesMut::new();
    assert!(
        codec.publish(&mut out, &delivery, packet_id.map(|id| (id, false)), (0, None)),
        "it cannot be sent on"
    );
    assert_eq!(frame_len(&out, usize::MAX).unwrap(), Some(out.len()));
    let Ok(Incoming::Publish(again)) = codec.decode(&mut out) else {
        panic!("what was sent on is no message")
    };
    assert_eq!((&again.topic, &again.payload, again.qos), (&message.topic, &message.payload, qos));
    if codec.version() == Version::V5 {
        assert_eq!(again.properties, message.properties);
    }
}

fn keep(message: &Message) {
    let kept = crate::log::encode(message);
    let again = crate::log::decode(&kept, None).expect("what was kept can be read");
    assert_eq!(&again, message, "what was kept is another message");
}

/// A message as it was kept in the sessions' file.
pub fn kept(bytes: &[u8]) {
    if let Some(message) = crate::log::decode(bytes, Some(7)) {
        let again = crate::log::decode(&crate::log::encode(&message), Some(7));
        assert_eq!(again.as_ref(), Some(&message), "what is kept changes");
    }
}

/// Goes over what was written to a client: whole packets, none larger than it takes.
pub(super) fn whole_packets(out: &mut BytesMut) {
    while !out.is_empty() {
        let len =
            frame_len(out, MAX_PACKET).expect("our packets are well-formed").expect("and have their header");
        assert!(len <= out.len(), "a packet was written in part");
        out.advance(len);
    }
}
