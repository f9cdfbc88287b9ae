//! For `w3bstream-fuzzing` alone: messages and their framing from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

use prost::Message;

use crate::proto;
use crate::proto::submit_request::Message as Submitted;

/// What was read is written, and is the same then.
fn again<T: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    let read = T::decode(bytes).ok()?;
    let written = read.encode_to_vec();
    assert_eq!(T::decode(written.as_slice()).as_ref(), Ok(&read), "what was written is not what was read");
    assert!(written.len() <= bytes.len(), "{} bytes from {}", written.len(), bytes.len());
    Some(read)
}

/// Every message that a client sends.
pub fn message(bytes: &[u8]) {
    let submit = again::<proto::SubmitRequest>(bytes);
    if let Some(Submitted::Token(token)) = submit.and_then(|submit| submit.message) {
        crate::take::read_any(token);
    }
    again::<proto::SubmitStreamRequest>(bytes);
    again::<proto::GetRequest>(bytes);
    again::<proto::WatchRequest>(bytes);
}

/// The stream under them. The first byte says in which pieces it comes.
pub fn framing(bytes: &[u8]) {
    if let Some((how, rest)) = bytes.split_first() {
        crate::meter::read_any(rest, usize::from(*how) + 1, 1024);
    }
}
