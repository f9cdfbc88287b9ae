//! The members of a receipt.

use serde::{Deserialize, Serialize};

use super::encoding::FormatVersion;
use super::settled::SettlementLink;
use crate::merkle::Step;
use crate::text::{hex_bytes, hex_option, nullable, present};
use crate::time::decimal;
use crate::{
    Attestation, BlockHeader, Certificate, Did, Digest, Genesis, Jws, MessageHeader, MessageId, Output,
    OutputKind, ProjectId, PublicKey, PublisherName, Timestamp, TriggerHeader,
};

/// One file for one device message. Nothing in it is checked until [`Receipt::verify`] has done so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The version of this list of members.
    pub version: FormatVersion,
    /// The message's id.
    pub id: MessageId,
    /// What the device signed.
    pub message: MessageLink,
    /// The device's key; `None` for a message without a signature.
    #[serde(deserialize_with = "nullable")]
    pub registration: Option<RegistrationLink>,
    /// The block that ordered the message.
    pub ordering: OrderingLink,
    /// What executing the message gave.
    pub execution: ExecutionLink,
    /// What a quorum signed about the block's execution.
    pub attestation: Attestation,
    /// Who the members are.
    pub genesis: Genesis,
    /// Digest of the manifest in force after the block.
    pub manifest: Digest,
    /// The programs that ran, one for each result in [`ExecutionLink::outputs`], in the same order.
    pub programs: Vec<ProgramLink>,
    /// The settlements among the outputs that a contract executed, in ascending order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settlements: Vec<SettlementLink>,
}

/// What the device signed, in the form in which it arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "lowercase")]
pub enum MessageLink {
    /// Header and signature apart from the payload.
    Envelope(EnvelopeLink),
    /// A compact JWS, whose payload is inside.
    Jws(JwsLink),
    /// A token instead of a signature.
    Token(TokenLink),
    /// No device: a trigger of the project.
    Trigger(TriggerLink),
    /// A device's session instead of a signature.
    Session(SessionLink),
}

/// An envelope without its payload, or with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeLink {
    /// What was signed.
    pub header: MessageHeader,
    /// The signature over the header's canonical bytes.
    #[serde(with = "hex_bytes")]
    pub signature: [u8; 64],
    /// The payload with its salt, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub payload: Option<PayloadLink>,
}

/// A payload, with what its digest was salted with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadLink {
    /// The salt.
    #[serde(with = "hex_bytes")]
    pub salt: [u8; 16],
    /// The payload.
    #[serde(with = "hex_bytes")]
    pub data: Vec<u8>,
}

/// A JWS, with the signature that its text carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwsLink {
    /// The text as the device sent it.
    pub compact: Jws,
}

/// What a token message's id is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenLink {
    /// The project.
    pub project: ProjectId,
    /// Whose token it was.
    pub publisher: PublisherName,
    /// The publisher's own id of the event.
    pub event_id: String,
}

/// What a trigger's message is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerLink {
    /// Everything but the payload.
    pub header: TriggerHeader,
    /// The payload, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex_option")]
    pub payload: Option<Vec<u8>>,
}

/// What a session message's id is made of, and the node that vouches for it. The session's JWT is not here: whoever
/// holds it could send as the device until it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionLink {
    /// The project.
    pub project: ProjectId,
    /// The device that opened the session.
    pub device: Did,
    /// The device's own id of the event.
    pub event_id: String,
    /// The node that it showed its key to. The message's id does not bind it.
    pub node: Did,
}

/// The device's key as the project's registry held it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationLink {
    /// The device.
    pub device: Did,
    /// Its key.
    pub key: PublicKey,
}

/// The message's place in a final block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderingLink {
    /// The block's header.
    pub header: BlockHeader,
    /// The message's place among the block's entries.
    #[serde(with = "decimal")]
    pub index: u64,
    /// The RFC 6962 path from the entry to the header's `entries_root`, from the leaf up.
    pub path: Vec<Digest>,
    /// The quorum's word that the block is final.
    pub certificate: Certificate,
}

/// The outputs of the block that are about the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutionLink {
    /// In ascending order: each handler's result followed by that call's outputs, or the one rejection.
    pub outputs: Vec<OutputLink>,
}

/// One output, with the way to the attested root. In JSON a result stands decoded, as `result`; the other
/// kinds have `data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLink {
    /// Its place among the block's outputs, which its leaf contains.
    pub index: u64,
    /// The output.
    pub output: Output,
    /// The path from the leaf up.
    pub path: Vec<Step>,
}

/// The program that one result names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramLink {
    /// SHA-256 of the module as it was uploaded.
    pub program: Digest,
    /// SHA-256 of the module as it ran, after instrumentation.
    pub instrumented: Digest,
}

/// The time of a message, and whose word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "by", content = "time")]
pub enum MessageTime {
    /// The device's, under its signature.
    Device(Timestamp),
    /// The block's: the device gave none, or there is no signature.
    Block(Timestamp),
}

impl MessageLink {
    /// The signed header; `None` for a message without a signature.
    #[must_use]
    pub fn header(&self) -> Option<&MessageHeader> {
        match self {
            Self::Envelope(e) => Some(&e.header),
            Self::Jws(j) => Some(j.compact.header()),
            Self::Token(_) | Self::Trigger(_) | Self::Session(_) => None,
        }
    }

    /// The project that the message is for.
    #[must_use]
    pub fn project(&self) -> ProjectId {
        match self {
            Self::Token(t) => t.project,
            Self::Trigger(t) => t.header.project,
            Self::Session(s) => s.project,
            Self::Envelope(e) => e.header.audience,
            Self::Jws(j) => j.compact.header().audience,
        }
    }

    /// The id that a message of this content has.
    #[must_use]
    pub fn id(&self) -> MessageId {
        use crate::Canonical as _;
        match self {
            Self::Envelope(e) => MessageId::of_signing_input(&e.header.to_canonical()),
            Self::Jws(j) => MessageId::of_signing_input(j.compact.signing_input()),
            Self::Token(t) => MessageId::of_token_event(&t.project, &t.publisher, &t.event_id),
            Self::Trigger(t) => MessageId::of_trigger(&t.header),
            Self::Session(s) => MessageId::of_session_event(&s.project, &s.device, &s.event_id),
        }
    }

    /// The payload, if it is here.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        match self {
            Self::Envelope(e) => e.payload.as_ref().map(|p| &p.data[..]),
            Self::Jws(j) => Some(j.compact.payload()),
            Self::Token(_) | Self::Session(_) => None,
            Self::Trigger(t) => t.payload.as_deref(),
        }
    }
}

impl Receipt {
    /// When the message was made: by the device's word if it gave a time, else by the block's.
    #[must_use]
    pub fn time(&self) -> MessageTime {
        match self.message.header() {
            Some(header) if header.time != Timestamp::NONE => MessageTime::Device(header.time),
            _ => MessageTime::Block(self.ordering.header.time),
        }
    }

    /// The results of the message's handlers. Those that cannot be read are left away: such a receipt does not
    /// verify.
    #[must_use]
    pub fn results(&self) -> Vec<crate::ResultRecord> {
        use crate::Canonical as _;
        let results = self.execution.outputs.iter().filter(|o| o.output.kind == OutputKind::Result);
        results.filter_map(|o| crate::ResultRecord::from_canonical(&o.output.data).ok()).collect()
    }
}
