//! The implementation.

use std::sync::atomic::{AtomicBool, Ordering};

use alloy_consensus::{Header, ReceiptEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use async_trait::async_trait;
use serde_json::{Value, json};
use w3bstream_chain::{
    Block, BlockId, Call, CallOutcome, Chain, Error, ErrorKind, Fees, Hash, Log, LogBlocks, LogFilter,
    MinedTransaction, Nonces, RawReceipts, Receipt, SignedTransaction, Simulation, TxStatus,
};
use w3bstream_types::Address;

use crate::errors::Context;
use crate::rpc::{Failure, Rpc};
use crate::settings::EvmSettings;
use crate::used;
use crate::wire::{
    self, Amount, Data, FeeHistory, Listed, Number, WholeTransaction, WireBlock, WireLog, WireReceipt,
    WireTransaction, Word, data, quantity,
};

/// A chain behind a node's JSON-RPC interface. Needs a tokio runtime with time and I/O.
#[derive(Debug)]
pub struct EvmChain {
    rpc: Rpc,
    /// The node has shown its chain id.
    checked: AtomicBool,
}

impl EvmChain {
    /// Checks the settings. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Rejected`] if the address is no `http` or `https` URL, or certificates cannot be read.
    pub fn new(settings: EvmSettings) -> Result<Self, Error> {
        Ok(Self { rpc: Rpc::new(settings)?, checked: AtomicBool::new(false) })
    }

    /// Asks the node for its chain, until it was the right one once.
    async fn ready(&self) -> Result<&Rpc, Error> {
        if !self.checked.load(Ordering::Acquire) {
            self.chain_id().await?;
        }
        Ok(&self.rpc)
    }

    async fn by_hash(&self, hash: Hash) -> Result<Option<Value>, Error> {
        let params = json!([hash.to_string(), false]);
        self.rpc.read_as("eth_getBlockByHash", params, Context::AtBlock).await
    }

    /// Receipts as the node has them encoded, or as they are encoded here from their fields.
    async fn receipts_of(&self, hash: Hash) -> Result<Vec<Vec<u8>>, Error> {
        let params = json!([hash.to_string()]);
        let fields = match self
            .rpc
            .read_as::<Option<Vec<Value>>>("eth_getBlockReceipts", params, Context::AtBlock)
            .await
        {
            Ok(found) => found,
            Err(e) if e.kind() == ErrorKind::Unsupported => None,
            Err(e) => return Err(e),
        };
        let encode =
            |value: Value| Some(serde_json::from_value::<ReceiptEnvelope>(value).ok()?.encoded_2718());
        if let Some(receipts) = fields.and_then(|all| all.into_iter().map(encode).collect()) {
            return Ok(receipts);
        }
        // Not offered, or receipts of a kind that only this chain has.
        let params = json!([{"blockHash": hash.to_string()}]);
        match self.rpc.read_as::<Vec<Data>>("debug_getRawReceipts", params, Context::AtBlock).await {
            Ok(raw) => Ok(raw.into_iter().map(|r| r.0).collect()),
            Err(e) if e.kind() == ErrorKind::Unsupported => self.receipts_one_by_one(hash).await,
            Err(e) => Err(e),
        }
    }

    /// The encoded receipts of a block, each asked for by its transaction.
    async fn receipts_one_by_one(&self, hash: Hash) -> Result<Vec<Vec<u8>>, Error> {
        let found = self.by_hash(hash).await?.ok_or_else(|| self.unknown(hash))?;
        let listed: Listed =
            serde_json::from_value(found).map_err(|e| self.rpc.bad_answer("eth_getBlockByHash", e))?;
        let mut receipts = Vec::with_capacity(listed.transactions.len());
        for transaction in listed.transactions {
            let method = "eth_getTransactionReceipt";
            let params = json!([transaction.0.to_string()]);
            let found: Option<Value> = self.rpc.read(method, params).await?;
            let receipt = found.ok_or_else(|| self.unknown(hash))?;
            let receipt: ReceiptEnvelope =
                serde_json::from_value(receipt).map_err(|e| self.rpc.bad_answer(method, e))?;
            receipts.push(receipt.encoded_2718());
        }
        Ok(receipts)
    }

    /// The head's height, which bounds ranges: some nodes refuse a range that goes beyond it.
    async fn height(&self) -> Result<u64, Error> {
        self.rpc.read::<Number<u64>>("eth_blockNumber", json!([])).await.map(|n| n.0)
    }

    fn unknown(&self, hash: Hash) -> Error {
        Error::new(ErrorKind::UnknownBlock, format!("{} does not know block {hash}", self.rpc.shown()))
    }
}

/// The range or block of a filter in a node's words; `None` if there cannot be any logs.
fn range(blocks: LogBlocks, height: u64) -> Option<Value> {
    match blocks {
        LogBlocks::Block(hash) => Some(json!({"blockHash": hash.to_string()})),
        LogBlocks::Range { from, to } => {
            let to = to.min(height);
            let part = || json!({"fromBlock": quantity(from.into()), "toBlock": quantity(to.into())});
            (from <= to).then(part)
        }
    }
}

fn filter_params(filter: &LogFilter, range: Value) -> Value {
    let mut params = range;
    let texts = |list: &[Hash]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    if !filter.addresses.is_empty() {
        params["address"] = json!(filter.addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    if !filter.topics.is_empty() {
        let one = |t: &Vec<Hash>| if t.is_empty() { Value::Null } else { json!(texts(t)) };
        params["topics"] = filter.topics.iter().map(one).collect();
    }
    params
}

#[async_trait]
impl Chain for EvmChain {
    async fn chain_id(&self) -> Result<u64, Error> {
        let found = self.rpc.read::<Number<u64>>("eth_chainId", json!([])).await?.0;
        let wanted = self.rpc.settings().chain_id;
        if found != wanted {
            let what =
                format!("{} serves chain {found}, not chain {wanted}: name the right node", self.rpc.shown());
            return Err(Error::new(ErrorKind::WrongChain, what));
        }
        self.checked.store(true, Ordering::Release);
        Ok(found)
    }

    async fn block(&self, id: BlockId) -> Result<Option<Block>, Error> {
        let rpc = self.ready().await?;
        let (method, at) = match id {
            BlockId::Head => ("eth_getBlockByNumber", "latest".to_owned()),
            BlockId::Number(number) => ("eth_getBlockByNumber", quantity(number.into())),
            BlockId::Hash(hash) => ("eth_getBlockByHash", hash.to_string()),
        };
        let found = match rpc.read_as::<Option<WireBlock>>(method, json!([at, false]), Context::AtBlock).await
        {
            Ok(found) => found.map(|b| b.block()),
            Err(e) if e.kind() == ErrorKind::UnknownBlock => None,
            Err(e) => return Err(e),
        };
        let meant = found.is_none_or(|block| match id {
            BlockId::Head => true,
            BlockId::Number(number) => block.number == number,
            BlockId::Hash(hash) => block.hash == hash,
        });
        if meant {
            Ok(found)
        } else {
            Err(rpc.bad_answer(method, format!("asked for block {id}, got {found:?}")))
        }
    }

    async fn call(&self, at: Hash, call: &Call) -> Result<CallOutcome, Error> {
        let rpc = self.ready().await?;
        let params = json!([wire::call(call), {"blockHash": at.to_string(), "requireCanonical": true}]);
        match rpc.value("eth_call", params).await {
            Ok(value) => {
                let returned: Data =
                    serde_json::from_value(value).map_err(|e| rpc.bad_answer("eth_call", e))?;
                Ok(CallOutcome::Returned(returned.0))
            }
            Err(Failure::Refused(remote)) if remote.revert().is_some() => {
                Ok(CallOutcome::Reverted(remote.revert().unwrap_or_default()))
            }
            Err(failure) => Err(rpc.error(failure, "eth_call", Context::AtBlock)),
        }
    }

    async fn simulate(&self, call: &Call) -> Result<Simulation, Error> {
        let rpc = self.ready().await?;
        match rpc.value("eth_estimateGas", json!([wire::call(call), "latest"])).await {
            Ok(value) => {
                let gas: Number<u64> =
                    serde_json::from_value(value).map_err(|e| rpc.bad_answer("eth_estimateGas", e))?;
                Ok(Simulation::Gas(gas.0))
            }
            Err(Failure::Refused(remote)) if remote.revert().is_some() => {
                Ok(Simulation::Reverted(remote.revert().unwrap_or_default()))
            }
            Err(failure) => Err(rpc.error(failure, "eth_estimateGas", Context::Simulate)),
        }
    }

    async fn nonces(&self, account: Address) -> Result<Nonces, Error> {
        let rpc = self.ready().await?;
        let latest: Number<u64> =
            rpc.read("eth_getTransactionCount", json!([account.to_string(), "latest"])).await?;
        let pending: Number<u64> =
            rpc.read("eth_getTransactionCount", json!([account.to_string(), "pending"])).await?;
        Ok(Nonces { latest: latest.0, pending: pending.0.max(latest.0) })
    }

    async fn balance(&self, account: Address) -> Result<u128, Error> {
        let rpc = self.ready().await?;
        let balance: Amount = rpc.read("eth_getBalance", json!([account.to_string(), "latest"])).await?;
        Ok(balance.0)
    }

    async fn fees(&self) -> Result<Fees, Error> {
        let rpc = self.ready().await?;
        let history: Result<FeeHistory, Error> =
            rpc.read("eth_feeHistory", json!(["0x1", "latest", []])).await;
        let base_fee = match history {
            Ok(history) => history.base_fee_per_gas.last().map_or(0, |fee| fee.0),
            Err(e) if e.kind() == ErrorKind::Unsupported => {
                self.block(BlockId::Head).await?.map_or(0, |head| head.base_fee)
            }
            Err(e) => return Err(e),
        };
        let tip: Result<Number<u128>, Error> = rpc.read("eth_maxPriorityFeePerGas", json!([])).await;
        let priority_fee = match tip {
            Ok(tip) => tip.0,
            Err(e) if e.kind() == ErrorKind::Unsupported => {
                let price: Number<u128> = rpc.read("eth_gasPrice", json!([])).await?;
                price.0.saturating_sub(base_fee)
            }
            Err(e) => return Err(e),
        };
        Ok(Fees { base_fee, priority_fee: priority_fee.max(1) })
    }

    async fn submit(&self, transaction: &SignedTransaction) -> Result<(), Error> {
        let rpc = self.ready().await?;
        let params = json!([data(transaction.raw())]);
        match rpc.once("eth_sendRawTransaction", &params).await {
            Ok(value) => {
                let hash: Word =
                    serde_json::from_value(value).map_err(|e| rpc.bad_answer("eth_sendRawTransaction", e))?;
                if hash.0 == transaction.hash() {
                    return Ok(());
                }
                let what = format!("sent {}, got {}", transaction.hash(), hash.0);
                Err(rpc.bad_answer("eth_sendRawTransaction", what))
            }
            Err(Failure::Refused(remote)) if remote.is_known() => Ok(()),
            Err(failure) => Err(rpc.error(failure, "eth_sendRawTransaction", Context::Submit)),
        }
    }

    async fn receipt(&self, transaction: Hash) -> Result<Option<Receipt>, Error> {
        let rpc = self.ready().await?;
        let method = "eth_getTransactionReceipt";
        let found: Option<WireReceipt> = rpc.read(method, json!([transaction.to_string()])).await?;
        let found = found.map(WireReceipt::receipt);
        if found.as_ref().is_some_and(|r| r.transaction != transaction) {
            return Err(rpc.bad_answer(method, format!("asked for {transaction}, got another one's receipt")));
        }
        Ok(found)
    }

    async fn status(&self, transaction: Hash) -> Result<TxStatus, Error> {
        let rpc = self.ready().await?;
        let method = "eth_getTransactionByHash";
        let found: Option<WireTransaction> = rpc.read(method, json!([transaction.to_string()])).await?;
        let Some(found) = found else { return Ok(TxStatus::Unknown) };
        if found.hash.0 != transaction {
            return Err(rpc.bad_answer(method, format!("asked for {transaction}, got another one")));
        }
        Ok(match (found.block_number, found.block_hash) {
            (Some(number), Some(block)) => TxStatus::Mined { number: number.0, block: block.0 },
            _ => TxStatus::Pending,
        })
    }

    async fn transaction(&self, hash: Hash) -> Result<Option<MinedTransaction>, Error> {
        let rpc = self.ready().await?;
        let method = "eth_getTransactionByHash";
        let found: Option<WholeTransaction> = rpc.read(method, json!([hash.to_string()])).await?;
        let found = found.and_then(WholeTransaction::mined);
        if found.as_ref().is_some_and(|t| t.hash != hash) {
            return Err(rpc.bad_answer(method, format!("asked for {hash}, got another one")));
        }
        Ok(found)
    }

    async fn sent(&self, account: Address, nonce: u64) -> Result<Option<Hash>, Error> {
        used::sent(self.ready().await?, account, nonce).await
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, Error> {
        let rpc = self.ready().await?;
        let Some(range) = range(filter.blocks, self.height().await?) else { return Ok(vec![]) };
        let params = json!([filter_params(filter, range)]);
        let found: Vec<WireLog> = rpc.read_as("eth_getLogs", params, Context::Logs).await?;
        let mut logs: Vec<Log> = found.into_iter().filter(|l| !l.removed).map(WireLog::log).collect();
        // Some nodes (anvil 1.7) take a place without values for one that a log need not have.
        logs.retain(|log| log.topics.len() >= filter.topics.len());
        let meant = |log: &Log| {
            let in_blocks = match filter.blocks {
                LogBlocks::Range { from, to } => (from..=to).contains(&log.at.number),
                LogBlocks::Block(hash) => log.at.block == hash,
            };
            in_blocks && filter.matches(&log.address, &log.topics)
        };
        if let Some(other) = logs.iter().find(|log| !meant(log)) {
            return Err(
                rpc.bad_answer("eth_getLogs", format!("a log that was not asked for, at {:?}", other.at))
            );
        }
        // Some nodes answer with nothing for a block that they do not know.
        if let (LogBlocks::Block(hash), true) = (filter.blocks, logs.is_empty()) {
            self.by_hash(hash).await?.ok_or_else(|| self.unknown(hash))?;
        }
        logs.sort_by_key(|log| (log.at.number, log.at.index));
        Ok(logs)
    }

    async fn raw_receipts(&self, block: Hash) -> Result<RawReceipts, Error> {
        let rpc = self.ready().await?;
        let found = self.by_hash(block).await?.ok_or_else(|| self.unknown(block))?;
        let bad = |e| rpc.bad_answer("eth_getBlockByHash", e);
        let fields: WireBlock = serde_json::from_value(found.clone()).map_err(bad)?;
        let header: Header = serde_json::from_value(found).map_err(bad)?;
        let raw = RawReceipts {
            block: fields.block(),
            header: alloy_rlp::encode(&header),
            receipts: self.receipts_of(block).await?,
        };
        if raw.block.hash != block {
            return Err(
                rpc.bad_answer("eth_getBlockByHash", format!("asked for block {block}, got {:?}", raw.block))
            );
        }
        match raw.check() {
            Ok(()) => Ok(raw),
            Err(e) => {
                let what = format!("block {block} of {} cannot be encoded as its chain does", rpc.shown());
                Err(Error::new(ErrorKind::Unsupported, what).with_source(e))
            }
        }
    }
}
