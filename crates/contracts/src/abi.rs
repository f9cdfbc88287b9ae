//! Solidity's contract ABI (its specification, §"Formal Specification of the Encoding"), as far as these contracts use it.

use w3bstream_types::{Address, Digest, Malformed, keccak256};

/// A value to encode.
#[derive(Clone, Debug)]
pub(crate) enum Token {
    /// `bytes32`, or any number or address in its word.
    Word([u8; 32]),
    /// `bytes`.
    Bytes(Vec<u8>),
    /// `T[]`.
    List(Vec<Self>),
    /// A struct.
    Tuple(Vec<Self>),
}

impl Token {
    pub(crate) fn uint(v: u64) -> Self {
        Self::Word(word(v))
    }

    pub(crate) fn address(a: &Address) -> Self {
        Self::Word(address_word(a))
    }

    pub(crate) fn digest(d: &Digest) -> Self {
        Self::Word(*d.as_bytes())
    }

    fn is_dynamic(&self) -> bool {
        match self {
            Self::Word(_) => false,
            Self::Bytes(_) | Self::List(_) => true,
            Self::Tuple(parts) => parts.iter().any(Self::is_dynamic),
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Word(word) => word.to_vec(),
            Self::Bytes(bytes) => {
                let mut out = word(bytes.len() as u64).to_vec();
                out.extend_from_slice(bytes);
                out.resize(out.len().next_multiple_of(32), 0);
                out
            }
            Self::List(items) => {
                let mut out = word(items.len() as u64).to_vec();
                out.extend(encode(items));
                out
            }
            Self::Tuple(parts) => encode(parts),
        }
    }
}

/// `abi.encode(…)` of these values.
pub(crate) fn encode(tokens: &[Token]) -> Vec<u8> {
    let parts: Vec<_> = tokens.iter().map(|t| (t.is_dynamic(), t.encode())).collect();
    let mut tail_at: usize = parts.iter().map(|(dynamic, body)| if *dynamic { 32 } else { body.len() }).sum();
    let (mut out, mut tails) = (Vec::new(), Vec::new());
    for (dynamic, body) in parts {
        if dynamic {
            out.extend_from_slice(&word(tail_at as u64));
            tail_at += body.len();
            tails.extend(body);
        } else {
            out.extend(body);
        }
    }
    out.extend(tails);
    out
}

/// The first four bytes of a call of the function with this signature, such as `executed(bytes32)`, or of an error.
#[must_use]
pub fn function_selector(signature: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = keccak256(signature.as_bytes());
    [a, b, c, d]
}

/// The selector that call or revert data starts with, if it is as long.
#[must_use]
pub fn selector_of(data: &[u8]) -> Option<[u8; 4]> {
    data.first_chunk().copied()
}

/// Call data.
pub(crate) fn call(signature: &str, arguments: &[Token]) -> Vec<u8> {
    let mut out = function_selector(signature).to_vec();
    out.extend(encode(arguments));
    out
}

pub(crate) fn word(v: u64) -> [u8; 32] {
    let mut out = [0; 32];
    out[24..].copy_from_slice(&v.to_be_bytes());
    out
}

pub(crate) fn address_word(a: &Address) -> [u8; 32] {
    let mut out = [0; 32];
    out[12..].copy_from_slice(a.as_bytes());
    out
}

/// Reads static words one after the other.
pub(crate) struct Words<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    pub(crate) const fn new(what: &'static str, data: &'a [u8]) -> Self {
        Self { what, rest: data }
    }

    fn bad(&self, why: &'static str) -> Malformed {
        Malformed::new(self.what, why)
    }

    pub(crate) fn word(&mut self) -> Result<[u8; 32], Malformed> {
        let (word, rest) = self.rest.split_first_chunk::<32>().ok_or_else(|| self.bad("is cut off"))?;
        self.rest = rest;
        Ok(*word)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        let word = self.word()?;
        let (high, low) = word.split_last_chunk::<8>().ok_or_else(|| self.bad("is cut off"))?;
        if high.iter().any(|b| *b != 0) {
            return Err(self.bad("has a number that is too large"));
        }
        Ok(u64::from_be_bytes(*low))
    }

    /// A number of a narrower type.
    pub(crate) fn uint<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        let v = self.u64()?;
        v.try_into().map_err(|_| self.bad("has a number that is too large"))
    }

    /// A signed number in two's complement.
    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        let word = self.word()?;
        let (high, low) = word.split_last_chunk::<4>().ok_or_else(|| self.bad("is cut off"))?;
        let v = i32::from_be_bytes(*low);
        let sign = if v < 0 { 0xff } else { 0 };
        if high.iter().any(|b| *b != sign) {
            return Err(self.bad("has a number that is no int32"));
        }
        Ok(v)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u64()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad("has a bool that is neither 0 nor 1")),
        }
    }

    /// Says that nothing may follow.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.bad("has more words than it should")) }
    }
}

pub(crate) fn address_of(word: &[u8; 32]) -> Option<Address> {
    let (high, low) = word.split_first_chunk::<12>()?;
    let low: [u8; 20] = low.try_into().ok()?;
    high.iter().all(|b| *b == 0).then(|| Address::from_bytes(low))
}

/// The `bytes` whose offset stands in the argument list's word number `place`.
pub(crate) fn bytes_at(arguments: &[u8], place: usize) -> Option<&[u8]> {
    let small = |at: usize| -> Option<usize> {
        let word = arguments.get(at..)?.first_chunk::<32>()?;
        let (high, low) = word.split_last_chunk::<8>()?;
        high.iter().all(|b| *b == 0).then(|| usize::try_from(u64::from_be_bytes(*low)).ok())?
    };
    let at = small(place.checked_mul(32)?)?;
    let len = small(at)?;
    let start = at.checked_add(32)?;
    arguments.get(start..start.checked_add(len)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex_words(bytes: &[u8]) -> Vec<String> {
        bytes.chunks(32).map(|w| hex::encode(w).trim_start_matches('0').to_owned()).collect()
    }

    #[test]
    fn matches_the_specifications_examples() {
        // sam(bytes,bool,uint256[]) with "dave", true and [1, 2, 3].
        let numbers = Token::List(vec![Token::uint(1), Token::uint(2), Token::uint(3)]);
        let data =
            call("sam(bytes,bool,uint256[])", &[Token::Bytes(b"dave".to_vec()), Token::uint(1), numbers]);
        assert_eq!(hex::encode(&data[..4]), "a5643bf2");
        let dave = format!("{}{}", hex::encode("dave"), "0".repeat(56));
        assert_eq!(hex_words(&data[4..]), ["60", "1", "a0", "4", &dave, "3", "1", "2", "3"]);
        // g(uint256[][],string[]) with [[1, 2], [3]] and ["one", "two", "three"].
        let list = |v: &[u64]| Token::List(v.iter().map(|n| Token::uint(*n)).collect());
        let texts = ["one", "two", "three"].map(|t| Token::Bytes(t.into()));
        let data = call(
            "g(uint256[][],string[])",
            &[Token::List(vec![list(&[1, 2]), list(&[3])]), Token::List(texts.to_vec())],
        );
        assert_eq!(hex::encode(&data[..4]), "2289b18c");
        let words = hex_words(&data[4..]);
        assert_eq!(words[..11], ["40", "140", "2", "40", "a0", "2", "1", "2", "1", "3", "3"]);
        assert_eq!(words[11..15], ["60", "a0", "e0", "3"]);
    }

    #[test]
    fn a_struct_with_a_dynamic_part_is_dynamic() {
        let inner = Token::Tuple(vec![Token::uint(7), Token::Bytes(vec![1])]);
        let one = format!("1{}", "0".repeat(62));
        assert_eq!(hex_words(&encode(&[inner, Token::uint(9)])), ["40", "9", "7", "40", "1", &one]);
        let fixed = Token::Tuple(vec![Token::uint(7), Token::uint(8)]);
        assert_eq!(hex_words(&encode(&[fixed, Token::uint(9)])), ["7", "8", "9"]);
    }

    #[test]
    fn words_that_are_no_values_are_refused() {
        let reads = |bytes: &[u8]| Words::new("x", bytes).i32();
        assert_eq!(reads(&[0xff; 32]).unwrap(), -1);
        let mut wide = [0; 32];
        wide[28] = 0x80;
        assert!(reads(&wide).is_err(), "2^31 is no int32");
        wide[..28].fill(0xff);
        assert_eq!(reads(&wide).unwrap(), i32::MIN);
        assert!(reads(&[0; 31]).is_err());
        assert!(Words::new("x", &[1; 32]).u64().is_err());
        assert!(Words::new("x", &word(2)).bool().is_err());
        assert!(Words::new("x", &word(256)).uint::<u8>().is_err());
        assert_eq!(address_of(&[1; 32]), None);
        assert!(Words::new("x", &word(2)).end().is_err());
    }

    #[test]
    fn offsets_that_lead_nowhere_give_nothing() {
        let good = encode(&[Token::uint(1), Token::Bytes(b"reason".to_vec())]);
        assert_eq!(bytes_at(&good, 1), Some(&b"reason"[..]));
        for at in [32 + 24, 64 + 24] {
            let mut bad = good.clone();
            bad[at..at + 8].fill(0xff);
            assert_eq!(bytes_at(&bad, 1), None);
        }
        assert_eq!(bytes_at(&good, 9), None);
        assert_eq!(bytes_at(&[], 0), None);
        assert_eq!(bytes_at(&good, usize::MAX), None);
    }
}
