//! A node that is played: the room's chain in memory behind the methods of JSON-RPC, with geth's words.

use std::sync::Arc;

use alloy_consensus::{Header, ReceiptEnvelope};
use alloy_eips::eip2718::Decodable2718 as _;
use alloy_rlp::Decodable as _;
use serde_json::{Value, json};
use w3bstream_chain::conformance::{MemoryPlace, Place, block_on};
use w3bstream_chain::memory::MemoryChain;
use w3bstream_chain::{
    Block, BlockId, Call, CallOutcome, Chain, Error, ErrorKind, Hash, Log, LogBlocks, LogFilter, Receipt,
    SignedTransaction, Simulation, async_trait,
};
use w3bstream_chain_evm::{EvmChain, EvmSettings};
use w3bstream_types::{Address, SecretKey};

use crate::server::{Reply, serve};

fn data(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

fn quantity(n: impl Into<u128>) -> String {
    format!("0x{:x}", n.into())
}

fn bytes(v: &Value) -> Vec<u8> {
    hex::decode(v.as_str().unwrap().strip_prefix("0x").unwrap()).unwrap()
}

fn number(v: &Value) -> u128 {
    u128::from_str_radix(v.as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
}

fn hash(v: &Value) -> Hash {
    v.as_str().unwrap().parse().unwrap()
}

fn address(v: &Value) -> Address {
    v.as_str().unwrap().parse().unwrap()
}

fn call(v: &Value) -> Call {
    Call {
        from: v.get("from").map(address),
        to: v.get("to").map(address),
        value: v.get("value").map_or(0, number),
        data: bytes(&v["data"]),
        gas_limit: v.get("gas").map(|g| number(g) as u64),
    }
}

/// geth's words for what the chain in memory refuses.
fn words(e: &Error) -> Reply {
    let message = match e.kind() {
        ErrorKind::NonceTooLow => "nonce too low: next nonce 1, tx nonce 0",
        ErrorKind::ReplacementUnderpriced => "replacement transaction underpriced",
        ErrorKind::InsufficientFunds => "insufficient funds for gas * price + value: balance 0",
        ErrorKind::Rejected if e.to_string().contains("is for chain") => {
            "invalid sender: invalid chain id for signer"
        }
        ErrorKind::Rejected => "intrinsic gas too low: gas 20999, minimum needed 21000",
        ErrorKind::UnknownBlock => "header for hash not found",
        kind => panic!("the played node has no words for {kind:?}: {e}"),
    };
    Reply::error(-32000, message)
}

fn log(log: &Log) -> Value {
    json!({
        "address": log.address.to_string(),
        "topics": log.topics.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "data": data(&log.data),
        "blockNumber": quantity(log.at.number),
        "blockHash": log.at.block.to_string(),
        "transactionHash": log.at.transaction.to_string(),
        "transactionIndex": "0x0",
        "logIndex": quantity(log.at.index),
        "removed": false,
    })
}

fn receipt(r: &Receipt, raw: &[u8]) -> Value {
    let envelope = ReceiptEnvelope::decode_2718(&mut { raw }).unwrap();
    let mut fields = serde_json::to_value(&envelope).unwrap();
    let more = json!({
        "transactionHash": r.transaction.to_string(),
        "transactionIndex": quantity(r.index),
        "blockHash": r.block.to_string(),
        "blockNumber": quantity(r.number),
        "gasUsed": quantity(r.gas_used),
        "effectiveGasPrice": quantity(r.effective_gas_price),
        "contractAddress": r.created.map(|a| a.to_string()),
        "logs": r.logs.iter().map(log).collect::<Vec<_>>(),
    });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

/// The methods.
struct Node(Arc<MemoryChain>);

impl Node {
    fn block(&self, id: BlockId, full: bool) -> Value {
        let Some(block) = block_on(self.0.block(id)).unwrap() else { return Value::Null };
        let raw = block_on(self.0.raw_receipts(block.hash)).unwrap();
        let header = Header::decode(&mut raw.header.as_slice()).unwrap();
        let mut fields = serde_json::to_value(&header).unwrap();
        fields["hash"] = json!(block.hash.to_string());
        let all = self.transactions(&block);
        fields["transactions"] =
            if full { all.into() } else { all.into_iter().map(|t| t["hash"].clone()).collect() };
        fields
    }

    fn transactions(&self, block: &Block) -> Vec<Value> {
        let of = |t: &SignedTransaction| {
            json!({
                "hash": t.hash().to_string(),
                "from": t.sender().to_string(),
                "nonce": quantity(t.transaction().nonce),
                "blockHash": block.hash.to_string(),
                "blockNumber": quantity(block.number),
            })
        };
        self.0.transactions(block.hash).iter().map(of).collect()
    }

    fn count(&self, params: &Value) -> Reply {
        let account = address(&params[0]);
        let at = params[1].as_str().unwrap();
        let nonces = block_on(self.0.nonces(account)).unwrap();
        Reply::Result(json!(quantity(match at {
            "latest" => nonces.latest,
            "pending" => nonces.pending,
            _ => {
                let upto = number(&params[1]) as u64;
                let blocks = (0..=upto).filter_map(|n| block_on(self.0.block(BlockId::Number(n))).unwrap());
                let sent = blocks.flat_map(|b| self.0.transactions(b.hash));
                sent.filter(|t| t.sender() == account).count() as u64
            }
        })))
    }

    fn logs(&self, params: &Value) -> Reply {
        let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
        let blocks = match params.get("blockHash") {
            Some(block) => LogBlocks::Block(hash(block)),
            None => {
                let (from, to) = (number(&params["fromBlock"]) as u64, number(&params["toBlock"]) as u64);
                if to > self.0.height() {
                    return Reply::error(-32602, "block range extends beyond current head block");
                }
                LogBlocks::Range { from, to }
            }
        };
        let filter = LogFilter {
            blocks,
            addresses: list(&params["address"]).iter().map(address).collect(),
            topics: list(&params["topics"]).iter().map(|t| list(t).iter().map(hash).collect()).collect(),
        };
        match block_on(self.0.logs(&filter)) {
            Ok(logs) => Reply::Result(logs.iter().map(log).collect()),
            // As some nodes do.
            Err(_) => Reply::Result(json!([])),
        }
    }

    fn receipts(&self, block: Hash) -> Reply {
        let Ok(raw) = block_on(self.0.raw_receipts(block)) else { return Reply::Result(Value::Null) };
        let of = |(t, raw): (&SignedTransaction, &Vec<u8>)| {
            receipt(&block_on(self.0.receipt(t.hash())).unwrap().unwrap(), raw)
        };
        Reply::Result(self.0.transactions(block).iter().zip(&raw.receipts).map(of).collect())
    }

    fn one_receipt(&self, transaction: Hash) -> Reply {
        let Some(r) = block_on(self.0.receipt(transaction)).unwrap() else {
            return Reply::Result(Value::Null);
        };
        let raw = block_on(self.0.raw_receipts(r.block)).unwrap();
        Reply::Result(receipt(&r, &raw.receipts[r.index as usize]))
    }

    fn transaction(&self, transaction: Hash) -> Reply {
        let mined = block_on(self.0.transaction(transaction)).unwrap();
        let pending = || self.0.pending().into_iter().find(|t| t.hash() == transaction);
        let Some(t) = mined.clone().or_else(|| pending().map(|t| t.mined((0, Hash::ZERO, 0)))) else {
            return Reply::Result(Value::Null);
        };
        let data = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
        let value = u128::from_be_bytes(t.value[16..].try_into().unwrap());
        let place = |text: String| mined.as_ref().map(|_| text);
        Reply::Result(json!({
            "hash": t.hash.to_string(),
            "type": "0x2",
            "from": t.from.to_string(),
            "to": t.to.map(|to| to.to_string()),
            "nonce": quantity(t.nonce),
            "value": format!("0x{value:x}"),
            "gas": quantity(t.gas_limit),
            // What was paid, as nodes give it for this type too.
            "gasPrice": "0x1",
            "maxFeePerGas": format!("0x{:x}", t.max_fee),
            "maxPriorityFeePerGas": t.priority_fee.map(|fee| format!("0x{fee:x}")),
            "input": data(&t.data),
            "blockHash": place(t.block.to_string()),
            "blockNumber": place(quantity(t.number)),
            "transactionIndex": place(quantity(t.index)),
        }))
    }

    fn submit(&self, raw: &[u8]) -> Reply {
        let signed = SignedTransaction::from_raw(raw).unwrap();
        if self.0.pending().contains(&signed) {
            return Reply::error(-32000, "already known");
        }
        match block_on(self.0.submit(&signed)) {
            Ok(()) => Reply::Result(json!(signed.hash().to_string())),
            Err(e) => words(&e),
        }
    }

    fn simulate(&self, params: &Value) -> Reply {
        match block_on(self.0.simulate(&call(params))) {
            Ok(Simulation::Gas(gas)) => Reply::Result(json!(quantity(gas))),
            Ok(Simulation::Reverted(r)) => Reply::Error(3, "execution reverted".into(), json!(data(&r.data))),
            Err(e) => words(&e),
        }
    }

    fn call(&self, params: &Value) -> Reply {
        match block_on(self.0.call(hash(&params[1]["blockHash"]), &call(&params[0]))) {
            Ok(CallOutcome::Returned(output)) => Reply::Result(json!(data(&output))),
            Ok(CallOutcome::Reverted(r)) => {
                Reply::Error(3, "execution reverted".into(), json!(data(&r.data)))
            }
            Err(e) => words(&e),
        }
    }

    fn answer(&self, method: &str, params: &Value) -> Reply {
        let result = |v: Value| Reply::Result(v);
        match method {
            "eth_chainId" => result(json!(quantity(block_on(self.0.chain_id()).unwrap()))),
            "eth_blockNumber" => result(json!(quantity(self.0.height()))),
            "eth_getBlockByNumber" => {
                let id = match params[0].as_str() {
                    Some("latest") => BlockId::Head,
                    _ => BlockId::Number(number(&params[0]) as u64),
                };
                result(self.block(id, params[1] == true))
            }
            "eth_getBlockByHash" => result(self.block(BlockId::Hash(hash(&params[0])), params[1] == true)),
            "eth_getTransactionCount" => self.count(params),
            "eth_getBalance" => {
                result(json!(quantity(block_on(self.0.balance(address(&params[0]))).unwrap())))
            }
            "eth_feeHistory" => {
                let fee = quantity(block_on(self.0.fees()).unwrap().base_fee);
                result(json!({"oldestBlock": "0x0", "baseFeePerGas": [fee, fee], "gasUsedRatio": [0.5]}))
            }
            "eth_maxPriorityFeePerGas" => {
                result(json!(quantity(block_on(self.0.fees()).unwrap().priority_fee)))
            }
            "eth_sendRawTransaction" => self.submit(&bytes(&params[0])),
            "eth_call" => self.call(params),
            "eth_estimateGas" => self.simulate(&params[0]),
            "eth_getTransactionReceipt" => self.one_receipt(hash(&params[0])),
            "eth_getTransactionByHash" => self.transaction(hash(&params[0])),
            "eth_getLogs" => self.logs(&params[0]),
            "eth_getBlockReceipts" => self.receipts(hash(&params[0])),
            other => Reply::error(-32601, &format!("the method {other} does not exist/is not available")),
        }
    }
}

/// The played node, mined by the kit.
pub(crate) struct NodePlace {
    memory: MemoryPlace,
    url: String,
}

impl NodePlace {
    pub(crate) fn new() -> Self {
        let memory = MemoryPlace::new();
        let node = Node(memory.memory());
        Self { url: serve(move |method, params| node.answer(method, params)), memory }
    }
}

#[async_trait]
impl Place for NodePlace {
    async fn chain(&self) -> Result<Arc<dyn Chain>, Error> {
        Ok(Arc::new(EvmChain::new(EvmSettings::new(&self.url, 31_337))?))
    }

    fn key(&self) -> SecretKey {
        self.memory.key()
    }

    async fn mine(&self) -> Result<(), Error> {
        self.memory.mine().await
    }

    async fn reorg(&self, depth: u64) -> Result<bool, Error> {
        self.memory.reorg(depth).await
    }
}
