//! The end of a project: its owner removes it, and what it had begun is finished.
//!
//! A removal is a control transaction. From the moment at which it is in the journal the project takes nothing more
//! on this node, and what it took before is ordered before it. From its height on, on every member: messages are refused
//! as `removed`, triggers and canaries end, sessions and connections that rest on the project end, nothing changes the
//! state. What was attested goes on to the outbox and the chains, and everything stays to be read.

use std::sync::atomic::Ordering;

use serde::Serialize;
use w3bstream_journal::Journal;
use w3bstream_storage::Filter;
use w3bstream_types::{Control, Entry, Position, ProjectId, ProjectName};

use crate::apply::Resolved;
use crate::node::Shared;
use crate::project::Project;
use crate::stage_order::ORDERED;
use crate::{Error, ErrorKind, Pipeline};

/// The most of each kind that is counted.
const MOST: usize = 1000;

/// What a project has begun and not finished. Each is counted up to 1,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UnderWay {
    /// Messages that are stored and in no block.
    pub messages: u64,
    /// Blocks that are not attested.
    pub blocks: u64,
    /// Messages of applets that were not handed to the MQTT broker yet.
    pub publications: u64,
    /// Statements that their contracts have not taken yet.
    pub settlements: u64,
    /// Transactions of applets that have not ended.
    pub transactions: u64,
}

impl UnderWay {
    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for UnderWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [
            (self.messages, "messages to order"),
            (self.blocks, "blocks to attest"),
            (self.publications, "publications to hand over"),
            (self.settlements, "settlements"),
            (self.transactions, "transactions"),
        ];
        let shown: Vec<String> =
            all.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        f.write_str(if shown.is_empty() { "nothing" } else { "" })?;
        f.write_str(&shown.join(", "))
    }
}

impl Shared {
    /// # Errors
    /// [`ErrorKind::Refused`] if the owner has removed the project.
    pub(crate) fn check_not_removed(&self, project: ProjectId) -> Result<(), Error> {
        let Some(height) = self.removed(project) else { return Ok(()) };
        let why = format!(
            "the project was removed at height {height} and does not come back: its id, of owner and name, is used \
             once; choose another name"
        );
        Err(Error::new(ErrorKind::Refused, why))
    }
}

/// Why a name cannot be had for another owner's project.
pub(crate) fn name_is_taken(shared: &Shared, name: &ProjectName, holder: ProjectId) -> String {
    let of = format!("another owner's project has the name {name} on this node");
    match shared.removed(holder) {
        Some(height) => format!(
            "{of}; it was removed at height {height}, and its records are still served: choose another name"
        ),
        None => of,
    }
}

/// A block was applied. A removal in it has taken effect, or was refused.
pub(crate) fn applied(project: &Project, entries: &[(Entry, Resolved)], removed: Option<u64>) {
    let is_removal = |(_, resolved): &(Entry, Resolved)| match resolved {
        Resolved::Control(tx) => matches!(tx.change, Control::Remove),
        Resolved::Message(_) | Resolved::Transcript(_) => false,
    };
    if !entries.iter().any(is_removal) {
        return;
    }
    if let Some(height) = removed {
        tracing::info!(project = %project.name, height, "removed by its owner");
        project.canaries.end("the project was removed");
    }
    project.leaving.store(false, Ordering::Release);
}

/// Finds a removal that was accepted before the node stopped and is not ordered yet.
pub(crate) async fn resume(project: &Project, journal: &dyn Journal) -> Result<(), Error> {
    let pending = journal.pending_controls(project.id, usize::MAX >> 1).await?;
    let leaving = pending.iter().any(|tx| matches!(tx.change, Control::Remove));
    project.leaving.store(leaving, Ordering::Release);
    Ok(())
}

impl Pipeline {
    /// What a project has begun and not finished.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such project; [`Error`] if a room cannot be read.
    pub async fn under_way(&self, id: ProjectId) -> Result<UnderWay, Error> {
        let unknown = || Error::new(ErrorKind::NotFound, format!("there is no project {id}"));
        let project = self.0.project(id).ok_or_else(unknown)?;
        let journal = &*self.0.parts.journal;
        let ordered = Position(journal.cursor(id, ORDERED).await?);
        let filter = Filter { project: Some(id), ..Filter::default() };
        let messages = self.0.store.scan(&filter, ordered, MOST).await?.len() as u64;
        let blocks = journal.last_height(id).await?.saturating_sub(*project.attested.borrow());
        Ok(UnderWay {
            messages,
            blocks: blocks.min(MOST as u64),
            publications: journal.outbox(id, MOST).await?.len() as u64,
            settlements: crate::settle::page(journal, id, (false, None), MOST).await?.len() as u64,
            transactions: crate::settle::transactions(journal, id, (false, None), MOST).await?.len() as u64,
        })
    }
}
