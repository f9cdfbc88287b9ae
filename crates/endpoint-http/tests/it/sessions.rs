//! Opening a session, and sending in it.

use std::sync::{Arc, Mutex};

use w3bstream_types::{MAX_SESSION_TEXT_BYTES, Submission, Timestamp};

use crate::harness::*;

const SESSIONS: &str = "/v1/projects/kit/sessions";
const JOSE: &str = "content-type: application/jose";
/// Has the look of a JWT; whether it is one is judged later.
const JWT: &str = "eyJhbGciOiJFZERTQSJ9.e30.c2ln";

#[tokio::test]
async fn an_introduction_is_answered_with_a_session() {
    let server = start(quick());
    for (headers, body) in [(JOSE, "good"), ("Content-Type: Application/JOSE; charset=ascii", "good\r\n")] {
        let reply = server.ask(&post(SESSIONS, &[headers], body.as_bytes())).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let json = reply.json();
        assert_eq!(json["token"], "kit's token");
        assert_eq!((&json["expires"], &json["device"]), (&"7".into(), &json["node"]));
    }
    let reply = server.ask(&get(&format!("{SESSIONS}/challenge"))).await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")));
    assert_eq!(reply.json()["nonce"], "kit's nonce");
    let metrics = server.ask(&get("/metrics")).await.text();
    for route in ["/v1/projects/{project}/sessions\"", "/v1/projects/{project}/sessions/challenge\""] {
        assert!(metrics.contains(route), "{metrics}");
    }
}

/// Path, headers, body, and the status and code of the answer.
type Case<'a> = (&'a str, &'a [&'a str], &'a [u8], u16, &'a str);

#[tokio::test]
async fn what_is_no_introduction_is_refused_and_the_connection_kept() {
    let server = start(quick());
    let mut client = server.client().await;
    let longest = "x".repeat(MAX_SESSION_TEXT_BYTES);
    let cases: [Case<'_>; 6] = [
        (SESSIONS, &[JOSE], b"bad", 403, "bad-signature"),
        (SESSIONS, &[JOSE], longest.as_bytes(), 403, "bad-signature"),
        (SESSIONS, &[JOSE], b"\xff\xfe", 400, "malformed"),
        ("/v1/projects/No/sessions", &[JOSE], b"", 404, "unknown-project"),
        ("/v1/projects/other/sessions", &[JOSE], b"good", 404, "unknown-project"),
        (SESSIONS, &[], b"", 415, "unsupported-media-type"),
    ];
    for (path, headers, body, status, code) in cases {
        client.send(&post(path, headers, body)).await;
        client.reply().await.expect("an answer").expect_problem(status, code);
    }
    server
        .ask(&post(SESSIONS, &[JOSE], "x".repeat(MAX_SESSION_TEXT_BYTES + 1).as_bytes()))
        .await
        .expect_problem(413, "too-large");
    server.ask(&get("/v1/projects/other/sessions/challenge")).await.expect_problem(404, "unknown-project");
    server.ask(&get(SESSIONS)).await.expect_problem(405, "method-not-allowed");
}

#[tokio::test]
async fn a_bearers_jwt_is_a_session_and_anything_else_a_token() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    let server = start(quick()).answering(move |received| {
        keep.lock().unwrap().push(received.submission.clone());
        accept(received)
    });
    for secret in [JWT, "eyJ.token", "w3b_a.b.c"] {
        let bearer = format!("authorization: Bearer {secret}");
        let headers = [bearer.as_str(), "idempotency-key: e1", "content-type: application/json"];
        let reply = server.ask(&post("/v1/projects/kit/events?type=door&time=9", &headers, b"{}")).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
    let (event_id, event_type, time) = ("e1".to_owned(), "door".parse().unwrap(), Timestamp(9));
    let session =
        Submission::Session { token: JWT.into(), event_id, event_type, time, payload: b"{}".to_vec() };
    let kept = kept.lock().unwrap().clone();
    assert_eq!(kept[0], session);
    assert!(kept[1..].iter().all(|s| matches!(s, Submission::Token { .. })), "{kept:?}");
    // Without an id of the event nobody could tell a repeat.
    let reply =
        server.ask(&post("/v1/projects/kit/events", &[&format!("authorization: Bearer {JWT}")], b"{}")).await;
    reply.expect_problem(400, "malformed");
}
