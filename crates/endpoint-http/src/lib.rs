//! Devices over HTTP: HTTP/1.1, and HTTP/2 with prior knowledge, on one socket.
//!
//! **Takes** requests; **gives** [`Arrival`](w3bstream_endpoint::Arrival)s, and answers each request when
//! its arrival was answered.
//!
//! | Route | Does |
//! | --- | --- |
//! | `POST /v1/projects/{project}/events` | one message: 201, or 200 for a repeat, with `{id, duplicate, mode, results}` |
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
//! | 409 | `conflict` | another message with this sequence or event id was accepted |
//! | 409 | `too-old` | below the sequence window; `next_epoch` says how to go on |
//! | 413 | `too-large` | above the node's or the project's limit |
//! | 503 | `overloaded` | too many messages, bytes or connections at once |
//! | 503 | `shutting-down` | the node is stopping, or gave up on this message |
//! | 503 | `storage-failing` | the record could not be stored |
//! | 503 | `not-ready` | the project, or the node, cannot take messages now |
//! | 404 | `not-found` | no such path |
//! | 405 | `method-not-allowed` | no such method there |
//! | 415 | `unsupported-media-type` | the content type is none, or the body is compressed |
//! | 404 | `unknown-message` | no message of that id |
//! | 408 | `request-timeout` | the body came too slowly |
//! | 504 | `ack-timeout` | taken, but not acknowledged in time; a repeat is never stored twice |
//! | 503 | `state-unavailable` | the node cannot read its state |
//! | 500 | `internal` | a handler failed |
//!
//! # Invariants
//! - A positive answer leaves only if the arrival's ack was positive. A dropped ack answers 503.
//! - If the client goes away, its message goes on; only the answer is lost.
//! - Everything is bounded ([`HttpLimits`]): connections, of all and of one address; messages in flight;
//!   bytes of bodies in memory; the size and the time of heads, bodies, answers and silence.
//! - Nothing is written to the log at a client's pleasure but on level debug.

mod body;
mod caps;
mod config;
mod conn;
mod ingest;
mod metrics;
mod openapi;
mod problem;
mod routes;
mod server;
mod sessions;

pub use config::{HttpConfig, HttpLimits};
pub use openapi::document as openapi_document;
pub use problem::{PROBLEM_JSON, Problem, ProblemKind};
pub use server::HttpEndpoint;
