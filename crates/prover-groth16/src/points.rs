//! Numbers and points as bytes: those of keys and those of proofs.

use ark_bn254::{Fq, Fq2, Fr, G1Affine, G2Affine};
use ark_ec::AffineRepr as _;
use ark_ff::{BigInt, BigInteger as _, PrimeField};
use w3bstream_prover::{FieldElement, Proof};

/// Bytes of a point of G1 in a key.
pub(crate) const G1_BYTES: usize = 64;
/// Bytes of a point of G2 in a key.
pub(crate) const G2_BYTES: usize = 128;

/// The 256-bit number with these bytes, little-endian.
fn little_endian(bytes: &[u8; 32]) -> BigInt<4> {
    let (words, _) = bytes.as_chunks::<8>();
    let mut limbs = [0; 4];
    for (limb, word) in limbs.iter_mut().zip(words) {
        *limb = u64::from_le_bytes(*word);
    }
    BigInt::new(limbs)
}

fn big_endian(bytes: &[u8; 32]) -> BigInt<4> {
    let mut reversed = *bytes;
    reversed.reverse();
    little_endian(&reversed)
}

/// The number x of which the bytes are x·R mod q, little-endian, as snarkjs stores coordinates.
fn montgomery_fq(bytes: &[u8; 32]) -> Option<Fq> {
    let raw = little_endian(bytes);
    (raw < Fq::MODULUS).then(|| Fq::new_unchecked(raw))
}

/// The number x of which the bytes are x·R² mod r, little-endian, as snarkjs stores coefficients: so that one
/// multiplication in Montgomery's form with a plain number gives the product in that form.
pub(crate) fn twice_montgomery_fr(bytes: &[u8; 32]) -> Option<Fr> {
    let raw = little_endian(bytes);
    // As an element, `raw` is x·R; as a plain number that element is x in Montgomery's form.
    (raw < Fr::MODULUS).then(|| Fr::new_unchecked(Fr::new_unchecked(raw).into_bigint()))
}

/// The number with these bytes, if they are its one encoding.
pub(crate) fn fr_from_le(bytes: &[u8; 32]) -> Option<Fr> {
    Fr::from_bigint(little_endian(bytes))
}

/// A field element as the library has it.
pub(crate) fn fr(element: FieldElement) -> Fr {
    // Always below r by its type; reduction would otherwise be the meaning of a number modulo r.
    Fr::from_be_bytes_mod_order(&element.to_be_bytes())
}

/// A number of the library as a field element; there is always one.
pub(crate) fn field_element(x: Fr) -> Option<FieldElement> {
    FieldElement::from_be_bytes(x.into_bigint().to_bytes_be().try_into().ok()?).ok()
}

fn g1_checked(x: Fq, y: Fq) -> Option<G1Affine> {
    // Zero has no coordinates; (0, 0) stands for it, and is on no curve y² = x³ + 3.
    if x == Fq::from(0u8) && y == Fq::from(0u8) {
        return Some(G1Affine::zero());
    }
    let point = G1Affine::new_unchecked(x, y);
    (point.is_on_curve() && point.is_in_correct_subgroup_assuming_on_curve()).then_some(point)
}

fn g2_checked(x: Fq2, y: Fq2) -> Option<G2Affine> {
    if x == Fq2::new(0.into(), 0.into()) && y == Fq2::new(0.into(), 0.into()) {
        return Some(G2Affine::zero());
    }
    let point = G2Affine::new_unchecked(x, y);
    // On the curve there are points of other orders, with which the pairing can be cheated.
    (point.is_on_curve() && point.is_in_correct_subgroup_assuming_on_curve()).then_some(point)
}

/// A point of G1 in a key, (0, 0) for zero; `None` if a coordinate has another encoding or the point is not in G1.
pub(crate) fn key_g1(bytes: &[u8; G1_BYTES]) -> Option<G1Affine> {
    let (words, _) = bytes.as_chunks::<32>();
    let [x, y] = words else { return None };
    g1_checked(montgomery_fq(x)?, montgomery_fq(y)?)
}

/// A point of G2 in a key, as [`key_g1`].
pub(crate) fn key_g2(bytes: &[u8; G2_BYTES]) -> Option<G2Affine> {
    let (words, _) = bytes.as_chunks::<32>();
    let [x0, x1, y0, y1] = words else { return None };
    let x = Fq2::new(montgomery_fq(x0)?, montgomery_fq(x1)?);
    g2_checked(x, Fq2::new(montgomery_fq(y0)?, montgomery_fq(y1)?))
}

/// The points of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProofPoints {
    pub(crate) a: G1Affine,
    pub(crate) b: G2Affine,
    pub(crate) c: G1Affine,
}

impl ProofPoints {
    /// The points that a proof's words are; `None` if one is on no curve or in no group. Zero is a point of both.
    pub(crate) fn from_proof(proof: &Proof) -> Option<Self> {
        let words = proof.words();
        let [ax, ay, bx1, bx0, by1, by0, cx, cy] = words.each_ref().map(|w| Fq::from_bigint(big_endian(w)));
        let a = g1_checked(ax?, ay?)?;
        let b = g2_checked(Fq2::new(bx0?, bx1?), Fq2::new(by0?, by1?))?;
        Some(Self { a, b, c: g1_checked(cx?, cy?)? })
    }

    /// The proof's words.
    pub(crate) fn to_proof(self) -> Result<Proof, w3bstream_prover::Error> {
        let zero = Fq::from(0u8);
        let g1 = |point: G1Affine| point.xy().unwrap_or((zero, zero));
        let ((ax, ay), (cx, cy)) = (g1(self.a), g1(self.c));
        let (bx, by) = self.b.xy().unwrap_or((Fq2::new(zero, zero), Fq2::new(zero, zero)));
        let words = [ax, ay, bx.c1, bx.c0, by.c1, by.c0, cx, cy];
        let bytes: Vec<u8> = words.iter().flat_map(|x| x.into_bigint().to_bytes_be()).collect();
        Proof::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use ark_ec::CurveGroup as _;
    use ark_ff::{AdditiveGroup as _, Field as _};

    use super::*;

    fn le(x: BigInt<4>) -> [u8; 32] {
        x.to_bytes_le().try_into().unwrap()
    }

    /// A point of the twisted curve that is in no group of order r: the first whose x is a small number.
    pub(crate) fn wrong_subgroup() -> G2Affine {
        (1u64..)
            .filter_map(|x| G2Affine::get_point_from_x_unchecked(Fq2::new(x.into(), Fq::ZERO), false))
            .find(|point| !point.is_in_correct_subgroup_assuming_on_curve())
            .unwrap()
    }

    fn key_bytes_g2(point: &G2Affine) -> [u8; G2_BYTES] {
        // The inner representation of an element is x·R.
        let raw = [point.x.c0, point.x.c1, point.y.c0, point.y.c1].map(|x| le(x.0));
        raw.concat().try_into().unwrap()
    }

    #[test]
    fn points_of_keys_are_checked() {
        let g = G1Affine::generator();
        let mut bytes: [u8; G1_BYTES] = [le(g.x.0), le(g.y.0)].concat().try_into().unwrap();
        assert_eq!(key_g1(&bytes), Some(g));
        bytes[0] ^= 1;
        assert_eq!(key_g1(&bytes), None, "not on the curve");
        assert_eq!(key_g1(&[0; G1_BYTES]), Some(G1Affine::zero()));
        let beyond: [u8; G1_BYTES] = [le(Fq::MODULUS), le(Fq::MODULUS)].concat().try_into().unwrap();
        assert_eq!(key_g1(&beyond), None, "a second encoding of zero");
        let g = (G2Affine::generator() * Fr::from(5u8)).into_affine();
        assert_eq!(key_g2(&key_bytes_g2(&g)), Some(g));
        let wrong = wrong_subgroup();
        assert!(wrong.is_on_curve());
        assert_eq!(key_g2(&key_bytes_g2(&wrong)), None);
    }

    #[test]
    fn coefficients_have_r_twice() {
        let x = Fr::from(123_456_789u64);
        let r = Fr::from(2u8).pow([256]);
        assert_eq!(twice_montgomery_fr(&le((x * r * r).into_bigint())), Some(x));
        assert_eq!(twice_montgomery_fr(&le(Fr::MODULUS)), None);
    }

    #[test]
    fn proofs_round_trip_and_are_checked() {
        let (g1, g2) = (G1Affine::generator(), G2Affine::generator());
        let times = |n: u64| (g1 * Fr::from(n)).into_affine();
        let points = ProofPoints { a: times(7), b: g2, c: times(9) };
        let proof = points.to_proof().unwrap();
        assert_eq!(ProofPoints::from_proof(&proof), Some(points));
        // The generator's x, imaginary part first, as EIP-197 gives it.
        let imaginary = "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2";
        assert_eq!(hex::encode(proof.words()[2]), imaginary);
        let wrong = ProofPoints { b: wrong_subgroup(), ..points }.to_proof().unwrap();
        assert_eq!(ProofPoints::from_proof(&wrong), None);
        for word in 0..8 {
            let mut bytes = *proof.as_bytes();
            bytes[word * 32 + 31] ^= 1;
            assert_eq!(ProofPoints::from_proof(&Proof::from_bytes(&bytes).unwrap()), None, "word {word}");
        }
    }
}
