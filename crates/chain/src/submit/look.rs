//! Looking at the chain.

use w3bstream_types::Timestamp;

use super::decide::Sight;
use super::submitter::{COUNTS, Submitter};
use crate::{Block, BlockId, Error, ErrorKind, Fees, Receipt, TxStatus};

/// What one tick saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) now: Timestamp,
    pub(super) head: Block,
    pub(super) fees: Fees,
    /// How many transactions of the account the node counted as mined.
    pub(super) count: u64,
}

impl Submitter {
    /// Head, fees and count of transactions.
    pub(super) async fn look(&mut self, now: Timestamp) -> Result<View, Error> {
        let head = self.chain.block(BlockId::Head).await?;
        let head =
            head.ok_or_else(|| Error::new(ErrorKind::BadAnswer, "the node says that it has no head"))?;
        let fees = self.chain.fees().await?;
        loop {
            let count = self.chain.nonces(self.account.address).await?.latest;
            self.counts.push_back(count);
            if self.counts.len() > COUNTS {
                self.counts.pop_front();
            }
            if self.counts.len() == COUNTS {
                return Ok(View { now, head, fees, count });
            }
        }
    }

    /// What is to be seen of a nonce's transactions.
    pub(super) async fn sight(&mut self, nonce: u64, view: View) -> Result<Sight, Error> {
        let Some(slot) = self.slots.get(&nonce) else { return Ok(Sight::Unclear) };
        let said_used = self.hints.get(&nonce).is_some_and(|h| h.used);
        let hashes: Vec<_> = slot.attempts.iter().rev().map(|a| a.signed.hash()).collect();
        if view.count > nonce || said_used {
            for hash in &hashes {
                if let Some(receipt) = self.chain.receipt(*hash).await? {
                    let deep = self.deep(&receipt, view).await?;
                    return Ok(Sight::Mined(receipt, deep));
                }
            }
            match self.chain.sent(self.account.address, nonce).await? {
                Some(hash) if hashes.contains(&hash) => return Ok(Sight::Unclear),
                Some(hash) => return self.foreign(hash, view).await,
                // A count or refusal that is not borne out by a block.
                None => self.hints.entry(nonce).or_default().used = false,
            }
        }
        let Some(last) = hashes.first() else { return Ok(Sight::Unclear) };
        match self.chain.status(*last).await? {
            TxStatus::Unknown => Ok(Sight::Missing),
            TxStatus::Pending => Ok(Sight::Pooled),
            TxStatus::Mined { .. } => match self.chain.receipt(*last).await? {
                Some(receipt) => {
                    let deep = self.deep(&receipt, view).await?;
                    Ok(Sight::Mined(receipt, deep))
                }
                None => Ok(Sight::Unclear),
            },
        }
    }

    async fn foreign(&self, hash: crate::Hash, view: View) -> Result<Sight, Error> {
        Ok(match self.chain.receipt(hash).await? {
            Some(receipt) => Sight::Foreign(hash, self.deep(&receipt, view).await?),
            None => Sight::Unclear,
        })
    }

    /// Whether a receipt's block is canonical and has enough blocks above it.
    async fn deep(&self, receipt: &Receipt, view: View) -> Result<bool, Error> {
        // Its own block is the first confirmation.
        let confirmations = view.head.number.saturating_add(1).saturating_sub(receipt.number);
        if confirmations < self.settings.confirmations {
            return Ok(false);
        }
        let canonical = self.chain.block(BlockId::Number(receipt.number)).await?;
        Ok(canonical.is_some_and(|block| block.hash == receipt.block))
    }
}
