//! Wills that outlive a restart: what is stored of them, and submitting each once at most.

use std::sync::Arc;
use std::time::Duration;

use rmqtt_codec::v5::PublishProperties;
use tokio::time::timeout;
use w3bstream_types::{Form, Received, Submission};
use w3bstream_wire::{CONTENT_TYPE_ENVELOPE, CONTENT_TYPE_JOSE, encode_envelope};

use crate::MqttConfig;
use crate::connect::{RawWill, read_will};
use crate::message::{Message, Qos};
use crate::session::{Last, Will};
use crate::shared::Shared;

/// A will as it is stored: like the one in a CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct KeptWill {
    /// Topic, payload, properties, QoS and the retain flag.
    pub(crate) message: Message,
    pub(crate) delay: Duration,
    /// Seconds from when it is published on, after which nobody wants it.
    pub(crate) expiry_secs: Option<u32>,
}

impl KeptWill {
    /// What is to be stored of a will.
    pub(crate) fn of(will: &Will) -> Option<Self> {
        let (message, expiry_secs) = match &will.last {
            Last::Clients(message) => {
                let secs = message.expires_at.map(|ms| u32::try_from(ms / 1000).unwrap_or(u32::MAX));
                (Message { expires_at: None, from: None, ..Message::clone(message) }, secs)
            }
            Last::Node(received) => (signed(received)?, None),
        };
        Some(Self { message, delay: will.delay, expiry_secs })
    }

    /// The will again; `None` if it cannot go anywhere with these settings, as its topic is open no more.
    pub(crate) fn read(self, config: &MqttConfig) -> Option<Will> {
        let Message { topic, payload, properties, qos, retain, .. } = self.message;
        let raw = RawWill {
            topic,
            qos: qos.raw(),
            retain,
            payload,
            properties,
            expiry_secs: self.expiry_secs,
            delay_secs: u32::try_from(self.delay.as_secs()).unwrap_or(u32::MAX),
        };
        read_will(raw, config).ok()
    }
}

fn signed(received: &Received) -> Option<Message> {
    let Submission::Signed(record) = &received.submission else { return None };
    let (content_type, payload) = match record.form() {
        Form::Jws(jws) => (CONTENT_TYPE_JOSE, jws.compact().as_bytes().to_vec()),
        Form::Envelope(envelope) => (CONTENT_TYPE_ENVELOPE, encode_envelope(envelope)),
        Form::Token(_) | Form::Session(_) | Form::Trigger(_) => return None,
    };
    let properties =
        PublishProperties { content_type: Some(content_type.into()), ..PublishProperties::default() };
    Some(Message {
        topic: format!("w3b/{}/{}", received.project, record.event_type()),
        payload: payload.into(),
        properties,
        expires_at: None,
        qos: Qos::AtLeastOnce,
        retain: false,
        from: None,
    })
}

/// Submits wills that are due, when it is durable that they are stored no more: a restart does not submit them again. If
/// that cannot be written they are left for the restart.
pub(crate) async fn submit(shared: &Arc<Shared>, wills: impl IntoIterator<Item = Will>) {
    let mut wills = wills.into_iter().peekable();
    if wills.peek().is_none() {
        return;
    }
    if timeout(shared.config.stall_timeout, shared.hub.flush()).await.is_err() {
        tracing::error!("wills that are due cannot be taken out of the store; they are not submitted now");
        return;
    }
    for will in wills {
        shared.submit_will(will);
    }
}
