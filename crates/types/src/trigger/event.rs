//! Words and events of a chain, as people write them.

use std::fmt;
use std::str::FromStr;

use super::MAX_TEXT_BYTES;
use crate::text::text_serde;
use crate::{Malformed, keccak256};

/// How many tuples of an event's arguments may be in each other.
const MAX_TUPLES: u32 = 16;

/// An event's signature as Solidity hashes it: `Transfer(address,address,uint256)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventSignature(Box<str>);

impl EventSignature {
    /// The first topic of such events: the Keccak-256 of the text.
    #[must_use]
    pub fn topic(&self) -> [u8; 32] {
        keccak256(self.0.as_bytes())
    }
}

impl fmt::Display for EventSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EventSignature {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        let bad = |why: String| {
            Malformed::new(
                "event",
                format!("{why}; write it as in Transfer(address,address,uint256), without blanks and names"),
            )
        };
        if s.len() > MAX_TEXT_BYTES {
            return Err(bad(format!("has {} bytes, {MAX_TEXT_BYTES} is the most", s.len())));
        }
        let (name, types) = s.split_once('(').ok_or_else(|| bad(format!("{s:?} has no arguments")))?;
        let types = types.strip_suffix(')').ok_or_else(|| bad(format!("{s:?} does not end with ')'")))?;
        let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !word(name) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(bad(format!("{name:?} is no name")));
        }
        check_types(types).map_err(bad)?;
        Ok(Self(s.into()))
    }
}

text_serde!(EventSignature);

/// Arguments' types, tuples included, in the form that is hashed (Solidity ABI specification).
fn check_types(types: &str) -> Result<(), String> {
    let mut rest = types;
    if !types.is_empty() {
        take_list(&mut rest, MAX_TUPLES)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("{rest:?} is too much")) }
}

/// Takes types with commas between them, up to the end or a closing bracket.
fn take_list(rest: &mut &str, tuples: u32) -> Result<(), String> {
    loop {
        take_type(rest, tuples)?;
        match rest.strip_prefix(',') {
            Some(after) => *rest = after,
            None => return Ok(()),
        }
    }
}

fn take_type(rest: &mut &str, tuples: u32) -> Result<(), String> {
    if let Some(inside) = rest.strip_prefix('(') {
        let deeper =
            tuples.checked_sub(1).ok_or_else(|| format!("more than {MAX_TUPLES} tuples in each other"))?;
        *rest = inside;
        take_list(rest, deeper)?;
        *rest = rest.strip_prefix(')').ok_or("a tuple has no ')'")?;
    } else {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (base, after) = rest.split_at(end);
        if !known_type(base) {
            let full = if matches!(base, "uint" | "int") { " (uint is written uint256)" } else { "" };
            return Err(format!("{base:?} is no type{full}"));
        }
        *rest = after;
    }
    while let Some(inside) = rest.strip_prefix('[') {
        let (count, after) = inside.split_once(']').ok_or("an array has no ']'")?;
        if !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("{count:?} is no number of elements"));
        }
        *rest = after;
    }
    Ok(())
}

fn known_type(base: &str) -> bool {
    let sized = |prefix: &str, fits: fn(u32) -> bool| {
        base.strip_prefix(prefix)
            .filter(|d| !d.starts_with(['0', '+']))
            .and_then(|d| d.parse().ok())
            .is_some_and(fits)
    };
    let bits = |n: u32| (8..=256).contains(&n) && n.is_multiple_of(8);
    matches!(base, "address" | "bool" | "string" | "bytes" | "function")
        || sized("uint", bits)
        || sized("int", bits)
        || sized("bytes", |n| (1..=32).contains(&n))
}

/// 32 bytes of a chain, written as `0x` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Word(pub [u8; 32]);

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Word {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        let bad = || Malformed::new("word", format!("{s:?} must be 0x and 64 lower-case hex digits"));
        let digits = s.strip_prefix("0x").ok_or_else(bad)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| bad())?;
        let word = Self(bytes);
        if word.to_string() == s { Ok(word) } else { Err(bad()) }
    }
}

text_serde!(Word);

/// What an indexed argument must be; empty for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Topic(pub Option<Word>);

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |word| word.fmt(f))
    }
}

impl FromStr for Topic {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        if s.is_empty() { Ok(Self(None)) } else { s.parse().map(|word| Self(Some(word))) }
    }
}

text_serde!(Topic);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_signature_is_what_is_hashed() {
        let known: EventSignature = "Transfer(address,address,uint256)".parse().unwrap();
        // The topic of every ERC-20 transfer.
        assert_eq!(
            Word(known.topic()).to_string(),
            "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
        );
        for good in ["Done()", "A(bytes32[],uint8[4][])", "B((address,uint256)[],bool)", "C((uint8))"] {
            assert!(good.parse::<EventSignature>().is_ok(), "{good}");
        }
        for bad in [
            "Transfer",
            "Transfer(address",
            "(address)",
            "1T()",
            "T(address to)",
            "T(uint)",
            "T(uint7)",
            "T(bytes33)",
            "T(uint256,)x",
            "T(address[)",
            "T((address)",
            "T(address))",
            "T(strin)",
            "T(uint256,)",
            "T(,)",
            "T([])",
            "T(add(ress))",
            "T(uint25(6))",
            "T(())",
            "T(address[x])",
        ] {
            assert!(bad.parse::<EventSignature>().is_err(), "{bad}");
        }
        let error = "T(uint)".parse::<EventSignature>().unwrap_err().to_string();
        assert!(error.contains("uint256"), "{error}");
    }
}
