//! From the JSON that an applet stored to a circuit's private inputs.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::{Error, ErrorKind, Scalar, Signals};

/// The longest private input, in bytes of JSON.
pub const MAX_PRIVATE_BYTES: usize = 1024 * 1024;

/// Reads the private inputs of a circuit: a JSON object of decimal strings and of arrays of them,
/// `{"salt":"81985529216486895","readings":["-1250","300"]}`. See [`Scalar::parse`] for the numbers.
///
/// # Errors
/// [`ErrorKind::BadInput`] for anything else, also a name that stands there twice; [`ErrorKind::TooLarge`] over
/// [`MAX_PRIVATE_BYTES`]. The error says where, and never which value.
pub fn private_signals(json: &[u8]) -> Result<Signals, Error> {
    if json.len() > MAX_PRIVATE_BYTES {
        let what = format!("private inputs of {} bytes, more than {MAX_PRIVATE_BYTES}", json.len());
        return Err(Error::new(ErrorKind::TooLarge, what));
    }
    let object: Object = serde_json::from_slice(json).map_err(|e| {
        // The parser's own message may repeat what it read.
        let place = format!("line {}, column {}", e.line(), e.column());
        let what = format!(
            "private inputs must be a JSON object of decimal strings and arrays of them, each name once: {place} is not"
        );
        Error::new(ErrorKind::BadInput, what)
    })?;
    let mut signals = Signals::default();
    for (name, Values(texts)) in &object.0 {
        let read: Result<Vec<Scalar>, Error> = texts.iter().map(|text| Scalar::parse(text)).collect();
        let values = read.map_err(|e| Error::new(e.kind(), format!("private input {name}")).with_source(e))?;
        signals.push(name, values)?;
    }
    Ok(signals)
}

/// An object whose names keep their order and may repeat: [`Signals::push`] refuses that.
struct Object(Vec<(String, Values)>);

/// A string, or the strings of an array.
struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Values, E> {
                Ok(Values(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Values(texts))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(json: &str) -> String {
        let error = private_signals(json.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput, "{json}");
        error.to_string()
    }

    #[test]
    fn objects_of_decimals_are_read() {
        let signals = private_signals(br#" {"salt":"7", "readings":["-1250","0", "3"]} "#).unwrap();
        assert_eq!(signals.get("salt"), Some(&[Scalar::from_u128(7)][..]));
        assert_eq!(signals.get("readings").unwrap()[0], Scalar::from_i128(-1250));
        assert_eq!(signals.len(), 4);
        assert!(private_signals(b"{}").unwrap().is_empty());
    }

    #[test]
    fn anything_else_is_refused() {
        for json in [
            "", "[]", "null", r#"{"a":1}"#, r#"{"a":null}"#, r#"{"a":{"b":"1"}}"#, r#"{"a":[["1"]]}"#, r#"{"a":[1]}"#,
            r#"{"a":"1"}x"#, r#"{"a":"1","a":"1"}"#, r#"{"a":["1"],"a":["2"]}"#, r#"{"a":[]}"#, r#"{"a b":"1"}"#,
            r#"{"":"1"}"#, r#"{"a":"01"}"#, r#"{"a":"0x1"}"#, r#"{"a":""}"#, r#"{"a":" 1"}"#, r#"{"a":"1"#,
        ] {
            refused(json);
        }
        let modulus = "21888242871839275222246405745257275088548364400416034343698204186575808495617";
        refused(&format!(r#"{{"a":"{modulus}"}}"#));
    }

    #[test]
    fn errors_do_not_tell_what_is_private() {
        for json in [r#"{"a":"secret"}"#, r#"{"a":["1","secret"]}"#, r#"{"a":"1" secret}"#, r#"secret"#] {
            let text = refused(json);
            assert!(!text.contains("secret"), "{text}");
        }
        assert!(refused(r#"{"salt":"secret"}"#).contains("salt"));
        assert!(refused("{\n  1}").contains("line 2"));
    }

    #[test]
    fn the_length_has_a_limit() {
        let text = |length: usize| format!("{}{}", r#"{"a":"1"}"#, " ".repeat(length - 9));
        assert!(private_signals(text(MAX_PRIVATE_BYTES).as_bytes()).is_ok());
        let error = private_signals(text(MAX_PRIVATE_BYTES + 1).as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = private_signals(&bytes);
        }
    }
}
