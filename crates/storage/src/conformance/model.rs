//! A long run of random calls, held against the simplest store that can be right.

use w3bstream_types::{Canonical, Form, MessageId, Position, Timestamp};

use super::fixtures::{Message, project};
use super::{Failure, Place, ensure};
use crate::{Appended, Filter, Item, MAX_CONFLICTS_PER_MESSAGE};

/// 200 random calls, restarts among them, are answered as by the model.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn follows_the_model(place: &dyn Place) -> Result<(), Failure> {
    follows_the_model_from(place, 1).await
}

/// The same with the run that `seed` gives.
///
/// # Errors
/// [`Failure`], naming the step.
pub async fn follows_the_model_from(place: &dyn Place, seed: u64) -> Result<(), Failure> {
    let mut random = Random(seed);
    let mut store = place.open().await?;
    let claimed = store.capabilities();
    let mut model = Model::default();
    for step in 0..200 {
        let at = |what: &str| format!("seed {seed}, step {step}, {what}");
        match random.below(10) {
            0..=4 => {
                let batch: Result<Vec<Item>, Failure> = (0..random.below(4)).map(|_| random.item()).collect();
                let batch = batch?;
                let answers = store.append(batch.clone()).await?;
                ensure!(answers.len() == batch.len(), "{}: {} answers", at("append"), answers.len());
                for (item, answer) in batch.into_iter().zip(answers) {
                    let expected = model.append(item, answer);
                    ensure!(answer == expected, "{}: {answer:?}, expected {expected:?}", at("append"));
                }
            }
            5 => {
                let item = random.item()?;
                let (found, expected) = (store.get(&[item.record.id()]).await?, model.get(item.record.id()));
                ensure!(found == [expected.clone()], "{}: {found:?}, expected {expected:?}", at("get"));
            }
            6 | 7 => {
                let number = 1 + random.below(2) as u8;
                let (after, limit) = (Position(random.below(40)), random.below(6) as usize);
                let filter = Filter { project: Some(project(number)), ..Filter::default() };
                let found = store.scan(&filter, after, limit).await?;
                let expected = model.scan(number, after, limit);
                ensure!(found == expected, "{}: {found:?}, expected {expected:?}", at("scan"));
            }
            8 if claimed.retention => {
                let (number, time, limit) =
                    (1 + random.below(2) as u8, 1000 + random.below(12), random.below(3) as usize);
                let deleted = store.delete_before(project(number), Timestamp(time), limit).await?;
                let expected = model.delete(number, time, limit);
                ensure!(deleted == expected, "{}: {deleted}, expected {expected}", at("delete"));
            }
            9 if claimed.persistent => {
                if random.below(2) == 0 {
                    store.close().await?;
                }
                drop(store);
                store = place.open().await?;
            }
            _ => {
                let found: Vec<_> = store.conflicts(project(1), 100).await?;
                let found: Vec<_> = found.into_iter().map(|c| (c.kept, c.refused)).collect();
                let expected: Vec<_> = model
                    .conflicts
                    .iter()
                    .filter(|(_, refused)| refused.record.project() == project(1))
                    .cloned()
                    .collect();
                ensure!(found == expected, "{}: {found:?}, expected {expected:?}", at("conflicts"));
                let stats = store.stats().await?;
                let records = model.entries.iter().filter(|e| e.there).count() as u64;
                ensure!(stats.records == records, "{}: {stats:?}, expected {records}", at("stats"));
            }
        }
    }
    Ok(())
}

/// SplitMix64: enough to vary, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// From a domain so small that repeats and conflicts are common.
    fn item(&mut self) -> Result<Item, Failure> {
        let message = Message {
            project: 1 + self.below(2) as u8,
            source: 1 + self.below(2) as u8,
            sequence: self.below(6),
            event_type: if self.below(2) == 0 { "reading" } else { "alarm" },
            payload: vec![self.below(2) as u8],
            received_at: 1000 + self.below(10),
        };
        match self.below(5) {
            0 => message.token(),
            1 => message.jws(),
            2 => message.session(),
            _ => message.envelope(),
        }
    }
}

struct Entry {
    position: Position,
    item: Item,
    there: bool,
}

/// A list, searched from the start each time.
#[derive(Default)]
struct Model {
    entries: Vec<Entry>,
    conflicts: Vec<(MessageId, Item)>,
}

impl Model {
    /// What the answer must be. Which position a new item gets is the store's choice, as long as it rises.
    fn append(&mut self, item: Item, answer: Appended) -> Appended {
        let record = &item.record;
        if let Some(known) = self.entries.iter().find(|e| e.item.record.id() == record.id()) {
            let token = matches!(record.form(), Form::Token(_) | Form::Session(_));
            if !token || known.item.record.to_canonical() == record.to_canonical() {
                return Appended::Duplicate(known.position);
            }
            return self.conflict(record.id(), item);
        }
        let place = (record.project(), record.source(), record.sequence());
        let holder = self
            .entries
            .iter()
            .map(|e| &e.item.record)
            .find(|r| record.sequence().is_some() && (r.project(), r.source(), r.sequence()) == place);
        if let Some(holder) = holder.map(w3bstream_types::Record::id) {
            return self.conflict(holder, item);
        }
        let last = self.entries.last().map_or(Position(0), |e| e.position);
        let position = match answer {
            Appended::New(position) if position > last => position,
            _ => Position(last.0 + 1),
        };
        self.entries.push(Entry { position, item, there: true });
        Appended::New(position)
    }

    fn conflict(&mut self, kept: MessageId, refused: Item) -> Appended {
        let others: Vec<&Item> = self.conflicts.iter().filter(|c| c.0 == kept).map(|c| &c.1).collect();
        if others.len() < MAX_CONFLICTS_PER_MESSAGE && !others.iter().any(|i| i.record == refused.record) {
            self.conflicts.push((kept, refused));
        }
        Appended::Conflict(kept)
    }

    fn get(&self, id: MessageId) -> Option<(Position, Item)> {
        let entry = self.entries.iter().find(|e| e.there && e.item.record.id() == id)?;
        Some((entry.position, entry.item.clone()))
    }

    fn scan(&self, number: u8, after: Position, limit: usize) -> Vec<(Position, Item)> {
        let matching = self
            .entries
            .iter()
            .filter(|e| e.there && e.position > after && e.item.record.project() == project(number));
        matching.take(limit).map(|e| (e.position, e.item.clone())).collect()
    }

    fn delete(&mut self, number: u8, time: u64, limit: usize) -> u64 {
        let old = self
            .entries
            .iter_mut()
            .filter(|e| e.there && e.item.record.project() == project(number) && e.item.received_at.0 < time);
        old.take(limit).map(|e| e.there = false).count() as u64
    }
}
