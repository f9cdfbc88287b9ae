//! What was in force before, and what is left to do of it.

use axum::Json;
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;
use w3bstream_types::Canonical as _;

use super::{AdminState, Answer, fail, find};

/// How many versions are listed if nothing else is asked for.
const FEW: usize = 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Most {
    limit: Option<usize>,
}

pub(super) async fn versions(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    UrlQuery(most): UrlQuery<Most>,
) -> Answer {
    let id = find(&state, &name)?;
    let found = state.0.pipeline.versions(id, most.limit.unwrap_or(FEW)).await.map_err(fail)?;
    Ok(Json(json!({ "versions": found })))
}

pub(super) async fn version(
    State(state): State<AdminState>,
    Path((name, version)): Path<(String, u64)>,
) -> Result<Response, Response> {
    let id = find(&state, &name)?;
    let tx = state.0.pipeline.version(id, version).await.map_err(fail)?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], tx.to_canonical()).into_response())
}

pub(super) async fn under_way(State(state): State<AdminState>, Path(name): Path<String>) -> Answer {
    let id = find(&state, &name)?;
    Ok(Json(json!(state.0.pipeline.under_way(id).await.map_err(fail)?)))
}
