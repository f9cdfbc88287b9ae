//! What chains say: transactions, headers, receipts, tries, events, proofs.

use std::collections::BTreeSet;

use alloy_consensus::{EthereumTxEnvelope, ReceiptEnvelope, TxEip4844};
use alloy_eips::eip2718::{Decodable2718 as _, Encodable2718 as _};
use w3bstream_chain::encode::decode_receipt;
use w3bstream_chain::{Block, Hash, SignedTransaction, trie};
use w3bstream_contracts::cold_chain::decode_day;
use w3bstream_contracts::{ExecutionError, Settled, VerifyingKey, decode_bool};
use w3bstream_prover::{FieldElement, Proof};
use w3bstream_types::{Address, Settlement};

/// RLP, and the record of a nonce.
pub(crate) fn rlp(bytes: &[u8]) {
    w3bstream_chain::fuzzing::rlp(bytes);
    w3bstream_chain::fuzzing::slot(bytes);
}

/// Transactions, read a second time by alloy.
pub(crate) fn transaction(bytes: &[u8]) {
    let Ok(signed) = SignedTransaction::from_raw(bytes) else { return };
    assert_eq!(signed.raw(), bytes, "a transaction has two forms");
    let other = EthereumTxEnvelope::<TxEip4844>::decode_2718_exact(bytes).expect("alloy reads it");
    assert_eq!(other.tx_hash().as_slice(), signed.hash().as_bytes(), "alloy has another hash for it");
    assert_eq!(other.encoded_2718(), bytes);
}

/// Headers and receipts; and a proof that a receipt is in a block, with one byte of it changed.
pub(crate) fn block(bytes: &[u8]) {
    if let Ok(block) = Block::from_header(bytes) {
        assert_eq!(block.hash, Hash::of(bytes));
    }
    if let Ok(read) = decode_receipt(bytes)
        && let Ok(other) = ReceiptEnvelope::decode_2718_exact(bytes)
    {
        assert_eq!(other.status(), read.success, "alloy sees another status");
        assert_eq!(other.logs().len(), read.logs.len(), "alloy sees other events");
    }
    let [index, at, change, rest @ ..] = bytes else { return };
    let values: Vec<Vec<u8>> =
        rest.chunks(usize::from(*change % 50) + 1).take(300).map(<[u8]>::to_vec).collect();
    let (root, index) = (trie::root(&values), usize::from(*index));
    let Some(mut proof) = trie::prove(&values, index) else {
        assert!(index >= values.len());
        return;
    };
    assert_eq!(trie::verify(&root, index as u64, &proof).as_ref().ok(), values.get(index));
    let nodes = proof.len();
    if let Some(byte) = proof.get_mut(usize::from(*at) % nodes).and_then(|n| n.get_mut(usize::from(*at))) {
        *byte ^= change | 1;
        assert!(trie::verify(&root, index as u64, &proof).is_err(), "a changed proof is taken");
    }
    // A root of the stranger's own: any nodes may follow.
    let nodes: Vec<Vec<u8>> = rest.split(|b| b == at).map(<[u8]>::to_vec).collect();
    if let Some(first) = nodes.first() {
        let _ = trie::verify(&Hash::of(first), index as u64, &nodes);
    }
}

fn words(bytes: &[u8]) -> Vec<[u8; 32]> {
    bytes.chunks_exact(32).filter_map(|word| word.try_into().ok()).collect()
}

fn word(n: u64) -> [u8; 32] {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&n.to_be_bytes());
    word
}

/// Events, errors and answers of contracts; and keys as snarkjs writes them.
pub(crate) fn event(bytes: &[u8]) {
    if let Ok(yes) = decode_bool(bytes) {
        assert_eq!(bytes, word(yes.into()), "a truth value has two forms");
    }
    if let Ok(Some(day)) = decode_day(bytes) {
        assert_eq!((words(bytes).len(), bytes.len()), (10, 320));
        assert_eq!(words(bytes)[0], word(day.n.into()));
        assert_eq!(
            [words(bytes)[6], words(bytes)[7], words(bytes)[8]],
            [day.epoch, day.height, day.index].map(word)
        );
    }
    if let Some(ExecutionError::ReceiverReverted(data)) = ExecutionError::decode(bytes) {
        assert!(data.is_empty() || bytes.windows(data.len()).any(|w| w == data), "data from nowhere");
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(key) = VerifyingKey::from_snarkjs(text) {
            assert!(key.as_bytes().len().is_multiple_of(64));
        }
        if let Ok(proof) = w3bstream_contracts::Proof::from_snarkjs(text) {
            assert_eq!(proof.as_bytes().len(), 256);
        }
    }
    let Some((count, rest)) = bytes.split_first() else { return };
    let (topics, data) = rest.split_at(rest.len().min(usize::from(count % 6) * 32));
    let topics = words(topics);
    let Ok(Some(settled)) = Settled::decode(&topics, data) else { return };
    let output = settled.output;
    assert_eq!(topics[1], *output.subnet.as_bytes());
    assert_eq!(topics[3], output.id());
    let mut again: Vec<u8> = [output.epoch, output.height, output.index].map(word).concat();
    again.extend(settled.leaf.as_bytes());
    assert_eq!(again, data, "the event's data has two forms");
}

/// Proofs and the numbers of their statements.
pub(crate) fn proof(bytes: &[u8]) {
    if let Ok(proof) = Proof::from_bytes(bytes) {
        assert_eq!(proof.as_bytes(), bytes);
        let decimals = proof.decimals();
        assert!(
            Proof::from_decimals(decimals.each_ref().map(String::as_str)).is_ok_and(|again| again == proof)
        );
    }
    for word in words(bytes) {
        if let Ok(element) = FieldElement::from_be_bytes(word) {
            assert_eq!(element.to_be_bytes(), word);
            assert!(FieldElement::from_decimal(&element.to_decimal()).is_ok_and(|again| again == element));
            assert_eq!(element.negated().negated(), element);
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(element) = FieldElement::from_decimal(text) {
        // A number below zero is one of the field.
        assert!(text.starts_with('-') || element.to_decimal() == text, "a number has two forms: {text}");
        assert!(FieldElement::from_decimal(&element.to_decimal()).is_ok_and(|again| again == element));
    }
}

/// A statement of five words, then the private numbers that an applet has kept, as JSON.
pub(crate) fn signals(bytes: &[u8]) {
    let fields = ["bytes32 device", "uint32 day", "int32 lo", "address who", "bool ok"];
    let settlement = Settlement {
        name: "day".parse().unwrap(),
        chain_id: 1,
        executor: Address::from_bytes([1; 20]),
        contract: Address::from_bytes([2; 20]),
        fields: fields.iter().map(|field| field.parse().unwrap()).collect(),
        proof: None,
    };
    let (statement, private) = bytes.split_at(bytes.len().min(160));
    let public = w3bstream_prover::public_signals(&settlement, statement);
    let all = w3bstream_prover::signals(&settlement, statement, private);
    let Ok((numbers, inputs)) = public else {
        assert!(all.is_err());
        return;
    };
    // A word of 32 bytes makes two numbers.
    assert_eq!((numbers.len(), inputs.len()), (6, 5));
    if let Ok((same, inputs)) = all {
        assert_eq!(same, numbers);
        let names: BTreeSet<&str> = inputs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.len(), inputs.len(), "a signal is set twice");
    }
}
