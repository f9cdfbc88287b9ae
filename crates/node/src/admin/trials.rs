//! What a project's blocks give if they are run again, and modules that run beside its own.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use w3bstream_pipeline::ReplayRequest;
use w3bstream_types::AppletName;

use super::{AdminState, Answer, fail, find, problem};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Span {
    from: Option<u64>,
    to: Option<u64>,
    applet: Option<AppletName>,
    #[serde(default)]
    ignore_gas: bool,
}

pub(super) async fn replay(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    UrlQuery(span): UrlQuery<Span>,
    body: Bytes,
) -> Answer {
    let id = find(&state, &name)?;
    let Span { from, to, applet, ignore_gas } = span;
    let module = Some(body.to_vec()).filter(|module| !module.is_empty());
    let request = ReplayRequest { from, to, applet, module, ignore_gas };
    Ok(Json(json!(state.0.pipeline.start_replay(id, request).await.map_err(fail)?)))
}

pub(super) async fn replay_status(State(state): State<AdminState>, Path(name): Path<String>) -> Answer {
    let id = find(&state, &name)?;
    let none = || {
        let why = format!("the node has not replayed {name} since it started, or something else since then");
        problem(StatusCode::NOT_FOUND, "not-found", &why)
    };
    Ok(Json(json!(state.0.pipeline.replay(id).ok_or_else(none)?)))
}

pub(super) async fn stop_replay(State(state): State<AdminState>, Path(name): Path<String>) -> Answer {
    let id = find(&state, &name)?;
    state.0.pipeline.stop_replay(id);
    Ok(Json(json!({})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Beside {
    applet: Option<AppletName>,
}

pub(super) async fn start_canary(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    UrlQuery(beside): UrlQuery<Beside>,
    body: Bytes,
) -> Answer {
    let id = find(&state, &name)?;
    let started = state.0.pipeline.start_canary(id, (beside.applet, body.to_vec())).await.map_err(fail)?;
    Ok(Json(json!(started)))
}

pub(super) async fn canaries(State(state): State<AdminState>, Path(name): Path<String>) -> Answer {
    let id = find(&state, &name)?;
    Ok(Json(json!({ "canaries": state.0.pipeline.canaries(id) })))
}

pub(super) async fn stop_canary(
    State(state): State<AdminState>,
    Path((name, applet)): Path<(String, AppletName)>,
) -> Answer {
    let id = find(&state, &name)?;
    Ok(Json(json!(state.0.pipeline.stop_canary(id, &applet).map_err(fail)?)))
}
