//! Proofs as snarkjs writes them, for exchange with its tools.

use w3bstream_prover::{Error, Proof};

/// The text of a `proof.json` of snarkjs.
#[must_use]
pub fn proof_to_snarkjs(proof: &Proof) -> String {
    let [ax, ay, bx1, bx0, by1, by0, cx, cy] = proof.decimals();
    format!(
        r#"{{"pi_a":["{ax}","{ay}","1"],"pi_b":[["{bx0}","{bx1}"],["{by0}","{by1}"],["1","0"]],"pi_c":["{cx}","{cy}","1"],"protocol":"groth16","curve":"bn128"}}"#
    )
}

/// The proof with the numbers of a `proof.json` of snarkjs, in the order in which they stand there without the "1" and
/// "0" of the third coordinates: `pi_a` x, y; `pi_b` x real, x imaginary, y real, y imaginary; `pi_c` x, y.
///
/// # Errors
/// [`w3bstream_prover::ErrorKind::Proof`] if one is no coordinate.
pub fn proof_from_snarkjs(numbers: [&str; 8]) -> Result<Proof, Error> {
    let [ax, ay, bx0, bx1, by0, by1, cx, cy] = numbers;
    Proof::from_decimals([ax, ay, bx1, bx0, by1, by0, cx, cy])
}
