//! For `w3bstream-fuzzing` alone: answers of a node from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

use alloy_consensus::{Header, ReceiptEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use serde_json::Value;

use crate::errors::{Context, Remote, classify};
use crate::wire::{
    Account, Amount, Data, FeeHistory, FullBlock, Listed, Number, Uint, WholeTransaction, WireBlock, WireLog,
    WireReceipt, Word, data, quantity,
};

/// The body of an answer, read as every kind of answer that is asked for.
pub fn answer(bytes: &[u8]) {
    let result = match crate::rpc::read_any(bytes) {
        Some(Ok(result)) => result,
        Some(Err(remote)) => return refusal(&remote),
        None => match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(_) => return,
        },
    };
    numbers(&result);
    let _ = (is::<FullBlock>(&result), is::<Listed>(&result), is::<FeeHistory>(&result));
    if let Some(block) = is::<WireBlock>(&result) {
        let _ = block.block();
    }
    if let Some(mined) = is::<WholeTransaction>(&result).and_then(WholeTransaction::mined) {
        assert_eq!(result["hash"].as_str().map(str::to_lowercase), Some(mined.hash.to_string()));
    }
    if let Some(logs) = is::<Vec<WireLog>>(&result) {
        let count = logs.len();
        assert_eq!(logs.into_iter().map(WireLog::log).count(), count);
    }
    if let Some(receipt) = is::<WireReceipt>(&result) {
        let receipt = receipt.receipt();
        assert!(receipt.success || receipt.created.is_none());
    }
    if let Some(receipt) = is::<ReceiptEnvelope>(&result) {
        assert!(!receipt.encoded_2718().is_empty());
    }
    if let Some(header) = is::<Header>(&result) {
        let _ = header.hash_slow();
    }
}

fn is<T: serde::de::DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

fn numbers(value: &Value) {
    if let Some(Number(n)) = is::<Number<u128>>(value) {
        assert_eq!(is::<Number<u128>>(&Value::from(quantity(n))), Some(Number(n)));
        assert_eq!(is::<Number<u64>>(value).is_some(), u64::try_from(n).is_ok());
        if let Some(Amount(amount)) = is::<Amount>(value) {
            assert_eq!(amount, n);
        }
    }
    if let Some(Data(bytes)) = is::<Data>(value) {
        assert_eq!(is::<Data>(&Value::from(data(&bytes))), Some(Data(bytes)));
    }
    let _ = (is::<Uint>(value), is::<Word>(value), is::<Account>(value));
}

fn refusal(remote: &Remote) {
    for context in [Context::Read, Context::AtBlock, Context::Simulate, Context::Submit, Context::Logs] {
        let shown = classify(remote, context, "eth_call").to_string();
        assert!(shown.chars().count() < 2_000, "a stranger's words are not cut: {}", shown.len());
    }
    let _ = (remote.is_overload(), remote.is_known(), remote.revert());
}
