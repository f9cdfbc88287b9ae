//! What a device is answered, as JSON: the body of an HTTP answer and of `w3b/{project}/ack/{device}` and
//! `w3b/{project}/refused/{device}`.

use serde::{Deserialize, Serialize};
use w3bstream_types::{Accepted, AckMode, HandlerResult, MessageId, Refusal, RefusalKind};

/// The answer to an accepted message. A reader ignores members that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckBody {
    /// The message's id: 64 hex digits.
    pub id: MessageId,
    /// True if it had been accepted before and was not stored again.
    pub duplicate: bool,
    /// What is promised: `durable`, `committed` or `executed`.
    pub mode: AckMode,
    /// The handlers' results; empty unless the mode is `executed`.
    pub results: Vec<HandlerResult>,
}

impl From<&Accepted> for AckBody {
    fn from(accepted: &Accepted) -> Self {
        Self {
            id: accepted.id,
            duplicate: accepted.duplicate,
            mode: accepted.mode,
            results: accepted.results.clone(),
        }
    }
}

/// The answer to a refused message. A reader ignores members that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalBody {
    /// The message's id; left away if the bytes were no message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// The stable code, such as `too-old`.
    pub code: RefusalKind,
    /// True if the same bytes will be refused for ever; false if the device should send them again later.
    pub permanent: bool,
    /// What happened and how to fix it, in words.
    pub detail: String,
    /// With `too-old`: the boot epoch that a device whose memory was wiped should use next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_epoch: Option<u32>,
}

impl RefusalBody {
    /// The body for a refusal of the message `id`.
    #[must_use]
    pub fn new(id: Option<MessageId>, refusal: &Refusal) -> Self {
        Self {
            id,
            code: refusal.kind,
            permanent: refusal.kind.is_permanent(),
            detail: refusal.detail.clone(),
            next_epoch: refusal.next_epoch,
        }
    }
}

/// A refusal as the reason string of MQTT 5: the stable code first, so that a program can read it.
#[must_use]
pub fn refusal_reason(refusal: &Refusal) -> String {
    match refusal.next_epoch {
        Some(epoch) => format!("{}: {}; next-epoch={epoch}", refusal.kind.code(), refusal.detail),
        None => format!("{}: {}", refusal.kind.code(), refusal.detail),
    }
}
