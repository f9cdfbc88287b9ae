//! A proof's bytes.

use std::fmt;

use crate::{Error, ErrorKind};

/// Bytes of a proof.
pub const PROOF_BYTES: usize = 256;

/// The prime of the field that BN254's coordinates are in, big-endian (EIP-196, there called `p`).
pub const BASE_MODULUS: [u8; 32] = [
    0x30, 0x64, 0x4e, 0x72, 0xe1, 0x31, 0xa0, 0x29, 0xb8, 0x50, 0x45, 0xb6, 0x81, 0x81, 0x58, 0x5d, 0x97,
    0x81, 0x6a, 0x91, 0x68, 0x71, 0xca, 0x8d, 0x3c, 0x20, 0x8c, 0x16, 0xd8, 0x7c, 0xfd, 0x47,
];

/// A proof as contracts take it: `abi.encode(uint256[2] a, uint256[2][2] b, uint256[2] c)`, with the coordinates of b in
/// the precompile's order, the imaginary part first (EIP-197).
///
/// Its eight words are coordinates below [`BASE_MODULUS`]; whether they are points of the curve is for
/// [`Prover::verify`](crate::Prover::verify) to say.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Proof([u8; PROOF_BYTES]);

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({})", w3bstream_types::Digest::of(&self.0))
    }
}

impl Proof {
    /// The proof with these bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Proof`] if there are too few or too many bytes, or a word is not below [`BASE_MODULUS`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let whole: [u8; PROOF_BYTES] = bytes.try_into().map_err(|_| {
            Error::new(
                ErrorKind::Proof,
                format!("a proof has {PROOF_BYTES} bytes, and this one {}", bytes.len()),
            )
        })?;
        let (words, _) = whole.as_chunks::<32>();
        if let Some(i) = words.iter().position(|word| *word >= BASE_MODULUS) {
            let why = format!("word {i} of the proof is no coordinate: it is not below the field's prime");
            return Err(Error::new(ErrorKind::Proof, why));
        }
        Ok(Self(whole))
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PROOF_BYTES] {
        &self.0
    }

    /// Its eight words: a.x, a.y, b.x imaginary, b.x real, b.y imaginary, b.y real, c.x, c.y.
    #[must_use]
    pub fn words(&self) -> [[u8; 32]; 8] {
        let mut words = [[0; 32]; 8];
        for (to, from) in words.iter_mut().zip(self.0.as_chunks::<32>().0) {
            *to = *from;
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_words_are_strict() {
        let good = [1; PROOF_BYTES];
        assert_eq!(Proof::from_bytes(&good).unwrap().as_bytes(), &good);
        assert_eq!(Proof::from_bytes(&good).unwrap().words(), [[1; 32]; 8]);
        for length in [0, 1, 128, 255, 257, 288] {
            let error = Proof::from_bytes(&vec![1; length]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Proof);
        }
        for word in 0..8 {
            let mut bytes = good;
            bytes[word * 32..][..32].copy_from_slice(&BASE_MODULUS);
            let error = Proof::from_bytes(&bytes).unwrap_err();
            assert!(error.to_string().contains(&format!("word {word}")), "{error}");
            bytes[word * 32 + 31] -= 1;
            assert!(Proof::from_bytes(&bytes).is_ok());
        }
    }
}
