//! Numbers of the field that circuits compute in.

use std::fmt;

use crate::{Error, ErrorKind};

/// A number of BN254's scalar field: 0 to p − 1. It has one form, so two of them are equal if, and only if, they
/// are the same number modulo p.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scalar([u8; 32]);

/// The longest decimal form of a number below p.
const MAX_DIGITS: usize = 77;

impl Scalar {
    /// p, the highest byte first.
    pub const MODULUS: [u8; 32] = [
        0x30, 0x64, 0x4e, 0x72, 0xe1, 0x31, 0xa0, 0x29, 0xb8, 0x50, 0x45, 0xb6, 0x81, 0x81, 0x58, 0x5d, 0x28, 0x33,
        0xe8, 0x48, 0x79, 0xb9, 0x70, 0x91, 0x43, 0xe1, 0xf5, 0x93, 0xf0, 0x00, 0x00, 0x01,
    ];

    /// 0.
    pub const ZERO: Self = Self([0; 32]);

    /// A number from its bytes, the highest first; `None` if it is p or more.
    #[must_use]
    pub fn from_be_bytes(bytes: [u8; 32]) -> Option<Self> {
        (bytes < Self::MODULUS).then_some(Self(bytes))
    }

    /// Its bytes, the highest first.
    #[must_use]
    pub const fn as_be_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A number below 2^128.
    #[must_use]
    pub fn from_u128(value: u128) -> Self {
        let mut bytes = [0; 32];
        let (_, low) = bytes.split_at_mut(16);
        low.copy_from_slice(&value.to_be_bytes());
        Self(bytes)
    }

    /// A signed number: −x is p − x, as in circom.
    #[must_use]
    pub fn from_i128(value: i128) -> Self {
        let size = Self::from_u128(value.unsigned_abs());
        if value < 0 { size.negated() } else { size }
    }

    /// p − self, and 0 for 0.
    #[must_use]
    pub fn negated(self) -> Self {
        if self == Self::ZERO { self } else { Self(minus(&Self::MODULUS, &self.0)) }
    }

    /// Reads a decimal number: digits without leading zeros, and a minus before them for p − x. The digits must be
    /// a number below p, or, after a minus, from 1 to (p − 1)/2.
    ///
    /// # Errors
    /// [`ErrorKind::BadInput`], which does not repeat the text: it may be private.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !plain || (digits.len() > 1 && digits.starts_with('0')) {
            return Err(bad("a number must be decimal digits without leading zeros, with '-' before a negative one"));
        }
        let size = decimal(digits).ok_or_else(|| bad("a number must be below the field's modulus"))?;
        if digits.len() == text.len() {
            return Ok(size);
        }
        if size == Self::ZERO || size > size.negated() {
            return Err(bad("a negative number must be from -1 to -(p-1)/2"));
        }
        Ok(size.negated())
    }
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::BadInput, what)
}

/// Digits as a number below p.
fn decimal(digits: &str) -> Option<Scalar> {
    if digits.len() > MAX_DIGITS {
        return None;
    }
    let mut bytes = [0_u8; 32];
    for digit in digits.bytes() {
        let mut carry = u16::from(digit.wrapping_sub(b'0'));
        for byte in bytes.iter_mut().rev() {
            let value = u16::from(*byte) * 10 + carry;
            carry = value >> 8;
            *byte = value.to_be_bytes()[1];
        }
        if carry > 0 {
            return None;
        }
    }
    Scalar::from_be_bytes(bytes)
}

/// `from` − `what`, which must not be more.
fn minus(from: &[u8; 32], what: &[u8; 32]) -> [u8; 32] {
    let mut result = [0; 32];
    let mut borrow = false;
    for ((result, from), what) in result.iter_mut().zip(from).zip(what).rev() {
        let (value, a) = from.overflowing_sub(*what);
        let (value, b) = value.overflowing_sub(u8::from(borrow));
        (*result, borrow) = (value, a || b);
    }
    result
}

impl fmt::Display for Scalar {
    /// Decimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut digits = Vec::with_capacity(MAX_DIGITS);
        while digits.is_empty() || rest != [0; 32] {
            let mut remainder = 0_u16;
            for byte in &mut rest {
                let value = remainder << 8 | u16::from(*byte);
                *byte = (value / 10).to_be_bytes()[1];
                remainder = value % 10;
            }
            digits.push(b'0' + remainder.to_be_bytes()[1]);
        }
        digits.iter().rev().try_for_each(|digit| write!(f, "{}", char::from(*digit)))
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const P: &str = "21888242871839275222246405745257275088548364400416034343698204186575808495617";
    const HALF: &str = "10944121435919637611123202872628637544274182200208017171849102093287904247808";

    fn kind(text: &str) -> Option<ErrorKind> {
        Scalar::parse(text).err().map(|e| e.kind())
    }

    #[test]
    fn the_ends_of_the_field() {
        assert_eq!(Scalar::from_be_bytes(Scalar::MODULUS), None);
        assert_eq!(Scalar::from_be_bytes([0xff; 32]), None);
        let last = P.replace("495617", "495616");
        assert_eq!(Scalar::parse(&last).unwrap(), Scalar::from_i128(-1));
        assert_eq!(Scalar::from_i128(-1).to_string(), last);
        assert_eq!(kind(P), Some(ErrorKind::BadInput));
        assert_eq!(Scalar::ZERO.to_string(), "0");
        assert_eq!(Scalar::ZERO.negated(), Scalar::ZERO);
        assert_eq!(Scalar::from_u128(u128::MAX).to_string(), u128::MAX.to_string());
        assert_eq!(Scalar::parse(&i128::MIN.to_string()).unwrap(), Scalar::from_i128(i128::MIN));
    }

    #[test]
    fn a_number_has_one_text() {
        for text in ["", "-", "00", "01", "-0", "-01", "+1", " 1", "1 ", "0x1", "1e3", "1.0", "١", "--1"] {
            assert_eq!(kind(text), Some(ErrorKind::BadInput), "{text:?}");
        }
        assert_eq!(kind(&"9".repeat(77)), Some(ErrorKind::BadInput));
        assert_eq!(kind(&"9".repeat(1000)), Some(ErrorKind::BadInput));
    }

    #[test]
    fn negative_numbers_end_in_the_middle() {
        assert!(Scalar::parse(&format!("-{HALF}")).is_ok());
        assert_eq!(kind(&format!("-{}", HALF.replace("247808", "247809"))), Some(ErrorKind::BadInput));
        assert_eq!(kind(&format!("-{P}")), Some(ErrorKind::BadInput));
    }

    proptest! {
        #[test]
        fn text_and_number_are_one(bytes in any::<[u8; 32]>()) {
            let mut bytes = bytes;
            bytes[0] &= 0x1f;
            let number = Scalar::from_be_bytes(bytes).unwrap();
            prop_assert_eq!(Scalar::parse(&number.to_string()).unwrap(), number);
            prop_assert_eq!(number.negated().negated(), number);
        }

        #[test]
        fn small_numbers_are_themselves(value in any::<i64>()) {
            prop_assert_eq!(Scalar::parse(&value.to_string()).unwrap(), Scalar::from_i128(value.into()));
        }
    }
}
