//! The room's wrapper: the only place that turns [`Verified`] into [`Stored`].

use std::sync::Arc;

use w3bstream_types::{Form, MessageId, Position, Stored, Verified};

use crate::{Appended, Error, ErrorKind, Filter, Item, Storage};

/// A backend behind the batons.
#[derive(Clone, Debug)]
pub struct Store(Arc<dyn Storage>);

/// What became of one verified message.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are stored; a box would be an allocation for each")]
pub enum Outcome {
    /// It is durable; `true` if it is new.
    Stored(Stored, bool),
    /// Another message, with this id, holds its sequence number.
    Conflict(MessageId),
}

impl Store {
    /// Wraps a backend.
    #[must_use]
    pub fn new(backend: Arc<dyn Storage>) -> Self {
        Self(backend)
    }

    /// The backend.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Storage> {
        &self.0
    }

    /// Stores verified messages; durable when it returns.
    ///
    /// # Errors
    /// Those of [`Storage::append`], and [`ErrorKind::Corrupt`] if the backend answers for another number
    /// of items than it was given.
    pub async fn append(&self, batch: Vec<Verified>) -> Result<Vec<Outcome>, Error> {
        let items = batch.iter().map(|v| Item {
            record: v.record().clone(),
            trust: v.trust(),
            received_at: v.received_at(),
        });
        let appended = self.0.append(items.collect()).await?;
        if appended.len() != batch.len() {
            let what = format!("{} answered for {} of {} items", self.0.name(), appended.len(), batch.len());
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        for (verified, appended) in batch.into_iter().zip(appended) {
            outcomes.push(match appended {
                Appended::New(at) => Outcome::Stored(Stored::new(verified, at), true),
                Appended::Duplicate(at) => Outcome::Stored(Stored::new(verified, at), false),
                Appended::Conflict(kept) => self.of_another_session(&verified, kept).await?,
            });
        }
        Ok(outcomes)
    }

    /// A device that has renewed its session repeats a message with another JWT: other bytes, the same message.
    async fn of_another_session(&self, verified: &Verified, kept: MessageId) -> Result<Outcome, Error> {
        let Form::Session(now) = verified.record().form() else { return Ok(Outcome::Conflict(kept)) };
        let before = self.get(&[kept]).await?.pop().flatten();
        Ok(match before {
            Some(before) if matches!(before.record().form(), Form::Session(then) if then.says_the_same(now)) => {
                Outcome::Stored(before, false)
            }
            _ => Outcome::Conflict(kept),
        })
    }

    /// The stored messages with these ids, in the order asked for.
    ///
    /// # Errors
    /// Those of [`Storage::get`].
    pub async fn get(&self, ids: &[MessageId]) -> Result<Vec<Option<Stored>>, Error> {
        Ok(self.0.get(ids).await?.into_iter().map(|found| found.map(mint_read)).collect())
    }

    /// See [`Storage::scan`].
    ///
    /// # Errors
    /// Those of [`Storage::scan`].
    pub async fn scan(&self, filter: &Filter, after: Position, limit: usize) -> Result<Vec<Stored>, Error> {
        Ok(self.0.scan(filter, after, limit).await?.into_iter().map(mint_read).collect())
    }
}

fn mint_read((position, item): (Position, Item)) -> Stored {
    Stored::from_store(item.record, item.trust, item.received_at, position)
}
