//! For `w3bstream-fuzzing` alone: key files from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

/// A key in a file of its own, in any form, and a wallet's sealed file up to its passphrase.
pub fn files(bytes: &[u8]) {
    crate::exchange::read_any(bytes);
    crate::format::read_any(bytes);
}
