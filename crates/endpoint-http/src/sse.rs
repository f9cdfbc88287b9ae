//! `GET /v1/projects/{project}/events`: what happens to a project's messages, as it happens (server-sent events).

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Frame;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use w3bstream_endpoint::{FeedFilter, Heard, Listener, LiveChange};
use w3bstream_limits::{Full, Place};
use w3bstream_types::{EventType, MessageId, MessageState, ProjectName, RefusalKind};

use crate::access::Reading;
use crate::ingest::{malformed, project_of, stopping, token};
use crate::problem::Problem;
use crate::serve::Peer;
use crate::server::Shared;

/// The media type of the stream.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";
/// After how many milliseconds a browser comes back.
pub(crate) const RETRY_MS: u32 = 3000;
/// So much is written at a time; what comes beyond waits in the feed.
const PIECE_BYTES: usize = 16 * 1024;

/// Which changes are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamQuery {
    source: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<EventType>,
    id: Option<MessageId>,
    state: Option<String>,
}

type PathResult = Result<Path<String>, PathRejection>;
type QueryResult = Result<Query<StreamQuery>, QueryRejection>;

/// The route's handler.
pub(crate) async fn stream_events(
    State(shared): State<Arc<Shared>>,
    path: PathResult,
    query: QueryResult,
    request: Request,
) -> Response {
    match open(&shared, path, query, &request) {
        Ok(stream) => {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
                (CACHE_CONTROL, HeaderValue::from_static("no-store")),
                // Proxies that gather answers would hold the events back.
                (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
            ];
            (headers, Body::new(stream)).into_response()
        }
        Err(problem) => shared.refuse(problem, false),
    }
}

fn open(
    shared: &Arc<Shared>,
    path: PathResult,
    query: QueryResult,
    request: &Request,
) -> Result<EventStream, Problem> {
    if shared.intake_stopped() {
        return Err(stopping());
    }
    let project = project_of(path)?;
    let Query(query) = query.map_err(|e| malformed(format!("query: {}", e.body_text())))?;
    let states = query.state.as_deref().map(states).transpose()?;
    let token =
        request.headers().contains_key(AUTHORIZATION).then(|| token(request.headers())).transpose()?;
    may_read(shared, &project, token.as_deref())?;
    let peer = request.extensions().get::<Peer>().map(|p| p.0);
    let place = shared.streams.admit_from(peer).map_err(|full| {
        let whose = if full == Full::Total { "the node has" } else { "your address has" };
        let detail = format!("{whose} as many streams of events as the node allows");
        Problem::refusal(RefusalKind::Overloaded, detail)
    })?;
    let filter = FeedFilter {
        project: Some(project),
        source: query.source,
        event_type: query.event_type,
        id: query.id,
    };
    Ok(EventStream {
        listener: shared.feed.listen(filter),
        states,
        keep_alive: Box::pin(sleep(shared.limits.event_keep_alive)),
        stopped: Box::pin(shared.intake.clone().cancelled_owned()),
        shared: Arc::clone(shared),
        opened: false,
        ended: false,
        _place: place,
    })
}

fn may_read(shared: &Shared, project: &ProjectName, token: Option<&str>) -> Result<(), Problem> {
    match (shared.readers.judge(project, token), token) {
        (Reading::Allowed, _) => Ok(()),
        (Reading::Denied, None) => Err(Problem::refusal(
            RefusalKind::BadToken,
            "only those with a token may listen here: send it as Authorization: Bearer",
        )),
        (Reading::Denied, Some(_)) => Err(Problem::refusal(
            RefusalKind::NotAllowed,
            "this token does not allow to listen to the project",
        )),
    }
}

/// `stored,executed` as states.
fn states(text: &str) -> Result<Vec<MessageState>, Problem> {
    let state = |name: &str| {
        serde_json::from_value(name.into()).map_err(|_| {
            malformed(
                "state: name one or more of stored, ordered, executed, attested, rejected, conflicted, with commas",
            )
        })
    };
    text.split(',').map(state).collect()
}

/// The body. It holds no event: it takes from the feed what can be written now.
struct EventStream {
    listener: Listener,
    states: Option<Vec<MessageState>>,
    keep_alive: Pin<Box<Sleep>>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    shared: Arc<Shared>,
    opened: bool,
    ended: bool,
    _place: Place,
}

impl EventStream {
    /// Writes what there is to hear, up to the size of a piece.
    fn hear(&mut self, cx: &Context<'_>, out: &mut String) {
        while out.len() < PIECE_BYTES {
            match self.listener.poll_next(cx) {
                Poll::Ready(Some(Heard::Change(change))) => {
                    let wanted = self.states.as_ref().is_none_or(|s| s.contains(&change.change.state));
                    if wanted {
                        write_change(&change, out);
                    }
                }
                Poll::Ready(Some(Heard::Missed(count))) => {
                    self.shared.metrics.changes_missed.fetch_add(count, Relaxed);
                    // Writing to a String does not fail.
                    let _ = write!(out, "event: missed\ndata: {}\n\n", json!({"count": count.to_string()}));
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    return;
                }
                Poll::Pending => return,
            }
        }
    }
}

fn write_change(change: &LiveChange, out: &mut String) {
    // JSON in one line has no line ends, so nothing in it can look like another field of the stream.
    let data = json!({
        "project": change.project, "id": change.id, "source": change.source, "type": change.event_type,
        "state": change.change.state, "time": change.change.time, "reason": change.change.reason,
    });
    let _ = write!(out, "event: change\ndata: {data}\n\n");
}

impl hyper::body::Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let mut out = String::new();
        if !std::mem::replace(&mut this.opened, true) {
            // At once, so that the client knows that it is heard from here on.
            let _ = write!(out, "retry: {RETRY_MS}\n: changes from now on\n\n");
        }
        this.hear(cx, &mut out);
        if this.stopped.as_mut().poll(cx).is_ready() {
            this.ended = true;
        }
        if out.is_empty() && !this.ended && this.keep_alive.as_mut().poll(cx).is_ready() {
            out.push_str(": still here\n\n");
        }
        if this.ended {
            out.push_str(": the node is stopping\n\n");
        } else if out.is_empty() {
            return Poll::Pending;
        }
        let next = Instant::now() + this.shared.limits.event_keep_alive;
        this.keep_alive.as_mut().reset(next);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(out)))))
    }
}
