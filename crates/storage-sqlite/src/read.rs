//! Reading back, every record against its digest.

use w3bstream_sqlite::rusqlite::{OptionalExtension, Row, Transaction};
use w3bstream_storage::{ConflictEvidence, Error, ErrorKind, Filter, Item};
use w3bstream_types::{Canonical, Digest, MessageId, Position, ProjectId, Record, Timestamp, Trust};

use crate::append::seal;
use crate::error::Fail;
use crate::{ids, schema};

/// A number for SQLite, which has none above 2^63 - 1. Positions and times stay below.
pub(crate) fn saturated(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn limit(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The first six columns of a message or of a conflict: position, id, time, trust, seal, body.
pub(crate) struct Raw {
    pub(crate) position: i64,
    pub(crate) id: [u8; 32],
    received_at: i64,
    trust: i64,
    seal: [u8; 32],
    body: Option<Vec<u8>>,
}

impl Raw {
    pub(crate) fn read(row: &Row<'_>) -> Result<Self, w3bstream_sqlite::rusqlite::Error> {
        Ok(Self {
            position: row.get(0)?,
            id: row.get(1)?,
            received_at: row.get(2)?,
            trust: row.get(3)?,
            seal: row.get(4)?,
            body: row.get(5)?,
        })
    }

    /// What was stored; `None` if its body was deleted. `Err` says what is not as it was stored.
    pub(crate) fn item(&self) -> Result<Option<Item>, String> {
        let Some(body) = &self.body else { return Ok(None) };
        if seal(self.received_at, self.trust, body).as_bytes() != &self.seal {
            return Err("its bytes are not those of its digest".into());
        }
        let record = Record::from_canonical(body).map_err(|e| e.to_string())?;
        let trust = u8::try_from(self.trust).ok().and_then(Trust::of_number);
        let trust = trust.ok_or_else(|| format!("its trust is {}", self.trust))?;
        Ok(Some(Item { record, trust, received_at: Timestamp(self.received_at.unsigned_abs()) }))
    }

    fn message(&self) -> Result<Option<(Position, Item)>, Fail> {
        let found = self.item().and_then(|item| match item {
            Some(item) if item.record.id().0.as_bytes() != &self.id => Err("its id is another's".into()),
            found => Ok(found),
        });
        let corrupt = |why| {
            let what = format!(
                "the record at position {} is damaged: {why}; run the store's check and restore a backup",
                self.position
            );
            Fail(Error::new(ErrorKind::Corrupt, what))
        };
        let found = found.map_err(corrupt)?;
        Ok(found.map(|item| (Position(self.position.unsigned_abs()), item)))
    }
}

pub(crate) fn get(tx: &Transaction<'_>, wanted: &[MessageId]) -> Result<Vec<Option<(Position, Item)>>, Fail> {
    let last = ids::last_position(tx)?;
    let mut record = tx.prepare_cached(schema::AT)?;
    let mut found = Vec::with_capacity(wanted.len());
    for id in wanted {
        let raw = match ids::find(tx, id, last)? {
            Some(position) => record.query_row([position], Raw::read).optional()?,
            None => None,
        };
        found.push(raw.map(|raw| raw.message()).transpose()?.flatten());
    }
    Ok(found)
}

pub(crate) fn scan(
    tx: &Transaction<'_>,
    filter: &Filter,
    after: Position,
    most: usize,
) -> Result<Vec<(Position, Item)>, Fail> {
    let after = saturated(after.0);
    let source = filter.source.as_ref().map(ToString::to_string);
    let event_type = filter.event_type.as_ref().map(|t| t.as_str());
    let from = filter.received_from.map_or(0, |t| saturated(t.0));
    let to = filter.received_to.map_or(i64::MAX, |t| saturated(t.0));
    let most = limit(most);
    let mut statement;
    let mut rows = if let Some(project) = filter.project {
        statement = tx.prepare_cached(schema::SCAN_PROJECT)?;
        statement.query((after, source, event_type, from, to, project.0.as_bytes(), most))?
    } else {
        statement = tx.prepare_cached(schema::SCAN_ALL)?;
        statement.query((after, source, event_type, from, to, most))?
    };
    let mut found = Vec::new();
    let mut record = tx.prepare_cached(schema::AT)?;
    while let Some(row) = rows.next()? {
        let position: i64 = row.get(0)?;
        let raw = record.query_row([position], Raw::read)?;
        found.extend(raw.message()?);
    }
    Ok(found)
}

pub(crate) fn conflicts(
    tx: &Transaction<'_>,
    project: ProjectId,
    most: usize,
) -> Result<Vec<ConflictEvidence>, Fail> {
    let mut statement = tx.prepare_cached(schema::CONFLICTS)?;
    let mut rows = statement.query((project.0.as_bytes(), limit(most)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let raw = Raw::read(row)?;
        let damaged = |why: String| {
            Fail(Error::new(ErrorKind::Corrupt, format!("conflict {} is damaged: {why}", raw.position)))
        };
        let refused = raw.item().map_err(damaged)?.ok_or_else(|| damaged("it is empty".into()))?;
        found.push(ConflictEvidence { kept: MessageId(Digest::from_bytes(raw.id)), refused });
    }
    Ok(found)
}
