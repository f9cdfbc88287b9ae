//! Every way in which a node refuses, as a client sees it.

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::pb;
use w3bstream_endpoint_grpc::proto::submit_stream_response::Answer;
use w3bstream_endpoint_grpc::proto::{Refused, SubmitStreamRequest};
use w3bstream_endpoint_grpc::{CODE_KEY, NEXT_EPOCH_KEY};
use w3bstream_types::{Refusal, RefusalKind};

use crate::harness::{by_token, event_id, in_time, quick, requests, start};

fn expected(kind: RefusalKind) -> Code {
    match kind {
        RefusalKind::Malformed => Code::InvalidArgument,
        RefusalKind::BadSignature | RefusalKind::BadToken => Code::Unauthenticated,
        RefusalKind::UnknownDevice
        | RefusalKind::Revoked
        | RefusalKind::NotAllowed
        | RefusalKind::WrongAudience => Code::PermissionDenied,
        RefusalKind::UnknownProject | RefusalKind::Removed => Code::NotFound,
        RefusalKind::Conflict => Code::AlreadyExists,
        RefusalKind::TooOld => Code::FailedPrecondition,
        RefusalKind::TooLarge => Code::OutOfRange,
        RefusalKind::Overloaded => Code::ResourceExhausted,
        RefusalKind::ShuttingDown | RefusalKind::StorageFailing | RefusalKind::NotReady => Code::Unavailable,
    }
}

/// A refusal by the event id, which is a code.
fn refusal(code: &str) -> Refusal {
    let kind: RefusalKind = code.parse().unwrap();
    let next_epoch = (kind == RefusalKind::TooOld).then_some(3);
    Refusal { kind, detail: "as asked: ü".into(), next_epoch }
}

fn detail<M: prost::Message + Default>(status: &Status, name: &str) -> Option<M> {
    let all = pb::Status::decode(status.details()).unwrap();
    assert_eq!((all.code, all.message.as_str()), (status.code() as i32, status.message()));
    let url = format!("type.googleapis.com/{name}");
    let found = all.details.iter().find(|d| d.type_url == url)?;
    Some(M::decode(found.value.as_slice()).unwrap())
}

#[tokio::test]
async fn every_refusal_is_a_status_with_details() {
    let server = start(quick()).answering(|r| Err(refusal(event_id(r))));
    let mut client = server.ingest().await;
    for kind in RefusalKind::ALL {
        let status = in_time(client.submit(by_token(kind.code(), b""))).await.unwrap_err();
        assert_eq!(status.code(), expected(kind), "{kind}");
        assert_eq!(status.message(), format!("{kind}: as asked: ü"));
        assert_eq!(status.metadata().get(CODE_KEY).unwrap(), kind.code());
        let refused: Refused = detail(&status, "w3bstream.v1.Refused").unwrap();
        assert_eq!((refused.code.as_str(), refused.permanent), (kind.code(), kind.is_permanent()));
        assert_eq!(refused.detail, "as asked: ü");
        let info: pb::ErrorInfo = detail(&status, "google.rpc.ErrorInfo").unwrap();
        assert_eq!(info.reason, kind.code().to_uppercase().replace('-', "_"));
        assert_eq!(info.domain, "w3bstream");
        let retry: Option<pb::RetryInfo> = detail(&status, "google.rpc.RetryInfo");
        assert_eq!(retry.is_some(), !kind.is_permanent(), "{kind}");
        assert!(retry.is_none_or(|r| r.retry_delay.unwrap().seconds > 0));
        let epoch = (kind == RefusalKind::TooOld).then_some(3);
        assert_eq!(refused.next_epoch, epoch);
        let in_metadata = status.metadata().get(NEXT_EPOCH_KEY).map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(in_metadata, epoch.map(|e| e.to_string()));
        assert_eq!(info.metadata.get("next_epoch").cloned(), in_metadata);
        assert!(server.metric(&format!("w3bstream_grpc_problems_total{{code=\"{kind}\"}} 1")));
    }
}

#[tokio::test]
async fn every_refusal_is_an_answer_in_a_stream_that_goes_on() {
    let server = start(quick()).answering(|r| Err(refusal(event_id(r))));
    let (send, stream) = requests();
    let mut answers = server.ingest().await.submit_stream(stream).await.unwrap().into_inner();
    for (tag, kind) in (5..).zip(RefusalKind::ALL) {
        send.send(SubmitStreamRequest { tag, message: Some(by_token(kind.code(), b"")) }).await.unwrap();
        let answer = in_time(answers.message()).await.unwrap().unwrap();
        let Some(Answer::Refused(refused)) = answer.answer else { panic!("{answer:?}") };
        assert_eq!((answer.tag, refused.code.as_str()), (tag, kind.code()));
        assert_eq!(refused.permanent, kind.is_permanent());
        assert_eq!(refused.next_epoch, (kind == RefusalKind::TooOld).then_some(3));
    }
    drop(send);
    assert!(in_time(answers.message()).await.unwrap().is_none());
}
