//! One binary with all tests across crates and processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod anvil;
mod applets;
mod bench;
mod canary;
mod cli;
mod crash;
mod deploy;
mod events;
mod guests;
mod hostile_guests;
mod kits;
mod lanes;
mod legacy;
mod limits;
mod public;
mod removed;
mod replay;
mod revoked;
mod settle;
mod sql;
mod support;
mod workers;
