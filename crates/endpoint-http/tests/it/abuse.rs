//! Clients that are slow, many, greedy or mad.

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get as on_get;
use proptest::prelude::{ProptestConfig, any, prop, proptest};
use w3bstream_endpoint::Endpoint as _;

use crate::harness::*;

/// Sends a byte every 20 ms until the server ends the connection; gives how long that took.
async fn dribble(client: &mut Client, bytes: impl Iterator<Item = u8>) -> Duration {
    let start = Instant::now();
    for byte in bytes {
        let step = tokio::time::sleep(Duration::from_millis(20));
        tokio::select! {
            () = step => {}
            ready = client.stream.readable() => { ready.unwrap(); return start.elapsed(); }
        }
        client.send(&[byte]).await;
        assert!(start.elapsed() < PATIENCE, "the server listens for ever");
    }
    panic!("all was sent and the server still listened");
}

fn about(took: Duration, limit: Duration) {
    assert!(took + Duration::from_millis(30) >= limit, "cut off after {took:?}, the limit is {limit:?}");
    assert!(took < limit + Duration::from_millis(400), "cut off only after {took:?}, the limit is {limit:?}");
}

#[tokio::test]
async fn a_head_that_drips_is_cut_off() {
    let server = start(quick());
    let endless = || b"GET /livez HTTP/1.1\r\n".iter().copied().chain(b"x: y\r\n".iter().copied().cycle());
    let mut client = server.client().await;
    about(dribble(&mut client, endless()).await, quick().head_timeout);
    assert!(client.ends().await);
    // Also when an honest request came before on the same connection.
    let mut client = server.client().await;
    client.send(&get("/livez")).await;
    assert_eq!(client.reply().await.unwrap().status, 200);
    about(dribble(&mut client, endless()).await, quick().head_timeout);
    // And before it is known which protocol it will be.
    let mut client = server.client().await;
    about(dribble(&mut client, b"PRI * HTTP/2.0\r\n\r\nSM\r\n".iter().copied()).await, quick().head_timeout);
    assert!(client.ends().await);
    assert!(server.metric("w3bstream_http_connections_cut_total{deadline=\"head\"} 3").await);
}

#[tokio::test]
async fn silence_is_cut_off() {
    let server = start(quick());
    let start = Instant::now();
    assert!(server.client().await.ends().await);
    about(start.elapsed(), quick().head_timeout);
    let mut client = server.client().await;
    client.send(&get("/livez")).await;
    client.reply().await.unwrap();
    let start = Instant::now();
    assert!(client.ends().await);
    about(start.elapsed(), quick().idle_timeout);
    assert!(server.metric("w3bstream_http_connections_cut_total{deadline=\"idle\"} 1").await);
}

fn body_head(length: usize) -> Vec<u8> {
    format!("POST {EVENTS} HTTP/1.1\r\nhost: t\r\n{BEARER}\r\nidempotency-key: 1\r\ncontent-length: {length}\r\n\r\n").into()
}

#[tokio::test]
async fn a_body_that_drips_is_cut_off() {
    let server = start(quick());
    let endless = || std::iter::repeat(b'x');
    // 20 ms for a byte are 12 in a span of 250 ms; 16 are asked.
    let mut client = server.client().await;
    client.send(&body_head(10_000)).await;
    about(dribble(&mut client, endless()).await, quick().body_progress_timeout);
    let reply = client.reply().await.unwrap();
    reply.expect_problem(408, "request-timeout");
    assert_eq!(reply.header("connection"), Some("close"));
    // Enough of progress, but without an end.
    let mut limits = quick();
    limits.body_progress_bytes = 4;
    let server = start(limits);
    let mut client = server.client().await;
    client.send(&body_head(10_000)).await;
    about(dribble(&mut client, endless()).await, quick().body_timeout);
    client.reply().await.unwrap().expect_problem(408, "request-timeout");
    assert!(server.metric("w3bstream_http_buffered_bytes 0").await);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_message() {
    let server = start(quick());
    let mut client = server.client().await;
    client.send(&body_head(100)).await;
    client.send(b"half").await;
    drop(client);
    let mut client = server.client().await;
    let head =
        String::from_utf8(body_head(1)).unwrap().replace("content-length: 1", "transfer-encoding: chunked");
    client.send(head.as_bytes()).await;
    client.send(b"zz\r\n").await;
    client.reply().await.unwrap().expect_problem(400, "malformed");
    let nothing = tokio::time::timeout(Duration::from_millis(100), server.endpoint.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_cut_off() {
    let big = || async { vec![b'x'; 64 * 1024 * 1024] };
    let server = bind(quick(), Some(Router::new().route("/big", on_get(big))));
    server.endpoint.start(&server.tasks);
    let mut client = server.client().await;
    client.send(&get("/big")).await;
    let cut = "w3bstream_http_connections_cut_total{deadline=\"write\"} 1";
    tokio::time::timeout(PATIENCE, async {
        while !server.metric(cut).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the connection is cut");
}

#[tokio::test]
async fn connections_are_capped_and_told_so() {
    let mut limits = quick();
    limits.max_connections_per_address = 2;
    limits.head_timeout = Duration::from_secs(5);
    let server = start(limits);
    let (mut first, mut second) = (server.client().await, server.client().await);
    for client in [&mut first, &mut second] {
        client.send(&get("/livez")).await;
        assert_eq!(client.reply().await.unwrap().status, 200);
    }
    let mut third = server.client().await;
    third.send(&get("/livez")).await;
    let reply = third.reply().await.unwrap();
    reply.expect_problem(503, "overloaded");
    assert!(third.ends().await);
    drop(first);
    let count = "w3bstream_http_connections_refused_total{cap=\"address\"} 1";
    tokio::time::timeout(PATIENCE, async {
        second.send(&get("/metrics")).await;
        let text = second.reply().await.unwrap().text();
        assert!(text.lines().any(|l| l == count), "{text}");
        while server.ask(&get("/livez")).await.status != 200 {}
    })
    .await
    .expect("a place becomes free");
}

#[tokio::test]
async fn the_cap_of_all_connections_holds() {
    let mut limits = quick();
    limits.max_connections = 1;
    let server = start(limits);
    let mut only = server.client().await;
    only.send(&get("/livez")).await;
    only.reply().await.unwrap();
    server.ask(&get("/livez")).await.expect_problem(503, "overloaded");
    only.send(&get("/metrics")).await;
    let text = only.reply().await.unwrap().text();
    assert!(text.contains("w3bstream_http_connections_refused_total{cap=\"total\"} 1"), "{text}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let server = start(quick());
    let head = format!("GET /livez HTTP/1.1\r\nhost: t\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    assert_eq!(server.ask(head.as_bytes()).await.status, 431);
    let many: String = (0..200).map(|i| format!("x{i}: y\r\n")).collect();
    assert_eq!(
        server.ask(format!("GET /livez HTTP/1.1\r\nhost: t\r\n{many}\r\n").as_bytes()).await.status,
        431
    );
}

#[tokio::test]
async fn one_connection_serves_many_requests_one_after_the_other_and_ahead() {
    let server = start(quick()).answering(accept);
    let mut client = server.client().await;
    for round in 0..5 {
        client.send(&token_event(&format!("a{round}"), b"x")).await;
        assert_eq!(client.reply().await.unwrap().status, 201);
    }
    let ahead: Vec<u8> = (0..20).flat_map(|i| token_event(&format!("b{i}"), b"x")).collect();
    client.send(&ahead).await;
    for i in 0..20 {
        let reply = client.reply().await.unwrap();
        let expected = w3bstream_types::Digest::of(format!("b{i}").as_bytes()).to_string();
        assert_eq!((reply.status, reply.json()["id"].as_str()), (201, Some(&*expected)));
    }
    assert!(server.metric("w3bstream_http_connections_total 2").await);
}

#[tokio::test]
async fn clients_at_the_same_time_do_not_wait_for_each_other() {
    let server = start(quick());
    let mut clients = Vec::new();
    for i in 0..50 {
        let mut client = server.client().await;
        client.send(&token_event(&i.to_string(), b"x")).await;
        clients.push(client);
    }
    // All fifty are in flight together.
    let mut arrivals = Vec::new();
    for _ in 0..50 {
        arrivals.push(tokio::time::timeout(PATIENCE, server.endpoint.next()).await.unwrap().unwrap());
    }
    for arrival in arrivals.into_iter().rev() {
        let answer = accept(&arrival.received);
        arrival.ack.answer(answer);
    }
    for mut client in clients {
        assert_eq!(client.reply().await.unwrap().status, 201);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is sent, the connection ends or answers, and the server lives.
    #[test]
    fn mad_bytes_harm_nobody(
        start in prop::sample::select(vec![
            &b""[..], b"POST ", b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"POST /v1/projects/kit/events HTTP/1.1\r\ncontent-type: application/jose\r\ntransfer-encoding: chunked\r\n\r\n",
            b"POST /v1/projects/kit/events HTTP/1.1\r\ncontent-type: application/vnd.w3bstream.envelope\r\ncontent-length: 200\r\n\r\n",
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = crate::harness::start(quick()).answering(accept);
            let mut client = server.client().await;
            client.send(start).await;
            client.send(&bytes).await;
            // No more bytes will come.
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await;
            let mut sink = Vec::new();
            let read = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut sink);
            let _ = tokio::time::timeout(PATIENCE, read).await.expect("the connection ends");
            assert_eq!(server.ask(&get("/livez")).await.status, 200);
            server.endpoint.close().await.expect("no task has panicked");
        });
    }
}
