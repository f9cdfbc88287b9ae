//! From a statement and what the guest kept to the signals of a circuit.

use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use w3bstream_types::{FieldKind, Malformed, Settlement};

use crate::{Error, ErrorKind, FieldElement, MAX_SIGNALS, MAX_VALUES, Signals};

/// The longest JSON text of private inputs, in bytes.
pub const MAX_PRIVATE_BYTES: usize = 1 << 20;

/// The public numbers of a statement, in the order of its fields, and the same as signals by the fields' names.
///
/// A `bytes32` makes two numbers, the high and the low 128 bits; a negative integer −x makes r − x; every other value is
/// the number that its word is.
///
/// # Errors
/// [`ErrorKind::Signals`] if a word is no value of its field's type, or is a number that the field of the proof system
/// cannot hold: a `uint256` from r on, an `int256` whose magnitude is r or more.
pub fn public_signals(
    settlement: &Settlement,
    statement: &[u8],
) -> Result<(Vec<FieldElement>, Signals), Error> {
    let words = settlement.words(statement).map_err(wrong("the statement makes no public signals"))?;
    let mut public = Vec::with_capacity(words.len() + 4);
    let mut inputs = Signals::with_capacity(words.len());
    for (field, word) in settlement.fields.iter().zip(words) {
        let values = numbers(field.kind, word).map_err(wrong(&format!("field {field}")))?;
        public.extend_from_slice(&values);
        inputs.push((field.name.to_string(), values));
    }
    Ok((public, inputs))
}

/// The public numbers of a statement, and all signals: those of [`public_signals`] and the private ones.
///
/// `private` is a JSON object by signal name. A value is a decimal text, optionally with a minus, or an array of those.
///
/// # Errors
/// [`ErrorKind::Signals`] as [`public_signals`], or if `private` is longer than [`MAX_PRIVATE_BYTES`], is no such object,
/// names a signal twice, or names one of the statement's fields. No value is repeated in the error.
pub fn signals(
    settlement: &Settlement,
    statement: &[u8],
    private: &[u8],
) -> Result<(Vec<FieldElement>, Signals), Error> {
    let (public, mut inputs) = public_signals(settlement, statement)?;
    if private.len() > MAX_PRIVATE_BYTES {
        let why = format!("the private input has {} bytes; the most are {MAX_PRIVATE_BYTES}", private.len());
        return Err(Error::new(ErrorKind::Signals, why));
    }
    let private: Private = serde_json::from_slice(private).map_err(|e| unread(&e))?;
    if let Some((name, _)) = private.0.iter().find(|(name, _)| inputs.iter().any(|(n, _)| n == name)) {
        let why = format!("the private input sets {name:?}, which is a field of the statement");
        return Err(Error::new(ErrorKind::Signals, why));
    }
    inputs.extend(private.0);
    Ok((public, inputs))
}

fn wrong(what: &str) -> impl FnOnce(Malformed) -> Error + '_ {
    move |e| Error::new(ErrorKind::Signals, what).with_source(e)
}

/// Says where and in what way the JSON is wrong. serde_json's own text would quote values, which are private.
fn unread(e: &serde_json::Error) -> Error {
    let why = match e.classify() {
        serde_json::error::Category::Data => {
            "must be an object of distinct signal names, with decimal texts or arrays of them as values"
        }
        _ => "is no JSON",
    };
    let place = format!("the private input {why} (line {}, column {})", e.line(), e.column());
    Error::new(ErrorKind::Signals, place)
}

fn numbers(kind: FieldKind, word: &[u8; 32]) -> Result<Vec<FieldElement>, Malformed> {
    let negative = matches!(kind, FieldKind::Int(_)) && word.first().is_some_and(|b| b & 0x80 != 0);
    match kind {
        FieldKind::Bytes32 => {
            let (halves, _) = word.as_chunks::<16>();
            Ok(halves.iter().map(|half| FieldElement::from(u128::from_be_bytes(*half))).collect())
        }
        _ if negative => Ok(vec![FieldElement::from_be_bytes(magnitude(word))?.negated()]),
        _ => Ok(vec![FieldElement::from_be_bytes(*word)?]),
    }
}

/// 2^256 − word: inverts all bits and adds one.
fn magnitude(word: &[u8; 32]) -> [u8; 32] {
    let mut bytes = word.map(|b| !b);
    for byte in bytes.iter_mut().rev() {
        let (sum, overflow) = byte.overflowing_add(1);
        *byte = sum;
        if !overflow {
            break;
        }
    }
    bytes
}

/// The private inputs' JSON.
struct Private(Signals);

impl<'de> Deserialize<'de> for Private {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Private;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of signals")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Private, A::Error> {
                let mut signals = Signals::new();
                while let Some(name) = map.next_key::<String>()? {
                    if signals.len() == MAX_SIGNALS || signals.iter().any(|(n, _)| *n == name) {
                        return Err(A::Error::custom("too many signals, or one twice"));
                    }
                    let Values(values) = map.next_value()?;
                    signals.push((name, values));
                }
                Ok(Private(signals))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A decimal text or an array of them.
struct Values(Vec<FieldElement>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;

        impl<'de> Visitor<'de> for One {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal text or an array of them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Values, E> {
                FieldElement::from_decimal(text).map(|value| Values(vec![value])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Values, A::Error> {
                let mut values = Vec::new();
                while let Some(Decimal(value)) = seq.next_element()? {
                    if values.len() == MAX_VALUES {
                        return Err(A::Error::custom("too many values"));
                    }
                    values.push(value);
                }
                Ok(Values(values))
            }
        }

        deserializer.deserialize_any(One)
    }
}

struct Decimal(FieldElement);

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Decimal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decimal, E> {
                FieldElement::from_decimal(text).map(Decimal).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests;
