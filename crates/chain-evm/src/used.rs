//! Which transaction used a nonce: the one method that has no counterpart among those of a node.

use serde_json::json;
use w3bstream_chain::{Error, ErrorKind, Hash};
use w3bstream_types::Address;

use crate::errors::Context;
use crate::rpc::Rpc;
use crate::wire::{FullBlock, Number, WireBlock, quantity};

/// How many transactions an account had sent after the block at a height; `None` if the node no longer knows.
async fn count(rpc: &Rpc, account: Address, number: u64) -> Result<Option<u64>, Error> {
    let params = json!([account.to_string(), quantity(number.into())]);
    match rpc.read_as::<Number<u64>>("eth_getTransactionCount", params, Context::AtBlock).await {
        Ok(count) => Ok(Some(count.0)),
        Err(e) if e.kind() == ErrorKind::UnknownBlock => Ok(None),
        Err(e) => Err(e),
    }
}

/// Looks for the block in which the count passed the nonce: back from the head in growing steps, then by halving. A
/// state that the node no longer has counts as one before.
pub(crate) async fn sent(rpc: &Rpc, account: Address, nonce: u64) -> Result<Option<Hash>, Error> {
    let head: Option<WireBlock> = rpc.read("eth_getBlockByNumber", json!(["latest", false])).await?;
    let head = head.ok_or_else(|| rpc.bad_answer("eth_getBlockByNumber", "there is no head"))?;
    let mut after = head.block().number;
    if count(rpc, account, after).await?.is_none_or(|count| count <= nonce) {
        return Ok(None);
    }
    // After block `after` the nonce is used; after block `before` (if there is one) it is not.
    let mut before: Option<u64> = None;
    let mut step = 1;
    while before.is_none() && after > 0 {
        let probe = after.saturating_sub(step);
        match count(rpc, account, probe).await? {
            Some(count) if count > nonce => after = probe,
            _ => before = Some(probe),
        }
        step = step.saturating_mul(2);
    }
    while let Some(low) = before.filter(|low| after - low > 1) {
        let probe = low + (after - low) / 2;
        match count(rpc, account, probe).await? {
            Some(count) if count > nonce => after = probe,
            _ => before = Some(probe),
        }
    }
    let params = json!([quantity(after.into()), true]);
    let block: Option<FullBlock> = rpc.read_as("eth_getBlockByNumber", params, Context::AtBlock).await?;
    let all = block.map(|b| b.transactions).unwrap_or_default();
    let found = all.iter().find(|t| t.from.0 == account && t.nonce.0 == nonce);
    // The chain was reorganised meanwhile, or the state before is gone.
    let lost = || {
        let what =
            format!("the transaction with nonce {nonce} of {account} is not in block {after} or later ones");
        Error::new(ErrorKind::UnknownBlock, what)
    };
    found.map(|t| Some(t.hash.0)).ok_or_else(lost)
}
