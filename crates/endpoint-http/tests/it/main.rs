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
mod accept;
mod batch;
mod closing;
mod contract;
mod harness;
mod http2;
mod kit;
mod messages;
mod queries;
mod sessions;
mod stream;
mod web;
