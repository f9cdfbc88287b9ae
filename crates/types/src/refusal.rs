//! Why a message was not accepted, and what became of one that was.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AppletName, EventType, Malformed, MessageId, Timestamp};

/// Why a message is refused. The [`code`](Self::code) is stable and appears in MQTT reason strings,
/// problem+json and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalKind {
    /// The bytes are no message.
    Malformed,
    /// The signature does not match the registered key.
    BadSignature,
    /// No such device is registered in the project.
    UnknownDevice,
    /// The device or token was revoked.
    Revoked,
    /// The token is not registered in the project.
    BadToken,
    /// The device may not send this event type.
    NotAllowed,
    /// The message is for another project.
    WrongAudience,
    /// This node serves no such project.
    UnknownProject,
    /// The project was removed by its owner.
    Removed,
    /// Another message with the same sequence (or event id) was accepted before.
    Conflict,
    /// The sequence is below the window or of an older boot epoch.
    TooOld,
    /// The payload is larger than the project's or the node's limit.
    TooLarge,
    /// Too many messages wait; try again.
    Overloaded,
    /// The node is stopping; try again.
    ShuttingDown,
    /// The record could not be stored; try again.
    StorageFailing,
    /// The project cannot take messages now; the detail says what it waits for.
    NotReady,
}

impl RefusalKind {
    /// Every kind, for tables and metrics.
    pub const ALL: [Self; 16] = [
        Self::Malformed,
        Self::BadSignature,
        Self::UnknownDevice,
        Self::Revoked,
        Self::BadToken,
        Self::NotAllowed,
        Self::WrongAudience,
        Self::UnknownProject,
        Self::Removed,
        Self::Conflict,
        Self::TooOld,
        Self::TooLarge,
        Self::Overloaded,
        Self::ShuttingDown,
        Self::StorageFailing,
        Self::NotReady,
    ];

    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadSignature => "bad-signature",
            Self::UnknownDevice => "unknown-device",
            Self::Revoked => "revoked",
            Self::BadToken => "bad-token",
            Self::NotAllowed => "not-allowed",
            Self::WrongAudience => "wrong-audience",
            Self::UnknownProject => "unknown-project",
            Self::Removed => "removed",
            Self::Conflict => "conflict",
            Self::TooOld => "too-old",
            Self::TooLarge => "too-large",
            Self::Overloaded => "overloaded",
            Self::ShuttingDown => "shutting-down",
            Self::StorageFailing => "storage-failing",
            Self::NotReady => "not-ready",
        }
    }

    /// True if the same bytes will be refused for ever; false if the sender should try again.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        !matches!(self, Self::Overloaded | Self::ShuttingDown | Self::StorageFailing | Self::NotReady)
    }
}

impl fmt::Display for RefusalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for RefusalKind {
    type Err = Malformed;

    /// Reads the stable code.
    fn from_str(s: &str) -> Result<Self, Malformed> {
        Self::ALL
            .into_iter()
            .find(|k| k.code() == s)
            .ok_or_else(|| Malformed::new("refusal code", format!("{s:?} is none that is known")))
    }
}

crate::text::text_serde!(RefusalKind);

/// A refusal with what happened and the line that fixes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Refusal {
    /// Why.
    pub kind: RefusalKind,
    /// In words for the sender; never a secret and never the node's internals.
    pub detail: String,
    /// For [`RefusalKind::TooOld`]: the boot epoch that a wiped device should use next.
    pub next_epoch: Option<u32>,
}

impl Refusal {
    /// A refusal of `kind`.
    #[must_use]
    pub fn new(kind: RefusalKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), next_epoch: None }
    }
}

/// What an acknowledgement promises. Chosen per project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    /// Fsynced on this node: survives its crash, not the loss of its disk.
    Durable,
    /// A quorum of the subnet has stored and ordered it.
    Committed,
    /// It was executed; the handlers' results come with the acknowledgement.
    Executed,
}

/// What one handler answered to one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerResult {
    /// The applet.
    pub applet: AppletName,
    /// The exported function.
    pub handler: String,
    /// What the handler returned; −1 if it did not return.
    pub code: i32,
    /// Why it did not return, such as `out-of-gas`.
    pub error: Option<String>,
    /// Gas used.
    #[serde(with = "crate::time::decimal")]
    pub gas: u64,
    /// The type of the event that it was called with, if another handler sent that; `None` for the message itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventType>,
    /// What it answered.
    #[serde(default, skip_serializing_if = "Option::is_none", flatten)]
    pub answer: Option<HandlerAnswer>,
}

/// What a handler answered to who sent the message, or the event that caused it. In JSON it is `answer` if it is text
/// (UTF-8), else `answer_base64`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandlerAnswer {
    /// Text.
    #[serde(rename = "answer")]
    Text(String),
    /// Bytes that are no text.
    #[serde(rename = "answer_base64", with = "crate::text::base64_bytes")]
    Bytes(Vec<u8>),
}

impl HandlerAnswer {
    /// Text if it is some.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|e| Self::Bytes(e.into_bytes()), Self::Text)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// The answer to an accepted message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The message's id, to ask for its state and receipt.
    pub id: MessageId,
    /// True if it had been accepted before and was not stored again.
    pub duplicate: bool,
    /// What is promised with this answer.
    pub mode: AckMode,
    /// The handlers' results, in mode [`AckMode::Executed`].
    pub results: Vec<HandlerResult>,
}

/// Where an accepted message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageState {
    /// Durable on this node.
    Stored,
    /// In a final block.
    Ordered,
    /// Every routed handler has run (or failed, which its result says).
    Executed,
    /// A quorum has signed the block's results.
    Attested,
    /// In a final block but not executed: the replicated state of that height did not allow it any more.
    Rejected,
    /// Another message with the same sequence was ordered; this one never will be.
    Conflicted,
}

/// A statement that one of a message's handlers asked to be brought to a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageSettlement {
    /// The height of its block.
    #[serde(with = "crate::time::decimal")]
    pub height: u64,
    /// Its index among the block's outputs.
    #[serde(with = "crate::time::decimal")]
    pub index: u64,
    /// The settlement's name in the manifest; empty if the manifest has none for it.
    pub name: String,
    /// The chain's id (EIP-155).
    #[serde(with = "crate::time::decimal")]
    pub chain: u64,
    /// How far it is.
    pub state: SettlementStep,
    /// Whether it needs a proof, and has it.
    pub proof: ProofStep,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// What it waits for, or why it is not further, in words; empty if there is nothing to say.
    pub reason: String,
    /// The transaction that settled it, if this node sent it.
    pub transaction: Option<SettlingTransaction>,
}

/// How far a settlement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SettlementStep {
    /// For its block's attestation, for its proof, or without one for its transaction.
    Waiting,
    /// The proof is there; the transaction is not final yet.
    Proven,
    /// The contract took it.
    Settled,
    /// The contract had taken it already, by a transaction that this node does not know.
    Elsewhere,
}

/// The proof of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProofStep {
    /// None is asked for, or it is not this node's.
    None,
    /// It is asked for and not there yet.
    Waiting,
    /// This node made it.
    Made,
}

/// The transaction that settled a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettlingTransaction {
    /// Its hash, `0x` and hex.
    pub hash: String,
    /// The number of its block.
    #[serde(with = "crate::time::decimal")]
    pub block: u64,
    /// Gas that it used.
    #[serde(with = "crate::time::decimal")]
    pub gas: u64,
}

/// One step in the life of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChange {
    /// The state that was reached.
    pub state: MessageState,
    /// When this node reached it (for `ordered`: the block's time).
    pub time: Timestamp,
    /// Why, or what it waits for next, in words.
    pub reason: String,
}
