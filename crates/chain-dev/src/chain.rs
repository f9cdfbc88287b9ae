//! The room's trait.

use w3bstream_chain::{
    Block, BlockId, Call, CallOutcome, Chain, Error, ErrorKind, Fees, Hash, Log, LogBlocks, LogFilter,
    MinedTransaction, Nonces, RawReceipts, Receipt, Revert, SignedTransaction, Simulation, TxStatus,
    async_trait,
};
use w3bstream_types::Address;

use crate::ledger::Mined;
use crate::{DevChain, PRIORITY_FEE};

/// The most logs of one answer.
const MAX_LOGS: usize = 10_000;

fn unknown(hash: &Hash) -> Error {
    Error::new(ErrorKind::UnknownBlock, format!("block {hash} is not in the chain"))
}

#[async_trait]
impl Chain for DevChain {
    async fn chain_id(&self) -> Result<u64, Error> {
        Ok(self.ledger().settings.chain_id)
    }

    async fn block(&self, id: BlockId) -> Result<Option<Block>, Error> {
        let ledger = self.ledger();
        let found = match id {
            BlockId::Head => Some(ledger.head()),
            BlockId::Number(number) => ledger.at_height(number),
            BlockId::Hash(hash) => ledger.with_hash(&hash),
        };
        Ok(found.map(|mined| mined.block))
    }

    async fn call(&self, at: Hash, call: &Call) -> Result<CallOutcome, Error> {
        let ledger = self.ledger();
        let ran = ledger.call(ledger.with_hash(&at).ok_or_else(|| unknown(&at))?, call)?;
        Ok(if ran.success {
            CallOutcome::Returned(ran.output)
        } else {
            CallOutcome::Reverted(Revert::new(ran.output))
        })
    }

    async fn simulate(&self, call: &Call) -> Result<Simulation, Error> {
        self.ledger().simulate(call)
    }

    async fn nonces(&self, account: Address) -> Result<Nonces, Error> {
        let ledger = self.ledger();
        let latest = ledger.nonce(&account);
        let pending = (latest..).find(|n| !ledger.pool.contains_key(&(account, *n))).unwrap_or(latest);
        Ok(Nonces { latest, pending })
    }

    async fn balance(&self, account: Address) -> Result<u128, Error> {
        Ok(self.ledger().balance(&account))
    }

    async fn fees(&self) -> Result<Fees, Error> {
        Ok(Fees { base_fee: self.ledger().next_base_fee().into(), priority_fee: PRIORITY_FEE })
    }

    async fn submit(&self, transaction: &SignedTransaction) -> Result<(), Error> {
        self.ledger().submit(transaction)
    }

    async fn receipt(&self, transaction: Hash) -> Result<Option<Receipt>, Error> {
        Ok(self.ledger().receipt(&transaction).cloned())
    }

    async fn status(&self, transaction: Hash) -> Result<TxStatus, Error> {
        let ledger = self.ledger();
        if let Some(r) = ledger.receipt(&transaction) {
            return Ok(TxStatus::Mined { number: r.number, block: r.block });
        }
        let pooled = ledger.pool.values().any(|t| t.hash() == transaction);
        Ok(if pooled { TxStatus::Pending } else { TxStatus::Unknown })
    }

    async fn transaction(&self, hash: Hash) -> Result<Option<MinedTransaction>, Error> {
        Ok(self.ledger().transaction(&hash))
    }

    async fn sent(&self, account: Address, nonce: u64) -> Result<Option<Hash>, Error> {
        Ok(self.ledger().sent(account, nonce))
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, Error> {
        let ledger = self.ledger();
        let blocks: Vec<&Mined> = match filter.blocks {
            LogBlocks::Range { from, to } => ledger.range(from, to).collect(),
            LogBlocks::Block(hash) => vec![ledger.with_hash(&hash).ok_or_else(|| unknown(&hash))?],
        };
        let all = blocks.into_iter().flat_map(|b| &b.receipts).flat_map(|r| &r.logs);
        let meant = all.filter(|l| filter.matches(&l.address, &l.topics));
        let logs: Vec<Log> = meant.take(MAX_LOGS + 1).cloned().collect();
        if logs.len() > MAX_LOGS {
            let what = format!("more than {MAX_LOGS} logs: ask for fewer blocks at once");
            return Err(Error::new(ErrorKind::TooLarge, what));
        }
        Ok(logs)
    }

    async fn raw_receipts(&self, block: Hash) -> Result<RawReceipts, Error> {
        let ledger = self.ledger();
        let mined = ledger.with_hash(&block).ok_or_else(|| unknown(&block))?;
        Ok(RawReceipts { block: mined.block, header: mined.header.clone(), receipts: mined.raw.clone() })
    }
}
