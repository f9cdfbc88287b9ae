//! What came last, for people who look: bounded, in memory, and worked out only when somebody asks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use w3bstream_types::{
    Did, EventType, MessageId, MessageState, Output, OutputKind, ProjectId, RefusalKind, SourceId, Stored,
    Timestamp,
};
use w3bstream_wallet::DeviceStatus;

use crate::project::Project;
use crate::settle::{self, Settlement};
use crate::view::DeviceView;
use crate::{Error, Pipeline, stage_execute};

/// Messages that are kept in mind of each project.
const MESSAGES: usize = 50;
/// Refusals that are kept in mind of each project.
const REFUSALS: usize = 20;
/// The most bytes of a refusal's words: some repeat what the sender said.
const DETAIL_BYTES: usize = 300;
/// Settlements that ended and are kept in mind of each project.
const ENDED: usize = 20;
/// Blocks that are searched for messages when the node starts.
const BLOCKS: u64 = 64;
/// The same for settlements that ended, and how many of their records are read at most.
const SETTLED_BLOCKS: u64 = 20;
const SETTLED_RECORDS: usize = 1000;

/// A message of a short while ago.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecentMessage {
    /// Its id.
    pub id: MessageId,
    /// Who sent it: a device's DID, or `publisher:` and a name.
    pub source: String,
    /// Its event type.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// When this node took it.
    pub time: Timestamp,
    /// How far it is.
    pub state: MessageState,
    /// Why it was rejected, or how a handler failed; empty if neither.
    pub reason: String,
    /// How many settlements its handlers asked for.
    pub settlements: u64,
    /// The height of its block, once it is executed.
    #[serde(skip)]
    height: Option<u64>,
}

/// A refusal of a short while ago.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecentRefusal {
    /// When.
    pub time: Timestamp,
    /// The code that the sender was told.
    pub code: &'static str,
    /// The words that the sender was told, cut if they are long.
    pub detail: String,
}

/// The last messages, refusals and devices of one project.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    messages: Mutex<VecDeque<RecentMessage>>,
    refusals: Mutex<VecDeque<RecentRefusal>>,
    /// When each device was heard last. Bounded by the registered devices: only theirs are stored.
    heard: Mutex<HashMap<Did, Timestamp>>,
    /// Height and index of the settlements that ended last.
    ended: Mutex<VecDeque<(u64, u64)>>,
}

// The locks guard plain data that is whole between statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds an item; beyond `most` the oldest goes.
fn keep<T>(queue: &Mutex<VecDeque<T>>, item: T, most: usize) {
    let mut queue = lock(queue);
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(item);
}

impl Recent {
    /// A message was stored.
    pub(crate) fn stored(&self, stored: &Stored) {
        let record = stored.record();
        let (source, time) = (record.source(), stored.received_at());
        if let SourceId::Device(did) = &source {
            let mut heard = lock(&self.heard);
            match heard.get_mut(did) {
                Some(last) => *last = time.max(*last),
                None => drop(heard.insert(did.clone(), time)),
            }
        }
        let message = RecentMessage {
            id: record.id(),
            source: source.to_string(),
            event_type: record.event_type().clone(),
            time,
            state: MessageState::Stored,
            reason: String::new(),
            settlements: 0,
            height: None,
        };
        keep(&self.messages, message, MESSAGES);
    }

    /// A message was refused.
    pub(crate) fn refused(&self, time: Timestamp, kind: RefusalKind, detail: &str) {
        let end = detail.floor_char_boundary(DETAIL_BYTES);
        let mut words = detail.get(..end).unwrap_or_default().to_owned();
        if end < detail.len() {
            words.push('…');
        }
        keep(&self.refusals, RecentRefusal { time, code: kind.code(), detail: words }, REFUSALS);
    }

    /// A settlement ended.
    pub(crate) fn ended(&self, place: (u64, u64)) {
        keep(&self.ended, place, ENDED);
    }

    fn learn(&self, id: MessageId, height: u64, about: &[Output]) {
        let mut messages = lock(&self.messages);
        let Some(message) = messages.iter_mut().find(|m| m.id == id) else { return };
        message.height = Some(height);
        message.settlements = about.iter().filter(|o| o.kind == OutputKind::Settlement).count() as u64;
        if let Some(why) = stage_execute::rejection(about) {
            message.state = MessageState::Rejected;
            why.code().clone_into(&mut message.reason);
            return;
        }
        message.state = MessageState::Executed;
        let results = stage_execute::results(about);
        let failed = results.iter().filter_map(|r| r.error.as_ref().map(|e| (&r.applet, &r.handler, e)));
        let failed: Vec<_> = failed.map(|(a, h, why)| format!("{a}.{h} failed: {why}")).collect();
        message.reason = failed.join("; ");
    }
}

impl Pipeline {
    /// The messages that were stored last since the node started, and before it those of the last blocks: newest
    /// first, at most `limit`.
    ///
    /// # Errors
    /// [`Error`] if journal or state cannot be read.
    pub async fn recent_messages(
        &self,
        project: ProjectId,
        limit: usize,
    ) -> Result<Vec<RecentMessage>, Error> {
        let Some(running) = self.0.project(project) else { return Ok(Vec::new()) };
        let applied = *running.applied.borrow();
        let open: Vec<MessageId> =
            lock(&running.recent.messages).iter().filter(|m| m.height.is_none()).map(|m| m.id).collect();
        let ordered = self.0.parts.journal.ordered(&open).await?;
        let mut in_block = Vec::new();
        // Messages of one block come together, so its result is read once.
        let mut result: Option<(u64, Vec<Output>)> = None;
        for (id, found) in open.into_iter().zip(ordered) {
            let Some((_, height, _)) = found else { continue };
            if height > applied {
                in_block.push(id);
                continue;
            }
            if result.as_ref().is_none_or(|(known, _)| *known != height) {
                let outputs = self.0.parts.vfs.result(project, height).await?.map(|(_, _, o)| o);
                result = outputs.map(|o| (height, o));
            }
            let place = self.0.parts.vfs.outputs_of(project, id).await?;
            if let (Some((_, outputs)), Some((_, first, count))) = (&result, place) {
                let about = outputs.get(first as usize..(first + count) as usize).unwrap_or_default();
                running.recent.learn(id, height, about);
            }
        }
        let attested = *running.attested.borrow();
        let messages = lock(&running.recent.messages);
        let shown = messages.iter().rev().take(limit).cloned().map(|mut m| {
            match (m.state, m.height) {
                (MessageState::Executed, Some(height)) if height <= attested => {
                    m.state = MessageState::Attested;
                }
                (MessageState::Stored, None) if in_block.contains(&m.id) => m.state = MessageState::Ordered,
                _ => {}
            }
            m
        });
        Ok(shown.collect())
    }

    /// The settlements that ended last, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`Error`] if the journal cannot be read.
    pub async fn recent_settlements(
        &self,
        project: ProjectId,
        limit: usize,
    ) -> Result<Vec<Settlement>, Error> {
        let Some(running) = self.0.project(project) else { return Ok(Vec::new()) };
        let places: Vec<_> = lock(&running.recent.ended).iter().rev().take(limit).copied().collect();
        let mut found = Vec::with_capacity(places.len());
        for place in places {
            found.extend(settle::find(&*self.0.parts.journal, project, place).await?);
        }
        Ok(found)
    }

    /// The last refusals of a project's messages since the node started, newest first.
    #[must_use]
    pub fn recent_refusals(&self, project: ProjectId) -> Vec<RecentRefusal> {
        let found = self.0.project(project);
        found.map(|p| lock(&p.recent.refusals).iter().rev().cloned().collect()).unwrap_or_default()
    }

    /// Some of a project's devices: those that were heard last come first, at most `limit`.
    #[must_use]
    pub fn recent_devices(&self, project: ProjectId, limit: usize) -> Vec<DeviceView> {
        let Some(running) = self.0.project(project) else { return Vec::new() };
        let heard = lock(&running.recent.heard);
        let list = |image: &crate::registry::Image| {
            let when = |(did, status)| (std::cmp::Reverse(heard.get(did).copied()), did, status);
            let mut all: Vec<(_, &Did, &DeviceStatus)> = image.devices.iter().map(when).collect();
            // There may be very many: only what is shown is put in order.
            if limit < all.len() {
                all.select_nth_unstable_by_key(limit, |(at, did, _)| (*at, *did));
                all.truncate(limit);
            }
            all.sort_unstable_by_key(|(at, did, _)| (*at, *did));
            let view = |(at, did, status): (std::cmp::Reverse<Option<Timestamp>>, &Did, &DeviceStatus)| {
                DeviceView::of(did, status, image.windows.get(did), at.0)
            };
            all.into_iter().map(view).collect::<Vec<_>>()
        };
        self.0.registries.with(project, list).unwrap_or_default()
    }

    /// Brings the messages and settlements of the last blocks to mind, after a start.
    pub(crate) async fn recall(&self, project: &Project) -> Result<(), Error> {
        let last = *project.journaled.borrow();
        let mut ids: VecDeque<MessageId> = VecDeque::new();
        for height in (last.saturating_sub(BLOCKS) + 1..=last).rev() {
            let Some(block) = self.0.parts.journal.block(project.id, height).await? else { break };
            let of_block = crate::stage_order::message_ids(&block);
            for id in of_block.into_iter().rev().take(MESSAGES - ids.len()) {
                ids.push_front(id);
            }
            if ids.len() >= MESSAGES {
                break;
            }
        }
        let stored = self.0.store.get(ids.make_contiguous()).await?;
        stored.iter().flatten().for_each(|s| project.recent.stored(s));
        let from = (project.attested.borrow().saturating_sub(SETTLED_BLOCKS), 0);
        let journal = &*self.0.parts.journal;
        let ended = settle::page(journal, project.id, (true, Some(from)), SETTLED_RECORDS).await?;
        ended.iter().for_each(|s| project.recent.ended((s.height, s.index)));
        Ok(())
    }
}
