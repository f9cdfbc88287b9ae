//! An EVM chain inside the process, on revm: for development, demonstrations and tests.
//!
//! **Takes** signed transactions and calls; **gives** blocks, receipts and logs, as a node of Ethereum after Osaka would.
//! The whole path of a dApp runs with nothing installed and no network.
//!
//! # What is real
//! Execution and gas; fees after EIP-1559; nonces, a pool with the usual rules; headers, receipts, blooms and their tries,
//! so that a receipt's proof of this chain is checked like any other's; calls in the state of any block; reorganisations,
//! on command.
//!
//! # What is not
//! There is no network and no consensus: the owner mines, or every transaction does. There is no state trie; its root in
//! the headers is zero. Blobs, access lists and transactions of other types than 2 are not taken. Everything is lost with
//! the process.
//!
//! ```
//! use w3bstream_chain_dev::{DevChain, Settings, dev_key};
//!
//! let chain = DevChain::new(Settings::default());
//! // PUSH1 1, PUSH1 0, SSTORE, STOP: a contract without code that leaves a mark.
//! let receipt = chain.transact(&dev_key(0), None, vec![0x60, 1, 0x60, 0, 0x55, 0]).unwrap();
//! let contract = receipt.created.unwrap();
//! assert_eq!(chain.storage(contract, [0; 32])[31], 1);
//! ```

mod chain;
mod encode;
mod evm;
mod ledger;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use revm::primitives::U256;
pub use w3bstream_chain::memory::Fate;
use w3bstream_chain::{
    Block, Call, Error, ErrorKind, Hash, Receipt, SignedTransaction, Simulation, Transaction,
};
use w3bstream_types::{Address, Algorithm, Clock, Digest, SecretKey};

use evm::to_evm;
use ledger::Ledger;

/// When blocks are mined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mining {
    /// With each transaction that may go into a block.
    Instant,
    /// By [`DevChain::mine`].
    OnDemand,
}

/// How a chain is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its id (EIP-155).
    pub chain_id: u64,
    /// When blocks are mined.
    pub mining: Mining,
    /// Gas that a block holds.
    pub gas_limit: u64,
    /// The first block's base fee, in wei.
    pub base_fee: u64,
    /// Tells the time of blocks. Without one a block is twelve seconds after the one before it, so that two runs give the
    /// same chain.
    pub clock: Option<Arc<dyn Clock>>,
    /// Who has how many wei from the first block on.
    pub funded: Vec<(Address, u128)>,
}

impl Default for Settings {
    /// Chain 31337, mined instantly, and 10,000 ether for each of the ten [`dev_key`]s.
    fn default() -> Self {
        Self {
            chain_id: 31_337,
            mining: Mining::Instant,
            gas_limit: 60_000_000,
            base_fee: 1_000_000_000,
            clock: None,
            funded: (0..DEV_KEYS)
                .filter_map(|i| Address::of_key(&dev_key(i).public()).ok())
                .map(|a| (a, DEV_WEI))
                .collect(),
        }
    }
}

/// How many [`dev_key`]s have money by default, and how many wei.
const DEV_KEYS: u8 = 10;
const DEV_WEI: u128 = 10_000 * 10u128.pow(18);

/// A key for development. **Everybody knows it: whatever it is given on another chain is lost.**
#[must_use]
#[allow(clippy::expect_used, reason = "all 256 keys are made by a test")]
pub fn dev_key(index: u8) -> SecretKey {
    let seed = Digest::tagged("w3b/dev-key/1", &[&[index]]);
    SecretKey::from_bytes(Algorithm::ES256K, seed.as_bytes()).expect("a scalar of the curve")
}

/// A moment of a chain, to go back to.
#[derive(Clone)]
pub struct Snapshot {
    number: u64,
    hash: Hash,
    pool: BTreeMap<(Address, u64), SignedTransaction>,
    shift: u64,
    forced_base_fee: Option<u64>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot(block {} {}, {} pending)", self.number, self.hash, self.pool.len())
    }
}

/// A chain in this process. Every method takes as long as what it executes; none waits for anything.
pub struct DevChain {
    ledger: Mutex<Ledger>,
}

impl fmt::Debug for DevChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.ledger().head().block.number;
        f.debug_struct("DevChain").field("head", &head).finish_non_exhaustive()
    }
}

impl DevChain {
    /// A chain with its first block.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { ledger: Mutex::new(Ledger::new(settings)) }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an account wei, as if it had had them from the first block on.
    pub fn fund(&self, account: Address, wei: u128) {
        self.ledger().world.fund(to_evm(&account), U256::from(wei));
    }

    /// Mines a block with what is in the pool and may go in; an empty one otherwise.
    pub fn mine(&self) -> Block {
        self.ledger().mine()
    }

    /// Sets when blocks are mined from now on.
    pub fn set_mining(&self, mining: Mining) {
        self.ledger().settings.mining = mining;
    }

    /// Makes the next block (with a clock: all blocks to come) this many seconds later.
    pub fn advance_time(&self, seconds: u64) {
        let mut ledger = self.ledger();
        ledger.shift = ledger.shift.saturating_add(seconds);
    }

    /// Sets the next block's base fee, in wei. From there it goes on after EIP-1559.
    pub fn set_base_fee(&self, wei: u64) {
        self.ledger().forced_base_fee = Some(wei);
    }

    /// Replaces the last `depth` blocks (never the first one) by as many empty ones with other hashes, and one more.
    pub fn reorg(&self, depth: u64, fate: Fate) {
        self.ledger().reorg(depth, fate);
    }

    /// Notes where the chain is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.ledger().snapshot()
    }

    /// Goes back to a snapshot: blocks that came after it were never there. What [`Self::fund`] gave stays.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownBlock`] if its block was replaced in a reorganisation, or belongs to another chain.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<(), Error> {
        self.ledger().restore(snapshot)
    }

    /// What is in the pool, by sender and nonce.
    #[must_use]
    pub fn pending(&self) -> Vec<SignedTransaction> {
        self.ledger().pool.values().cloned().collect()
    }

    /// Empties the pool, as a node's restart may do; gives what was in it.
    pub fn drop_pending(&self) -> Vec<SignedTransaction> {
        std::mem::take(&mut self.ledger().pool).into_values().collect()
    }

    /// The head's height.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.ledger().head().block.number
    }

    /// A word of a contract's storage at the head.
    #[must_use]
    pub fn storage(&self, contract: Address, slot: [u8; 32]) -> [u8; 32] {
        let ledger = self.ledger();
        let slot = U256::from_be_bytes(slot);
        ledger.world.slot(&to_evm(&contract), slot, ledger.head().block.number).to_be_bytes()
    }

    /// A contract's code at the head; empty if there is none.
    #[must_use]
    pub fn code(&self, contract: Address) -> Vec<u8> {
        let ledger = self.ledger();
        let account = ledger.world.account(&to_evm(&contract), ledger.head().block.number);
        let code = account.and_then(|a| ledger.world.code(&a.code_hash).map(|c| c.original_bytes().to_vec()));
        code.unwrap_or_default()
    }

    /// Calls a contract, or creates one, in a transaction that is mined at once, with as much gas as it needs.
    ///
    /// # Errors
    /// [`ErrorKind::Rejected`] with the reason if it would revert; then nothing is sent. Else as [`Self::transact_with_gas`].
    pub fn transact(&self, key: &SecretKey, to: Option<Address>, data: Vec<u8>) -> Result<Receipt, Error> {
        let call = Call { from: Some(sender(key)?), to, value: 0, data, gas_limit: None };
        let simulation = self.ledger().simulate(&call)?;
        match simulation {
            Simulation::Gas(gas) => self.transact_with_gas(key, to, call.data, gas),
            Simulation::Reverted(revert) => Err(Error::new(ErrorKind::Rejected, revert.to_string())),
        }
    }

    /// As [`Self::transact`] with this gas limit. Whether it succeeded stands in the receipt.
    ///
    /// # Errors
    /// Those of `submit`; [`ErrorKind::Rejected`] for a key that is not of secp256k1.
    pub fn transact_with_gas(
        &self,
        key: &SecretKey,
        to: Option<Address>,
        data: Vec<u8>,
        gas_limit: u64,
    ) -> Result<Receipt, Error> {
        let sender = sender(key)?;
        let mut ledger = self.ledger();
        let (nonce, base_fee) = (ledger.nonce(&sender), u128::from(ledger.next_base_fee()));
        let transaction = Transaction {
            chain_id: ledger.settings.chain_id,
            nonce,
            priority_fee: PRIORITY_FEE,
            max_fee: 2 * base_fee + PRIORITY_FEE,
            gas_limit,
            to,
            value: 0,
            data,
        };
        let bad = |why: String| Error::new(ErrorKind::Rejected, why);
        let signature = key.sign_recoverable(transaction.signing_hash().as_bytes());
        let signature = signature.ok_or_else(|| bad("the key is not of secp256k1".into()))?;
        let signed = SignedTransaction::new(transaction, &signature).map_err(|e| bad(e.to_string()))?;
        ledger.submit(&signed)?;
        if ledger.receipt(&signed.hash()).is_none() {
            ledger.mine();
        }
        let receipt = ledger.receipt(&signed.hash()).cloned();
        receipt.ok_or_else(|| bad(format!("transaction {} is not in the block", signed.hash())))
    }
}

/// A usual tip, in wei.
const PRIORITY_FEE: u128 = 1_000_000_000;

fn sender(key: &SecretKey) -> Result<Address, Error> {
    Address::of_key(&key.public()).map_err(|e| Error::new(ErrorKind::Rejected, e.to_string()))
}
