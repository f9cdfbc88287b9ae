//! Protobuf and JWS forms of a device message, and what devices are answered.
//!
//! **Takes** bytes that a device has sent; **gives** a [`Record`](w3bstream_types::Record) whose fields are
//! well-formed and whose signature nobody has checked yet.
//!
//! # Invariants
//! - Decoding is pure, never panics, and needs memory in proportion to its input.
//! - One message has one id, however its bytes were arranged: the id is over the canonical header (envelope)
//!   or the signed text (JWS), never over protobuf bytes.
//! - What is not understood is refused: an unknown or repeated field could be read otherwise by another node.
//!
//! Answers to devices ([`AckBody`], [`RefusalBody`]) are JSON, so that a device needs no protobuf to read them.
//! `docs/devices.md` is the same for people who program devices. [`legacy`] has the forms of the original W3bstream's clients.

mod answer;
mod decode;
mod envelope;
pub mod legacy;
mod topic;

// Made by `cargo xtask codegen` from proto/.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]
#[path = "generated/w3bstream.v1.rs"]
mod generated;

pub use answer::{AckBody, RefusalBody, refusal_reason};
pub use decode::{CONTENT_TYPE_ENVELOPE, CONTENT_TYPE_JOSE, decode_jws, decode_message};
pub use envelope::{ENVELOPE_VERSION, decode_envelope, encode_envelope};
pub use topic::{Ingress, NoIngress, device_topic, is_level};
