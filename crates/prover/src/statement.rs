//! From an attested statement to a circuit's public inputs.

use w3bstream_types::{Field, FieldKind};

use crate::{Error, ErrorKind, Scalar, Signals};

/// Bytes of one encoded field.
const WORD_BYTES: usize = 32;

/// The public inputs of an encoded statement (`abi.encode` of its fields, one word each), in the fields' order and
/// under their names:
///
/// | Field | Public inputs |
/// | --- | --- |
/// | `bytes32` | two, the high and the low 128 bits |
/// | `uintN`, `bool`, `address` | one, which must be below p |
/// | `intN` | one; −x is p − x, and x must be at most (p − 1)/2, so that no positive number is the same |
///
/// # Errors
/// [`ErrorKind::BadInput`] if the length is another, or a word is no value of its field's type: upper bits that no
/// encoder sets, or a number beyond those bounds.
pub fn public_signals(fields: &[Field], statement: &[u8]) -> Result<Signals, Error> {
    let wanted = fields.len() * WORD_BYTES;
    if statement.len() != wanted {
        let what = format!("a statement of {} bytes, and its {} fields have {wanted}", statement.len(), fields.len());
        return Err(Error::new(ErrorKind::BadInput, what));
    }
    let (words, _) = statement.as_chunks::<WORD_BYTES>();
    let mut signals = Signals::default();
    for (field, word) in fields.iter().zip(words) {
        let values = read(field.kind, word).ok_or_else(|| {
            Error::new(ErrorKind::BadInput, format!("{field} of a statement is no such value, or beyond the field's modulus"))
        })?;
        signals.push(&field.name, values)?;
    }
    Ok(signals)
}

/// How many public inputs these fields give.
#[must_use]
pub fn public_inputs(fields: &[Field]) -> usize {
    fields.iter().map(|field| if field.kind == FieldKind::Bytes32 { 2 } else { 1 }).sum()
}

fn read(kind: FieldKind, word: &[u8; WORD_BYTES]) -> Option<Vec<Scalar>> {
    if !kind.allows(word) {
        return None;
    }
    let one = match kind {
        FieldKind::Bytes32 => return Some(halves(word)),
        FieldKind::Int(_) => signed(word)?,
        FieldKind::Uint(_) | FieldKind::Address | FieldKind::Bool => Scalar::from_be_bytes(*word)?,
    };
    Some(vec![one])
}

fn halves(word: &[u8; WORD_BYTES]) -> Vec<Scalar> {
    let half = |bytes: &[u8]| Scalar::from_u128(bytes.iter().fold(0, |n, byte| n << 8 | u128::from(*byte)));
    let (high, low) = word.split_at(WORD_BYTES / 2);
    vec![half(high), half(low)]
}

/// A number in two's complement.
fn signed(word: &[u8; WORD_BYTES]) -> Option<Scalar> {
    let negative = word.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut size = *word;
    if negative {
        // All bits turned over, and one more.
        size = word.map(|byte| !byte);
        for byte in size.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }
    let size = Scalar::from_be_bytes(size).filter(|size| *size == Scalar::ZERO || *size < size.negated())?;
    Some(if negative { size.negated() } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(list: &[&str]) -> Vec<Field> {
        list.iter().map(|field| field.parse().unwrap()).collect()
    }

    fn word(low: &[u8]) -> [u8; 32] {
        let mut word = [0; 32];
        word[32 - low.len()..].copy_from_slice(low);
        word
    }

    fn one(kind: &str, word: [u8; 32]) -> Option<String> {
        match public_signals(&fields(&[&format!("{kind} x")]), &word) {
            Ok(signals) => Some(signals.values()[0].to_string()),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::BadInput);
                None
            }
        }
    }

    #[test]
    fn the_statement_of_the_cold_chain() {
        let fields = fields(&[
            "bytes32 project", "bytes32 device", "uint32 day", "uint8 n", "int32 lo", "int32 hi", "int32 a", "uint8 r",
            "uint256 commitment",
        ]);
        assert_eq!(public_inputs(&fields), 11);
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
        let signals = public_signals(&fields, &data).unwrap();
        let names: Vec<_> = signals.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["project", "device", "day", "n", "lo", "hi", "a", "r", "commitment"]);
        let found: Vec<_> = signals.values().iter().map(Scalar::to_string).collect();
        assert_eq!(found.len(), 11);
        assert_eq!(found[0], 0x1111_1111_1111_1111_1111_1111_1111_1111_u128.to_string());
        assert_eq!(found[1], 0x2222_2222_2222_2222_2222_2222_2222_2222_u128.to_string());
        assert_eq!(found[4..6], ["14610", "24"]);
        assert_eq!(found[6], Scalar::from_i128(-2).to_string());
        assert_eq!(found[7..], ["5", "1", "23", "99"]);
        for wrong in [&data[1..], &[&data[..], &[0]].concat(), &data[..256], &[]] {
            assert_eq!(public_signals(&fields, wrong).unwrap_err().kind(), ErrorKind::BadInput);
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
        assert!(one("bytes32", [0xff; 32]).is_some());
        assert_eq!(one("int8", word(&[0x80])), None);
        let mut negative = [0xff; 32];
        negative[31] = 0x80;
        assert_eq!(one("int8", negative), Some(Scalar::from_i128(-128).to_string()));
        negative[31] = 0x7f;
        assert_eq!(one("int8", negative), None);
    }

    #[test]
    fn numbers_that_would_be_another_one_modulo_p_are_refused() {
        let last = *Scalar::from_i128(-1).as_be_bytes();
        assert_eq!(one("uint256", Scalar::MODULUS), None);
        assert_eq!(one("uint256", [0xff; 32]), None);
        assert_eq!(one("uint256", last), Some(Scalar::from_i128(-1).to_string()));
        // As a signed number p − 1 would be the same as −1.
        assert_eq!(one("int256", last), None);
        assert_eq!(one("int256", [0xff; 32]), Some(Scalar::from_i128(-1).to_string()));
        assert_eq!(one("int256", word(&[7])), Some("7".to_owned()));
        let mut least = [0; 32];
        least[0] = 0x80;
        assert_eq!(one("int256", least), None);
        // (p − 1)/2 is the last that may be positive.
        let half = "10944121435919637611123202872628637544274182200208017171849102093287904247808";
        let half = *Scalar::parse(half).unwrap().as_be_bytes();
        assert!(one("int256", half).is_some());
        let mut more = half;
        more[31] += 1;
        assert_eq!(one("int256", more), None);
    }

    proptest! {
        /// Two different statements never give the same public inputs.
        #[test]
        fn reading_loses_nothing(a in any::<[u8; 32]>(), b in any::<[u8; 32]>(), low in any::<i32>()) {
            for kind in ["bytes32", "uint256", "int256", "int248", "uint64", "address"] {
                let fields = fields(&[&format!("{kind} x")]);
                if let (Ok(x), Ok(y)) = (public_signals(&fields, &a), public_signals(&fields, &b)) {
                    prop_assert_eq!(x == y, a == b);
                }
            }
            let mut word = [if low < 0 { 0xff } else { 0 }; 32];
            word[28..].copy_from_slice(&low.to_be_bytes());
            prop_assert_eq!(one("int32", word), Some(Scalar::from_i128(low.into()).to_string()));
        }
    }
}
