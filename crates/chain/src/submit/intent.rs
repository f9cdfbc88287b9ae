//! What the submitter is asked for, and what it answers.

use std::fmt;

use w3bstream_types::{Address, Digest};

use crate::{Error, Hash, Revert};

/// Names an intent for ever, such as a digest of a settlement's (subnet, epoch, height, index).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntentId(pub Digest);

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A call that should take effect once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Its name.
    pub id: IntentId,
    /// The contract.
    pub to: Address,
    /// Wei to send along.
    pub value: u128,
    /// Call data.
    pub data: Vec<u8>,
}

/// Limits and times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many blocks, its own included, make a transaction final. At least 1.
    pub confirmations: u64,
    /// How many intents may have a nonce and no outcome. At least 1; a pool keeps 16 or more of one account.
    pub max_in_flight: usize,
    /// The most that one unit of gas may cost, in wei.
    pub max_fee: u128,
    /// The most gas that one transaction may use.
    pub max_gas: u64,
    /// Milliseconds after which the next transaction in line is replaced by one that pays more.
    pub bump_after: u64,
    /// Milliseconds after which a transaction that the node does not know is sent again.
    pub resend_after: u64,
    /// How many transactions are signed for one nonce at most.
    pub max_attempts: usize,
    /// How many nonces without a transaction are filled at most.
    pub max_gap: u64,
    /// A balance below this is reported, in wei.
    pub low_balance: u128,
}

impl Default for Settings {
    /// For a chain with blocks every few seconds: 6 confirmations, 16 in flight, 500 gwei.
    fn default() -> Self {
        Self {
            confirmations: 6,
            max_in_flight: 16,
            max_fee: 500_000_000_000,
            max_gas: 5_000_000,
            bump_after: 60_000,
            resend_after: 15_000,
            max_attempts: 24,
            max_gap: 64,
            low_balance: 50_000_000_000_000_000,
        }
    }
}

/// The transaction that decided about an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mined {
    /// Its hash.
    pub transaction: Hash,
    /// Its block's height.
    pub number: u64,
    /// Its block's hash.
    pub block: Hash,
    /// Gas that it used.
    pub gas_used: u64,
    /// Wei that it paid for one unit of gas.
    pub gas_price: u128,
}

/// What became of an intent, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Done(Mined),
    /// Its transaction was mined and failed; why, as far as calling it again in the state before told.
    Reverted(Mined, Revert),
    /// It was given up before it was mined, and its nonce was used for nothing.
    Cancelled(Cancel),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(mined) => {
                write!(f, "done in transaction {} of block {}", mined.transaction, mined.number)
            }
            Self::Reverted(mined, revert) => write!(f, "transaction {} {revert}", mined.transaction),
            Self::Cancelled(cancel) => write!(f, "cancelled: {cancel}"),
        }
    }
}

/// Why an intent was given up after it had a nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// It was still waiting when the chain's state changed so that it fails.
    Reverts(Revert),
    /// The node refuses its transaction for ever; its words.
    Rejected(String),
}

impl fmt::Display for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reverts(revert) => revert.fmt(f),
            Self::Rejected(words) => write!(f, "the node refuses it: {words}"),
        }
    }
}

/// Why an intent is not even tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It fails in the state of the chain's head.
    Reverts(Revert),
    /// It needs this much gas, more than [`Settings::max_gas`].
    TooMuchGas(u64),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reverts(revert) => revert.fmt(f),
            Self::TooMuchGas(gas) => write!(f, "needs {gas} gas, more than max-gas allows"),
        }
    }
}

/// What an offer was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It has this nonce, now or since an earlier offer.
    Taken(u64),
    /// Not now, for this reason. Nothing is kept; offer it again.
    Later(&'static str),
    /// It cannot work as the chain is now. Nothing is kept.
    Refused(Refusal),
    /// It has come to an end before.
    Finished(Outcome),
}

/// What an operator should know.
#[derive(Debug)]
#[non_exhaustive]
pub enum Warning {
    /// The balance is below [`Settings::low_balance`], or below what a transaction may cost: is, should be, in wei.
    LowBalance {
        /// What the account has.
        balance: u128,
        /// What it should have at least.
        needed: u128,
    },
    /// What should be paid for one unit of gas is more than [`Settings::max_fee`].
    FeeCap {
        /// What should be paid, in wei.
        wanted: u128,
    },
    /// A transaction waits though as many replacements were signed as allowed.
    Stuck {
        /// Its nonce.
        nonce: u64,
    },
    /// Somebody else sends from this account: this transaction used a nonce that was ours.
    Foreign {
        /// The nonce.
        nonce: u64,
        /// The transaction.
        transaction: Hash,
    },
    /// Transactions wait for nonces that nothing was sent with.
    Gap {
        /// The first missing one.
        from: u64,
        /// The first one that is there.
        to: u64,
        /// Whether they are being filled with empty transfers.
        filling: bool,
    },
    /// The node refuses a transaction for ever.
    Rejected {
        /// The transaction's nonce.
        nonce: u64,
        /// The node's words.
        why: String,
    },
    /// Something did not work now and is tried again.
    Node(Error),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LowBalance { balance, needed } => {
                write!(f, "the account has {balance} wei and should have {needed}: send it some")
            }
            Self::FeeCap { wanted } => {
                write!(
                    f,
                    "the chain asks for {wanted} wei per gas, more than max-fee allows: raise it or wait"
                )
            }
            Self::Stuck { nonce } => {
                write!(f, "nonce {nonce} waits after as many tries as max-attempts allows")
            }
            Self::Foreign { nonce, transaction } => {
                write!(
                    f,
                    "nonce {nonce} was used by {transaction}, which is not ours: use the key nowhere else"
                )
            }
            Self::Gap { from, to, filling: true } => {
                write!(f, "filling the nonces from {from} to before {to}")
            }
            Self::Gap { from, to, filling: false } => {
                write!(
                    f,
                    "nothing was sent with the nonces from {from} to before {to}: send something yourself"
                )
            }
            Self::Rejected { nonce, why } => write!(f, "the node refuses nonce {nonce}: {why}"),
            Self::Node(e) => e.fmt(f),
        }
    }
}

/// What one [`super::Submitter::tick`] brought.
#[derive(Debug, Default)]
pub struct Report {
    /// Intents that came to an end.
    pub finished: Vec<(IntentId, Outcome)>,
    /// What an operator should know.
    pub warnings: Vec<Warning>,
    /// What the account has, in wei; `None` if the node did not say.
    pub balance: Option<u128>,
}
