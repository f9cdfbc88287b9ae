//! Numbers of the field that circuits calculate in.

use std::fmt;

use w3bstream_types::Malformed;

/// The order r of BN254's groups, big-endian: what [`FieldElement`]s are below (EIP-197, there called `q`).
pub const MODULUS: [u8; 32] = [
    0x30, 0x64, 0x4e, 0x72, 0xe1, 0x31, 0xa0, 0x29, 0xb8, 0x50, 0x45, 0xb6, 0x81, 0x81, 0x58, 0x5d, 0x28,
    0x33, 0xe8, 0x48, 0x79, 0xb9, 0x70, 0x91, 0x43, 0xe1, 0xf5, 0x93, 0xf0, 0x00, 0x00, 0x01,
];

/// The digits of the greatest field element.
const MAX_DIGITS: usize = 77;

/// A number from 0 to below [`MODULUS`]. There is one encoding of each: 32 bytes, big-endian.
///
/// `Debug` does not print it, since it may be private.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldElement([u8; 32]);

impl fmt::Debug for FieldElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FieldElement(…)")
    }
}

impl From<u128> for FieldElement {
    fn from(value: u128) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().skip(16).zip(value.to_be_bytes()) {
            *to = from;
        }
        Self(bytes)
    }
}

impl FieldElement {
    /// Zero.
    pub const ZERO: Self = Self([0; 32]);

    /// The number with these bytes, big-endian.
    ///
    /// # Errors
    /// [`Malformed`] if it is not below [`MODULUS`]: x and x + r would be one number with two encodings.
    pub fn from_be_bytes(bytes: [u8; 32]) -> Result<Self, Malformed> {
        if bytes >= MODULUS {
            return Err(too_great());
        }
        Ok(Self(bytes))
    }

    /// Its bytes, big-endian.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The number that gives zero when it is added.
    #[must_use]
    pub fn negated(self) -> Self {
        if self == Self::ZERO {
            return self;
        }
        let mut bytes = [0; 32];
        let mut borrow = 0;
        for ((to, m), x) in bytes.iter_mut().zip(MODULUS).zip(self.0).rev() {
            let difference = i16::from(m) - i16::from(x) - borrow;
            borrow = i16::from(difference < 0);
            *to = difference.to_le_bytes()[0];
        }
        Self(bytes)
    }

    /// The number that a decimal text means: digits without leading zeros, and a minus before them for the number that
    /// is missing to zero. "-0" is no number.
    ///
    /// # Errors
    /// [`Malformed`] if it is no such text, or its magnitude is not below [`MODULUS`]. The text is not repeated.
    pub fn from_decimal(text: &str) -> Result<Self, Malformed> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let negative = digits.len() != text.len();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad("must have decimal digits and at most a minus before them"));
        }
        if digits.starts_with('0') && (digits.len() > 1 || negative) {
            return Err(bad("must have no leading zero, and zero no minus"));
        }
        if digits.len() > MAX_DIGITS {
            return Err(too_great());
        }
        let mut bytes = [0u8; 32];
        for digit in digits.bytes() {
            let mut carry = u16::from(digit - b'0');
            for byte in bytes.iter_mut().rev() {
                let [low, high] = (u16::from(*byte) * 10 + carry).to_le_bytes();
                (*byte, carry) = (low, u16::from(high));
            }
            // 77 digits are below 2^256, so nothing is carried out.
        }
        let magnitude = Self::from_be_bytes(bytes)?;
        Ok(if negative { magnitude.negated() } else { magnitude })
    }
}

fn bad(why: &'static str) -> Malformed {
    Malformed::new("field element", why)
}

fn too_great() -> Malformed {
    bad("is not below the order of BN254's groups, about 2^253.6")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn minus_one_and_the_order_itself() {
        let minus_one = FieldElement::from_decimal("-1").unwrap();
        let text = "21888242871839275222246405745257275088548364400416034343698204186575808495616";
        assert_eq!(FieldElement::from_decimal(text).unwrap(), minus_one);
        assert_eq!(minus_one.negated(), FieldElement::from(1));
        let order = text.replace("616", "617");
        assert!(FieldElement::from_decimal(&order).is_err());
        assert!(FieldElement::from_decimal(&format!("-{order}")).is_err());
        assert!(FieldElement::from_be_bytes(MODULUS).is_err());
        assert!(FieldElement::from_be_bytes([0xff; 32]).is_err());
        assert!(FieldElement::from_decimal(&"9".repeat(77)).is_err(), "77 digits, and greater");
        assert!(FieldElement::from_decimal(&"1".repeat(78)).is_err());
    }

    #[test]
    fn texts_that_are_no_number() {
        for text in ["", "-", "-0", "00", "01", "+1", " 1", "1 ", "0x1", "1e3", "--1", "1.0", "١"] {
            assert!(FieldElement::from_decimal(text).is_err(), "{text:?}");
        }
        assert_eq!(FieldElement::from_decimal("0").unwrap(), FieldElement::ZERO);
    }

    #[test]
    fn debug_and_errors_show_no_number() {
        let shown = format!("{:?}", FieldElement::from(424_242));
        assert!(!shown.contains("424242") && !shown.contains("67932"), "{shown}");
        assert!(!FieldElement::from_decimal("424242x").unwrap_err().to_string().contains("424242"));
    }

    proptest! {
        #[test]
        fn decimal_means_the_number(x: u128) {
            let element = FieldElement::from(x);
            prop_assert_eq!(FieldElement::from_decimal(&x.to_string()).unwrap(), element);
            prop_assert_eq!(FieldElement::from_be_bytes(element.to_be_bytes()).unwrap(), element);
            prop_assert_eq!(element.negated().negated(), element);
            prop_assume!(x != 0);
            prop_assert_eq!(FieldElement::from_decimal(&format!("-{x}")).unwrap(), element.negated());
        }
    }
}
