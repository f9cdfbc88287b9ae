//! The status page and the numbers behind it, on the HTTP endpoint.

use std::sync::Arc;

use axum::http::header;
use axum::response::IntoResponse as _;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::builder::LateQuery;

const PAGE: &str = include_str!("web/status.html");

/// `GET /` and `GET /v1/status`. Shows counts and names of projects, never a payload or a key.
pub(crate) fn router(query: Arc<LateQuery>) -> Router {
    let page = || async {
        let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
        let headers =
            [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)];
        (headers, PAGE).into_response()
    };
    Router::new().route("/", get(page)).route("/v1/status", get(move || async move { status(&query) }))
}

fn status(query: &LateQuery) -> Json<Value> {
    let projects = query.pipeline().map(w3bstream_pipeline::Pipeline::projects).unwrap_or_default();
    Json(json!({ "version": env!("CARGO_PKG_VERSION"), "projects": projects }))
}
