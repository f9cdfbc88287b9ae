//! Packets: framing with a bound, and one shape for both versions, over the packets of rumqttc.

use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{QoS, v4};
use rumqttc::v5::mqttbytes::{QoS as Qos5, v5};
use w3bstream_types::RefusalKind;

use crate::config::{BrokerConfig, MqttVersion};
use crate::incoming::{from_v4, from_v5};

/// Why a connection cannot go on, in words.
pub(crate) type Fault = String;

/// A message from the broker.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) due: Due,
    pub(crate) repeated: bool,
    pub(crate) topic: String,
    pub(crate) content_type: Option<String>,
    pub(crate) payload: Bytes,
}

/// What the broker waits for, with the message's packet id: nothing at QoS 0, PUBACK at 1, PUBREC at 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    PubAck(NonZeroU16),
    PubRec(NonZeroU16),
}

/// What a CONNACK grants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) session_present: bool,
    pub(crate) receive_max: Option<u16>,
    pub(crate) max_packet_bytes: Option<u32>,
    pub(crate) keep_alive_secs: Option<u16>,
}

/// A packet from the broker.
#[derive(Debug)]
pub(crate) enum Incoming {
    ConnAck(Result<Granted, Fault>),
    /// For each filter the quality that was granted, or why none was.
    SubAck(Vec<Result<u8, String>>),
    Publish(Publish),
    /// PUBREL.
    Released(u16),
    /// PUBACK, with the reason if the broker did not take the message.
    Acked(u16, Option<String>),
    Pong,
    Disconnect(Fault),
}

/// A message to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) key: Option<String>,
}

/// What the broker is told of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Accepted,
    /// Refused for ever: the broker may forget it all the same.
    Refused(Code, String),
}

/// The code of a permanent refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Identity,
    Malformed,
    Topic,
    Other,
}

impl Code {
    pub(crate) const fn of(kind: RefusalKind) -> Self {
        match kind {
            RefusalKind::Malformed => Self::Malformed,
            RefusalKind::Conflict | RefusalKind::TooOld | RefusalKind::TooLarge => Self::Other,
            _ => Self::Identity,
        }
    }
}

/// Bytes of a reason string at most.
const MAX_REASON: usize = 256;

/// Where a packet ends, and where its header does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) total: usize,
    pub(crate) header: usize,
    pub(crate) first: u8,
}

/// Reads the fixed header at the front of `buf`, once it is there.
///
/// # Errors
/// A [`Fault`] if the length is written wrongly.
pub(crate) fn frame(buf: &[u8]) -> Result<Option<Frame>, Fault> {
    let Some(first) = buf.first() else { return Ok(None) };
    let mut len = 0_usize;
    for (place, byte) in buf.iter().skip(1).take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some(Frame { total: 2 + place + len, header: 2 + place, first: *first }));
        }
    }
    match buf.len() {
        0..=4 => Ok(None),
        _ => Err("the broker sent a packet whose length has more than four bytes".to_owned()),
    }
}

/// The packet id of a PUBLISH that is too large to be read, from what there is of it; `None` if more is needed.
///
/// # Errors
/// A [`Fault`] if the packet cannot be a PUBLISH.
pub(crate) fn head(buf: &[u8], frame: Frame) -> Result<Option<(usize, Due)>, Fault> {
    let word = |at: usize| Some(u16::from_be_bytes([*buf.get(at)?, *buf.get(at + 1)?]));
    let Some(topic) = word(frame.header) else { return Ok(None) };
    let at = frame.header + 2 + usize::from(topic);
    let (quality, end) = match frame.first & 0b0110 {
        0 => return Ok(Some((at, Due::Nothing))),
        0b0010 => (Due::PubAck as fn(NonZeroU16) -> Due, at + 2),
        0b0100 => (Due::PubRec as fn(NonZeroU16) -> Due, at + 2),
        _ => return Err("the broker sent a message of QoS 3".to_owned()),
    };
    if end > frame.total {
        return Err("the broker sent a message that ends in its topic".to_owned());
    }
    match word(at).map(NonZeroU16::new) {
        None => Ok(None),
        Some(None) => Err("the broker sent a message with the packet id 0".to_owned()),
        Some(Some(id)) => Ok(Some((end, quality(id)))),
    }
}

/// Encodes and decodes for one connection.
#[derive(Debug)]
pub(crate) struct Codec {
    version: MqttVersion,
    /// The largest packet that the broker takes.
    pub(crate) max_out: u32,
}

impl Codec {
    pub(crate) fn new(version: MqttVersion, max_out: usize) -> Self {
        Self { version, max_out: u32::try_from(max_out).unwrap_or(u32::MAX) }
    }

    /// Reads one whole packet.
    ///
    /// # Errors
    /// A [`Fault`] if it is malformed, or none that a broker sends.
    pub(crate) fn decode(&self, packet: &[u8]) -> Result<Incoming, Fault> {
        // DISCONNECT may leave away its code and its properties, and the decoder does not know it.
        let mut bytes = match (self.version, packet) {
            (MqttVersion::V5, [0xe0, 0]) => BytesMut::from(&[0xe0, 2, 0, 0][..]),
            (MqttVersion::V5, [0xe0, 1, code]) => BytesMut::from(&[0xe0, 2, *code, 0][..]),
            _ => BytesMut::from(packet),
        };
        // The decoder is not ours. If it cannot cope with what a broker sends, the connection ends and not the node.
        let read = catch_unwind(AssertUnwindSafe(|| match self.version {
            MqttVersion::V4 => {
                v4::Packet::read(&mut bytes, usize::MAX).map_err(|e| e.to_string()).and_then(from_v4)
            }
            MqttVersion::V5 => {
                v5::Packet::read(&mut bytes, None).map_err(|e| e.to_string()).and_then(from_v5)
            }
        }));
        let read = read.unwrap_or_else(|_| Err("it cannot be decoded".to_owned()));
        read.map_err(|why| format!("the broker sent a malformed packet: {why}"))
    }

    /// Writes a packet; false if the broker does not take one so large, and then nothing was written.
    fn put(
        &self,
        out: &mut BytesMut,
        v4: impl FnOnce() -> v4::Packet,
        v5: impl FnOnce() -> v5::Packet,
    ) -> bool {
        let before = out.len();
        let written = match self.version {
            MqttVersion::V4 => v4().write(out, self.max_out as usize).is_ok(),
            MqttVersion::V5 => v5().write(out, Some(self.max_out)).is_ok(),
        };
        if !written {
            out.truncate(before);
        }
        written
    }

    /// CONNECT to a session that is kept.
    pub(crate) fn connect(&self, out: &mut BytesMut, broker: &BrokerConfig, max_in: usize) -> bool {
        let keep_alive = u16::try_from(broker.keep_alive.as_secs()).unwrap_or(u16::MAX);
        let login = broker.credentials.as_ref();
        let v4 = || {
            v4::Packet::Connect(v4::Connect {
                protocol: rumqttc::mqttbytes::Protocol::V4,
                keep_alive,
                client_id: broker.client_id.clone(),
                clean_session: false,
                last_will: None,
                login: login.map(|l| v4::Login::new(l.user.as_str(), l.password.as_str())),
            })
        };
        let v5 = || {
            let properties = v5::ConnectProperties {
                session_expiry_interval: Some(
                    u32::try_from(broker.session_expiry.as_secs()).unwrap_or(u32::MAX),
                ),
                receive_maximum: Some(broker.max_in_flight),
                max_packet_size: Some(u32::try_from(max_in).unwrap_or(u32::MAX)),
                ..v5::ConnectProperties::new()
            };
            let connect = v5::Connect {
                keep_alive,
                client_id: broker.client_id.clone(),
                clean_start: false,
                properties: Some(properties),
            };
            let login = login.map(|l| v5::Login::new(l.user.as_str(), l.password.as_str()));
            v5::Packet::Connect(connect, None, login)
        };
        self.put(out, v4, v5)
    }

    /// SUBSCRIBE to all filters of the broker's settings.
    pub(crate) fn subscribe(&self, out: &mut BytesMut, id: NonZeroU16, broker: &BrokerConfig) -> bool {
        let qos = match broker.qos.level() {
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let v4 = || {
            let filters = broker.filters().map(|path| v4::SubscribeFilter::new(path, qos));
            v4::Packet::Subscribe(v4::Subscribe { pkid: id.get(), filters: filters.collect() })
        };
        let v5 = || {
            let filter = |path| {
                let mut filter = v5::Filter::new(path, v5_qos(qos));
                // With each connection the same subscription; its retained messages are not news each time.
                filter.retain_forward_rule = v5::RetainForwardRule::OnNewSubscribe;
                filter
            };
            let filters = broker.filters().map(filter).collect();
            v5::Packet::Subscribe(v5::Subscribe { pkid: id.get(), filters, properties: None })
        };
        self.put(out, v4, v5)
    }

    /// PUBLISH at QoS 1.
    pub(crate) fn publish(&self, out: &mut BytesMut, id: NonZeroU16, message: &Message) -> bool {
        let v4 = || {
            let mut publish =
                v4::Publish::new(message.topic.as_str(), QoS::AtLeastOnce, message.payload.as_ref());
            publish.pkid = id.get();
            v4::Packet::Publish(publish)
        };
        let v5 = || {
            let key = message.key.as_ref().map(|key| v5::PublishProperties {
                user_properties: vec![("w3b-id".to_owned(), key.clone())],
                ..v5::PublishProperties::default()
            });
            v5::Packet::Publish(v5::Publish {
                dup: false,
                qos: Qos5::AtLeastOnce,
                retain: false,
                topic: message.topic.clone().into(),
                pkid: id.get(),
                payload: message.payload.clone(),
                properties: key,
            })
        };
        self.put(out, v4, v5)
    }

    /// PUBACK or PUBREC, whichever the message asks for.
    pub(crate) fn acknowledge(&self, out: &mut BytesMut, of: Due, told: &Told) {
        let (first, id) = match of {
            Due::Nothing => return,
            Due::PubAck(id) => (0x40, id),
            Due::PubRec(id) => (0x50, id),
        };
        let short = |out: &mut BytesMut| {
            let [high, low] = id.get().to_be_bytes();
            out.extend_from_slice(&[first, 2, high, low]);
        };
        let Told::Refused(code, why) = told else { return short(out) };
        if self.version == MqttVersion::V4 {
            return short(out);
        }
        let packet = |why: Option<String>| match of {
            Due::PubRec(_) => v5::Packet::PubRec(v5::PubRec {
                pkid: id.get(),
                reason: pubrec_code(*code),
                properties: why.map(|why| v5::PubRecProperties {
                    reason_string: Some(why),
                    user_properties: Vec::new(),
                }),
            }),
            _ => v5::Packet::PubAck(v5::PubAck {
                pkid: id.get(),
                reason: puback_code(*code),
                properties: why.map(|why| v5::PubAckProperties {
                    reason_string: Some(why),
                    user_properties: Vec::new(),
                }),
            }),
        };
        let before = out.len();
        if packet(Some(reason_string(why))).write(out, Some(self.max_out)).is_err() {
            out.truncate(before);
            if packet(None).write(out, None).is_err() {
                out.truncate(before);
            }
        }
    }

    /// PUBCOMP. Also for a message that this connection has not seen: the one before may have.
    pub(crate) fn complete(out: &mut BytesMut, id: u16) {
        let [high, low] = id.to_be_bytes();
        out.extend_from_slice(&[0x70, 2, high, low]);
    }

    /// PINGREQ.
    pub(crate) fn ping(out: &mut BytesMut) {
        out.extend_from_slice(&[0xc0, 0]);
    }

    /// DISCONNECT. The session stays.
    pub(crate) fn disconnect(out: &mut BytesMut) {
        out.extend_from_slice(&[0xe0, 0]);
    }
}

fn v5_qos(qos: QoS) -> Qos5 {
    match qos {
        QoS::AtMostOnce => Qos5::AtMostOnce,
        QoS::AtLeastOnce => Qos5::AtLeastOnce,
        QoS::ExactlyOnce => Qos5::ExactlyOnce,
    }
}

const fn puback_code(code: Code) -> v5::PubAckReason {
    match code {
        Code::Identity => v5::PubAckReason::NotAuthorized,
        Code::Malformed => v5::PubAckReason::PayloadFormatInvalid,
        Code::Topic => v5::PubAckReason::TopicNameInvalid,
        Code::Other => v5::PubAckReason::ImplementationSpecificError,
    }
}

const fn pubrec_code(code: Code) -> v5::PubRecReason {
    match code {
        Code::Identity => v5::PubRecReason::NotAuthorized,
        Code::Malformed => v5::PubRecReason::PayloadFormatInvalid,
        Code::Topic => v5::PubRecReason::TopicNameInvalid,
        Code::Other => v5::PubRecReason::ImplementationSpecificError,
    }
}

/// Texts of MQTT have no control characters, and this one need not be long.
pub(crate) fn reason_string(why: &str) -> String {
    let mut text = String::new();
    for c in why.chars().filter(|c| !c.is_control()) {
        if text.len() + c.len_utf8() > MAX_REASON {
            break;
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codec(version: MqttVersion) -> Codec {
        Codec::new(version, 1 << 20)
    }

    #[test]
    fn frames_are_read_byte_by_byte() {
        let packet = [0x32, 0x80, 0x01, 7, 7];
        assert_eq!((frame(&[]), frame(&packet[..1]), frame(&packet[..2])), (Ok(None), Ok(None), Ok(None)));
        assert_eq!(frame(&packet[..3]), Ok(Some(Frame { total: 131, header: 3, first: 0x32 })));
        assert_eq!(frame(&[0x30, 0xff, 0xff, 0xff]), Ok(None));
        assert!(frame(&[0x30, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn the_head_of_a_large_message_has_its_packet_id() {
        let packet = [0x34, 0x80, 0x01, 0, 3, b'a', b'/', b'b', 1, 2];
        let at = frame(&packet).unwrap().unwrap();
        assert_eq!(head(&packet[..9], at), Ok(None));
        let id = NonZeroU16::new(258).unwrap();
        assert_eq!(head(&packet, at), Ok(Some((10, Due::PubRec(id)))));
        assert_eq!(head(&packet, Frame { first: 0x30, ..at }), Ok(Some((8, Due::Nothing))));
        assert!(head(&packet, Frame { first: 0x36, ..at }).is_err());
        assert!(head(&packet, Frame { total: 8, ..at }).is_err());
    }

    #[test]
    fn a_refusal_is_told_with_its_code_in_version_5_only() {
        let id = NonZeroU16::new(5).unwrap();
        let told = Told::Refused(Code::Identity, "unknown-device: \u{7}who".to_owned());
        let mut out = BytesMut::new();
        codec(MqttVersion::V5).acknowledge(&mut out, Due::PubRec(id), &told);
        assert_eq!(&out[..5], &[0x50, 26, 0, 5, 0x87]);
        assert!(out.ends_with(b"unknown-device: who"), "{out:?}");
        out.clear();
        codec(MqttVersion::V4).acknowledge(&mut out, Due::PubAck(id), &told);
        assert_eq!(&out[..], &[0x40, 2, 0, 5]);
        out.clear();
        Codec::new(MqttVersion::V5, 16).acknowledge(&mut out, Due::PubAck(id), &told);
        assert_eq!(out[4], 0x87, "without the reason, where the broker takes small packets only: {out:?}");
        assert!(out.len() < 10);
    }

    #[test]
    fn a_short_disconnect_is_one() {
        let why = |packet: &[u8]| match codec(MqttVersion::V5).decode(packet) {
            Ok(Incoming::Disconnect(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(&[0xe0, 0]), "NormalDisconnection");
        assert_eq!(why(&[0xe0, 1, 0x8e]), "SessionTakenOver");
        assert_eq!(why(&[0xe0, 7, 0x8b, 5, 0x1f, 0, 2, b'o', b'k']), "ServerShuttingDown, ok");
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(first in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut packet = vec![first, u8::try_from(body.len()).unwrap()];
            packet.extend(&body);
            let at = frame(&packet).unwrap().unwrap();
            let _ = head(&packet, at);
            for version in [MqttVersion::V4, MqttVersion::V5] {
                let _ = codec(version).decode(&packet);
            }
        }
    }
}
