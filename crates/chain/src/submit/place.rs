//! Giving an intent its nonce, and another one when the first is lost.

use w3bstream_types::Timestamp;

use super::fees;
use super::intent::{Cancel, Intent, Offered, Outcome, Refusal, Report, Warning};
use super::look::View;
use super::record::{Purpose, Slot, TRANSFER_GAS};
use super::submitter::{COUNTS, Submitter};
use crate::{Call, Error, Simulation};

impl Submitter {
    /// Takes an intent: tries it, gives it a nonce in the journal, and sends it. Offering it again tells how it
    /// stands. An intent that was cancelled or failed, and then forgotten, may be offered anew.
    ///
    /// # Errors
    /// Those of chain, journal and signer. It may then have a nonce or not: offer it again.
    pub async fn offer(&mut self, intent: Intent, now: Timestamp) -> Result<Offered, Error> {
        self.reload().await?;
        let same = |s: &&Slot| s.intent().is_some_and(|i| i.id == intent.id);
        if let Some(slot) = self.slots.values().find(same) {
            return Ok(match &slot.outcome {
                None => Offered::Taken(slot.nonce),
                Some(outcome) => Offered::Finished(outcome.clone()),
            });
        }
        if self.in_flight() >= self.settings.max_in_flight {
            return Ok(Offered::Later("as many transactions are in flight as max-in-flight allows"));
        }
        let Some(view) = self.view else { return Ok(Offered::Later("the chain was not seen yet")) };
        let mut report = Report::default();
        // What went wrong with sending is seen again, and reported, at the next tick.
        self.start(intent, None, View { now, ..view }, &mut report).await
    }

    /// Gives an intent a new nonce; with `lost`, in place of that one.
    async fn start(
        &mut self,
        intent: Intent,
        lost: Option<u64>,
        view: View,
        report: &mut Report,
    ) -> Result<Offered, Error> {
        let gas_limit = match self.try_out(&intent).await? {
            Ok(gas) => gas,
            Err(refusal) => return Ok(Offered::Refused(refusal)),
        };
        let offer = match fees::first(view.fees, self.settings.max_fee) {
            Ok(offer) => offer,
            Err(wanted) => {
                report.warnings.push(Warning::FeeCap { wanted });
                return Ok(Offered::Later("the chain asks for more per gas than max-fee allows"));
            }
        };
        let Some(nonce) = self.new_nonce() else {
            return Ok(Offered::Later("the account's nonce is not certain yet"));
        };
        let mut slot = Slot::new(nonce, Purpose::Intent(intent), gas_limit);
        self.sign(&mut slot, offer, view.now).await?;
        let mut changes = vec![(nonce, Some(slot))];
        changes.extend(lost.map(|nonce| (nonce, None)));
        self.save(changes).await?;
        self.send(nonce, view.now, report).await?;
        Ok(Offered::Taken(nonce))
    }

    /// The nonce after all that were ever given out here, and after all that the node has counted lately. The
    /// lowest count counts: too low a nonce is found to be used, too high a one leaves a gap.
    fn new_nonce(&self) -> Option<u64> {
        let mined = self.counts.iter().min().copied().filter(|_| self.counts.len() == COUNTS)?;
        Some(self.slots.keys().next_back().map_or(0, |highest| highest + 1).max(mined))
    }

    /// Tries an intent in the head's state: its gas limit, a quarter more than it needs now.
    pub(super) async fn try_out(&self, intent: &Intent) -> Result<Result<u64, Refusal>, Error> {
        let call = Call {
            from: Some(self.account.address),
            to: Some(intent.to),
            value: intent.value,
            data: intent.data.clone(),
            gas_limit: None,
        };
        Ok(match self.chain.simulate(&call).await? {
            Simulation::Reverted(revert) => Err(Refusal::Reverts(revert)),
            Simulation::Gas(gas) if gas > self.settings.max_gas => Err(Refusal::TooMuchGas(gas)),
            Simulation::Gas(gas) => Ok(gas.saturating_add(gas / 4).min(self.settings.max_gas)),
        })
    }

    /// Another transaction used the nonce, deep in the chain: the intent gets a new one, or ends if it cannot work
    /// any more.
    pub(super) async fn lost(&mut self, nonce: u64, view: View, report: &mut Report) -> Result<(), Error> {
        let Some(slot) = self.slots.get(&nonce) else { return Ok(()) };
        let Purpose::Intent(intent) = slot.purpose.clone() else { return self.retire(nonce).await };
        let given_up = slot.cancel.clone();
        let id = intent.id;
        let cancel = match given_up {
            Some(cancel) => cancel,
            None => match self.start(intent, Some(nonce), view, report).await? {
                Offered::Refused(Refusal::Reverts(revert)) => Cancel::Reverts(revert),
                Offered::Refused(refusal) => Cancel::Rejected(refusal.to_string()),
                _ => return Ok(()),
            },
        };
        let outcome = Outcome::Cancelled(cancel);
        let Some(mut ended) = self.slots.get(&nonce).cloned() else { return Ok(()) };
        ended.outcome = Some(outcome.clone());
        ended.attempts.clear();
        self.save(vec![(nonce, Some(ended))]).await?;
        report.finished.push((id, outcome));
        Ok(())
    }

    /// Uses a nonce for nothing.
    pub(super) async fn fill(&mut self, nonce: u64, view: View, report: &mut Report) -> Result<(), Error> {
        let offer = match fees::first(view.fees, self.settings.max_fee) {
            Ok(offer) => offer,
            Err(wanted) => {
                report.warnings.push(Warning::FeeCap { wanted });
                return Ok(());
            }
        };
        let mut slot = Slot::new(nonce, Purpose::Filler, TRANSFER_GAS);
        self.sign(&mut slot, offer, view.now).await?;
        self.save(vec![(nonce, Some(slot))]).await?;
        self.send(nonce, view.now, report).await
    }
}
