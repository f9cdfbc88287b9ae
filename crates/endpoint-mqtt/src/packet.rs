//! Packets: framing and the checks that the codec leaves to its user, and one shape for both versions.
//!
//! The codec (rmqtt-codec) decodes fields. What it lets through is stopped here: packets that only a server
//! sends, lengths that are not in shortest form, U+0000 in texts, wildcards where a topic must be, reserved
//! flags, and packets larger than the limit, which are refused when their header has come.

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use rmqtt_codec::types::{Publish as Raw, QoS};
use rmqtt_codec::v5::{DisconnectReasonCode, PublishAckReason, SubscribeAckReason, UnsubscribeAckReason};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::{Decoder as _, Encoder as _};

use crate::router::Qos;
use crate::topic;

/// The protocol version of a connection. MQTT 3.1 is not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

/// What is wrong with a packet, with what MQTT 5 calls it. Always ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: DisconnectReasonCode,
    pub(crate) why: &'static str,
}

impl Fault {
    pub(crate) const fn malformed(why: &'static str) -> Self {
        Self { code: DisconnectReasonCode::MalformedPacket, why }
    }

    pub(crate) const fn protocol(why: &'static str) -> Self {
        Self { code: DisconnectReasonCode::ProtocolError, why }
    }

    pub(crate) const fn new(code: DisconnectReasonCode, why: &'static str) -> Self {
        Self { code, why }
    }
}

/// A PUBLISH of QoS 0 or 1.
#[derive(Debug)]
pub(crate) struct Publish {
    /// Present at QoS 1.
    pub(crate) packet_id: Option<NonZeroU16>,
    /// Empty if an alias stands for it.
    pub(crate) topic: String,
    pub(crate) alias: Option<NonZeroU16>,
    pub(crate) content_type: Option<String>,
    pub(crate) payload: Bytes,
}

/// A packet from a device that has connected.
#[derive(Debug)]
pub(crate) enum Incoming {
    Publish(Publish),
    PubAck(NonZeroU16),
    Subscribe { packet_id: NonZeroU16, filters: Vec<(String, Qos)> },
    Unsubscribe { packet_id: NonZeroU16, filters: Vec<String> },
    Ping,
    Disconnect { with_will: bool, expiry_secs: Option<u32> },
}

/// Encodes and decodes for one connection.
#[derive(Debug)]
pub(crate) struct Codec {
    inner: Inner,
    max_in: usize,
    /// The largest packet that the peer takes.
    pub(crate) max_out: usize,
}

#[derive(Debug)]
enum Inner {
    V4(v3::Codec),
    V5(v5::Codec),
}

/// The whole length of the packet at the front of `buf`, once its header is there.
///
/// # Errors
/// A [`Fault`] if the length is written wrongly or is over `max`.
pub(crate) fn frame_len(buf: &[u8], max: usize) -> Result<Option<usize>, Fault> {
    let mut len = 0_usize;
    for (place, byte) in buf.iter().skip(1).take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 != 0 {
            continue;
        }
        if place > 0 && *byte == 0 {
            return Err(Fault::malformed("the remaining length is not in its shortest form"));
        }
        let total = 2 + place + len;
        if total > max {
            return Err(Fault::new(DisconnectReasonCode::PacketTooLarge, "the packet is over the limit"));
        }
        return Ok(Some(total));
    }
    if buf.len() > 4 {
        return Err(Fault::malformed("the remaining length has more than four bytes"));
    }
    Ok(None)
}

/// Checks the first byte of a packet after CONNECT.
fn check_first_byte(first: u8, len: usize) -> Result<(), Fault> {
    match (first >> 4, first & 0x0f) {
        (3, flags) => match (flags & 0b0110, flags & 0b1000) {
            (0b0110, _) => Err(Fault::malformed("there is no QoS 3")),
            (0b0100, _) => Err(Fault::new(DisconnectReasonCode::QosNotSupported, "QoS 2 is not spoken here")),
            (0, 0b1000) => Err(Fault::malformed("a QoS 0 message cannot be a repetition")),
            _ => Ok(()),
        },
        (4, 0) | (8 | 10, 2) | (14, 0) => Ok(()),
        (12, 0) if len == 2 => Ok(()),
        (12, 0) => Err(Fault::malformed("PINGREQ has no body")),
        (1, 0) => Err(Fault::protocol("CONNECT comes once")),
        (5..=7, _) => Err(Fault::protocol("there are no QoS 2 messages here")),
        (15, 0) => Err(Fault::protocol("no authentication exchange was begun")),
        (2 | 9 | 11 | 13, 0) => Err(Fault::protocol("only a server sends this packet")),
        _ => Err(Fault::malformed("the packet type or its flags do not exist")),
    }
}

impl Codec {
    pub(crate) fn new(version: Version, max_in: usize) -> Self {
        let inner = match version {
            Version::V4 => Inner::V4(v3::Codec::new(0)),
            Version::V5 => Inner::V5(v5::Codec::new(0, 0)),
        };
        Self { inner, max_in, max_out: usize::MAX }
    }

    pub(crate) const fn version(&self) -> Version {
        match self.inner {
            Inner::V4(_) => Version::V4,
            Inner::V5(_) => Version::V5,
        }
    }

    /// The length and first byte of the packet at the front, if all of it is there.
    pub(crate) fn peek(&self, buf: &[u8]) -> Result<Option<(usize, u8)>, Fault> {
        let Some(first) = buf.first() else { return Ok(None) };
        let Some(len) = frame_len(buf, self.max_in)? else { return Ok(None) };
        check_first_byte(*first, len)?;
        Ok((buf.len() >= len).then_some((len, *first)))
    }

    /// Takes the packet at the front, of which [`Self::peek`] has said that it is complete.
    pub(crate) fn decode(&mut self, buf: &mut BytesMut) -> Result<Incoming, Fault> {
        let packet = match &mut self.inner {
            Inner::V4(codec) => match codec.decode(buf).map_err(|_| malformed())? {
                Some((packet, _)) => from_v4(packet)?,
                None => return Err(malformed()),
            },
            Inner::V5(codec) => match codec.decode(buf).map_err(|_| malformed())? {
                Some((packet, _)) => from_v5(packet)?,
                None => return Err(malformed()),
            },
        };
        if let Incoming::Publish(publish) = &packet
            && !(topic::is_topic(&publish.topic) || (publish.topic.is_empty() && publish.alias.is_some()))
        {
            return Err(Fault::new(
                DisconnectReasonCode::TopicNameInvalid,
                "this cannot be the name of a topic",
            ));
        }
        Ok(packet)
    }

    /// Writes a v4 packet or a v5 packet, whichever is spoken. False if the peer does not take one so large;
    /// then nothing was written.
    fn put(
        &mut self,
        out: &mut BytesMut,
        v4: impl FnOnce() -> Option<v3::Packet>,
        v5: impl FnOnce() -> v5::Packet,
    ) -> bool {
        let before = out.len();
        let written = match &mut self.inner {
            Inner::V4(codec) => v4().is_none_or(|p| codec.encode(p, out).is_ok()),
            Inner::V5(codec) => codec.encode(v5(), out).is_ok(),
        };
        let fits = written && out.len() - before <= self.max_out;
        if !fits {
            out.truncate(before);
        }
        fits
    }

    /// PUBACK of an accepted message: the same four bytes in both versions.
    pub(crate) fn puback(out: &mut BytesMut, packet_id: NonZeroU16) {
        let [high, low] = packet_id.get().to_be_bytes();
        out.extend_from_slice(&[0x40, 2, high, low]);
    }

    /// PUBACK of a message that is refused for ever; in 3.1.1 the same as of an accepted one.
    pub(crate) fn puback_refused(
        &mut self,
        out: &mut BytesMut,
        packet_id: NonZeroU16,
        (reason_code, why): (PublishAckReason, &str),
    ) {
        let packet = |reason| {
            v5::Packet::PublishAck(v5::PublishAck {
                packet_id,
                reason_code,
                properties: Vec::new(),
                reason_string: reason,
            })
        };
        let short = || Some(v3::Packet::PublishAck { packet_id });
        let reason = Some(reason_string(why).into());
        if !self.put(out, short, || packet(reason)) {
            self.put(out, short, || packet(None));
        }
    }

    /// PUBLISH to the peer. False if it does not take one so large.
    pub(crate) fn publish(
        &mut self,
        out: &mut BytesMut,
        message: &Outgoing,
        sent: Option<(NonZeroU16, bool)>,
    ) -> bool {
        let raw = |properties| {
            Box::new(Raw {
                dup: sent.is_some_and(|(_, again)| again),
                retain: false,
                qos: if sent.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce },
                topic: message.topic.as_str().into(),
                packet_id: sent.map(|(id, _)| id),
                payload: message.payload.clone(),
                properties,
            })
        };
        let key = message.key.as_deref();
        let properties = || v5::PublishProperties {
            user_properties: key.iter().map(|k| ("w3b-id".into(), (*k).into())).collect(),
            ..Default::default()
        };
        self.put(
            out,
            || Some(v3::Packet::Publish(raw(None))),
            || v5::Packet::Publish(raw(Some(properties()))),
        )
    }

    /// SUBACK: the QoS granted to each filter, or why none.
    pub(crate) fn suback(
        &mut self,
        out: &mut BytesMut,
        packet_id: NonZeroU16,
        status: &[Result<Qos, SubscribeAckReason>],
    ) {
        let short = |s: &Result<Qos, _>| match s {
            Ok(Qos::AtMostOnce) => v3::SubscribeReturnCode::Success(QoS::AtMostOnce),
            Ok(Qos::AtLeastOnce) => v3::SubscribeReturnCode::Success(QoS::AtLeastOnce),
            Err(_) => v3::SubscribeReturnCode::Failure,
        };
        let long = |s: &Result<Qos, SubscribeAckReason>| match s {
            Ok(Qos::AtMostOnce) => SubscribeAckReason::GrantedQos0,
            Ok(Qos::AtLeastOnce) => SubscribeAckReason::GrantedQos1,
            Err(reason) => *reason,
        };
        self.put(
            out,
            || Some(v3::Packet::SubscribeAck { packet_id, status: status.iter().map(short).collect() }),
            || {
                let status = status.iter().map(long).collect();
                v5::Packet::SubscribeAck(v5::SubscribeAck {
                    packet_id,
                    properties: Vec::new(),
                    reason_string: None,
                    status,
                })
            },
        );
    }

    /// UNSUBACK: whether each filter had been subscribed to.
    pub(crate) fn unsuback(&mut self, out: &mut BytesMut, packet_id: NonZeroU16, existed: &[bool]) {
        let status = |e: &bool| match e {
            true => UnsubscribeAckReason::Success,
            false => UnsubscribeAckReason::NoSubscriptionExisted,
        };
        self.put(
            out,
            || Some(v3::Packet::UnsubscribeAck { packet_id }),
            || {
                let status = existed.iter().map(status).collect();
                v5::Packet::UnsubscribeAck(v5::UnsubscribeAck {
                    packet_id,
                    properties: Vec::new(),
                    reason_string: None,
                    status,
                })
            },
        );
    }

    /// PINGRESP.
    pub(crate) fn pong(out: &mut BytesMut) {
        out.extend_from_slice(&[0xd0, 0]);
    }

    /// DISCONNECT with a reason; nothing in 3.1.1, where a server just closes.
    pub(crate) fn disconnect(&mut self, out: &mut BytesMut, code: DisconnectReasonCode, why: &str) {
        let packet = |reason: Option<&str>| {
            v5::Packet::Disconnect(v5::Disconnect {
                reason_string: reason.map(|r| reason_string(r).into()),
                ..v5::Disconnect::new(code)
            })
        };
        if !self.put(out, || None, || packet(Some(why))) {
            self.put(out, || None, || packet(None));
        }
    }

    /// CONNACK: `Ok` of what is granted, or why not.
    pub(crate) fn connack(&mut self, out: &mut BytesMut, answer: Result<Granted, NotGranted>) {
        self.put(out, || Some(connack_v4(&answer)), || v5::Packet::ConnectAck(Box::new(connack_v5(&answer))));
    }

    /// Decodes a CONNECT that is complete in `buf`.
    pub(crate) fn decode_connect(
        &mut self,
        buf: &mut BytesMut,
    ) -> Result<RawConnect, rmqtt_codec::error::DecodeError> {
        let none = rmqtt_codec::error::DecodeError::MalformedPacket;
        match &mut self.inner {
            Inner::V4(codec) => match codec.decode(buf)? {
                Some((v3::Packet::Connect(connect), _)) => Ok(RawConnect::V4(connect)),
                _ => Err(none),
            },
            Inner::V5(codec) => match codec.decode(buf)? {
                Some((v5::Packet::Connect(connect), _)) => Ok(RawConnect::V5(connect)),
                _ => Err(none),
            },
        }
    }
}

/// A CONNECT as the codec gives it.
#[derive(Debug)]
pub(crate) enum RawConnect {
    V4(Box<v3::Connect>),
    V5(Box<v5::Connect>),
}

/// A message on its way to subscribers.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// The idempotency key, if it has one.
    pub(crate) key: Option<String>,
}

/// What a CONNACK grants.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) session_present: bool,
    pub(crate) assigned_client_id: Option<String>,
    pub(crate) receive_max: NonZeroU16,
    pub(crate) max_packet_bytes: u32,
    /// If it is not what was asked for.
    pub(crate) keep_alive_secs: Option<u16>,
    pub(crate) session_expiry_secs: Option<u32>,
    pub(crate) topic_alias_max: u16,
}

/// Why a CONNECT is refused: in MQTT 5, in 3.1.1, and in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotGranted {
    pub(crate) v5: v5::ConnectAckReason,
    pub(crate) v4: v3::ConnectAckReason,
    pub(crate) why: &'static str,
}

fn connack_v4(answer: &Result<Granted, NotGranted>) -> v3::Packet {
    let (return_code, session_present) = match answer {
        Ok(granted) => (v3::ConnectAckReason::ConnectionAccepted, granted.session_present),
        Err(refused) => (refused.v4, false),
    };
    v3::Packet::ConnectAck(v3::ConnectAck { return_code, session_present })
}

fn connack_v5(answer: &Result<Granted, NotGranted>) -> v5::ConnectAck {
    match answer {
        Ok(granted) => v5::ConnectAck {
            session_present: granted.session_present,
            session_expiry_interval_secs: granted.session_expiry_secs,
            receive_max: granted.receive_max,
            max_qos: QoS::AtLeastOnce,
            max_packet_size: Some(granted.max_packet_bytes),
            assigned_client_id: granted.assigned_client_id.as_deref().map(Into::into),
            topic_alias_max: granted.topic_alias_max,
            retain_available: false,
            subscription_identifiers_available: false,
            shared_subscription_available: false,
            server_keepalive_sec: granted.keep_alive_secs,
            ..v5::ConnectAck::default()
        },
        Err(refused) => v5::ConnectAck {
            reason_code: refused.v5,
            reason_string: Some(refused.why.into()),
            ..v5::ConnectAck::default()
        },
    }
}

fn malformed() -> Fault {
    Fault::malformed("the packet is not what the standard says")
}

/// A reason string of bounded length without control characters.
fn reason_string(why: &str) -> String {
    why.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn qos(qos: QoS) -> Qos {
    // What asks for QoS 2 is granted 1.
    if qos == QoS::AtMostOnce { Qos::AtMostOnce } else { Qos::AtLeastOnce }
}

fn publish(raw: Raw) -> Result<Incoming, Fault> {
    let properties = raw.properties.unwrap_or_default();
    if !properties.subscription_ids.is_empty() {
        return Err(Fault::protocol("only a server sends subscription identifiers"));
    }
    Ok(Incoming::Publish(Publish {
        packet_id: raw.packet_id,
        topic: raw.topic.to_string(),
        alias: properties.topic_alias,
        content_type: properties.content_type.map(|t| t.to_string()),
        payload: raw.payload,
    }))
}

fn from_v4(packet: v3::Packet) -> Result<Incoming, Fault> {
    Ok(match packet {
        v3::Packet::Publish(raw) => publish(*raw)?,
        v3::Packet::PublishAck { packet_id } => Incoming::PubAck(packet_id),
        v3::Packet::Subscribe { packet_id, topic_filters } => {
            let filters = topic_filters.into_iter().map(|(f, q)| (f.to_string(), qos(q))).collect();
            Incoming::Subscribe { packet_id, filters }
        }
        v3::Packet::Unsubscribe { packet_id, topic_filters } => {
            let filters = topic_filters.iter().map(ToString::to_string).collect();
            Incoming::Unsubscribe { packet_id, filters }
        }
        v3::Packet::PingRequest => Incoming::Ping,
        v3::Packet::Disconnect => Incoming::Disconnect { with_will: false, expiry_secs: None },
        _ => return Err(Fault::protocol("a device does not send this packet")),
    })
}

fn from_v5(packet: v5::Packet) -> Result<Incoming, Fault> {
    Ok(match packet {
        v5::Packet::Publish(raw) if raw.retain => {
            let code = DisconnectReasonCode::RetainNotSupported;
            return Err(Fault::new(code, "messages are not retained here"));
        }
        v5::Packet::Publish(raw) => publish(*raw)?,
        v5::Packet::PublishAck(ack) => Incoming::PubAck(ack.packet_id),
        v5::Packet::Subscribe(subscribe) => {
            if subscribe.id.is_some() {
                let code = DisconnectReasonCode::SubscriptionIdentifiersNotSupported;
                return Err(Fault::new(code, "subscription identifiers are not spoken here"));
            }
            let filter = |(f, o): (_, v5::SubscriptionOptions)| (ToString::to_string(&f), qos(o.qos));
            let filters = subscribe.topic_filters.into_iter().map(|(f, o)| filter((f, o))).collect();
            Incoming::Subscribe { packet_id: subscribe.packet_id, filters }
        }
        v5::Packet::Unsubscribe(unsubscribe) => {
            let filters = unsubscribe.topic_filters.iter().map(ToString::to_string).collect();
            Incoming::Unsubscribe { packet_id: unsubscribe.packet_id, filters }
        }
        v5::Packet::PingRequest => Incoming::Ping,
        v5::Packet::Disconnect(d) => Incoming::Disconnect {
            with_will: d.reason_code != DisconnectReasonCode::NormalDisconnection,
            expiry_secs: d.session_expiry_interval_secs,
        },
        _ => return Err(Fault::protocol("a device does not send this packet")),
    })
}
