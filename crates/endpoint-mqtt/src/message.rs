//! Messages on their way to subscribers, and what those asked for.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use rmqtt_codec::types::QoS;
use rmqtt_codec::v5::PublishProperties;

use crate::session::SessionId;

/// Quality of service: at most once, at least once, exactly once (MQTT 5, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(clippy::enum_variant_names, reason = "the standard's names")]
pub(crate) enum Qos {
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

impl Qos {
    pub(crate) const fn of(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::AtMostOnce,
            QoS::AtLeastOnce => Self::AtLeastOnce,
            QoS::ExactlyOnce => Self::ExactlyOnce,
        }
    }

    pub(crate) const fn raw(self) -> QoS {
        match self {
            Self::AtMostOnce => QoS::AtMostOnce,
            Self::AtLeastOnce => QoS::AtLeastOnce,
            Self::ExactlyOnce => QoS::ExactlyOnce,
        }
    }

    /// The number that the standard gives it.
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    pub(crate) const fn of_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// What a subscription asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) qos: Qos,
    /// Not what this client itself has published.
    pub(crate) no_local: bool,
    /// The retain flag as the publisher set it.
    pub(crate) retain_as_published: bool,
    /// Whether retained messages are sent at the time of subscribing: 0 always, 1 if the subscription is new, 2 never.
    pub(crate) retain_handling: u8,
    /// The subscription's identifier, which comes with each of its messages.
    pub(crate) id: Option<NonZeroU32>,
}

impl Options {
    #[cfg(test)]
    pub(crate) const fn plain(qos: Qos) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: 0, id: None }
    }
}

/// A message, shared by all who get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// What is forwarded unchanged. Alias, expiry and subscription identifiers are not in here.
    pub(crate) properties: PublishProperties,
    /// When nobody wants it any more, in milliseconds since the epoch.
    pub(crate) expires_at: Option<u64>,
    /// The publisher's QoS.
    pub(crate) qos: Qos,
    /// The publisher's retain flag.
    pub(crate) retain: bool,
    /// Whose it is.
    pub(crate) from: Option<SessionId>,
}

impl Message {
    /// A message of the node's own.
    pub(crate) fn of_node(topic: String, payload: Bytes, key: Option<&str>) -> Self {
        let properties = PublishProperties {
            user_properties: key.iter().map(|k| ("w3b-id".into(), (*k).into())).collect(),
            ..PublishProperties::default()
        };
        let (expires_at, qos, retain, from) = (None, Qos::ExactlyOnce, false, None);
        Self { topic, payload, properties, expires_at, qos, retain, from }
    }

    /// What it counts against the bounds of queues.
    pub(crate) fn bytes(&self) -> usize {
        let p = &self.properties;
        let user: usize = p.user_properties.iter().map(|(k, v)| k.len() + v.len()).sum();
        let texts = [p.content_type.as_ref(), p.response_topic.as_ref()];
        let texts: usize = texts.into_iter().flatten().map(|t| t.len()).sum();
        let correlation = p.correlation_data.as_ref().map_or(0, Bytes::len);
        self.topic.len() + self.payload.len() + user + texts + correlation
    }

    pub(crate) fn is_over(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// A message for one session.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Arc<Message>,
    /// The lower of what was published and what was asked for.
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) ids: Vec<NonZeroU32>,
    /// The number by which the session's store knows it, if it is there.
    pub(crate) stored: Option<u64>,
}
