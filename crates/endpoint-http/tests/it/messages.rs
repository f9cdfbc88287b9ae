//! One message: forms, answers, refusals.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use w3bstream_endpoint::{Ack, Endpoint as _};
use w3bstream_types::{
    Accepted, AckMode, HandlerAnswer, HandlerResult, Received, Refusal, RefusalKind, Submission, Timestamp,
};

use crate::harness::*;

const ENVELOPE: &str = "content-type: application/vnd.w3bstream.envelope";
const JOSE: &str = "content-type: application/jose";

/// A server that keeps what arrives.
fn keeping() -> (Server, Arc<Mutex<Vec<Received>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    let server = start(quick()).answering(move |received| {
        keep.lock().unwrap().push(received.clone());
        accept(received)
    });
    (server, kept)
}

#[tokio::test]
async fn an_envelope_arrives_byte_for_byte() {
    let (server, kept) = keeping();
    let reply = server.ask(&post(EVENTS, &[ENVELOPE], &envelope(b"21.5"))).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let received = kept.lock().unwrap().pop().unwrap();
    let Submission::Signed(record) = &received.submission else { panic!("{received:?}") };
    record.verify(&device_key().public()).unwrap();
    assert_eq!((record.payload(), received.project.as_str()), (&b"21.5"[..], "kit"));
    assert_eq!(received.received_at, NOW);
    assert_eq!(reply.header("location").unwrap(), format!("/v1/messages/{}", record.id()));
    assert_eq!(
        reply.json(),
        serde_json::json!({"id": record.id(), "duplicate": false, "mode": "durable", "results": []})
    );
}

#[tokio::test]
async fn a_jws_arrives_with_parameters_in_its_type_and_a_line_end_in_its_body() {
    let (server, kept) = keeping();
    let text = jws(b"21.5");
    let body = format!("{text}\r\n");
    let reply = server
        .ask(&post(EVENTS, &["content-type: Application/JOSE; charset=us-ascii"], body.as_bytes()))
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let received = kept.lock().unwrap().pop().unwrap();
    let Submission::Signed(record) = &received.submission else { panic!("{received:?}") };
    record.verify(&device_key().public()).unwrap();
    assert_eq!(record.payload(), b"21.5");
}

#[tokio::test]
async fn a_token_message_carries_what_the_request_says() {
    let (server, kept) = keeping();
    let path = format!("{EVENTS}?type=door-open&time=1700000000123");
    let headers = ["AUTHORIZATION: bearer  s3cret", "Idempotency-Key: a/1", "content-type: application/json"];
    let reply = server.ask(&post(&path, &headers, b"{}")).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    // Chunked, without type and time, with an empty body.
    let chunked = format!(
        "POST {EVENTS} HTTP/1.1\r\nhost: t\r\n{BEARER}\r\nidempotency-key: \"2\"\r\n\
         transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    assert_eq!(server.ask(chunked.as_bytes()).await.status, 201);
    let got: Vec<_> = kept.lock().unwrap().drain(..).map(|r| r.submission).collect();
    let token = |token: &str, id: &str, kind: &str, time, payload: &[u8]| Submission::Token {
        token: token.into(),
        event_id: id.into(),
        event_type: kind.parse().unwrap(),
        time: Timestamp(time),
        payload: payload.to_vec(),
    };
    assert_eq!(
        got,
        [
            token("s3cret", "a/1", "door-open", 1_700_000_000_123, b"{}"),
            token("secret", "\"2\"", "default", 0, b"")
        ]
    );
}

#[tokio::test]
async fn a_repeat_is_200_and_results_are_given() {
    let results = vec![HandlerResult {
        applet: "cold".parse().unwrap(),
        handler: "handle".into(),
        code: -1,
        error: Some("out-of-gas".into()),
        gas: u64::MAX,
        event: None,
        answer: None,
    }];
    let server = start(quick()).answering(move |received| {
        let results = results.clone();
        Ok(Accepted { id: id_of(received), duplicate: true, mode: AckMode::Executed, results })
    });
    let reply = server.ask(&token_event("1", b"x")).await;
    assert_eq!(reply.status, 200);
    let json = reply.json();
    assert_eq!((&json["duplicate"], &json["mode"]), (&true.into(), &"executed".into()));
    assert_eq!(json["results"][0]["gas"], "18446744073709551615");
    assert_eq!(json["results"][0]["error"], "out-of-gas");
    assert!(server.metric("w3bstream_http_accepted_total{duplicate=\"true\"} 1").await);
}

#[tokio::test]
async fn every_refusal_has_its_status_and_keeps_the_connection() {
    let server = start(quick()).answering(|received| {
        let Submission::Token { event_id, .. } = &received.submission else { return accept(received) };
        let kind = RefusalKind::ALL[event_id.parse::<usize>().unwrap()];
        let mut refusal = Refusal::new(kind, format!("because of {kind}"));
        refusal.next_epoch = (kind == RefusalKind::TooOld).then_some(7);
        Err(refusal)
    });
    let mut client = server.client().await;
    for (index, kind) in RefusalKind::ALL.into_iter().enumerate() {
        let status = match kind.code() {
            "malformed" => 400,
            "bad-token" => 401,
            "bad-signature" | "unknown-device" | "revoked" | "not-allowed" | "wrong-audience" => 403,
            "unknown-project" => 404,
            "removed" => 410,
            "conflict" | "too-old" => 409,
            "too-large" => 413,
            _ => 503,
        };
        client.send(&token_event(&index.to_string(), b"x")).await;
        let reply = client.reply().await.unwrap_or_else(|| panic!("{kind} ended the connection"));
        reply.expect_problem(status, kind.code());
        let json = reply.json();
        assert_eq!(json["detail"], format!("because of {kind}"));
        assert_eq!(json["next_epoch"].as_u64(), (kind == RefusalKind::TooOld).then_some(7));
    }
    for kind in RefusalKind::ALL {
        let line = format!("w3bstream_http_problems_total{{code=\"{kind}\"}} 1");
        assert!(server.metric(&line).await, "{line}");
    }
}

#[tokio::test]
async fn a_dropped_ack_and_a_late_one_are_transient() {
    let mut limits = quick();
    limits.ack_timeout = Duration::from_millis(100);
    let server = start(limits);
    let mut client = server.client().await;
    client.send(&token_event("1", b"x")).await;
    drop(server.endpoint.next().await.unwrap());
    client.reply().await.unwrap().expect_problem(503, "shutting-down");
    client.send(&token_event("2", b"x")).await;
    let late = server.endpoint.next().await.unwrap();
    client.reply().await.unwrap().expect_problem(504, "ack-timeout");
    let answer = accept(&late.received);
    late.ack.answer(answer);
    assert!(server.metric("w3bstream_http_in_flight 0").await);
}

#[tokio::test]
async fn what_the_head_decides_is_answered_before_the_body() {
    let server = start(quick());
    let long = "x".repeat(129);
    let key = "idempotency-key: 1";
    let cases: [(&str, &str, Vec<&str>, u16, &str); 20] = [
        ("no identity", EVENTS, vec![], 401, "bad-token"),
        ("a key alone", EVENTS, vec![key], 401, "bad-token"),
        ("another scheme", EVENTS, vec![key, "authorization: Basic YTpi"], 401, "bad-token"),
        ("no token", EVENTS, vec![key, "authorization: Bearer"], 401, "bad-token"),
        ("an empty token", EVENTS, vec![key, "authorization: Bearer  "], 401, "bad-token"),
        ("a token with blanks", EVENTS, vec![key, "authorization: Bearer a b"], 401, "bad-token"),
        ("two tokens", EVENTS, vec![key, BEARER, BEARER], 400, "malformed"),
        ("no key", EVENTS, vec![BEARER], 400, "malformed"),
        ("an empty key", EVENTS, vec![BEARER, "idempotency-key:"], 400, "malformed"),
        ("a key with blanks", EVENTS, vec![BEARER, "idempotency-key: a b"], 400, "malformed"),
        ("a key that is no ASCII", EVENTS, vec![BEARER, "idempotency-key: ä"], 400, "malformed"),
        ("two keys", EVENTS, vec![BEARER, key, key], 400, "malformed"),
        ("a type that is no label", "/v1/projects/kit/events?type=A", vec![BEARER, key], 400, "malformed"),
        ("a time below nothing", "/v1/projects/kit/events?time=-1", vec![BEARER, key], 400, "malformed"),
        ("an unknown parameter", "/v1/projects/kit/events?tpye=a", vec![BEARER, key], 400, "malformed"),
        ("a time beside a signature", "/v1/projects/kit/events?time=1", vec![JOSE], 400, "malformed"),
        ("a name that cannot be", "/v1/projects/KIT/events", vec![JOSE], 404, "unknown-project"),
        ("a name that is no text", "/v1/projects/%ff/events", vec![JOSE], 404, "unknown-project"),
        (
            "a coding that nobody knows",
            EVENTS,
            vec![JOSE, "content-encoding: br"],
            415,
            "unsupported-media-type",
        ),
        ("no media type", EVENTS, vec!["content-type: nonsense"], 415, "unsupported-media-type"),
    ];
    let too_long = format!("idempotency-key: {long}");
    let all = cases.into_iter().chain([("a long key", EVENTS, vec![BEARER, &too_long], 400, "malformed")]);
    for (what, path, headers, status, code) in all {
        let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
        let mut client = server.client().await;
        // The body is announced and never sent.
        let head = format!("POST {path} HTTP/1.1\r\nhost: t\r\n{headers}content-length: 10\r\n\r\n");
        client.send(head.as_bytes()).await;
        let reply = client.reply().await.unwrap_or_else(|| panic!("{what}: no answer"));
        println!("{what}: {}", reply.text());
        reply.expect_problem(status, code);
        assert_eq!(reply.header("connection"), Some("close"), "{what}");
        assert!(client.ends().await, "{what}");
    }
}

#[tokio::test]
async fn a_client_that_sends_on_after_it_was_refused_still_hears_why() {
    let server = start(quick());
    let mut client = server.client().await;
    client
        .send(format!("POST {EVENTS} HTTP/1.1\r\nhost: t\r\ncontent-length: 50000\r\n\r\n").as_bytes())
        .await;
    // The answer is written and the server's side closed by now; what comes next must be read all the same.
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..5 {
        let sent = tokio::io::AsyncWriteExt::write_all(&mut client.stream, &[b'x'; 10_000]).await;
        sent.expect("no reset, which may throw the answer away");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.reply().await.expect("an answer").expect_problem(401, "bad-token");
}

#[tokio::test]
async fn signed_bodies_that_are_no_message_are_malformed() {
    let server = start(quick());
    let good = jws(b"x");
    let long = format!("{good}.x");
    let cases: [(&str, &[u8]); 6] = [
        (JOSE, b""),
        (JOSE, b"a.b.c"),
        (JOSE, b"\xff\xfe"),
        (JOSE, long.as_bytes()),
        (ENVELOPE, b"\x08\x07"),
        (ENVELOPE, good.as_bytes()),
    ];
    let mut client = server.client().await;
    for (media_type, body) in cases {
        client.send(&post(EVENTS, &[media_type], body)).await;
        client.reply().await.unwrap().expect_problem(400, "malformed");
    }
    let path = format!("{EVENTS}?type=other");
    client.send(&post(&path, &[JOSE], good.as_bytes())).await;
    let reply = client.reply().await.unwrap();
    reply.expect_problem(400, "malformed");
    assert!(reply.text().contains("reading"), "{}", reply.text());
}

#[tokio::test]
async fn the_type_of_a_signed_message_may_be_repeated() {
    let (server, kept) = keeping();
    let path = format!("{EVENTS}?type=reading");
    assert_eq!(server.ask(&post(&path, &[JOSE], jws(b"x").as_bytes())).await.status, 201);
    assert_eq!(kept.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_body_above_the_limit_is_413_with_and_without_length() {
    let server = start(quick()).answering(accept);
    let most = quick().max_body_bytes;
    assert_eq!(server.ask(&token_event("1", &vec![b'x'; most])).await.status, 201);
    // Said beforehand: nothing is read.
    let mut client = server.client().await;
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nhost: t\r\n{BEARER}\r\nidempotency-key: 2\r\ncontent-length: {}\r\n\r\n",
        most + 1
    );
    client.send(head.as_bytes()).await;
    client.reply().await.unwrap().expect_problem(413, "too-large");
    assert!(client.ends().await);
    // A client that sends on all the same still hears the answer.
    let reply = server.ask(&token_event("3", &vec![b'x'; 3 * 1024 * 1024])).await;
    reply.expect_problem(413, "too-large");
    // Found out while reading.
    let mut client = server.client().await;
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nhost: t\r\n{BEARER}\r\nidempotency-key: 4\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    client.send(head.as_bytes()).await;
    let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
    for _ in 0..8 {
        client.send(&chunk).await;
    }
    client.reply().await.unwrap().expect_problem(413, "too-large");
    assert!(server.metric("w3bstream_http_buffered_bytes 0").await);
}

#[tokio::test]
async fn places_in_flight_and_bytes_in_memory_are_bounded() {
    let mut limits = quick();
    limits.max_in_flight = 2;
    limits.max_buffered_bytes = limits.max_body_bytes;
    let server = start(limits);
    let mut clients = Vec::new();
    for id in ["1", "2"] {
        let mut client = server.client().await;
        client.send(&token_event(id, &[b'x'; 100])).await;
        clients.push((client, server.endpoint.next().await.unwrap()));
    }
    server.ask(&token_event("3", b"x")).await.expect_problem(503, "overloaded");
    assert!(server.metric("w3bstream_http_in_flight 2").await);
    assert!(server.metric("w3bstream_http_buffered_bytes 200").await);
    server
        .ask(&token_event("4", &vec![b'x'; quick().max_body_bytes]))
        .await
        .expect_problem(503, "overloaded");
    // The client has gone, the message has not; its place is free once the node answers.
    let (client, arrival) = clients.pop().unwrap();
    drop(client);
    let answer = accept(&arrival.received);
    arrival.ack.answer(answer);
    let mut client = server.client().await;
    client.send(&token_event("5", b"x")).await;
    let next = server.endpoint.next().await.unwrap();
    next.ack.refuse(Refusal::new(RefusalKind::Conflict, "seen"));
    client.reply().await.unwrap().expect_problem(409, "conflict");
    let (mut client, arrival) = clients.pop().unwrap();
    Ack::accept(arrival.ack, accept(&arrival.received).unwrap());
    assert_eq!(client.reply().await.unwrap().status, 201);
    assert!(server.metric("w3bstream_http_buffered_bytes 0").await);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_does_not_take_its_message_along() {
    let server = start(quick());
    let mut client = server.client().await;
    client.send(&token_event("1", b"x")).await;
    let arrival = server.endpoint.next().await.unwrap();
    drop(client);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.metric("w3bstream_http_in_flight 1").await);
    assert!(server.metric("w3bstream_http_buffered_bytes 1").await, "the node still holds the body");
    let answer = accept(&arrival.received);
    arrival.ack.answer(answer);
    assert!(server.metric("w3bstream_http_in_flight 0").await);
    assert!(server.metric("w3bstream_http_buffered_bytes 0").await);
}

/// A message whose sender waits 300 ms for its handlers' answer.
fn asking(event_id: &str) -> Vec<u8> {
    post(&format!("{EVENTS}?wait=300"), &[BEARER, &format!("idempotency-key: {event_id}")], b"x")
}

#[tokio::test]
async fn who_waits_for_an_answer_gets_it_or_learns_that_the_message_is_stored() {
    let server = start(quick());
    let mut client = server.client().await;
    let executed = |received: &Received| {
        let answer = HandlerAnswer::new(b"42".to_vec());
        let result = HandlerResult {
            applet: "a".parse().unwrap(),
            handler: "h".into(),
            code: 0,
            error: None,
            gas: 1,
            event: None,
            answer: Some(answer),
        };
        Accepted { id: id_of(received), duplicate: false, mode: AckMode::Executed, results: vec![result] }
    };
    // In time.
    client.send(&asking("1")).await;
    let mut arrival = server.endpoint.next().await.unwrap();
    assert_eq!(arrival.ack.mode(AckMode::Durable), AckMode::Executed, "whatever the project promises");
    arrival.ack.stored(id_of(&arrival.received), false);
    arrival.ack.accept(executed(&arrival.received));
    let reply = client.reply().await.unwrap();
    assert_eq!((reply.status, &reply.json()["results"][0]["answer"]), (201, &"42".into()));
    // Stored and not executed in time, or given up by the node: it goes on.
    let told = Refusal::new(RefusalKind::NotReady, "not final yet");
    for refusal in
        [None, Some(told.clone()), Some(Refusal { kind: RefusalKind::ShuttingDown, ..told.clone() })]
    {
        client.send(&asking("2")).await;
        let mut late = server.endpoint.next().await.unwrap();
        let id = id_of(&late.received);
        late.ack.stored(id, true);
        let kept = match refusal {
            Some(refusal) => {
                late.ack.refuse(refusal);
                None
            }
            None => Some(late),
        };
        let reply = client.reply().await.unwrap();
        assert_eq!((reply.status, reply.header("location")), (202, Some(&*format!("/v1/messages/{id}"))));
        let json = reply.json();
        assert_eq!((&json["mode"], &json["duplicate"]), (&"durable".into(), &true.into()));
        assert_eq!((json["id"].as_str(), &json["results"]), (Some(&*id.to_string()), &serde_json::json!([])));
        if let Some(late) = kept {
            let answer = executed(&late.received);
            late.ack.accept(answer);
        }
    }
    // Refused for good, although it was stored.
    client.send(&asking("3")).await;
    let mut refused = server.endpoint.next().await.unwrap();
    refused.ack.stored(id_of(&refused.received), false);
    refused.ack.refuse(Refusal { kind: RefusalKind::Revoked, ..told.clone() });
    client.reply().await.unwrap().expect_problem(403, "revoked");
    // Not even stored.
    client.send(&asking("4")).await;
    let silent = server.endpoint.next().await.unwrap();
    client.reply().await.unwrap().expect_problem(504, "ack-timeout");
    drop(silent);
    client.send(&asking("5")).await;
    server.endpoint.next().await.unwrap().ack.refuse(told);
    client.reply().await.unwrap().expect_problem(503, "not-ready");
    assert!(server.metric("w3bstream_http_in_flight 0").await);
}

#[tokio::test]
async fn a_wait_is_some_milliseconds_up_to_the_limit() {
    let server = start(quick()).answering(accept);
    for wait in ["0", "99", "4001", "-1", "1.5", "x", "", "18446744073709551616"] {
        let path = format!("{EVENTS}?wait={wait}");
        let request = post(&path, &[BEARER, "idempotency-key: 1"], b"x");
        server.ask(&request).await.expect_problem(400, "malformed");
    }
    for wait in ["100", "4000"] {
        let path = format!("{EVENTS}?wait={wait}");
        assert_eq!(server.ask(&post(&path, &[BEARER, "idempotency-key: 1"], b"x")).await.status, 201);
    }
}
