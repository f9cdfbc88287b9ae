//! The routes, and the small ones' handlers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderName, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use http_body_util::Limited;
use serde_json::json;
use tokio::time::timeout;
use w3bstream_endpoint::ErrorKind;
use w3bstream_types::{MessageId, RefusalKind};

use crate::around::{cors, traced};
use crate::batch::post_batch;
use crate::ingest::{post_event, stopping};
use crate::problem::{Problem, ProblemKind};
use crate::server::Shared;
use crate::sessions::{challenge, open_session};
use crate::sse::stream_events;

/// One documented route.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    /// Web pages of the listed origins may use it.
    pub(crate) cors: bool,
    make: fn() -> MethodRouter<Arc<Shared>>,
}

/// Every route. The router, the metrics' labels and the test of the OpenAPI document use this one list.
pub(crate) const ROUTES: [Route; 9] = [
    Route { path: "/v1/projects/{project}/events", cors: true, make: || post(post_event).get(stream_events) },
    Route { path: "/v1/projects/{project}/events:batch", cors: true, make: || post(post_batch) },
    Route { path: "/v1/projects/{project}/sessions", cors: true, make: || post(open_session) },
    Route { path: "/v1/projects/{project}/sessions/challenge", cors: true, make: || get(challenge) },
    Route { path: "/v1/messages/{id}", cors: true, make: || get(message) },
    Route { path: "/livez", cors: false, make: || get(live) },
    Route { path: "/readyz", cors: false, make: || get(ready) },
    Route { path: "/metrics", cors: false, make: || get(metrics) },
    Route { path: "/openapi.json", cors: true, make: || get(openapi) },
];

/// The index in [`ROUTES`] of a request's path; their number if it is none of them.
pub(crate) fn label(path: &str) -> usize {
    let matches = |route: &Route| match route.path.split_once('{') {
        None => route.path == path,
        Some((before, rest)) => {
            let after = rest.split_once('}').map_or("", |(_, after)| after);
            let middle = path.strip_prefix(before).and_then(|p| p.strip_suffix(after));
            middle.is_some_and(|m| !m.is_empty() && !m.contains('/'))
        }
    };
    ROUTES.iter().position(matches).unwrap_or(ROUTES.len())
}

/// The device routes, to be mounted anywhere.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    bare(shared).layer(from_fn_with_state(Arc::clone(shared), traced))
}

fn bare(shared: &Arc<Shared>) -> Router {
    let routes = ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, (route.make)()));
    let routes = routes.method_not_allowed_fallback(wrong_method).fallback(not_found);
    routes.layer(from_fn_with_state(Arc::clone(shared), cors)).with_state(Arc::clone(shared))
}

/// The device routes, and behind them what the node mounts on the same listener.
pub(crate) fn with_extra(shared: &Arc<Shared>, extra: Option<Router>) -> Router {
    let Some(extra) = extra else { return router(shared) };
    let extra = extra.layer(from_fn_with_state(Arc::clone(shared), limit_extra));
    bare(shared).fallback_service(extra).layer(from_fn_with_state(Arc::clone(shared), traced))
}

async fn wrong_method(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let detail = format!("{} is not known here; see /openapi.json", request.method());
    shared.refuse(Problem::new(ProblemKind::MethodNotAllowed, detail), has_body(&request))
}

async fn not_found(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    shared.refuse(nothing_here(), has_body(&request))
}

fn nothing_here() -> Problem {
    Problem::new(ProblemKind::NotFound, "see /openapi.json for the paths of this endpoint")
}

fn has_body(request: &Request) -> bool {
    !hyper::body::Body::is_end_stream(request.body())
}

/// What is mounted beside the device routes lives under the same limits.
async fn limit_extra(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let Ok(_place) = shared.queries.try_acquire() else { return shared.refuse(busy(), has_body(&request)) };
    let most = shared.limits.max_body_bytes;
    let head_only = request.method() == Method::HEAD;
    let request = request.map(|body| Body::new(Limited::new(body, most)));
    let Ok(response) = timeout(shared.limits.body_timeout, next.run(request)).await else {
        let detail = "the handler gave no answer in time";
        return shared.refuse(Problem::new(ProblemKind::Internal, detail), true);
    };
    // axum's own refusals are bare; here every refusal is a problem.
    let bare = !response.headers().contains_key(CONTENT_TYPE) && !head_only;
    match response.status() {
        StatusCode::NOT_FOUND if bare => shared.refuse(nothing_here(), false),
        StatusCode::METHOD_NOT_ALLOWED if bare => {
            let allow = response.headers().get(ALLOW).cloned();
            let problem = Problem::new(ProblemKind::MethodNotAllowed, "that method is not known here");
            let mut refused = shared.refuse(problem, false);
            refused.headers_mut().extend(allow.map(|a| (ALLOW, a)));
            refused
        }
        _ => response,
    }
}

pub(crate) fn busy() -> Problem {
    Problem::refusal(RefusalKind::Overloaded, "too many requests at once")
}

/// `GET /v1/messages/{id}`.
async fn message(State(shared): State<Arc<Shared>>, path: Result<Path<String>, PathRejection>) -> Response {
    match find(&shared, path).await {
        Ok(found) => found,
        Err(problem) => shared.refuse(problem, false),
    }
}

async fn find(shared: &Shared, path: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let bad = |why: String| Problem::refusal(RefusalKind::Malformed, why);
    let Path(text) = path.map_err(|_| bad("the message's id is no text".into()))?;
    let id: MessageId = text.parse().map_err(|e| bad(format!("message id: {e}")))?;
    let _place = shared.queries.try_acquire().map_err(|_| busy())?;
    let life = shared.query.message(id).await.map_err(|e| {
        // The cause may tell of the node's inside: it goes to the log, at a level that clients cannot flood.
        tracing::debug!(error = %e, %id, "cannot answer a question for a message");
        let kind = match e.kind() {
            ErrorKind::Overloaded => ProblemKind::Refusal(RefusalKind::Overloaded),
            _ => ProblemKind::StateUnavailable,
        };
        Problem::new(kind, "the message's state cannot be read now")
    })?;
    let Some(life) = life else {
        let detail = format!("no message {id} was accepted by this node, or its record is past retention");
        return Err(Problem::new(ProblemKind::UnknownMessage, detail));
    };
    let body = json!({
        "id": id, "project": life.project, "states": life.states, "settlements": life.settlements,
        "settlement_count": life.settlement_count,
    });
    Ok(Json(body).into_response())
}

async fn live() -> Response {
    text("text/plain; charset=utf-8", "alive\n".into())
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.intake_stopped() {
        return shared.refuse(stopping(), false);
    }
    match shared.query.ready() {
        Ok(()) => text("text/plain; charset=utf-8", "ready\n".into()),
        Err(reason) => shared.refuse(Problem::refusal(RefusalKind::NotReady, reason), false),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let Ok(_place) = shared.queries.try_acquire() else { return shared.refuse(busy(), false) };
    let mut all = shared.query.metrics();
    if !all.is_empty() && !all.ends_with('\n') {
        all.push('\n');
    }
    shared.metrics.write(&shared.gauges(), &mut all);
    text("text/plain; version=0.0.4; charset=utf-8", all)
}

async fn openapi(State(shared): State<Arc<Shared>>) -> Response {
    text("application/json", shared.openapi.clone())
}

fn text(media_type: &'static str, body: String) -> Response {
    let headers: [(HeaderName, HeaderValue); 1] = [(CONTENT_TYPE, HeaderValue::from_static(media_type))];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_routes_that_match() {
        assert_eq!(label("/v1/projects/x/events"), 0);
        assert_eq!(label("/v1/projects/x/events:batch"), 1);
        assert_eq!(label("/v1/projects/x/sessions"), 2);
        assert_eq!(label("/v1/projects/x/sessions/challenge"), 3);
        assert_eq!(label("/v1/messages/0a"), 4);
        assert_eq!(label("/metrics"), 7);
        for other in
            ["/", "/v1/projects//events", "/v1/projects/a/b/events", "/v1/messages/", "/metrics/", ""]
        {
            assert_eq!(label(other), ROUTES.len(), "{other}");
        }
    }
}
