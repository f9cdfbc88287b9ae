//! What leads from an attested output to the block that took it, and that nothing else does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use w3bstream_chain::encode::{Rlp, receipt};
use w3bstream_chain::{Hash, Log, LogPlace, trie};
use w3bstream_contracts::{OutputRef, Settled};
use w3bstream_types::receipt::{OutputLink, SettlementLink, TrieNode};
use w3bstream_types::{Address, Digest, Output, OutputKind, ProjectId, Statement, keccak256};
use w3bstream_verify::executed_in;

const EXECUTOR: [u8; 20] = [0xe0; 20];
const RECEIVER: [u8; 20] = [0xc0; 20];

fn output() -> OutputLink {
    let target = [EXECUTOR, RECEIVER].concat();
    let output = Output { kind: OutputKind::Settlement, chain_id: 31_337, target, data: vec![1; 64] };
    OutputLink { index: 3, output, path: vec![] }
}

fn statement() -> Statement {
    let digest = |text: &str| Digest::of(text.as_bytes());
    Statement {
        subnet: ProjectId(digest("subnet")),
        genesis: digest("genesis"),
        epoch: 2,
        height: 7,
        block: digest("block"),
        manifest: digest("manifest"),
        state_root: digest("state"),
        outputs_root: digest("outputs"),
    }
}

/// The Executor's event, as its ABI encodes it.
fn settled(address: [u8; 20], output: &OutputLink, statement: &Statement) -> Log {
    let (subnet, epoch, height) = (statement.subnet.0, statement.epoch, statement.height);
    let id = OutputRef { subnet, epoch, height, index: output.index }.id();
    let word = |v: u64| [&[0; 24][..], &v.to_be_bytes()].concat();
    let receiver: [u8; 32] = [&[0; 12][..], &RECEIVER].concat().try_into().unwrap();
    let topics = [Settled::topic(), *subnet.as_bytes(), receiver, id].map(Hash::from_bytes).to_vec();
    let leaf = output.output.leaf(output.index);
    let data = [word(epoch), word(height), word(output.index), leaf.as_bytes().to_vec()].concat();
    let at = LogPlace { number: 0, block: Hash::ZERO, transaction: Hash::ZERO, index: 0 };
    Log { address: Address::from_bytes(address), topics, data, at }
}

/// A header of a block with these receipts, and the way to one of them.
fn link(receipts: &[Vec<u8>], index: usize) -> SettlementLink {
    let header = Rlp::new()
        .bytes(&[1; 32])
        .bytes(&[2; 32])
        .bytes(&[0; 20])
        .bytes(&[3; 32])
        .bytes(&[4; 32])
        .bytes(trie::root(receipts).as_bytes())
        .bytes(&[0; 256])
        .uint(0)
        .uint(1000)
        .uint(30_000_000)
        .uint(21_000)
        .uint(1_700_000_000)
        .bytes(b"")
        .bytes(&[0; 32])
        .bytes(&[0; 8])
        .uint(7)
        .into_list();
    SettlementLink {
        index: 3,
        proof: None,
        transaction: [9; 32],
        transaction_index: index as u64,
        header,
        receipt: trie::prove(receipts, index).unwrap().into_iter().map(TrieNode).collect(),
    }
}

/// Ten receipts, of which number 4 has these logs.
fn block(success: bool, logs: &[Log]) -> SettlementLink {
    let other = |i: u8| receipt(true, 21_000 * u64::from(i + 1), &[]);
    let mut receipts: Vec<_> = (0..10).map(other).collect();
    receipts[4] = receipt(success, 200_000, logs);
    link(&receipts, 4)
}

#[test]
fn an_executed_output_leads_to_its_block() {
    let (output, statement) = (output(), statement());
    let link = block(true, &[settled(EXECUTOR, &output, &statement)]);
    assert_eq!(executed_in(&output, &statement, &link).unwrap(), keccak256(&link.header));
}

#[test]
fn nothing_else_does() {
    let (output, statement) = (output(), statement());
    let event = settled(EXECUTOR, &output, &statement);
    let good = block(true, std::slice::from_ref(&event));
    let why = |o: &OutputLink, s: &Statement, l: &SettlementLink| executed_in(o, s, l).unwrap_err().why;
    let has = |text: &str, why: &str| assert!(why.contains(text), "{why}");

    has("failed", &why(&output, &statement, &block(false, std::slice::from_ref(&event))));
    has("no event", &why(&output, &statement, &block(true, &[])));
    has("no event", &why(&output, &statement, &block(true, &[settled([0xe1; 20], &output, &statement)])));
    let mut other = statement.clone();
    other.height += 1;
    has("no event", &why(&output, &other, &good));
    other = statement.clone();
    other.epoch += 1;
    has("no event", &why(&output, &other, &good));
    let mut changed = output.clone();
    changed.output.data[5] ^= 1;
    has("no event", &why(&changed, &statement, &good));
    changed = output.clone();
    changed.output.chain_id += 1;
    has("no event", &why(&changed, &statement, &good));
    changed = output.clone();
    changed.output.target.pop();
    has("no Executor", &why(&changed, &statement, &good));

    let mut other = good.clone();
    other.transaction_index = 5;
    has("proof", &why(&output, &statement, &other));
    other = good.clone();
    other.receipt.pop();
    has("proof", &why(&output, &statement, &other));
    for at in 0..good.header.len() {
        let mut other = good.clone();
        other.header[at] ^= 1;
        // Either it leads nowhere or to a block with another hash: the reader's anchor decides.
        assert_ne!(executed_in(&output, &statement, &other).ok(), Some(keccak256(&good.header)));
    }
    for node in 0..good.receipt.len() {
        for at in 0..good.receipt[node].0.len() {
            let mut other = good.clone();
            other.receipt[node].0[at] ^= 1;
            assert!(executed_in(&output, &statement, &other).is_err(), "byte {at} of node {node}");
        }
    }
}
