//! What people are shown of settlements.

use serde::Serialize;
use w3bstream_endpoint::MessageLife;
use w3bstream_prover::{JobState, Step};
use w3bstream_types::{
    MessageSettlement, OperatorName, Output, OutputKind, ProjectId, ProofStep, SettlementStep,
    SettlingTransaction, Timestamp,
};

use super::prove::job_id;
use super::record::{self, Settlement, SettlementState};
use crate::node::Shared;
use crate::{Error, Pipeline};

/// The account that pays for a project's transactions on one chain, as the node saw it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeeAccount {
    /// The chain's id.
    pub chain: u64,
    /// Whose account it is; `None` for the project's own.
    pub operator: Option<OperatorName>,
    /// What it has, in wei, in decimal; `None` if the chain did not say.
    pub balance: Option<String>,
    /// Transactions that are not final yet.
    pub in_flight: usize,
    /// What an operator should know of them.
    pub warnings: Vec<String>,
    /// When that was.
    pub time: Timestamp,
}

/// How far the proof of a settlement is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum ProofProgress {
    /// The prover was not asked for it yet: it has no room, or the last try failed, as the settlement's reason says.
    Waiting,
    /// In the prover's queue.
    Queued {
        /// How many wait before it or run.
        ahead: usize,
    },
    /// It is being made.
    Running {
        /// `loading`, `witness`, `proving` or `checking`.
        step: &'static str,
        /// How much of the whole job is done, in percent.
        percent: u8,
    },
    /// There is a proof.
    Done {
        /// How long it took, queue included, in milliseconds.
        millis: u64,
    },
}

impl ProofProgress {
    fn describe(&self, settlement: &Settlement) -> String {
        match self {
            Self::Waiting if !settlement.reason.is_empty() => settlement.reason.clone(),
            Self::Waiting => "waits for room in the prover".to_owned(),
            Self::Queued { ahead } => format!("its proof is queued, {ahead} before it"),
            Self::Running { step, percent } => format!("its proof is being made: {step}, {percent} %"),
            Self::Done { .. } => transaction_of(settlement),
        }
    }
}

/// What a settlement says that has no transaction to wait for but its own.
fn transaction_of(settlement: &Settlement) -> String {
    match settlement.reason.as_str() {
        "" => "its transaction is under way".to_owned(),
        why => why.to_owned(),
    }
}

const fn step_name(step: Step) -> &'static str {
    match step {
        Step::Loading => "loading",
        Step::Witness => "witness",
        Step::Proving => "proving",
        Step::Checking => "checking",
    }
}

/// How far the proof is; `None` if none is asked for.
async fn progress(
    shared: &Shared,
    project: ProjectId,
    settlement: &Settlement,
) -> Result<Option<ProofProgress>, Error> {
    let Some(rule) = settlement.rule.as_ref().and_then(|r| r.proof.as_ref()) else { return Ok(None) };
    let done = |millis| Ok(Some(ProofProgress::Done { millis }));
    match &settlement.state {
        SettlementState::Waiting => {}
        SettlementState::Proven { millis, .. } => return done(*millis),
        SettlementState::Settled(landed) => return done(landed.proof_millis),
        // Another member's transaction carried a proof of its own.
        SettlementState::Elsewhere => return Ok(None),
    }
    let Some(prover) = shared.parts.provers.get(&rule.system) else {
        return Ok(Some(ProofProgress::Waiting));
    };
    let state = prover.state(job_id(project, (settlement.height, settlement.index))).await?;
    Ok(Some(match state {
        Some(JobState::Queued { ahead }) => ProofProgress::Queued { ahead },
        Some(JobState::Running { step, done }) => {
            ProofProgress::Running { step: step_name(step), percent: done }
        }
        // Made, but not taken over yet.
        Some(JobState::Done(_)) => ProofProgress::Running { step: step_name(Step::Checking), percent: 100 },
        Some(JobState::Failed { .. } | JobState::Cancelled) | None => ProofProgress::Waiting,
    }))
}

async fn show(
    shared: &Shared,
    project: ProjectId,
    (height, index, output): (u64, u64, &Output),
) -> Result<MessageSettlement, Error> {
    let mut view = MessageSettlement {
        height,
        index,
        name: String::new(),
        chain: output.chain_id,
        state: SettlementStep::Waiting,
        proof: ProofStep::None,
        attempts: 0,
        reason: "waits for the attestation of its block".to_owned(),
        transaction: None,
    };
    let Some(found) = record::find(&*shared.parts.journal, project, (height, index)).await? else {
        return Ok(view);
    };
    view.name.clone_from(&found.name);
    view.attempts = found.attempts;
    let progress = progress(shared, project, &found).await?;
    view.proof = match &progress {
        None => ProofStep::None,
        Some(ProofProgress::Done { .. }) => ProofStep::Made,
        Some(_) => ProofStep::Waiting,
    };
    (view.state, view.reason) = match &found.state {
        SettlementState::Waiting => {
            let why = progress.map_or_else(|| transaction_of(&found), |p| p.describe(&found));
            (SettlementStep::Waiting, why)
        }
        SettlementState::Proven { .. } => (SettlementStep::Proven, transaction_of(&found)),
        SettlementState::Settled(landed) => {
            view.transaction = Some(SettlingTransaction {
                hash: landed.transaction.clone(),
                block: landed.block,
                gas: landed.gas_used,
            });
            (SettlementStep::Settled, found.reason.clone())
        }
        SettlementState::Elsewhere => {
            let why = "the contract had taken it, by a transaction that is not this node's";
            (SettlementStep::Elsewhere, why.to_owned())
        }
    };
    Ok(view)
}

/// The settlements among a message's outputs, which begin at `first` of their block: the first of them, and how many
/// there are.
pub(crate) async fn of_message(
    shared: &Shared,
    project: ProjectId,
    (height, first, outputs): (u64, u64, &[Output]),
) -> Result<(Vec<MessageSettlement>, u64), Error> {
    let all = || (first..).zip(outputs).filter(|(_, o)| o.kind == OutputKind::Settlement);
    let mut shown = Vec::new();
    for (index, output) in all().take(MessageLife::MOST_SETTLEMENTS) {
        shown.push(show(shared, project, (height, index, output)).await?);
    }
    Ok((shown, all().count() as u64))
}

impl Pipeline {
    /// How far the proof of a settlement is; `None` if none is asked for.
    ///
    /// # Errors
    /// [`Error`] if the prover is closed.
    pub async fn proof_progress(
        &self,
        project: ProjectId,
        settlement: &Settlement,
    ) -> Result<Option<ProofProgress>, Error> {
        progress(&self.0, project, settlement).await
    }

    /// What the node saw last of the accounts that pay for a project's transactions, by chain. A chain is not there
    /// before the first settlement on it since the node started.
    #[must_use]
    pub fn fee_accounts(&self, project: ProjectId) -> Vec<FeeAccount> {
        self.0.project(project).map(|p| p.accounts()).unwrap_or_default()
    }
}
