//! Errors as the original wrote them.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use w3bstream_types::{Malformed, Refusal, RefusalKind};

use crate::{Fault, FaultKind};

/// An error with the original's body: `{key, code, msg, desc, canBeTalk, id, sources, fields}`, where `code` is the status
/// and six digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    key: &'static str,
    desc: String,
}

pub(crate) type Answer = Result<Response, ApiError>;

impl ApiError {
    pub(crate) fn new(status: StatusCode, key: &'static str, desc: impl Into<String>) -> Self {
        Self { status, key, desc: desc.into() }
    }

    pub(crate) fn bad(desc: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", desc)
    }

    pub(crate) fn not_found(key: &'static str, desc: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, key, desc)
    }

    pub(crate) fn conflict(key: &'static str, desc: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, key, desc)
    }

    pub(crate) fn unauthorized(desc: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "InvalidAuthValue", desc)
    }

    pub(crate) fn desc(&self) -> &str {
        &self.desc
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({
            "key": self.key, "code": u64::from(self.status.as_u16()) * 1_000_000,
            "msg": self.status.canonical_reason().unwrap_or_default(), "desc": self.desc,
            "canBeTalk": true, "id": "", "sources": ["w3bstream"], "fields": [],
        });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Malformed> for ApiError {
    fn from(e: Malformed) -> Self {
        Self::bad(e.to_string())
    }
}

impl From<Fault> for ApiError {
    fn from(e: Fault) -> Self {
        match e.kind {
            FaultKind::Refused => Self::bad(e.why),
            FaultKind::Taken => Self::conflict("ProjectNameConflict", e.why),
            FaultKind::Unavailable => Self::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", e.why),
        }
    }
}

impl From<w3bstream_sqlite::Error> for ApiError {
    fn from(e: w3bstream_sqlite::Error) -> Self {
        tracing::error!(error = %e, "the state of the original's clients cannot be read or written");
        let desc = "the node cannot read or write its state; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "DatabaseError", desc)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (status, key) = match refusal.kind {
            RefusalKind::BadToken | RefusalKind::Revoked => (StatusCode::UNAUTHORIZED, "InvalidAuthValue"),
            RefusalKind::NotAllowed => (StatusCode::FORBIDDEN, "NoProjectPermission"),
            RefusalKind::UnknownProject | RefusalKind::Removed => (StatusCode::NOT_FOUND, "ProjectNotFound"),
            RefusalKind::Conflict => (StatusCode::CONFLICT, "EventIDConflict"),
            RefusalKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge"),
            kind if !kind.is_permanent() => (StatusCode::SERVICE_UNAVAILABLE, "Unavailable"),
            _ => (StatusCode::BAD_REQUEST, "BadRequest"),
        };
        Self::new(status, key, refusal.detail)
    }
}
