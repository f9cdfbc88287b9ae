//! From an attested statement to a circuit's public inputs.

use crate::signals::check_name;
use crate::{Error, ErrorKind, Scalar, Signals};

/// The most fields of a statement.
pub const MAX_FIELDS: usize = 64;

/// Bytes of one encoded field.
pub const WORD_BYTES: usize = 32;

/// The type of a field, as Solidity has it. Each is one static word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// 32 bytes: two public inputs, the high and the low 128 bits.
    Bytes32,
    /// An unsigned integer of so many bits: one public input. One of 256 bits must be below p.
    Uint(u16),
    /// A signed integer of so many bits, at most 248: one public input, −x being p − x.
    Int(u16),
    /// An account: one public input.
    Address,
    /// 0 or 1: one public input.
    Bool,
}

impl FieldType {
    fn parse(text: &str) -> Option<Self> {
        let bits = |digits: &str, most: u16| {
            let bits: u16 = digits.parse().ok().filter(|_| !digits.starts_with(['0', '+']))?;
            (bits > 0 && bits <= most && bits.is_multiple_of(8)).then_some(bits)
        };
        match text {
            "bytes32" => Some(Self::Bytes32),
            "address" => Some(Self::Address),
            "bool" => Some(Self::Bool),
            // Of 256 bits, a negative and a positive number could be the same modulo p.
            _ => match (text.strip_prefix("uint"), text.strip_prefix("int")) {
                (Some(digits), _) => bits(digits, 256).map(Self::Uint),
                (_, Some(digits)) => bits(digits, 248).map(Self::Int),
                _ => None,
            },
        }
    }

    /// How many public inputs it gives.
    #[must_use]
    pub const fn inputs(self) -> usize {
        if matches!(self, Self::Bytes32) { 2 } else { 1 }
    }

    /// The public inputs of a word, or `None` if it is no value of this type.
    fn read(self, word: &[u8; WORD_BYTES]) -> Option<Vec<Scalar>> {
        let one = match self {
            Self::Bytes32 => return Some(halves(word)),
            Self::Uint(bits) => unsigned(word, bits)?,
            Self::Address => unsigned(word, 160)?,
            Self::Bool => unsigned(word, 1)?,
            Self::Int(bits) => signed(word, bits)?,
        };
        Some(vec![one])
    }
}

fn halves(word: &[u8; WORD_BYTES]) -> Vec<Scalar> {
    let half = |bytes: &[u8]| Scalar::from_u128(bytes.iter().fold(0, |n, byte| n << 8 | u128::from(*byte)));
    let (high, low) = word.split_at(WORD_BYTES / 2);
    vec![half(high), half(low)]
}

/// Whether every bit from `bits` on, counted from the lowest, is `set`.
fn upper_bits_are(word: &[u8; WORD_BYTES], bits: u16, set: bool) -> bool {
    let bytes = word.iter().rev().zip((0_u16..).step_by(8));
    bytes.into_iter().all(|(byte, from)| {
        let kept = bits.saturating_sub(from).min(8);
        let upper = u16::from(*byte) >> kept;
        upper == if set { 0xff >> kept } else { 0 }
    })
}

fn unsigned(word: &[u8; WORD_BYTES], bits: u16) -> Option<Scalar> {
    upper_bits_are(word, bits, false).then(|| Scalar::from_be_bytes(*word)).flatten()
}

fn signed(word: &[u8; WORD_BYTES], bits: u16) -> Option<Scalar> {
    // The sign bit is among those that must all be the same.
    if upper_bits_are(word, bits.saturating_sub(1), false) {
        return Scalar::from_be_bytes(*word);
    }
    if !upper_bits_are(word, bits.saturating_sub(1), true) {
        return None;
    }
    // Two's complement: all bits turned over, and one more.
    let mut size = word.map(|byte| !byte);
    for byte in size.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    Scalar::from_be_bytes(size).map(Scalar::negated)
}

/// The fields of a statement, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    fields: Vec<(FieldType, String)>,
}

impl Layout {
    /// Reads fields as a manifest lists them: `bytes32 project`, `uint32 day`, `int32 lo`.
    ///
    /// # Errors
    /// [`ErrorKind::BadInput`] for an unknown type, a name that is none or there twice, no fields, or more than
    /// [`MAX_FIELDS`].
    pub fn parse<T: AsRef<str>>(fields: &[T]) -> Result<Self, Error> {
        let bad = |what: String| Error::new(ErrorKind::BadInput, what);
        if fields.is_empty() || fields.len() > MAX_FIELDS {
            return Err(bad(format!("a statement has 1 to {MAX_FIELDS} fields, not {}", fields.len())));
        }
        let mut read: Vec<(FieldType, String)> = Vec::with_capacity(fields.len());
        for field in fields {
            let field = field.as_ref();
            let (ty, name) = field
                .split_once(' ')
                .ok_or_else(|| bad(format!("field {field:?} must be a type, a space and a name, as in \"uint32 day\"")))?;
            let ty = FieldType::parse(ty).ok_or_else(|| {
                bad(format!("field {field:?}: the type must be bytes32, address, bool, uint8 to uint256 or int8 to int248"))
            })?;
            check_name(name)?;
            if read.iter().any(|(_, other)| other == name) {
                return Err(bad(format!("field {name} stands there twice")));
            }
            read.push((ty, name.to_owned()));
        }
        Ok(Self { fields: read })
    }

    /// The fields' types and names.
    pub fn fields(&self) -> impl Iterator<Item = (FieldType, &str)> {
        self.fields.iter().map(|(ty, name)| (*ty, name.as_str()))
    }

    /// How many public inputs a statement gives.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.fields.iter().map(|(ty, _)| ty.inputs()).sum()
    }

    /// The public inputs of an encoded statement: `abi.encode` of the fields, one word each.
    ///
    /// # Errors
    /// [`ErrorKind::BadInput`] if the length is another, or a word is no value of its field's type: upper bits that
    /// no encoder sets, or a number that is not below p.
    pub fn signals(&self, statement: &[u8]) -> Result<Signals, Error> {
        let wanted = self.fields.len() * WORD_BYTES;
        if statement.len() != wanted {
            let what = format!("a statement of {} bytes, and its {} fields have {wanted}", statement.len(), self.fields.len());
            return Err(Error::new(ErrorKind::BadInput, what));
        }
        let (words, _) = statement.as_chunks::<WORD_BYTES>();
        let mut signals = Signals::default();
        for ((ty, name), word) in self.fields.iter().zip(words) {
            let values = ty.read(word).ok_or_else(|| {
                Error::new(ErrorKind::BadInput, format!("field {name} of a statement is no {ty:?} below the field's modulus"))
            })?;
            signals.push(name, values)?;
        }
        Ok(signals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn word(low: &[u8]) -> [u8; 32] {
        let mut word = [0; 32];
        word[32 - low.len()..].copy_from_slice(low);
        word
    }

    fn one(ty: &str, word: [u8; 32]) -> Option<String> {
        let layout = Layout::parse(&[format!("{ty} x")]).unwrap();
        match layout.signals(&word) {
            Ok(signals) => Some(signals.values()[0].to_string()),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::BadInput);
                None
            }
        }
    }

    #[test]
    fn the_statement_of_the_cold_chain() {
        let fields = [
            "bytes32 project", "bytes32 device", "uint32 day", "uint8 n", "int32 lo", "int32 hi", "int32 a", "uint8 r",
            "uint256 commitment",
        ];
        let layout = Layout::parse(&fields).unwrap();
        assert_eq!(layout.inputs(), 11);
        assert_eq!(layout.fields().nth(2), Some((FieldType::Uint(32), "day")));
        let minus_two = [[0xff; 31].as_slice(), &[0xfe]].concat();
        let mut data = vec![0x11; 16];
        data.extend([0x22; 16]);
        data.extend([0x33; 32]);
        data.extend(word(&[0, 0, 0x39, 0x12]));
        data.extend(word(&[24]));
        data.extend(&minus_two);
        for low in [5, 1, 23, 99] {
            data.extend(word(&[low]));
        }
        let signals = layout.signals(&data).unwrap();
        let names: Vec<_> = signals.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["project", "device", "day", "n", "lo", "hi", "a", "r", "commitment"]);
        let found: Vec<_> = signals.values().iter().map(Scalar::to_string).collect();
        assert_eq!(found[0], 0x1111_1111_1111_1111_1111_1111_1111_1111_u128.to_string());
        assert_eq!(found[1], 0x2222_2222_2222_2222_2222_2222_2222_2222_u128.to_string());
        assert_eq!(found[4..6], ["14610", "24"]);
        assert_eq!(found[6], Scalar::from_i128(-2).to_string());
        assert_eq!(found[7..], ["5", "1", "23", "99"]);
        for wrong in [&data[1..], &[&data[..], &[0]].concat(), &data[..256], &[]] {
            assert_eq!(layout.signals(wrong).unwrap_err().kind(), ErrorKind::BadInput);
        }
    }

    #[test]
    fn words_that_no_encoder_writes_are_refused() {
        assert_eq!(one("uint8", word(&[255])).unwrap(), "255");
        assert_eq!(one("uint8", word(&[1, 0])), None);
        assert_eq!(one("uint32", word(&[1, 0, 0, 0, 0])), None);
        assert_eq!(one("bool", word(&[1])).unwrap(), "1");
        assert_eq!(one("bool", word(&[2])), None);
        assert!(one("address", word(&[0xff; 20])).is_some());
        assert_eq!(one("address", word(&[1; 21])), None);
        assert_eq!(one("uint256", Scalar::MODULUS), None);
        assert!(one("uint256", *Scalar::from_i128(-1).as_be_bytes()).is_some());
        assert!(one("bytes32", [0xff; 32]).is_some());
        // Signs: all the upper bits are the sign, or it is no number of that width.
        assert_eq!(one("int8", word(&[0x7f])).unwrap(), "127");
        assert_eq!(one("int8", word(&[0x80])), None);
        let mut negative = [0xff; 32];
        negative[31] = 0x80;
        assert_eq!(one("int8", negative), Some(Scalar::from_i128(-128).to_string()));
        negative[31] = 0x7f;
        assert_eq!(one("int8", negative), None);
        negative[0] = 0x7f;
        assert_eq!(one("int32", negative), None);
        assert_eq!(one("int8", [0xff; 32]), Some(Scalar::from_i128(-1).to_string()));
    }

    #[test]
    fn fields_that_are_none_are_refused() {
        for field in [
            "uint7 x", "uint0 x", "uint264 x", "int256 x", "uint x", "uint08 x", "uint+8 x", "string x", "bytes x", "bytes4 x",
            "uint8", "uint8 ", "uint8  x", "uint8 x y", " uint8 x", "uint8 1x", "Uint8 x", "",
        ] {
            assert_eq!(Layout::parse(&[field]).unwrap_err().kind(), ErrorKind::BadInput, "{field:?}");
        }
        assert!(Layout::parse(&["uint8 x", "int8 x"]).is_err());
        assert!(Layout::parse::<&str>(&[]).is_err());
        let many: Vec<_> = (0..=MAX_FIELDS).map(|i| format!("bool x{i}")).collect();
        assert!(Layout::parse(&many).is_err());
        assert!(Layout::parse(&many[1..]).is_ok());
    }

    proptest! {
        /// Two different statements never give the same public inputs.
        #[test]
        fn reading_loses_nothing(a in any::<[u8; 32]>(), b in any::<[u8; 32]>(), low in any::<i32>()) {
            for ty in ["bytes32", "uint256", "int248", "uint64", "address"] {
                let layout = Layout::parse(&[format!("{ty} x")]).unwrap();
                if let (Ok(x), Ok(y)) = (layout.signals(&a), layout.signals(&b)) {
                    prop_assert_eq!(x == y, a == b);
                }
            }
            let mut word = [if low < 0 { 0xff } else { 0 }; 32];
            word[28..].copy_from_slice(&low.to_be_bytes());
            prop_assert_eq!(one("int32", word), Some(Scalar::from_i128(low.into()).to_string()));
        }
    }
}
