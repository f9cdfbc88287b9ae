//! The endpoint over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests too")]

mod answers;
mod blocks;
mod bounds;
mod kit;
mod support;
