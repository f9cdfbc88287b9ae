//! What the submitter needs from others: a journal and a signer.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use w3bstream_types::Address;

use crate::{Error, Hash};

/// An account on a chain: what a journal keeps records for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    /// The chain's id.
    pub chain_id: u64,
    /// The account.
    pub address: Address,
}

/// Keeps one record per nonce of an account. What the bytes mean is the submitter's matter.
#[async_trait]
pub trait TxJournal: Send + Sync + Debug {
    /// All records of an account, by rising nonce.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`], or [`crate::ErrorKind::Corrupt`] if they are not what was written.
    async fn load(&self, account: Account) -> Result<Vec<(u64, Vec<u8>)>, Error>;

    /// Writes (`Some`) and removes (`None`) records: all of it or nothing, and durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Journal`]; then it may have been written or not, but all or nothing of it.
    async fn save(&self, account: Account, changes: Vec<(u64, Option<Vec<u8>>)>) -> Result<(), Error>;
}

/// Signs transactions with the account's key.
#[async_trait]
pub trait TxSigner: Send + Sync + Debug {
    /// The account.
    fn address(&self) -> Address;

    /// Signs a transaction's signing hash: `r ‖ s ‖ v` with a low `s` and `v` 27, 28, 0 or 1.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Signer`].
    async fn sign_hash(&self, hash: &Hash) -> Result<[u8; 65], Error>;
}

type Records = BTreeMap<(Account, u64), Vec<u8>>;

/// A journal in memory, which a clone shares: for tests and for reading.
#[derive(Clone, Debug, Default)]
pub struct MemoryTxJournal(Arc<Mutex<Records>>);

#[async_trait]
impl TxJournal for MemoryTxJournal {
    async fn load(&self, account: Account) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let range = records.range((account, 0)..=(account, u64::MAX));
        Ok(range.map(|((_, nonce), record)| (*nonce, record.clone())).collect())
    }

    async fn save(&self, account: Account, changes: Vec<(u64, Option<Vec<u8>>)>) -> Result<(), Error> {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (nonce, record) in changes {
            match record {
                Some(record) => records.insert((account, nonce), record),
                None => records.remove(&(account, nonce)),
            };
        }
        Ok(())
    }
}
