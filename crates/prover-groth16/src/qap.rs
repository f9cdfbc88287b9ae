//! From a witness to the quotient's values: circom's reduction to a QAP, as snarkjs sets it up.

use ark_bn254::Fr;
use ark_ff::{FftField as _, Zero as _};
use ark_poly::{EvaluationDomain as _, Radix2EvaluationDomain};

/// One entry of the matrices A and B: `value` times a signal, in a constraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coefficient {
    pub(crate) constraint: u32,
    pub(crate) signal: u32,
    pub(crate) value: Fr,
}

/// The values of A·B − C on the coset of the domain that its 2n-th root of unity shifts.
///
/// The key's points for them hold the division by the vanishing polynomial, which is constant there. C is not stored: on
/// the domain itself it is A·B if the witness satisfies the circuit, and if it does not there is no proof.
///
/// `None` if there is no domain of this size, or an index of a coefficient is out of range.
pub(crate) fn quotient(
    a: &[Coefficient],
    b: &[Coefficient],
    domain: usize,
    witness: &[Fr],
) -> Option<Vec<Fr>> {
    let radix2 = Radix2EvaluationDomain::<Fr>::new(domain).filter(|d| d.size() == domain)?;
    let shift = Fr::get_root_of_unity(u64::try_from(domain).ok()?.checked_mul(2)?)?;
    let mut a = product(a, domain, witness)?;
    let mut b = product(b, domain, witness)?;
    let mut c: Vec<Fr> = a.iter().zip(&b).map(|(a, b)| *a * b).collect();
    for values in [&mut a, &mut b, &mut c] {
        radix2.ifft_in_place(values);
        Radix2EvaluationDomain::<Fr>::distribute_powers(values, shift);
        radix2.fft_in_place(values);
    }
    for ((a, b), c) in a.iter_mut().zip(&b).zip(&c) {
        *a *= b;
        *a -= c;
    }
    Some(a)
}

/// A matrix times the witness.
fn product(matrix: &[Coefficient], domain: usize, witness: &[Fr]) -> Option<Vec<Fr>> {
    let mut values = vec![Fr::zero(); domain];
    for entry in matrix {
        let signal = witness.get(usize::try_from(entry.signal).ok()?)?;
        *values.get_mut(usize::try_from(entry.constraint).ok()?)? += entry.value * signal;
    }
    Some(values)
}
