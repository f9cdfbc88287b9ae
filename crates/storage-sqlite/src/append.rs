//! Storing a batch.

use std::collections::HashMap;

use w3bstream_sqlite::rusqlite::{self, CachedStatement, OptionalExtension, Params, Transaction};
use w3bstream_storage::{Appended, Error, ErrorKind, Item, MAX_CONFLICTS_PER_MESSAGE};
use w3bstream_types::{Canonical, Digest, MessageId, Position, ProjectId};

use crate::error::Fail;
use crate::{ids, schema};

/// An item as its row, encoded and hashed once.
#[derive(Debug)]
pub(crate) struct Row {
    id: MessageId,
    project: ProjectId,
    source: String,
    event_type: String,
    sequence: Option<i64>,
    received_at: i64,
    trust: i64,
    seal: Digest,
    body: Vec<u8>,
}

/// Over everything of an item that is its own row's to say.
pub(crate) fn seal(received_at: i64, trust: i64, body: &[u8]) -> Digest {
    Digest::tagged("w3b/stored/1", &[&received_at.to_be_bytes(), &trust.to_be_bytes(), body])
}

impl Row {
    pub(crate) fn new(item: Item) -> Result<Self, Error> {
        let Item { record, trust, received_at } = item;
        let received_at = i64::try_from(received_at.0).ok().filter(|t| *t < i64::MAX).ok_or_else(|| {
            let what = format!("message {}: the time of arrival {received_at} is out of range", record.id());
            Error::new(ErrorKind::Unsupported, what)
        })?;
        let trust = i64::from(trust.number());
        let body = record.to_canonical();
        Ok(Self {
            id: record.id(),
            project: record.project(),
            source: record.source().to_string(),
            event_type: record.event_type().as_str().to_owned(),
            // Only compared for equality, so that the upper half may as well be negative.
            sequence: record.sequence().map(|s| s.as_u64().cast_signed()),
            received_at,
            trust,
            seal: seal(received_at, trust, &body),
            body,
        })
    }

    /// About how many bytes storing it writes.
    pub(crate) const fn size(&self) -> usize {
        self.body.len() + 256
    }
}

/// Judges and stores the rows one after the other.
pub(crate) fn append(tx: &Transaction<'_>, rows: &[Row]) -> Result<Vec<Appended>, Fail> {
    let mut names = Names { tx, projects: HashMap::new(), sources: HashMap::new(), types: HashMap::new() };
    let mut insert = tx.prepare_cached(schema::INSERT)?;
    let mut answers = Vec::with_capacity(rows.len());
    let before = ids::last_position(tx)?;
    for row in rows {
        let project = names.project(row.project)?;
        let source = names.source(project, &row.source)?;
        let place = Place { project, source, event_type: names.event_type(&row.event_type)? };
        answers.push(append_one(tx, &mut insert, row, place)?);
    }
    ids::merge(tx, before, ids::last_position(tx)?)?;
    Ok(answers)
}

#[derive(Clone, Copy)]
struct Place {
    project: i64,
    source: i64,
    event_type: i64,
}

fn append_one(
    tx: &Transaction<'_>,
    insert: &mut CachedStatement<'_>,
    row: &Row,
    place: Place,
) -> Result<Appended, Fail> {
    let Place { project, source, event_type } = place;
    let values = (
        row.id.0.as_bytes(),
        project,
        source,
        event_type,
        row.sequence,
        row.received_at,
        row.trust,
        row.seal.as_bytes(),
        &row.body,
    );
    if insert.execute(values)? == 1 {
        let position = tx.last_insert_rowid();
        if row.sequence.is_some() {
            ids::insert(tx, position, &row.id)?;
        }
        return Ok(Appended::New(at(position)));
    }
    if row.sequence.is_some() {
        // The id binds source and sequence, so that the same id is at the same place.
        let holder = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?));
        let (position, id): (i64, [u8; 32]) =
            tx.prepare_cached(schema::BY_SEQUENCE)?.query_row((source, row.sequence), holder)?;
        let id = MessageId(Digest::from_bytes(id));
        return if id == row.id {
            Ok(Appended::Duplicate(at(position)))
        } else {
            conflict(tx, row, project, id)
        };
    }
    // A token message's id does not bind its bytes. The seal does, also when the body was deleted.
    let known = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?));
    let (position, received_at, trust, stored): (i64, i64, i64, [u8; 32]) =
        tx.prepare_cached(schema::BY_TOKEN_EVENT)?.query_row([row.id.0.as_bytes()], known)?;
    if seal(received_at, trust, &row.body).as_bytes() == &stored {
        return Ok(Appended::Duplicate(at(position)));
    }
    conflict(tx, row, project, row.id)
}

const fn at(position: i64) -> Position {
    Position(position.unsigned_abs())
}

/// Keeps the row as evidence, unless it is known or enough others are.
fn conflict(tx: &Transaction<'_>, row: &Row, project: i64, kept: MessageId) -> Result<Appended, Fail> {
    let mut others = tx.prepare_cached("SELECT body FROM conflict WHERE kept = ?1")?;
    let others: Vec<Vec<u8>> =
        others.query_map([kept.0.as_bytes()], |r| r.get(0))?.collect::<Result<_, _>>()?;
    if others.len() < MAX_CONFLICTS_PER_MESSAGE && !others.contains(&row.body) {
        let values = (project, kept.0.as_bytes(), row.received_at, row.trust, row.seal.as_bytes(), &row.body);
        tx.prepare_cached(
            "INSERT INTO conflict (project, kept, received_at, trust, seal, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(values)?;
    }
    Ok(Appended::Conflict(kept))
}

/// The numbers of names, looked up once per batch. Not longer: a number that a rolled-back transaction gave
/// must be forgotten with it.
struct Names<'t, 'r> {
    tx: &'t Transaction<'t>,
    projects: HashMap<ProjectId, i64>,
    sources: HashMap<(i64, &'r str), i64>,
    types: HashMap<&'r str, i64>,
}

impl<'r> Names<'_, 'r> {
    fn project(&mut self, id: ProjectId) -> Result<i64, Fail> {
        if let Some(number) = self.projects.get(&id) {
            return Ok(*number);
        }
        let number =
            self.number("project WHERE digest = ?1", "project (digest) VALUES (?1)", [id.0.as_bytes()])?;
        self.projects.insert(id, number);
        Ok(number)
    }

    fn source(&mut self, project: i64, name: &'r str) -> Result<i64, Fail> {
        if let Some(number) = self.sources.get(&(project, name)) {
            return Ok(*number);
        }
        let (find, make) =
            ("source WHERE project = ?1 AND name = ?2", "source (project, name) VALUES (?1, ?2)");
        let number = self.number(find, make, (project, name))?;
        self.sources.insert((project, name), number);
        Ok(number)
    }

    fn event_type(&mut self, name: &'r str) -> Result<i64, Fail> {
        if let Some(number) = self.types.get(name) {
            return Ok(*number);
        }
        let number = self.number("event_type WHERE name = ?1", "event_type (name) VALUES (?1)", [name])?;
        self.types.insert(name, number);
        Ok(number)
    }

    fn number(&self, find: &str, make: &str, values: impl Params + Clone) -> Result<i64, Fail> {
        let mut known = self.tx.prepare_cached(&format!("SELECT id FROM {find}"))?;
        match known.query_row(values.clone(), |r| r.get(0)).optional()? {
            Some(number) => Ok(number),
            None => Ok(self.tx.prepare_cached(&format!("INSERT INTO {make}"))?.insert(values)?),
        }
    }
}
