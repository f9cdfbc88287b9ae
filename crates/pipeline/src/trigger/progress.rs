//! How far a trigger has come.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use w3bstream_journal::{Journal, RecordId, Write};
use w3bstream_types::{Canonical as _, Digest, MessageId, ProjectId, Trigger, TriggerName, Word};

use super::TriggerStatus;
use crate::{Error, ErrorKind};

/// One record for each trigger, by its kind and name.
const SPACE: &str = "triggers";
/// How many blocks' hashes are kept, to find where a reorganisation began.
const TRAIL: usize = 64;
/// How many told events are kept, to take them back if their block is replaced.
const TOLD: usize = 512;

/// What the journal keeps of one trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The digest of the trigger: another one of the same name begins anew.
    definition: Digest,
    /// The next block to look at; for a schedule the last moment that was dealt with, in milliseconds.
    pub(super) next: u64,
    /// The hash of the block before it.
    pub(super) last: Option<Word>,
    /// Where it began: it never looks before it.
    pub(super) first: u64,
    /// How many messages it has made, repeats included.
    pub(super) told: u64,
    /// Whether it will never make another one.
    pub(super) done: bool,
    /// Heights and hashes of blocks that were looked at, the oldest first.
    pub(super) trail: Vec<(u64, Word)>,
    /// Events that were told lately, or are about to be, the oldest first.
    pub(super) recent: Vec<Told>,
}

/// An event that was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Its block's height.
    pub(super) number: u64,
    /// Its block's hash.
    pub(super) block: Word,
    /// Its message.
    pub(super) message: MessageId,
}

impl Progress {
    pub(super) fn begin(trigger: &Trigger, next: u64) -> Self {
        Self {
            definition: trigger.digest(),
            next,
            last: None,
            first: next,
            told: 0,
            done: false,
            trail: vec![],
            recent: vec![],
        }
    }

    /// Notes that blocks were looked at up to here.
    pub(super) fn reach(&mut self, next: u64, last: Option<Word>) {
        (self.next, self.last) = (next, last);
        if let (Some(number), Some(hash)) = (next.checked_sub(1), last) {
            self.trail.push((number, hash));
        }
        let over = self.trail.len().saturating_sub(TRAIL);
        self.trail.drain(..over);
    }

    /// Notes what is about to be told.
    pub(super) fn expect(&mut self, events: impl IntoIterator<Item = Told>) {
        let known: HashSet<MessageId> = self.recent.iter().map(|event| event.message).collect();
        self.recent.extend(events.into_iter().filter(|event| !known.contains(&event.message)));
        let over = self.recent.len().saturating_sub(TOLD);
        self.recent.drain(..over);
    }

    pub(super) fn write(&self, project: ProjectId, trigger: &Trigger) -> Result<Write, Error> {
        let bytes = serde_json::to_vec(self)
            .map_err(|e| Error::new(ErrorKind::Fatal, "a trigger's record").with_source(e))?;
        Ok(Write::Record(id(project, trigger), Some(bytes)))
    }
}

fn id(project: ProjectId, trigger: &Trigger) -> RecordId {
    // With its kind, since chains and the clock are watched by two tasks.
    RecordId { project, space: SPACE, key: format!("{}:{}", trigger.kind(), trigger.name).into_bytes() }
}

/// How far the trigger has come; `None` if it begins.
pub(super) async fn load(
    journal: &dyn Journal,
    project: ProjectId,
    trigger: &Trigger,
) -> Result<Option<Progress>, Error> {
    let Some(bytes) = journal.record(&id(project, trigger)).await? else { return Ok(None) };
    let known: Progress = serde_json::from_slice(&bytes).map_err(|e| {
        Error::new(ErrorKind::Fatal, "the journal's record of a trigger is damaged").with_source(e)
    })?;
    Ok((known.definition == trigger.digest()).then_some(known))
}

/// How the triggers of a project stand.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<BTreeMap<TriggerName, TriggerStatus>>);

impl Board {
    // The lock guards plain data that is whole between statements.
    pub(super) fn set(&self, status: TriggerStatus) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(status.name.clone(), status);
    }

    pub(super) fn retain(&self, known: impl Fn(&TriggerName) -> bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, _| known(name));
    }

    pub(crate) fn all(&self) -> Vec<TriggerStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
