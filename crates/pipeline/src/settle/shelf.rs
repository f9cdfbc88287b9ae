//! Where the records of outputs on their way are kept in the journal.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use w3bstream_journal::{Journal, RecordId, Write};
use w3bstream_types::ProjectId;

use crate::{Error, ErrorKind};

/// An output's place: its block's height, and its index among the block's outputs.
pub(super) type Place = (u64, u64);

/// One kind of record. By rising place, in one space while it is under way and in another one once it has ended.
pub(super) struct Shelf<T> {
    pub(super) live: &'static str,
    pub(super) ended: &'static str,
    /// What a record is of.
    pub(super) what: &'static str,
    pub(super) of: PhantomData<T>,
}

/// A place as a key.
pub(super) fn key((height, index): Place) -> Vec<u8> {
    [height.to_be_bytes(), index.to_be_bytes()].concat()
}

impl<T: Serialize + DeserializeOwned> Shelf<T> {
    fn read(&self, bytes: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(bytes).map_err(|e| self.damaged().with_source(e))
    }

    /// The journal has what was never written.
    pub(super) fn damaged(&self) -> Error {
        Error::new(ErrorKind::Fatal, format!("the journal's record of a {} is damaged", self.what))
    }

    /// The writes that keep a record: once it has ended, it moves to the other space.
    pub(super) fn writes(
        &self,
        project: ProjectId,
        place: Place,
        (record, ended): (&T, bool),
    ) -> Result<Vec<Write>, Error> {
        let bytes = serde_json::to_vec(record)
            .map_err(|e| Error::new(ErrorKind::Fatal, format!("a {}'s record", self.what)).with_source(e))?;
        let id = |space| RecordId { project, space, key: key(place) };
        if ended {
            return Ok(vec![Write::Record(id(self.live), None), Write::Record(id(self.ended), Some(bytes))]);
        }
        Ok(vec![Write::Record(id(self.live), Some(bytes))])
    }

    /// A page of records: those under way, or those that ended, behind `after`.
    pub(super) async fn page(
        &self,
        journal: &dyn Journal,
        project: ProjectId,
        (ended, after): (bool, Option<Place>),
        limit: usize,
    ) -> Result<Vec<T>, Error> {
        let space = if ended { self.ended } else { self.live };
        let key = after.map_or_else(Vec::new, key);
        let found = journal.records(&RecordId { project, space, key }, limit).await?;
        found.iter().map(|(_, bytes)| self.read(bytes)).collect()
    }

    /// One record by its key, wherever it stands.
    pub(super) async fn find(
        &self,
        journal: &dyn Journal,
        project: ProjectId,
        key: Vec<u8>,
    ) -> Result<Option<T>, Error> {
        for space in [self.live, self.ended] {
            if let Some(bytes) = journal.record(&RecordId { project, space, key: key.clone() }).await? {
                return self.read(&bytes).map(Some);
            }
        }
        Ok(None)
    }
}
