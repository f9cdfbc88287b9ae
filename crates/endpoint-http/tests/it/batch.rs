//! Many messages in one body.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use w3bstream_endpoint::Endpoint as _;
use w3bstream_types::{Received, Refusal, RefusalKind, Submission};

use crate::harness::*;

const NDJSON: &str = "content-type: application/x-ndjson";

fn results(reply: &Reply) -> Vec<Value> {
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/x-ndjson")),
        "{reply:?}"
    );
    reply.text().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn event(id: usize) -> String {
    format!("{{\"event_id\":\"{id}\",\"payload\":{id}}}\n")
}

fn chunked(headers: &[&str]) -> Vec<u8> {
    let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    format!("POST {BATCH} HTTP/1.1\r\nhost: t\r\n{headers}transfer-encoding: chunked\r\n\r\n").into_bytes()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[tokio::test]
async fn every_form_in_one_batch_and_a_bad_line_loses_nothing() {
    let kept: Arc<Mutex<Vec<Received>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let server = start(quick()).answering(move |received| {
        keep.lock().unwrap().push(received.clone());
        match &received.submission {
            Submission::Token { event_id, .. } if event_id == "bad" => {
                Err(Refusal { next_epoch: Some(7), ..Refusal::new(RefusalKind::TooOld, "old") })
            }
            Submission::Token { event_id, .. } if event_id == "busy" => {
                Err(Refusal::new(RefusalKind::NotReady, "later"))
            }
            _ => accept(received),
        }
    });
    let body = [
        jws(b"1"),
        format!("\"{}\"", jws(b"2")),
        format!("{{\"envelope\":\"{}\"}}", STANDARD.encode(envelope(b"3"))),
        String::new(),
        "{\"event_id\":\"a\",\"type\":\"door\",\"time\":5,\"payload\":{\"x\": 1}}\r".into(),
        "nonsense".into(),
        "{\"event_id\":\"bad\",\"payload\":\"x\"}".into(),
        "{\"event_id\":\"busy\",\"payload\":\"x\"}".into(),
        "x".repeat(quick().batch_line_bytes + 1),
        "{\"event_id\":\"last\",\"payload_base64\":\"AP8=\"}".into(),
    ]
    .join("\n");
    let reply = server.ask(&post(BATCH, &[NDJSON, BEARER], body.as_bytes())).await;
    let got = results(&reply);
    let brief: Vec<_> =
        got.iter().map(|r| (r["line"].as_u64().unwrap(), r["status"].as_u64().unwrap())).collect();
    let wanted = [(1, 201), (2, 201), (3, 201), (5, 201), (6, 400), (7, 409), (8, 503), (9, 413), (10, 201)];
    assert_eq!(brief, wanted);
    assert_eq!((&got[5]["code"], &got[5]["next_epoch"]), (&json!("too-old"), &json!(7)));
    assert_eq!(got[6]["retry_after"], 5);
    assert!(got.iter().all(|r| r.get("stopped").is_none()));
    let kept = kept.lock().unwrap().split_off(0);
    assert_eq!(got[0]["id"], json!(id_of(&kept[0])));
    let Submission::Token { token, event_type, time, payload, .. } = &kept[3].submission else { panic!() };
    assert_eq!(
        (&**token, event_type.as_str(), time.0, &payload[..]),
        ("secret", "door", 5, &b"{\"x\": 1}"[..])
    );
    assert_eq!(kept.len(), 7);
    assert!(server.metric("w3bstream_http_buffered_bytes 0").await);
    assert!(server.metric("w3bstream_http_batches 0").await);
}

#[tokio::test]
async fn results_come_in_order_and_as_soon_as_they_are_known() {
    let server = start(quick());
    let mut client = server.client().await;
    client.send(&chunked(&[NDJSON, BEARER])).await;
    client.send(&chunk([event(1), event(2)].concat().as_bytes())).await;
    let (first, second) = (server.endpoint.next().await.unwrap(), server.endpoint.next().await.unwrap());
    assert_eq!(client.head().await.unwrap().status, 200);
    let (one, two) = (accept(&first.received), accept(&second.received));
    second.ack.answer(two);
    tokio::time::sleep(Duration::from_millis(50)).await;
    first.ack.answer(one);
    let text = client.until("\"line\":2").await;
    assert!(text.find("\"line\":1") < text.find("\"line\":2"), "{text}");
    // The body is still open: a third line, half, and the rest of it.
    client.send(&chunk(&event(3).as_bytes()[..10])).await;
    client.send(&chunk(&event(3).as_bytes()[10..])).await;
    let third = server.endpoint.next().await.unwrap();
    let three = accept(&third.received);
    third.ack.answer(three);
    client.until("\"line\":3").await;
    client.send(b"0\r\n\r\n").await;
    assert!(client.chunk().await.is_none());
    // And the connection lives on.
    client.send(&get("/livez")).await;
    assert_eq!(client.reply().await.unwrap().status, 200);
}

#[tokio::test]
async fn a_batch_is_read_no_further_than_its_places_in_flight() {
    let limits = w3bstream_endpoint_http::HttpLimits { batch_in_flight: 4, ..quick() };
    let server = start(limits);
    let mut client = server.client().await;
    let body: String = (0..40).map(event).collect();
    client.send(&post(BATCH, &[NDJSON, BEARER], body.as_bytes())).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(server.endpoint.next().await.unwrap());
    }
    let more = tokio::time::timeout(Duration::from_millis(150), server.endpoint.next()).await;
    assert!(more.is_err(), "a fifth message was handed over");
    let rest = async {
        for _ in 0..36 {
            let arrival = held.remove(0);
            let answer = accept(&arrival.received);
            arrival.ack.answer(answer);
            held.push(server.endpoint.next().await.unwrap());
        }
        for arrival in held.drain(..) {
            let answer = accept(&arrival.received);
            arrival.ack.answer(answer);
        }
    };
    let (reply, ()) = tokio::join!(client.reply(), rest);
    let results = results(&reply.unwrap());
    let lines: Vec<_> = results.iter().map(|r| (r["line"].as_u64().unwrap(), r["status"].as_u64())).collect();
    assert_eq!(lines, (1..=40).map(|line| (line, Some(201))).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_gets_all() {
    let server = start(quick()).answering(accept);
    let lines = quick().batch_lines;
    let body: String = (0..lines).map(event).collect();
    let mut client = server.client().await;
    client.send(&post(BATCH, &[NDJSON, BEARER], body.as_bytes())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let got = results(&client.reply().await.unwrap());
    assert_eq!(got.len(), lines);
    assert!(got.iter().enumerate().all(|(i, r)| r["line"] == i + 1 && r["status"] == 201));
}

#[tokio::test]
async fn lines_and_bytes_have_an_end_and_what_was_before_is_answered() {
    let limits = w3bstream_endpoint_http::HttpLimits { batch_lines: 3, batch_bytes: 4096, ..quick() };
    let server = start(limits).answering(accept);
    let body: String = (0..5).map(event).collect();
    let got = results(&server.ask(&post(BATCH, &[NDJSON, BEARER], body.as_bytes())).await);
    assert_eq!(got.len(), 4);
    assert_eq!(
        (&got[3]["line"], &got[3]["code"], &got[3]["stopped"]),
        (&json!(4), &json!("too-large"), &json!(true))
    );
    // Announced: nothing is read.
    server.ask(&post(BATCH, &[NDJSON, BEARER], &[b'x'; 5000])).await.expect_problem(413, "too-large");
    // Found out.
    let mut client = server.client().await;
    client.send(&chunked(&[NDJSON, BEARER])).await;
    client.send(&chunk(event(1).as_bytes())).await;
    client.send(&chunk(&[b'x'; 5000])).await;
    let got = results(&client.reply().await.unwrap());
    assert_eq!((got.len(), &got[0]["status"], &got[1]["code"]), (2, &json!(201), &json!("too-large")));
}

#[tokio::test]
async fn lines_without_end_take_neither_memory_nor_time_for_ever() {
    let server = start(quick()).answering(accept);
    let mut client = server.client().await;
    client.send(&chunked(&[NDJSON, BEARER])).await;
    for _ in 0..64 {
        client.send(&chunk(&[b'{'; 64 * 1024])).await;
    }
    // No bytes any more, and no end.
    let start = std::time::Instant::now();
    let got = results(&client.reply().await.unwrap());
    assert!(start.elapsed() < quick().body_progress_timeout + Duration::from_secs(2));
    assert_eq!(
        (got.len(), &got[0]["code"], &got[0]["stopped"]),
        (1, &json!("request-timeout"), &json!(true))
    );
    assert!(server.metric("w3bstream_http_batches 0").await);
}

#[tokio::test]
async fn compressed_batches_and_bombs() {
    let server = start(quick()).answering(accept);
    let body: String = (0..500).map(event).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(body.as_bytes()).unwrap();
    let zstd = zstd::bulk::compress(body.as_bytes(), 3).unwrap();
    for (coding, packed) in [("gzip", gzip.finish().unwrap()), ("zstd", zstd)] {
        let header = format!("content-encoding: {coding}");
        let got = results(&server.ask(&post(BATCH, &[NDJSON, BEARER, &header], &packed)).await);
        assert_eq!(got.len(), 500, "{coding}");
        assert!(got.iter().all(|r| r["status"] == 201));
    }
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(event(1).as_bytes()).unwrap();
    (0..200).for_each(|_| bomb.write_all(&vec![b'\n'; 1 << 20]).unwrap());
    let got = results(
        &server.ask(&post(BATCH, &[NDJSON, BEARER, "content-encoding: gzip"], &bomb.finish().unwrap())).await,
    );
    assert_eq!(got.last().unwrap()["code"], "too-large");
}

#[tokio::test]
async fn a_batch_that_cannot_begin_is_a_problem() {
    let limits = w3bstream_endpoint_http::HttpLimits { max_batches_per_address: 1, ..quick() };
    let server = start(limits);
    let token = |line| server_post(line);
    server.ask(&token("content-type: application/json")).await.expect_problem(415, "unsupported-media-type");
    server.ask(&post(BATCH, &[], b"")).await.expect_problem(415, "unsupported-media-type");
    let bad = post(&format!("{BATCH}?type=a"), &[NDJSON], b"");
    server.ask(&bad).await.expect_problem(400, "malformed");
    let bad = post("/v1/projects/No/events:batch", &[NDJSON], b"");
    server.ask(&bad).await.expect_problem(404, "unknown-project");
    server.ask(&post(BATCH, &[NDJSON, "authorization: Basic x"], b"")).await.expect_problem(401, "bad-token");
    assert_eq!(results(&server.ask(&post(BATCH, &[NDJSON], b"")).await).len(), 0);
    let unsigned = results(&server.ask(&post(BATCH, &[NDJSON], event(1).as_bytes())).await);
    assert_eq!(unsigned[0]["code"], "bad-token");
    // No byte of the body: a status, as there is no answer yet.
    let mut silent = server.client().await;
    silent.send(&chunked(&[NDJSON, BEARER])).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.ask(&post(BATCH, &[NDJSON], b"")).await.expect_problem(503, "overloaded");
    silent.reply().await.unwrap().expect_problem(408, "request-timeout");
    assert!(silent.ends().await);
    assert_eq!(server.ask(&post(BATCH, &[NDJSON], b"")).await.status, 200, "its place is free");
}

fn server_post(header: &str) -> Vec<u8> {
    post(BATCH, &[header, BEARER], event(1).as_bytes())
}

#[tokio::test]
async fn stopping_answers_what_was_taken_and_says_where_it_stopped() {
    let server = start(quick());
    let mut client = server.client().await;
    client.send(&chunked(&[NDJSON, BEARER])).await;
    client.send(&chunk(event(1).as_bytes())).await;
    let arrival = server.endpoint.next().await.unwrap();
    server.endpoint.stop_intake().await;
    client.send(&chunk(event(2).as_bytes())).await;
    let answer = accept(&arrival.received);
    arrival.ack.answer(answer);
    let got = results(&client.reply().await.unwrap());
    assert_eq!((&got[0]["line"], &got[0]["status"]), (&json!(1), &json!(201)));
    assert_eq!(
        (&got[1]["line"], &got[1]["code"], &got[1]["stopped"]),
        (&json!(2), &json!("shutting-down"), &json!(true))
    );
    server.endpoint.close().await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off_and_holds_little() {
    let limits =
        w3bstream_endpoint_http::HttpLimits { batch_answer_bytes: 4096, batch_lines: 1_000_000, ..quick() };
    let server = start(limits).answering(accept);
    let mut client = Client::connect_small(server.addr).await;
    client.send(&chunked(&[NDJSON, BEARER])).await;
    let lines: String = (0..500).map(event).collect();
    let piece = chunk(lines.as_bytes());
    let start = std::time::Instant::now();
    // Writes until the server takes no more: neither reads.
    while tokio::time::timeout(
        Duration::from_millis(300),
        tokio::io::AsyncWriteExt::write_all(&mut client.stream, &piece),
    )
    .await
    .is_ok_and(|r| r.is_ok())
    {
        assert!(start.elapsed() < PATIENCE * 3, "the server reads for ever");
    }
    tokio::time::timeout(PATIENCE, async {
        while !server.metric("w3bstream_http_batches 0").await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the batch ends");
}
