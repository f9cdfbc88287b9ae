//! `POST /v1/projects/{project}/events`: one message.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout};
use w3bstream_endpoint::{Ack, Arrival};
use w3bstream_types::{
    Accepted, EventType, Malformed, ProjectName, Received, RefusalKind, SessionToken, Submission, Timestamp,
    check_event_id,
};
use w3bstream_wire::{AckBody, CONTENT_TYPE_ENVELOPE, CONTENT_TYPE_JOSE, decode_message};

use crate::body::{Held, read, too_large};
use crate::problem::{Problem, ProblemKind};
use crate::server::{Shared, Unread};

/// The longest token, in bytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 4096;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What the query string may say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventQuery {
    #[serde(rename = "type")]
    event_type: Option<EventType>,
    time: Option<u64>,
}

/// How a message identifies its sender, as far as the head says.
#[derive(Debug)]
enum Identity {
    /// A signature inside a body of this media type.
    Signed(&'static str),
    /// A bearer's secret: a publisher's token, or the JWT of a device's session.
    Bearer { secret: String, event_id: String },
}

pub(crate) type PathResult = Result<Path<String>, PathRejection>;
type QueryResult = Result<Query<EventQuery>, QueryRejection>;

/// The route's handler.
pub(crate) async fn post_event(
    State(shared): State<Arc<Shared>>,
    path: PathResult,
    query: QueryResult,
    request: Request,
) -> Response {
    let start = Instant::now();
    let response = match judge_head(&shared, path, query, &request) {
        // The body is not read: nobody's memory or time is spent on what the head has decided.
        Err(problem) => shared.refuse(problem, !request.body().is_end_stream()),
        Ok(head) => match take(&shared, head, request).await {
            Err(Stop { problem, unread }) => shared.refuse(problem, unread),
            Ok(accepted) => {
                shared.metrics.accepted(accepted.duplicate);
                answer(&accepted)
            }
        },
    };
    shared.metrics.event_took(start.elapsed());
    response
}

fn answer(accepted: &Accepted) -> Response {
    let body = Json(AckBody::from(accepted));
    let status = if accepted.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = (status, body).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/messages/{}", accepted.id)) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

/// What a request's head says.
struct Head {
    project: ProjectName,
    query: EventQuery,
    identity: Identity,
}

fn malformed(why: impl Into<String>) -> Problem {
    Problem::refusal(RefusalKind::Malformed, why)
}

/// The project that a path names.
pub(crate) fn project_in(path: PathResult) -> Result<ProjectName, Problem> {
    let unknown = |why: String| Problem::refusal(RefusalKind::UnknownProject, why);
    let Path(name) = path.map_err(|_| unknown("the project's name is no text".into()))?;
    name.parse().map_err(|e| unknown(format!("there can be no such project: {e}")))
}

/// Everything that can be decided before the body is read.
fn judge_head(
    shared: &Shared,
    path: PathResult,
    query: QueryResult,
    request: &Request,
) -> Result<Head, Problem> {
    if shared.intake_stopped() {
        return Err(stopping());
    }
    let project = project_in(path)?;
    let Query(query) = query.map_err(|e| malformed(format!("query: {}", e.body_text())))?;
    let identity = identity(request.headers())?;
    if !matches!(identity, Identity::Bearer { .. }) && query.time.is_some() {
        return Err(malformed("the time of a signed message is inside; leave ?time= away"));
    }
    let limits = &shared.limits;
    if request.body().size_hint().lower() > limits.max_body_bytes as u64 {
        return Err(too_large(limits));
    }
    Ok(Head { project, query, identity })
}

/// The one value of a header; `None` if it is not there.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(malformed(format!("the header {name} stands twice")));
    }
    value.to_str().map(Some).map_err(|_| malformed(format!("the header {name} is no ASCII text")))
}

fn identity(headers: &HeaderMap) -> Result<Identity, Problem> {
    let unsupported = |why: String| Problem::new(ProblemKind::UnsupportedMediaType, why);
    if let Some(coding) = single(headers, &CONTENT_ENCODING)?
        && !coding.trim().eq_ignore_ascii_case("identity")
    {
        return Err(unsupported("send the body without Content-Encoding".into()));
    }
    if let Some(text) = single(headers, &CONTENT_TYPE)? {
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if let Some(known) = [CONTENT_TYPE_ENVELOPE, CONTENT_TYPE_JOSE].into_iter().find(|k| *k == essence) {
            return Ok(Identity::Signed(known));
        }
        if !is_media_type(&essence) {
            return Err(unsupported(format!("{text:?} is no media type")));
        }
    }
    let secret = token(headers)?;
    let event_id = single(headers, &IDEMPOTENCY_KEY)?.ok_or_else(|| {
        malformed("a message with a token or in a session needs an Idempotency-Key header: your own id of the event, the same in each repeat")
    })?;
    check_event_id(event_id).map_err(|e| malformed(format!("Idempotency-Key: {}", e.why)))?;
    Ok(Identity::Bearer { secret, event_id: event_id.to_owned() })
}

/// `type/subtype`, both tokens of RFC 9110.
fn is_media_type(text: &str) -> bool {
    let tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let token = |s: &str| !s.is_empty() && s.bytes().all(tchar);
    text.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub))
}

fn token(headers: &HeaderMap) -> Result<String, Problem> {
    let bad = |why: &str| Problem::refusal(RefusalKind::BadToken, why);
    let Some(value) = single(headers, &AUTHORIZATION)? else {
        return Err(bad(
            "sign the message (content type application/vnd.w3bstream.envelope or application/jose), \
                        or send a publisher token or a session's JWT as Authorization: Bearer",
        ));
    };
    let (scheme, token) = value.split_once(' ').ok_or_else(|| bad("Authorization has no token"))?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(bad("the scheme of Authorization must be Bearer"));
    }
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(bad("the token must be 1 to 4096 printable ASCII characters"));
    }
    Ok(token.to_owned())
}

/// A place among the messages in flight, waited for as long as is allowed, first come first served.
async fn place(shared: &Shared) -> Result<OwnedSemaphorePermit, Problem> {
    let places = Arc::clone(&shared.in_flight);
    let place = tokio::select! {
        biased;
        () = shared.intake.cancelled() => return Err(stopping()),
        place = timeout(shared.limits.overload_wait, places.acquire_owned()) => place,
    };
    let Ok(Ok(place)) = place else {
        let detail = "as many messages as the node allows wait for their acknowledgement";
        return Err(Problem::refusal(RefusalKind::Overloaded, detail));
    };
    Ok(place)
}

pub(crate) fn stopping() -> Problem {
    Problem::refusal(
        RefusalKind::ShuttingDown,
        "the node takes no more messages; send it again, here or to another member",
    )
}

/// Why a message was not taken, and whether some of its body was left unread.
struct Stop {
    problem: Problem,
    unread: bool,
}

impl<P: Into<Problem>> From<P> for Stop {
    fn from(problem: P) -> Self {
        Self { problem: problem.into(), unread: false }
    }
}

/// Reads the body, hands the message over and waits for its answer.
async fn take(shared: &Arc<Shared>, head: Head, request: Request) -> Result<Accepted, Stop> {
    let body = request.into_body();
    let held = tokio::select! {
        biased;
        held = read(body, &shared.limits, &shared.budget) => held,
        () = shared.expired.cancelled() => Err(stopping()),
    };
    let held = held.map_err(|problem| Stop { problem, unread: true })?;
    let Head { project, query, identity } = head;
    let Held { bytes, share } = held;
    let submission = submission(identity, query, bytes)?;
    // Taken after the body was read, so that slow bodies do not keep others out.
    let place = place(shared).await?;
    let (tell, told) = oneshot::channel();
    let ack = Ack::new(move |answer| {
        // The place and the memory are free once the node has answered, even if the client has gone.
        drop((place, share));
        let _ = tell.send(answer);
    });
    let received = Received { project, submission, received_at: shared.clock.now() };
    shared.hand_over(Arrival { received, ack })?;
    let answer = tokio::select! {
        biased;
        answer = timeout(shared.limits.ack_timeout, told) => answer,
        () = shared.expired.cancelled() => return Err(stopping().into()),
    };
    match answer {
        Ok(Ok(Ok(accepted))) => Ok(accepted),
        Ok(Ok(Err(refusal))) => Err(refusal.into()),
        // An ack answers even when it is dropped; this is for a process whose parts are ending.
        Ok(Err(_)) => Err(stopping().into()),
        Err(_) => Err(Problem::new(
            ProblemKind::AckTimeout,
            format!(
                "no acknowledgement within {} ms; the message may still be accepted, and a repeat of the same \
                 bytes is never stored twice",
                shared.limits.ack_timeout.as_millis()
            ),
        )
        .into()),
    }
}

fn submission(identity: Identity, query: EventQuery, bytes: Vec<u8>) -> Result<Submission, Problem> {
    let media_type = match identity {
        Identity::Signed(media_type) => media_type,
        Identity::Bearer { secret: token, event_id } => {
            let event_type = match query.event_type {
                Some(event_type) => event_type,
                None => "default".parse().map_err(|e: Malformed| malformed(e.to_string()))?,
            };
            let time = Timestamp(query.time.unwrap_or_default());
            let payload = bytes;
            return Ok(if SessionToken::looks_like(&token) {
                Submission::Session { token, event_id, event_type, time, payload }
            } else {
                Submission::Token { token, event_id, event_type, time, payload }
            });
        }
    };
    // A final line end is what shells and editors add to a JWS; in an envelope it would be a byte like any other.
    let exact = if media_type == CONTENT_TYPE_JOSE { bytes.trim_ascii_end() } else { &bytes };
    let record = decode_message(Some(media_type), exact).map_err(|e| malformed(e.to_string()))?;
    match query.event_type {
        Some(named) if named != *record.event_type() => {
            let signed = record.event_type();
            Err(malformed(format!("?type= says {named}, the signed message says {signed}")))
        }
        _ => Ok(Submission::Signed(record)),
    }
}

impl Shared {
    /// A problem as an answer, counted. `unread`: some of the request's body was not read.
    pub(crate) fn refuse(&self, problem: Problem, unread: bool) -> Response {
        self.metrics.problem(problem.kind);
        let mut response = problem.into_response();
        if unread {
            response.extensions_mut().insert(Unread);
        }
        response
    }
}
