//! The second generation's messages.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use w3bstream_endpoint::MessageLife;
use w3bstream_types::{MessageId, MessageState, SettlementStep};
use w3bstream_wire::legacy::{Event, SproutAnswer, SproutMessage, SproutState, SproutStates};

use super::event::sender;
use super::{AuthQuery, Context, ok};
use crate::auth::token_of;
use crate::endpoint::Shared;
use crate::error::ApiError;
use crate::model::rfc3339;

/// An error as the later generations wrote it.
pub(super) fn error(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

pub(super) fn failed(e: &ApiError) -> Response {
    error(e.status, e.desc())
}

pub(super) async fn post(
    State(shared): Context,
    Query(query): Query<AuthQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let token = token_of(&headers, &query.authorization);
    take(&shared, token, &body).await.unwrap_or_else(|e| failed(&e))
}

async fn take(shared: &Shared, token: String, body: &[u8]) -> Result<Response, ApiError> {
    let message: SproutMessage = super::body(body)?;
    let unknown = || ApiError::not_found("ProjectNotFound", format!("no project {}", message.project_id));
    let project = shared.store.project(message.project_id).ok_or_else(unknown)?;
    let who = sender(shared, &project.label, token, "").await?;
    let event = Event::new(("", "", None), message.data.into_bytes(), (&shared.fill()?, 0))?;
    // The original answered when a message was kept, not when it had run; here the project's own promise counts.
    let patience = shared.config.handler_timeout;
    let submission = event.submission(who.token);
    let accepted = shared.submit(project.label.clone(), submission, patience).await?;
    Ok(ok(json!(SproutAnswer { message_id: accepted.id.to_string() })))
}

pub(super) async fn show(State(shared): Context, Path(id): Path<String>) -> Response {
    let Ok(message) = id.parse::<MessageId>() else {
        return error(StatusCode::BAD_REQUEST, "a message's id is 64 hex digits");
    };
    match shared.query.message(message).await {
        Ok(life) => {
            let states = life.map(|l| states(&l)).unwrap_or_default();
            ok(json!(SproutStates { message_id: id, states }))
        }
        Err(e) => error(StatusCode::SERVICE_UNAVAILABLE, &e.to_string()),
    }
}

/// A message's life in the second generation's words. `outputted` is said once nothing is left to wait for: without
/// settlements when the block is attested.
fn states(life: &MessageLife) -> Vec<SproutState> {
    let state = |state: &str, time: u64, comment: &str| SproutState {
        state: state.to_owned(),
        time: rfc3339(time),
        comment: comment.to_owned(),
        result: String::new(),
    };
    let mut out = Vec::new();
    for change in &life.states {
        let (time, why) = (change.time.millis(), change.reason.as_str());
        match change.state {
            MessageState::Stored => out.push(state("received", time, why)),
            MessageState::Ordered => out.push(state("packed", time, why)),
            MessageState::Executed => out.push(state("dispatched", time, why)),
            MessageState::Attested if life.settlements.is_empty() => {
                out.push(state("outputted", time, "attested; the project asks for no proof"));
            }
            MessageState::Attested => {}
            _ => out.push(state("failed", time, why)),
        }
    }
    let last = life.states.last().map_or(0, |c| c.time.millis());
    if !life.settlements.is_empty() && life.settlements.iter().all(|s| s.state >= SettlementStep::Proven) {
        out.push(state("proved", last, ""));
    }
    if !life.settlements.is_empty() && life.settlements.iter().all(|s| s.state >= SettlementStep::Settled) {
        out.push(state("outputted", last, "a contract has taken it"));
    }
    out
}
