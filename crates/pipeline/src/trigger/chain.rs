//! Events of chains.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use w3bstream_chain::watch::{Batch, Cursor, Rules, Watcher};
use w3bstream_chain::{Block, BlockId, Chain, Hash, Log};
use w3bstream_types::{
    Form, HeightTrigger, LogTrigger, MessageId, Timestamp, TransactionTrigger, TriggerMessage, Word,
};

use super::progress::{Progress, Told};
use super::{BATCH, Watch, payload};
use crate::chains::{block, of_chain};
use crate::{Error, ErrorKind};

/// The most blocks that are asked for at once while catching up. A node that gives fewer is asked for fewer.
const MAX_RANGE: u64 = 2_000;
/// How far back it goes in a reorganisation that is deeper than the trail, in blocks.
const DEEPEST: u64 = 1_000;

impl Watch {
    fn chain(&self) -> Result<Arc<dyn Chain>, Error> {
        let id = self.trigger.chain_id().unwrap_or_default();
        Ok(self.shared.parts.chain(id)?.chain.clone())
    }

    /// Tells of a contract's events since the last time.
    pub(super) async fn logs(&mut self, on: &LogTrigger) -> Result<bool, Error> {
        let chain = self.chain()?;
        let Some(progress) = self.progress.clone() else {
            let start = match on.start_block {
                Some(start) => start,
                None => head(&*chain).await?.number + 1,
            };
            self.keep(Progress::begin(&self.trigger, start)).await?;
            return Ok(true);
        };
        let cursor = Cursor { next: progress.next, last: progress.last.map(|w| Hash::from_bytes(w.0)) };
        let watcher = self.watcher.get_or_insert_with(|| Watcher::new(chain.clone(), rules(on)));
        let batch = match watcher.next(cursor).await {
            Ok(batch) => batch,
            Err(e) if e.kind() == w3bstream_chain::ErrorKind::Reorganised => {
                tracing::warn!(project = %self.project.name, trigger = %self.trigger.name, "{e}");
                return self.go_back(&*chain, progress).await;
            }
            Err(e) => return Err(of_chain(e)),
        };
        if batch.cursor == cursor {
            return Ok(false);
        }
        self.take(&*chain, progress, (on, batch)).await
    }

    /// Tells of a batch's events and goes on behind it.
    async fn take(
        &mut self,
        chain: &dyn Chain,
        mut progress: Progress,
        (on, batch): (&LogTrigger, Batch),
    ) -> Result<bool, Error> {
        let end = on.end_block.unwrap_or(u64::MAX);
        let logs = batch.logs.into_iter().filter(|log| log.at.number <= end).collect();
        let told = self.messages(chain, logs).await?;
        if !told.is_empty() {
            // First what is about to be told: if it is told and then replaced while the node is down, it is known.
            progress.expect(told.iter().map(|(place, _)| place.clone()));
            self.keep(progress.clone()).await?;
            progress.told += told.len() as u64;
            let messages: Vec<TriggerMessage> = told.into_iter().map(|(_, message)| message).collect();
            for part in messages.chunks(BATCH) {
                self.tell(part.to_vec()).await?;
            }
        }
        progress.reach(batch.cursor.next, batch.cursor.last.map(word));
        progress.done = batch.cursor.next > end;
        let more = batch.behind > 0 && !progress.done;
        self.keep(progress).await?;
        Ok(more)
    }

    async fn messages(
        &self,
        chain: &dyn Chain,
        logs: Vec<Log>,
    ) -> Result<Vec<(Told, TriggerMessage)>, Error> {
        let (mut times, mut places) = (BTreeMap::new(), BTreeMap::new());
        let mut told = Vec::with_capacity(logs.len());
        for log in logs {
            let at = log.at;
            if let Entry::Vacant(time) = times.entry(at.block) {
                time.insert(block(chain, BlockId::Hash(at.block)).await?.time);
            }
            if let Entry::Vacant(index) = places.entry(at.transaction) {
                let receipt = chain.receipt(at.transaction).await.map_err(of_chain)?;
                let moved =
                    || unavailable(format!("transaction {} is no longer in its block", at.transaction));
                index.insert(receipt.filter(|r| r.block == at.block).ok_or_else(moved)?.index);
            }
            let (time, place) = (times.get(&at.block), places.get(&at.transaction));
            let payload = payload::log(&log, place.copied().unwrap_or_default());
            let id = event_id(self.trigger.chain_id(), at.block, at.index);
            let message = self.message(id, milliseconds(time.copied().unwrap_or_default()), payload);
            let message_id = MessageId::of_trigger(&message.header());
            told.push((Told { number: at.number, block: word(at.block), message: message_id }, message));
        }
        Ok(told)
    }

    /// After a reorganisation that was deeper than the confirmations: takes back what was told of blocks that are no
    /// more, and goes on behind the last one that is still there.
    async fn go_back(&mut self, chain: &dyn Chain, mut progress: Progress) -> Result<bool, Error> {
        let mut fork = None;
        for (number, hash) in progress.trail.iter().rev() {
            if stands(chain, *number, *hash).await? {
                fork = Some((*number, *hash));
                break;
            }
        }
        let (mut gone, mut kept) = (Vec::new(), Vec::new());
        for event in std::mem::take(&mut progress.recent) {
            let stands = stands(chain, event.number, event.block).await?;
            if stands { kept.push(event) } else { gone.push(event.message) }
        }
        let back = self.taken_back(&gone).await?;
        progress.told += back.len() as u64;
        self.tell(back).await?;
        progress.recent = kept;
        let oldest = progress.trail.first().map_or(progress.next, |(number, _)| *number);
        let start = oldest.saturating_sub(DEEPEST).max(progress.first);
        let (next, last) = fork.map_or((start, None), |(number, hash)| (number + 1, Some(hash)));
        progress.trail.retain(|(number, _)| *number < next);
        (progress.next, progress.last) = (next, last);
        self.watcher = None;
        self.keep(progress).await?;
        Ok(true)
    }

    /// The messages that take others back: their events with `removed` set, as nodes tell it.
    async fn taken_back(&self, gone: &[MessageId]) -> Result<Vec<TriggerMessage>, Error> {
        let found = self.shared.store.get(gone).await?;
        let mut back = Vec::new();
        // One that was about to be told and never was, is not there.
        for stored in found.into_iter().flatten() {
            let Form::Trigger(message) = stored.record().form() else { continue };
            if let Some(payload) = payload::removed(&message.payload) {
                let event_id = format!("{}:removed", message.event_id);
                back.push(TriggerMessage { event_id, payload, ..message.clone() });
            }
        }
        Ok(back)
    }

    /// Tells of the heights that were reached since the last time.
    pub(super) async fn heights(&mut self, on: &HeightTrigger) -> Result<bool, Error> {
        let chain = self.chain()?;
        let mut progress = self.progress.clone().unwrap_or_else(|| Progress::begin(&self.trigger, on.height));
        let Some(safe) = safe(&*chain, on.confirmations).await? else { return Ok(false) };
        let mut told = Vec::new();
        while progress.next <= safe && told.len() < BATCH && !progress.done {
            let number = progress.next;
            let block = block(&*chain, BlockId::Number(number)).await?;
            let id = format!("{}:{number}", on.chain_id);
            told.push(self.message(id, milliseconds(block.time), payload::height(number)));
            match on.every.and_then(|every| number.checked_add(every)) {
                Some(next) => progress.next = next,
                None => progress.done = true,
            }
        }
        if told.is_empty() && self.progress.is_some() {
            return Ok(false);
        }
        progress.told += told.len() as u64;
        let more = told.len() == BATCH;
        self.tell(told).await?;
        self.keep(progress).await?;
        Ok(more)
    }

    /// Tells of the transaction as soon as it is deep enough.
    pub(super) async fn transaction(&mut self, on: &TransactionTrigger) -> Result<bool, Error> {
        let chain = self.chain()?;
        let mut progress = match self.progress.clone() {
            Some(progress) => progress,
            None => Progress::begin(&self.trigger, 0),
        };
        let found = chain.transaction(Hash::from_bytes(on.hash.0)).await.map_err(of_chain)?;
        let safe = safe(&*chain, on.confirmations).await?;
        let found = found.filter(|t| safe.is_some_and(|safe| t.number <= safe));
        if let Some(found) = &found {
            // The answers may be of two different moments.
            if !stands(&*chain, found.number, word(found.block)).await? {
                return Err(unavailable(format!("block {} was replaced meanwhile", found.number)));
            }
            let time = block(&*chain, BlockId::Hash(found.block)).await?.time;
            let id = format!("{}:{}", on.chain_id, found.hash);
            self.tell(vec![self.message(id, milliseconds(time), payload::transaction(found))]).await?;
            (progress.done, progress.told, progress.next) = (true, 1, found.number);
        }
        if self.progress.as_ref() != Some(&progress) {
            self.keep(progress).await?;
        }
        Ok(false)
    }
}

fn unavailable(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unavailable, why)
}

fn word(hash: Hash) -> Word {
    Word(*hash.as_bytes())
}

/// Chains count in seconds.
const fn milliseconds(seconds: u64) -> Timestamp {
    Timestamp(seconds.saturating_mul(1000))
}

/// Names a log for ever: a log of a replaced block has another block hash.
fn event_id(chain: Option<u64>, block: Hash, index: u64) -> String {
    format!("{}:{block}:{index}", chain.unwrap_or_default())
}

fn rules(on: &LogTrigger) -> Rules {
    let topics = on.filter().into_iter().map(|t| t.map(Hash::from_bytes).into_iter().collect());
    Rules {
        addresses: vec![on.contract],
        topics: topics.collect(),
        confirmations: on.confirmations.into(),
        max_range: MAX_RANGE,
    }
}

async fn head(chain: &dyn Chain) -> Result<Block, Error> {
    block(chain, BlockId::Head).await
}

/// The last height that has so many confirmations, its own block included.
async fn safe(chain: &dyn Chain, confirmations: u32) -> Result<Option<u64>, Error> {
    let head = head(chain).await?.number;
    Ok((head + 1).checked_sub(confirmations.into()))
}

/// Whether the block of this height and hash is in the chain.
async fn stands(chain: &dyn Chain, number: u64, hash: Word) -> Result<bool, Error> {
    let found = chain.block(BlockId::Number(number)).await.map_err(of_chain)?;
    Ok(found.is_some_and(|b| b.hash.as_bytes() == &hash.0))
}
