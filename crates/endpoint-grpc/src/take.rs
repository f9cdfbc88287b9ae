//! One message on its way to the node and back.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;
use w3bstream_endpoint::{Ack, Answer, Arrival};
use w3bstream_types::{
    Accepted, AckMode, EventType, Malformed, ProjectName, Received, RefusalKind, Submission, Timestamp,
    check_event_id,
};
use w3bstream_wire::{decode_envelope, decode_jws};

use crate::problem::{Problem, ProblemKind};
use crate::proto;
use crate::proto::submit_request::Message;
use crate::server::{Shared, stopping};

/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 4096;

/// A message that is well-formed, with its share of the memory.
#[derive(Debug)]
pub(crate) struct Ready {
    received: Received,
    share: OwnedSemaphorePermit,
}

fn malformed(why: impl Into<String>) -> Problem {
    Problem::refusal(RefusalKind::Malformed, why)
}

/// Reads a message and takes its share of the memory.
pub(crate) fn judge(shared: &Shared, request: proto::SubmitRequest) -> Result<Ready, Problem> {
    let unknown = |e: Malformed| {
        Problem::refusal(RefusalKind::UnknownProject, format!("there can be no such project: {e}"))
    };
    let project: ProjectName = request.project.parse().map_err(unknown)?;
    let message =
        request.message.ok_or_else(|| malformed("there is no message: set one of envelope, jws, token"))?;
    let share = shared.room(match &message {
        Message::Envelope(bytes) => bytes.len(),
        Message::Jws(text) => text.len(),
        Message::Token(token) => token.payload.len() + token.token.len() + token.event_id.len(),
    })?;
    let bad = |e: Malformed| malformed(e.to_string());
    let submission = match message {
        Message::Envelope(bytes) => Submission::Signed(decode_envelope(&bytes).map(envelope).map_err(bad)?),
        // A final line end is what shells and editors add.
        Message::Jws(text) => Submission::Signed(decode_jws(text.trim_ascii_end().as_bytes()).map_err(bad)?),
        Message::Token(token) => by_token(token)?,
    };
    Ok(Ready { received: Received { project, submission, received_at: shared.clock.now() }, share })
}

fn envelope(envelope: w3bstream_types::Envelope) -> w3bstream_types::Record {
    w3bstream_types::Record::new(w3bstream_types::Form::Envelope(envelope))
}

fn by_token(message: proto::TokenMessage) -> Result<Submission, Problem> {
    let proto::TokenMessage { token, event_id, r#type, time, payload } = message;
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !token.bytes().all(|b| b.is_ascii_graphic()) {
        let why = "the token must be 1 to 4096 printable ASCII characters";
        return Err(Problem::refusal(RefusalKind::BadToken, why));
    }
    check_event_id(&event_id).map_err(|e| malformed(format!("event_id: {}", e.why)))?;
    let named = if r#type.is_empty() { "default" } else { r#type.as_str() };
    let event_type: EventType = named.parse().map_err(|e: Malformed| malformed(e.to_string()))?;
    Ok(Submission::of_bearer(token, event_id, event_type, (Timestamp(time), payload)))
}

/// Reads a message with a token that may be anything: what is taken from it can be stored.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(message: proto::TokenMessage) {
    let payload = message.payload.clone();
    match by_token(message) {
        Ok(
            Submission::Token { event_id, payload: same, .. }
            | Submission::Session { event_id, payload: same, .. },
        ) => {
            assert!(check_event_id(&event_id).is_ok() && same == payload);
        }
        Ok(Submission::Signed(_)) => assert!(payload.is_empty(), "a message with a token is a signed one"),
        Err(problem) => assert!(!tonic::Status::from(problem).message().is_empty()),
    }
}

/// Hands a message to the node. The returned future gives the node's answer, or a problem if none comes in time;
/// dropped, the message goes on and only the answer is lost.
pub(crate) fn hand_over(
    shared: &Arc<Shared>,
    ready: Ready,
    place: OwnedSemaphorePermit,
) -> Result<impl Future<Output = Result<proto::Accepted, Problem>> + Send + use<>, Problem> {
    let (tell, told) = oneshot::channel::<Answer>();
    let Ready { received, share } = ready;
    let ack = Ack::new(move |answer| {
        // The place and the memory are free once the node has answered, even if the client has gone.
        drop((place, share));
        let _ = tell.send(answer);
    });
    shared.hand_over(Arrival { received, ack })?;
    let shared = Arc::clone(shared);
    Ok(async move {
        let answer = tokio::select! {
            biased;
            answer = timeout(shared.limits.ack_timeout, told) => answer,
            () = shared.expired.cancelled() => return Err(stopping()),
        };
        match answer {
            Ok(Ok(Ok(accepted))) => {
                shared.metrics.accepted(accepted.duplicate);
                Ok(accepted.into())
            }
            Ok(Ok(Err(refusal))) => Err(refusal.into()),
            // An ack answers even when it is dropped; this is for a process whose parts are ending.
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(Problem::new(
                ProblemKind::AckTimeout,
                format!(
                    "no acknowledgement within {} ms; the message may still be accepted, and a repeat of the same \
                     bytes is never stored twice",
                    shared.limits.ack_timeout.as_millis()
                ),
            )),
        }
    })
}

impl From<Accepted> for proto::Accepted {
    fn from(accepted: Accepted) -> Self {
        let result = |r: w3bstream_types::HandlerResult| proto::HandlerResult {
            applet: r.applet.to_string(),
            handler: r.handler,
            code: r.code,
            error: r.error,
            gas: r.gas,
            event: r.event.map(|event| event.to_string()),
            answer: r.answer.map(|answer| answer.as_bytes().to_vec()),
        };
        let mode = match accepted.mode {
            AckMode::Durable => proto::AckMode::Durable,
            AckMode::Committed => proto::AckMode::Committed,
            AckMode::Executed => proto::AckMode::Executed,
        };
        Self {
            id: accepted.id.to_string(),
            duplicate: accepted.duplicate,
            mode: mode.into(),
            results: accepted.results.into_iter().map(result).collect(),
        }
    }
}
