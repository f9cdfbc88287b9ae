//! Handshakes over loopback with another client of rustls, and files that change under them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests too")]

mod connect;
mod hostile;
mod open;
mod openssl;
mod own;
mod reload;
mod support;
mod trust;
