//! `POST /v1/projects/{project}/sessions` and `GET /v1/projects/{project}/sessions/challenge`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use serde_json::json;
use tokio::time::timeout;
use w3bstream_types::{MAX_SESSION_TEXT_BYTES, RefusalKind};
use w3bstream_wire::CONTENT_TYPE_JOSE;

use crate::body::read;
use crate::ingest::{PathResult, project_of, stopping};
use crate::problem::{Problem, ProblemKind};
use crate::routes::busy;
use crate::server::Shared;

/// Opens a session: the body is the device's introduction.
pub(crate) async fn open_session(
    State(shared): State<Arc<Shared>>,
    path: PathResult,
    request: Request,
) -> Response {
    let empty = request.body().is_end_stream();
    match open(&shared, path, request).await {
        Ok(response) => response,
        Err((problem, read)) => shared.refuse(problem, !read && !empty),
    }
}

/// The answer, or a problem and whether the body was read.
async fn open(shared: &Shared, path: PathResult, request: Request) -> Result<Response, (Problem, bool)> {
    let unread = |problem| (problem, false);
    if shared.intake_stopped() {
        return Err(unread(stopping()));
    }
    let project = project_of(path).map_err(unread)?;
    let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(CONTENT_TYPE_JOSE) {
        let why = format!("send the signed introduction as {CONTENT_TYPE_JOSE}");
        return Err(unread(Problem::new(ProblemKind::UnsupportedMediaType, why)));
    }
    let too_long = || {
        let why = format!("an introduction has at most {MAX_SESSION_TEXT_BYTES} bytes");
        Problem::refusal(RefusalKind::TooLarge, why)
    };
    let body = request.into_body();
    if body.size_hint().lower() > MAX_SESSION_TEXT_BYTES as u64 {
        return Err(unread(too_long()));
    }
    let held = read(body, &shared.limits, &shared.budget).await.map_err(unread)?;
    let done = |problem| (problem, true);
    // A final line end is what shells and editors add.
    let text = std::str::from_utf8(held.bytes.trim_ascii_end())
        .map_err(|_| done(Problem::refusal(RefusalKind::Malformed, "an introduction is ASCII text")))?;
    if text.len() > MAX_SESSION_TEXT_BYTES {
        return Err(done(too_long()));
    }
    let _place = shared.queries.try_acquire().map_err(|_| done(busy()))?;
    let opening = timeout(shared.limits.ack_timeout, shared.sessions.open(&project, text));
    let Ok(opened) = opening.await else {
        let why = "the node gave no answer in time; sign a new introduction";
        return Err(done(Problem::new(ProblemKind::AckTimeout, why)));
    };
    let opened = opened.map_err(|refusal| done(refusal.into()))?;
    let body = json!({
        "token": opened.token, "device": opened.device, "node": opened.node, "expires": opened.expires,
    });
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// A nonce for a device without a clock.
pub(crate) async fn challenge(State(shared): State<Arc<Shared>>, path: PathResult) -> Response {
    if shared.intake_stopped() {
        return shared.refuse(stopping(), false);
    }
    let challenge = project_of(path).and_then(|project| Ok(shared.sessions.challenge(&project)?));
    match challenge {
        Ok(made) => {
            let body = json!({ "nonce": made.nonce, "node": made.node, "expires": made.expires });
            ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(problem) => shared.refuse(problem, false),
    }
}
