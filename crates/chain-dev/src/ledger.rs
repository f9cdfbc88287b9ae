//! Blocks, pool, reorganisations.

use std::collections::{BTreeMap, HashMap};

use revm::primitives::U256;
use w3bstream_chain::encode::{bloom, receipt};
use w3bstream_chain::memory::Fate;
use w3bstream_chain::{
    Block, Call, Error, ErrorKind, Hash, Log, LogPlace, MinedTransaction, Receipt, SignedTransaction,
    Simulation, trie,
};
use w3bstream_types::{Address, keccak256};

use crate::evm::{self, Env, Ran, View, from_evm, to_evm};
use crate::world::World;
use crate::{Mining, Settings, Snapshot, encode};

/// Seconds between blocks where no clock says otherwise, and the time of the first.
const BLOCK_TIME: u64 = 12;
const GENESIS_TIME: u64 = 1_700_000_000;
/// How far beyond the next nonce the pool keeps a transaction.
const MAX_AHEAD: u64 = 64;
/// The base fee changes by this part of itself at most, and aims at half the gas limit (EIP-1559).
const FEE_CHANGE: u64 = 8;

/// A block with what is in it.
pub(crate) struct Mined {
    pub(crate) block: Block,
    pub(crate) header: Vec<u8>,
    pub(crate) transactions: Vec<SignedTransaction>,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) raw: Vec<Vec<u8>>,
    gas_used: u64,
    random: [u8; 32],
}

pub(crate) struct Ledger {
    pub(crate) settings: Settings,
    genesis: Mined,
    /// By height from 1 on, without gap.
    blocks: Vec<Mined>,
    pub(crate) world: World,
    pub(crate) pool: BTreeMap<(Address, u64), SignedTransaction>,
    heights: HashMap<Hash, u64>,
    /// Height and index of each mined transaction.
    places: HashMap<Hash, (u64, usize)>,
    /// Who used which nonce.
    used: HashMap<(Address, u64), Hash>,
    /// Seconds that are to be added to the next block's time, or to the clock's.
    pub(crate) shift: u64,
    pub(crate) forced_base_fee: Option<u64>,
    /// Rises with each block, so that no two have the same hash.
    salt: u64,
}

/// Fills in what follows from the transactions: receipts' root, header, hash, and the hash in receipts and logs.
fn seal(mut new: Mined, gas_limit: u64, salt: u64) -> Mined {
    new.block.receipts_root = trie::root(&new.raw);
    let content = encode::Content {
        transactions: &new.transactions,
        bloom: bloom(new.receipts.iter().flat_map(|r| &r.logs)),
        gas_used: new.gas_used,
        gas_limit,
        salt,
        random: new.random,
    };
    new.header = encode::header(&new.block, &content);
    let hash = Hash::of(&new.header);
    new.block.hash = hash;
    for receipt in &mut new.receipts {
        receipt.block = hash;
        receipt.logs.iter_mut().for_each(|log| log.at.block = hash);
    }
    new
}

fn empty(block: Block, random: [u8; 32]) -> Mined {
    let (header, transactions, receipts, raw) = Default::default();
    Mined { block, header, transactions, receipts, raw, gas_used: 0, random }
}

impl Ledger {
    pub(crate) fn new(settings: Settings) -> Self {
        let block = Block {
            number: 0,
            hash: Hash::ZERO,
            parent: Hash::ZERO,
            time: settings.clock.as_ref().map_or(GENESIS_TIME, |c| c.now().0 / 1000),
            base_fee: settings.base_fee.into(),
            receipts_root: Hash::ZERO,
        };
        let salt = settings.chain_id;
        let genesis = seal(empty(block, [0; 32]), settings.gas_limit, salt);
        let mut world = World::default();
        for (account, wei) in &settings.funded {
            world.fund(to_evm(account), U256::from(*wei));
        }
        Self {
            heights: HashMap::from([(genesis.block.hash, 0)]),
            genesis,
            blocks: Vec::new(),
            world,
            pool: BTreeMap::new(),
            places: HashMap::new(),
            used: HashMap::new(),
            shift: 0,
            forced_base_fee: None,
            salt,
            settings,
        }
    }

    pub(crate) fn head(&self) -> &Mined {
        self.blocks.last().unwrap_or(&self.genesis)
    }

    pub(crate) fn at_height(&self, number: u64) -> Option<&Mined> {
        let Some(above) = number.checked_sub(1) else { return Some(&self.genesis) };
        self.blocks.get(usize::try_from(above).ok()?)
    }

    pub(crate) fn with_hash(&self, hash: &Hash) -> Option<&Mined> {
        self.at_height(*self.heights.get(hash)?)
    }

    /// The canonical blocks of these heights.
    pub(crate) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = &Mined> {
        let to = to.min(self.head().block.number);
        (from..=to).filter_map(|number| self.at_height(number))
    }

    pub(crate) fn receipt(&self, transaction: &Hash) -> Option<&Receipt> {
        let (height, index) = self.places.get(transaction)?;
        self.at_height(*height)?.receipts.get(*index)
    }

    pub(crate) fn transaction(&self, hash: &Hash) -> Option<MinedTransaction> {
        let (height, index) = self.places.get(hash)?;
        let mined = self.at_height(*height)?;
        let place = (mined.block.number, mined.block.hash, *index as u64);
        Some(mined.transactions.get(*index)?.mined(place))
    }

    pub(crate) fn sent(&self, account: Address, nonce: u64) -> Option<Hash> {
        self.used.get(&(account, nonce)).copied()
    }

    pub(crate) fn nonce(&self, account: &Address) -> u64 {
        self.world.account(&to_evm(account), self.head().block.number).unwrap_or_default().nonce
    }

    pub(crate) fn balance(&self, account: &Address) -> u128 {
        let account = self.world.account(&to_evm(account), self.head().block.number).unwrap_or_default();
        account.balance.try_into().unwrap_or(u128::MAX)
    }

    /// The next block's base fee (EIP-1559).
    pub(crate) fn next_base_fee(&self) -> u64 {
        if let Some(fee) = self.forced_base_fee {
            return fee;
        }
        let (parent, target) = (self.head(), self.settings.gas_limit / 2);
        // A base fee is set as u64 and rises by an eighth at a time.
        let fee = u64::try_from(parent.block.base_fee).unwrap_or(u64::MAX);
        let part = |gas: u64| {
            let share =
                u128::from(fee) * u128::from(gas) / u128::from(target.max(1)) / u128::from(FEE_CHANGE);
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        match parent.gas_used.checked_sub(target) {
            Some(0) => fee,
            Some(above) => fee.saturating_add(part(above).max(1)),
            None => fee.saturating_sub(part(target - parent.gas_used)),
        }
    }

    fn next_time(&self) -> u64 {
        let parent = self.head().block.time;
        match &self.settings.clock {
            None => parent.saturating_add(BLOCK_TIME).saturating_add(self.shift),
            Some(clock) => (clock.now().0 / 1000).saturating_add(self.shift).max(parent + 1),
        }
    }

    /// The block that would be mined now.
    pub(crate) fn next_env(&self) -> Env {
        let mut random = [0; 40];
        random[..32].copy_from_slice(self.head().block.hash.as_bytes());
        random[32..].copy_from_slice(&self.salt.to_be_bytes());
        Env {
            chain_id: self.settings.chain_id,
            number: self.head().block.number + 1,
            time: self.next_time(),
            base_fee: self.next_base_fee(),
            gas_limit: self.settings.gas_limit,
            random: keccak256(&random),
        }
    }

    /// What a call in the state after a block gives. The block is the one it sees.
    pub(crate) fn call(&self, mined: &Mined, call: &Call) -> Result<Ran, Error> {
        let env = Env {
            chain_id: self.settings.chain_id,
            number: mined.block.number,
            time: mined.block.time,
            base_fee: 0,
            gas_limit: self.settings.gas_limit,
            random: mined.random,
        };
        let gas = call.gas_limit.unwrap_or(env.gas_limit).min(env.gas_limit);
        let hash = |number| self.at_height(number).map(|m| m.block.hash);
        evm::call(View { world: &self.world, height: mined.block.number, hash: &hash }, &env, call, gas)
    }

    /// Tries a call as a transaction of the next block.
    pub(crate) fn simulate(&self, call: &Call) -> Result<Simulation, Error> {
        let env = self.next_env();
        let hash = |number| self.at_height(number).map(|m| m.block.hash);
        let height = self.head().block.number;
        let run = |gas| evm::call(View { world: &self.world, height, hash: &hash }, &env, call, gas);
        let most = call.gas_limit.unwrap_or(u64::MAX).min(env.gas_limit).min(evm::MAX_GAS);
        let first = run(most)?;
        if !first.success {
            return Ok(Simulation::Reverted(w3bstream_chain::Revert::new(first.output)));
        }
        // Of the gas that is left, a call inside gets 63 of 64 parts (EIP-150), and one with value gets 2,300 more. Usually
        // this is enough at once.
        let spent = first.gas_spent;
        let mut enough = (spent + spent / 63 + 2_300).min(most);
        if !run(enough).is_ok_and(|r| r.success) {
            let mut too_little = enough;
            enough = most;
            // To one part in 64.
            while enough - too_little > enough / 64 {
                let middle = too_little + (enough - too_little) / 2;
                if run(middle).is_ok_and(|r| r.success) {
                    enough = middle;
                } else {
                    too_little = middle;
                }
            }
        }
        Ok(Simulation::Gas(enough))
    }

    /// The rules of a usual pool.
    pub(crate) fn submit(&mut self, signed: &SignedTransaction) -> Result<(), Error> {
        let (t, sender) = (signed.transaction(), signed.sender());
        let no = |kind, what: String| Err(Error::new(kind, format!("transaction {}: {what}", signed.hash())));
        if t.chain_id != self.settings.chain_id {
            return no(
                ErrorKind::Rejected,
                format!("is for chain {}, not {}", t.chain_id, self.settings.chain_id),
            );
        }
        let (least, most) =
            (evm::least_gas(&t.data, t.to.is_none()), evm::MAX_GAS.min(self.settings.gas_limit));
        if !(least..=most).contains(&t.gas_limit) {
            return no(ErrorKind::Rejected, format!("gas limit {}, must be {least} to {most}", t.gas_limit));
        }
        if t.priority_fee > t.max_fee {
            return no(ErrorKind::Rejected, "the tip is more than the whole fee".into());
        }
        if t.to.is_none() && t.data.len() > evm::MAX_INIT_CODE {
            return no(ErrorKind::Rejected, format!("init code of {} bytes", t.data.len()));
        }
        let (next, balance) = (self.nonce(&sender), self.balance(&sender));
        if t.nonce < next {
            return no(ErrorKind::NonceTooLow, format!("nonce {}, next is {next}", t.nonce));
        }
        if t.nonce > next.saturating_add(MAX_AHEAD) {
            return no(ErrorKind::NonceTooHigh, format!("nonce {}, next is {next}", t.nonce));
        }
        if balance < t.max_cost() {
            return no(ErrorKind::InsufficientFunds, format!("costs {}, has {balance}", t.max_cost()));
        }
        let key = (sender, t.nonce);
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
        if self.settings.mining == Mining::Instant && self.next_ready(self.settings.gas_limit).is_some() {
            self.mine();
        }
        Ok(())
    }

    /// The transaction of the pool that may go into the next block now and pays most.
    fn next_ready(&self, gas_left: u64) -> Option<(Address, u64)> {
        let base_fee = u128::from(self.next_base_fee());
        // While a block is made, its changes stand at the height after the head's.
        let height = self.head().block.number + 1;
        let ready = |(sender, nonce): &(Address, u64), signed: &SignedTransaction| {
            let account = self.world.account(&to_evm(sender), height).unwrap_or_default();
            let t = signed.transaction();
            *nonce == account.nonce
                && t.max_fee >= base_fee
                && t.gas_limit <= gas_left
                && account.balance >= U256::from(t.max_cost())
        };
        let tip = |t: &SignedTransaction| {
            let t = t.transaction();
            t.priority_fee.min(t.max_fee.saturating_sub(base_fee))
        };
        let all = self.pool.iter().filter(|(key, signed)| ready(key, signed));
        // Of equals the first, so that the order is the same on every machine.
        all.rev().max_by_key(|(_, signed)| tip(signed)).map(|(key, _)| *key)
    }

    /// Mines a block with what is in the pool and may go in.
    pub(crate) fn mine(&mut self) -> Block {
        let (env, parent) = (self.next_env(), self.head().block.hash);
        let block = Block {
            number: env.number,
            hash: Hash::ZERO,
            parent,
            time: env.time,
            base_fee: env.base_fee.into(),
            receipts_root: Hash::ZERO,
        };
        let mut new = empty(block, env.random);
        while let Some(key) = self.next_ready(env.gas_limit - new.gas_used) {
            if let Some(signed) = self.pool.remove(&key) {
                self.include(&mut new, signed, &env);
            }
        }
        // What was overtaken by a mined transaction is no longer valid.
        let world = &self.world;
        let nonce = |sender: &Address| world.account(&to_evm(sender), env.number).unwrap_or_default().nonce;
        self.pool.retain(|(sender, used), _| *used >= nonce(sender));
        self.salt += 1;
        if self.settings.clock.is_none() {
            self.shift = 0;
        }
        self.forced_base_fee = None;
        let new = seal(new, self.settings.gas_limit, self.salt);
        let block = new.block;
        self.heights.insert(block.hash, block.number);
        for (index, signed) in new.transactions.iter().enumerate() {
            self.places.insert(signed.hash(), (block.number, index));
            self.used.insert((signed.sender(), signed.transaction().nonce), signed.hash());
        }
        self.blocks.push(new);
        block
    }

    /// Adds one transaction to a block.
    fn include(&mut self, new: &mut Mined, signed: SignedTransaction, env: &Env) {
        let t = signed.transaction();
        let hash = |number| self.at_height(number).map(|m| m.block.hash);
        let view = View { world: &self.world, height: env.number, hash: &hash };
        // What the EVM does not take was taken by the pool's rules wrongly: it is lost, and the chain goes on.
        let Ok(ran) = evm::transact(view, env, to_evm(&signed.sender()), t) else { return };
        let first = new.receipts.iter().map(|r| r.logs.len() as u64).sum();
        let place =
            |index| LogPlace { number: env.number, block: Hash::ZERO, transaction: signed.hash(), index };
        let logs: Vec<Log> = (first..).zip(&ran.logs).map(|(index, log)| log_of(log, place(index))).collect();
        new.gas_used += ran.gas_used;
        new.raw.push(receipt(ran.success, new.gas_used, &logs));
        new.receipts.push(Receipt {
            transaction: signed.hash(),
            number: env.number,
            block: Hash::ZERO,
            index: new.transactions.len() as u64,
            success: ran.success,
            gas_used: ran.gas_used,
            effective_gas_price: t.max_fee.min(u128::from(env.base_fee).saturating_add(t.priority_fee)),
            created: ran.created.as_ref().map(from_evm),
            logs,
        });
        self.world.commit(env.number, ran.state);
        new.transactions.push(signed);
    }

    /// Forgets all blocks above a height, and gives them.
    fn cut(&mut self, height: u64) -> Vec<Mined> {
        let keep = usize::try_from(height).unwrap_or(usize::MAX).min(self.blocks.len());
        let gone = self.blocks.split_off(keep);
        self.world.cut(height);
        for mined in &gone {
            self.heights.remove(&mined.block.hash);
            for signed in &mined.transactions {
                self.places.remove(&signed.hash());
                self.used.remove(&(signed.sender(), signed.transaction().nonce));
            }
        }
        gone
    }

    /// Replaces the last `depth` blocks by as many empty ones and one more.
    pub(crate) fn reorg(&mut self, depth: u64, fate: Fate) {
        let gone = self.cut(self.head().block.number.saturating_sub(depth));
        let waiting = std::mem::take(&mut self.pool);
        for _ in 0..=gone.len() {
            self.mine();
        }
        self.pool = waiting;
        if fate == Fate::Pooled {
            let back = gone.into_iter().flat_map(|m| m.transactions);
            self.pool.extend(back.map(|t| ((t.sender(), t.transaction().nonce), t)));
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let head = self.head().block;
        Snapshot {
            number: head.number,
            hash: head.hash,
            pool: self.pool.clone(),
            shift: self.shift,
            forced_base_fee: self.forced_base_fee,
        }
    }

    pub(crate) fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        if self.heights.get(&snapshot.hash) != Some(&snapshot.number) {
            let what = format!("snapshot of block {}: it was replaced", snapshot.number);
            return Err(Error::new(ErrorKind::UnknownBlock, what));
        }
        self.cut(snapshot.number);
        self.pool = snapshot.pool.clone();
        (self.shift, self.forced_base_fee) = (snapshot.shift, snapshot.forced_base_fee);
        Ok(())
    }
}

fn log_of(log: &revm::primitives::Log, at: LogPlace) -> Log {
    Log {
        address: from_evm(&log.address),
        topics: log.topics().iter().map(|t| Hash::from_bytes(t.0)).collect(),
        data: log.data.data.to_vec(),
        at,
    }
}
