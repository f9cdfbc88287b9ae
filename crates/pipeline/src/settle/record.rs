//! What the journal keeps of one settlement.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};
use w3bstream_journal::{Journal, RecordId, Write};
use w3bstream_types::{
    AppletName, Canonical, Manifest, MessageId, Output, OutputKind, ProjectId, ResultRecord,
    Settlement as Rule, Timestamp,
};

use super::shelf::{Place, Shelf, key};
use crate::{Error, ErrorKind};

const SHELF: Shelf<Settlement> =
    Shelf { live: "settle", ended: "settled", what: "settlement", of: PhantomData };

/// One statement on its way to a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// The height of its block.
    pub height: u64,
    /// Its index among the block's outputs.
    pub index: u64,
    /// The settlement's name in the manifest.
    pub name: String,
    /// The applet that asked for it.
    pub applet: AppletName,
    /// The message that its handler worked on; `None` in records of before this was kept.
    #[serde(default)]
    pub message: Option<MessageId>,
    /// The manifest's rule as it was when the block was attested; `None` if the manifest had changed so that none
    /// fits, and the statement cannot be settled.
    pub rule: Option<Rule>,
    /// How far it is.
    pub state: SettlementState,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// Why it is not further; empty if there is nothing to say.
    pub reason: String,
    /// It is not tried before this time.
    pub not_before: Timestamp,
    /// When its block was attested; 0 in records of before this was kept.
    #[serde(default)]
    pub since: Timestamp,
}

/// How far a settlement is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum SettlementState {
    /// For its proof, or for its transaction.
    Waiting,
    /// The proof is there: its bytes in hex, as the contract takes them.
    Proven {
        /// The proof.
        proof: String,
        /// How long it took to make, in milliseconds.
        millis: u64,
    },
    /// The Executor took it.
    Settled(Landed),
    /// The Executor had taken it already, by a transaction that this node does not know: of another member.
    Elsewhere,
}

/// The transaction that settled it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// Its hash.
    pub transaction: String,
    /// Its block's height.
    pub block: u64,
    /// Its block's hash.
    pub block_hash: String,
    /// Gas that it used.
    pub gas_used: u64,
    /// Wei that it paid for one unit of gas, in decimal.
    pub gas_price: String,
    /// The proof that it carried; empty if none was asked for.
    pub proof: String,
    /// How long the proof took, in milliseconds.
    pub proof_millis: u64,
    /// How long after its block was attested it was final on its chain, in milliseconds: proof, transaction and
    /// confirmations together.
    #[serde(default)]
    pub after_millis: u64,
}

impl Settlement {
    /// Whether nothing more is to be done.
    #[must_use]
    pub const fn ended(&self) -> bool {
        matches!(self.state, SettlementState::Settled(_) | SettlementState::Elsewhere)
    }

    /// The writes that keep it: once it has ended, it moves to the other space.
    pub(crate) fn writes(&self, project: ProjectId) -> Result<Vec<Write>, Error> {
        SHELF.writes(project, (self.height, self.index), (self, self.ended()))
    }
}

/// The records with which a block's settlements and transactions begin, and how many settlements they are.
pub(crate) fn open_records(
    project: ProjectId,
    height: u64,
    outputs: &[Output],
    (manifest, now): (Option<&Manifest>, Timestamp),
) -> Result<(Vec<Write>, u64), Error> {
    let (mut writes, mut settlements) = (Vec::new(), 0);
    let mut asked = None;
    let nobodys =
        |index| Error::new(ErrorKind::Fatal, format!("output {index} of height {height} is nobody's"));
    for (index, output) in (0..).zip(outputs) {
        match output.kind {
            OutputKind::Result => {
                let result = ResultRecord::from_canonical(&output.data)?;
                asked = Some((result.applet, result.message));
            }
            OutputKind::Settlement => {
                let rules = manifest.map(|m| m.settlements.as_slice()).unwrap_or_default();
                let rule = rules.iter().find(|r| {
                    r.chain_id == output.chain_id
                        && r.target() == output.target
                        && r.words(&output.data).is_ok()
                });
                let (applet, message) = asked.clone().ok_or_else(|| nobodys(index))?;
                let record = Settlement {
                    height,
                    index,
                    name: rule.map(|r| r.name.to_string()).unwrap_or_default(),
                    applet,
                    message: Some(message),
                    rule: rule.cloned(),
                    state: SettlementState::Waiting,
                    attempts: 0,
                    reason: String::new(),
                    not_before: Timestamp(0),
                    since: now,
                };
                writes.extend(record.writes(project)?);
                settlements += 1;
            }
            OutputKind::Transaction => {
                let asked = asked.clone().ok_or_else(|| nobodys(index))?;
                writes.extend(super::send::open(project, (height, index), output, asked)?);
            }
            _ => {}
        }
    }
    Ok((writes, settlements))
}

/// A page of records: those under way, or those that ended, behind `after` (height, index).
pub(crate) async fn page(
    journal: &dyn Journal,
    project: ProjectId,
    (ended, after): (bool, Option<(u64, u64)>),
    limit: usize,
) -> Result<Vec<Settlement>, Error> {
    SHELF.page(journal, project, (ended, after), limit).await
}

/// How many are under way. Reads them all: asked once, at the start.
pub(crate) async fn count_live(journal: &dyn Journal, project: ProjectId) -> Result<u64, Error> {
    const PAGE: usize = 1000;
    let (mut after, mut count) = (RecordId { project, space: SHELF.live, key: Vec::new() }, 0);
    loop {
        let page = journal.records(&after, PAGE).await?;
        count += page.len() as u64;
        match page.into_iter().next_back() {
            Some((key, _)) => after.key = key,
            None => return Ok(count),
        }
    }
}

/// A page of those under way.
pub(crate) async fn live(
    journal: &dyn Journal,
    project: ProjectId,
    after: Option<(u64, u64)>,
    limit: usize,
) -> Result<Vec<Settlement>, Error> {
    page(journal, project, (false, after), limit).await
}

/// One settlement, wherever it stands.
pub(crate) async fn find(
    journal: &dyn Journal,
    project: ProjectId,
    place: Place,
) -> Result<Option<Settlement>, Error> {
    SHELF.find(journal, project, key(place)).await
}
