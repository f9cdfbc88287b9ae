//! Refusals and other failures, as statuses of calls and as answers in streams.

use std::time::Duration;

use prost::Message as _;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::pb;
use w3bstream_types::{Refusal, RefusalKind};

use crate::proto;

/// The metadata key of a problem's stable code.
pub const CODE_KEY: &str = "w3b-code";
/// The metadata key of the next boot epoch, with `too-old`.
pub const NEXT_EPOCH_KEY: &str = "w3b-next-epoch";

/// What kind of problem it is. The [`code`](Self::code) is stable; clients branch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The node refused a message.
    Refusal(RefusalKind),
    /// This node knows no message of that id.
    UnknownMessage,
    /// The call's message came too slowly.
    RequestTimeout,
    /// The client's stream was silent for too long.
    StreamIdle,
    /// The message was taken, but its acknowledgement did not come in time.
    AckTimeout,
    /// The node cannot read its own state now.
    StateUnavailable,
}

impl ProblemKind {
    /// Those that are not refusals of a message.
    pub const OTHER: [Self; 5] = [
        Self::UnknownMessage,
        Self::RequestTimeout,
        Self::StreamIdle,
        Self::AckTimeout,
        Self::StateUnavailable,
    ];

    /// Every kind, for tables and metrics.
    pub fn all() -> impl Iterator<Item = Self> {
        RefusalKind::ALL.into_iter().map(Self::Refusal).chain(Self::OTHER)
    }

    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Refusal(kind) => kind.code(),
            Self::UnknownMessage => "unknown-message",
            Self::RequestTimeout => "request-timeout",
            Self::StreamIdle => "stream-idle",
            Self::AckTimeout => "ack-timeout",
            Self::StateUnavailable => "state-unavailable",
        }
    }

    /// The gRPC status code.
    #[must_use]
    pub const fn status(self) -> Code {
        match self {
            Self::Refusal(kind) => refusal_status(kind),
            Self::UnknownMessage => Code::NotFound,
            Self::RequestTimeout | Self::StreamIdle | Self::AckTimeout | Self::StateUnavailable => {
                Code::Unavailable
            }
        }
    }

    /// True if the same bytes will be refused for ever.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        match self {
            Self::Refusal(kind) => kind.is_permanent(),
            Self::UnknownMessage => true,
            _ => false,
        }
    }

    /// After how long the sender should try again with the same bytes; `None` if that is of no use.
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            _ if self.is_permanent() => None,
            Self::Refusal(RefusalKind::Overloaded)
            | Self::AckTimeout
            | Self::RequestTimeout
            | Self::StreamIdle => Some(Duration::from_secs(1)),
            _ => Some(Duration::from_secs(5)),
        }
    }
}

const fn refusal_status(kind: RefusalKind) -> Code {
    match kind {
        RefusalKind::Malformed => Code::InvalidArgument,
        RefusalKind::BadSignature | RefusalKind::BadToken => Code::Unauthenticated,
        RefusalKind::UnknownDevice
        | RefusalKind::Revoked
        | RefusalKind::NotAllowed
        | RefusalKind::WrongAudience => Code::PermissionDenied,
        RefusalKind::UnknownProject | RefusalKind::Removed => Code::NotFound,
        RefusalKind::Conflict => Code::AlreadyExists,
        RefusalKind::TooOld => Code::FailedPrecondition,
        RefusalKind::TooLarge => Code::OutOfRange,
        RefusalKind::Overloaded => Code::ResourceExhausted,
        RefusalKind::ShuttingDown | RefusalKind::StorageFailing | RefusalKind::NotReady => Code::Unavailable,
    }
}

/// A problem to answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub kind: ProblemKind,
    /// What happened, in words; never a secret and never the node's internals.
    pub detail: String,
    /// For [`RefusalKind::TooOld`]: the boot epoch that a wiped device should use next.
    pub next_epoch: Option<u32>,
}

impl Problem {
    /// A problem of `kind`.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), next_epoch: None }
    }

    /// A refusal of `kind`.
    #[must_use]
    pub fn refusal(kind: RefusalKind, detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Refusal(kind), detail)
    }

    fn details(&self) -> pb::Status {
        let code = self.kind.code();
        let mut details = vec![
            any("w3bstream.v1.Refused", &proto::Refused::from(self.clone())),
            any(
                "google.rpc.ErrorInfo",
                &pb::ErrorInfo {
                    reason: code.to_ascii_uppercase().replace('-', "_"),
                    domain: "w3bstream".into(),
                    metadata: self
                        .next_epoch
                        .map(|e| ("next_epoch".into(), e.to_string()))
                        .into_iter()
                        .collect(),
                },
            ),
        ];
        if let Some(after) = self.kind.retry_after() {
            let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
            let retry_delay = Some(prost_types::Duration { seconds, nanos: 0 });
            details.push(any("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay }));
        }
        pb::Status { code: self.kind.status() as i32, message: self.text(), details }
    }

    fn text(&self) -> String {
        // It travels in a header: a detail of megabytes, or with line breaks, is nobody's help.
        let detail: String = self.detail.chars().filter(|c| !c.is_control()).take(500).collect();
        format!("{}: {detail}", self.kind.code())
    }
}

fn any(name: &str, message: &impl prost::Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self {
            kind: ProblemKind::Refusal(refusal.kind),
            detail: refusal.detail,
            next_epoch: refusal.next_epoch,
        }
    }
}

impl From<Problem> for proto::Refused {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.kind.code().into(),
            detail: problem.detail.chars().take(500).collect(),
            permanent: problem.kind.is_permanent(),
            next_epoch: problem.next_epoch,
        }
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let mut metadata = MetadataMap::new();
        metadata.insert(CODE_KEY, MetadataValue::from_static(problem.kind.code()));
        if let Some(epoch) = problem.next_epoch {
            metadata.insert(NEXT_EPOCH_KEY, MetadataValue::from(epoch));
        }
        let details = problem.details().encode_to_vec().into();
        Self::with_details_and_metadata(problem.kind.status(), problem.text(), details, metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statuses on which a client sends the same bytes again.
    const TRANSIENT: [Code; 2] = [Code::Unavailable, Code::ResourceExhausted];

    #[test]
    fn transient_problems_and_only_they_ask_for_another_try() {
        for kind in ProblemKind::all() {
            let transient = !kind.is_permanent();
            assert_eq!(kind.retry_after().is_some(), transient, "{kind:?}");
            assert_eq!(TRANSIENT.contains(&kind.status()), transient, "{kind:?}");
            assert!(kind.status() != Code::Ok && kind.status() != Code::Unknown, "{kind:?}");
        }
    }

    #[test]
    fn codes_are_unique_and_documented() {
        let mut codes: Vec<_> = ProblemKind::all().map(ProblemKind::code).collect();
        for kind in ProblemKind::all() {
            let name = format!("{:?}", kind.status());
            let row = format!("//! | `{}` | `{name}` |", kind.code());
            assert!(include_str!("lib.rs").contains(&row), "the crate's table lacks {row}");
        }
        let all = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }

    #[test]
    fn a_long_detail_does_not_burst_the_headers() {
        let status = Status::from(Problem::refusal(RefusalKind::Malformed, "é\r\n".repeat(100_000)));
        assert!(status.message().len() < 1100 && !status.message().contains('\n'));
        assert!(status.details().len() < 4096, "{}", status.details().len());
    }
}
