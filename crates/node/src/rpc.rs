//! JSON-RPC 2.0 for operators and tools: `POST /rpc` on the admin listener.
//!
//! Every method is a route of the admin API under another name, with its path and query as parameters by name or by
//! place, so that both always say the same. Bytes are base64 in both directions. What a route refuses comes back as an
//! error with the route's problem in `data`.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

/// Calls in one batch.
const MAX_BATCH: usize = 100;

const PARSE: i64 = -32_700;
const INVALID_REQUEST: i64 = -32_600;
const NO_METHOD: i64 = -32_601;
const INVALID_PARAMS: i64 = -32_602;
/// The route has refused, or failed.
const REFUSED: i64 = -32_000;

/// One method: its name, the route behind it, and its parameters. Those that stand in the path must be given; `body` is the request's
/// body as base64; the others go into the query.
struct Call {
    name: &'static str,
    post: bool,
    path: &'static str,
    params: &'static [&'static str],
    about: &'static str,
}

const fn get(
    name: &'static str,
    path: &'static str,
    params: &'static [&'static str],
    about: &'static str,
) -> Call {
    Call { name, post: false, path, params, about }
}

const fn post(name: &'static str, path: &'static str, about: &'static str) -> Call {
    Call { name, post: true, path, params: &["body"], about }
}

const CALLS: [Call; 27] = [
    get("w3b_status", "/v1/status", &[], "Addresses and projects."),
    get("w3b_projects", "/v1/projects", &[], "All projects."),
    get("w3b_project", "/v1/projects/{project}", &["project"], "One project."),
    get("w3b_genesis", "/v1/projects/{project}/genesis", &["project"], "The genesis of its subnet."),
    get(
        "w3b_versions",
        "/v1/projects/{project}/versions",
        &["project", "limit"],
        "The versions that were in force, newest first.",
    ),
    get(
        "w3b_version",
        "/v1/projects/{project}/versions/{version}",
        &["project", "version"],
        "What the owner signed for a version, canonical bytes as base64.",
    ),
    get(
        "w3b_underWay",
        "/v1/projects/{project}/under-way",
        &["project"],
        "What it has begun and not finished.",
    ),
    get("w3b_nonce", "/v1/projects/{project}/nonce", &["project"], "The next control transaction's nonce."),
    get("w3b_devices", "/v1/projects/{project}/devices", &["project"], "Its devices."),
    get("w3b_logs", "/v1/projects/{project}/logs", &["project"], "Its guests' last lines."),
    get(
        "w3b_value",
        "/v1/projects/{project}/state/{applet}/{key}",
        &["project", "applet", "key", "of"],
        "One value of an applet, as base64.",
    ),
    get(
        "w3b_sql",
        "/v1/projects/{project}/sql",
        &["project", "statement"],
        "Rows of the project's database, as of its last block.",
    ),
    get(
        "w3b_settlements",
        "/v1/projects/{project}/settlements",
        &["project", "ended", "after"],
        "Settlements under way, or those that ended.",
    ),
    get(
        "w3b_transactions",
        "/v1/projects/{project}/transactions",
        &["project", "ended", "after"],
        "Transactions that guests asked for, likewise.",
    ),
    get(
        "w3b_transaction",
        "/v1/projects/{project}/transactions/{id}",
        &["project", "id"],
        "One of them, by the id that the guest got.",
    ),
    get("w3b_account", "/v1/projects/{project}/account", &["project", "operator"], "The account that pays."),
    get("w3b_message", "/v1/messages/{id}", &["id"], "Where a message and its settlements are."),
    get("w3b_results", "/v1/messages/{id}/results", &["id"], "What its handlers answered."),
    get("w3b_receipt", "/v1/receipts/{id}", &["id", "payload", "settlements"], "Its receipt."),
    Call {
        name: "w3b_replay",
        post: true,
        path: "/v1/projects/{project}/replay",
        params: &["project", "body", "from", "to", "applet", "ignore_gas"],
        about: "Runs blocks again, with another module unless the body is empty.",
    },
    get("w3b_replayStatus", "/v1/projects/{project}/replay", &["project"], "How the last replay goes."),
    Call {
        name: "w3b_stopReplay",
        post: true,
        path: "/v1/projects/{project}/replay/stop",
        params: &["project"],
        about: "Ends the replay.",
    },
    Call {
        name: "w3b_startCanary",
        post: true,
        path: "/v1/projects/{project}/canaries",
        params: &["project", "body", "applet"],
        about: "Runs a module beside an applet's own, and compares.",
    },
    get("w3b_canaries", "/v1/projects/{project}/canaries", &["project"], "The canaries, and what differs."),
    Call {
        name: "w3b_stopCanary",
        post: true,
        path: "/v1/projects/{project}/canaries/{applet}/stop",
        params: &["project", "applet"],
        about: "Ends a canary.",
    },
    post("w3b_putProgram", "/v1/programs", "Uploads a module; gives its digest."),
    post("w3b_control", "/v1/control", "A signed control transaction, canonical bytes."),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    jsonrpc: String,
    method: String,
    #[serde(default)]
    params: Value,
    /// Absent: a notification, which is not answered. `null` is an id.
    #[serde(default, deserialize_with = "present")]
    id: Option<Value>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// Code, words, and the problem of a route.
struct Fault(i64, String, Option<Value>);

impl Fault {
    fn new(code: i64, why: impl Into<String>) -> Self {
        Self(code, why.into(), None)
    }

    fn answer(self, id: &Value) -> Value {
        let Self(code, message, data) = self;
        let mut error = json!({ "code": code, "message": message });
        if let (Some(data), Some(error)) = (data, error.as_object_mut()) {
            error.insert("data".into(), data);
        }
        json!({ "jsonrpc": "2.0", "error": error, "id": id })
    }
}

/// Answers a call or a batch of calls with what `routes` say.
pub(crate) async fn answer(routes: Router, body: Bytes) -> Response {
    let answer = match serde_json::from_slice::<Value>(&body) {
        Err(e) => Some(Fault::new(PARSE, format!("the body is no JSON: {e}")).answer(&Value::Null)),
        Ok(Value::Array(calls)) => batch(&routes, calls).await,
        Ok(call) => one(&routes, call).await,
    };
    match answer {
        Some(answer) => axum::Json(answer).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn batch(routes: &Router, calls: Vec<Value>) -> Option<Value> {
    if calls.is_empty() || calls.len() > MAX_BATCH {
        let why = format!("a batch has 1 to {MAX_BATCH} calls, this one {}", calls.len());
        return Some(Fault::new(INVALID_REQUEST, why).answer(&Value::Null));
    }
    let mut answers = Vec::new();
    for call in calls {
        answers.extend(one(routes, call).await);
    }
    (!answers.is_empty()).then_some(Value::Array(answers))
}

async fn one(routes: &Router, call: Value) -> Option<Value> {
    let asked: Asked = match serde_json::from_value(call) {
        Ok(asked) => asked,
        Err(e) => {
            return Some(Fault::new(INVALID_REQUEST, format!("this is no call: {e}")).answer(&Value::Null));
        }
    };
    let id = asked.id.clone();
    let result = perform(routes, asked).await;
    let id = id?;
    if !matches!(id, Value::Null | Value::String(_) | Value::Number(_)) {
        return Some(
            Fault::new(INVALID_REQUEST, "id must be a string, a number or null").answer(&Value::Null),
        );
    }
    Some(match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "result": result, "id": id }),
        Err(fault) => fault.answer(&id),
    })
}

async fn perform(routes: &Router, asked: Asked) -> Result<Value, Fault> {
    if asked.jsonrpc != "2.0" {
        return Err(Fault::new(INVALID_REQUEST, "jsonrpc must be \"2.0\""));
    }
    if asked.method == "rpc.discover" {
        return Ok(discover());
    }
    let call = CALLS.iter().find(|c| c.name == asked.method).ok_or_else(|| {
        let why = format!("there is no method {:?}; rpc.discover lists them", asked.method);
        Fault::new(NO_METHOD, why)
    })?;
    let given = named(call, asked.params)?;
    let request = request(call, &given)?;
    // A router's service never fails: it answers.
    let Ok(response) = routes.clone().oneshot(request).await;
    result(response).await
}

/// The parameters by their names.
fn named(call: &Call, given: Value) -> Result<Map<String, Value>, Fault> {
    let given = match given {
        Value::Null => Map::new(),
        Value::Object(given) => given,
        Value::Array(given) if given.len() <= call.params.len() => {
            call.params.iter().map(|name| (*name).to_owned()).zip(given).collect()
        }
        _ => return Err(Fault::new(INVALID_PARAMS, takes(call))),
    };
    match given.keys().find(|name| !call.params.contains(&name.as_str())) {
        Some(name) => Err(Fault::new(INVALID_PARAMS, format!("there is no {name:?}; {}", takes(call)))),
        None => Ok(given),
    }
}

fn takes(call: &Call) -> String {
    match call.params {
        [] => format!("{} takes no parameters", call.name),
        params => format!("{} takes {}", call.name, params.join(", ")),
    }
}

fn request(call: &Call, given: &Map<String, Value>) -> Result<Request<Body>, Fault> {
    let (mut path, mut query, mut body) = (call.path.to_owned(), Vec::new(), Vec::new());
    for name in call.params {
        let place = format!("{{{name}}}");
        let text = match given.get(*name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Bool(yes)) => Some(yes.to_string()),
            Some(Value::Number(number)) => Some(number.to_string()),
            None | Some(Value::Null) => None,
            Some(_) => return Err(Fault::new(INVALID_PARAMS, format!("{name} must be a text"))),
        };
        match text {
            Some(text) if *name == "body" => {
                let wrong = |e| Fault::new(INVALID_PARAMS, format!("body must be base64: {e}"));
                body = BASE64.decode(text).map_err(wrong)?;
            }
            Some(text) if path.contains(&place) => path = path.replace(&place, &escaped(&text)),
            Some(text) => query.push(format!("{name}={}", escaped(&text))),
            None if path.contains(&place) || *name == "body" => {
                return Err(Fault::new(INVALID_PARAMS, format!("{name} is missing; {}", takes(call))));
            }
            None => {}
        }
    }
    let uri = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
    let method = if call.post { Method::POST } else { Method::GET };
    let built = Request::builder().method(method).uri(uri).body(Body::from(body));
    built.map_err(|e| Fault::new(INVALID_PARAMS, e.to_string()))
}

/// A text as a part of a URL (RFC 3986): all but the unreserved characters are percent-encoded.
fn escaped(text: &str) -> String {
    let one = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(one).collect()
}

async fn result(response: Response) -> Result<Value, Fault> {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let value = match kind.contains("json") {
        true => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        false => Value::String(BASE64.encode(&bytes)),
    };
    if parts.status.is_success() {
        return Ok(value);
    }
    let words = value.get("detail").and_then(Value::as_str).unwrap_or("the node has refused").to_owned();
    Err(Fault(REFUSED, words, Some(value)))
}

/// The methods, as an OpenRPC document.
fn discover() -> Value {
    let method = |call: &Call| {
        let required = |name: &str| name == "body" || call.path.contains(&format!("{{{name}}}"));
        let param = |name: &&str| json!({ "name": name, "required": required(name), "schema": {} });
        json!({
            "name": call.name, "summary": call.about,
            "params": call.params.iter().map(param).collect::<Vec<_>>(),
            "result": { "name": "result", "schema": {} },
        })
    };
    json!({
        "openrpc": "1.3.2",
        "info": { "title": "W3bstream node", "version": env!("CARGO_PKG_VERSION") },
        "methods": CALLS.iter().map(method).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use axum::extract::{Path, Query};
    use axum::routing::{get as on_get, post as on_post};

    use super::*;

    fn routes() -> Router {
        let refusal = || async {
            let kind = [(header::CONTENT_TYPE, "application/problem+json")];
            (StatusCode::NOT_FOUND, kind, r#"{"code":"unknown-message","detail":"no such message"}"#)
        };
        Router::new()
            .route("/v1/status", on_get(|| async { axum::Json(json!({"ready": true})) }))
            .route("/v1/projects/{p}", on_get(|Path(p): Path<String>| async move { axum::Json(json!(p)) }))
            .route("/v1/projects/{p}/state/{a}/{k}", on_get(|| async { vec![1_u8, 2, 255] }))
            .route(
                "/v1/receipts/{id}",
                on_get(|Path(id): Path<String>, Query(q): Query<Value>| async move {
                    axum::Json(json!([id, q]))
                }),
            )
            .route("/v1/messages/{id}", on_get(refusal))
            .route("/v1/programs", on_post(|body: Bytes| async move { axum::Json(json!(body.len())) }))
    }

    fn ask(body: &str) -> (StatusCode, Value) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let response = answer(routes(), body.to_owned().into()).await;
            let status = response.status();
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
        })
    }

    fn call(method: &str, params: &str) -> Value {
        ask(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)).1
    }

    #[test]
    fn a_method_is_its_route() {
        assert_eq!(call("w3b_status", "null"), json!({"jsonrpc": "2.0", "id": 1, "result": {"ready": true}}));
        assert_eq!(call("w3b_project", r#"{"project":"a/b?c"}"#)["result"], "a/b?c");
        assert_eq!(call("w3b_project", r#"["x"]"#)["result"], "x");
        assert_eq!(call("w3b_value", r#"["p","a","k"]"#)["result"], "AQL/");
        assert_eq!(call("w3b_putProgram", r#"["AAEC"]"#)["result"], 3);
        let receipt = call("w3b_receipt", r#"{"id":"i","payload":true}"#);
        assert_eq!(receipt["result"], json!(["i", {"payload": "true"}]));
    }

    #[test]
    fn a_refusal_comes_with_its_problem() {
        let error = &call("w3b_message", r#"["x"]"#)["error"];
        assert_eq!(error["code"], REFUSED);
        assert_eq!(
            (&error["message"], &error["data"]["code"]),
            (&json!("no such message"), &json!("unknown-message"))
        );
    }

    #[test]
    fn what_is_no_call_is_told_so_with_the_standards_codes() {
        for (body, code) in [
            ("{", PARSE),
            ("[]", INVALID_REQUEST),
            ("1", INVALID_REQUEST),
            (r#"{"jsonrpc":"1.0","id":1,"method":"w3b_status"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":{},"method":"w3b_status"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#, NO_METHOD),
            (r#"{"jsonrpc":"2.0","id":1,"method":"w3b_project"}"#, INVALID_PARAMS),
            (r#"{"jsonrpc":"2.0","id":1,"method":"w3b_project","params":{"name":"x"}}"#, INVALID_PARAMS),
            (r#"{"jsonrpc":"2.0","id":1,"method":"w3b_project","params":["x","y"]}"#, INVALID_PARAMS),
            (r#"{"jsonrpc":"2.0","id":1,"method":"w3b_project","params":[{}]}"#, INVALID_PARAMS),
            (r#"{"jsonrpc":"2.0","id":1,"method":"w3b_putProgram","params":["!"]}"#, INVALID_PARAMS),
        ] {
            let (status, answer) = ask(body);
            assert_eq!((status, &answer["error"]["code"]), (StatusCode::OK, &json!(code)), "{body}");
        }
        let many = format!("[{}]", vec!["1"; MAX_BATCH + 1].join(","));
        assert_eq!(ask(&many).1["error"]["code"], INVALID_REQUEST);
    }

    #[test]
    fn a_batch_answers_what_is_no_notification() {
        let (_, answers) = ask(r#"[{"jsonrpc":"2.0","method":"w3b_status"}, 7,
                {"jsonrpc":"2.0","id":null,"method":"w3b_status"}, {"jsonrpc":"2.0","id":"s","method":"x"}]"#);
        let ids: Vec<&Value> = answers.as_array().unwrap().iter().map(|a| &a["id"]).collect();
        assert_eq!(ids, [&Value::Null, &Value::Null, &json!("s")]);
        let (status, answer) = ask(r#"{"jsonrpc":"2.0","method":"w3b_status"}"#);
        assert_eq!((status, answer), (StatusCode::NO_CONTENT, Value::Null));
    }

    #[test]
    fn methods_are_listed_and_each_is_there_once() {
        let listed = &call("rpc.discover", "null")["result"]["methods"];
        let mut names: Vec<_> = CALLS.iter().map(|c| c.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!((listed.as_array().unwrap().len(), names.len()), (CALLS.len(), CALLS.len()));
    }
}
