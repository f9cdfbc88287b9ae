//! What is read from a chain.

use std::fmt;

use w3bstream_types::{Address, Invalid, Malformed};

use crate::rlp::{self, Item};
use crate::{Hash, trie};

/// Which block is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockId {
    /// The last one that the node takes for canonical.
    Head,
    /// The canonical one at this height.
    Number(u64),
    /// The one with this hash.
    Hash(Hash),
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Number(n) => n.fmt(f),
            Self::Hash(h) => h.fmt(f),
        }
    }
}

/// A block's header, as far as callers need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
    /// The hash of the block before it.
    pub parent: Hash,
    /// Its time, in seconds since 1970-01-01T00:00:00Z.
    pub time: u64,
    /// Base fee per gas in wei (EIP-1559); 0 on a chain without one.
    pub base_fee: u128,
    /// The root of the trie of its receipts.
    pub receipts_root: Hash,
}

/// An event that a contract emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The contract.
    pub address: Address,
    /// At most four; for a named event the first is the hash of its signature.
    pub topics: Vec<Hash>,
    /// What is not indexed, ABI-encoded.
    pub data: Vec<u8>,
    /// Where it was emitted.
    pub at: LogPlace,
}

/// Names a log for ever, reorganisations included: a log of a replaced block has another block hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPlace {
    /// The block's height.
    pub number: u64,
    /// The block's hash.
    pub block: Hash,
    /// The transaction.
    pub transaction: Hash,
    /// The log's index in the block, counted over all transactions.
    pub index: u64,
}

/// What became of a transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The transaction.
    pub transaction: Hash,
    /// The block's height.
    pub number: u64,
    /// The block's hash.
    pub block: Hash,
    /// The transaction's index in the block.
    pub index: u64,
    /// Whether it took effect; if not, it paid its gas and did nothing else.
    pub success: bool,
    /// Gas that it used.
    pub gas_used: u64,
    /// Wei that it paid for one unit of gas.
    pub effective_gas_price: u128,
    /// The contract that it created.
    pub created: Option<Address>,
    /// Its events, in order.
    pub logs: Vec<Log>,
}

/// A transaction in a canonical block, of whatever type it is (EIP-2718). An access list, blobs and authorisations are
/// not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinedTransaction {
    /// Its hash.
    pub hash: Hash,
    /// The block's height.
    pub number: u64,
    /// The block's hash.
    pub block: Hash,
    /// Its index in the block.
    pub index: u64,
    /// Its type; 0 for one of before EIP-2718.
    pub kind: u8,
    /// Who sent it.
    pub from: Address,
    /// The contract or account; `None` if it created a contract.
    pub to: Option<Address>,
    /// The sender's transaction counter.
    pub nonce: u64,
    /// Wei that it sent along, a big-endian number.
    pub value: [u8; 32],
    /// The most gas that it may use.
    pub gas_limit: u64,
    /// The most that one unit of gas pays altogether, in wei: `maxFeePerGas`, or the gas price of an older type.
    pub max_fee: u128,
    /// The most that one unit of gas pays to the block's producer, in wei; `None` for the older types.
    pub priority_fee: Option<u128>,
    /// Call data, or the new contract's init code.
    pub data: Vec<u8>,
}

/// Whether the node knows a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxStatus {
    /// Never seen, or dropped, or replaced by another one with its nonce.
    Unknown,
    /// In the pool.
    Pending,
    /// In the canonical block with this height and hash.
    Mined {
        /// The height.
        number: u64,
        /// The hash.
        block: Hash,
    },
}

/// How many transactions an account has sent, which is its next nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonces {
    /// Counting mined ones only.
    pub latest: u64,
    /// Counting also those in the pool that follow without a gap. At least `latest`.
    pub pending: u64,
}

/// What a transaction should pay now for one unit of gas, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    /// The base fee of the next block, as far as it is known.
    pub base_fee: u128,
    /// A usual tip to the block's producer.
    pub priority_fee: u128,
}

/// Which logs are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    /// In which blocks.
    pub blocks: LogBlocks,
    /// Of which contracts; empty means of all.
    pub addresses: Vec<Address>,
    /// For each topic the values that are meant; empty means all. A log with fewer topics than there are
    /// places here does not match. At most four.
    pub topics: Vec<Vec<Hash>>,
}

/// In which blocks logs are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogBlocks {
    /// In the canonical blocks of these heights, both included. Heights above the head have no logs.
    Range {
        /// The first height.
        from: u64,
        /// The last height.
        to: u64,
    },
    /// In this block (EIP-234).
    Block(Hash),
}

impl LogFilter {
    /// Whether contract and topics of a log are meant. Its block is not looked at.
    #[must_use]
    pub fn matches(&self, address: &Address, topics: &[Hash]) -> bool {
        let meant = |(wanted, place): (&Vec<Hash>, usize)| {
            topics.get(place).is_some_and(|topic| wanted.is_empty() || wanted.contains(topic))
        };
        (self.addresses.is_empty() || self.addresses.contains(address))
            && self.topics.iter().zip(0..).all(meant)
    }
}

/// Everything that shows which receipts a block has: `keccak256(header)` is the block's hash, the header has the
/// receipts' root, and the receipts make that root (see [`crate::trie`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawReceipts {
    /// The block.
    pub block: Block,
    /// The RLP encoding of its header.
    pub header: Vec<u8>,
    /// Its receipts by transaction index, each as EIP-2718 encodes it.
    pub receipts: Vec<Vec<u8>>,
}

impl RawReceipts {
    /// Checks that the header makes the block's hash, that it says what `block` says, and that the receipts make
    /// its root.
    ///
    /// # Errors
    /// [`Invalid`] with the first thing that does not fit.
    pub fn check(&self) -> Result<(), Invalid> {
        let bad = |why: &'static str| Invalid::new("receipts of a block", why);
        if Hash::of(&self.header) != self.block.hash {
            return Err(bad("the header is not the block's: its hash is another"));
        }
        let fields = header_fields(&self.header).ok_or_else(|| bad("the header is no block's header"))?;
        if fields != self.block {
            return Err(bad("the header says something else than the block"));
        }
        if trie::root(&self.receipts) != self.block.receipts_root {
            return Err(bad("the receipts do not make the header's root"));
        }
        Ok(())
    }
}

impl Block {
    /// Reads the RLP encoding of a header, which makes the block's hash (Yellow Paper §4.4; EIP-1559 for the base
    /// fee). Fields that are not read here are bound by the hash.
    ///
    /// # Errors
    /// [`Malformed`] if it is no header.
    pub fn from_header(header: &[u8]) -> Result<Self, Malformed> {
        header_fields(header).ok_or_else(|| Malformed::new("header", "is not that of a block"))
    }
}

/// What a header says (Yellow Paper §4.4, with EIP-1559's base fee).
fn header_fields(header: &[u8]) -> Option<Block> {
    let mut rest = header;
    let Item::List(body) = rlp::take(&mut rest).ok()? else { return None };
    let items = rlp::items(body).ok().filter(|_| rest.is_empty())?;
    let bytes = |at: usize| match items.get(at) {
        Some(Item::Bytes(bytes)) => Some(*bytes),
        _ => None,
    };
    let hash = |at| Some(Hash::from_bytes(bytes(at)?.try_into().ok()?));
    let number = |at| {
        let be = bytes(at)?;
        (be.len() <= 16).then(|| be.iter().fold(0u128, |n, b| (n << 8) | u128::from(*b)))
    };
    Some(Block {
        number: number(8)?.try_into().ok()?,
        hash: Hash::of(header),
        parent: hash(0)?,
        time: number(11)?.try_into().ok()?,
        base_fee: if items.len() > 15 { number(15)? } else { 0 },
        receipts_root: hash(5)?,
    })
}
