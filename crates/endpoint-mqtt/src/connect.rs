//! CONNECT: what is asked for, what is granted.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rmqtt_codec::error::DecodeError;
use rmqtt_codec::types::QoS;
use rmqtt_codec::v3::ConnectAckReason as V4;
use rmqtt_codec::v5::{ConnectAckReason as V5, PublishProperties};
use w3bstream_types::{Received, Submission, Timestamp};

use crate::MqttConfig;
use crate::message::{Message, Qos};
use crate::packet::{Codec, NotGranted, RawConnect, Version, frame_len};
use crate::session::{Last, Will};
use crate::topic::{self, Ingress};

/// The largest CONNECT: client id, user name, password and a will with a message.
const MAX_CONNECT_BYTES: usize = 64 << 10;

/// A CONNECT that can be granted.
#[derive(Debug)]
pub(crate) struct Connect {
    /// Empty if the node is to choose one.
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    pub(crate) keep_alive_secs: u16,
    /// `None` in 3.1.1, where `clean` decides.
    pub(crate) expiry_secs: Option<u32>,
    /// QoS 1 and 2 messages that the device takes without acknowledging.
    pub(crate) receive_max: u16,
    pub(crate) max_packet_bytes: usize,
    /// Topic aliases that the device takes.
    pub(crate) topic_aliases: u16,
    /// Whether it wants reasons with acknowledgements.
    pub(crate) reasons: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) will: Option<Will>,
}

/// What the first bytes of a connection are.
#[derive(Debug)]
pub(crate) enum First {
    /// More must be read.
    Partial,
    /// No MQTT that we speak: close without a word.
    Nonsense(&'static str),
    /// Answer with a CONNACK, then close.
    Refused(Codec, NotGranted),
    /// A CONNECT that can be granted.
    Connect(Codec, Box<Connect>),
}

fn refused(v5: V5, v4: V4, why: &'static str) -> NotGranted {
    NotGranted { v5, v4, why: why.to_owned() }
}

/// Looks at the first bytes of a connection; takes the CONNECT out of `buf` when it is complete.
pub(crate) fn first_packet(buf: &mut BytesMut, config: &MqttConfig) -> First {
    // Before anything else: a first packet that is no CONNECT is not even waited for.
    if buf.first().is_some_and(|b| *b != 0x10) {
        return First::Nonsense("the first packet is no CONNECT");
    }
    let len = match frame_len(buf, MAX_CONNECT_BYTES.min(config.max_packet_bytes)) {
        Ok(None) => return First::Partial,
        Ok(Some(len)) if buf.len() < len => return First::Partial,
        Ok(Some(len)) => len,
        Err(fault) => return First::Nonsense(fault.why),
    };
    let header = 1 + buf.iter().skip(1).take_while(|b| **b & 0x80 != 0).count() + 1;
    let version = match buf.get(header..len) {
        Some([0, 4, b'M', b'Q', b'T', b'T', 4, ..]) => Version::V4,
        Some([0, 4, b'M', b'Q', b'T', b'T', 5, ..]) => Version::V5,
        Some([0, 4, b'M', b'Q', b'T', b'T', _, ..] | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..]) => {
            let why = "only MQTT 3.1.1 and 5 are spoken here";
            let refused = refused(V5::UnsupportedProtocolVersion, V4::UnacceptableProtocolVersion, why);
            return First::Refused(Codec::new(Version::V4, 0), refused);
        }
        _ => return First::Nonsense("this is no MQTT"),
    };
    // The codec does not look behind the last field.
    let whole = connect_end(&buf[header..len], version) == Some(len - header);
    if version == Version::V5 {
        begin_anew_without_id(buf, header);
    }
    let mut codec = Codec::new(version, config.max_packet_bytes);
    match codec.decode_connect(buf).and_then(|c| if whole { Ok(c) } else { Err(DecodeError::InvalidLength) })
    {
        Ok(raw) => match read(raw, config) {
            Ok(connect) => First::Connect(codec, Box::new(connect)),
            // There is no code for it in 3.1.1, and another one would mislead.
            Err(refused) if version == Version::V4 && refused.v5 == V5::MalformedPacket => {
                First::Nonsense("the CONNECT is malformed")
            }
            Err(refused) => First::Refused(codec, refused),
        },
        Err(DecodeError::InvalidClientId) => {
            let why = "an empty client id needs a clean start";
            First::Refused(codec, refused(V5::ClientIdentifierNotValid, V4::IdentifierRejected, why))
        }
        Err(_) if version == Version::V4 => First::Nonsense("the CONNECT is malformed"),
        Err(_) => {
            let why = "the CONNECT is not what the standard says";
            First::Refused(codec, refused(V5::MalformedPacket, V4::NotAuthorized, why))
        }
    }
}

/// In MQTT 5 a client may ask for any session, and without an id gets one that is new (section 3.1.3.1); the codec takes an
/// empty client id only from who begins anew, which comes to the same.
fn begin_anew_without_id(buf: &mut BytesMut, header: usize) {
    let properties = buf.get(header + 9..).and_then(|rest| frame_len(rest, usize::MAX).ok().flatten());
    let Some(id) = properties.map(|len| header + 9 + len) else { return };
    if buf.get(id..id + 2) == Some(&[0, 0])
        && let Some(flags) = buf.get_mut(header + 7)
    {
        *flags |= 0b10;
    }
}

/// Where the fields of a CONNECT end, from its variable header on; `None` if they go beyond it.
fn connect_end(body: &[u8], version: Version) -> Option<usize> {
    let flags = *body.get(7)?;
    let mut at = 10;
    let text = |at: &mut usize| {
        let len = body.get(*at..*at + 2)?;
        *at += 2 + usize::from(u16::from_be_bytes([len[0], len[1]]));
        Some(())
    };
    let properties = |at: &mut usize| {
        // Written like the remaining length of a packet, so the whole is like one without its first byte.
        let rest = body.get(at.checked_sub(1)?..)?;
        *at += frame_len(rest, usize::MAX).ok()?? - 1;
        Some(())
    };
    let v5 = version == Version::V5;
    if v5 {
        properties(&mut at)?;
    }
    text(&mut at)?;
    if flags & 0b0000_0100 != 0 {
        if v5 {
            properties(&mut at)?;
        }
        text(&mut at)?;
        text(&mut at)?;
    }
    for flag in [0b1000_0000, 0b0100_0000] {
        if flags & flag != 0 {
            text(&mut at)?;
        }
    }
    Some(at)
}

fn read(raw: RawConnect, config: &MqttConfig) -> Result<Connect, NotGranted> {
    let connect = match raw {
        RawConnect::V4(c) => read_v4(*c, config)?,
        RawConnect::V5(c) => read_v5(*c, config)?,
    };
    let user = connect.username.as_deref().unwrap_or_default();
    if connect.client_id.contains('\0') || user.contains('\0') {
        return Err(malformed("a text has U+0000 in it"));
    }
    if connect.client_id.len() > 256 || user.len() > 1024 {
        let why = "a client id has at most 256 bytes here, a user name 1024";
        return Err(refused(V5::ClientIdentifierNotValid, V4::IdentifierRejected, why));
    }
    Ok(connect)
}

fn malformed(why: &'static str) -> NotGranted {
    refused(V5::MalformedPacket, V4::NotAuthorized, why)
}

fn read_v4(c: rmqtt_codec::v3::Connect, config: &MqttConfig) -> Result<Connect, NotGranted> {
    if c.password.is_some() && c.username.is_none() {
        return Err(malformed("a password needs a user name"));
    }
    let will = c.last_will.map(|w| RawWill {
        topic: w.topic.to_string(),
        qos: w.qos,
        retain: w.retain,
        payload: w.message,
        properties: PublishProperties::default(),
        expiry_secs: None,
        delay_secs: 0,
    });
    Ok(Connect {
        client_id: c.client_id.to_string(),
        clean: c.clean_session,
        keep_alive_secs: c.keep_alive,
        expiry_secs: None,
        receive_max: config.max_outgoing_in_flight,
        max_packet_bytes: usize::MAX,
        topic_aliases: 0,
        reasons: true,
        username: c.username.map(|u| u.to_string()),
        password: c.password.map(|p| p.to_vec()),
        will: will.map(|w| read_will(w, config)).transpose()?,
    })
}

fn read_v5(c: rmqtt_codec::v5::Connect, config: &MqttConfig) -> Result<Connect, NotGranted> {
    if c.auth_method.is_some() || c.auth_data.is_some() {
        let why = "no authentication method is spoken here; use user name and password, or a certificate";
        return Err(refused(V5::BadAuthenticationMethod, V4::NotAuthorized, why));
    }
    let will = c.last_will.map(|w| RawWill {
        topic: w.topic.to_string(),
        qos: w.qos,
        retain: w.retain,
        payload: w.message,
        properties: PublishProperties {
            correlation_data: w.correlation_data,
            content_type: w.content_type,
            user_properties: w.user_properties,
            is_utf8_payload: w.is_utf8_payload.unwrap_or(false),
            response_topic: w.response_topic,
            ..PublishProperties::default()
        },
        expiry_secs: w.message_expiry_interval.map(std::num::NonZero::get),
        delay_secs: w.will_delay_interval_sec.unwrap_or(0),
    });
    let receive_max = c.receive_max.map_or(u16::MAX, NonZeroU16::get);
    Ok(Connect {
        client_id: c.client_id.to_string(),
        clean: c.clean_start,
        keep_alive_secs: c.keep_alive,
        expiry_secs: Some(c.session_expiry_interval_secs),
        receive_max: receive_max.min(config.max_outgoing_in_flight),
        max_packet_bytes: c.max_packet_size.map_or(usize::MAX, |n| n.get() as usize),
        topic_aliases: c.topic_alias_max,
        reasons: c.request_problem_info,
        username: c.username.map(|u| u.to_string()),
        password: c.password.map(|p| p.to_vec()),
        will: will.map(|w| read_will(w, config)).transpose()?,
    })
}

/// A will as a CONNECT has it.
pub(crate) struct RawWill {
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) payload: Bytes,
    pub(crate) properties: PublishProperties,
    /// From when it is published on.
    pub(crate) expiry_secs: Option<u32>,
    pub(crate) delay_secs: u32,
}

/// A will goes where a message of the device may go: to the node, then it is a signed message and read like one, or to an
/// open topic.
pub(crate) fn read_will(raw: RawWill, config: &MqttConfig) -> Result<Will, NotGranted> {
    let delay = Duration::from_secs(raw.delay_secs.into());
    let no = |v5, why| Err(refused(v5, V4::NotAuthorized, why));
    if raw.topic.is_empty() || raw.topic.contains('\0') {
        return Err(malformed("the will's topic is empty or has U+0000 in it"));
    }
    if topic::is_topic(&raw.topic) && config.is_open(&raw.topic) {
        let message = Message {
            topic: raw.topic,
            payload: raw.payload,
            properties: raw.properties,
            // The time runs from when it is published.
            expires_at: raw.expiry_secs.map(|s| u64::from(s) * 1000),
            qos: Qos::of(raw.qos),
            retain: raw.retain,
            from: None,
        };
        return Ok(Will { last: Last::Clients(Box::new(message)), delay });
    }
    let ingress = match Ingress::parse(&raw.topic) {
        Ok(ingress) if topic::is_topic(&raw.topic) => ingress,
        _ => return no(V5::TopicNameInvalid, "a will goes to w3b/{project}/{type}, or to an open topic"),
    };
    let content_type = raw.properties.content_type.as_deref();
    let Ok(record) = w3bstream_wire::decode_message(content_type, &raw.payload) else {
        return no(V5::PayloadFormatInvalid, "the will is no signed message");
    };
    if *record.event_type() != ingress.event_type {
        return no(V5::PayloadFormatInvalid, "the will's event type is not that of its topic");
    }
    let received = Received {
        project: ingress.project,
        submission: Submission::Signed(record),
        // Set when it is submitted.
        received_at: Timestamp::NONE,
    };
    Ok(Will { last: Last::Node(Box::new(received)), delay })
}
