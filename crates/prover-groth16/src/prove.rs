//! Making proofs.

use ark_bn254::{Fr, G1Projective, G2Projective};
use ark_ec::{CurveGroup, VariableBaseMSM};
use ark_ff::{BigInt, PrimeField as _};
use w3bstream_prover::{Error, ErrorKind, Proof};

use crate::points::ProofPoints;
use crate::{ProvingKey, Witness, qap};

/// How many points are summed at once. Between two such sums a job can be cancelled: some tenths of a second.
const CHUNK: usize = 1 << 15;

/// Why there is no proof.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The caller said so.
    Cancelled,
    /// For another reason.
    Failed(Error),
}

/// Makes a proof of a witness. It is not verified: one of a witness that does not satisfy the circuit is worthless.
///
/// # Errors
/// [`ErrorKind::Artefact`] if the witness is of another circuit than the key; [`ErrorKind::Resources`] if the system gives
/// no randomness.
pub fn prove(key: &ProvingKey, witness: &Witness) -> Result<Proof, Error> {
    let never = || false;
    match points(key, witness, &mut Watch { cancelled: &never, progress: &mut |_| {} }) {
        Ok(points) => points.to_proof(),
        Err(Stopped::Failed(e)) => Err(e),
        Err(Stopped::Cancelled) => Err(Error::new(ErrorKind::Closed, "cancelled")),
    }
}

/// Who watches a proof being made.
pub(crate) struct Watch<'a> {
    /// Asked now and then.
    pub(crate) cancelled: &'a dyn Fn() -> bool,
    /// Is told how much of the sums is done, in percent.
    pub(crate) progress: &'a mut dyn FnMut(u8),
}

pub(crate) fn points(
    key: &ProvingKey,
    witness: &Witness,
    watch: &mut Watch<'_>,
) -> Result<ProofPoints, Stopped> {
    let values = witness.values();
    let other =
        || Stopped::Failed(Error::new(ErrorKind::Artefact, "the program is of another circuit than the key"));
    if values.len() != key.a.len() {
        return Err(other());
    }
    let h = qap::quotient(&key.coefficients_a, &key.coefficients_b, key.h.len(), values).ok_or_else(other)?;
    let private = values.get(key.verifying.ic.len()..).ok_or_else(other)?;
    let (r, s) = (random().map_err(Stopped::Failed)?, random().map_err(Stopped::Failed)?);
    let plain = |values: &[Fr]| values.iter().map(|x| x.into_bigint()).collect::<Vec<_>>();
    let (all, private, h) = (plain(values), plain(private), plain(&h));

    // G2 costs about three times as much as G1, so that the shares are about these.
    let a = sum::<G1Projective>(&key.a, &all, watch)? + key.verifying.alpha1 + key.delta1 * r;
    (watch.progress)(15);
    let b1 = sum::<G1Projective>(&key.b1, &all, watch)? + key.beta1 + key.delta1 * s;
    (watch.progress)(30);
    let b = sum::<G2Projective>(&key.b2, &all, watch)? + key.verifying.beta2 + key.verifying.delta2 * s;
    (watch.progress)(70);
    let mut c = sum::<G1Projective>(&key.c, &private, watch)?;
    (watch.progress)(85);
    c += sum::<G1Projective>(&key.h, &h, watch)?;
    c += a * s + b1 * r - key.delta1 * (r * s);
    Ok(ProofPoints { a: a.into_affine(), b: b.into_affine(), c: c.into_affine() })
}

/// Σ scalarᵢ · pointᵢ.
fn sum<G: VariableBaseMSM + CurveGroup>(
    points: &[G::MulBase],
    scalars: &[BigInt<4>],
    watch: &Watch<'_>,
) -> Result<G, Stopped>
where
    G::ScalarField: ark_ff::PrimeField<BigInt = BigInt<4>>,
{
    let mut sum = G::zero();
    for (points, scalars) in points.chunks(CHUNK).zip(scalars.chunks(CHUNK)) {
        if (watch.cancelled)() {
            return Err(Stopped::Cancelled);
        }
        sum += G::msm_bigint(points, scalars);
    }
    Ok(sum)
}

/// A random number below r, from the operating system.
fn random() -> Result<Fr, Error> {
    // Twice as many bits as r has: what is reduced is as good as uniform.
    let mut bytes = [0; 64];
    let gone = |e| Error::new(ErrorKind::Resources, format!("the system gives no random numbers: {e}"));
    getrandom::fill(&mut bytes).map_err(gone)?;
    Ok(Fr::from_le_bytes_mod_order(&bytes))
}
