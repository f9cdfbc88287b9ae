//! How the endpoint begins and ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use w3bstream_endpoint::{Endpoint as _, ErrorKind};
use w3bstream_endpoint_http::{HttpConfig, HttpEndpoint};
use w3bstream_types::ManualClock;

use crate::harness::*;

#[tokio::test]
async fn the_socket_is_bound_at_once_and_a_taken_port_is_named() {
    let server = bind(quick(), None);
    assert_eq!(server.endpoint.urls(), [format!("http://{}", server.addr)]);
    let taken = HttpConfig::new(server.addr);
    let error = HttpEndpoint::bind(taken, Arc::new(FakeQuery::default()), Arc::new(ManualClock::default()));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bind);
    assert!(error.to_string().contains(&server.addr.to_string()), "{error}");
    // Who connects early is served once the endpoint starts.
    let mut client = server.client().await;
    client.send(&get("/livez")).await;
    server.endpoint.start(&server.tasks);
    server.endpoint.start(&server.tasks);
    assert_eq!(client.reply().await.unwrap().status, 200);
}

#[tokio::test]
async fn closing_without_starting_frees_the_port() {
    let server = bind(quick(), None);
    server.endpoint.close().await.unwrap();
    assert!(server.endpoint.next().await.is_none());
    std::net::TcpListener::bind(server.addr).unwrap();
    server.endpoint.start(&server.tasks);
    assert!(server.tasks.join(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn stopping_the_intake_answers_what_is_in_flight_and_takes_nothing_more() {
    let server = start(quick());
    let (mut busy, mut idle, mut reading) =
        (server.client().await, server.client().await, server.client().await);
    busy.send(&token_event("1", b"x")).await;
    let arrival = server.endpoint.next().await.unwrap();
    idle.send(&get("/livez")).await;
    idle.reply().await.unwrap();
    let (head, rest) = (token_event("2", b"xyz"), b"yz");
    reading.send(&head[..head.len() - rest.len()]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.endpoint.stop_intake().await;
    server.endpoint.stop_intake().await;
    assert!(idle.ends().await, "a silent connection ends at once");
    reading.send(rest).await;
    reading.reply().await.unwrap().expect_problem(503, "shutting-down");
    assert!(tokio::net::TcpStream::connect(server.addr).await.is_err(), "nobody listens any more");
    let answer = accept(&arrival.received);
    arrival.ack.answer(answer);
    let reply = busy.reply().await.unwrap();
    assert_eq!((reply.status, reply.header("connection")), (201, Some("close")));
    assert!(busy.ends().await);
    server.endpoint.close().await.unwrap();
    assert!(server.endpoint.next().await.is_none());
}

#[tokio::test]
async fn closing_waits_for_answers_and_then_refuses() {
    let server = start(quick());
    let (mut answered, mut forgotten) = (server.client().await, server.client().await);
    answered.send(&token_event("1", b"x")).await;
    let soon = server.endpoint.next().await.unwrap();
    forgotten.send(&token_event("2", b"x")).await;
    let never = server.endpoint.next().await.unwrap();
    let start = Instant::now();
    let (closed, ()) = tokio::join!(server.endpoint.close(), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answer = accept(&soon.received);
        soon.ack.answer(answer);
    });
    closed.unwrap();
    let took = start.elapsed();
    assert!(
        took >= quick().close_timeout && took < quick().close_timeout + Duration::from_secs(2),
        "{took:?}"
    );
    assert_eq!(answered.reply().await.unwrap().status, 201);
    forgotten.reply().await.unwrap().expect_problem(503, "shutting-down");
    assert!(forgotten.ends().await);
    drop(never);
    assert!(server.endpoint.next().await.is_none());
    assert!(server.tasks.join(PATIENCE).await.is_ok());
}

#[tokio::test]
async fn what_was_read_is_handed_out_after_closing() {
    let server = start(quick());
    let mut client = server.client().await;
    client.send(&token_event("1", b"x")).await;
    while !server.metric("w3bstream_http_in_flight 1").await {}
    let (closed, sight) = tokio::join!(server.endpoint.close(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let arrival = server.endpoint.next().await.expect("what was read");
        let answer = accept(&arrival.received);
        arrival.ack.answer(answer);
        assert!(server.endpoint.next().await.is_none());
        client.reply().await.unwrap().status
    });
    closed.unwrap();
    assert_eq!(sight, 201);
}

#[tokio::test]
async fn a_stopped_group_of_tasks_closes_the_endpoint() {
    let server = start(quick());
    let mut client = server.client().await;
    client.send(&get("/livez")).await;
    client.reply().await.unwrap();
    assert!(server.tasks.join(PATIENCE).await.is_ok());
    assert!(client.ends().await);
    assert!(server.endpoint.next().await.is_none());
    server.endpoint.close().await.unwrap();
}

#[tokio::test]
async fn an_aborted_server_leaves_nobody_waiting() {
    let server = start(quick());
    let mut client = server.client().await;
    client.send(&get("/livez")).await;
    client.reply().await.unwrap();
    drop(server.tasks);
    assert!(client.ends().await);
    server.endpoint.close().await.unwrap();
    assert!(server.endpoint.next().await.is_none());
}
