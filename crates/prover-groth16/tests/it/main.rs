//! The prover with the circuit of the cold chain, snarkjs's proofs, and artefacts that lie.

mod day;
mod exact;
mod hostile;
mod keys;

mod kit {
    use crate::day::Place;

    w3bstream_prover::prover_conformance!(Place);
}
