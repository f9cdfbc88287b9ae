//! A Groth16 proof as contracts take it.

use crate::{Error, ErrorKind};

/// Bytes of an encoded proof.
pub const PROOF_BYTES: usize = 256;

/// q, the modulus of BN254's coordinates, the highest byte first.
pub const BASE_MODULUS: [u8; 32] = [
    0x30, 0x64, 0x4e, 0x72, 0xe1, 0x31, 0xa0, 0x29, 0xb8, 0x50, 0x45, 0xb6, 0x81, 0x81, 0x58, 0x5d, 0x97, 0x81, 0x6a,
    0x91, 0x68, 0x71, 0xca, 0x8d, 0x3c, 0x20, 0x8c, 0x16, 0xd8, 0x7c, 0xfd, 0x47,
];

/// The three points of a proof, as `abi.encode(uint256[2] a, uint256[2][2] b, uint256[2] c)`: coordinates with the
/// highest byte first, those of `b` with the imaginary part before the real one, which is the order of the EVM's
/// precompiled pairing (EIP-197). Every coordinate is below q, so a proof has one encoding. Whether the numbers are
/// points is the verifier's to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groth16Proof {
    /// A: x, y.
    pub a: [[u8; 32]; 2],
    /// B: x as (imaginary, real), y as (imaginary, real).
    pub b: [[[u8; 32]; 2]; 2],
    /// C: x, y.
    pub c: [[u8; 32]; 2],
}

impl Groth16Proof {
    /// Reads a proof.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] unless it has [`PROOF_BYTES`] bytes and every coordinate is below q.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (words, rest) = bytes.as_chunks::<32>();
        let &[ax, ay, bxi, bxr, byi, byr, cx, cy] = words else {
            return Err(wrong_length(bytes.len()));
        };
        if !rest.is_empty() {
            return Err(wrong_length(bytes.len()));
        }
        if words.iter().any(|word| *word >= BASE_MODULUS) {
            return Err(Error::new(ErrorKind::Invalid, "a coordinate of a proof is not below the curve's modulus"));
        }
        Ok(Self { a: [ax, ay], b: [[bxi, bxr], [byi, byr]], c: [cx, cy] })
    }

    /// Its encoding.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; PROOF_BYTES] {
        let [[bxi, bxr], [byi, byr]] = self.b;
        let words = [self.a[0], self.a[1], bxi, bxr, byi, byr, self.c[0], self.c[1]];
        let mut bytes = [0; PROOF_BYTES];
        for (to, word) in bytes.as_chunks_mut::<32>().0.iter_mut().zip(words) {
            *to = word;
        }
        bytes
    }
}

fn wrong_length(length: usize) -> Error {
    Error::new(ErrorKind::Invalid, format!("a proof has {PROOF_BYTES} bytes, not {length}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_lengths_and_coordinates_are_refused() {
        for length in [0, 32, 224, 255, 257, 288] {
            let error = Groth16Proof::from_bytes(&vec![0; length]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{length}");
        }
        for word in 0..8 {
            let mut bytes = [0; PROOF_BYTES];
            bytes[32 * word..][..32].copy_from_slice(&BASE_MODULUS);
            assert!(Groth16Proof::from_bytes(&bytes).is_err());
            bytes[32 * word + 31] -= 1;
            assert!(Groth16Proof::from_bytes(&bytes).is_ok());
        }
    }

    #[test]
    fn words_stand_in_the_order_of_the_precompile() {
        let bytes: Vec<u8> = (1..=8).flat_map(|word| [word; 32]).collect();
        let proof = Groth16Proof::from_bytes(&bytes).unwrap();
        assert_eq!((proof.a[0][0], proof.b[0][0][0], proof.b[0][1][0], proof.b[1][0][0], proof.c[1][0]), (1, 3, 4, 5, 8));
    }

    proptest! {
        #[test]
        fn bytes_and_proof_are_one(bytes in prop::collection::vec(any::<u8>(), PROOF_BYTES)) {
            if let Ok(proof) = Groth16Proof::from_bytes(&bytes) {
                prop_assert_eq!(&proof.to_bytes()[..], &bytes[..]);
            }
        }
    }
}
