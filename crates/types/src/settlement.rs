//! Settlements: what a project's guests may ask a contract to act on, and how it is proven.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::SettlementName;
use crate::text::text_serde;
use crate::{Address, Canonical, Decoder, Digest, Encoder, Malformed};

/// The most settlements in a project.
pub const MAX_SETTLEMENTS: usize = 16;
/// The most fields of a statement.
pub const MAX_STATEMENT_FIELDS: usize = 32;
/// The longest time that a statement waits for its batch, in milliseconds: a week.
const MAX_BATCH_DELAY_MS: u64 = 7 * 24 * 3_600_000;
/// The longest template of [`ProofRule::private`], in bytes.
const MAX_TEMPLATE_BYTES: usize = 512;

/// A kind of statement that guests may settle: for which contract, with which fields, proven how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settlement {
    /// Its name, unique in the project: guests ask for it by this.
    pub name: SettlementName,
    /// The chain, by its EIP-155 id.
    pub chain_id: u64,
    /// The Executor contract, which checks the attestation and takes each output once.
    pub executor: Address,
    /// The contract that acts on the statement.
    pub contract: Address,
    /// The statement's fields, in the order of their ABI words.
    pub fields: Vec<Field>,
    /// How a statement is proven; without it the quorum's attestation is all that the contract gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofRule>,
}

/// How a statement is proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProofRule {
    /// The proof system, such as `groth16-bn254`.
    pub system: String,
    /// SHA-256 of the program that computes the witness.
    pub witness: Digest,
    /// SHA-256 of the proving key.
    pub key: Digest,
    /// The key under which the guest stored the private inputs, a JSON object by signal names. `{field}` stands for
    /// the hex of that field's word.
    pub private: String,
    /// For how many statements a proof waits; without it, for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchRule>,
}

/// When statements are proven together: as soon as so many wait, or the first of them has waited so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BatchRule {
    /// How many statements make a batch.
    pub count: u32,
    /// How long the first one waits for the others, in milliseconds.
    pub max_delay_ms: u64,
}

impl Canonical for BatchRule {
    const DOMAIN: &'static str = "w3b/batch-rule";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 2;

    fn encode_fields(&self, e: &mut Encoder) {
        e.u64(self.count.into()).u64(self.max_delay_ms);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { count: d.u32()?, max_delay_ms: d.u64()? })
    }
}

/// One field of a statement, written as in Solidity: `uint32 day`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Field {
    /// Its type.
    pub kind: FieldKind,
    /// Its name, `[a-z][A-Za-z0-9_]*`.
    pub name: Box<str>,
}

/// The type of a field: those of Solidity that take one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// `bytes32`.
    Bytes32,
    /// `address`.
    Address,
    /// `bool`.
    Bool,
    /// `uint8` to `uint256`, by its bits.
    Uint(u16),
    /// `int8` to `int256`, by its bits.
    Int(u16),
}

impl FieldKind {
    /// Whether a word is the one encoding of a value of this type (Solidity ABI specification, strict mode).
    #[must_use]
    pub fn allows(self, word: &[u8; 32]) -> bool {
        let (bits, filler) = match self {
            Self::Bytes32 => return true,
            Self::Address => (160, 0),
            Self::Bool => (1, 0),
            Self::Uint(bits) => (bits, 0),
            Self::Int(bits) => {
                // The sign is the highest bit of the value, wherever the value begins.
                let first = 32 - usize::from(bits / 8);
                let negative = word.get(first).is_some_and(|b| b & 0x80 != 0);
                (bits, if negative { 0xff } else { 0 })
            }
        };
        let bytes = usize::from(bits.div_ceil(8));
        let (above, value) = word.split_at(32 - bytes);
        let fits = above.iter().all(|b| *b == filler);
        fits && (bits % 8 == 0 || value.first().is_some_and(|b| b >> (bits % 8) == 0))
    }
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes32 => f.write_str("bytes32"),
            Self::Address => f.write_str("address"),
            Self::Bool => f.write_str("bool"),
            Self::Uint(bits) => write!(f, "uint{bits}"),
            Self::Int(bits) => write!(f, "int{bits}"),
        }
    }
}

impl FromStr for FieldKind {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        let bits = |digits: &str| {
            let bits: u16 = digits.parse().ok()?;
            ((8..=256).contains(&bits) && bits.is_multiple_of(8) && !digits.starts_with(['0', '+']))
                .then_some(bits)
        };
        let known = match s {
            "bytes32" => Some(Self::Bytes32),
            "address" => Some(Self::Address),
            "bool" => Some(Self::Bool),
            _ => match (s.strip_prefix("uint"), s.strip_prefix("int")) {
                (Some(digits), _) => bits(digits).map(Self::Uint),
                (_, Some(digits)) => bits(digits).map(Self::Int),
                _ => None,
            },
        };
        known.ok_or_else(|| {
            let why = format!(
                "has type {s:?}; it must be bytes32, address, bool, uint8 to uint256 or int8 to int256"
            );
            Malformed::new("field", why)
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Field {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        let (kind, name) = s.split_once(' ').ok_or_else(|| {
            Malformed::new("field", format!("must be a type and a name, such as \"uint32 day\", is {s:?}"))
        })?;
        let kind = kind.parse()?;
        let known = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let starts = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if !starts || name.len() > 63 || !name.bytes().all(known) {
            return Err(Malformed::new(
                "field",
                format!("has the name {name:?}; it must be [a-z][A-Za-z0-9_]*"),
            ));
        }
        Ok(Self { kind, name: name.into() })
    }
}

text_serde!(Field);

impl Settlement {
    /// An output's target: the executor's address, then the contract's.
    #[must_use]
    pub fn target(&self) -> Vec<u8> {
        [&self.executor.as_bytes()[..], self.contract.as_bytes()].concat()
    }

    /// The words of a statement.
    ///
    /// # Errors
    /// [`Malformed`] naming the field whose word is no value of its type, or that the length is wrong.
    pub fn words<'a>(&self, statement: &'a [u8]) -> Result<Vec<&'a [u8; 32]>, Malformed> {
        let (words, rest) = statement.as_chunks::<32>();
        if words.len() != self.fields.len() || !rest.is_empty() {
            let (has, must) = (statement.len(), self.fields.len() * 32);
            return Err(Malformed::new(
                "statement",
                format!("of {} has {has} bytes instead of {must}", self.name),
            ));
        }
        for (field, word) in self.fields.iter().zip(words) {
            if !field.kind.allows(word) {
                return Err(Malformed::new(
                    "statement",
                    format!("of {}: {field} is out of its range", self.name),
                ));
            }
        }
        Ok(words.iter().collect())
    }

    /// The key under which the guest keeps the private inputs of a statement.
    ///
    /// # Errors
    /// [`Malformed`] if the statement is, or if this kind of statement is not proven.
    pub fn private_key(&self, statement: &[u8]) -> Result<String, Malformed> {
        let words = self.words(statement)?;
        let rule = self.proof.as_ref();
        let rule = rule.ok_or_else(|| Malformed::new("settlement", format!("{} has no proof", self.name)))?;
        let mut key = rule.private.clone();
        for (field, word) in self.fields.iter().zip(words) {
            key = key.replace(&format!("{{{}}}", field.name), &hex::encode(word));
        }
        Ok(key)
    }

    /// Checks what the types do not: names of fields, the template.
    ///
    /// # Errors
    /// [`Malformed`] naming the settlement and what is wrong.
    pub fn check(&self) -> Result<(), Malformed> {
        let bad = |why: String| Err(Malformed::new("settlement", format!("{}: {why}", self.name)));
        if self.chain_id == 0 {
            return bad("chain-id must not be 0".into());
        }
        if self.fields.is_empty() || self.fields.len() > MAX_STATEMENT_FIELDS {
            return bad(format!("must have 1 to {MAX_STATEMENT_FIELDS} fields"));
        }
        for (i, field) in self.fields.iter().enumerate() {
            if self.fields.iter().take(i).any(|f| f.name == field.name) {
                return bad(format!("the field {} stands twice", field.name));
            }
        }
        let Some(rule) = &self.proof else { return Ok(()) };
        if rule.system.is_empty() || rule.system.len() > 63 {
            return bad("proof.system must have 1 to 63 bytes".into());
        }
        if rule.batch.is_some_and(|b| b.count == 0 || b.count > 10_000) {
            return bad("proof.batch.count must be 1 to 10000".into());
        }
        if rule.batch.is_some_and(|b| b.max_delay_ms > MAX_BATCH_DELAY_MS) {
            return bad("proof.batch.max-delay-ms must be at most 604800000, a week".into());
        }
        if rule.private.is_empty() || rule.private.len() > MAX_TEMPLATE_BYTES {
            return bad(format!("proof.private must have 1 to {MAX_TEMPLATE_BYTES} bytes"));
        }
        let mut rest = rule.private.as_str();
        while let Some((_, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return bad("proof.private has a { without }".into());
            };
            if !self.fields.iter().any(|f| *f.name == *name) {
                return bad(format!("proof.private names the field {name:?}, which does not exist"));
            }
            rest = after;
        }
        Ok(())
    }
}

impl Canonical for ProofRule {
    const DOMAIN: &'static str = "w3b/proof-rule";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 5;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(&self.system).digest(&self.witness).digest(&self.key).text(&self.private);
        e.option(self.batch.as_ref(), |e, rule| {
            e.item(rule);
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            system: d.text()?.to_owned(),
            witness: d.digest()?,
            key: d.digest()?,
            private: d.text()?.to_owned(),
            batch: d.option(|d| d.item())?,
        })
    }
}

impl Canonical for Settlement {
    const DOMAIN: &'static str = "w3b/settlement";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 6;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(self.name.as_str()).u64(self.chain_id);
        e.bytes(self.executor.as_bytes()).bytes(self.contract.as_bytes());
        e.list(&self.fields, |e, field| {
            e.text(&field.to_string());
        });
        e.option(self.proof.as_ref(), |e, rule| {
            e.item(rule);
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            name: d.parse()?,
            chain_id: d.u64()?,
            executor: Address::from_bytes(d.array()?),
            contract: Address::from_bytes(d.array()?),
            fields: d.list(|d| d.parse())?,
            proof: d.option(|d| d.item())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(low: &[u8], filler: u8) -> [u8; 32] {
        let mut w = [filler; 32];
        w[32 - low.len()..].copy_from_slice(low);
        w
    }

    fn sample() -> Settlement {
        Settlement {
            name: "day".parse().unwrap(),
            chain_id: 31337,
            executor: Address::from_bytes([1; 20]),
            contract: Address::from_bytes([2; 20]),
            fields: ["bytes32 device", "int32 lo", "uint8 n"].map(|f| f.parse().unwrap()).to_vec(),
            proof: Some(ProofRule {
                system: "groth16-bn254".into(),
                witness: Digest::of(b"wasm"),
                key: Digest::of(b"zkey"),
                private: "w/{device}/{n}".into(),
                batch: None,
            }),
        }
    }

    #[test]
    fn a_word_has_one_encoding_for_each_value() {
        let int32: FieldKind = "int32".parse().unwrap();
        assert!(int32.allows(&word(&[0x7f, 0xff, 0xff, 0xff], 0)));
        assert!(int32.allows(&word(&[0x80, 0, 0, 0], 0xff)));
        assert!(!int32.allows(&word(&[0x80, 0, 0, 0], 0)), "2^31 is no int32");
        assert!(!int32.allows(&word(&[0x7f, 0xff, 0xff, 0xff], 0xff)));
        assert!(!int32.allows(&word(&[1, 0, 0, 0, 0], 0)));
        let uint8: FieldKind = "uint8".parse().unwrap();
        assert!(uint8.allows(&word(&[255], 0)) && !uint8.allows(&word(&[1, 0], 0)));
        assert!(FieldKind::Bool.allows(&word(&[1], 0)) && !FieldKind::Bool.allows(&word(&[2], 0)));
        assert!(
            FieldKind::Address.allows(&word(&[9; 20], 0)) && !FieldKind::Address.allows(&word(&[9; 21], 0))
        );
        assert!(FieldKind::Int(256).allows(&[0xff; 32]) && FieldKind::Uint(256).allows(&[0xff; 32]));
    }

    #[test]
    fn types_and_fields_that_solidity_does_not_have_are_refused() {
        for bad in ["uint", "uint7", "uint264", "uint08", "int+8", "string", "bytes31", "", "Uint8"] {
            assert!(bad.parse::<FieldKind>().is_err(), "{bad}");
        }
        for bad in ["uint8", "uint8  n", "uint8 N", "uint8 a-b", "uint8 ", "n uint8"] {
            assert!(bad.parse::<Field>().is_err(), "{bad}");
        }
        for good in ["uint8 n", "int256 someName_2", "address to"] {
            assert_eq!(good.parse::<Field>().unwrap().to_string(), good);
        }
    }

    #[test]
    fn a_statement_is_checked_word_by_word() {
        let settlement = sample();
        settlement.check().unwrap();
        let statement = [[7; 32], word(&[0xff; 4], 0xff), word(&[24], 0)].concat();
        assert_eq!(settlement.words(&statement).unwrap().len(), 3);
        let key = settlement.private_key(&statement).unwrap();
        assert_eq!(key, format!("w/{}/{}18", "07".repeat(32), "00".repeat(31)));
        assert!(settlement.words(&statement[..95]).is_err());
        let wrong = [[7; 32], word(&[0xff; 4], 0), word(&[24], 0)].concat();
        assert!(settlement.words(&wrong).unwrap_err().to_string().contains("int32 lo"));
        assert_eq!(settlement.target(), [[1; 20], [2; 20]].concat());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let change = |f: fn(&mut Settlement)| {
            let mut s = sample();
            f(&mut s);
            s.check().unwrap_err().to_string()
        };
        assert!(change(|s| s.chain_id = 0).contains("chain-id"));
        assert!(change(|s| s.fields.clear()).contains("fields"));
        assert!(change(|s| s.fields.push("bool n".parse().unwrap())).contains("twice"));
        assert!(change(|s| s.proof.as_mut().unwrap().private = "w/{dveice}".into()).contains("dveice"));
        assert!(change(|s| s.proof.as_mut().unwrap().private = "w/{device".into()).contains("without }"));
        assert!(change(|s| s.proof.as_mut().unwrap().system.clear()).contains("proof.system"));
    }
}
