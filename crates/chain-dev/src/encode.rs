//! Headers as Ethereum hashes them (Yellow Paper §4.4; EIP-1559, EIP-4895, EIP-4844, EIP-4788,
//! EIP-7685), so that proofs about a block of this chain are checked like those of any other.

use w3bstream_chain::encode::Rlp;
use w3bstream_chain::{Block, Hash, SignedTransaction, trie};
use w3bstream_types::keccak256;

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
    Rlp::new()
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
        .bytes(no_requests.as_bytes())
        .into_list()
}

#[cfg(test)]
mod tests {
    use w3bstream_chain::encode::bloom;
    use w3bstream_chain::{Hash, Log, LogPlace};

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
