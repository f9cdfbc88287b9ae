//! What surrounds every route: the trace, web pages of other origins (CORS), compression.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderValue,
    ORIGIN, VARY,
};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use crate::compress::{asked, compress};
use crate::routes::{ROUTES, label};
use crate::server::Shared;
use crate::trace::TRACERESPONSE;

/// Request headers that a page may set: what the routes read.
pub(crate) const CORS_HEADERS: &str =
    "authorization, content-type, content-encoding, idempotency-key, traceparent, tracestate";
/// Answer headers that a page may read.
pub(crate) const CORS_EXPOSED: &str = "location, retry-after, traceresponse";
/// How long a browser may remember what it was allowed, in seconds.
const CORS_MAX_AGE: &str = "600";

/// Names the request's trace in the log and in the answer, and compresses the answer.
pub(crate) async fn traced(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let trace = shared.tracer.enter(request.headers());
    let asked = asked(request.headers());
    let route = ROUTES.get(label(request.uri().path())).map_or("other", |r| r.path);
    let span = tracing::info_span!(
        "http",
        route,
        trace_id = %format_args!("{:032x}", trace.trace_id),
        span_id = %format_args!("{:016x}", trace.span_id),
    );
    let answer = async { compress(asked, next.run(request).await).await };
    let mut response = answer.instrument(span).await;
    response.headers_mut().extend(trace.header().map(|value| (TRACERESPONSE, value)));
    response
}

/// Lets pages of the listed origins in, each by its exact name, and never with the browser's own credentials: a page
/// sends its token itself.
pub(crate) async fn cors(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let open = ROUTES.get(label(request.uri().path())).is_some_and(|route| route.cors);
    if shared.cors.is_empty() || !open {
        return next.run(request).await;
    }
    let header = request.headers().get(ORIGIN);
    let origin =
        header.filter(|h| shared.cors.iter().any(|o| o.as_str().as_bytes() == h.as_bytes())).cloned();
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight && origin.is_some() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST"));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(CORS_HEADERS));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(CORS_MAX_AGE));
        response
    } else {
        next.run(request).await
    };
    // Also for others: what a cache keeps of them must not be given to a page that is allowed, and the reverse.
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(CORS_EXPOSED));
    }
    response
}
