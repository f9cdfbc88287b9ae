//! The endpoint over real sockets: raw bytes, and a client library of others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests too")]

mod answers;
mod bare;
mod bounds;
mod broker;
mod exactly_once;
mod gate;
mod kept;
mod kit;
mod library;
mod malformed;
mod originals;
mod over;
mod rates;
mod revoked;
mod sessions;
mod strict;
mod support;
mod transports;
mod websocket;
mod wills;
