//! A node that is unreliable in all the ways that real ones are, reproducibly.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use w3bstream_types::Address;

use crate::{
    Block, BlockId, Call, CallOutcome, Chain, Error, ErrorKind, Fees, Hash, Log, LogBlocks, LogFilter,
    MinedTransaction, Nonces, RawReceipts, Receipt, SignedTransaction, Simulation, TxStatus,
};

/// How often something goes wrong, each in percent of the calls that it can happen to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// A call does not arrive.
    pub lost: u8,
    /// A submission arrives, but its answer does not.
    pub unanswered: u8,
    /// A submission arrives twice.
    pub twice: u8,
    /// A count of transactions is up to three too low or too high.
    pub wrong_nonce: u8,
    /// A submission is refused as too low in nonce or fee though nothing is wrong with it, and does not arrive.
    pub wrong_refusal: u8,
    /// A block, receipt or transaction is not known yet though it is there, or the head is an older one.
    pub late: u8,
    /// The fee that is suggested is ten times what it should be.
    pub dear: u8,
}

impl Troubles {
    /// Everything goes wrong now and then.
    pub const ALL: Self =
        Self { lost: 10, unanswered: 15, twice: 10, wrong_nonce: 15, wrong_refusal: 10, late: 15, dear: 5 };
}

/// A chain behind a node that fails, lags and lies as [`Troubles`] say. It never makes up a receipt or a block that does
/// not exist.
pub struct FlakyChain {
    chain: Arc<dyn Chain>,
    dice: Mutex<(u64, Troubles)>,
}

impl fmt::Debug for FlakyChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlakyChain").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl FlakyChain {
    /// The troubles that `seed` makes of `troubles`.
    #[must_use]
    pub fn new(chain: Arc<dyn Chain>, seed: u64, troubles: Troubles) -> Self {
        // Zero is the one state that the generator does not leave.
        Self { chain, dice: Mutex::new((seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, troubles)) }
    }

    /// Changes what goes wrong from now on.
    pub fn set_troubles(&self, troubles: Troubles) {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).1 = troubles;
    }

    /// A number below 2^32 (xorshift64*, Vigna 2016), and the troubles.
    fn roll(&self) -> (u64, Troubles) {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        dice.0 ^= dice.0 >> 12;
        dice.0 ^= dice.0 << 25;
        dice.0 ^= dice.0 >> 27;
        (dice.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32, dice.1)
    }

    fn happens(&self, which: fn(&Troubles) -> u8) -> bool {
        let (number, troubles) = self.roll();
        number % 100 < which(&troubles).into()
    }

    /// The head's height, without any trouble.
    async fn height(&self) -> Result<u64, Error> {
        Ok(self.chain.block(BlockId::Head).await?.map_or(0, |head| head.number))
    }

    fn arrives(&self, what: &str) -> Result<(), Error> {
        if self.happens(|t| t.lost) {
            return Err(Error::new(ErrorKind::Unavailable, format!("{what}: the node does not answer")));
        }
        Ok(())
    }
}

#[async_trait]
impl Chain for FlakyChain {
    async fn chain_id(&self) -> Result<u64, Error> {
        self.arrives("chain id")?;
        self.chain.chain_id().await
    }

    async fn block(&self, id: BlockId) -> Result<Option<Block>, Error> {
        self.arrives("block")?;
        if !self.happens(|t| t.late) {
            return self.chain.block(id).await;
        }
        match id {
            BlockId::Head => {
                let older = self.height().await?.saturating_sub(self.roll().0 % 4);
                self.chain.block(BlockId::Number(older)).await
            }
            BlockId::Number(_) | BlockId::Hash(_) => Ok(None),
        }
    }

    async fn call(&self, at: Hash, call: &Call) -> Result<CallOutcome, Error> {
        self.arrives("call")?;
        self.chain.call(at, call).await
    }

    async fn simulate(&self, call: &Call) -> Result<Simulation, Error> {
        self.arrives("simulation")?;
        self.chain.simulate(call).await
    }

    async fn nonces(&self, account: Address) -> Result<Nonces, Error> {
        self.arrives("nonces")?;
        let mut nonces = self.chain.nonces(account).await?;
        if self.happens(|t| t.wrong_nonce) {
            let (by, up) = (1 + self.roll().0 % 3, self.roll().0.is_multiple_of(2));
            let wrong = |n: u64| if up { n.saturating_add(by) } else { n.saturating_sub(by) };
            nonces = Nonces { latest: wrong(nonces.latest), pending: wrong(nonces.pending) };
        }
        Ok(nonces)
    }

    async fn balance(&self, account: Address) -> Result<u128, Error> {
        self.arrives("balance")?;
        self.chain.balance(account).await
    }

    async fn fees(&self) -> Result<Fees, Error> {
        self.arrives("fees")?;
        let fees = self.chain.fees().await?;
        let times = if self.happens(|t| t.dear) { 10 } else { 1 };
        Ok(Fees { base_fee: fees.base_fee * times, priority_fee: fees.priority_fee * times })
    }

    async fn submit(&self, transaction: &SignedTransaction) -> Result<(), Error> {
        self.arrives("submission")?;
        if self.happens(|t| t.wrong_refusal) {
            let kinds = [ErrorKind::NonceTooLow, ErrorKind::ReplacementUnderpriced, ErrorKind::FeeTooLow];
            let kind = kinds.get(self.roll().0 as usize % 3).copied().unwrap_or(ErrorKind::FeeTooLow);
            return Err(Error::new(kind, "the node refuses without a cause"));
        }
        if self.happens(|t| t.twice) {
            self.chain.submit(transaction).await?;
        }
        let answer = self.chain.submit(transaction).await;
        if self.happens(|t| t.unanswered) {
            return Err(Error::new(ErrorKind::Unavailable, "submission: no answer in time"));
        }
        answer
    }

    async fn receipt(&self, transaction: Hash) -> Result<Option<Receipt>, Error> {
        self.arrives("receipt")?;
        if self.happens(|t| t.late) {
            return Ok(None);
        }
        self.chain.receipt(transaction).await
    }

    async fn status(&self, transaction: Hash) -> Result<TxStatus, Error> {
        self.arrives("status")?;
        if self.happens(|t| t.late) {
            return Ok(TxStatus::Unknown);
        }
        self.chain.status(transaction).await
    }

    async fn transaction(&self, hash: Hash) -> Result<Option<MinedTransaction>, Error> {
        self.arrives("transaction")?;
        if self.happens(|t| t.late) {
            return Ok(None);
        }
        self.chain.transaction(hash).await
    }

    async fn sent(&self, account: Address, nonce: u64) -> Result<Option<Hash>, Error> {
        self.arrives("sent")?;
        if self.happens(|t| t.late) {
            return Ok(None);
        }
        self.chain.sent(account, nonce).await
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, Error> {
        self.arrives("logs")?;
        let mut filter = filter.clone();
        if self.happens(|t| t.late) {
            // A node that lags knows nothing of the newest blocks, and does not say so for a range.
            let older = self.height().await?.saturating_sub(1 + self.roll().0 % 3);
            match &mut filter.blocks {
                LogBlocks::Range { to, .. } => *to = older.min(*to),
                LogBlocks::Block(hash) => {
                    return Err(Error::new(
                        ErrorKind::UnknownBlock,
                        format!("block {hash} is not known yet"),
                    ));
                }
            }
        }
        self.chain.logs(&filter).await
    }

    async fn raw_receipts(&self, block: Hash) -> Result<RawReceipts, Error> {
        self.arrives("receipts")?;
        self.chain.raw_receipts(block).await
    }
}
