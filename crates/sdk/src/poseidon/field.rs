//! Numbers modulo p, the order of BN254's groups, in Montgomery's form.
//!
//! A WebAssembly machine multiplies 64-bit numbers to 64 bits. So a number has nine limbs of 29 bits: products
//! of limbs have 58 bits, and 64 of them fit in a column before anything has to be carried. The form's radix is
//! R = 2^261, more than 128 p, which leaves room for sums that are not reduced at once.

use alloc::string::String;

/// p, by limbs, the lowest first.
const P: [u64; 9] = [
    0x1000_0001,
    0x1f0f_ac9f,
    0x0e5c_2450,
    0x07d0_90f3,
    0x1585_d283,
    0x02db_40c0,
    0x00a6_e141,
    0x0e5c_2634,
    0x0030_644e,
];
/// R² modulo p: multiplying by it brings a number into Montgomery's form.
const R2: [u64; 9] = [
    0x05b6_9bd4,
    0x0617_0a5a,
    0x020c_ddce,
    0x1db6_310b,
    0x0e54_d0ff,
    0x1cf8_55e3,
    0x1c15_e103,
    0x07d0_9161,
    0x000a_054a,
];
/// −1/p modulo 2^29.
const INVERSE: u64 = 0x0fff_ffff;
const BITS: u32 = 29;
const MASK: u64 = (1 << BITS) - 1;

/// Says the same for each of the nine limbs, with an index that the compiler knows: a loop would keep the limbs
/// in memory, since modules are compiled for size.
macro_rules! limbs {
    ($i:ident => $body:expr) => {
        limbs!(@ $i $body; 0 1 2 3 4 5 6 7 8)
    };
    (@ $i:ident $body:expr; $($n:literal)+) => {
        $({ const $i: usize = $n; $body; })+
    };
}

/// A number of the field: 0 to p − 1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field(Loose);

/// A number below 4 p in Montgomery's form, whose limbs may have a 30th bit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Loose([u64; 9]);

impl Loose {
    pub(super) const ZERO: Self = Self([0; 9]);

    /// The sum with a reduced number. `self` must be a product: below 2 p, with limbs of 29 bits.
    pub(super) fn plus(&self, other: &[u32; 9]) -> Self {
        let mut sum = self.0;
        limbs!(I => sum[I] += u64::from(other[I]));
        Self(sum)
    }

    /// The product, below 2 p and with limbs of 29 bits. A column adds up 9 products of 60 bits and 9 of 58.
    pub(super) fn times(&self, other: &Self) -> Self {
        let mut column = [0; 9];
        for limb in self.0 {
            limbs!(I => column[I] += limb * other.0[I]);
            reduce(&mut column);
        }
        Self::carried(column)
    }

    /// The sum of the products of three reduced numbers and three loose ones, below 2 p and with limbs of 29
    /// bits. A column adds up 27 products of 59 bits and 9 of 58: 63 × 2^58, which is why limbs have 29 bits.
    pub(super) fn dot(row: &[[u32; 9]; 3], numbers: &[Self; 3]) -> Self {
        let mut column = [0; 9];
        let [x, y, z] = numbers;
        for ((a, b), c) in row[0].iter().zip(&row[1]).zip(&row[2]) {
            let (a, b, c) = (u64::from(*a), u64::from(*b), u64::from(*c));
            limbs!(I => column[I] += a * x.0[I] + b * y.0[I] + c * z.0[I]);
            reduce(&mut column);
        }
        Self::carried(column)
    }

    /// Brings every limb below 2^29.
    fn carried(mut column: [u64; 9]) -> Self {
        let mut carry = 0;
        limbs!(I => {
            column[I] += carry;
            carry = column[I] >> BITS;
            column[I] &= MASK;
        });
        Self(column)
    }

    /// The only form of a number below 2 p.
    pub(super) fn strict(self) -> Field {
        let same = Self::carried(self.0).0;
        let (less, negative) = difference(&same, &P);
        Field(Self(if negative { same } else { less }))
    }
}

/// `from` − `what`, and whether that is below 0 (then the limbs are those of 2^261 more).
fn difference(from: &[u64; 9], what: &[u64; 9]) -> ([u64; 9], bool) {
    let mut limbs = *from;
    // A borrow is a carry that is negative: the shift keeps the sign.
    let mut borrow = 0_i64;
    limbs!(I => {
        let difference = from[I] as i64 - what[I] as i64 + borrow;
        borrow = difference >> BITS;
        limbs[I] = difference as u64 & MASK;
    });
    (limbs, borrow < 0)
}

/// One step of Montgomery's reduction: adds the multiple of p that makes the lowest limb 0, and drops it.
#[inline(always)]
fn reduce(column: &mut [u64; 9]) {
    let factor = ((column[0] & MASK) * INVERSE) & MASK;
    limbs!(I => column[I] += factor * P[I]);
    let carry = column[0] >> BITS;
    *column =
        [column[1] + carry, column[2], column[3], column[4], column[5], column[6], column[7], column[8], 0];
}

impl Field {
    /// 0.
    pub const ZERO: Self = Self(Loose::ZERO);

    pub(super) const fn loose(self) -> Loose {
        self.0
    }

    /// A number that is not negative.
    #[must_use]
    pub fn from_u64(value: u64) -> Self {
        Self::from_u128(value.into())
    }

    /// A number that is not negative: half of a 256-bit id, for instance.
    #[must_use]
    pub fn from_u128(value: u128) -> Self {
        let mut bytes = [0; 32];
        bytes[16..].copy_from_slice(&value.to_be_bytes());
        Self::enter(&bytes)
    }

    /// A signed number; −x is p − x, as in circom.
    #[must_use]
    pub fn from_i64(value: i64) -> Self {
        let size = Self::from_u64(value.unsigned_abs());
        if value >= 0 { size } else { size.negated() }
    }

    /// A number from its 32 bytes, the highest first; `None` unless it is below p, so that no two inputs are
    /// one number.
    #[must_use]
    pub fn from_be_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let number = Self::enter(bytes);
        (number.to_be_bytes() == *bytes).then_some(number)
    }

    /// The integer whose big-endian bytes are this text, of at most 31 bytes; `None` for a longer one.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let start = bytes.len().checked_sub(text.len()).filter(|start| *start > 0)?;
        bytes[start..].copy_from_slice(text.as_bytes());
        Some(Self::enter(&bytes))
    }

    /// Several small numbers as one: value i, of `bits` bits, times 2^(`bits` · i). `None` if a value has more bits,
    /// or all together have more than 253, so that no two lists of one length are one number.
    #[must_use]
    pub fn pack(values: &[u32], bits: u32) -> Option<Self> {
        let fits = |value: &u32| u64::from(*value) >> bits.min(32) == 0;
        if values.len() as u64 * u64::from(bits) > 253 || !values.iter().all(fits) {
            return None;
        }
        let mut bytes = [0_u8; 32];
        for (value, position) in values.iter().zip((0..).step_by(bits.max(1) as usize)) {
            let placed = u64::from(*value) << (position % 8);
            let places = bytes.iter_mut().rev().skip(position / 8);
            for (byte, part) in places.zip(placed.to_le_bytes()) {
                *byte |= part;
            }
        }
        Some(Self::enter(&bytes))
    }

    /// Its 32 bytes, the highest first: `uint256` or `bytes32` in a contract's arguments.
    #[must_use]
    pub fn to_be_bytes(self) -> [u8; 32] {
        // Multiplying by 1 divides by R.
        let plain = self.0.times(&Loose([1, 0, 0, 0, 0, 0, 0, 0, 0])).strict().0.0;
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().rev().enumerate() {
            let bit = 8 * i as u32;
            let (limb, shift) = ((bit / BITS) as usize, bit % BITS);
            let above = plain.get(limb + 1).map_or(0, |next| next << BITS);
            *byte = ((plain[limb] | above) >> shift) as u8;
        }
        bytes
    }

    /// Decimal digits, as circom's tools read and write numbers.
    #[must_use]
    pub fn to_decimal(self) -> String {
        const BILLION: u64 = 1_000_000_000;
        let mut words = [0_u32; 8];
        for (word, bytes) in words.iter_mut().zip(self.to_be_bytes().chunks_exact(4)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        // Nine digits at a time, the lowest first.
        let mut digits = [b'0'; 81];
        for group in digits.rchunks_exact_mut(9) {
            let mut rest = 0;
            for word in &mut words {
                let value = rest << 32 | u64::from(*word);
                *word = (value / BILLION) as u32;
                rest = value % BILLION;
            }
            for digit in group.iter_mut().rev() {
                *digit += (rest % 10) as u8;
                rest /= 10;
            }
        }
        let first = digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len() - 1);
        digits[first..].iter().map(|digit| char::from(*digit)).collect()
    }

    /// Brings 32 bytes into Montgomery's form, modulo p. 2^256 is below 6 p.
    fn enter(bytes: &[u8; 32]) -> Self {
        let mut plain = [0; 9];
        for (i, byte) in bytes.iter().rev().enumerate() {
            let bit = 8 * i as u32;
            let (limb, shift) = ((bit / BITS) as usize, bit % BITS);
            let placed = u64::from(*byte) << shift;
            plain[limb] |= placed & MASK;
            if let Some(next) = plain.get_mut(limb + 1) {
                *next |= placed >> BITS;
            }
        }
        Loose(plain).times(&Loose(R2)).strict()
    }

    /// p − self.
    fn negated(self) -> Self {
        // p itself, for 0, becomes 0.
        Loose(difference(&P, &self.0.0).0).strict()
    }
}

impl core::fmt::Debug for Field {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.to_decimal())
    }
}

#[cfg(test)]
pub(super) mod tests;
