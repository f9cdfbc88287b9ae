//! The admin API: what operators and owners do, on loopback with a token.
//!
//! | Route | Does |
//! | --- | --- |
//! | `GET /v1/status` | addresses and projects |
//! | `GET /v1/projects`, `GET /v1/projects/{name}` | projects |
//! | `GET /v1/projects/{name}/versions?limit=N` · `/versions/{version}` | the versions that were in force, newest first; what the owner signed for one, canonical bytes |
//! | `POST`, `GET /v1/projects/{name}/replay?from=H&to=H&applet=A&ignore_gas=BOOL` · `POST …/replay/stop` | runs blocks again, with the module in the body if there is one; how that goes; ends it |
//! | `POST`, `GET /v1/projects/{name}/canaries?applet=A` · `POST …/canaries/{applet}/stop` | runs the module in the body beside an applet's own; the canaries and what differs; ends one |
//! | `GET /v1/projects/{name}/genesis` | the genesis of its subnet, which contracts are told of |
//! | `GET /v1/projects/{name}/under-way` | what the project has begun and not finished |
//! | `GET /v1/projects/{name}/settlements?ended=BOOL&after=HEIGHT.INDEX` | settlements under way, or those that ended; up to 1000 behind `after`, and who pays |
//! | `GET /v1/projects/{name}/transactions?ended=BOOL&after=HEIGHT.INDEX` | transactions that guests asked for, likewise |
//! | `GET /v1/projects/{name}/transactions/{id}` | one of them, by the id that the guest got |
//! | `GET /v1/projects/{name}/account?operator=NAME` | the account that pays: the project's, or an operator's |
//! | `POST /v1/circuits` | uploads a file of a circuit, gives its digest |
//! | `POST /v1/programs` | uploads a module, gives its digest |
//! | `POST /v1/control` | a signed control transaction, canonical bytes |
//! | `GET /v1/projects/{name}/nonce` | the nonce of the next control transaction (0 for an unknown project) |
//! | `GET /v1/projects/{name}/devices` · `/logs` · `/state/{applet}/{key}?of=DID` | devices, guests' last lines, one value |
//! | `GET /v1/projects/{name}/sql?statement=TEXT` | rows of the project's database, as of its last block |
//! | `GET /v1/messages/{id}` · `/results` | where a message and its settlements are, what its handlers answered |
//! | `GET /v1/receipts/{id}?payload=true&settlements=false` | a receipt |
//! | `POST /rpc` | the same as JSON-RPC 2.0: `w3b_status`, `w3b_message`, …; `rpc.discover` lists the methods |

#![allow(clippy::result_large_err, reason = "an answer of axum is large, and each is made once")]

mod history;
mod server;
mod trials;

use std::sync::Arc;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query as UrlQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use w3bstream_endpoint::Query as _;
use w3bstream_pipeline::{Error, ErrorKind, Pipeline, ReceiptContent};
use w3bstream_tasks::Tasks;
use w3bstream_types::{
    Canonical as _, ControlTx, Digest, MessageId, OperatorName, ProjectId, ProjectName, SqlValue,
};

use crate::listeners::Listeners;
use crate::{Paths, Running};

/// The largest program or control transaction, in bytes.
const MAX_BODY: usize = 32 * 1024 * 1024;
/// What the routes share.
#[derive(Clone, Debug)]
pub(crate) struct AdminState(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pipeline: Pipeline,
    running: Running,
    token_hash: Digest,
    listeners: Arc<Listeners>,
}

impl AdminState {
    pub(crate) fn new(
        pipeline: Pipeline,
        running: Running,
        (token_hash, listeners): (Digest, Arc<Listeners>),
    ) -> Self {
        Self(Arc::new(Inner { pipeline, running, token_hash, listeners }))
    }
}

/// The hash of an admin token, as the node keeps it.
pub(crate) fn hash_token(token: &str) -> Digest {
    Digest::tagged("w3b/admin-token/1", &[token.as_bytes()])
}

pub(crate) fn read_hash(paths: &Paths) -> anyhow::Result<Digest> {
    let path = paths.admin_hash();
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.trim().parse().with_context(|| format!("{} holds no digest", path.display()))
}

/// Serves the API until the group stops.
pub(crate) fn serve(state: AdminState, tasks: &Tasks) {
    let listener = state.0.listeners.admin.clone();
    tasks.spawn("admin", server::run(listener, router(state), server::BOUNDS, tasks.clone()));
}

fn router(state: AdminState) -> Router {
    let calls = routes(state.clone());
    routes(state.clone())
        .route("/rpc", post(move |body: Bytes| crate::rpc::answer(calls, body)))
        .fallback(|| async {
            problem(StatusCode::NOT_FOUND, "not-found", "no such route; see docs/admin-api.md")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(state, authorise))
}

/// The routes, without the question who asks.
fn routes(state: AdminState) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/projects", get(projects))
        .route("/v1/projects/{name}", get(project))
        .route("/v1/projects/{name}/nonce", get(nonce))
        .route("/v1/projects/{name}/resume", post(resume))
        .route("/v1/projects/{name}/devices", get(devices))
        .route("/v1/projects/{name}/logs", get(logs))
        .route("/v1/projects/{name}/state/{applet}/{key}", get(value))
        .route("/v1/projects/{name}/sql", get(sql))
        .route("/v1/projects/{name}/versions", get(history::versions))
        .route("/v1/projects/{name}/versions/{version}", get(history::version))
        .route("/v1/projects/{name}/replay", post(trials::replay).get(trials::replay_status))
        .route("/v1/projects/{name}/replay/stop", post(trials::stop_replay))
        .route("/v1/projects/{name}/canaries", post(trials::start_canary).get(trials::canaries))
        .route("/v1/projects/{name}/canaries/{applet}/stop", post(trials::stop_canary))
        .route("/v1/projects/{name}/genesis", get(genesis))
        .route("/v1/projects/{name}/under-way", get(history::under_way))
        .route("/v1/projects/{name}/settlements", get(settlements))
        .route("/v1/projects/{name}/transactions", get(transactions))
        .route("/v1/projects/{name}/transactions/{id}", get(transaction))
        .route("/v1/projects/{name}/account", get(account))
        .route("/v1/programs", post(put_program))
        .route("/v1/circuits", post(put_circuit))
        .route("/v1/control", post(control))
        .route("/v1/messages/{id}", get(message))
        .route("/v1/messages/{id}/results", get(results))
        .route("/v1/receipts/{id}", get(receipt))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

async fn authorise(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = given.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or("");
    // Hashes are compared, in constant time, so nothing leaks about the token.
    let ok = hash_token(token).as_bytes().ct_eq(state.0.token_hash.as_bytes());
    if bool::from(ok) {
        return next.run(request).await;
    }
    let why = "give the admin token: Authorization: Bearer …; init has shown it";
    problem(StatusCode::UNAUTHORIZED, "bad-token", why)
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let body = json!({
        "type": format!("urn:w3bstream:problem:{code}"), "title": status.canonical_reason(),
        "status": status.as_u16(), "code": code, "detail": detail,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

struct Failure(Error);

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self(e)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = match self.0.kind() {
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            ErrorKind::Refused => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
            ErrorKind::Halted => (StatusCode::CONFLICT, "halted"),
            ErrorKind::Unavailable | ErrorKind::ShuttingDown => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        problem(status, code, &self.0.to_string())
    }
}

type Answer = Result<Json<Value>, Response>;

fn fail(e: impl Into<Failure>) -> Response {
    e.into().into_response()
}

fn find(state: &AdminState, name: &str) -> Result<ProjectId, Response> {
    let parsed: Result<ProjectName, _> = name.parse();
    let id = parsed.ok().and_then(|n| state.0.pipeline.project_id(&n));
    id.ok_or_else(|| {
        let known: Vec<String> = state.0.pipeline.projects().iter().map(|p| p.name.to_string()).collect();
        let why = format!("this node serves no project {name:?}; it serves: {}", known.join(", "));
        problem(StatusCode::NOT_FOUND, "unknown-project", &why)
    })
}

fn id_of(text: &str) -> Result<MessageId, Response> {
    text.parse().map_err(|e: w3bstream_types::Malformed| {
        problem(StatusCode::BAD_REQUEST, "malformed", &e.to_string())
    })
}

async fn status(State(state): State<AdminState>) -> Json<Value> {
    let brokers = state.0.listeners.brokers();
    Json(json!({ "node": state.0.running, "projects": state.0.pipeline.projects(), "brokers": brokers }))
}

async fn projects(State(state): State<AdminState>) -> Json<Value> {
    Json(json!(state.0.pipeline.projects()))
}

async fn project(State(state): State<AdminState>, Path(name): Path<String>) -> Answer {
    let id = find(&state, &name)?;
    Ok(Json(json!(state.0.pipeline.projects().into_iter().find(|p| p.id == id))))
}

async fn nonce(State(state): State<AdminState>, Path(name): Path<String>) -> Answer {
    let Ok(id) = find(&state, &name) else { return Ok(Json(json!({ "nonce": 1 }))) };
    let nonce = state.0.pipeline.next_nonce(id).await.map_err(fail)?;
    Ok(Json(json!({ "nonce": nonce, "project": id })))
}

/// The halt is lifted for the next start: what stopped a project may stand between any two of its steps.
async fn resume(State(state): State<AdminState>, Path(name): Path<String>) -> Answer {
    let id = find(&state, &name)?;
    let reason = state.0.pipeline.lift_halt(id).await.map_err(fail)?;
    Ok(Json(json!({ "project": id, "resumes": "when the node starts next", "halted": reason })))
}

async fn devices(State(state): State<AdminState>, Path(name): Path<String>) -> Answer {
    let id = find(&state, &name)?;
    Ok(Json(json!(state.0.pipeline.devices(id))))
}

async fn logs(State(state): State<AdminState>, Path(name): Path<String>) -> Answer {
    let id = find(&state, &name)?;
    let lines = state.0.pipeline.guest_logs(id, 1000);
    let show = |l: &w3bstream_pipeline::GuestLog| {
        json!({
            "number": l.number, "applet": l.applet, "message": l.message, "level": l.line.level, "text": l.line.text,
        })
    };
    Ok(Json(lines.iter().map(show).collect()))
}

/// Whose part of a state that is split.
#[derive(Deserialize)]
struct PartQuery {
    of: Option<String>,
}

async fn value(
    State(state): State<AdminState>,
    Path((name, applet, key)): Path<(String, String, String)>,
    UrlQuery(query): UrlQuery<PartQuery>,
) -> Result<Response, Response> {
    let id = find(&state, &name)?;
    let malformed =
        |e: w3bstream_types::Malformed| problem(StatusCode::BAD_REQUEST, "malformed", &e.to_string());
    let applet = applet.parse().map_err(malformed)?;
    let of = query.of.map(|of| of.parse()).transpose().map_err(malformed)?;
    let found =
        state.0.pipeline.applet_value(id, (&applet, of.as_ref()), key.as_bytes()).await.map_err(fail)?;
    let bytes =
        found.ok_or_else(|| problem(StatusCode::NOT_FOUND, "not-found", "the applet has no such key"))?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

#[derive(Deserialize)]
struct SqlQuery {
    statement: String,
}

async fn sql(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    UrlQuery(query): UrlQuery<SqlQuery>,
) -> Answer {
    let id = find(&state, &name)?;
    let found = state.0.pipeline.sql(id, query.statement).await.map_err(fail)?;
    let rows: Vec<Vec<Value>> =
        found.rows.into_iter().map(|row| row.into_iter().map(sql_value).collect()).collect();
    Ok(Json(json!({ "columns": found.columns, "rows": rows })))
}

/// As JSON: bytes in hex, and integers as they are.
fn sql_value(value: SqlValue) -> Value {
    match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(v) => v.into(),
        SqlValue::Real(v) => v.into(),
        SqlValue::Text(v) => v.into(),
        SqlValue::Blob(v) => v.iter().fold("0x".to_owned(), |hex, b| format!("{hex}{b:02x}")).into(),
        SqlValue::Bool(v) => v.into(),
    }
}

async fn put_program(State(state): State<AdminState>, body: Bytes) -> Answer {
    let digest = state.0.pipeline.put_program(body.to_vec()).await.map_err(fail)?;
    Ok(Json(json!({ "program": digest })))
}

async fn put_circuit(State(state): State<AdminState>, body: Bytes) -> Answer {
    let digest = state.0.pipeline.put_circuit(body.to_vec()).await.map_err(fail)?;
    Ok(Json(json!({ "circuit": digest })))
}

async fn genesis(State(state): State<AdminState>, Path(name): Path<String>) -> Answer {
    let id = find(&state, &name)?;
    let genesis = state
        .0
        .pipeline
        .genesis(id)
        .ok_or_else(|| problem(StatusCode::NOT_FOUND, "not-found", "the project has no genesis"))?;
    Ok(Json(json!({ "digest": genesis.digest(), "genesis": genesis })))
}

#[derive(Deserialize)]
struct SettlementsOf {
    #[serde(default)]
    ended: bool,
    after: Option<String>,
}

/// The place of an output: `HEIGHT.INDEX`.
fn place(text: &str) -> Option<(u64, u64)> {
    let (height, index) = text.split_once('.')?;
    Some((height.parse().ok()?, index.parse().ok()?))
}

/// Behind which output a page begins.
fn behind(of: &SettlementsOf) -> Result<Option<(u64, u64)>, Response> {
    let wrong = || problem(StatusCode::BAD_REQUEST, "malformed", "after must be HEIGHT.INDEX, such as 12.3");
    of.after.as_deref().map(|text| place(text).ok_or_else(wrong)).transpose()
}

async fn transactions(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    UrlQuery(of): UrlQuery<SettlementsOf>,
) -> Answer {
    let id = find(&state, &name)?;
    let found = state.0.pipeline.transactions(id, (of.ended, behind(&of)?), 1000).await.map_err(fail)?;
    Ok(Json(json!({ "transactions": found })))
}

async fn transaction(
    State(state): State<AdminState>,
    Path((name, request)): Path<(String, String)>,
) -> Answer {
    let id = find(&state, &name)?;
    let request: Digest = request.strip_prefix("0x").unwrap_or(&request).parse().map_err(|_| {
        problem(
            StatusCode::BAD_REQUEST,
            "malformed",
            "a transaction's id is 64 hex digits, with or without 0x",
        )
    })?;
    let found = state.0.pipeline.transaction(id, request).await.map_err(fail)?;
    let unknown = || {
        let why = format!(
            "no guest of {name} has asked for a transaction {request}, or its block is not attested yet"
        );
        problem(StatusCode::NOT_FOUND, "not-found", &why)
    };
    Ok(Json(json!(found.ok_or_else(unknown)?)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountOf {
    operator: Option<OperatorName>,
}

async fn account(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    UrlQuery(of): UrlQuery<AccountOf>,
) -> Answer {
    let id = find(&state, &name)?;
    let account = state.0.pipeline.operator_account(id, of.operator.as_ref()).map_err(fail)?;
    Ok(Json(json!({ "account": account, "operator": of.operator })))
}

async fn settlements(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    UrlQuery(of): UrlQuery<SettlementsOf>,
) -> Answer {
    let id = find(&state, &name)?;
    let found = state.0.pipeline.settlements(id, (of.ended, behind(&of)?), 1000).await.map_err(fail)?;
    let payer = state.0.pipeline.fee_account(id).map_err(fail)?;
    Ok(Json(json!({ "payer": payer, "settlements": found })))
}

async fn control(State(state): State<AdminState>, body: Bytes) -> Answer {
    let tx = ControlTx::from_canonical(&body)
        .map_err(|e| problem(StatusCode::BAD_REQUEST, "malformed", &e.to_string()))?;
    let outcome = state.0.pipeline.submit(tx).await.map_err(fail)?;
    Ok(Json(json!({ "id": outcome.id, "height": outcome.height })))
}

async fn message(State(state): State<AdminState>, Path(id): Path<String>) -> Answer {
    let id = id_of(&id)?;
    let life = state
        .0
        .pipeline
        .message(id)
        .await
        .map_err(|e| problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &e.to_string()))?;
    let life = life.ok_or_else(|| {
        problem(StatusCode::NOT_FOUND, "unknown-message", &format!("this node has no message {id}"))
    })?;
    Ok(Json(json!({
        "id": id, "project": life.project, "states": life.states, "settlements": life.settlements,
        "settlement_count": life.settlement_count,
    })))
}

async fn results(State(state): State<AdminState>, Path(id): Path<String>) -> Answer {
    let id = id_of(&id)?;
    for project in state.0.pipeline.projects() {
        if let Some(results) = state.0.pipeline.results(project.id, id).await.map_err(fail)? {
            return Ok(Json(json!(results)));
        }
    }
    Err(problem(StatusCode::NOT_FOUND, "unknown-message", &format!("message {id} is not executed here")))
}

#[derive(Debug, Deserialize)]
struct ReceiptQuery {
    #[serde(default)]
    payload: bool,
    #[serde(default = "yes")]
    settlements: bool,
}

const fn yes() -> bool {
    true
}

async fn receipt(
    State(state): State<AdminState>,
    Path(id): Path<String>,
    UrlQuery(query): UrlQuery<ReceiptQuery>,
) -> Result<Response, Response> {
    let ReceiptQuery { payload, settlements } = query;
    let content = ReceiptContent { payload, settlements };
    let receipt = state.0.pipeline.receipt(id_of(&id)?, content).await.map_err(fail)?;
    let text = receipt
        .to_json()
        .map_err(|e| problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", &e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}
