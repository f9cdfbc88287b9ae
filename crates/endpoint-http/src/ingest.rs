//! `POST /v1/projects/{project}/events`: one message.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::oneshot::{self, Receiver, error::RecvError};
use tokio::time::{Instant, timeout, timeout_at};
use w3bstream_endpoint::{Ack, Answer, Arrival};
use w3bstream_types::{
    Accepted, AckMode, EventType, Malformed, ProjectName, Received, RefusalKind, Submission, Timestamp,
    check_event_id,
};
use w3bstream_wire::{AckBody, CONTENT_TYPE_ENVELOPE, CONTENT_TYPE_JOSE, decode_message};

use crate::body::{Held, read, too_large};
use crate::coding::Coding;
use crate::idempotency::Name;
use crate::problem::{Problem, ProblemKind};
use crate::serve::Unread;
use crate::server::Shared;

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
    /// How long the sender waits for its handlers' answer, in milliseconds.
    wait: Option<u64>,
}

/// How a message identifies its sender, as far as the head says.
#[derive(Debug)]
enum Identity {
    /// A signature inside a body of this media type, and perhaps an idempotency key.
    Signed { media_type: &'static str, key: Option<String> },
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
        Ok(head) => match take(&shared, head, (request, start)).await {
            Err(Stop { problem, unread }) => shared.refuse(problem, unread),
            Ok(taken) => {
                let (Taken::Done(accepted) | Taken::UnderWay(accepted)) = &taken;
                shared.metrics.accepted(accepted.duplicate);
                answer(&taken)
            }
        },
    };
    shared.metrics.event_took(start.elapsed());
    response
}

/// A message that the node has.
enum Taken {
    /// What its project promises, or its sender waits for, is reached.
    Done(Accepted),
    /// It is durable, and what the sender waited for did not come in time.
    UnderWay(Accepted),
}

fn answer(taken: &Taken) -> Response {
    let (accepted, status) = match taken {
        Taken::Done(accepted) if accepted.duplicate => (accepted, StatusCode::OK),
        Taken::Done(accepted) => (accepted, StatusCode::CREATED),
        Taken::UnderWay(accepted) => (accepted, StatusCode::ACCEPTED),
    };
    let body = Json(AckBody::from(accepted));
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
    coding: Option<Coding>,
}

pub(crate) fn malformed(why: impl Into<String>) -> Problem {
    Problem::refusal(RefusalKind::Malformed, why)
}

/// The project that a path names.
pub(crate) fn project_of(path: PathResult) -> Result<ProjectName, Problem> {
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
    let project = project_of(path)?;
    let Query(query) = query.map_err(|e| malformed(format!("query: {}", e.body_text())))?;
    let coding = Coding::of(single(request.headers(), &CONTENT_ENCODING)?)?;
    let identity = identity(request.headers())?;
    if !matches!(identity, Identity::Bearer { .. }) && query.time.is_some() {
        return Err(malformed("the time of a signed message is inside; leave ?time= away"));
    }
    check_wait(query.wait, shared.limits.max_wait)?;
    let limits = &shared.limits;
    if request.body().size_hint().lower() > limits.max_body_bytes as u64 {
        return Err(too_large(limits));
    }
    Ok(Head { project, query, identity, coding })
}

/// The shortest deadline: in less a message would often not even be stored, and its sender would learn nothing.
pub(crate) const MIN_WAIT_MS: u64 = 100;

/// Whether a sender may wait so many milliseconds.
fn check_wait(wait: Option<u64>, most: Duration) -> Result<(), Problem> {
    match wait {
        Some(wait) if wait < MIN_WAIT_MS || u128::from(wait) > most.as_millis() => {
            let most = most.as_millis();
            Err(malformed(format!("?wait={wait}: it must be {MIN_WAIT_MS} to {most} milliseconds")))
        }
        _ => Ok(()),
    }
}

/// The one value of a header; `None` if it is not there.
pub(crate) fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(malformed(format!("the header {name} stands twice")));
    }
    value.to_str().map(Some).map_err(|_| malformed(format!("the header {name} is no ASCII text")))
}

fn identity(headers: &HeaderMap) -> Result<Identity, Problem> {
    let essence = essence(headers)?;
    let signed = |known: &&&str| Some(**known) == essence.as_deref();
    if let Some(media_type) = [CONTENT_TYPE_ENVELOPE, CONTENT_TYPE_JOSE].iter().find(signed) {
        let key = idempotency_key(headers)?;
        return Ok(Identity::Signed { media_type, key });
    }
    let secret = token(headers)?;
    let event_id = idempotency_key(headers)?.ok_or_else(|| {
        malformed("a message with a token or in a session needs an Idempotency-Key header: your own id of the event, the same in each repeat")
    })?;
    Ok(Identity::Bearer { secret, event_id })
}

/// Reads a head that may be anything: what is taken from it can be shown and stored.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any_head(headers: &HeaderMap) {
    if let Ok(secret) = token(headers) {
        assert!(!secret.is_empty() && secret.len() <= MAX_TOKEN_BYTES);
    }
    match identity(headers) {
        Ok(Identity::Signed { media_type, key }) => {
            assert!([CONTENT_TYPE_ENVELOPE, CONTENT_TYPE_JOSE].contains(&media_type));
            assert!(key.is_none_or(|key| check_event_id(&key).is_ok()));
        }
        Ok(Identity::Bearer { event_id, .. }) => assert!(check_event_id(&event_id).is_ok()),
        Err(problem) => assert!(!problem.to_value().to_string().is_empty()),
    }
}

/// The media type of the body, in lower case and without parameters.
pub(crate) fn essence(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(text) = single(headers, &CONTENT_TYPE)? else { return Ok(None) };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if is_media_type(&essence) {
        return Ok(Some(essence));
    }
    Err(Problem::new(ProblemKind::UnsupportedMediaType, format!("{text:?} is no media type")))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = single(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    check_event_id(key).map_err(|e| malformed(format!("Idempotency-Key: {}", e.why)))?;
    Ok(Some(key.to_owned()))
}

/// `type/subtype`, both tokens of RFC 9110.
fn is_media_type(text: &str) -> bool {
    let tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let token = |s: &str| !s.is_empty() && s.bytes().all(tchar);
    text.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub))
}

pub(crate) fn token(headers: &HeaderMap) -> Result<String, Problem> {
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
async fn take(shared: &Arc<Shared>, head: Head, (request, start): (Request, Instant)) -> Result<Taken, Stop> {
    let Head { project, query, identity, coding } = head;
    let body = request.into_body();
    let held = tokio::select! {
        biased;
        held = read(body, &shared.limits, &shared.budget) => held,
        () = shared.expired.cancelled() => Err(stopping()),
    };
    let mut held = held.map_err(|problem| Stop { problem, unread: true })?;
    if let Some(coding) = coding {
        held = held.decoded(coding, &shared.limits, &shared.budget)?;
    }
    let Held { bytes, share } = held;
    let key = identity.key().map(str::to_owned);
    let wait = query.wait.map(Duration::from_millis);
    let submission = submission(identity, query, bytes)?;
    let meant = match (&submission, key) {
        (Submission::Signed(record), Some(key)) => {
            let name = Name::new(&project, &record.source().to_string(), &key);
            if shared.keys.contradicts(name, record.id(), &shared.limits) {
                let detail = "this sender used the key for another message; make a key for each message, or none: \
                              a signed message is known by its own id";
                return Err(Problem::new(ProblemKind::KeyReused, detail).into());
            }
            Some((name, record.id()))
        }
        _ => None,
    };
    // Taken after the body was read, so that slow bodies do not keep others out.
    let place = place(shared).await?;
    let hold = (place, share);
    let taken = match wait {
        None => {
            let told = shared.submit(project, submission, hold)?;
            let deadline = Instant::now() + shared.limits.ack_timeout;
            Taken::Done(told_in_time(shared, told, deadline).await?)
        }
        Some(wait) => {
            let told = shared.submit_to_be_answered(project, submission, hold)?;
            answered_in_time(shared, told, start + wait).await?
        }
    };
    if let Some((name, id)) = meant {
        shared.keys.remember(name, id, &shared.limits);
    }
    Ok(taken)
}

/// The handlers' answer, waited for until `deadline`. A message that is durable by then is no failure: it is executed, once,
/// whoever waits for it.
async fn answered_in_time(
    shared: &Shared,
    (told, mut stored): (Receiver<Answer>, Receiver<Accepted>),
    deadline: Instant,
) -> Result<Taken, Problem> {
    let problem = match told_in_time(shared, told, deadline).await {
        Ok(accepted) => return Ok(Taken::Done(accepted)),
        Err(problem) => problem,
    };
    // What is told of a message that the node goes on with.
    let goes_on = [
        ProblemKind::AckTimeout,
        ProblemKind::Refusal(RefusalKind::NotReady),
        ProblemKind::Refusal(RefusalKind::ShuttingDown),
    ];
    match stored.try_recv() {
        Ok(accepted) if goes_on.contains(&problem.kind) => Ok(Taken::UnderWay(accepted)),
        _ if problem.kind == ProblemKind::AckTimeout => Err(Problem::new(
            ProblemKind::AckTimeout,
            "the message was not stored within the time of ?wait=; it may still be accepted, and a repeat of the same \
             bytes is never stored twice",
        )),
        _ => Err(problem),
    }
}

/// The node's answer, waited for until `deadline`.
pub(crate) async fn told_in_time(
    shared: &Shared,
    told: impl Future<Output = Result<Answer, RecvError>>,
    deadline: Instant,
) -> Result<Accepted, Problem> {
    let answer = tokio::select! {
        biased;
        answer = timeout_at(deadline, told) => answer,
        () = shared.expired.cancelled() => return Err(stopping()),
    };
    match answer {
        Ok(Ok(Ok(accepted))) => Ok(accepted),
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
}

impl Identity {
    fn key(&self) -> Option<&str> {
        match self {
            Self::Signed { key, .. } => key.as_deref(),
            Self::Bearer { .. } => None,
        }
    }
}

/// The event type of who names none.
pub(crate) fn default_type() -> Result<EventType, Problem> {
    "default".parse().map_err(|e: Malformed| malformed(e.to_string()))
}

fn submission(identity: Identity, query: EventQuery, bytes: Vec<u8>) -> Result<Submission, Problem> {
    let media_type = match identity {
        Identity::Signed { media_type, .. } => media_type,
        Identity::Bearer { secret: token, event_id } => {
            let event_type = query.event_type.map_or_else(default_type, Ok)?;
            let time = Timestamp(query.time.unwrap_or_default());
            return Ok(Submission::of_bearer(token, event_id, event_type, (time, bytes)));
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

/// What a message holds until the node has answered it: its place in flight and its share of the memory.
pub(crate) type Hold = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

fn ack(hold: Hold) -> (Ack, Receiver<Answer>) {
    let (tell, told) = oneshot::channel();
    let ack = Ack::new(move |answer| {
        // The place and the memory are free once the node has answered, even if the client has gone.
        drop(hold);
        let _ = tell.send(answer);
    });
    (ack, told)
}

impl Shared {
    /// Hands a message to the node whose sender waits for its handlers' answer: gives that, and before it what is known as
    /// soon as the message is durable.
    fn submit_to_be_answered(
        &self,
        project: ProjectName,
        submission: Submission,
        hold: Hold,
    ) -> Result<(Receiver<Answer>, Receiver<Accepted>), Problem> {
        let (tell, stored) = oneshot::channel();
        let (ack, told) = ack(hold);
        let ack = ack.waiting_for(AckMode::Executed, move |id, duplicate| {
            let _ = tell.send(Accepted { id, duplicate, mode: AckMode::Durable, results: Vec::new() });
        });
        let received = Received { project, submission, received_at: self.clock.now() };
        self.hand_over(Arrival { received, ack })?;
        Ok((told, stored))
    }

    /// Hands a message to the node.
    pub(crate) fn submit(
        &self,
        project: ProjectName,
        submission: Submission,
        hold: Hold,
    ) -> Result<Receiver<Answer>, Problem> {
        let (ack, told) = ack(hold);
        let received = Received { project, submission, received_at: self.clock.now() };
        self.hand_over(Arrival { received, ack })?;
        Ok(told)
    }

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
