//! The endpoint over real sockets.
#![allow(missing_docs, unreachable_pub, reason = "tests")]

mod abuse;
mod closing;
mod contract;
mod harness;
mod kit;
mod messages;
mod queries;
