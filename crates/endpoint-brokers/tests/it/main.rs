//! The endpoint against a broker that does what a test says; and, where there is one, against Mosquitto.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests too")]

#[path = "../../../endpoint-mqtt/tests/it/bare.rs"]
mod bare;
mod fake;
mod kit;
mod mosquitto;
mod publishing;
mod rules;
mod trouble;
