//! The trait that a backend implements.

use std::fmt::Debug;

use async_trait::async_trait;
use w3bstream_types::Address;

use crate::{
    Block, BlockId, Call, CallOutcome, Error, Fees, Hash, Log, LogFilter, MinedTransaction, Nonces,
    RawReceipts, Receipt, SignedTransaction, Simulation, TxStatus,
};

/// One EVM chain, as one node of it tells it. Every answer may be late, old or, after a reorganisation, no longer
/// true; nothing here waits for confirmations.
#[async_trait]
pub trait Chain: Send + Sync + Debug {
    /// The chain's id (EIP-155). The same for ever.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongChain`] if the node serves another chain than is configured; this and every
    /// other method may answer with [`crate::ErrorKind::Unavailable`] or [`crate::ErrorKind::BadAnswer`].
    async fn chain_id(&self) -> Result<u64, Error>;

    /// A block; `None` if there is no such one. By number only canonical ones are found; by hash a backend may
    /// also know one that was replaced, or may have forgotten it.
    ///
    /// # Errors
    /// [`Error`], as for every method.
    async fn block(&self, id: BlockId) -> Result<Option<Block>, Error>;

    /// Calls a contract in the state after the block with this hash (EIP-1898, with `requireCanonical`).
    ///
    /// # Errors
    /// [`crate::ErrorKind::UnknownBlock`] if there is no such canonical block, or its state is gone.
    async fn call(&self, at: Hash, call: &Call) -> Result<CallOutcome, Error>;

    /// Tries a transaction in the head's state: the gas limit that it needs, or why it fails.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InsufficientFunds`] if the sender cannot pay the value; [`Error`].
    async fn simulate(&self, call: &Call) -> Result<Simulation, Error>;

    /// How many transactions an account has sent.
    ///
    /// # Errors
    /// [`Error`].
    async fn nonces(&self, account: Address) -> Result<Nonces, Error>;

    /// An account's balance in wei, in the head's state; `u128::MAX` if it is more.
    ///
    /// # Errors
    /// [`Error`].
    async fn balance(&self, account: Address) -> Result<u128, Error>;

    /// What to pay now.
    ///
    /// # Errors
    /// [`Error`].
    async fn fees(&self) -> Result<Fees, Error>;

    /// Gives a transaction to the network. One that is in the pool already is a success, so repeating is safe.
    /// Success promises nothing: a transaction may be dropped later.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NonceTooLow`] (also for one that is mined already), `NonceTooHigh`,
    /// `ReplacementUnderpriced`, `FeeTooLow`, `InsufficientFunds`: it is not in the pool.
    /// [`crate::ErrorKind::Rejected`]: it never will be. [`crate::ErrorKind::Unavailable`] and
    /// [`crate::ErrorKind::BadAnswer`]: it may be there or not.
    async fn submit(&self, transaction: &SignedTransaction) -> Result<(), Error>;

    /// The receipt of a transaction in a canonical block; `None` if there is none yet, or no longer.
    ///
    /// # Errors
    /// [`Error`].
    async fn receipt(&self, transaction: Hash) -> Result<Option<Receipt>, Error>;

    /// Whether the node knows a transaction.
    ///
    /// # Errors
    /// [`Error`].
    async fn status(&self, transaction: Hash) -> Result<TxStatus, Error>;

    /// A transaction in a canonical block; `None` if it is in none (yet, or no longer).
    ///
    /// # Errors
    /// [`Error`].
    async fn transaction(&self, hash: Hash) -> Result<Option<MinedTransaction>, Error>;

    /// The mined transaction with which an account used a nonce, in the canonical chain; `None` if the nonce is
    /// not used at the head. The answer is looked up in blocks, not derived from a count, so it is evidence that
    /// no other transaction can use this nonce (as long as that block stays).
    ///
    /// # Errors
    /// [`crate::ErrorKind::UnknownBlock`] if the nonce was used so long ago that the node no longer knows.
    async fn sent(&self, account: Address, nonce: u64) -> Result<Option<Hash>, Error>;

    /// All logs that a filter means, by rising height and index.
    ///
    /// # Errors
    /// [`crate::ErrorKind::TooLarge`] if there are more than the backend gives at once: ask for a narrower
    /// range; never a part without an error. [`crate::ErrorKind::UnknownBlock`] for a block that is asked for
    /// by hash and not known.
    async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, Error>;

    /// Header and receipts of a block, encoded as the chain hashes them. A backend that builds them from decoded
    /// fields checks that they make the block's hash and the receipts' root.
    ///
    /// # Errors
    /// [`crate::ErrorKind::UnknownBlock`]; [`crate::ErrorKind::Unsupported`] if the chain encodes them in a
    /// way that the backend does not know.
    async fn raw_receipts(&self, block: Hash) -> Result<RawReceipts, Error>;
}
