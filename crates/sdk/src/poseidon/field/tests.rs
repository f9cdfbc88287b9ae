use alloc::string::ToString as _;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

/// p, as everybody writes it.
const MODULUS: &str = "21888242871839275222246405745257275088548364400416034343698204186575808495617";

/// Plain arithmetic on 256 bits, one bit at a time, to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Plain([u64; 4]);

impl Plain {
    fn modulus() -> Self {
        Self([0x3064_4e72_e131_a029, 0xb850_45b6_8181_585d, 0x2833_e848_79b9_7091, 0x43e1_f593_f000_0001])
    }

    fn bytes(self) -> [u8; 32] {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.try_into().unwrap()
    }

    fn add(self, other: Self) -> Self {
        let mut sum = [0; 4];
        let mut carry = 0;
        for i in (0..4).rev() {
            let wide = u128::from(self.0[i]) + u128::from(other.0[i]) + carry;
            (sum[i], carry) = (wide as u64, wide >> 64);
        }
        Self(sum).reduced()
    }

    fn reduced(self) -> Self {
        if self < Self::modulus() {
            return self;
        }
        let mut rest = [0; 4];
        let mut borrow = false;
        for i in (0..4).rev() {
            let (x, a) = self.0[i].overflowing_sub(Self::modulus().0[i]);
            let (x, b) = x.overflowing_sub(u64::from(borrow));
            (rest[i], borrow) = (x, a | b);
        }
        Self(rest).reduced()
    }

    fn mul(self, other: Self) -> Self {
        let mut product = Self([0; 4]);
        for bit in (0..256).rev() {
            product = product.add(product);
            if other.0[3 - bit / 64] >> (bit % 64) & 1 == 1 {
                product = product.add(self);
            }
        }
        product
    }
}

/// Reads decimal digits, for tests.
pub(crate) fn decimal(text: &str) -> Field {
    let ten = Plain([0, 0, 0, 10]);
    let digits = text.trim_start_matches('-');
    let plain =
        digits.bytes().fold(Plain([0; 4]), |n, b| n.mul(ten).add(Plain([0, 0, 0, u64::from(b - b'0')])));
    let size = Field::from_be_bytes(&plain.bytes()).unwrap();
    if text.starts_with('-') { size.negated() } else { size }
}

fn field(plain: Plain) -> Field {
    Field::from_be_bytes(&plain.bytes()).unwrap()
}

/// Numbers of all sizes, many of them at the ends.
fn plain() -> impl Strategy<Value = Plain> {
    let word = prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()];
    let any = [word.clone(), word.clone(), word.clone(), word].prop_map(|words| Plain(words).reduced());
    let small = (0_u64..1000).prop_map(|n| Plain([0, 0, 0, n]));
    let top = (1_u64..1000).prop_map(|n| {
        let [a, b, c, d] = Plain::modulus().0;
        Plain([a, b, c, d - n])
    });
    prop_oneof![4 => any, 1 => small, 1 => top]
}

#[test]
fn the_modulus_and_above_are_refused() {
    let mut bytes = Plain::modulus().bytes();
    assert!(Field::from_be_bytes(&bytes).is_none());
    assert!(Field::from_be_bytes(&[0xff; 32]).is_none());
    bytes[31] -= 1;
    assert_eq!(Field::from_be_bytes(&bytes), Some(Field::from_i64(-1)));
}

#[test]
fn decimals() {
    assert_eq!(Field::ZERO.to_decimal(), "0");
    assert_eq!(Field::from_u64(1_000_000_000).to_decimal(), "1000000000");
    assert_eq!(Field::from_u128(u128::MAX).to_decimal(), u128::MAX.to_string());
    let minus_one = Field::from_i64(-1).to_decimal();
    assert_eq!(minus_one, MODULUS.replace("495617", "495616"));
    assert_eq!(alloc::format!("{:?}", Field::from_i64(-1)), minus_one);
}

#[test]
fn texts_are_numbers() {
    assert_eq!(Field::from_text("A"), Some(Field::from_u64(65)));
    assert_eq!(Field::from_text("AB"), Some(Field::from_u64(65 * 256 + 66)));
    assert_eq!(Field::from_text(""), Some(Field::ZERO));
    assert!(Field::from_text(&"z".repeat(31)).is_some());
    assert!(Field::from_text(&"z".repeat(32)).is_none());
}

#[test]
fn what_does_not_fit_is_not_packed() {
    assert_eq!(Field::pack(&[], 21), Some(Field::ZERO));
    assert_eq!(Field::pack(&[3, 5], 8), Some(Field::from_u64(3 + 5 * 256)));
    assert_eq!(Field::pack(&[256], 8), None);
    assert!(Field::pack(&[u32::MAX; 7], 32).is_some());
    assert!(Field::pack(&[0; 12], 21).is_some());
    assert!(Field::pack(&[0; 13], 21).is_none());
    assert!(Field::pack(&[1; 253], 1).is_some());
    assert!(Field::pack(&[1; 254], 1).is_none());
    assert_eq!((Field::pack(&[0, 0], 0), Field::pack(&[1], 0)), (Some(Field::ZERO), None));
    assert_eq!(Field::pack(&[0], u32::MAX), None);
}

/// The columns of the largest numbers that each operation allows must not overflow, which a debug build checks.
#[test]
fn the_largest_limbs_fit() {
    let largest = Loose([(1 << 30) - 1; 9]);
    let _ = largest.times(&largest);
    let row = [[(1 << 29) - 1; 9]; 3];
    let _ = Loose::dot(&row, &[Loose([(1 << 30) - 2; 9]); 3]);
}

proptest! {
    #[test]
    fn bytes_are_kept(a in plain()) {
        prop_assert_eq!(field(a).to_be_bytes(), a.bytes());
        prop_assert_eq!(decimal(&field(a).to_decimal()), field(a));
    }

    #[test]
    fn products_are_those_of_plain_arithmetic(a in plain(), b in plain()) {
        let product = field(a).loose().times(&field(b).loose()).strict();
        prop_assert_eq!(product.to_be_bytes(), a.mul(b).bytes());
    }

    #[test]
    fn sums_of_products_are_those_of_plain_arithmetic(rows in [plain(), plain(), plain()], xs in [plain(), plain(), plain()]) {
        let row = rows.map(|m| field(m).loose().0.map(|limb| limb as u32));
        let sums = xs.map(|x| field(x).loose().plus(&row[0]));
        let found = Loose::dot(&row, &sums).strict().to_be_bytes();
        let wanted = rows.iter().zip(xs).fold(Plain([0; 4]), |sum, (m, x)| sum.add(m.mul(x.add(rows[0]))));
        prop_assert_eq!(found, wanted.bytes());
    }

    #[test]
    fn packed_numbers_can_be_taken_out(values in prop::collection::vec(0_u32..1 << 21, 0..=12)) {
        let packed = Field::pack(&values, 21).unwrap().to_be_bytes();
        for (i, value) in values.iter().enumerate() {
            let bit = |at: usize| packed[31 - at / 8] >> (at % 8) & 1;
            let found = (0..21).fold(0, |n, b| n | u32::from(bit(21 * i + b)) << b);
            prop_assert_eq!(found, *value);
        }
    }

    #[test]
    fn signed_numbers_add_up(a in any::<i64>()) {
        let size = Field::from_u64(a.unsigned_abs());
        let wanted = if a < 0 { size.negated() } else { size };
        prop_assert_eq!(Field::from_i64(a), wanted);
        prop_assert_eq!(wanted.negated().negated(), wanted);
        prop_assert_eq!(decimal(&a.to_string()), Field::from_i64(a));
    }
}
