//! One message by one call.

use std::time::Duration;

use tonic::Code;
use w3bstream_endpoint_grpc::GrpcLimits;
use w3bstream_endpoint_grpc::proto::submit_request::Message;
use w3bstream_endpoint_grpc::proto::{AckMode as Mode, SubmitRequest, TokenMessage};
use w3bstream_types::{Accepted, AckMode, Form, HandlerAnswer, HandlerResult, Submission, Timestamp};

use crate::harness::{
    NOW, QUIET, accept, by_token, envelope, expect_problem, id_of, in_time, jws, of, quick, start,
};

#[tokio::test]
async fn the_three_forms_arrive_as_they_were_sent() {
    let server = start(quick());
    let token = TokenMessage {
        token: "secret".into(),
        event_id: "e-1".into(),
        r#type: "door".into(),
        time: 12,
        payload: vec![0, 255],
    };
    let forms = [
        Message::Envelope(envelope(b"hi")),
        Message::Jws(jws(b"hi")),
        // What a shell adds.
        Message::Jws(jws(b"hi") + "\n"),
        Message::Token(token.clone()),
        Message::Token(TokenMessage { r#type: String::new(), time: 0, ..token }),
    ];
    for (index, form) in forms.into_iter().enumerate() {
        let mut client = server.ingest().await;
        let call = async { in_time(client.submit(of(form))).await.unwrap().into_inner() };
        let take = async {
            let arrival = server.arrival().await;
            let (received, id) = (arrival.received.clone(), id_of(&arrival.received));
            arrival.ack.accept(Accepted {
                id,
                duplicate: index == 1,
                mode: AckMode::Durable,
                results: vec![],
            });
            received
        };
        let (accepted, received) = tokio::join!(call, take);
        assert_eq!(accepted.id, id_of(&received).to_string());
        assert_eq!((accepted.duplicate, accepted.mode()), (index == 1, Mode::Durable));
        assert_eq!((received.project.as_str(), received.received_at), ("kit", NOW));
        match (index, received.submission) {
            (0, Submission::Signed(record)) => assert!(matches!(record.form(), Form::Envelope(_))),
            (1 | 2, Submission::Signed(record)) => assert!(matches!(record.form(), Form::Jws(_))),
            (3, Submission::Token { token, event_id, event_type, time, payload }) => {
                assert_eq!(
                    (token.as_str(), event_id.as_str(), event_type.as_str()),
                    ("secret", "e-1", "door")
                );
                assert_eq!((time, payload), (Timestamp(12), vec![0, 255]));
            }
            (4, Submission::Token { event_type, time, .. }) => {
                assert_eq!((event_type.as_str(), time), ("default", Timestamp(0)));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(server.metric("w3bstream_grpc_accepted_total{duplicate=\"false\"} 4"));
    assert!(server.metric("w3bstream_grpc_accepted_total{duplicate=\"true\"} 1"));
    assert!(server.metric("w3bstream_grpc_calls_total{method=\"w3bstream.v1.Ingest/Submit\"} 5"));
    assert!(server.metric("w3bstream_grpc_in_flight 0") && server.metric("w3bstream_grpc_buffered_bytes 0"));
}

#[tokio::test]
async fn results_come_with_an_executed_message() {
    let results = vec![
        HandlerResult {
            applet: "a".parse().unwrap(),
            handler: "h".into(),
            code: -7,
            error: None,
            gas: u64::MAX,
            event: None,
            answer: None,
        },
        HandlerResult {
            applet: "b".parse().unwrap(),
            handler: "g".into(),
            code: -1,
            error: Some("out-of-gas".into()),
            gas: 1,
            event: Some("seen".parse().unwrap()),
            answer: Some(HandlerAnswer::new(b"\xff".to_vec())),
        },
    ];
    let server = start(quick()).answering(move |r| {
        Ok(Accepted { id: id_of(r), duplicate: false, mode: AckMode::Executed, results: results.clone() })
    });
    let accepted = in_time(server.ingest().await.submit(by_token("x", b""))).await.unwrap().into_inner();
    assert_eq!(accepted.mode(), Mode::Executed);
    let [first, second] = accepted.results.as_slice() else { panic!("{accepted:?}") };
    assert_eq!((first.applet.as_str(), first.code, &first.error, first.gas), ("a", -7, &None, u64::MAX));
    assert_eq!((second.handler.as_str(), second.error.as_deref()), ("g", Some("out-of-gas")));
    assert_eq!((&first.event, &first.answer), (&None, &None));
    assert_eq!((second.event.as_deref(), second.answer.as_deref()), (Some("seen"), Some(&b"\xff"[..])));
}

#[tokio::test]
async fn what_is_no_message_never_reaches_the_node() {
    let server = start(quick());
    let mut client = server.ingest().await;
    let token = |token: &str, event_id: &str, kind: &str| {
        let (token, event_id, r#type) = (token.into(), event_id.into(), kind.into());
        of(Message::Token(TokenMessage { token, event_id, r#type, time: 0, payload: vec![] }))
    };
    // A field that the envelope's reader does not know.
    let strange = [envelope(b"x"), vec![0x78, 1]].concat();
    for (request, status, code) in [
        (SubmitRequest::default(), Code::NotFound, "unknown-project"),
        (SubmitRequest { project: "Ö".into(), message: None }, Code::NotFound, "unknown-project"),
        (SubmitRequest { project: "kit".into(), message: None }, Code::InvalidArgument, "malformed"),
        (of(Message::Envelope(vec![])), Code::InvalidArgument, "malformed"),
        (of(Message::Envelope(strange)), Code::InvalidArgument, "malformed"),
        (of(Message::Jws("a.b.c".into())), Code::InvalidArgument, "malformed"),
        (token("", "e", "t"), Code::Unauthenticated, "bad-token"),
        (token(&"x".repeat(4097), "e", "t"), Code::Unauthenticated, "bad-token"),
        (token("se cret", "e", "t"), Code::Unauthenticated, "bad-token"),
        (token("secret", "", "t"), Code::InvalidArgument, "malformed"),
        (token("secret", "e", "No Type"), Code::InvalidArgument, "malformed"),
    ] {
        expect_problem(in_time(client.submit(request)).await, status, code);
    }
    assert!(server.all_arrivals().await.is_empty());
    assert!(server.metric("w3bstream_grpc_buffered_bytes 0"));
}

#[tokio::test]
async fn a_message_above_the_limit_is_too_large_and_one_below_is_not() {
    let server = start(quick()).answering(accept);
    let mut client = server.ingest().await;
    expect_problem(
        in_time(client.submit(by_token("a", &[1; 64 * 1024]))).await,
        Code::OutOfRange,
        "too-large",
    );
    in_time(client.submit(by_token("b", &[1; 64 * 1024 - 100]))).await.unwrap();
}

#[tokio::test]
async fn an_abandoned_call_loses_no_message() {
    let server = start(quick());
    let mut client = server.ingest().await;
    {
        let call = client.submit(by_token("gone", b"x"));
        tokio::pin!(call);
        let arrival = tokio::select! {
            _ = &mut call => panic!("answered before the node did"),
            arrival = server.arrival() => arrival,
        };
        assert!(server.metric("w3bstream_grpc_in_flight 1"));
        // The client goes away with its message half way.
        tokio::task::yield_now().await;
        server.tasks.spawn("late", async move {
            tokio::time::sleep(QUIET).await;
            let answer = accept(&arrival.received);
            arrival.ack.answer(answer);
        });
    }
    drop(client);
    server.until("w3bstream_grpc_in_flight 0").await;
    // It was accepted, not refused: nothing says otherwise, and nothing broke.
    assert!(server.metric("w3bstream_grpc_problems_total{code=\"shutting-down\"} 0"));
    assert!(server.metric("w3bstream_grpc_buffered_bytes 0"));
    let again = server.answering(accept);
    in_time(again.ingest().await.submit(by_token("gone", b"x"))).await.unwrap();
}

#[tokio::test]
async fn a_dropped_ack_asks_for_another_try() {
    let server = start(quick());
    let mut client = server.ingest().await;
    let (answer, ()) = tokio::join!(in_time(client.submit(by_token("a", b""))), async {
        drop(server.arrival().await);
    });
    expect_problem(answer, Code::Unavailable, "shutting-down");
}

#[tokio::test]
async fn beyond_the_messages_in_flight_a_call_is_refused_for_now() {
    let server = start(GrpcLimits { max_in_flight: 2, ..quick() });
    let client = server.ingest().await;
    for event in ["a", "b"] {
        let mut client = client.clone();
        server.tasks.spawn("call", async move {
            let _ = client.submit(by_token(event, b"")).await;
        });
    }
    let (first, _second) = (server.arrival().await, server.arrival().await);
    let mut third = client.clone();
    expect_problem(in_time(third.submit(by_token("c", b""))).await, Code::ResourceExhausted, "overloaded");
    // A place is given back, and the next one gets it.
    first.ack.refuse(w3bstream_types::Refusal::new(w3bstream_types::RefusalKind::Conflict, "x"));
    let (answer, ()) = tokio::join!(in_time(third.submit(by_token("c", b""))), async {
        let arrival = server.arrival().await;
        let answer = accept(&arrival.received);
        arrival.ack.answer(answer);
    });
    answer.unwrap();
}

#[tokio::test]
async fn an_acknowledgement_that_does_not_come_is_told_and_its_place_is_kept() {
    let server = start(GrpcLimits { ack_timeout: Duration::from_millis(100), ..quick() });
    let mut client = server.ingest().await;
    expect_problem(in_time(client.submit(by_token("a", b""))).await, Code::Unavailable, "ack-timeout");
    assert!(server.metric("w3bstream_grpc_in_flight 1"), "the node still has it");
    drop(server.arrival().await);
    assert!(server.metric("w3bstream_grpc_in_flight 0"));
}
