//! Chains that are broken on purpose, one fault each. A kit that passes one of them is worth nothing, so this
//! crate's tests see to it that it fails every one, and names the property that must notice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use w3bstream_types::{Address, SecretKey};

use super::{MemoryPlace, Place};
use crate::memory::MemoryChain;
use crate::{
    Block, BlockId, Call, CallOutcome, Chain, Error, ErrorKind, Fees, Hash, Log, LogBlocks, LogFilter,
    MinedTransaction, Nonces, RawReceipts, Receipt, Revert, SignedTransaction, Simulation, TxStatus,
};

/// In what way a chain is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// None: this one passes, which shows that the others fail by their fault alone.
    None,
    /// Has another id after each block.
    ChangesId,
    /// Says that a transaction for another chain may work later.
    ForeignIsUnavailable,
    /// Names a wrong parent.
    UnlinkedBlocks,
    /// Takes a block that does not exist for the head.
    UnknownBlockIsHead,
    /// Suggests no fee.
    SuggestsNothing,
    /// Refuses a transaction that is in the pool.
    RefusesKnown,
    /// Says that a mined transaction was accepted again.
    AcceptsMined,
    /// Has no word for a used nonce.
    NonceTooLowIsRejected,
    /// Does not count transactions in the pool.
    PendingIsLatest,
    /// Counts transactions after a gap.
    PendingCountsGaps,
    /// Says that a replacement without a higher fee was accepted.
    AcceptsAnyReplacement,
    /// Goes on showing a transaction that was replaced.
    KeepsReplaced,
    /// Has no word for a lack of money.
    PoorIsUnavailable,
    /// Gives everybody money.
    EverybodyIsRich,
    /// Says that nothing is pending.
    NeverPending,
    /// Shows balances as they were at first.
    OldBalances,
    /// Says of every mined transaction that it succeeded.
    AlwaysSucceeds,
    /// Does not say which contract was created.
    HidesContracts,
    /// Calls in the state of the head, whichever block is asked for.
    CallsAtHead,
    /// Takes a failed call for one that returned nothing.
    HidesReverts,
    /// Does not say why a call failed.
    DropsReasons,
    /// Asks for the gas of a transfer, whatever is called.
    GasOfATransfer,
    /// Leaves the last log away.
    LosesLogs,
    /// Gives the newest log first.
    LogsBackwards,
    /// Does not look into the last block of a range.
    ExcludesTheEnd,
    /// Counts logs within their transaction.
    CountsLogsPerTransaction,
    /// Does not look at topics.
    IgnoresTopics,
    /// Does not look at the contract.
    IgnoresAddresses,
    /// Takes the sender's first transaction for whatever used a nonce.
    SentIsTheFirst,
    /// Takes a nonce of the pool for used.
    SentCountsThePool,
    /// Leaves the type away in encoded receipts.
    UntypedReceipts,
    /// Gives a header that is not the block's.
    AnotherHeader,
    /// Goes on giving receipts of replaced blocks.
    RemembersReceipts,
    /// Goes on giving transactions of replaced blocks.
    RemembersTransactions,
    /// Says that no transaction sent money along.
    HidesValues,
    /// Takes the receiver for the sender.
    SwapsAccounts,
    /// Takes a transaction of the pool for a mined one.
    MinesThePool,
    /// Goes on giving logs of replaced blocks.
    RemembersLogs,
    /// Goes on giving replaced blocks by their number.
    RemembersBlocks,
}

/// Each fault with the property that must notice it; others may too.
pub const FAULTS: &[(Fault, &str)] = &[
    (Fault::ChangesId, "the_chain_has_one_id"),
    (Fault::ForeignIsUnavailable, "the_chain_has_one_id"),
    (Fault::UnlinkedBlocks, "blocks_are_linked"),
    (Fault::UnknownBlockIsHead, "a_call_sees_the_state_of_its_block"),
    (Fault::SuggestsNothing, "fees_can_be_paid"),
    (Fault::RefusesKnown, "submitting_again_is_a_success"),
    (Fault::AcceptsMined, "submitting_again_is_a_success"),
    (Fault::NonceTooLowIsRejected, "nonces_are_counted"),
    (Fault::PendingIsLatest, "nonces_are_counted"),
    (Fault::PendingCountsGaps, "transactions_wait_for_the_nonce_before"),
    (Fault::AcceptsAnyReplacement, "a_replacement_needs_a_higher_fee"),
    (Fault::KeepsReplaced, "a_replacement_needs_a_higher_fee"),
    (Fault::PoorIsUnavailable, "what_cannot_be_is_refused"),
    (Fault::EverybodyIsRich, "what_cannot_be_is_refused"),
    (Fault::NeverPending, "a_submitted_transaction_gets_a_receipt"),
    (Fault::OldBalances, "a_submitted_transaction_gets_a_receipt"),
    (Fault::AlwaysSucceeds, "reverts_are_told_with_their_data"),
    (Fault::HidesContracts, "simulated_gas_is_enough"),
    (Fault::CallsAtHead, "a_call_sees_the_state_of_its_block"),
    (Fault::HidesReverts, "reverts_are_told_with_their_data"),
    (Fault::DropsReasons, "reverts_are_told_with_their_data"),
    (Fault::GasOfATransfer, "simulated_gas_is_enough"),
    (Fault::LosesLogs, "logs_of_a_range_are_whole_and_ordered"),
    (Fault::LogsBackwards, "logs_of_a_range_are_whole_and_ordered"),
    (Fault::ExcludesTheEnd, "logs_of_a_range_are_whole_and_ordered"),
    (Fault::CountsLogsPerTransaction, "logs_of_a_range_are_whole_and_ordered"),
    (Fault::IgnoresTopics, "logs_are_filtered"),
    (Fault::IgnoresAddresses, "logs_are_filtered"),
    (Fault::SentIsTheFirst, "what_used_a_nonce_is_found"),
    (Fault::SentCountsThePool, "what_used_a_nonce_is_found"),
    (Fault::UntypedReceipts, "raw_receipts_make_the_receipts_root"),
    (Fault::AnotherHeader, "raw_receipts_make_the_receipts_root"),
    (Fault::RemembersReceipts, "a_reorganisation_is_visible"),
    (Fault::RemembersTransactions, "a_reorganisation_is_visible"),
    (Fault::HidesValues, "a_mined_transaction_is_told"),
    (Fault::SwapsAccounts, "a_mined_transaction_is_told"),
    (Fault::MinesThePool, "a_mined_transaction_is_told"),
    (Fault::RemembersLogs, "a_reorganisation_is_visible"),
    (Fault::RemembersBlocks, "a_reorganisation_is_visible"),
];

/// A place with a chain that has this fault.
#[derive(Debug)]
pub struct FaultyPlace {
    place: MemoryPlace,
    chain: Arc<Faulty>,
}

impl FaultyPlace {
    /// A fresh one.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        let place = MemoryPlace::new();
        let chain = Faulty { fault, inner: place.memory(), seen: Mutex::default() };
        Self { place, chain: Arc::new(chain) }
    }
}

#[async_trait]
impl Place for FaultyPlace {
    async fn chain(&self) -> Result<Arc<dyn Chain>, Error> {
        Ok(Arc::clone(&self.chain) as Arc<dyn Chain>)
    }

    fn key(&self) -> SecretKey {
        self.place.key()
    }

    async fn mine(&self) -> Result<(), Error> {
        self.place.mine().await
    }

    async fn reorg(&self, depth: u64) -> Result<bool, Error> {
        self.place.reorg(depth).await
    }
}

/// What was answered before.
#[derive(Debug, Default)]
struct Seen {
    receipts: HashMap<Hash, Receipt>,
    mined: HashMap<Hash, MinedTransaction>,
    logs: Vec<Log>,
    blocks: HashMap<u64, Block>,
    submitted: Vec<SignedTransaction>,
}

/// Memory with one fault in front of it.
#[derive(Debug)]
struct Faulty {
    fault: Fault,
    inner: Arc<MemoryChain>,
    seen: Mutex<Seen>,
}

impl Faulty {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the fault makes of a refusal.
    fn refusal(&self, e: Error) -> Result<(), Error> {
        let other = |kind| Err(Error::new(kind, e.to_string()));
        match (self.fault, e.kind()) {
            (Fault::ForeignIsUnavailable, ErrorKind::Rejected)
            | (Fault::PoorIsUnavailable, ErrorKind::InsufficientFunds) => other(ErrorKind::Unavailable),
            (Fault::NonceTooLowIsRejected, ErrorKind::NonceTooLow) => other(ErrorKind::Rejected),
            (Fault::AcceptsMined, ErrorKind::NonceTooLow)
            | (Fault::AcceptsAnyReplacement, ErrorKind::ReplacementUnderpriced) => Ok(()),
            _ => Err(e),
        }
    }

    fn disturb_receipt(&self, receipt: Option<Receipt>) -> Option<Receipt> {
        let mut receipt = receipt?;
        receipt.success |= self.is(Fault::AlwaysSucceeds);
        if self.is(Fault::HidesContracts) {
            receipt.created = None;
        }
        self.seen().receipts.insert(receipt.transaction, receipt.clone());
        Some(receipt)
    }

    fn disturb_logs(&self, filter: &LogFilter, mut logs: Vec<Log>) -> Vec<Log> {
        match self.fault {
            Fault::LosesLogs => drop(logs.pop()),
            Fault::LogsBackwards => logs.reverse(),
            Fault::ExcludesTheEnd => {
                if let LogBlocks::Range { to, .. } = filter.blocks {
                    logs.retain(|l| l.at.number < to);
                }
            }
            Fault::CountsLogsPerTransaction => logs.iter_mut().for_each(|l| l.at.index = 0),
            Fault::RemembersLogs => {
                let mut seen = self.seen();
                if logs.is_empty() {
                    let old = seen.logs.iter().filter(|l| filter.matches(&l.address, &l.topics));
                    return old.cloned().collect();
                }
                seen.logs.clone_from(&logs);
            }
            _ => {}
        }
        logs
    }

    async fn or_head(&self, hash: Hash) -> Result<Hash, Error> {
        let known = self.inner.block(BlockId::Hash(hash)).await?.is_some();
        let head = self.is(Fault::CallsAtHead) || (self.is(Fault::UnknownBlockIsHead) && !known);
        let block = self.inner.block(BlockId::Head).await?.filter(|_| head);
        Ok(block.map_or(hash, |b| b.hash))
    }
}

#[async_trait]
impl Chain for Faulty {
    async fn chain_id(&self) -> Result<u64, Error> {
        let drift = if self.is(Fault::ChangesId) { self.inner.height() } else { 0 };
        Ok(self.inner.chain_id().await? + drift)
    }

    async fn block(&self, id: BlockId) -> Result<Option<Block>, Error> {
        if let (Fault::RemembersBlocks, BlockId::Number(n)) = (self.fault, id)
            && let Some(block) = self.seen().blocks.get(&n)
        {
            return Ok(Some(*block));
        }
        let mut block = self.inner.block(id).await?;
        if let Some(block) = &mut block {
            if self.is(Fault::UnlinkedBlocks) {
                block.parent = block.hash;
            }
            self.seen().blocks.insert(block.number, *block);
        }
        Ok(block)
    }

    async fn call(&self, at: Hash, call: &Call) -> Result<CallOutcome, Error> {
        let outcome = self.inner.call(self.or_head(at).await?, call).await?;
        Ok(match (self.fault, outcome) {
            (Fault::HidesReverts, CallOutcome::Reverted(_)) => CallOutcome::Returned(vec![]),
            (Fault::DropsReasons, CallOutcome::Reverted(_)) => CallOutcome::Reverted(Revert::default()),
            (_, outcome) => outcome,
        })
    }

    async fn simulate(&self, call: &Call) -> Result<Simulation, Error> {
        Ok(match (self.fault, self.inner.simulate(call).await?) {
            (Fault::GasOfATransfer, Simulation::Gas(_)) => Simulation::Gas(21_001 + 16 * 68),
            (_, simulation) => simulation,
        })
    }

    async fn nonces(&self, account: Address) -> Result<Nonces, Error> {
        let mut nonces = self.inner.nonces(account).await?;
        match self.fault {
            Fault::PendingIsLatest => nonces.pending = nonces.latest,
            Fault::PendingCountsGaps => {
                let pool = self.inner.pending();
                let mine = pool.iter().filter(|t| t.sender() == account).count();
                nonces.pending = nonces.latest + mine as u64;
            }
            _ => {}
        }
        Ok(nonces)
    }

    async fn balance(&self, account: Address) -> Result<u128, Error> {
        let balance = self.inner.balance(account).await?;
        Ok(match self.fault {
            Fault::EverybodyIsRich => balance.max(1),
            Fault::OldBalances if balance < 10u128.pow(18) => balance / 10u128.pow(18),
            _ => balance,
        })
    }

    async fn fees(&self) -> Result<Fees, Error> {
        if self.is(Fault::SuggestsNothing) {
            return Ok(Fees { base_fee: 0, priority_fee: 0 });
        }
        self.inner.fees().await
    }

    async fn submit(&self, transaction: &SignedTransaction) -> Result<(), Error> {
        if self.is(Fault::RefusesKnown) && self.inner.pending().contains(transaction) {
            return Err(Error::new(ErrorKind::Rejected, "already known"));
        }
        self.seen().submitted.push(transaction.clone());
        match self.inner.submit(transaction).await {
            Err(e) => self.refusal(e),
            ok => ok,
        }
    }

    async fn receipt(&self, transaction: Hash) -> Result<Option<Receipt>, Error> {
        if let (Fault::RemembersReceipts, Some(receipt)) =
            (self.fault, self.seen().receipts.get(&transaction))
        {
            return Ok(Some(receipt.clone()));
        }
        let receipt = self.inner.receipt(transaction).await?;
        Ok(self.disturb_receipt(receipt))
    }

    async fn status(&self, transaction: Hash) -> Result<TxStatus, Error> {
        let status = self.inner.status(transaction).await?;
        let submitted = self.seen().submitted.iter().any(|t| t.hash() == transaction);
        Ok(match (self.fault, status) {
            (Fault::NeverPending, TxStatus::Pending) => TxStatus::Unknown,
            (Fault::KeepsReplaced, TxStatus::Unknown) if submitted => TxStatus::Pending,
            (_, status) => status,
        })
    }

    async fn transaction(&self, hash: Hash) -> Result<Option<MinedTransaction>, Error> {
        if let (Fault::RemembersTransactions, Some(known)) = (self.fault, self.seen().mined.get(&hash)) {
            return Ok(Some(known.clone()));
        }
        let mut found = self.inner.transaction(hash).await?;
        if let Some(found) = &mut found {
            match self.fault {
                Fault::HidesValues => found.value = [0; 32],
                Fault::SwapsAccounts => found.from = found.to.unwrap_or(found.from),
                _ => {}
            }
            self.seen().mined.insert(hash, found.clone());
        }
        let waiting = || self.inner.pending().into_iter().find(|t| t.hash() == hash);
        if self.is(Fault::MinesThePool) {
            found = found.or_else(|| waiting().map(|t| t.mined((0, Hash::ZERO, 0))));
        }
        Ok(found)
    }

    async fn sent(&self, account: Address, nonce: u64) -> Result<Option<Hash>, Error> {
        let found = self.inner.sent(account, nonce).await?;
        let pool = || self.inner.pending().into_iter().find(|t| t.transaction().nonce == nonce);
        match self.fault {
            Fault::SentIsTheFirst if found.is_some() => self.inner.sent(account, 0).await,
            Fault::SentCountsThePool => Ok(found.or_else(|| pool().map(|t| t.hash()))),
            _ => Ok(found),
        }
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, Error> {
        let mut wider = filter.clone();
        match self.fault {
            Fault::IgnoresTopics => wider.topics.clear(),
            Fault::IgnoresAddresses => wider.addresses.clear(),
            _ => {}
        }
        let logs = self.inner.logs(&wider).await?;
        Ok(self.disturb_logs(filter, logs))
    }

    async fn raw_receipts(&self, block: Hash) -> Result<RawReceipts, Error> {
        let mut raw = self.inner.raw_receipts(block).await?;
        match self.fault {
            Fault::UntypedReceipts => raw.receipts.iter_mut().for_each(|r| {
                r.remove(0);
            }),
            Fault::AnotherHeader => raw.header.iter_mut().last().into_iter().for_each(|b| *b ^= 1),
            _ => {}
        }
        Ok(raw)
    }
}
