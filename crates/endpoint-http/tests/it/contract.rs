//! What the OpenAPI document says is what the server does.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::Value;
use tower::ServiceExt as _;
use w3bstream_endpoint::MessageLife;
use w3bstream_types::{
    Digest, MessageId, MessageSettlement, ProofStep, RefusalKind, SettlementStep, SettlingTransaction,
};

use crate::harness::*;

#[tokio::test]
async fn every_documented_path_answers_as_documented() {
    let server = start(quick()).answering(accept);
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
                for headers in [&[][..], &[("authorization", "Bearer t"), ("idempotency-key", "1")][..]] {
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
    assert_eq!(seen, 32);
}

/// The status, the media type and the body's members are documented.
async fn check(document: &Value, operation: &Value, reply: axum::response::Response) {
    let status = reply.status().as_u16().to_string();
    let answer = &operation["responses"][&status];
    assert!(answer.is_object(), "{} does not document {status}", operation["operationId"]);
    let media_type = reply.headers()["content-type"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let schema = &answer["content"][&media_type]["schema"];
    assert!(schema.is_object(), "{} {status} does not document {media_type}", operation["operationId"]);
    for header in reply
        .headers()
        .keys()
        .filter(|h| ["retry-after", "www-authenticate", "location"].contains(&h.as_str()))
    {
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
fn every_refusal_is_documented_for_messages() {
    let document = w3bstream_endpoint_http::openapi_document(&quick());
    let responses = &document["paths"]["/v1/projects/{project}/events"]["post"]["responses"];
    for kind in RefusalKind::ALL {
        let status = w3bstream_endpoint_http::ProblemKind::Refusal(kind).status().as_u16().to_string();
        let text = responses[&status]["description"].as_str().unwrap_or_default();
        assert!(text.contains(&format!("`{kind}`")), "{status} does not name {kind}");
    }
}
