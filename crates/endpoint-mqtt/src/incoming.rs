//! Packets from a device that has connected: one shape for both versions.

use std::num::NonZeroU16;

use bytes::Bytes;
use rmqtt_codec::types::Publish as Raw;
use rmqtt_codec::v5::{DisconnectReasonCode, PublishProperties};
use rmqtt_codec::{v3, v5};

use crate::message::{Options, Qos};
use crate::packet::Fault;

/// A PUBLISH.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) qos: Qos,
    /// Present at QoS 1 and 2.
    pub(crate) packet_id: Option<NonZeroU16>,
    pub(crate) retain: bool,
    /// Empty if an alias stands for it.
    pub(crate) topic: String,
    pub(crate) alias: Option<NonZeroU16>,
    /// Seconds after which nobody wants it.
    pub(crate) expiry_secs: Option<u32>,
    /// The rest of the properties, to be forwarded.
    pub(crate) properties: PublishProperties,
    pub(crate) payload: Bytes,
}

impl Publish {
    pub(crate) fn content_type(&self) -> Option<&str> {
        self.properties.content_type.as_deref()
    }

    /// The first user property of this name.
    pub(crate) fn user(&self, name: &str) -> Option<&str> {
        self.properties.user_properties.iter().find(|(k, _)| *k == name).map(|(_, v)| &**v)
    }
}

/// A packet from a device that has connected.
#[derive(Debug)]
pub(crate) enum Incoming {
    Publish(Publish),
    PubAck(NonZeroU16),
    /// False: the device does not want the message.
    PubRec(NonZeroU16, bool),
    PubRel(NonZeroU16),
    PubComp(NonZeroU16),
    Subscribe {
        packet_id: NonZeroU16,
        filters: Vec<(String, Options)>,
    },
    Unsubscribe {
        packet_id: NonZeroU16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect {
        with_will: bool,
        expiry_secs: Option<u32>,
    },
}

fn publish(raw: Raw) -> Result<Incoming, Fault> {
    let mut properties = raw.properties.unwrap_or_default();
    if !properties.subscription_ids.is_empty() {
        return Err(Fault::protocol("only a server sends subscription identifiers"));
    }
    if properties.response_topic.as_ref().is_some_and(|t| !crate::topic::is_topic(t)) {
        return Err(Fault::protocol("the response topic cannot be the name of a topic"));
    }
    Ok(Incoming::Publish(Publish {
        qos: Qos::of(raw.qos),
        packet_id: raw.packet_id,
        retain: raw.retain,
        topic: raw.topic.to_string(),
        alias: properties.topic_alias.take(),
        expiry_secs: properties.message_expiry_interval.take().map(std::num::NonZero::get),
        properties,
        payload: raw.payload,
    }))
}

pub(crate) fn from_v4(packet: v3::Packet) -> Result<Incoming, Fault> {
    Ok(match packet {
        v3::Packet::Publish(raw) => publish(*raw)?,
        v3::Packet::PublishAck { packet_id } => Incoming::PubAck(packet_id),
        v3::Packet::PublishReceived { packet_id } => Incoming::PubRec(packet_id, true),
        v3::Packet::PublishRelease { packet_id } => Incoming::PubRel(packet_id),
        v3::Packet::PublishComplete { packet_id } => Incoming::PubComp(packet_id),
        v3::Packet::Subscribe { packet_id, topic_filters } => {
            let options = |qos| Options {
                qos: Qos::of(qos),
                no_local: false,
                retain_as_published: false,
                retain_handling: 0,
                id: None,
            };
            let filters = topic_filters.into_iter().map(|(f, q)| (f.to_string(), options(q))).collect();
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

pub(crate) fn from_v5(packet: v5::Packet) -> Result<Incoming, Fault> {
    Ok(match packet {
        v5::Packet::Publish(raw) => publish(*raw)?,
        v5::Packet::PublishAck(ack) => Incoming::PubAck(ack.packet_id),
        v5::Packet::PublishReceived(ack) => Incoming::PubRec(ack.packet_id, u8::from(ack.reason_code) < 0x80),
        v5::Packet::PublishRelease(ack) => Incoming::PubRel(ack.packet_id),
        v5::Packet::PublishComplete(ack) => Incoming::PubComp(ack.packet_id),
        v5::Packet::Subscribe(subscribe) => {
            let id = subscribe.id;
            let filter = |(f, o): (_, v5::SubscriptionOptions)| {
                let options = Options {
                    qos: Qos::of(o.qos),
                    no_local: o.no_local,
                    retain_as_published: o.retain_as_published,
                    retain_handling: o.retain_handling.into(),
                    id,
                };
                (ToString::to_string(&f), options)
            };
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
