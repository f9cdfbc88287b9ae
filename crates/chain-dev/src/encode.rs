//! Headers and receipts as Ethereum hashes them (Yellow Paper §4.4; EIP-2718, EIP-1559, EIP-4895, EIP-4844, EIP-4788,
//! EIP-7685), so that proofs about a block of this chain are checked like those of any other.

use w3bstream_chain::{Block, Hash, Log, SignedTransaction, trie};
use w3bstream_types::keccak256;

/// Builds an RLP encoding (Yellow Paper, appendix B).
#[derive(Default)]
struct Rlp(Vec<u8>);

impl Rlp {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        match bytes {
            [one] if *one < 0x80 => self.0.push(*one),
            _ => {
                self.header(0x80, bytes.len());
                self.0.extend_from_slice(bytes);
            }
        }
        self
    }

    /// Big-endian without leading zeros.
    fn uint(self, v: u128) -> Self {
        let skip = v.leading_zeros() as usize / 8;
        let bytes = v.to_be_bytes();
        self.bytes(bytes.get(skip..).unwrap_or_default())
    }

    fn list(mut self, items: &Self) -> Self {
        self.header(0xc0, items.0.len());
        self.0.extend_from_slice(&items.0);
        self
    }

    fn header(&mut self, base: u8, len: usize) {
        if len < 56 {
            // At most 0xc0 + 55.
            self.0.push(base + len as u8);
        } else {
            let be = (len as u64).to_be_bytes();
            let skip = be.iter().take_while(|b| **b == 0).count();
            self.0.push(base + 55 + (be.len() - skip) as u8);
            self.0.extend(be.into_iter().skip(skip));
        }
    }
}

/// The bloom filter of logs (Yellow Paper §4.4.1): three of 2048 bits for each address and topic.
pub(crate) fn bloom<'l>(logs: impl Iterator<Item = &'l Log>) -> [u8; 256] {
    let mut bits = [0; 256];
    let mut add = |bytes: &[u8]| {
        let hash = keccak256(bytes);
        for pair in hash.chunks_exact(2).take(3) {
            let bit = pair.iter().fold(0usize, |n, b| (n << 8) | usize::from(*b)) % 2048;
            if let Some(byte) = bits.get_mut(255 - bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    };
    for log in logs {
        add(log.address.as_bytes());
        log.topics.iter().for_each(|t| add(t.as_bytes()));
    }
    bits
}

/// A receipt of a type-2 transaction, as EIP-2718 encodes it.
pub(crate) fn receipt(success: bool, cumulative_gas: u64, logs: &[Log]) -> Vec<u8> {
    let mut list = Rlp::default();
    for log in logs {
        let topics = log.topics.iter().fold(Rlp::default(), |list, t| list.bytes(t.as_bytes()));
        let fields = Rlp::default().bytes(log.address.as_bytes()).list(&topics).bytes(&log.data);
        list = list.list(&fields);
    }
    let fields = Rlp::default()
        .uint(success.into())
        .uint(cumulative_gas.into())
        .bytes(&bloom(logs.iter()))
        .list(&list);
    [&[2][..], &Rlp::default().list(&fields).0].concat()
}

/// What a header is made of, beside the block itself.
pub(crate) struct Content<'c> {
    pub(crate) transactions: &'c [SignedTransaction],
    pub(crate) bloom: [u8; 256],
    pub(crate) gas_used: u64,
    pub(crate) gas_limit: u64,
    /// Two blocks with the same content differ in it: it is the extra data.
    pub(crate) salt: u64,
    /// What the instruction PREVRANDAO gives.
    pub(crate) random: [u8; 32],
}

/// The encoding of a block's header in the form of Prague. `block.hash` is not looked at. There is no state trie: its root
/// is zero, and so is the beacon chain's.
pub(crate) fn header(block: &Block, content: &Content<'_>) -> Vec<u8> {
    let raw: Vec<Vec<u8>> = content.transactions.iter().map(|t| t.raw().to_vec()).collect();
    let no_ommers = keccak256(&[0xc0]);
    // SHA-256 of nothing: no requests (EIP-7685).
    let no_requests = w3bstream_types::Digest::of(&[]);
    let fields = Rlp::default()
        .bytes(block.parent.as_bytes())
        .bytes(&no_ommers)
        .bytes(&[0; 20])
        .bytes(Hash::ZERO.as_bytes())
        .bytes(trie::root(&raw).as_bytes())
        .bytes(block.receipts_root.as_bytes())
        .bytes(&content.bloom)
        .uint(0)
        .uint(block.number.into())
        .uint(content.gas_limit.into())
        .uint(content.gas_used.into())
        .uint(block.time.into())
        .bytes(&content.salt.to_be_bytes())
        .bytes(&content.random)
        .bytes(&[0; 8])
        .uint(block.base_fee)
        .bytes(trie::root(&[]).as_bytes())
        .uint(0)
        .uint(0)
        .bytes(Hash::ZERO.as_bytes())
        .bytes(no_requests.as_bytes());
    Rlp::default().list(&fields).0
}

#[cfg(test)]
mod tests {
    use w3bstream_chain::LogPlace;

    use super::*;

    #[test]
    fn a_bloom_is_that_of_another_implementation() {
        use revm::primitives::alloy_primitives::{Bloom, BloomInput};
        let place = LogPlace { number: 0, block: Hash::ZERO, transaction: Hash::ZERO, index: 0 };
        let logs: Vec<Log> = (0..20u8)
            .map(|i| Log {
                address: w3bstream_types::Address::from_bytes([i; 20]),
                topics: (0..i % 5).map(|t| Hash::of(&[i, t])).collect(),
                data: vec![i],
                at: place,
            })
            .collect();
        let mut theirs = Bloom::default();
        for log in &logs {
            theirs.accrue(BloomInput::Raw(log.address.as_bytes()));
            log.topics.iter().for_each(|t| theirs.accrue(BloomInput::Raw(t.as_bytes())));
        }
        assert_eq!(bloom(logs.iter()), theirs.0.0);
        assert_eq!(bloom(std::iter::empty()), [0; 256]);
    }
}
