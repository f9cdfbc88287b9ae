//! Constrained devices over CoAP (RFC 7252) on UDP.
//!
//! **Takes** datagrams; **gives** [`Arrival`](w3bstream_endpoint::Arrival)s, and answers each request when its
//! arrival was answered.
//!
//! | Request | Does |
//! | --- | --- |
//! | `POST /w3b/{project}/{type}` | one signed message, as over MQTT: 2.04 with `{id, duplicate, mode, results}` |
//! | `GET /w3b/message/{id}` | where a message is: `{id, project, states, settlements, settlement_count}` |
//! | `GET /.well-known/core` | this list (RFC 6690) |
//!
//! The message is a protobuf envelope or a compact JWS. Content-Format 42 (octet-stream) or none: the bytes tell;
//! 0 (text): a JWS. Larger messages come in blocks (Block1, RFC 7959), larger answers leave in blocks (Block2).
//! Answers are JSON (50), or CBOR (60) with the same members to who asks for it with Accept.
//!
//! # Acknowledgements
//! - **Confirmable:** 2.04 leaves when the node has accepted the message, not earlier: what that promises is the
//!   project's ack mode. If it takes longer than `ack_within`, an empty acknowledgement tells that the request is here,
//!   which promises nothing, and the answer follows in a Confirmable message of its own.
//! - **Non-confirmable:** the same answer, once and Non-confirmable. If it is lost, or 5.03, nobody sends the message
//!   again but the device itself.
//! - A repeat (the same source, Message ID and bytes) gets the same answer again and is no second arrival.
//!
//! # Refusals
//! Classes 2 and 4 are final for these bytes. After 5.03 the device sends them again in a new request, when Max-Age
//! seconds have passed. The content is `{id, code, permanent, detail, next_epoch}`; where that has no room, the code
//! alone as text.
//!
//! | Code | `code` |
//! | --- | --- |
//! | 4.00 | `malformed` |
//! | 4.01 | `bad-signature` |
//! | 4.01 | `unknown-device` |
//! | 4.01 | `revoked` |
//! | 4.01 | `bad-token` |
//! | 4.03 | `not-allowed` |
//! | 4.03 | `wrong-audience` |
//! | 4.04 | `unknown-project` |
//! | 4.04 | `removed` |
//! | 4.09 | `conflict` |
//! | 4.09 | `too-old` |
//! | 4.13 | `too-large` |
//! | 5.03 | `overloaded` |
//! | 5.03 | `shutting-down` |
//! | 5.03 | `storage-failing` |
//! | 5.03 | `not-ready` |
//!
//! Other codes have text for people: 4.02 option, 4.04 path or message, 4.05 method, 4.06 Accept, 4.08 a block is
//! missing, 4.15 Content-Format, 5.05 proxy.
//!
//! # Bounds
//! Every table, queue and wait has a bound in [`CoapConfig`]. Not more than three times the bytes that came from an
//! address go to it: larger answers leave in smaller blocks, with less content, or are not repeated. Requests to
//! multicast addresses are not received.
//!
//! # What is not spoken
//! Observe (its option is passed over, as RFC 7641 allows), DTLS, OSCORE, proxying. Signatures keep messages whole
//! and say whose they are; whoever is on the way can read them. Why, and why the codec alone is a library's:
//! docs/adr/0008-coap.md.

mod answer;
mod codec;
mod config;
mod core;
mod endpoint;
mod exchange;
#[cfg(test)]
mod fuzz;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod metrics;
#[cfg(any(test, feature = "fuzzing"))]
mod narrow;
mod request;
mod separate;
mod upload;

pub use config::CoapConfig;
pub use endpoint::CoapEndpoint;
pub use metrics::Metrics;
