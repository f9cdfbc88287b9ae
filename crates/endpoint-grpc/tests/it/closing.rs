//! Beginning and end.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tonic::Code;
use w3bstream_endpoint::conformance::Sight;
use w3bstream_endpoint::{Endpoint as _, ErrorKind, Feed};
use w3bstream_endpoint_grpc::{GrpcConfig, GrpcEndpoint, GrpcLimits};
use w3bstream_types::ManualClock;

use crate::harness::{
    FakeQuery, NOW, accept, bind, by_token, expect_problem, in_time, quick, requests, start,
};
use crate::kit::sight;

#[tokio::test]
async fn an_address_in_use_and_a_wrong_limit_are_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = GrpcConfig::new(taken.local_addr().unwrap());
    let open = |config: &GrpcConfig| {
        let clock = Arc::new(ManualClock::new(NOW));
        GrpcEndpoint::bind(config.clone(), Arc::new(FakeQuery::default()), Feed::default(), clock)
            .unwrap_err()
    };
    let error = open(&config);
    assert_eq!(error.kind(), ErrorKind::Bind);
    assert!(error.to_string().contains("grpc.listen"), "{error}");
    config.limits.max_streams = 0;
    let error = open(&config);
    assert_eq!((error.kind(), error.to_string().contains("max_streams")), (ErrorKind::Config, true));
}

#[tokio::test]
async fn the_url_has_the_real_port_and_a_server_that_never_started_closes() {
    let server = bind(GrpcConfig::new("127.0.0.1:0".parse().unwrap()), Feed::default());
    assert_ne!(server.addr.port(), 0);
    assert_eq!(server.endpoint.urls(), [format!("http://{}", server.addr)]);
    assert_eq!(server.endpoint.name(), "grpc");
    in_time(server.endpoint.close()).await.unwrap();
    assert!(in_time(server.endpoint.next()).await.is_none());
}

#[tokio::test]
async fn a_stopping_node_takes_no_message_and_says_so() {
    let server = start(quick());
    let mut client = server.ingest().await;
    let mut busy = client.clone();
    let (waiting, ()) = tokio::join!(in_time(busy.submit(by_token("a", b""))), async {
        let arrival = server.arrival().await;
        server.endpoint.stop_intake().await;
        let refused = in_time(client.submit(by_token("b", b""))).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
        let answer = accept(&arrival.received);
        arrival.ack.answer(answer);
    });
    waiting.expect("what was taken before is answered");
    in_time(server.endpoint.close()).await.unwrap();
}

#[tokio::test]
async fn the_summary_of_a_stopped_stream_says_how_far_it_came() {
    let server = start(quick());
    let mut client = server.ingest().await;
    let (send, stream) = requests();
    send.send(by_token("a", b"")).await.unwrap();
    let (summary, ()) = tokio::join!(in_time(client.submit_many(stream)), async {
        let arrival = server.arrival().await;
        server.endpoint.stop_intake().await;
        let answer = accept(&arrival.received);
        arrival.ack.answer(answer);
    });
    let summary = summary.unwrap().into_inner();
    assert_eq!((summary.received, summary.accepted), (1, 1));
    assert_eq!(summary.stopped.map(|s| (s.code, s.permanent)), Some(("shutting-down".into(), false)));
    drop(send);
}

#[tokio::test]
async fn whoever_is_not_answered_is_refused_for_now_when_the_node_closes() {
    let server = start(GrpcLimits { close_timeout: Duration::from_millis(100), ..quick() });
    let mut client = server.ingest().await;
    let (answer, ()) = tokio::join!(in_time(client.submit(by_token("a", b""))), async {
        let _held = server.arrival().await;
        in_time(server.endpoint.close()).await.unwrap();
    });
    expect_problem(answer, Code::Unavailable, "shutting-down");
}

#[tokio::test]
async fn the_task_group_ends_the_endpoint() {
    let server = start(quick());
    let mut client = server.ingest().await;
    server.tasks.stop();
    in_time(server.endpoint.close()).await.unwrap();
    let status = in_time(client.submit(by_token("a", b""))).await.unwrap_err();
    // However the library names a connection that is gone, it is nothing final.
    assert_eq!(sight(&status), Sight::Transient, "{status:?}");
    server.tasks.join(Duration::from_secs(5)).await.unwrap();
}
