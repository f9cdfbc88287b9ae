//! What the OpenAPI document says is what the server does.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::Value;
use tower::ServiceExt as _;
use w3bstream_endpoint::{Endpoint as _, Feed, MessageLife};
use w3bstream_endpoint_http::{HttpConfig, ProblemKind};
use w3bstream_types::{
    Digest, MessageId, MessageSettlement, ProofStep, RefusalKind, SettlementStep, SettlingTransaction,
};

use crate::harness::*;

#[tokio::test]
async fn every_documented_path_answers_as_documented() {
    // A stream from a feed that has ended ends too.
    let feed = Feed::default();
    feed.close();
    let server = start_with(HttpConfig { limits: quick(), feed, ..local() }).answering(accept);
    let document = server.ask(&get("/openapi.json")).await;
    assert_eq!(document.header("content-type"), Some("application/json"));
    let document = document.json();
    assert_eq!(document["openapi"], "3.1.0");
    let id = MessageId(Digest::of(b"1"));
    let settlement = MessageSettlement {
        height: 4,
        index: 3,
        name: "day".into(),
        chain: 1,
        state: SettlementStep::Settled,
        proof: ProofStep::Made,
        attempts: 0,
        reason: String::new(),
        transaction: Some(SettlingTransaction { hash: "0x0a".into(), block: 9, gas: 300_000 }),
    };
    let life = MessageLife {
        project: "kit".parse().unwrap(),
        states: vec![],
        settlements: vec![settlement],
        settlement_count: 1,
    };
    server.query.lives.lock().unwrap().insert(id, life);
    let router = server.endpoint.router();
    let mut seen = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let good = path.replace("{project}", "kit").replace("{id}", &id.to_string());
            let bad = path.replace("{project}", "No").replace("{id}", "no");
            for path in [good, bad] {
                for headers in HEADERS {
                    let mut request = Request::builder().method(&*method.to_uppercase()).uri(&path);
                    for (name, value) in headers {
                        request = request.header(*name, *value);
                    }
                    let reply = router.clone().oneshot(request.body(Body::from("x")).unwrap()).await.unwrap();
                    check(&document, operation, reply).await;
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, 10 * 2 * HEADERS.len());
}

#[tokio::test]
async fn a_message_that_is_stored_and_not_executed_in_time_is_answered_as_documented() {
    let server = start(quick());
    let document = w3bstream_endpoint_http::openapi_document(&quick());
    let operation = &document["paths"]["/v1/projects/{project}/events"]["post"];
    let wait = operation["parameters"].as_array().unwrap().iter().find(|p| p["name"] == "wait").unwrap();
    assert_eq!((&wait["schema"]["minimum"], &wait["schema"]["maximum"]), (&100.into(), &4000.into()));
    let request = Request::post("/v1/projects/kit/events?wait=500").header("authorization", "Bearer t");
    let request = request.header("idempotency-key", "1").body(Body::from("x")).unwrap();
    let (reply, kept) = tokio::join!(server.endpoint.router().oneshot(request), async {
        let mut arrival = server.endpoint.next().await.unwrap();
        arrival.ack.stored(id_of(&arrival.received), false);
        arrival
    });
    let reply = reply.unwrap();
    assert_eq!(reply.status(), 202);
    check(&document, operation, reply).await;
    drop(kept);
}

type Headers = &'static [(&'static str, &'static str)];

const HEADERS: [Headers; 5] = [
    &[],
    &[("authorization", "Bearer t"), ("idempotency-key", "1")],
    &[("authorization", "Bearer t"), ("content-type", "application/x-ndjson")],
    &[("content-type", "application/x-ndjson"), ("content-encoding", "gzip"), ("traceparent", "x")],
    &[("authorization", "Basic t"), ("content-type", "application/jose"), ("content-encoding", "br")],
];

/// The status, the media type and the body's members are documented.
async fn check(document: &Value, operation: &Value, reply: axum::response::Response) {
    let status = reply.status().as_u16().to_string();
    let answer = &operation["responses"][&status];
    assert!(answer.is_object(), "{} does not document {status}", operation["operationId"]);
    let media_type = reply.headers()["content-type"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let schema = &answer["content"][&media_type]["schema"];
    assert!(schema.is_object(), "{} {status} does not document {media_type}", operation["operationId"]);
    // What every answer may have is said in the document's description, or by HTTP itself.
    let plain = ["content-type", "content-length", "vary", "x-accel-buffering"];
    for header in reply.headers().keys().filter(|h| !plain.contains(&h.as_str())) {
        let known = answer["headers"].as_object().unwrap();
        assert!(known.keys().any(|k| k.eq_ignore_ascii_case(header.as_str())), "{header} of {status}");
    }
    let body = to_bytes(reply.into_body(), 1 << 20).await.unwrap();
    if let Some(pointer) = schema["$ref"].as_str() {
        let schema = document.pointer(&pointer[1..]).unwrap();
        fits(document, schema, &serde_json::from_slice(&body).unwrap());
    }
}

/// As much of JSON Schema as the document uses for objects.
fn fits(document: &Value, schema: &Value, value: &Value) {
    if let Some(pointer) = schema["$ref"].as_str() {
        return fits(document, document.pointer(&pointer[1..]).unwrap(), value);
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{value} is none of {allowed:?}");
    }
    match schema["type"].as_str() {
        Some("object") => {
            let object = value.as_object().unwrap_or_else(|| panic!("{value} is no object"));
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(object.contains_key(name.as_str().unwrap()), "{name} is missing in {value}");
            }
            if let Some(properties) = schema["properties"].as_object() {
                for (name, value) in object {
                    fits(
                        document,
                        properties.get(name).unwrap_or_else(|| panic!("{name} is not documented")),
                        value,
                    );
                }
            }
        }
        Some("string") => assert!(value.is_string(), "{value}"),
        Some("integer") => assert!(value.is_i64() || value.is_u64(), "{value}"),
        Some("boolean") => assert!(value.is_boolean(), "{value}"),
        Some("array") => value.as_array().unwrap().iter().for_each(|v| fits(document, &schema["items"], v)),
        _ => {}
    }
}

#[test]
fn every_problem_code_media_type_and_limit_is_in_the_document() {
    let limits = quick();
    let document = w3bstream_endpoint_http::openapi_document(&limits);
    let text = document.to_string();
    // These are of paths and methods that are not there, or of a broken node: no operation gives them.
    let nowhere = [ProblemKind::NotFound, ProblemKind::MethodNotAllowed, ProblemKind::Internal];
    for kind in ProblemKind::all().filter(|k| !nowhere.contains(k)) {
        assert!(text.contains(&format!("`{}`: ", kind.code())), "{kind:?} is given by no operation");
    }
    let codes = document.pointer("/components/schemas/Problem/properties/code/enum").unwrap();
    assert_eq!(codes.as_array().unwrap().len(), ProblemKind::all().count());
    for media_type in [
        "application/vnd.w3bstream.envelope",
        "application/jose",
        "application/x-ndjson",
        "text/event-stream",
        "application/problem+json",
        "application/json",
    ] {
        assert!(text.contains(&format!("\"{media_type}\":")), "{media_type}");
    }
    let numbers = [
        limits.max_connections,
        limits.max_connections_per_address,
        limits.max_in_flight,
        limits.max_body_bytes,
        limits.max_header_bytes,
        limits.max_batches,
        limits.max_batches_per_address,
        limits.batch_in_flight,
        limits.batch_lines,
        limits.batch_line_bytes,
        limits.batch_bytes,
        limits.batch_answer_bytes,
        limits.max_event_streams,
        limits.max_event_streams_per_address,
        limits.max_compression_ratio,
    ];
    for number in numbers {
        assert!(text.contains(&format!(" {number} ")), "the limit {number} is not said");
    }
    for header in
        ["Idempotency-Key", "traceparent", "Content-Encoding", "Retry-After", "Location", "WWW-Authenticate"]
    {
        assert!(text.contains(&format!("\"{header}\"")), "{header}");
    }
}

/// `docs/problems.md` has one row for each problem, and no other.
#[test]
fn the_documentation_of_problems_is_complete() {
    let text = include_str!("../../../../docs/problems.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|l| l.starts_with("| `urn:"))
        .map(|l| l.split('|').map(str::trim).collect())
        .collect();
    let documented: Vec<(String, &str)> =
        rows.iter().map(|r| (r[1].trim_matches('`').to_owned(), r[2])).collect();
    let kinds: Vec<_> = ProblemKind::all().map(|k| (k.urn(), k.status().as_u16().to_string())).collect();
    for (urn, status) in &kinds {
        assert!(documented.contains(&(urn.clone(), status)), "docs/problems.md lacks {status} {urn}");
    }
    assert_eq!(documented.len(), kinds.len(), "docs/problems.md has rows that are no problem's");
    for row in rows {
        assert!(row[3].len() > 10 && row[4].len() > 10, "{row:?}: say what it means and what to do");
        let kind = ProblemKind::all().find(|k| k.urn() == row[1].trim_matches('`')).unwrap();
        assert_eq!(row[4].starts_with("Send the same bytes again"), kind.retry_after().is_some(), "{row:?}");
    }
}

/// `docs/asyncapi.yaml` names the same codes.
#[test]
fn the_topics_document_has_every_code() {
    let text = include_str!("../../../../docs/asyncapi.yaml");
    let (_, list) = text.split_once("          enum:\n").unwrap();
    let codes: Vec<_> = list.lines().map_while(|l| l.trim().strip_prefix("- ")).collect();
    assert_eq!(codes, RefusalKind::ALL.map(RefusalKind::code));
}

#[test]
fn every_refusal_is_documented_for_messages() {
    let document = w3bstream_endpoint_http::openapi_document(&quick());
    let responses = &document["paths"]["/v1/projects/{project}/events"]["post"]["responses"];
    for kind in RefusalKind::ALL {
        let status = w3bstream_endpoint_http::ProblemKind::Refusal(kind).status().as_u16().to_string();
        let text = responses[&status]["description"].as_str().unwrap_or_default();
        assert!(text.contains(&format!("`{kind}`")), "{status} does not name {kind}");
    }
}
