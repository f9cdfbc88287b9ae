//! Refusals and other failures as `application/problem+json` (RFC 9457).

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use w3bstream_types::{Refusal, RefusalKind};

use crate::coding::CODINGS;

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What kind of problem it is. The [`code`](Self::code) is stable; clients branch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The node refused a message.
    Refusal(RefusalKind),
    /// No such path.
    NotFound,
    /// No such method on this path.
    MethodNotAllowed,
    /// The body's media type or coding is not understood.
    UnsupportedMediaType,
    /// This node knows no message of that id.
    UnknownMessage,
    /// The `Idempotency-Key` stood for another message before.
    KeyReused,
    /// The body came too slowly.
    RequestTimeout,
    /// The message was taken, but its acknowledgement did not come in time.
    AckTimeout,
    /// The node cannot read its own state now.
    StateUnavailable,
    /// A handler failed.
    Internal,
}

impl ProblemKind {
    /// Those that are not refusals of a message.
    pub const OTHER: [Self; 9] = [
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::UnsupportedMediaType,
        Self::UnknownMessage,
        Self::KeyReused,
        Self::RequestTimeout,
        Self::AckTimeout,
        Self::StateUnavailable,
        Self::Internal,
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
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::UnknownMessage => "unknown-message",
            Self::KeyReused => "key-reused",
            Self::RequestTimeout => "request-timeout",
            Self::AckTimeout => "ack-timeout",
            Self::StateUnavailable => "state-unavailable",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Refusal(kind) => refusal_status(kind),
            Self::NotFound | Self::UnknownMessage => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::AckTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::StateUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// One line for people, the same for every problem of this kind.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Refusal(kind) => refusal_title(kind),
            Self::NotFound => "There is nothing at this path",
            Self::MethodNotAllowed => "This path does not know that method",
            Self::UnsupportedMediaType => "The body's type or coding is not understood",
            Self::UnknownMessage => "This node knows no such message",
            Self::KeyReused => "This Idempotency-Key stood for another message before",
            Self::RequestTimeout => "The body came too slowly",
            Self::AckTimeout => "The acknowledgement did not come in time; send the same bytes again",
            Self::StateUnavailable => "The node cannot read its state now",
            Self::Internal => "The node failed",
        }
    }

    /// The URN that names this kind.
    #[must_use]
    pub fn urn(self) -> String {
        let space = if matches!(self, Self::Refusal(_)) { "refusal" } else { "problem" };
        format!("urn:w3bstream:{space}:{}", self.code())
    }

    /// After how many seconds the sender should try again with the same bytes; `None` if that is of no use.
    #[must_use]
    pub const fn retry_after(self) -> Option<u32> {
        match self {
            Self::Refusal(RefusalKind::Overloaded) | Self::AckTimeout | Self::RequestTimeout => Some(1),
            Self::Refusal(
                RefusalKind::ShuttingDown | RefusalKind::StorageFailing | RefusalKind::NotReady,
            )
            | Self::StateUnavailable => Some(5),
            _ => None,
        }
    }
}

const fn refusal_status(kind: RefusalKind) -> StatusCode {
    match kind {
        RefusalKind::Malformed => StatusCode::BAD_REQUEST,
        // RFC 9110 asks a 401 to name a scheme; there is one only for tokens.
        RefusalKind::BadToken => StatusCode::UNAUTHORIZED,
        RefusalKind::BadSignature
        | RefusalKind::UnknownDevice
        | RefusalKind::Revoked
        | RefusalKind::NotAllowed
        | RefusalKind::WrongAudience => StatusCode::FORBIDDEN,
        RefusalKind::UnknownProject => StatusCode::NOT_FOUND,
        RefusalKind::Removed => StatusCode::GONE,
        RefusalKind::Conflict | RefusalKind::TooOld => StatusCode::CONFLICT,
        RefusalKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RefusalKind::Overloaded
        | RefusalKind::ShuttingDown
        | RefusalKind::StorageFailing
        | RefusalKind::NotReady => StatusCode::SERVICE_UNAVAILABLE,
    }
}

const fn refusal_title(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::Malformed => "The request is no message",
        RefusalKind::BadSignature => "The signature does not match the registered key",
        RefusalKind::UnknownDevice => "No such device is registered in the project",
        RefusalKind::Revoked => "The device or token was revoked",
        RefusalKind::BadToken => "There is no token, or it is not registered in the project",
        RefusalKind::NotAllowed => "The sender may not send this event type",
        RefusalKind::WrongAudience => "The message is for another project",
        RefusalKind::UnknownProject => "This node serves no such project",
        RefusalKind::Removed => "The project was removed by its owner",
        RefusalKind::Conflict => "Another message with this sequence or event id was accepted before",
        RefusalKind::TooOld => "The sequence is below the window or of an older boot epoch",
        RefusalKind::TooLarge => "The body is larger than the limit",
        RefusalKind::Overloaded => "Too many messages wait; try again",
        RefusalKind::ShuttingDown => "The node is stopping; try again",
        RefusalKind::StorageFailing => "The record could not be stored; try again",
        RefusalKind::NotReady => "The project cannot take messages now; try again",
    }
}

/// A problem to answer with. Public so that routes mounted beside the device routes answer alike.
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

    /// The JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut body = json!({
            "type": self.kind.urn(),
            "title": self.kind.title(),
            "status": self.kind.status().as_u16(),
            "detail": self.detail,
            "code": self.kind.code(),
        });
        if let Some(next) = self.next_epoch {
            body["next_epoch"] = next.into();
        }
        body
    }
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

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.kind.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.kind == ProblemKind::UnsupportedMediaType {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(CODINGS));
        }
        if self.kind.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"w3bstream\""));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transient_problems_and_only_they_ask_for_another_try() {
        for kind in ProblemKind::all() {
            let ProblemKind::Refusal(refusal) = kind else { continue };
            assert_eq!(kind.retry_after().is_some(), !refusal.is_permanent(), "{refusal}");
            assert_eq!(kind.status().is_server_error(), !refusal.is_permanent(), "{refusal}");
        }
    }

    #[test]
    fn codes_are_unique_and_documented() {
        let mut codes: Vec<_> = ProblemKind::all().map(ProblemKind::code).collect();
        for kind in ProblemKind::all() {
            let row = format!("//! | {} | `{}` |", kind.status().as_u16(), kind.code());
            assert!(include_str!("lib.rs").contains(&row), "the crate's table lacks {row}");
        }
        let all = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }
}
