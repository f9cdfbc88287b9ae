//! Blooms and receipts as Ethereum hashes them, for backends that make blocks of their own.

use w3bstream_types::keccak256;

use crate::Log;
pub use crate::rlp::Rlp;

/// The bloom filter of a block's or a receipt's logs (Yellow Paper §4.4.1): three of 2048 bits for each address and
/// topic.
#[must_use]
pub fn bloom<'l>(logs: impl Iterator<Item = &'l Log>) -> [u8; 256] {
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

/// A receipt of a type-2 transaction, as the receipts' trie holds it (EIP-2718).
#[must_use]
pub fn receipt(success: bool, cumulative_gas: u64, logs: &[Log]) -> Vec<u8> {
    let mut list = Rlp::new();
    for log in logs {
        let topics = log.topics.iter().fold(Rlp::new(), |list, t| list.bytes(t.as_bytes()));
        list = list.list(&Rlp::new().bytes(log.address.as_bytes()).list(&topics).bytes(&log.data));
    }
    let fields = Rlp::new()
        .uint(success.into())
        .uint(cumulative_gas.into())
        .bytes(&bloom(logs.iter()))
        .list(&list)
        .into_list();
    [&[2][..], &fields].concat()
}
