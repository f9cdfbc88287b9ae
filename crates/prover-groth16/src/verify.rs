//! Checking proofs.

use ark_bn254::{Bn254, Fq12, G1Affine, G2Affine};
use ark_ec::pairing::Pairing as _;
use ark_ec::{AffineRepr as _, CurveGroup as _};
use ark_ff::One as _;
use w3bstream_prover::{FieldElement, Proof};

use crate::points::{ProofPoints, fr};

/// What checks a circuit's proofs. Its points are in their groups, and none but those of `ic` is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    pub(crate) alpha1: G1Affine,
    pub(crate) beta2: G2Affine,
    pub(crate) gamma2: G2Affine,
    pub(crate) delta2: G2Affine,
    /// One point for the constant 1, then one for each public number.
    pub(crate) ic: Vec<G1Affine>,
}

impl VerifyingKey {
    /// How many public numbers a statement has.
    #[must_use]
    pub fn public(&self) -> usize {
        self.ic.len().saturating_sub(1)
    }

    /// Whether a proof shows that the circuit has a witness with these public numbers:
    /// e(−A, B) · e(α, β) · e(Σ xᵢ·icᵢ, γ) · e(C, δ) = 1.
    #[must_use]
    pub fn verify(&self, public: &[FieldElement], proof: &Proof) -> bool {
        ProofPoints::from_proof(proof).is_some_and(|points| self.accepts(public, &points))
    }

    pub(crate) fn accepts(&self, public: &[FieldElement], proof: &ProofPoints) -> bool {
        let Some((first, rest)) = self.ic.split_first() else { return false };
        if rest.len() != public.len() {
            return false;
        }
        let mut x = first.into_group();
        for (point, value) in rest.iter().zip(public) {
            x += *point * fr(*value);
        }
        let g1 = [-proof.a, self.alpha1, x.into_affine(), proof.c];
        let g2 = [proof.b, self.beta2, self.gamma2, self.delta2];
        // The exponentiation has no result for zero alone, which no product of pairings is.
        Bn254::final_exponentiation(Bn254::multi_miller_loop(g1, g2)).is_some_and(|e| e.0 == Fq12::one())
    }
}
