//! What a trigger says.

use serde::{Deserialize, Serialize};

use crate::ids::TriggerName;
use crate::message::check_payload;
use crate::{
    Canonical, Decoder, Digest, Encoder, EventType, Malformed, ProjectId, Timestamp, check_event_id,
};

/// A message that no device sent: a trigger of the project has fired. Every node that sees the same makes the same
/// bytes of it, so that it is one message however often it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerMessage {
    /// The project that the message is for.
    pub project: ProjectId,
    /// The trigger.
    pub trigger: TriggerName,
    /// Names what happened: an event by its block, transaction and place, a moment by its time.
    pub event_id: String,
    /// What kind of event it is.
    pub event_type: EventType,
    /// When it happened, by the chain's or the schedule's time.
    pub time: Timestamp,
    /// The bytes that an applet gets.
    pub payload: Vec<u8>,
}

impl TriggerMessage {
    /// What names the message: everything of it, the payload by its digest.
    #[must_use]
    pub fn header(&self) -> TriggerHeader {
        TriggerHeader {
            project: self.project,
            trigger: self.trigger.clone(),
            event_id: self.event_id.clone(),
            event_type: self.event_type.clone(),
            time: self.time,
            payload_digest: Digest::of(&self.payload),
        }
    }
}

impl Canonical for TriggerMessage {
    const DOMAIN: &'static str = "w3b/trigger-message";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 6;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.project.0).text(self.trigger.as_str()).text(&self.event_id);
        e.text(self.event_type.as_str()).u64(self.time.0).bytes(&self.payload);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let message = Self {
            project: ProjectId(d.digest()?),
            trigger: d.parse()?,
            event_id: d.text()?.to_owned(),
            event_type: d.parse()?,
            time: Timestamp(d.u64()?),
            payload: d.bytes()?.to_vec(),
        };
        check_event_id(&message.event_id)?;
        check_payload(&message.payload)?;
        Ok(message)
    }
}

/// A trigger's message without its payload: what its id is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerHeader {
    /// The project that the message is for.
    pub project: ProjectId,
    /// The trigger.
    pub trigger: TriggerName,
    /// Names what happened.
    pub event_id: String,
    /// What kind of event it is.
    pub event_type: EventType,
    /// When it happened, by the chain's or the schedule's time.
    pub time: Timestamp,
    /// SHA-256 of the payload.
    pub payload_digest: Digest,
}

impl Canonical for TriggerHeader {
    const DOMAIN: &'static str = "w3b/trigger-header";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 6;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.project.0).text(self.trigger.as_str()).text(&self.event_id);
        e.text(self.event_type.as_str()).u64(self.time.0).digest(&self.payload_digest);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            project: ProjectId(d.digest()?),
            trigger: d.parse()?,
            event_id: d.text()?.to_owned(),
            event_type: d.parse()?,
            time: Timestamp(d.u64()?),
            payload_digest: d.digest()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_message_is_in_its_header() {
        let message = TriggerMessage {
            project: ProjectId(Digest::of(b"p")),
            trigger: "t".parse().unwrap(),
            event_id: "1".into(),
            event_type: "e".parse().unwrap(),
            time: Timestamp(7),
            payload: vec![1],
        };
        let header = message.header().to_canonical();
        let others = [
            TriggerMessage { project: ProjectId(Digest::of(b"q")), ..message.clone() },
            TriggerMessage { trigger: "u".parse().unwrap(), ..message.clone() },
            TriggerMessage { event_id: "2".into(), ..message.clone() },
            TriggerMessage { event_type: "f".parse().unwrap(), ..message.clone() },
            TriggerMessage { time: Timestamp(8), ..message.clone() },
            TriggerMessage { payload: vec![2], ..message },
        ];
        for other in others {
            assert_ne!(other.header().to_canonical(), header, "{other:?}");
        }
    }
}
