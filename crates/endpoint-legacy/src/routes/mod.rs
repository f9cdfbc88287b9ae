//! The routes, and what they share.

mod account;
mod applet;
mod cron;
mod deploy;
mod event;
mod project;
mod publisher;
mod sprout;
mod strategy;
mod task;

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::endpoint::Shared;
use crate::error::ApiError;
use crate::openapi;
use crate::store::Account;

pub(crate) use event::describe;
pub(crate) use project::datatypes;

pub(crate) type Context = State<Arc<Shared>>;

/// Where a token may also stand.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct AuthQuery {
    #[serde(default)]
    pub(crate) authorization: String,
}

pub(crate) fn created(body: Value) -> Response {
    (StatusCode::CREATED, Json(body)).into_response()
}

pub(crate) fn ok(body: Value) -> Response {
    Json(body).into_response()
}

pub(crate) fn empty() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// A list as the original answers it.
pub(crate) fn listed(data: Vec<Value>) -> Response {
    let total = data.len();
    ok(json!({ "data": data, "total": total }))
}

/// A number of a path.
pub(crate) fn number(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| ApiError::bad(format!("{text:?} is no number of this node")))
}

pub(crate) fn body<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // As with `Rest`.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::bad("the body must be a JSON object"));
    }
    serde_json::from_slice(bytes)
        .map_err(|e| ApiError::bad(format!("the body is not what this route takes: {e}")))
}

/// The account that asks. Who has not logged in is refused before anything else of a request is looked at.
pub(crate) struct Login(pub(crate) Account);

impl FromRequestParts<Arc<Shared>> for Login {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, ApiError> {
        let query = Query::<AuthQuery>::try_from_uri(&parts.uri);
        let Query(query) = query.map_err(|e| ApiError::bad(e.body_text()))?;
        shared.authorise(&parts.headers, &query.authorization).await.map(Self)
    }
}

pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let management = Router::new()
        .route("/login", put(account::login))
        .route("/register/admin", post(account::register))
        .route("/account_access_key", post(account::create_key))
        .route("/account_access_key/datalist", get(account::keys))
        .route("/account_access_key/{name}", delete(account::delete_key))
        .route("/project", post(project::create))
        .route("/project/datalist", get(project::list))
        .route("/project/detail_list", get(project::details))
        .route("/project/x/{project}/data", get(project::show))
        .route("/project/x/{project}", delete(project::remove))
        .route("/project_config/x/{project}/{kind}", get(project::config).post(project::set_config))
        .route("/applet/x/{project}/datalist", get(applet::list))
        .route("/applet/data/{applet}", get(applet::show).delete(applet::remove))
        .route("/deploy/applet/{applet}", post(deploy::create).get(deploy::of_applet))
        .route("/deploy/instance/{instance}", get(deploy::show))
        .route("/deploy/{instance}/{command}", put(deploy::command))
        .route("/deploy/{instance}", delete(deploy::remove))
        .route(
            "/publisher/x/{project}",
            post(publisher::create).get(publisher::list).delete(publisher::remove_of),
        )
        .route("/publisher/x/{project}/datalist", get(publisher::list))
        .route("/publisher/x/{project}/upsert", post(publisher::upsert))
        .route("/publisher/x/{project}/anonymous", post(publisher::anonymous))
        .route("/publisher/x/{project}/{publisher}", put(publisher::update))
        .route("/publisher/data/{publisher}", get(publisher::show).delete(publisher::remove))
        .route("/strategy/x/{project}", post(strategy::create))
        .route("/strategy/x/{project}/datalist", get(strategy::list))
        .route("/strategy/{strategy}", put(strategy::update))
        .route("/strategy/data/{strategy}", get(strategy::show).delete(strategy::remove))
        .route("/cronjob/{project}", post(cron::create).get(cron::list))
        .route("/cronjob/data/{cronjob}", delete(cron::remove))
        .route("/event/{channel}", post(event::post))
        .route("/openapi.json", get(|| async { ok(openapi::document()) }));
    // Half a MiB for what stands around a module.
    let upload_limit = DefaultBodyLimit::max(shared.config.max_upload_bytes.saturating_add(1 << 19));
    let uploads = Router::new()
        .route("/applet/x/{project}", post(applet::create))
        .route("/applet/{applet}", put(applet::update))
        .layer(upload_limit);
    let prefixed = management.layer(DefaultBodyLimit::max(shared.config.max_body_bytes)).merge(uploads);
    let prefixed = prefixed.layer(map_response(|r| in_words(r, IntoResponse::into_response)));
    let later = Router::new()
        .route("/message", post(sprout::post))
        .route("/message/{id}", get(sprout::show))
        .route("/v1/task", post(task::post))
        .route("/v1/task/{id}", get(task::show))
        .layer(DefaultBodyLimit::max(shared.config.max_body_bytes))
        .layer(map_response(|r| in_words(r, |e| sprout::failed(&e))));
    Router::new()
        .route("/liveness", get(|| async { ok(json!({ "w3bstream": "ok" })) }))
        .route("/version", get(version))
        .nest("/srv-applet-mgr/v0", prefixed)
        .merge(later)
        .with_state(shared.clone())
}

/// The longest text of axum's own refusals.
const MAX_REFUSAL: usize = 4096;

/// A refusal of axum's, such as of a method or a path that is no UTF-8, as the original would have written it.
async fn in_words(response: Response, write: fn(ApiError) -> Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|t| *t == "application/json");
    // A path that is not here may be somebody else's on this server.
    let elsewhere = status == StatusCode::NOT_FOUND;
    if is_json || elsewhere || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let text = to_bytes(body, MAX_REFUSAL).await.unwrap_or_default();
    let key = match status {
        StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
        StatusCode::PAYLOAD_TOO_LARGE => "TooLarge",
        _ => "BadRequest",
    };
    let said = match text.is_empty() {
        true => status.canonical_reason().unwrap_or_default().into(),
        false => String::from_utf8_lossy(&text),
    };
    let mut words = write(ApiError::new(status, key, said));
    // Such as which methods there are.
    for name in [CONTENT_TYPE, CONTENT_LENGTH] {
        head.headers.remove(name);
    }
    words.headers_mut().extend(head.headers);
    words
}

async fn version(State(shared): Context) -> Response {
    shared.backend.version().into_response()
}

/// Reads bodies that may be anything.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8]) {
    account::read_any(bytes);
    cron::read_any(bytes);
    project::read_any(bytes);
    publisher::read_any(bytes);
    strategy::read_any(bytes);
}

/// Reads a form that may be anything.
#[cfg(feature = "fuzzing")]
pub(crate) async fn read_any_form(form: axum::extract::Multipart, came: usize) {
    applet::read_any(form, came).await;
}
