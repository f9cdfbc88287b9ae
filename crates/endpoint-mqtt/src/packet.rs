//! Packets: framing and the checks that the codec leaves to its user, and one shape for both versions.
//!
//! The codec (rmqtt-codec) decodes fields. What it lets through is stopped here: packets that only a server
//! sends, lengths that are not in shortest form, U+0000 in texts, wildcards where a topic must be, reserved
//! flags, and packets larger than the limit, which are refused when their header has come.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::BytesMut;
use rmqtt_codec::types::{Publish as Raw, QoS};
use rmqtt_codec::v5::{DisconnectReasonCode, PublishAckReason, SubscribeAckReason, UnsubscribeAckReason};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::{Decoder as _, Encoder as _};

use crate::incoming::{Incoming, from_v4, from_v5};
use crate::message::{Delivery, Qos};
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

/// Encodes and decodes for one connection.
#[derive(Debug)]
pub(crate) struct Codec {
    inner: Inner,
    max_in: usize,
    /// The largest packet that the peer takes.
    pub(crate) max_out: usize,
    /// Whether the peer wants reason strings with acknowledgements (Request Problem Information).
    pub(crate) reasons: bool,
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
            (0, 0b1000) => Err(Fault::malformed("a QoS 0 message cannot be a repetition")),
            _ => Ok(()),
        },
        (4 | 5 | 7 | 14, 0) | (6 | 8 | 10, 2) => Ok(()),
        (12, 0) if len == 2 => Ok(()),
        (12, 0) => Err(Fault::malformed("PINGREQ has no body")),
        (1, 0) => Err(Fault::protocol("CONNECT comes once")),
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
        Self { inner, max_in, max_out: usize::MAX, reasons: true }
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
            if publish.topic.contains('\0') {
                return Err(Fault::malformed("a topic has U+0000 in it"));
            }
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

    /// PUBACK, PUBREC, PUBREL or PUBCOMP (`kind` 4 to 7) without a reason: the same four bytes in both versions.
    pub(crate) fn ack(out: &mut BytesMut, kind: u8, packet_id: NonZeroU16) {
        let [high, low] = packet_id.get().to_be_bytes();
        let flags = if kind == 6 { 2 } else { 0 };
        out.extend_from_slice(&[kind << 4 | flags, 2, high, low]);
    }

    /// PUBREL or PUBCOMP (`kind` 6 or 7) for a packet id that is not known: in MQTT 5 with a code that says so.
    pub(crate) fn ack_unknown(&self, out: &mut BytesMut, kind: u8, packet_id: NonZeroU16) {
        if self.version() == Version::V4 {
            return Self::ack(out, kind, packet_id);
        }
        let [high, low] = packet_id.get().to_be_bytes();
        let flags = if kind == 6 { 2 } else { 0 };
        out.extend_from_slice(&[kind << 4 | flags, 3, high, low, 0x92]);
    }

    /// PUBACK or PUBREC (`kind` 4 or 5) of a message that is refused for ever; in 3.1.1 the same as of an accepted one.
    pub(crate) fn ack_refused(
        &mut self,
        out: &mut BytesMut,
        (kind, packet_id): (u8, NonZeroU16),
        (reason_code, why): (PublishAckReason, &str),
    ) {
        if self.version() == Version::V4 {
            return Self::ack(out, kind, packet_id);
        }
        let packet = |reason| {
            let ack =
                v5::PublishAck { packet_id, reason_code, properties: Vec::new(), reason_string: reason };
            if kind == 4 { v5::Packet::PublishAck(ack) } else { v5::Packet::PublishReceived(ack) }
        };
        let reason = Some(why).filter(|w| self.reasons && !w.is_empty()).map(|w| reason_string(w).into());
        if !self.put(out, || None, || packet(reason)) {
            self.put(out, || None, || packet(None));
        }
    }

    /// PUBLISH to the peer. `alias`: the topic's, and whether the peer knows it already. False if it does not take one so large.
    pub(crate) fn publish(
        &mut self,
        out: &mut BytesMut,
        delivery: &Delivery,
        sent: Option<(NonZeroU16, bool)>,
        (now, alias): (u64, Option<(NonZeroU16, bool)>),
    ) -> bool {
        let message = &delivery.message;
        let raw = |properties| {
            let known = alias.is_some_and(|(_, known)| known);
            Box::new(Raw {
                dup: sent.is_some_and(|(_, again)| again),
                retain: delivery.retain,
                qos: delivery.qos.raw(),
                topic: if known { "".into() } else { message.topic.as_str().into() },
                packet_id: sent.map(|(id, _)| id),
                payload: message.payload.clone(),
                properties,
            })
        };
        let left = |at: u64| u32::try_from(at.saturating_sub(now).div_ceil(1000)).unwrap_or(u32::MAX);
        let properties = || v5::PublishProperties {
            topic_alias: alias.map(|(alias, _)| alias),
            message_expiry_interval: message.expires_at.map(left).and_then(NonZeroU32::new),
            subscription_ids: delivery.ids.clone(),
            ..message.properties.clone()
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
            Ok(qos) => v3::SubscribeReturnCode::Success(qos.raw()),
            Err(_) => v3::SubscribeReturnCode::Failure,
        };
        let long = |s: &Result<Qos, SubscribeAckReason>| match s {
            Ok(Qos::AtMostOnce) => SubscribeAckReason::GrantedQos0,
            Ok(Qos::AtLeastOnce) => SubscribeAckReason::GrantedQos1,
            Ok(Qos::ExactlyOnce) => SubscribeAckReason::GrantedQos2,
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
#[derive(Clone, Debug)]
pub(crate) struct NotGranted {
    pub(crate) v5: v5::ConnectAckReason,
    pub(crate) v4: v3::ConnectAckReason,
    pub(crate) why: String,
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
            max_qos: QoS::ExactlyOnce,
            max_packet_size: Some(granted.max_packet_bytes),
            assigned_client_id: granted.assigned_client_id.as_deref().map(Into::into),
            topic_alias_max: granted.topic_alias_max,
            retain_available: true,
            subscription_identifiers_available: true,
            shared_subscription_available: true,
            server_keepalive_sec: granted.keep_alive_secs,
            ..v5::ConnectAck::default()
        },
        Err(refused) => v5::ConnectAck {
            reason_code: refused.v5,
            reason_string: Some(reason_string(&refused.why).into()),
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
