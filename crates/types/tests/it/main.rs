//! Tests of the vocabulary through its public interface.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed test panics; clippy knows test functions, not their helpers"
)]

mod canonical;
mod did;
mod ethereum;
mod golden;
mod jws;
mod key;
mod merkle;
mod message;
mod quorum;
mod receipt;
mod receipt_mutation;
mod sample;
mod schema;
mod sequence;
mod session;
mod strategies;
