//! Headers as Ethereum hashes them (Yellow Paper §4.4; EIP-1559).

use w3bstream_types::{Address, keccak256};

use crate::encode::{Rlp, bloom};
use crate::{Block, Hash, Log, SignedTransaction, trie};

/// Gas that a block holds.
pub(super) const BLOCK_GAS: u64 = 30_000_000;

/// What a header is made of, beside the block itself.
pub(super) struct Content<'c> {
    pub(super) transactions: &'c [SignedTransaction],
    pub(super) logs: &'c [Log],
    pub(super) gas_used: u64,
    /// Goes into the extra data, so that two blocks with the same content differ.
    pub(super) salt: u64,
}

/// The encoding of a block's header; the hash in `block` is not looked at. There is no state trie: its root is zero.
pub(super) fn header(block: &Block, content: &Content<'_>) -> Vec<u8> {
    let raw: Vec<Vec<u8>> = content.transactions.iter().map(|t| t.raw().to_vec()).collect();
    let no_ommers = Hash::of(&[0xc0]);
    Rlp::new()
        .bytes(block.parent.as_bytes())
        .bytes(no_ommers.as_bytes())
        .bytes(&[0; 20])
        .bytes(Hash::ZERO.as_bytes())
        .bytes(trie::root(&raw).as_bytes())
        .bytes(block.receipts_root.as_bytes())
        .bytes(&bloom(content.logs.iter()))
        .uint(0)
        .uint(block.number.into())
        .uint(BLOCK_GAS.into())
        .uint(content.gas_used.into())
        .uint(block.time.into())
        .bytes(&content.salt.to_be_bytes())
        .bytes(&[0; 32])
        .bytes(&[0; 8])
        .uint(block.base_fee)
        .into_list()
}

/// The address of the contract that an account creates with a nonce (Yellow Paper §7).
pub(super) fn created(sender: Address, nonce: u64) -> Address {
    let hash = keccak256(&Rlp::new().bytes(sender.as_bytes()).uint(nonce.into()).into_list());
    let mut out = [0; 20];
    out.copy_from_slice(hash.split_at(12).1);
    Address::from_bytes(out)
}
