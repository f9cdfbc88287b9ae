//! The loop that takes a project's settlements further.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use w3bstream_chain::submit::{Intent, IntentId, Offered, Outcome, Ports, Refusal, Submitter};
use w3bstream_contracts::{Execution, ExecutionError, OutputRef};
use w3bstream_tasks::Shutdown;
use w3bstream_types::{
    Attestation, Digest, OperatorName, Output, ProjectId, Timestamp, merkle, output_leaves,
};

use super::batch::Batches;
use super::books::{Books, FeeKey};
use super::prove::{Progress, Proofs};
use super::record::{self, Landed, Settlement, SettlementState};
use super::view::FeeAccount;
use crate::chains::back_off;
use crate::counters::Counters;
use crate::node::Shared;
use crate::project::Project;
use crate::{Error, ErrorKind};

/// How many settlements are looked at in one round; the next round goes on behind them.
const PAGE: usize = 64;
/// How many blocks' outputs are kept, so that the settlements of one block read them once.
const BLOCKS: usize = 8;
/// The longest pause before a settlement that did not work is tried again, in milliseconds.
const MAX_PAUSE_MS: u64 = 300_000;

/// Runs until the node stops or the project halts.
pub(crate) async fn run(shared: Arc<Shared>, project: Arc<Project>, shutdown: Shutdown) {
    let mut stage = Stage::new(shared.clone(), project.clone());
    let mut attested = project.attested.subscribe();
    loop {
        let busy = match stage.both().await {
            Ok(busy) => busy,
            Err(e) => {
                shared.halt(&project, &format!("settlement stopped: {e}")).await;
                return;
            }
        };
        let pause = async {
            match busy {
                true => tokio::time::sleep(shared.parts.settle_every).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.requested() => return,
            changed = attested.changed() => if changed.is_err() { return },
            () = pause => {}
        }
    }
}

/// An attested block, with what an Executor asks for of each output.
struct AttestedBlock {
    attestation: Attestation,
    outputs: Vec<Output>,
    leaves: Vec<Digest>,
}

/// Who sends on which chain: the project itself, or an operator of it.
pub(super) type Account = (u64, Option<OperatorName>);

pub(super) struct Stage {
    pub(super) shared: Arc<Shared>,
    pub(super) project: Arc<Project>,
    /// Opened when first needed.
    submitters: BTreeMap<Account, Submitter>,
    proofs: Proofs,
    batches: Batches,
    blocks: BTreeMap<u64, Arc<AttestedBlock>>,
    /// Where the last round ended.
    after: Option<(u64, u64)>,
    /// The same of the guests' transactions.
    pub(super) sent_after: Option<(u64, u64)>,
}

impl Stage {
    fn new(shared: Arc<Shared>, project: Arc<Project>) -> Self {
        let proofs = Proofs::new(shared.clone(), project.id);
        let (submitters, blocks) = (BTreeMap::new(), BTreeMap::new());
        Self {
            shared,
            project,
            submitters,
            proofs,
            batches: Batches::default(),
            blocks,
            after: None,
            sent_after: None,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.parts.clock.now()
    }

    /// A round of settlements, and one of guests' transactions: they share the project's account.
    async fn both(&mut self) -> Result<bool, Error> {
        self.tick().await?;
        let settling = self.round().await?;
        Ok(self.send_round().await? || settling)
    }

    /// Takes a page of settlements further. True if there is more to do, or to wait for.
    async fn round(&mut self) -> Result<bool, Error> {
        let journal = self.shared.parts.journal.clone();
        let mut page = record::live(&*journal, self.project.id, self.after, PAGE).await?;
        if page.is_empty() && self.after.take().is_some() {
            page = record::live(&*journal, self.project.id, None, PAGE).await?;
        }
        let full = page.len() == PAGE;
        self.after = page.last().filter(|_| full).map(|s| (s.height, s.index));
        let busy = !page.is_empty() || self.submitters.values().any(|s| s.in_flight() > 0);
        let now = self.now();
        for mut settlement in page {
            if settlement.not_before > now {
                continue;
            }
            let before = settlement.clone();
            if let Err(e) = self.further(&mut settlement).await {
                self.postpone(&mut settlement, e)?;
            }
            if settlement != before {
                journal.commit(settlement.writes(self.project.id)?).await?;
            }
            if settlement.ended() {
                self.count(&settlement);
            }
        }
        Ok(busy)
    }

    fn count(&self, settlement: &Settlement) {
        Counters::add(&self.project.counters.settled, 1);
        Counters::take(&self.project.counters.settling, 1);
        self.project.recent.ended((settlement.height, settlement.index));
        if let SettlementState::Settled(landed) = &settlement.state {
            Counters::add(&self.project.counters.settlement_gas, landed.gas_used);
        }
    }

    /// Notes why it does not go on, and when it is tried again. What says that state is no longer trusted halts.
    fn postpone(&self, settlement: &mut Settlement, e: Error) -> Result<(), Error> {
        settlement.reason = self.pause(e, settlement.attempts, &mut settlement.not_before)?;
        settlement.attempts = settlement.attempts.saturating_add(1);
        tracing::warn!(project = %self.project.name, height = settlement.height, index = settlement.index,
            "not settled yet: {}", settlement.reason);
        Ok(())
    }

    /// The reason why something waits, and until when it does, after so many tries in vain.
    pub(super) fn pause(&self, e: Error, attempts: u32, until: &mut Timestamp) -> Result<String, Error> {
        if e.kind() == ErrorKind::Fatal {
            return Err(e);
        }
        let pause = back_off(attempts.saturating_add(1), MAX_PAUSE_MS);
        *until = Timestamp(self.now().0.saturating_add(pause));
        Ok(e.to_string())
    }

    /// How many transactions of one account may be under way on a chain.
    pub(super) fn most_in_flight(&self, chain_id: u64) -> Result<usize, Error> {
        Ok(self.shared.parts.chain(chain_id)?.settings.max_in_flight.max(1))
    }

    /// One step of one settlement.
    async fn further(&mut self, settlement: &mut Settlement) -> Result<(), Error> {
        let wait = |why: String| Error::new(ErrorKind::Unavailable, why);
        let rule = settlement
            .rule
            .clone()
            .ok_or_else(|| wait("the manifest has no settlement for this statement any more".to_owned()))?;
        self.most_in_flight(rule.chain_id)?;
        let block = self.block(settlement.height).await?;
        if let (Some(proof), SettlementState::Waiting) = (&rule.proof, &settlement.state) {
            let output = usize::try_from(settlement.index).ok().and_then(|i| block.outputs.get(i));
            let output = output.ok_or_else(|| Error::new(ErrorKind::Fatal, "the output is gone"))?;
            let place = (settlement.height, settlement.index);
            if let Some(batch) = &proof.batch
                && let Err(until) =
                    self.batches.pass((&settlement.name, batch), (place, settlement.since), self.now())
            {
                settlement.reason = format!(
                    "its proof waits until {} statements do, or until {}",
                    batch.count,
                    crate::trigger::show_time(until)
                );
                return Ok(());
            }
            match self.proofs.poll(place, (&rule, proof), (settlement, &output.data)).await? {
                Progress::Waits(why) => {
                    settlement.reason = why.into_owned();
                    return Ok(());
                }
                Progress::Done(proof, millis) => {
                    self.batches.proven(&settlement.name, place);
                    settlement.state =
                        SettlementState::Proven { proof: hex::encode(proof.as_slice()), millis };
                    settlement.reason.clear();
                }
            }
        }
        self.offer(settlement, (rule.chain_id, &block)).await
    }

    async fn offer(
        &mut self,
        settlement: &mut Settlement,
        (chain_id, block): (u64, &AttestedBlock),
    ) -> Result<(), Error> {
        let (proof, millis) = match &settlement.state {
            SettlementState::Proven { proof, millis } => (proof.clone(), *millis),
            _ => (String::new(), 0),
        };
        let id = intent_id(settlement, block);
        let (now, most) = (self.now(), self.most_in_flight(chain_id)?);
        let submitter = self.submitter(&(chain_id, None)).await?;
        if let Some((_, outcome)) = submitter.finished().into_iter().find(|(done, _)| *done == id) {
            return self.end(settlement, (chain_id, id), (&outcome, (proof, millis))).await;
        }
        if !submitter.transactions(id).is_empty() {
            settlement.reason.clear();
            return Ok(());
        }
        // Before the call is built: most of those that wait, wait for this.
        if submitter.in_flight() >= most {
            "waits for the transactions before it".clone_into(&mut settlement.reason);
            return Ok(());
        }
        match submitter.offer(intent(id, settlement, block, &proof)?, now).await? {
            Offered::Taken(_) => settlement.reason.clear(),
            Offered::Later(why) => why.clone_into(&mut settlement.reason),
            Offered::Refused(Refusal::Reverts(revert)) => match ExecutionError::decode(&revert.data) {
                Some(ExecutionError::AlreadyExecuted) => settlement.state = SettlementState::Elsewhere,
                Some(why) => {
                    return Err(Error::new(ErrorKind::Refused, format!("the Executor refuses: {why}")));
                }
                None => return Err(Error::new(ErrorKind::Refused, format!("the Executor {revert}"))),
            },
            Offered::Refused(refusal) => {
                return Err(Error::new(ErrorKind::Refused, format!("the transaction {refusal}")));
            }
            Offered::Finished(outcome) => {
                return self.end(settlement, (chain_id, id), (&outcome, (proof, millis))).await;
            }
        }
        Ok(())
    }

    /// Takes an outcome over from the submitter's books. One that is no success is offered anew after a pause, with a
    /// new nonce.
    async fn end(
        &mut self,
        settlement: &mut Settlement,
        (chain_id, id): (u64, IntentId),
        (outcome, proof): (&Outcome, (String, u64)),
    ) -> Result<(), Error> {
        let failed = match ended(outcome, proof, self.now().0.saturating_sub(settlement.since.0)) {
            Ok(state) => {
                settlement.state = state;
                // Written before it is forgotten: a crash in between finds the outcome again.
                let writes = settlement.writes(self.project.id)?;
                self.shared.parts.journal.commit(writes).await?;
                None
            }
            Err(why) => Some(why),
        };
        if let Some(submitter) = self.submitters.get_mut(&(chain_id, None)) {
            submitter.forget(id).await?;
        }
        failed.map_or(Ok(()), |why| Err(Error::new(ErrorKind::Refused, why)))
    }

    /// Lets every submitter look at its chain. Outcomes are found when their settlements are offered again.
    async fn tick(&mut self) -> Result<(), Error> {
        let now = self.now();
        for ((chain_id, operator), submitter) in &mut self.submitters {
            let report = submitter.tick(now).await?;
            for warning in &report.warnings {
                tracing::warn!(project = %self.project.name, chain = chain_id, "{warning}");
            }
            let (balance, in_flight) = (report.balance.map(|b| b.to_string()), submitter.in_flight());
            let warnings = report.warnings.iter().map(ToString::to_string).collect();
            self.project.paid(FeeAccount {
                chain: *chain_id,
                operator: operator.clone(),
                balance,
                in_flight,
                warnings,
                time: now,
            });
        }
        Ok(())
    }

    pub(super) async fn submitter(&mut self, account: &Account) -> Result<&mut Submitter, Error> {
        let (chain_id, operator) = (account.0, account.1.as_ref());
        match self.submitters.entry(account.clone()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let parts = &self.shared.parts;
                let chain = parts.chain(chain_id)?;
                let ports = Ports {
                    chain: chain.chain.clone(),
                    journal: Arc::new(Books { journal: parts.journal.clone(), project: self.project.id }),
                    signer: Arc::new(FeeKey::new(parts.signer.clone(), payer(self.project.id, operator))?),
                };
                let mut submitter = Submitter::open(ports, chain_id, chain.settings.clone()).await?;
                submitter.tick(parts.clock.now()).await?;
                Ok(place.insert(submitter))
            }
        }
    }

    async fn block(&mut self, height: u64) -> Result<Arc<AttestedBlock>, Error> {
        if let Some(known) = self.blocks.get(&height) {
            return Ok(known.clone());
        }
        let gone = |what: &str| Error::new(ErrorKind::Fatal, format!("block {height}: its {what} is gone"));
        let (parts, id) = (&self.shared.parts, self.project.id);
        let attestation = parts.journal.attestation(id, height).await?.ok_or_else(|| gone("attestation"))?;
        let (_, _, outputs) = parts.vfs.result(id, height).await?.ok_or_else(|| gone("result"))?;
        let leaves = output_leaves(&outputs);
        let block = Arc::new(AttestedBlock { attestation, outputs, leaves });
        if self.blocks.len() >= BLOCKS {
            self.blocks.pop_first();
        }
        self.blocks.insert(height, block.clone());
        Ok(block)
    }
}

/// The id under which an account's key is made: the project's, or one of its own for each operator.
pub(crate) fn payer(project: ProjectId, operator: Option<&OperatorName>) -> ProjectId {
    let own = |name: &OperatorName| {
        Digest::tagged("w3b/operator/1", &[project.0.as_bytes(), name.as_str().as_bytes()])
    };
    operator.map_or(project, |name| ProjectId(own(name)))
}

/// The intent of an output, named by it for ever.
fn intent_id(settlement: &Settlement, block: &AttestedBlock) -> IntentId {
    let w3bstream_types::Statement { subnet, epoch, height, .. } = block.attestation.statement;
    let output = OutputRef { subnet: subnet.0, epoch, height, index: settlement.index };
    IntentId(Digest::tagged("w3b/settlement-intent", &[&output.id()]))
}

/// The call that settles an output.
fn intent(
    id: IntentId,
    settlement: &Settlement,
    block: &AttestedBlock,
    proof: &str,
) -> Result<Intent, Error> {
    let gone = || Error::new(ErrorKind::Fatal, "the output is gone");
    let at = usize::try_from(settlement.index).map_err(|_| gone())?;
    let path = merkle::path(&block.leaves, at).ok_or_else(gone)?;
    let proof =
        hex::decode(proof).map_err(|_| Error::new(ErrorKind::Fatal, "the proof's record is damaged"))?;
    let execution = Execution {
        attestation: &block.attestation,
        output: block.outputs.get(at).ok_or_else(gone)?,
        index: settlement.index,
        leaf_count: block.leaves.len() as u64,
        path: &path,
        proof: &proof,
    };
    Ok(Intent { id, to: execution.executor()?, value: 0, data: execution.call_data()? })
}

/// What an outcome makes of a settlement; the reason if it is to be tried again.
fn ended(
    outcome: &Outcome,
    (proof, proof_millis): (String, u64),
    after_millis: u64,
) -> Result<SettlementState, String> {
    match outcome {
        Outcome::Done(mined) => Ok(SettlementState::Settled(Landed {
            transaction: mined.transaction.to_string(),
            block: mined.number,
            block_hash: mined.block.to_string(),
            gas_used: mined.gas_used,
            gas_price: mined.gas_price.to_string(),
            proof,
            proof_millis,
            after_millis,
        })),
        // Somebody else's transaction was first: the Executor took the output once.
        Outcome::Reverted(_, revert)
        | Outcome::Cancelled(w3bstream_chain::submit::Cancel::Reverts(revert))
            if ExecutionError::decode(&revert.data) == Some(ExecutionError::AlreadyExecuted) =>
        {
            Ok(SettlementState::Elsewhere)
        }
        other => Err(other.to_string()),
    }
}
