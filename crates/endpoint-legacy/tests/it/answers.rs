//! What an event is answered, and when.

use std::time::Duration;

use serde_json::{Value, json};
use w3bstream_endpoint::{Arrival, Endpoint as _};
use w3bstream_types::{
    Accepted, AckMode, HandlerResult, MessageId, Refusal, RefusalKind, Submission, Timestamp,
};

use crate::stage::{NOW, Stage, block_on};

const EVENT: &str = "/srv-applet-mgr/v0/event/p?eventType=T_1&eventID=X";

fn accepted(arrival: &Arrival) -> Accepted {
    assert!(
        matches!(arrival.received.submission, Submission::Token { .. }),
        "what comes this way has a token"
    );
    let result = HandlerResult {
        applet: "log".parse().unwrap(),
        handler: "start".into(),
        code: -1,
        error: Some("trap".into()),
        gas: 5,
        event: None,
        answer: None,
    };
    let id = MessageId::of_signing_input(b"x");
    // What a handler's own event did is not part of the original's answer.
    let of_event = HandlerResult { event: Some("seen".parse().unwrap()), ..result.clone() };
    Accepted { id, duplicate: false, mode: AckMode::Executed, results: vec![result, of_event] }
}

#[test]
fn an_event_arrives_with_its_token_and_is_answered_with_the_results() {
    block_on(async {
        let stage = Stage::new().await;
        let token = stage.project().await;
        let node = async {
            let arrival = stage.endpoint.next().await.unwrap();
            let Submission::Token { token: shown, event_id, event_type, time, payload } =
                arrival.received.submission.clone()
            else {
                panic!("no token")
            };
            assert_eq!((shown, event_id.as_str(), event_type.as_str()), (token.clone(), "x", "t-1"));
            assert_eq!((time, payload.as_slice()), (Timestamp::NONE, &b"hi"[..]));
            let answer = accepted(&arrival);
            arrival.ack.accept(answer);
        };
        let (_, (status, body)) = tokio::join!(node, stage.raw("POST", EVENT, &token, "hi"));
        assert_eq!(status, 201);
        assert_eq!(
            (&body["channel"], &body["publisherKey"], &body["eventID"]),
            (&json!("p"), &json!("D_1"), &json!("x"))
        );
        assert_eq!(body["timestamp"], NOW.0);
        let result = &body["results"][0];
        assert_eq!(
            (&result["code"], &result["error"], &result["returnValue"]),
            (&json!(-1), &json!("trap"), &Value::Null)
        );
    });
}

#[test]
fn refusals_have_the_originals_statuses_and_a_dropped_ack_is_transient() {
    block_on(async {
        let stage = Stage::new().await;
        let token = stage.project().await;
        for (kind, expected) in [
            (Some(RefusalKind::BadToken), 401),
            (Some(RefusalKind::NotAllowed), 403),
            (Some(RefusalKind::Conflict), 409),
            (Some(RefusalKind::TooLarge), 413),
            (Some(RefusalKind::Overloaded), 503),
            (None, 503),
        ] {
            let node = async {
                let arrival = stage.endpoint.next().await.unwrap();
                if let Some(kind) = kind {
                    arrival.ack.refuse(Refusal::new(kind, "why"));
                }
            };
            let (_, (status, body)) = tokio::join!(node, stage.raw("POST", EVENT, &token, ""));
            assert_eq!(
                (status, &body["code"]),
                (expected, &json!(u64::from(expected) * 1_000_000)),
                "{kind:?}"
            );
        }
    });
}

#[test]
fn what_is_in_flight_is_bounded_and_who_waits_too_long_is_told_so() {
    block_on(async {
        let stage = Stage::with(|c| {
            c.max_in_flight = 1;
            c.handler_timeout = Duration::from_millis(300);
        })
        .await;
        let token = stage.project().await;
        let first = stage.raw("POST", EVENT, &token, "");
        let second = async {
            let held = stage.endpoint.next().await.unwrap();
            let refused = stage.raw("POST", EVENT, &token, "").await;
            assert_eq!(refused.0, 503, "{}", refused.1);
            // Held until the first client has given up.
            tokio::time::sleep(Duration::from_millis(400)).await;
            drop(held);
        };
        let (first, ()) = tokio::join!(first, second);
        assert_eq!((first.0, &first.1["key"]), (504, &json!("EventTimeout")));
        let node = async {
            let arrival = stage.endpoint.next().await.unwrap();
            let answer = accepted(&arrival);
            arrival.ack.accept(answer);
        };
        let (_, again) = tokio::join!(node, stage.raw("POST", EVENT, &token, ""));
        assert_eq!(again.0, 201, "its place is free again");
    });
}

#[test]
fn closing_answers_what_was_read_and_takes_nothing_more() {
    block_on(async {
        let stage = Stage::with(|c| c.close_timeout = Duration::from_millis(100)).await;
        let token = stage.project().await;
        let closing = async {
            let held = stage.endpoint.next().await.unwrap();
            stage.endpoint.stop_intake().await;
            assert_eq!(stage.raw("POST", EVENT, &token, "").await.0, 503);
            stage.endpoint.close().await.unwrap();
            assert!(stage.endpoint.next().await.is_none());
            drop(held);
            stage.endpoint.close().await.unwrap();
        };
        let (first, ()) = tokio::join!(stage.raw("POST", EVENT, &token, ""), closing);
        assert_eq!(first.0, 503, "it waited until the patience ended");
    });
}

#[test]
fn bodies_above_the_limit_and_odd_channels_are_refused() {
    block_on(async {
        let stage = Stage::with(|c| (c.max_body_bytes, c.max_upload_bytes) = (1000, 10)).await;
        let token = stage.project().await;
        assert_eq!(stage.raw("POST", EVENT, &token, vec![0; 1001]).await.0, 413);
        stage.upload("p", json!({}), 201).await;
        let path = "/srv-applet-mgr/v0/applet/x/p";
        let large = crate::stage::form(&json!({}), b"\0asm1234567");
        assert_eq!(stage.raw("POST", path, &stage.session, large).await.0, 413);
        for (channel, expected) in [("none", 404), ("aid_5_", 400), ("a%2Fb", 400)] {
            let path = format!("/srv-applet-mgr/v0/event/{channel}");
            assert_eq!(stage.raw("POST", &path, &token, "").await.0, expected, "{channel}");
        }
        let blank = stage.raw("POST", "/srv-applet-mgr/v0/event/p?eventID=a%20b", &token, "").await;
        assert_eq!(blank.0, 400);
    });
}

#[test]
fn an_event_over_mqtt_is_described_in_the_originals_words() {
    block_on(async {
        let stage = Stage::new().await;
        let token = stage.project().await;
        let channel = w3bstream_wire::legacy::Channel::parse("aid_1_p").unwrap();
        let refusal = Err(Refusal::new(RefusalKind::Overloaded, "later"));
        let told = ("x".to_owned(), Timestamp(5));
        let answer = stage.endpoint.describe((&channel, &token), told.clone(), &refusal).await.unwrap();
        assert_eq!((answer.channel.as_str(), answer.publisher_key.as_str()), ("aid_1_p", "D_1"));
        assert!(answer.error.unwrap().contains("later"));
        assert!(stage.endpoint.describe((&channel, "other"), told, &refusal).await.is_none());
    });
}
