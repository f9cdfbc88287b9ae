//! For `w3bstream-fuzzing` alone: nodes of the state's tree from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

/// A node has one form, and a hash whatever is in it.
pub fn node(bytes: &[u8]) {
    crate::tree::read_any(bytes);
}
