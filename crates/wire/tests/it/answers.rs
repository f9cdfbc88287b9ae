//! The JSON that devices are answered with.

use serde_json::json;
use w3bstream_types::{
    Accepted, AckMode, Digest, HandlerAnswer, HandlerResult, MessageId, Refusal, RefusalKind,
};
use w3bstream_wire::{AckBody, RefusalBody};

#[test]
fn acks_have_documented_members() {
    let id = MessageId(Digest::of(b"message"));
    let result = HandlerResult {
        applet: "alarm".parse().unwrap(),
        handler: "handle".into(),
        code: 0,
        error: None,
        gas: 18_446_744_073_709_551_615,
        event: None,
        answer: None,
    };
    let event = Some("seen".parse().unwrap());
    let of_event =
        HandlerResult { event, answer: Some(HandlerAnswer::new(b"{}".to_vec())), ..result.clone() };
    let bytes = HandlerResult { answer: Some(HandlerAnswer::new(vec![0xff])), ..result.clone() };
    let accepted =
        Accepted { id, duplicate: true, mode: AckMode::Executed, results: vec![result, of_event, bytes] };
    let body = AckBody::from(&accepted);
    let text = json!({
        "id": id.to_string(), "duplicate": true, "mode": "executed",
        "results": [
            {"applet": "alarm", "handler": "handle", "code": 0, "error": null, "gas": "18446744073709551615"},
            {"applet": "alarm", "handler": "handle", "code": 0, "error": null, "gas": "18446744073709551615",
             "event": "seen", "answer": "{}"},
            {"applet": "alarm", "handler": "handle", "code": 0, "error": null, "gas": "18446744073709551615",
             "answer_base64": "/w=="},
        ],
    });
    assert_eq!(serde_json::to_value(&body).unwrap(), text);
    let mut newer = text.clone();
    newer["later"] = json!("a member of a later version");
    assert_eq!(serde_json::from_value::<AckBody>(newer).unwrap(), body);
}

#[test]
fn refusals_have_documented_members() {
    let mut refusal = Refusal::new(RefusalKind::TooOld, "below the window");
    refusal.next_epoch = Some(4);
    let id = MessageId(Digest::of(b"message"));
    let body = RefusalBody::new(Some(id), &refusal);
    let text = json!({
        "id": id.to_string(), "code": "too-old", "permanent": true, "detail": "below the window", "next_epoch": 4,
    });
    assert_eq!(serde_json::to_value(&body).unwrap(), text);
    assert_eq!(serde_json::from_value::<RefusalBody>(text).unwrap(), body);
    let body = RefusalBody::new(None, &Refusal::new(RefusalKind::Overloaded, "later"));
    assert_eq!(
        serde_json::to_value(&body).unwrap(),
        json!({"code": "overloaded", "permanent": false, "detail": "later"}),
    );
}
