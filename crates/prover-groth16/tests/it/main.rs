//! The prover with the circuit of the cold chain, snarkjs's proofs, and artefacts that lie.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod day;
mod exact;
mod hostile;
mod keys;

mod kit {
    use crate::day::Place;

    w3bstream_prover::prover_conformance!(Place);
}
