//! A Keccak-256 hash.

use std::fmt;
use std::str::FromStr;

use w3bstream_types::{Malformed, keccak256};

/// A Keccak-256 hash, or any other 32 bytes that the EVM treats as a word: a topic, a block's or a transaction's
/// hash. Shown and parsed as `0x` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash([u8; 32]);

impl Hash {
    /// All zero: the parent of a first block.
    pub const ZERO: Self = Self([0; 32]);

    /// Keccak-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(keccak256(bytes))
    }

    /// Takes 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        let mut out = [0; 32];
        s.strip_prefix("0x")
            .filter(|h| h.len() == 64 && !h.bytes().any(|b| b.is_ascii_uppercase()))
            .and_then(|h| hex::decode_to_slice(h, &mut out).ok())
            .ok_or_else(|| Malformed::new("hash", "must be 0x and 64 lower-case hex digits"))?;
        Ok(Self(out))
    }
}
