//! The contracts, as they were compiled, on an EVM: what they do, and above all what they refuse.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod attestation;
mod cold_chain;
mod executor;
mod gas;
mod groth16;
mod inclusion;
mod reentry;
mod registry;
mod world;
