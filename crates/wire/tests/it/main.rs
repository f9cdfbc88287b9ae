//! Tests of the wire forms through their public interface, and of the vectors in `docs/devices.md`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed test panics; clippy knows test functions, not their helpers"
)]

mod answers;
mod decode;
mod topics;
mod vectors;
