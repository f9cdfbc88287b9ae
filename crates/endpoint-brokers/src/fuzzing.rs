//! For `w3bstream-fuzzing` alone: packets of a broker from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

use bytes::BytesMut;

use crate::config::MqttVersion;
use crate::packet::{Code, Codec, Due, Incoming, Told, frame, head};

/// Packets one behind the other, in the version that the first byte says.
pub fn packets(bytes: &[u8]) {
    let Some((first, mut rest)) = bytes.split_first() else { return };
    let version = if first & 1 == 0 { MqttVersion::V4 } else { MqttVersion::V5 };
    let codec = Codec::new(version, 4096);
    loop {
        let Ok(Some(at)) = frame(rest) else { return };
        assert!(at.header >= 2 && at.header <= 5 && at.total >= at.header);
        if let Ok(Some((end, due))) = head(rest, at) {
            assert!(end <= rest.len() || due == Due::Nothing, "a packet id from nowhere");
        }
        let Some((packet, behind)) = rest.split_at_checked(at.total) else { return };
        if let Ok(incoming) = codec.decode(packet) {
            answered(&codec, packet, incoming);
        }
        rest = behind;
    }
}

fn answered(codec: &Codec, packet: &[u8], incoming: Incoming) {
    let Incoming::Publish(publish) = incoming else { return };
    assert!(publish.topic.len() + publish.payload.len() <= packet.len(), "more comes out than went in");
    // A message that is too large is answered by its head alone, which must name the same packet.
    let at = frame(packet).expect("it was framed").expect("and whole");
    let (_, due) = head(packet, at).expect("it is a message").expect("and whole");
    assert_eq!(due, publish.due, "its head and itself ask for different answers");
    for told in [Told::Accepted, Told::Refused(Code::Malformed, "\u{7}no".repeat(200))] {
        let mut out = BytesMut::new();
        codec.acknowledge(&mut out, due, &told);
        let whole = frame(&out).expect("our packets are well-formed");
        assert_eq!(whole.map_or(0, |at| at.total), out.len());
    }
}
