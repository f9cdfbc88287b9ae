//! Everything but messages: their states, health, metrics, unknown paths, what is mounted beside.

use std::time::Duration;

use axum::Router;
use axum::routing::{get as on_get, post as on_post};
use w3bstream_endpoint::{ErrorKind, MessageLife};
use w3bstream_types::{
    Digest, MessageId, MessageSettlement, MessageState, ProofStep, SettlementStep, StateChange, Timestamp,
};

use crate::harness::*;

#[tokio::test]
async fn the_life_of_a_message() {
    let server = start(quick());
    let id = MessageId(Digest::of(b"1"));
    let state =
        |state, time, reason: &str| StateChange { state, time: Timestamp(time), reason: reason.into() };
    let life = MessageLife {
        project: "kit".parse().unwrap(),
        states: vec![
            state(MessageState::Stored, 5, ""),
            state(MessageState::Ordered, 9, "waits for execution"),
        ],
        settlements: vec![MessageSettlement {
            height: 4,
            index: 3,
            name: "day".into(),
            chain: 1,
            state: SettlementStep::Waiting,
            proof: ProofStep::Made,
            attempts: 0,
            reason: "its proof: 2 wait before it".into(),
            transaction: None,
        }],
        settlement_count: 1,
    };
    server.query.lives.lock().unwrap().insert(id, life);
    let reply = server.ask(&get(&format!("/v1/messages/{id}"))).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!(
        reply.json(),
        serde_json::json!({"id": id, "project": "kit", "states": [
            {"state": "stored", "time": "5", "reason": ""},
            {"state": "ordered", "time": "9", "reason": "waits for execution"},
        ], "settlement_count": 1, "settlements": [
            {"height": "4", "index": "3", "name": "day", "chain": "1", "state": "waiting",
             "proof": "made", "attempts": 0, "reason": "its proof: 2 wait before it", "transaction": null},
        ]})
    );
    let other = MessageId(Digest::of(b"2"));
    server.ask(&get(&format!("/v1/messages/{other}"))).await.expect_problem(404, "unknown-message");
    for bad in ["x", "%ff", &"0".repeat(63), &"G".repeat(64)] {
        server.ask(&get(&format!("/v1/messages/{bad}"))).await.expect_problem(400, "malformed");
    }
    *server.query.failing.lock().unwrap() = Some(ErrorKind::State);
    let reply = server.ask(&get(&format!("/v1/messages/{id}"))).await;
    reply.expect_problem(503, "state-unavailable");
    assert!(!reply.text().contains("secret"), "{}", reply.text());
    *server.query.failing.lock().unwrap() = Some(ErrorKind::Overloaded);
    server.ask(&get(&format!("/v1/messages/{id}"))).await.expect_problem(503, "overloaded");
}

#[tokio::test]
async fn health_and_metrics() {
    let server = start(quick()).answering(accept);
    assert_eq!(server.ask(&get("/livez")).await.status, 200);
    assert_eq!(server.ask(&get("/readyz")).await.status, 200);
    *server.query.unready.lock().unwrap() = Some("kit: 2 of 4 members ready".into());
    let reply = server.ask(&get("/readyz")).await;
    reply.expect_problem(503, "not-ready");
    assert_eq!(reply.json()["detail"], "kit: 2 of 4 members ready");
    assert_eq!(server.ask(&get("/livez")).await.status, 200);
    server.ask(&token_event("1", b"x")).await;
    let reply = server.ask(&get("/metrics")).await;
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = reply.text();
    for line in [
        "w3bstream_test 1",
        "w3bstream_http_requests_total{route=\"/v1/projects/{project}/events\",status=\"201\"} 1",
        "w3bstream_http_requests_total{route=\"/readyz\",status=\"503\"} 1",
        "w3bstream_http_accepted_total{duplicate=\"false\"} 1",
        "w3bstream_http_event_seconds_count 1",
        "w3bstream_http_in_flight 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    // Each family once, each sample behind its type.
    let mut families: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
    let all = families.len();
    families.dedup();
    assert_eq!((families.len(), all > 8), (all, true));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let server = start(quick());
    for path in
        ["/", "/v1", "/v1/projects/kit", "/v1/projects/kit/events/1", "/livez/", "/%00", "/v1//messages/x"]
    {
        server.ask(&get(path)).await.expect_problem(404, "not-found");
    }
    let reply = server.ask(&get(BATCH)).await;
    reply.expect_problem(405, "method-not-allowed");
    assert_eq!(reply.header("allow"), Some("POST"));
    let reply = server.ask(&post("/metrics", &[], b"x")).await;
    reply.expect_problem(405, "method-not-allowed");
    assert_eq!(reply.header("allow"), Some("GET,HEAD"));
}

#[tokio::test]
async fn what_is_mounted_beside_comes_second_and_under_the_same_limits() {
    let slow = || async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        "never"
    };
    let extra = Router::new()
        .route("/", on_get(|| async { "the status page" }))
        .route("/livez", on_get(|| async { "not reached" }))
        .route("/upload", on_post(|body: axum::body::Bytes| async move { body.len().to_string() }))
        .route("/slow", on_get(slow));
    let mut limits = quick();
    limits.max_queries = 1;
    let server = bind(limits.clone(), Some(extra));
    server.endpoint.start(&server.tasks);
    assert_eq!(server.ask(&get("/")).await.text(), "the status page");
    assert_eq!(server.ask(&get("/livez")).await.text(), "alive\n");
    server.ask(&get("/nothing")).await.expect_problem(404, "not-found");
    let reply = server.ask(&post("/", &[], b"x")).await;
    reply.expect_problem(405, "method-not-allowed");
    assert_eq!(reply.header("allow"), Some("GET,HEAD"));
    assert_eq!(server.ask(&post("/upload", &[], b"1234")).await.text(), "4");
    let too_much = vec![b'x'; limits.max_body_bytes + 1];
    assert_eq!(server.ask(&post("/upload", &[], &too_much)).await.status, 413);
    let mut waiting = server.client().await;
    waiting.send(&get("/slow")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.ask(&get("/")).await.expect_problem(503, "overloaded");
    server.ask(&get("/metrics")).await.expect_problem(503, "overloaded");
    assert_eq!(server.ask(&get("/livez")).await.status, 200, "health is always told");
    waiting.reply().await.unwrap().expect_problem(500, "internal");
    assert_eq!(server.ask(&get("/")).await.status, 200);
}

#[tokio::test]
async fn the_router_works_on_another_server() {
    use tower::ServiceExt as _;
    let server = start(quick()).answering(accept);
    let mut request = axum::http::Request::post(EVENTS).body(axum::body::Body::from("x")).unwrap();
    for (name, value) in [("authorization", "Bearer t"), ("idempotency-key", "1")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let nested = Router::new().nest_service("/devices", server.endpoint.router());
    *request.uri_mut() = format!("/devices{EVENTS}").parse().unwrap();
    let reply = nested.oneshot(request).await.unwrap();
    assert_eq!(reply.status(), 201);
}
