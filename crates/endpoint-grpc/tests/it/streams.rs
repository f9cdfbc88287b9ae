//! Many messages on one stream.

use std::time::Duration;

use futures_util::stream;
use tokio::time::timeout;
use tonic::{Code, Streaming};
use w3bstream_endpoint_grpc::GrpcLimits;
use w3bstream_endpoint_grpc::proto::submit_stream_response::Answer;
use w3bstream_endpoint_grpc::proto::{SubmitRequest, SubmitStreamRequest, SubmitStreamResponse};
use w3bstream_types::{Refusal, RefusalKind};

use crate::harness::{QUIET, Server, accept, by_token, code_of, event_id, in_time, quick, requests, start};

fn item(tag: u64) -> SubmitStreamRequest {
    SubmitStreamRequest { tag, message: Some(by_token(&format!("e{tag}"), b"x")) }
}

async fn next(answers: &mut Streaming<SubmitStreamResponse>) -> SubmitStreamResponse {
    in_time(answers.message()).await.unwrap().expect("an answer")
}

/// A stream that has sent `count` items and is still open.
async fn opened(
    server: &Server,
    count: u64,
) -> (tokio::sync::mpsc::Sender<SubmitStreamRequest>, Streaming<SubmitStreamResponse>) {
    let (send, stream) = requests();
    let answers = in_time(server.ingest().await.submit_stream(stream)).await.unwrap().into_inner();
    for tag in 0..count {
        send.send(item(tag)).await.unwrap();
    }
    (send, answers)
}

#[tokio::test]
async fn each_answer_comes_when_it_is_known() {
    let server = start(quick());
    let (_send, mut answers) = opened(&server, 3).await;
    let mut arrivals = vec![server.arrival().await, server.arrival().await, server.arrival().await];
    assert_eq!(event_id(&arrivals[0].received), "e0");
    for place in [1, 1, 0] {
        assert!(timeout(QUIET, answers.message()).await.is_err(), "nothing was answered yet");
        let arrival = arrivals.remove(place);
        let (answer, name) = (accept(&arrival.received), event_id(&arrival.received).to_owned());
        arrival.ack.answer(answer);
        let answer = next(&mut answers).await;
        assert_eq!(format!("e{}", answer.tag), name);
        assert!(matches!(answer.answer, Some(Answer::Accepted(_))));
    }
}

#[tokio::test]
async fn a_stream_is_read_as_far_as_its_limit() {
    let server = start(GrpcLimits { max_in_flight_per_stream: 4, ..quick() });
    let (_send, mut answers) = opened(&server, 20).await;
    let mut held = server.all_arrivals().await;
    assert_eq!(held.len(), 4, "the limit of one stream");
    for _ in 0..20 {
        let arrival = if held.is_empty() { server.arrival().await } else { held.remove(0) };
        let answer = accept(&arrival.received);
        arrival.ack.answer(answer);
        next(&mut answers).await;
    }
    assert!(server.all_arrivals().await.is_empty());
}

#[tokio::test]
async fn all_streams_together_are_read_as_far_as_the_endpoints_limit() {
    let server = start(GrpcLimits { max_in_flight: 6, max_in_flight_per_stream: 4, ..quick() });
    let (_a, mut first) = opened(&server, 10).await;
    let (_b, mut second) = opened(&server, 10).await;
    let held = server.all_arrivals().await;
    assert_eq!(held.len(), 6, "the limit of all streams");
    drop(held);
    let server = server.answering(accept);
    let mut answered = 0;
    for answers in [&mut first, &mut second] {
        for _ in 0..10 {
            answered += u32::from(matches!(next(answers).await.answer, Some(Answer::Accepted(_))));
        }
    }
    assert_eq!(answered, 14, "six acks were dropped, the rest was accepted");
    assert!(server.metric("w3bstream_grpc_in_flight 0"));
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_only_itself() {
    let server = start(GrpcLimits { max_in_flight_per_stream: 2, ..quick() }).answering(accept);
    // It sends a lot and looks at nothing.
    let (send, answers) = opened(&server, 0).await;
    let flood = async {
        for tag in 0..100_000 {
            if send.send(item(tag)).await.is_err() {
                break;
            }
        }
    };
    let others = async {
        for n in 0..20 {
            in_time(server.ingest().await.submit(by_token(&format!("other{n}"), b""))).await.unwrap();
        }
    };
    tokio::select! {
        () = others => {}
        () = flood => panic!("all was taken, although nothing was read"),
    }
    drop(answers);
}

#[tokio::test]
async fn a_bad_item_is_refused_and_the_stream_goes_on() {
    let server = start(quick()).answering(accept);
    let (send, mut answers) = opened(&server, 0).await;
    send.send(SubmitStreamRequest { tag: 7, message: None }).await.unwrap();
    send.send(SubmitStreamRequest { tag: 8, message: Some(SubmitRequest::default()) }).await.unwrap();
    send.send(item(9)).await.unwrap();
    drop(send);
    let mut seen = Vec::new();
    while let Some(answer) = in_time(answers.message()).await.unwrap() {
        let what = match answer.answer.unwrap() {
            Answer::Accepted(_) => "accepted".to_owned(),
            Answer::Refused(refused) => refused.code,
        };
        seen.push((answer.tag, what));
    }
    seen.sort();
    let all = [(7, "unknown-project".to_owned()), (8, "unknown-project".into()), (9, "accepted".into())];
    assert_eq!(seen, all);
}

#[tokio::test]
async fn one_message_without_an_acknowledgement_stops_no_other() {
    let server = start(GrpcLimits { ack_timeout: Duration::from_millis(200), ..quick() });
    let (send, mut answers) = opened(&server, 1).await;
    let stuck = server.arrival().await;
    let answer = next(&mut answers).await;
    let Some(Answer::Refused(refused)) = answer.answer else { panic!("{answer:?}") };
    assert_eq!((refused.code.as_str(), refused.permanent), ("ack-timeout", false));
    let server = server.answering(accept);
    send.send(item(1)).await.unwrap();
    assert!(matches!(next(&mut answers).await.answer, Some(Answer::Accepted(_))));
    drop(stuck);
    server.until("w3bstream_grpc_in_flight 0").await;
}

#[tokio::test]
async fn a_silent_stream_ends_after_its_answers() {
    let server = start(GrpcLimits { stream_idle_timeout: Duration::from_millis(200), ..quick() });
    let (_send, mut answers) = opened(&server, 1).await;
    let arrival = server.arrival().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let answer = accept(&arrival.received);
    arrival.ack.answer(answer);
    assert!(matches!(next(&mut answers).await.answer, Some(Answer::Accepted(_))), "the answer comes first");
    let status = in_time(answers.message()).await.unwrap_err();
    assert_eq!((status.code(), code_of(&status)), (Code::Unavailable, "stream-idle"));
}

#[tokio::test]
async fn many_messages_have_one_summary() {
    let server = start(GrpcLimits { max_listed_refusals: 3, ..quick() }).answering(|r| {
        let number: u32 = event_id(r)[1..].parse().unwrap();
        match number % 4 {
            0 => Err(Refusal::new(RefusalKind::Revoked, "x")),
            1 => accept(r).map(|a| w3bstream_types::Accepted { duplicate: true, ..a }),
            _ => accept(r),
        }
    });
    let items: Vec<_> = (0..40).map(|n| by_token(&format!("e{n}"), b"")).collect();
    let summary = in_time(server.ingest().await.submit_many(stream::iter(items))).await.unwrap().into_inner();
    assert_eq!((summary.received, summary.accepted, summary.duplicates), (40, 30, 10));
    assert_eq!((summary.refused, summary.stopped), (10, None));
    let listed: Vec<_> = summary.refusals.iter().map(|r| r.index).collect();
    assert_eq!(listed, [0, 4, 8], "the first ones, as many as the limit says");
    assert!(summary.refusals.iter().all(|r| r.refused.as_ref().unwrap().code == "revoked"));
}

#[tokio::test]
async fn no_messages_have_an_empty_summary() {
    let server = start(quick());
    let none = stream::iter(Vec::<SubmitRequest>::new());
    let summary = in_time(server.ingest().await.submit_many(none)).await.unwrap().into_inner();
    assert_eq!((summary.received, summary.accepted, summary.refused), (0, 0, 0));
}
