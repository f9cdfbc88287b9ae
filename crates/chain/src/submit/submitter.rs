//! The submitter's state, and what it does at each tick.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use w3bstream_types::{Canonical as _, Disposition, Timestamp};

use super::decide::{Moment, Step, decide};
use super::intent::{Cancel, IntentId, Mined, Outcome, Report, Settings, Warning};
use super::journal::{Account, TxJournal, TxSigner};
use super::look::View;
use super::record::{Purpose, Slot};
use crate::{BlockId, Call, CallOutcome, Chain, Error, ErrorKind, Receipt, Revert};

/// What is remembered about a nonce in this process only. Losing it costs time.
#[derive(Clone, Debug, Default)]
pub(super) struct Hint {
    /// When the last transaction was given to the node.
    pub(super) sent: Option<Timestamp>,
    /// The node said that the nonce is used.
    pub(super) used: bool,
    /// The node said that the fee is too low.
    pub(super) pays_too_little: bool,
    /// How often the node refused the call for ever, and its words.
    pub(super) rejected: (u32, String),
}

/// How often a node must refuse a transaction for ever until it is given up.
pub(super) const REJECTIONS: u32 = 3;

/// How many counts of transactions must agree before a new nonce is believed.
pub(super) const COUNTS: usize = 3;

/// What a submitter works with.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// Where nonces are noted.
    pub journal: Arc<dyn TxJournal>,
    /// Who signs.
    pub signer: Arc<dyn TxSigner>,
}

/// Sends the transactions of one account on one chain. See the [module](super).
pub struct Submitter {
    pub(super) chain: Arc<dyn Chain>,
    pub(super) journal: Arc<dyn TxJournal>,
    pub(super) signer: Arc<dyn TxSigner>,
    pub(super) settings: Settings,
    pub(super) account: Account,
    /// As in the journal, by nonce.
    pub(super) slots: BTreeMap<u64, Slot>,
    pub(super) hints: BTreeMap<u64, Hint>,
    /// The last counts of mined transactions that the node gave.
    pub(super) counts: VecDeque<u64>,
    /// What the last tick saw.
    pub(super) view: Option<View>,
    /// The next nonce to be mined, and since when it is.
    next: Option<(u64, Timestamp)>,
    /// The first nonce of a gap, and since when it is there.
    gap: Option<(u64, Timestamp)>,
    /// A save failed, so that it is not known what the journal has.
    pub(super) stale: bool,
}

impl fmt::Debug for Submitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nonces: Vec<_> = self.slots.values().filter(|s| s.live()).map(|s| s.nonce).collect();
        f.debug_struct("Submitter")
            .field("account", &self.account)
            .field("live", &nonces)
            .finish_non_exhaustive()
    }
}

impl Submitter {
    /// Reads the journal of the signer's account on a chain with this id. Asks the chain for nothing but its id.
    ///
    /// # Errors
    /// [`ErrorKind::WrongChain`] if the chain has another id, [`ErrorKind::Corrupt`] if the journal cannot be, and
    /// those of chain and journal.
    pub async fn open(ports: Ports, chain_id: u64, settings: Settings) -> Result<Self, Error> {
        let Ports { chain, journal, signer } = ports;
        let found = chain.chain_id().await?;
        if found != chain_id {
            let what = format!("the node serves chain {found}, not chain {chain_id}: name the right node");
            return Err(Error::new(ErrorKind::WrongChain, what));
        }
        let settings = Settings {
            confirmations: settings.confirmations.max(1),
            max_in_flight: settings.max_in_flight.max(1),
            max_attempts: settings.max_attempts.max(1),
            ..settings
        };
        let account = Account { chain_id, address: signer.address() };
        let mut new = Self {
            chain,
            journal,
            signer,
            settings,
            account,
            slots: BTreeMap::new(),
            hints: BTreeMap::new(),
            counts: VecDeque::new(),
            view: None,
            next: None,
            gap: None,
            stale: true,
        };
        new.reload().await?;
        Ok(new)
    }

    /// The account that pays.
    #[must_use]
    pub const fn account(&self) -> Account {
        self.account
    }

    /// How many intents have a nonce and no outcome.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.values().filter(|s| s.live() && s.intent().is_some()).count()
    }

    /// Intents that came to an end and were not forgotten yet.
    #[must_use]
    pub fn finished(&self) -> Vec<(IntentId, Outcome)> {
        let ended = |s: &Slot| Some((s.intent()?.id, s.outcome.clone()?));
        self.slots.values().filter_map(ended).collect()
    }

    /// The hashes of everything that was signed for an intent and may still be mined, oldest first.
    #[must_use]
    pub fn transactions(&self, id: IntentId) -> Vec<crate::Hash> {
        let of = |s: &&Slot| s.intent().is_some_and(|i| i.id == id);
        self.slots.values().filter(of).flat_map(|s| &s.attempts).map(|a| a.signed.hash()).collect()
    }

    /// Drops an intent that came to an end, after its outcome was stored elsewhere. Nothing if there is none, or
    /// it has no outcome.
    ///
    /// # Errors
    /// [`ErrorKind::Journal`]: then it is still there.
    pub async fn forget(&mut self, id: IntentId) -> Result<(), Error> {
        self.reload().await?;
        let ended = |s: &&Slot| s.outcome.is_some() && s.intent().is_some_and(|i| i.id == id);
        let Some(nonce) = self.slots.values().find(ended).map(|s| s.nonce) else { return Ok(()) };
        self.retire(nonce).await
    }

    /// Looks at the chain and does what is due: sends again, pays more, ends what is deep enough, moves what lost
    /// its nonce, fills gaps.
    ///
    /// # Errors
    /// Those that are not about one transaction: of journal and signer, and all that say Halt. Other errors of
    /// the chain are in the report.
    pub async fn tick(&mut self, now: Timestamp) -> Result<Report, Error> {
        let mut report = Report::default();
        self.reload().await?;
        match self.look(now).await {
            Ok(view) => self.view = Some(view),
            Err(e) => {
                self.survive(e, &mut report)?;
                return Ok(report);
            }
        }
        self.check_balance(&mut report).await?;
        let Some(view) = self.view else { return Ok(report) };
        if self.next.is_none_or(|(nonce, _)| nonce != view.count) {
            self.next = Some((view.count, now));
        }
        let live: Vec<u64> = self.slots.values().filter(|s| s.live()).map(|s| s.nonce).collect();
        for nonce in live {
            if let Err(e) = self.advance(nonce, view, &mut report).await {
                self.survive(e, &mut report)?;
            }
        }
        if let Err(e) = self.fill_gap(view, &mut report).await {
            self.survive(e, &mut report)?;
        }
        Ok(report)
    }

    /// Passes on what is not the chain's or says Halt; the rest is tried again and reported.
    pub(super) fn survive(&self, e: Error, report: &mut Report) -> Result<(), Error> {
        let ours = matches!(e.kind(), ErrorKind::Journal | ErrorKind::Signer);
        if ours || self.stale || e.disposition() == Disposition::Halt {
            return Err(e);
        }
        report.warnings.push(Warning::Node(e));
        Ok(())
    }

    /// Reads the journal again if it is not known what it has.
    pub(super) async fn reload(&mut self) -> Result<(), Error> {
        if !self.stale {
            return Ok(());
        }
        let records = self.journal.load(self.account).await?;
        let mut slots = BTreeMap::new();
        let mut ids = std::collections::BTreeSet::new();
        for (nonce, bytes) in records {
            let corrupt = |why: String| {
                let what =
                    format!("the journal's record of nonce {nonce} of {}: {why}", self.account.address);
                Error::new(ErrorKind::Corrupt, what)
            };
            let slot = Slot::from_canonical(&bytes).map_err(|e| corrupt(e.to_string()))?;
            let ours = |a: &super::record::Attempt| {
                let t = a.signed.transaction();
                (a.signed.sender(), t.chain_id, t.nonce)
                    == (self.account.address, self.account.chain_id, nonce)
            };
            if slot.nonce != nonce || !slot.attempts.iter().all(ours) {
                return Err(corrupt("is of another nonce or account".into()));
            }
            if slot.live() && slot.attempts.is_empty() {
                return Err(corrupt("has no transaction".into()));
            }
            if let Some(intent) = slot.intent()
                && !ids.insert(intent.id)
            {
                return Err(corrupt(format!("intent {} has another nonce too", intent.id)));
            }
            slots.insert(nonce, slot);
        }
        self.slots = slots;
        self.hints.clear();
        self.stale = false;
        Ok(())
    }

    /// Writes slots to the journal, then to memory. Nothing may be sent before this.
    pub(super) async fn save(&mut self, changes: Vec<(u64, Option<Slot>)>) -> Result<(), Error> {
        let encode = |(nonce, slot): &(u64, Option<Slot>)| (*nonce, slot.as_ref().map(Slot::to_canonical));
        let encoded = changes.iter().map(encode).collect();
        // A failed save may have been written all the same.
        self.stale = true;
        self.journal.save(self.account, encoded).await?;
        self.stale = false;
        for (nonce, slot) in changes {
            match slot {
                Some(slot) => drop(self.slots.insert(nonce, slot)),
                None => {
                    self.slots.remove(&nonce);
                    self.hints.remove(&nonce);
                }
            }
        }
        Ok(())
    }

    /// Takes one nonce a step further.
    async fn advance(&mut self, nonce: u64, view: View, report: &mut Report) -> Result<(), Error> {
        let sight = self.sight(nonce, view).await?;
        let Some(slot) = self.slots.get(&nonce) else { return Ok(()) };
        let hint = self.hints.get(&nonce).cloned().unwrap_or_default();
        let refused = slot.cancel.is_none() && hint.rejected.0 >= REJECTIONS;
        let moment = Moment {
            settings: &self.settings,
            now: view.now,
            next_since: self.next.filter(|(next, _)| *next == nonce).map(|(_, since)| since),
            sent: hint.sent,
            pays_too_little: hint.pays_too_little || refused,
        };
        match decide(slot, sight, &moment) {
            Step::Wait => Ok(()),
            Step::Finish(receipt) => self.finish(nonce, &receipt, report).await,
            Step::Lost(by) => {
                report.warnings.push(Warning::Foreign { nonce, transaction: by });
                self.lost(nonce, view, report).await
            }
            Step::Send => self.send(nonce, view.now, report).await,
            Step::Bump => self.bump(nonce, view, report).await,
        }
    }

    /// The end of a nonce: one of its transactions is deep enough.
    async fn finish(&mut self, nonce: u64, receipt: &Receipt, report: &mut Report) -> Result<(), Error> {
        let Some(slot) = self.slots.get(&nonce) else { return Ok(()) };
        let Purpose::Intent(intent) = &slot.purpose else { return self.retire(nonce).await };
        let id = intent.id;
        let mined = Mined {
            transaction: receipt.transaction,
            number: receipt.number,
            block: receipt.block,
            gas_used: receipt.gas_used,
            gas_price: receipt.effective_gas_price,
        };
        let empty = slot.attempt(&receipt.transaction).is_some_and(|a| a.empty);
        let outcome = if empty {
            let unknown = || Cancel::Rejected("the reason was not kept".into());
            Outcome::Cancelled(slot.cancel.clone().unwrap_or_else(unknown))
        } else if receipt.success {
            Outcome::Done(mined)
        } else {
            Outcome::Reverted(mined, self.why(slot, receipt).await)
        };
        let mut ended = slot.clone();
        ended.outcome = Some(outcome.clone());
        ended.attempts.clear();
        self.save(vec![(nonce, Some(ended))]).await?;
        self.hints.remove(&nonce);
        report.finished.push((id, outcome));
        Ok(())
    }

    /// Why a mined transaction failed, by trying it in the state before its block. Transactions before it in the
    /// same block may have changed that, and the node may not have it any more: then there is no reason.
    async fn why(&self, slot: &Slot, receipt: &Receipt) -> Revert {
        let Some(intent) = slot.intent() else { return Revert::default() };
        let call = Call {
            from: Some(self.account.address),
            to: Some(intent.to),
            value: intent.value,
            data: intent.data.clone(),
            gas_limit: Some(slot.gas_limit),
        };
        let Ok(Some(block)) = self.chain.block(BlockId::Hash(receipt.block)).await else {
            return Revert::default();
        };
        match self.chain.call(block.parent, &call).await {
            Ok(CallOutcome::Reverted(revert)) => revert,
            _ => Revert::default(),
        }
    }

    /// Removes a record, unless it is the one of the highest nonce: that stays, as a mark of how far nonces were
    /// used.
    pub(super) async fn retire(&mut self, nonce: u64) -> Result<(), Error> {
        let highest = self.slots.keys().next_back().copied();
        let past = |s: &Slot| s.purpose == Purpose::Past && Some(s.nonce) != highest;
        let mut changes: Vec<_> = self.slots.values().filter(|s| past(s)).map(|s| (s.nonce, None)).collect();
        let mark = (highest == Some(nonce)).then(|| Slot::new(nonce, Purpose::Past, 0));
        changes.push((nonce, mark));
        self.save(changes).await?;
        self.hints.remove(&nonce);
        Ok(())
    }

    async fn check_balance(&self, report: &mut Report) -> Result<(), Error> {
        match self.chain.balance(self.account.address).await {
            Ok(balance) => {
                report.balance = Some(balance);
                let needed = self.settings.low_balance;
                if balance < needed {
                    report.warnings.push(Warning::LowBalance { balance, needed });
                }
                Ok(())
            }
            Err(e) => self.survive(e, report),
        }
    }

    /// Fills nonces below ours that nothing was sent with, once they have been seen for a while.
    async fn fill_gap(&mut self, view: View, report: &mut Report) -> Result<(), Error> {
        let lowest = self.slots.values().find(|s| s.live()).map(|s| s.nonce);
        // The highest of the last counts: a node that lags must not make a gap.
        let (Some(to), Some(from)) = (lowest, self.counts.iter().max().copied()) else { return Ok(()) };
        if from >= to {
            self.gap = None;
            return Ok(());
        }
        let since = match self.gap {
            Some((at, since)) if at == from => since,
            _ => view.now,
        };
        self.gap = Some((from, since));
        if view.now.0.saturating_sub(since.0) < self.settings.bump_after {
            return Ok(());
        }
        let filling = to - from <= self.settings.max_gap;
        report.warnings.push(Warning::Gap { from, to, filling });
        if !filling {
            return Ok(());
        }
        let missing: Vec<u64> = (from..to).filter(|n| !self.slots.contains_key(n)).collect();
        for nonce in missing.into_iter().take(self.settings.max_in_flight) {
            self.fill(nonce, view, report).await?;
        }
        Ok(())
    }
}
