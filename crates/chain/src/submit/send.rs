//! Signing, sending, and paying more.

use w3bstream_types::{Disposition, Timestamp};

use super::fees::{self, Offer};
use super::intent::{Cancel, Refusal, Report, Warning};
use super::look::View;
use super::record::{Attempt, Purpose, Slot};
use super::submitter::{Hint, REJECTIONS, Submitter};
use crate::{Error, ErrorKind, SignedTransaction};

impl Submitter {
    /// Signs the slot's next transaction and adds it. It is not in the journal yet.
    pub(super) async fn sign(&self, slot: &mut Slot, offer: Offer, now: Timestamp) -> Result<(), Error> {
        let transaction = slot.transaction(self.account.chain_id, self.account.address, offer);
        let signature = self.signer.sign_hash(&transaction.signing_hash()).await?;
        let bad = |why: String| {
            Error::new(ErrorKind::Signer, format!("the signer of {}: {why}", self.account.address))
        };
        let signed = SignedTransaction::new(transaction, &signature).map_err(|e| bad(e.to_string()))?;
        if signed.sender() != self.account.address {
            return Err(bad(format!("its signature is of {}", signed.sender())));
        }
        slot.attempts.push(Attempt { signed, empty: slot.cancel.is_some(), at: now });
        Ok(())
    }

    /// Gives the newest transaction of a nonce to the node, and remembers what it says.
    pub(super) async fn send(
        &mut self,
        nonce: u64,
        now: Timestamp,
        report: &mut Report,
    ) -> Result<(), Error> {
        let Some(last) = self.slots.get(&nonce).and_then(Slot::last) else { return Ok(()) };
        let (signed, empty) = (last.signed.clone(), last.empty);
        let answer = self.chain.submit(&signed).await;
        let hint = self.hints.entry(nonce).or_default();
        hint.sent = Some(now);
        let Err(e) = answer else {
            hint.rejected = (0, String::new());
            return Ok(());
        };
        match e.kind() {
            ErrorKind::NonceTooLow => hint.used = true,
            ErrorKind::ReplacementUnderpriced | ErrorKind::FeeTooLow => hint.pays_too_little = true,
            // It waits for the nonces before it.
            ErrorKind::NonceTooHigh => {}
            ErrorKind::InsufficientFunds => {
                let needed = signed.transaction().max_cost();
                let balance = self.chain.balance(self.account.address).await.unwrap_or_default();
                report.warnings.push(Warning::LowBalance { balance, needed });
            }
            ErrorKind::Rejected => {
                let why = e.to_string();
                if !empty {
                    hint.rejected = (hint.rejected.0 + 1, why.clone());
                }
                report.warnings.push(Warning::Rejected { nonce, why });
            }
            _ if e.disposition() == Disposition::Halt => return Err(e),
            _ => report.warnings.push(Warning::Node(e)),
        }
        Ok(())
    }

    /// Signs and sends a transaction that pays more. Before, the intent is tried again: if it fails by now, or the
    /// node refuses it for ever, the nonce is used for nothing instead.
    pub(super) async fn bump(&mut self, nonce: u64, view: View, report: &mut Report) -> Result<(), Error> {
        let Some(slot) = self.slots.get(&nonce) else { return Ok(()) };
        let Some(last) = slot.last().map(|a| a.signed.transaction().clone()) else { return Ok(()) };
        let rejected = self.hints.get(&nonce).map(|h| h.rejected.clone()).unwrap_or_default();
        // What is refused for ever must be able to end, however often it was tried.
        let give_up = slot.cancel.is_none() && rejected.0 >= REJECTIONS;
        if slot.attempts.len() >= self.settings.max_attempts && !give_up {
            report.warnings.push(Warning::Stuck { nonce });
            return self.send(nonce, view.now, report).await;
        }
        let old = Offer { max: last.max_fee, tip: last.priority_fee };
        let offer = match fees::bump(old, view.fees, self.settings.max_fee) {
            Ok(offer) => offer,
            Err(wanted) => {
                report.warnings.push(Warning::FeeCap { wanted });
                return self.send(nonce, view.now, report).await;
            }
        };
        let mut new = slot.clone();
        if new.cancel.is_none() {
            new.cancel = self.given_up(&new).await?;
        }
        self.sign(&mut new, offer, view.now).await?;
        self.save(vec![(nonce, Some(new))]).await?;
        // A higher fee does not make it acceptable, so that count goes on.
        self.hints.insert(nonce, Hint { rejected, ..Hint::default() });
        self.send(nonce, view.now, report).await
    }

    /// Whether an intent that is still waiting is to be given up.
    async fn given_up(&self, slot: &Slot) -> Result<Option<Cancel>, Error> {
        let Purpose::Intent(intent) = &slot.purpose else { return Ok(None) };
        let rejected = self.hints.get(&slot.nonce).map(|h| h.rejected.clone()).unwrap_or_default();
        if rejected.0 >= REJECTIONS {
            return Ok(Some(Cancel::Rejected(rejected.1)));
        }
        match self.try_out(intent).await? {
            Err(Refusal::Reverts(revert)) => Ok(Some(Cancel::Reverts(revert))),
            _ => Ok(None),
        }
    }
}
