//! Devices over HTTP: HTTP/1.1, and HTTP/2 with prior knowledge, on one socket.
//!
//! **Takes** requests; **gives** [`Arrival`](w3bstream_endpoint::Arrival)s, and answers each request when
//! its arrival was answered.
//!
//! | Route | Does |
//! | --- | --- |
//! | `POST /v1/projects/{project}/events` | one message: 201, or 200 for a repeat, with `{id, duplicate, mode, results}` |
//! | `POST /v1/projects/{project}/events:batch` | one message per line (NDJSON), one result per line |
//! | `GET /v1/projects/{project}/events` | what happens to messages, as it happens (server-sent events) |
//! | `GET /v1/messages/{id}` | where a message is: `{id, project, states: [{state, time, reason}]}` |
//! | `GET /livez`, `/readyz` | the process runs; the node takes messages, or 503 and why not |
//! | `GET /metrics` | the node's metrics and this endpoint's own, in the Prometheus text format |
//! | `GET /openapi.json` | this interface as OpenAPI 3.1 |
//!
//! # Forms of a message
//! - `Content-Type: application/vnd.w3bstream.envelope`: a signed protobuf envelope.
//! - `Content-Type: application/jose`: a signed compact JWS.
//! - anything else: the body is the payload. `Authorization: Bearer <token>` says who sends it,
//!   `Idempotency-Key` is the sender's own id of the event, `?type=` its type (`default` if left away),
//!   `?time=` its time in milliseconds since the epoch.
//!
//! A signed message carries type and time inside; `?type=` may be given and must agree. What the head of a
//! request decides is answered before its body is read.
//!
//! A line of a batch is a compact JWS, `{"envelope": "<base64>"}`, or with a token
//! `{"event_id", "type", "time", "payload"}` (or `payload_base64`). Lines are in flight together, results come in the order
//! of the lines. The body is read no further while too many lines wait for the node, or too many results for the client.
//!
//! Bodies may be compressed (gzip, zstd) within limits of size and ratio; answers are, on request, if that is of use.
//!
//! # Idempotency
//! Every message is exactly-once by its id, and that holds across restarts and members: of a signed message the id is in the
//! signed bytes, of a token event it is its sender's and event id. So a client repeats the same bytes until it is
//! answered. `Idempotency-Key` *is* the event id of a token event (another payload under it: 409 `conflict`). On a signed
//! message it is a check that the client asks for: the key is remembered in memory when the message was accepted, and another
//! message of the same device under it is 422 `key-reused`, until the key is forgotten. Nothing else rests on that memory.
//!
//! # Live changes
//! The stream takes from a [`Feed`](w3bstream_endpoint::Feed) what can be written at once and holds nothing: who is
//! slow gets an event `missed` with a number instead. Everybody who can connect may listen, as everybody may ask for a
//! message, unless [`HttpConfig::readers`] says otherwise.
//!
//! # Traces, web pages, secret connections
//! A valid W3C `traceparent` is followed and a `traceresponse` answered; the span of a request has its `trace_id`. Pages of
//! other origins may use the device routes if [`HttpConfig::cors`] names them. [`HttpConfig::accept`] puts TLS, or
//! anything else, between the socket and HTTP.
//!
//! # Problems
//! Every refusal is `application/problem+json` (RFC 9457) with a stable `code`. A status of 408, 503 or 504
//! comes with `Retry-After`: send the same bytes again. Any other status from 400 on is final for these bytes.
//!
//! | Status | Code | When |
//! | --- | --- | --- |
//! | 400 | `malformed` | the bytes, a header, the query or an id cannot be read |
//! | 403 | `bad-signature` | the signature is not that of the registered key |
//! | 403 | `unknown-device` | no such device is registered in the project |
//! | 403 | `revoked` | the device or token was revoked |
//! | 401 | `bad-token` | neither signature nor token, or not a registered one |
//! | 403 | `not-allowed` | the sender may not send this event type |
//! | 403 | `wrong-audience` | the message is for another project |
//! | 404 | `unknown-project` | this node serves no such project |
//! | 410 | `removed` | the project was removed by its owner |
//! | 409 | `conflict` | another message with this sequence or event id was accepted |
//! | 409 | `too-old` | below the sequence window; `next_epoch` says how to go on |
//! | 413 | `too-large` | above the node's or the project's limit |
//! | 503 | `overloaded` | too many messages, bytes or connections at once |
//! | 503 | `shutting-down` | the node is stopping, or gave up on this message |
//! | 503 | `storage-failing` | the record could not be stored |
//! | 503 | `not-ready` | the project, or the node, cannot take messages now |
//! | 404 | `not-found` | no such path |
//! | 405 | `method-not-allowed` | no such method there |
//! | 415 | `unsupported-media-type` | the content type is none, or the body's coding is neither gzip nor zstd |
//! | 404 | `unknown-message` | no message of that id |
//! | 422 | `key-reused` | the `Idempotency-Key` stood for another signed message |
//! | 408 | `request-timeout` | the body came too slowly |
//! | 504 | `ack-timeout` | taken, but not acknowledged in time; a repeat is never stored twice |
//! | 503 | `state-unavailable` | the node cannot read its state |
//! | 500 | `internal` | a handler failed |
//!
//! # Invariants
//! - A positive answer leaves only if the arrival's ack was positive. A dropped ack answers 503.
//! - If the client goes away, its message goes on; only the answer is lost.
//! - Everything is bounded ([`HttpLimits`]): connections, batches and streams, of all and of one address; messages in flight;
//!   bytes of bodies in memory; the size and the time of heads, bodies, answers and silence.
//! - Nothing is written to the log at a client's pleasure but on level debug.

mod access;
mod around;
mod batch;
mod body;
mod coding;
mod compress;
mod config;
mod conn;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod idempotency;
mod ingest;
mod item;
mod limits;
mod lines;
mod metrics;
mod openapi;
mod outbox;
mod problem;
mod routes;
mod serve;
mod server;
mod sessions;
mod sse;
mod trace;

pub use access::{Accept, BoxIo, Io, Origin, Readers, Reading};
pub use config::HttpConfig;
pub use limits::HttpLimits;
pub use openapi::document as openapi_document;
pub use problem::{PROBLEM_JSON, Problem, ProblemKind};
pub use server::HttpEndpoint;
