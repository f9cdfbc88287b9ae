//! Blocks and pool.

use std::collections::BTreeMap;
use std::sync::Arc;

use w3bstream_types::Address;

use super::world::{Codes, Contract, Native, Ran, Storage, World, intrinsic_gas};
use super::{Fate, encode};
use crate::{Block, Call, Error, ErrorKind, Hash, Log, LogPlace, Receipt, SignedTransaction, trie};

/// Seconds between blocks, and the time of the first.
const BLOCK_TIME: u64 = 12;
const GENESIS_TIME: u64 = 1_700_000_000;
/// How far beyond the next nonce the pool keeps a transaction.
const MAX_AHEAD: u64 = 64;

/// A block with what made it and what is known after it.
pub(super) struct Mined {
    pub(super) block: Block,
    pub(super) header: Vec<u8>,
    pub(super) transactions: Vec<SignedTransaction>,
    pub(super) receipts: Vec<Receipt>,
    pub(super) raw: Vec<Vec<u8>>,
    pub(super) world: World,
}

pub(super) struct State {
    pub(super) chain_id: u64,
    /// By height, without gap; never empty.
    pub(super) blocks: Vec<Mined>,
    genesis: Mined,
    pub(super) pool: BTreeMap<(Address, u64), SignedTransaction>,
    pub(super) codes: Codes,
    pub(super) base_fee: u128,
    pub(super) capacity: usize,
    /// Rises with each block, so that no two have the same hash.
    salt: u64,
}

fn mined(block: Block, world: World) -> Mined {
    Mined { block, header: vec![], transactions: vec![], receipts: vec![], raw: vec![], world }
}

/// Fills in what follows from the transactions: receipts' root, header, hash, and the hash in receipts and logs.
fn seal(mut block: Mined, salt: u64) -> Mined {
    block.block.receipts_root = trie::root(&block.raw);
    let logs: Vec<Log> = block.receipts.iter().flat_map(|r| r.logs.clone()).collect();
    let gas_used = block.receipts.iter().map(|r| r.gas_used).sum();
    let content = encode::Content { transactions: &block.transactions, logs: &logs, gas_used, salt };
    block.header = encode::header(&block.block, &content);
    let hash = Hash::of(&block.header);
    block.block.hash = hash;
    for receipt in &mut block.receipts {
        receipt.block = hash;
        receipt.logs.iter_mut().for_each(|log| log.at.block = hash);
    }
    block
}

impl State {
    pub(super) fn new(chain_id: u64) -> Self {
        let base_fee = 1_000_000_000;
        let first = |salt| {
            let block = Block {
                number: 0,
                hash: Hash::ZERO,
                parent: Hash::ZERO,
                time: GENESIS_TIME,
                base_fee,
                receipts_root: Hash::ZERO,
            };
            seal(mined(block, World::default()), salt)
        };
        Self {
            chain_id,
            blocks: vec![],
            genesis: first(chain_id),
            pool: BTreeMap::new(),
            codes: Codes::new(),
            base_fee,
            capacity: usize::MAX,
            salt: chain_id,
        }
    }

    pub(super) fn head(&self) -> &Mined {
        self.blocks.last().unwrap_or(&self.genesis)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Mined> {
        std::iter::once(&mut self.genesis).chain(&mut self.blocks)
    }

    pub(super) fn at_height(&self, number: u64) -> Option<&Mined> {
        let Some(above) = number.checked_sub(1) else { return Some(&self.genesis) };
        self.blocks.get(usize::try_from(above).ok()?)
    }

    pub(super) fn with_hash(&self, hash: &Hash) -> Option<&Mined> {
        std::iter::once(&self.genesis).chain(&self.blocks).find(|b| b.block.hash == *hash)
    }

    pub(super) fn receipts(&self) -> impl Iterator<Item = &Receipt> {
        self.blocks.iter().flat_map(|b| &b.receipts)
    }

    pub(super) fn fund(&mut self, account: Address, wei: u128) {
        for block in self.all_mut() {
            let account = block.world.account_mut(account);
            account.balance = account.balance.saturating_add(wei);
        }
    }

    pub(super) fn place(&mut self, at: Address, native: &Arc<dyn Native>) {
        for block in self.all_mut() {
            let contract = Contract { native: Arc::clone(native), storage: Storage::new() };
            block.world.contracts.insert(at, contract);
        }
    }

    /// The rules of a usual pool.
    pub(super) fn submit(&mut self, signed: &SignedTransaction) -> Result<(), Error> {
        let t = signed.transaction();
        let sender = self.head().world.account(&signed.sender());
        let no = |kind, what: String| Err(Error::new(kind, format!("transaction {}: {what}", signed.hash())));
        if t.chain_id != self.chain_id {
            return no(ErrorKind::Rejected, format!("is for chain {}, not {}", t.chain_id, self.chain_id));
        }
        let least = intrinsic_gas(&t.data, t.to.is_none());
        if t.gas_limit < least || t.gas_limit > encode::BLOCK_GAS || t.priority_fee > t.max_fee {
            return no(ErrorKind::Rejected, format!("gas limit {} or fees cannot be", t.gas_limit));
        }
        if t.nonce < sender.nonce {
            return no(ErrorKind::NonceTooLow, format!("nonce {}, next is {}", t.nonce, sender.nonce));
        }
        if t.nonce > sender.nonce.saturating_add(MAX_AHEAD) {
            return no(ErrorKind::NonceTooHigh, format!("nonce {}, next is {}", t.nonce, sender.nonce));
        }
        if t.priority_fee == 0 {
            return no(ErrorKind::FeeTooLow, "pays no tip".into());
        }
        if sender.balance < t.max_cost() {
            return no(
                ErrorKind::InsufficientFunds,
                format!("costs {}, has {}", t.max_cost(), sender.balance),
            );
        }
        let key = (signed.sender(), t.nonce);
        if let Some(old) = self.pool.get(&key) {
            if old.hash() == signed.hash() {
                return Ok(());
            }
            let (old, more) = (old.transaction(), |fee: u128| fee.saturating_add(fee / 10));
            if t.max_fee < more(old.max_fee) || t.priority_fee < more(old.priority_fee) {
                return no(ErrorKind::ReplacementUnderpriced, "must pay 10 % more to replace".into());
            }
        }
        self.pool.insert(key, signed.clone());
        Ok(())
    }

    pub(super) fn mine(&mut self) -> Block {
        let parent = self.head();
        let block = Block {
            number: parent.block.number + 1,
            hash: Hash::ZERO,
            parent: parent.block.hash,
            time: parent.block.time + BLOCK_TIME,
            base_fee: self.base_fee,
            receipts_root: Hash::ZERO,
        };
        let mut new = mined(block, parent.world.clone());
        let mut log_index = 0;
        while new.transactions.len() < self.capacity {
            // A sender's transactions go in by nonce, so this finds the one after another's inclusion.
            let fits = |t: &&SignedTransaction| {
                let sender = new.world.account(&t.sender());
                let t = t.transaction();
                t.nonce == sender.nonce && t.max_fee >= self.base_fee && sender.balance >= t.max_cost()
            };
            let Some(next) = self.pool.values().find(fits).cloned() else { break };
            self.pool.remove(&(next.sender(), next.transaction().nonce));
            include(&mut new, next, &self.codes, &mut log_index);
        }
        // What was overtaken by a mined transaction is no longer valid.
        self.pool.retain(|(sender, nonce), _| *nonce >= new.world.account(sender).nonce);
        self.salt += 1;
        let new = seal(new, self.salt);
        let block = new.block;
        self.blocks.push(new);
        block
    }

    pub(super) fn reorg(&mut self, depth: u64, fate: Fate) {
        let keep = self.blocks.len().saturating_sub(usize::try_from(depth).unwrap_or(usize::MAX));
        let gone = self.blocks.split_off(keep);
        let count = gone.len();
        let waiting = std::mem::take(&mut self.pool);
        for _ in 0..=count {
            self.mine();
        }
        self.pool = waiting;
        if fate == Fate::Pooled {
            let back = gone.into_iter().flat_map(|b| b.transactions);
            self.pool.extend(back.map(|t| ((t.sender(), t.transaction().nonce), t)));
        }
    }
}

/// Adds one transaction to a block.
fn include(block: &mut Mined, signed: SignedTransaction, codes: &Codes, log_index: &mut u64) {
    let t = signed.transaction();
    let price = t.max_fee.min(block.block.base_fee.saturating_add(t.priority_fee));
    let call = Call {
        from: Some(signed.sender()),
        to: t.to,
        value: t.value,
        data: t.data.clone(),
        gas_limit: Some(t.gas_limit),
    };
    block.world.account_mut(signed.sender()).nonce += 1;
    let Ran { gas, result, created, contract } = block.world.run(&call, t.nonce, codes);
    let payer = block.world.account_mut(signed.sender());
    payer.balance = payer.balance.saturating_sub(price.saturating_mul(gas.into()));
    let success = result.is_ok();
    let place =
        |index| LogPlace { number: block.block.number, block: Hash::ZERO, transaction: signed.hash(), index };
    let events = result.map(|effect| effect.logs).unwrap_or_default();
    let logs: Vec<Log> = (*log_index..)
        .zip(events)
        .map(|(index, (topics, data))| Log { address: contract, topics, data, at: place(index) })
        .collect();
    *log_index += logs.len() as u64;
    let cumulative = block.receipts.iter().map(|r| r.gas_used).sum::<u64>() + gas;
    block.raw.push(crate::encode::receipt(success, cumulative, &logs));
    block.receipts.push(Receipt {
        transaction: signed.hash(),
        number: block.block.number,
        block: Hash::ZERO,
        index: block.transactions.len() as u64,
        success,
        gas_used: gas,
        effective_gas_price: price,
        created,
        logs,
    });
    block.transactions.push(signed);
}
