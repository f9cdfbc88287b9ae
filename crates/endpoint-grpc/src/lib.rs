//! Devices over gRPC: HTTP/2 on one socket.
//!
//! **Takes** calls; **gives** [`Arrival`](w3bstream_endpoint::Arrival)s, and answers each message when its arrival
//! was answered.
//!
//! | Service | Method | Does |
//! | --- | --- | --- |
//! | `w3bstream.v1.Ingest` | `Submit` | one message |
//! | | `SubmitMany` | many messages, one summary |
//! | | `SubmitStream` | many messages, each answered as soon as its answer is known |
//! | `w3bstream.v1.Messages` | `Get` | the life of a message |
//! | | `Watch` | changes of messages as they happen |
//! | `grpc.health.v1.Health` | `Check`, `Watch` | whether the node takes messages |
//! | `grpc.reflection.v1`, `v1alpha` | | this interface, for tools |
//!
//! The interface is in `proto/w3bstream/v1/`; [`proto`] is its Rust, with clients. `docs/grpc.md` is for people who
//! program devices.
//!
//! # Forms of a message
//! A signed protobuf envelope, a signed compact JWS, or a payload with a publisher's token: see
//! [`proto::submit_request::Message`].
//!
//! # Problems
//! A call that fails has a status whose details are a [`proto::Refused`], a `google.rpc.ErrorInfo` and, if the same
//! bytes should be sent again, a `google.rpc.RetryInfo`; its metadata has the stable code at `w3b-code`. Codes in
//! answers of streams are the same. `Unavailable` and `ResourceExhausted` mean: send the same bytes again; and so does
//! the end of a connection. The other codes of this table are final for these bytes.
//!
//! | Code | Status | When |
//! | --- | --- | --- |
//! | `malformed` | `InvalidArgument` | the bytes, a name or an id cannot be read |
//! | `bad-signature` | `Unauthenticated` | the signature is not that of the registered key |
//! | `unknown-device` | `PermissionDenied` | no such device is registered in the project |
//! | `revoked` | `PermissionDenied` | the device or token was revoked |
//! | `bad-token` | `Unauthenticated` | there is no token, or not a registered one |
//! | `not-allowed` | `PermissionDenied` | the sender may not send this event type |
//! | `wrong-audience` | `PermissionDenied` | the message is for another project |
//! | `unknown-project` | `NotFound` | this node serves no such project |
//! | `removed` | `NotFound` | the project was removed by its owner |
//! | `conflict` | `AlreadyExists` | another message with this sequence or event id was accepted |
//! | `too-old` | `FailedPrecondition` | below the sequence window; `next_epoch` says how to go on |
//! | `too-large` | `OutOfRange` | above the node's or the project's limit |
//! | `overloaded` | `ResourceExhausted` | too many messages, bytes, questions or watchers at once |
//! | `shutting-down` | `Unavailable` | the node is stopping, or gave up on this message |
//! | `storage-failing` | `Unavailable` | the record could not be stored |
//! | `not-ready` | `Unavailable` | the project, or the node, cannot take messages now |
//! | `unknown-message` | `NotFound` | no message of that id |
//! | `request-timeout` | `Unavailable` | a message came too slowly |
//! | `stream-idle` | `Unavailable` | the client's stream was silent for too long |
//! | `ack-timeout` | `Unavailable` | taken, but not acknowledged in time; a repeat is never stored twice |
//! | `state-unavailable` | `Unavailable` | the node cannot read its state |
//!
//! # Invariants
//! - A positive answer leaves only if the arrival's ack was positive. A dropped ack is a transient refusal.
//! - If the client goes away, its message goes on; only the answer is lost.
//! - Everything is bounded ([`GrpcLimits`]): connections, of all and of one address; calls of a connection; messages
//!   in flight, of a stream and of all; bytes of messages in memory; the size and the time of messages; watchers; and
//!   silence. The answers that clients have not read are at most `max_in_flight_per_stream` for each call.
//! - Nothing is written to the log at a client's pleasure but on level debug.
//!
//! Whoever can connect can watch all messages' states: listen where only those reach who may.

mod acceptor;
mod codec;
mod config;
mod conn;
mod flow;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod ingest;
mod messages;
mod meter;
mod metrics;
mod problem;
mod serve;
mod server;
mod take;

/// The interface in Rust: messages, clients and servers. Made by `cargo xtask codegen` from `proto/`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod proto {
    include!("generated/w3bstream.v1.rs");
}

pub use acceptor::{Acceptor, Plain, Transport};
pub use config::{GrpcConfig, GrpcLimits};
pub use problem::{CODE_KEY, NEXT_EPOCH_KEY, Problem, ProblemKind};
pub use server::GrpcEndpoint;
