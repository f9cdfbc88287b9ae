//! The reference: one chain in memory, whose blocks its owner mines.
//!
//! It keeps accounts, nonces, a pool with the usual rules, blocks with real header hashes and receipts' roots, logs,
//! and reorganisations. It has **no EVM**: a contract is a function in Rust ([`Native`]) that is created by an agreed
//! init code. There is no state trie, the base fee stays as it is set, and gas is a fixed price per call.

mod encode;
mod flaky;
mod state;
mod world;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use w3bstream_types::Address;

pub use flaky::{FlakyChain, Troubles};
pub use world::{Effect, Env, Native, Storage};

use crate::{
    Block, BlockId, Call, CallOutcome, Chain, Error, ErrorKind, Fees, Hash, Log, LogBlocks, LogFilter,
    MinedTransaction, Nonces, RawReceipts, Receipt, SignedTransaction, Simulation, TxStatus,
};
use state::State;

/// What becomes of the transactions of replaced blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They are in the pool again.
    Pooled,
    /// They are lost.
    Dropped,
}

/// A chain in memory: for tests and for reading. Everything is lost with the process.
pub struct MemoryChain {
    state: Mutex<State>,
}

impl fmt::Debug for MemoryChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.state().head().block.number;
        f.debug_struct("MemoryChain").field("head", &head).finish_non_exhaustive()
    }
}

impl MemoryChain {
    /// A chain with a first block and nobody on it.
    #[must_use]
    pub fn new(chain_id: u64) -> Self {
        Self { state: Mutex::new(State::new(chain_id)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an account wei, as if it had had them from the first block on.
    pub fn fund(&self, account: Address, wei: u128) {
        self.state().fund(account, wei);
    }

    /// From now on this init code creates this contract.
    pub fn install(&self, init_code: Vec<u8>, native: Arc<dyn Native>) {
        self.state().codes.insert(init_code, native);
    }

    /// Puts a contract at an address, as if it had been there from the first block on.
    pub fn place(&self, at: Address, native: Arc<dyn Native>) {
        self.state().place(at, &native);
    }

    /// Sets the base fee of the blocks to come, in wei. Transactions that pay less wait in the pool.
    pub fn set_base_fee(&self, wei: u128) {
        self.state().base_fee = wei;
    }

    /// Sets how many transactions a block holds; no bound at first.
    pub fn set_capacity(&self, transactions: usize) {
        self.state().capacity = transactions;
    }

    /// Mines a block with what is in the pool and may go in.
    pub fn mine(&self) -> Block {
        self.state().mine()
    }

    /// Replaces the last `depth` blocks (never the first one) by as many empty ones with other hashes, and one
    /// more.
    pub fn reorg(&self, depth: u64, fate: Fate) {
        self.state().reorg(depth, fate);
    }

    /// Empties the pool, as a node's restart may do; gives what was in it.
    pub fn drop_pending(&self) -> Vec<SignedTransaction> {
        std::mem::take(&mut self.state().pool).into_values().collect()
    }

    /// What is in the pool, by sender and nonce.
    #[must_use]
    pub fn pending(&self) -> Vec<SignedTransaction> {
        self.state().pool.values().cloned().collect()
    }

    /// The transactions of a canonical block; none of one that is not.
    #[must_use]
    pub fn transactions(&self, block: Hash) -> Vec<SignedTransaction> {
        self.state().with_hash(&block).map(|mined| mined.transactions.clone()).unwrap_or_default()
    }

    /// A contract's storage at the head.
    #[must_use]
    pub fn storage(&self, contract: Address) -> Storage {
        self.state().head().world.contracts.get(&contract).map(|c| c.storage.clone()).unwrap_or_default()
    }

    /// How many canonical blocks there are before the head: its height.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.state().head().block.number
    }
}

fn unknown(hash: &Hash) -> Error {
    Error::new(ErrorKind::UnknownBlock, format!("block {hash} is not in the chain"))
}

#[async_trait]
impl Chain for MemoryChain {
    async fn chain_id(&self) -> Result<u64, Error> {
        Ok(self.state().chain_id)
    }

    async fn block(&self, id: BlockId) -> Result<Option<Block>, Error> {
        let state = self.state();
        Ok(match id {
            BlockId::Head => Some(state.head()),
            BlockId::Number(number) => state.at_height(number),
            BlockId::Hash(hash) => state.with_hash(&hash),
        }
        .map(|mined| mined.block))
    }

    async fn call(&self, at: Hash, call: &Call) -> Result<CallOutcome, Error> {
        let state = self.state();
        let mut world = state.with_hash(&at).ok_or_else(|| unknown(&at))?.world.clone();
        Ok(match world.run(call, u64::MAX, &state.codes).result {
            Ok(effect) => CallOutcome::Returned(effect.output),
            Err(revert) => CallOutcome::Reverted(revert),
        })
    }

    async fn simulate(&self, call: &Call) -> Result<Simulation, Error> {
        let state = self.state();
        let mut world = state.head().world.clone();
        if let Some(from) = call.from
            && world.account(&from).balance < call.value
        {
            let what = format!("account {from} has less than {} wei", call.value);
            return Err(Error::new(ErrorKind::InsufficientFunds, what));
        }
        let ran = world.run(call, u64::MAX, &state.codes);
        Ok(match ran.result {
            Ok(_) => Simulation::Gas(ran.gas),
            Err(revert) => Simulation::Reverted(revert),
        })
    }

    async fn nonces(&self, account: Address) -> Result<Nonces, Error> {
        let state = self.state();
        let latest = state.head().world.account(&account).nonce;
        let pending = (latest..).find(|n| !state.pool.contains_key(&(account, *n))).unwrap_or(latest);
        Ok(Nonces { latest, pending })
    }

    async fn balance(&self, account: Address) -> Result<u128, Error> {
        Ok(self.state().head().world.account(&account).balance)
    }

    async fn fees(&self) -> Result<Fees, Error> {
        Ok(Fees { base_fee: self.state().base_fee, priority_fee: 1_000_000_000 })
    }

    async fn submit(&self, transaction: &SignedTransaction) -> Result<(), Error> {
        self.state().submit(transaction)
    }

    async fn receipt(&self, transaction: Hash) -> Result<Option<Receipt>, Error> {
        let state = self.state();
        Ok(state.receipts().find(|r| r.transaction == transaction).cloned())
    }

    async fn status(&self, transaction: Hash) -> Result<TxStatus, Error> {
        let state = self.state();
        if let Some(r) = state.receipts().find(|r| r.transaction == transaction) {
            return Ok(TxStatus::Mined { number: r.number, block: r.block });
        }
        let pooled = state.pool.values().any(|t| t.hash() == transaction);
        Ok(if pooled { TxStatus::Pending } else { TxStatus::Unknown })
    }

    async fn transaction(&self, hash: Hash) -> Result<Option<MinedTransaction>, Error> {
        let state = self.state();
        let found = state.blocks.iter().find_map(|mined| {
            let at = mined.transactions.iter().position(|t| t.hash() == hash)?;
            Some(mined.transactions.get(at)?.mined((mined.block.number, mined.block.hash, at as u64)))
        });
        Ok(found)
    }

    async fn sent(&self, account: Address, nonce: u64) -> Result<Option<Hash>, Error> {
        let state = self.state();
        let mut all = state.blocks.iter().flat_map(|b| &b.transactions);
        let found = all.find(|t| t.sender() == account && t.transaction().nonce == nonce);
        Ok(found.map(SignedTransaction::hash))
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, Error> {
        let state = self.state();
        let wanted = |mined: &&state::Mined| match filter.blocks {
            LogBlocks::Range { from, to } => (from..=to).contains(&mined.block.number),
            LogBlocks::Block(hash) => mined.block.hash == hash,
        };
        if let LogBlocks::Block(hash) = filter.blocks {
            state.with_hash(&hash).ok_or_else(|| unknown(&hash))?;
        }
        let logs = state.blocks.iter().filter(wanted).flat_map(|b| &b.receipts).flat_map(|r| &r.logs);
        Ok(logs.filter(|l| filter.matches(&l.address, &l.topics)).cloned().collect())
    }

    async fn raw_receipts(&self, block: Hash) -> Result<RawReceipts, Error> {
        let state = self.state();
        let mined = state.with_hash(&block).ok_or_else(|| unknown(&block))?;
        Ok(RawReceipts { block: mined.block, header: mined.header.clone(), receipts: mined.raw.clone() })
    }
}
