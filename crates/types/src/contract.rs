//! What guests may do with contracts beside settling: read them, and send transactions.

use serde::{Deserialize, Serialize};

use crate::ids::OperatorName;
use crate::{Address, Canonical, Decoder, Digest, Encoder, Malformed, Word};

/// The most chains that a manifest names.
pub const MAX_CHAINS: usize = 16;
/// The most operators of a chain.
pub const MAX_OPERATORS: usize = 16;
/// The most reads of one block.
pub const MAX_READS: usize = 4_096;
/// The longest call data of a guest, in bytes.
pub const MAX_CALL_DATA_BYTES: usize = 64 * 1024;
/// The longest answer of a contract that a guest gets, in bytes.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What guests may do on a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ChainRule {
    /// The chain, by its EIP-155 id.
    pub chain_id: u64,
    /// Whether guests may call contracts there, with `ws_call_contract`.
    #[serde(default)]
    pub read: bool,
    /// Whether guests may send transactions there, with `ws_send_tx`. The project's fee key pays.
    #[serde(default)]
    pub send: bool,
    /// How many blocks, its own included, there must be on a block that is read.
    #[serde(default = "one")]
    pub confirmations: u32,
    /// Whose accounts may send beside the project's own, with `ws_send_tx_with_operator`. Each is an account of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<OperatorName>,
}

const fn one() -> u32 {
    1
}

impl ChainRule {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`Malformed`] naming the chain and what is wrong.
    pub fn check(&self) -> Result<(), Malformed> {
        let bad = |why: &str| Err(Malformed::new("chain", format!("{}: {why}", self.chain_id)));
        // Guests name chains by 32 bits.
        if self.chain_id == 0 || u32::try_from(self.chain_id).is_err() {
            return bad("chain-id must be 1 to 4294967295");
        }
        if self.operators.len() > MAX_OPERATORS {
            return bad("at most 16 operators");
        }
        if self
            .operators
            .iter()
            .zip(1..)
            .any(|(name, next)| self.operators.iter().skip(next).any(|o| o == name))
        {
            return bad("an operator stands twice");
        }
        if !self.operators.is_empty() && !self.send {
            return bad("operators send: set send = true, or leave them away");
        }
        if !self.read && !self.send {
            return bad("allow read = true or send = true, or leave the chain away");
        }
        if self.confirmations == 0 || self.confirmations > crate::MAX_CONFIRMATIONS {
            return bad("confirmations must be 1 to 10000");
        }
        Ok(())
    }
}

impl Canonical for ChainRule {
    const DOMAIN: &'static str = "w3b/chain-rule";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 5;

    fn encode_fields(&self, e: &mut Encoder) {
        e.u64(self.chain_id).bool(self.read).bool(self.send).u64(self.confirmations.into());
        e.list(&self.operators, |e, name| {
            e.text(name.as_str());
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            chain_id: d.u64()?,
            read: d.bool()?,
            send: d.bool()?,
            confirmations: d.u32()?,
            operators: d.list(|d| d.parse())?,
        })
    }
}

/// A call of a contract that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContractCall {
    /// The chain, by its EIP-155 id.
    pub chain_id: u64,
    /// The contract.
    pub to: Address,
    /// The call data.
    pub data: Vec<u8>,
}

/// What a contract answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContractAnswer {
    /// What it returned.
    Returned(Vec<u8>),
    /// It reverted, with these data.
    Reverted(Vec<u8>),
}

/// A call with its answer, and the block in whose state it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractRead {
    /// The call.
    pub call: ContractCall,
    /// The hash of the block.
    pub block: Word,
    /// The answer.
    pub answer: ContractAnswer,
}

/// What handlers of one block read of chains. The proposer asks, the block names the transcript, and every member
/// executes with these answers and no others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    reads: Vec<ContractRead>,
}

impl Transcript {
    /// Puts reads together, sorted by their calls, each call once: the first of the same stays.
    #[must_use]
    pub fn new(mut reads: Vec<ContractRead>) -> Self {
        reads.sort_by(|a, b| a.call.cmp(&b.call));
        reads.dedup_by(|b, a| a.call == b.call);
        Self { reads }
    }

    /// The reads, by rising call.
    #[must_use]
    pub fn reads(&self) -> &[ContractRead] {
        &self.reads
    }

    /// The answer to a call; `None` if it was not asked.
    #[must_use]
    pub fn answer(&self, call: &ContractCall) -> Option<&ContractAnswer> {
        let at = self.reads.binary_search_by(|read| read.call.cmp(call)).ok()?;
        self.reads.get(at).map(|read| &read.answer)
    }

    /// The name by which a block orders it.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.digest()
    }
}

impl Canonical for ContractRead {
    const DOMAIN: &'static str = "w3b/contract-read";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 6;

    fn encode_fields(&self, e: &mut Encoder) {
        let (kind, answer) = match &self.answer {
            ContractAnswer::Returned(data) => (0, data),
            ContractAnswer::Reverted(data) => (1, data),
        };
        e.u64(self.call.chain_id).bytes(self.call.to.as_bytes()).bytes(&self.call.data);
        e.bytes(&self.block.0).u64(kind).bytes(answer);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let call = ContractCall {
            chain_id: d.u64()?,
            to: Address::from_bytes(d.array()?),
            data: d.bytes()?.to_vec(),
        };
        let block = Word(d.array()?);
        let answer = match (d.u64()?, d.bytes()?.to_vec()) {
            (0, data) => ContractAnswer::Returned(data),
            (1, data) => ContractAnswer::Reverted(data),
            (n, _) => return Err(Malformed::new(Self::DOMAIN, format!("has the unknown answer {n}"))),
        };
        Ok(Self { call, block, answer })
    }
}

impl Canonical for Transcript {
    const DOMAIN: &'static str = "w3b/transcript";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 1;

    fn encode_fields(&self, e: &mut Encoder) {
        e.list(&self.reads, |e, read| {
            e.item(read);
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let reads: Vec<ContractRead> = d.list(|d| d.item())?;
        if reads.len() > MAX_READS {
            let why = format!("has {} reads, {MAX_READS} is the most", reads.len());
            return Err(Malformed::new(Self::DOMAIN, why));
        }
        if !reads.is_sorted_by(|a, b| a.call < b.call) {
            return Err(Malformed::new(Self::DOMAIN, "its calls must rise, each once"));
        }
        Ok(Self { reads })
    }
}

/// A transaction that a guest asks for. The data of an output of kind
/// [`Transaction`](crate::OutputKind::Transaction), whose target is the account or contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionRequest {
    /// Names it for ever: the guest got this id, and it is looked up by it.
    pub id: Digest,
    /// Which of the project's accounts sends; `None` for the project's own.
    pub operator: Option<OperatorName>,
    /// Wei to send along.
    pub value: u128,
    /// Call data.
    pub data: Vec<u8>,
}

impl TransactionRequest {
    /// The id of the `n`th transaction that a handler's call asks for.
    #[must_use]
    pub fn id_of(call: &Digest, n: u64) -> Digest {
        Digest::tagged("w3b/transaction-request-id/1", &[call.as_bytes(), &n.to_be_bytes()])
    }
}

impl Canonical for TransactionRequest {
    const DOMAIN: &'static str = "w3b/transaction-request";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 4;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.id);
        e.option(self.operator.as_ref(), |e, name| {
            e.text(name.as_str());
        });
        e.bytes(&self.value.to_be_bytes()).bytes(&self.data);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: d.digest()?,
            operator: d.option(|d| d.parse())?,
            value: u128::from_be_bytes(d.array()?),
            data: d.bytes()?.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(n: u8) -> ContractRead {
        ContractRead {
            call: ContractCall { chain_id: 1, to: Address::from_bytes([n; 20]), data: vec![n] },
            block: Word([9; 32]),
            answer: ContractAnswer::Returned(vec![n, n]),
        }
    }

    #[test]
    fn a_call_is_answered_by_its_read_alone() {
        let transcript = Transcript::new(vec![read(3), read(1), read(3), read(2)]);
        assert_eq!(transcript.reads().len(), 3);
        for n in 1..=3 {
            assert_eq!(transcript.answer(&read(n).call), Some(&ContractAnswer::Returned(vec![n, n])));
        }
        assert_eq!(transcript.answer(&read(4).call), None);
        let other = ContractCall { data: vec![], ..read(1).call };
        assert_eq!(transcript.answer(&other), None);
    }

    #[test]
    fn reads_out_of_order_or_twice_are_no_transcript() {
        for reads in [vec![read(2), read(1)], vec![read(1), read(1)]] {
            let unsorted = Transcript { reads };
            assert!(Transcript::from_canonical(&unsorted.to_canonical()).is_err());
        }
        let good = Transcript::new(vec![read(2), read(1)]);
        assert_eq!(Transcript::from_canonical(&good.to_canonical()).unwrap(), good);
    }

    #[test]
    fn a_chain_of_which_nothing_is_allowed_is_refused() {
        let named = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect::<Vec<OperatorName>>();
        let rule = ChainRule { chain_id: 1, read: true, send: false, confirmations: 1, operators: vec![] };
        let sending = ChainRule { send: true, operators: named(&["a", "b"]), ..rule.clone() };
        assert!(rule.check().is_ok() && sending.check().is_ok());
        let many: Vec<String> = (0..17).map(|n| format!("o{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for bad in [
            ChainRule { chain_id: 0, ..rule.clone() },
            ChainRule { chain_id: 1 << 32, ..rule.clone() },
            ChainRule { read: false, ..rule.clone() },
            ChainRule { confirmations: 0, ..rule.clone() },
            ChainRule { operators: named(&["a"]), ..rule },
            ChainRule { operators: named(&["a", "b", "a"]), ..sending.clone() },
            ChainRule { operators: named(&many), ..sending },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
