//! Where a chain is, and how the kit uses it.

use std::sync::Arc;

use async_trait::async_trait;
use w3bstream_types::{Address, Algorithm, SecretKey};

use super::{Failure, fixture};
use crate::memory::{Fate, MemoryChain};
use crate::{Block, BlockId, Chain, Error, Receipt, SignedTransaction, Transaction};

/// A chain that mines when it is told to. Every property gets one of its own.
#[async_trait]
pub trait Place: Send + Sync {
    /// The chain, with one block at least.
    ///
    /// # Errors
    /// Those of the backend, as for all of these.
    async fn chain(&self) -> Result<Arc<dyn Chain>, Error>;

    /// A secp256k1 key whose account has 10^18 wei at least and has sent nothing yet.
    fn key(&self) -> SecretKey;

    /// Mines one block with everything that is in the pool and may go in.
    ///
    /// # Errors
    /// Those of the backend.
    async fn mine(&self) -> Result<(), Error>;

    /// Replaces the last `depth` blocks by other ones that are empty, so that the head is not lower than before;
    /// what was in them is lost. `false` if it cannot: then what a reorganisation shows is not checked.
    ///
    /// # Errors
    /// Those of the backend.
    async fn reorg(&self, depth: u64) -> Result<bool, Error>;
}

/// The reference at a place.
#[derive(Debug)]
pub struct MemoryPlace {
    chain: Arc<MemoryChain>,
}

impl Default for MemoryPlace {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryPlace {
    /// A fresh one.
    #[must_use]
    pub fn new() -> Self {
        let chain = MemoryChain::new(31_337);
        fixture::install(&chain);
        // The fixed key is on the curve.
        if let Ok(address) = key(1).and_then(|k| address(&k)) {
            chain.fund(address, 10u128.pow(18));
        }
        Self { chain: Arc::new(chain) }
    }

    /// The chain itself.
    #[must_use]
    pub fn memory(&self) -> Arc<MemoryChain> {
        Arc::clone(&self.chain)
    }
}

#[async_trait]
impl Place for MemoryPlace {
    async fn chain(&self) -> Result<Arc<dyn Chain>, Error> {
        Ok(Arc::clone(&self.chain) as Arc<dyn Chain>)
    }

    fn key(&self) -> SecretKey {
        fixed_key(1)
    }

    async fn mine(&self) -> Result<(), Error> {
        self.chain.mine();
        Ok(())
    }

    async fn reorg(&self, depth: u64) -> Result<bool, Error> {
        self.chain.reorg(depth, Fate::Dropped);
        Ok(true)
    }
}

#[allow(clippy::expect_used, reason = "every small number but zero is a scalar of the curve")]
pub(super) fn fixed_key(n: u8) -> SecretKey {
    SecretKey::from_bytes(Algorithm::ES256K, &[n; 32]).expect("a scalar of the curve")
}

/// A key that nobody else has, without money.
pub(super) fn key(n: u8) -> Result<SecretKey, Failure> {
    SecretKey::from_bytes(Algorithm::ES256K, &[n; 32]).map_err(|e| Failure::new(e.to_string()))
}

pub(super) fn address(key: &SecretKey) -> Result<Address, Failure> {
    Address::of_key(&key.public()).map_err(|e| Failure::new(e.to_string()))
}

/// Signs a transaction.
pub(super) fn sign(transaction: Transaction, key: &SecretKey) -> Result<SignedTransaction, Failure> {
    let signature = key.sign_recoverable(transaction.signing_hash().as_bytes());
    let signature = signature.ok_or_else(|| Failure::new("the place's key is not of secp256k1"))?;
    SignedTransaction::new(transaction, &signature).map_err(|e| Failure::new(e.to_string()))
}

/// A place with its chain and the account of its key.
pub(super) struct Site<'p> {
    pub(super) place: &'p dyn Place,
    pub(super) chain: Arc<dyn Chain>,
    pub(super) key: SecretKey,
    pub(super) account: Address,
}

impl<'p> Site<'p> {
    pub(super) async fn of(place: &'p dyn Place) -> Result<Self, Failure> {
        let key = place.key();
        Ok(Self { place, chain: place.chain().await?, account: address(&key)?, key })
    }

    pub(super) async fn head(&self) -> Result<Block, Failure> {
        let head = self.chain.block(BlockId::Head).await?;
        head.ok_or_else(|| Failure::new("there is no head"))
    }

    /// A transfer of one wei to a stranger, with the next nonce and twice the usual fee. To be changed as needed.
    pub(super) async fn transaction(&self) -> Result<Transaction, Failure> {
        let fees = self.chain.fees().await?;
        Ok(Transaction {
            chain_id: self.chain.chain_id().await?,
            nonce: self.chain.nonces(self.account).await?.pending,
            priority_fee: fees.priority_fee.max(1),
            max_fee: 2 * fees.base_fee + fees.priority_fee.max(1),
            gas_limit: 21_000,
            to: Some(stranger()),
            value: 1,
            data: vec![],
        })
    }

    pub(super) async fn send(&self, transaction: Transaction) -> Result<SignedTransaction, Failure> {
        let signed = sign(transaction, &self.key)?;
        self.chain.submit(&signed).await?;
        Ok(signed)
    }

    pub(super) async fn receipt(&self, sent: &SignedTransaction) -> Result<Receipt, Failure> {
        let receipt = self.chain.receipt(sent.hash()).await?;
        receipt.ok_or_else(|| Failure::new(format!("{sent:?} was mined and has no receipt")))
    }

    /// Sends, mines, and gives the receipt.
    pub(super) async fn done(&self, transaction: Transaction) -> Result<Receipt, Failure> {
        let sent = self.send(transaction).await?;
        self.place.mine().await?;
        self.receipt(&sent).await
    }

    /// Creates the fixture.
    pub(super) async fn create(&self) -> Result<Address, Failure> {
        let mut creation = self.transaction().await?;
        (creation.to, creation.value, creation.gas_limit) = (None, 0, 500_000);
        creation.data = fixture::init_code();
        let receipt = self.done(creation).await?;
        if !receipt.success {
            return Err(Failure::new("the creation of the kit's contract failed"));
        }
        receipt.created.ok_or_else(|| Failure::new("the receipt of a creation names no contract"))
    }

    /// A call of the fixture with data, to be sent.
    pub(super) async fn calling(&self, contract: Address, data: Vec<u8>) -> Result<Transaction, Failure> {
        let mut call = self.transaction().await?;
        (call.to, call.value, call.gas_limit, call.data) = (Some(contract), 0, 200_000, data);
        Ok(call)
    }
}

/// An account that nobody uses.
pub(super) const fn stranger() -> Address {
    Address::from_bytes([0x77; 20])
}
