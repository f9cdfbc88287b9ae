//! The endpoint over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "tests"
)]

mod abuse;
mod closing;
mod harness;
mod kit;
mod messages;
mod raw;
mod refusals;
mod services;
mod streams;
mod submit;
