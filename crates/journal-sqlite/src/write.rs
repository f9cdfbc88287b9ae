//! Applying a batch.

use w3bstream_journal::{Error, ErrorKind, OutboxId, RecordId, Write};
use w3bstream_sqlite::rusqlite::{OptionalExtension, Transaction};
use w3bstream_types::{Canonical, Digest, Entry, ProjectId};

use crate::error::Fail;
use crate::schema;

/// One write, encoded.
#[derive(Debug)]
pub(crate) enum Step {
    Genesis { project: ProjectId, bytes: Vec<u8> },
    Block { project: ProjectId, height: i64, bytes: Vec<u8>, entries: Vec<Entry> },
    Attestation { project: ProjectId, height: i64, bytes: Vec<u8> },
    Cursor { project: ProjectId, name: &'static str, value: i64 },
    Control { project: ProjectId, id: Digest, nonce: i64, bytes: Vec<u8> },
    Outbox(Vec<Effect>),
    OutboxFailed(Effect, String),
    OutboxDone(Effect),
    Record { id: RecordId, value: Option<Vec<u8>> },
    Halt { project: ProjectId, reason: String },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Effect {
    project: ProjectId,
    height: i64,
    place: i64,
}

fn conflict(what: String) -> Error {
    Error::new(ErrorKind::Conflict, what)
}

/// SQLite's numbers end at 2^63 - 1. No height, cursor or nonce of a living system comes near.
fn number(what: &str, n: u64) -> Result<i64, Error> {
    i64::try_from(n)
        .map_err(|_| conflict(format!("{what} {n} is beyond 2^63 - 1, more than the journal can hold")))
}

impl TryFrom<OutboxId> for Effect {
    type Error = Error;

    fn try_from(id: OutboxId) -> Result<Self, Error> {
        let (height, place) = (number("height", id.height)?, number("index", id.index)?);
        Ok(Self { project: id.project, height, place })
    }
}

impl Step {
    pub(crate) fn new(write: Write) -> Result<Self, Error> {
        Ok(match write {
            Write::Genesis(genesis) => {
                Self::Genesis { project: genesis.project, bytes: genesis.to_canonical() }
            }
            Write::Block(project, block) => Self::Block {
                project,
                height: number("height", block.block.header().height)?,
                bytes: block.to_canonical(),
                entries: block.block.entries().to_vec(),
            },
            Write::Attestation(project, attestation) => Self::Attestation {
                project,
                height: number("height", attestation.statement.height)?,
                bytes: attestation.to_canonical(),
            },
            Write::Cursor(project, name, value) => {
                Self::Cursor { project, name, value: number("cursor", value)? }
            }
            Write::Control(tx) => Self::Control {
                project: tx.project,
                id: tx.id(),
                nonce: number("nonce", tx.nonce)?,
                bytes: tx.to_canonical(),
            },
            Write::Outbox(ids) => {
                Self::Outbox(ids.into_iter().map(Effect::try_from).collect::<Result<_, _>>()?)
            }
            Write::OutboxFailed(id, why) => Self::OutboxFailed(id.try_into()?, why),
            Write::OutboxDone(id) => Self::OutboxDone(id.try_into()?),
            Write::Record(id, value) => Self::Record { id, value },
            Write::Halt(project, reason) => Self::Halt { project, reason },
        })
    }

    /// About how many bytes it writes.
    pub(crate) fn size(&self) -> usize {
        128 + match self {
            Self::Genesis { bytes, .. } | Self::Attestation { bytes, .. } | Self::Control { bytes, .. } => {
                bytes.len()
            }
            Self::Block { bytes, entries, .. } => bytes.len() + 64 * entries.len(),
            Self::Outbox(effects) => 64 * effects.len(),
            Self::OutboxFailed(_, reason) | Self::Halt { reason, .. } => reason.len(),
            Self::Record { id, value } => id.key.len() + value.as_ref().map_or(0, Vec::len),
            Self::Cursor { .. } | Self::OutboxDone(_) => 0,
        }
    }

    pub(crate) fn apply(&self, tx: &Transaction<'_>) -> Result<(), Fail> {
        match self {
            Self::Genesis { project, bytes } => genesis(tx, *project, bytes),
            Self::Block { project, height, bytes, entries } => block(tx, *project, (*height, bytes), entries),
            Self::Attestation { project, height, bytes } => {
                let number = project_number(tx, *project)?;
                let known = tx
                    .prepare_cached("SELECT bytes FROM attestation WHERE project = ?1 AND height = ?2")?
                    .query_row((number, height), |r| r.get(0))
                    .optional()?;
                if same(known, bytes, || format!("attestation {height} of project {project}"))? {
                    return Ok(());
                }
                let sql = "INSERT INTO attestation (project, height, bytes) VALUES (?1, ?2, ?3)";
                tx.prepare_cached(sql)?.execute((number, height, bytes))?;
                Ok(())
            }
            Self::Cursor { project, name, value } => cursor(tx, *project, name, *value),
            Self::Control { project, id, nonce, bytes } => {
                // A block may have ordered it before the journal heard of it.
                let sql = "INSERT INTO control (id, project, nonce, bytes, pending)
                    VALUES (?1, ?2, ?3, ?4, NOT EXISTS (SELECT 1 FROM entry WHERE id = ?1))
                    ON CONFLICT DO NOTHING";
                let number = project_number(tx, *project)?;
                tx.prepare_cached(sql)?.execute((id.as_bytes(), number, nonce, bytes))?;
                Ok(())
            }
            Self::Outbox(effects) => effects.iter().try_for_each(|effect| {
                let sql = "INSERT INTO outbox (project, height, place) VALUES (?1, ?2, ?3)
                    ON CONFLICT DO NOTHING";
                effect.execute(tx, sql)
            }),
            Self::OutboxFailed(effect, reason) => {
                let sql = "UPDATE outbox SET attempts = attempts + (attempts < 4294967295), last_error = ?4
                    WHERE project = ?1 AND height = ?2 AND place = ?3";
                let number = project_number(tx, effect.project)?;
                tx.prepare_cached(sql)?.execute((number, effect.height, effect.place, reason))?;
                Ok(())
            }
            Self::OutboxDone(effect) => {
                effect.execute(tx, "DELETE FROM outbox WHERE project = ?1 AND height = ?2 AND place = ?3")
            }
            Self::Record { id, value } => record(tx, id, value.as_deref()),
            Self::Halt { project, reason } => {
                let number = project_number(tx, *project)?;
                if reason.is_empty() {
                    tx.prepare_cached("DELETE FROM halt WHERE project = ?1")?.execute([number])?;
                } else {
                    let sql = "INSERT INTO halt (project, reason) VALUES (?1, ?2)
                        ON CONFLICT (project) DO UPDATE SET reason = excluded.reason";
                    tx.prepare_cached(sql)?.execute((number, reason))?;
                }
                Ok(())
            }
        }
    }
}

impl Effect {
    fn execute(&self, tx: &Transaction<'_>, sql: &str) -> Result<(), Fail> {
        let number = project_number(tx, self.project)?;
        tx.prepare_cached(sql)?.execute((number, self.height, self.place))?;
        Ok(())
    }
}

/// The project's number, given now if it has none.
fn project_number(tx: &Transaction<'_>, project: ProjectId) -> Result<i64, Fail> {
    let digest = project.0.as_bytes();
    let mut known = tx.prepare_cached("SELECT id FROM project WHERE digest = ?1")?;
    match known.query_row([digest], |r| r.get(0)).optional()? {
        Some(number) => Ok(number),
        None => Ok(tx.prepare_cached("INSERT INTO project (digest) VALUES (?1)")?.insert([digest])?),
    }
}

/// True if just these bytes are written already, false if nothing is; anything else is a conflict.
fn same(known: Option<Vec<u8>>, bytes: &[u8], what: impl Fn() -> String) -> Result<bool, Fail> {
    match known {
        None => Ok(false),
        Some(known) if known == bytes => Ok(true),
        Some(_) => Err(conflict(format!("{}: another one is written already", what())).into()),
    }
}

fn genesis(tx: &Transaction<'_>, project: ProjectId, bytes: &[u8]) -> Result<(), Fail> {
    let number = project_number(tx, project)?;
    let mut known = tx.prepare_cached("SELECT bytes FROM genesis WHERE project = ?1")?;
    let known = known.query_row([number], |r| r.get(0)).optional()?;
    if !same(known, bytes, || format!("genesis of project {project}"))? {
        let sql = "INSERT INTO genesis (project, bytes) VALUES (?1, ?2)";
        tx.prepare_cached(sql)?.execute((number, bytes))?;
    }
    Ok(())
}

fn block(
    tx: &Transaction<'_>,
    project: ProjectId,
    (height, bytes): (i64, &[u8]),
    entries: &[Entry],
) -> Result<(), Fail> {
    let last: Option<i64> =
        tx.prepare_cached(schema::LAST_HEIGHT)?.query_row([project.0.as_bytes()], |r| r.get(0))?;
    let last = last.unwrap_or(0);
    if height < 1 || height - 1 > last {
        let why = format!("the last one is {last}, and heights have no gaps");
        return Err(conflict(format!("block {height} of project {project}: {why}")).into());
    }
    let number = project_number(tx, project)?;
    if height <= last {
        let mut known = tx.prepare_cached(schema::BLOCK)?;
        let known = known.query_row((project.0.as_bytes(), height), |r| r.get(0)).optional()?;
        if same(known, bytes, || format!("block {height} of project {project}"))? {
            return Ok(());
        }
    }
    let sql = "INSERT INTO block (project, height, bytes) VALUES (?1, ?2, ?3)";
    tx.prepare_cached(sql)?.execute((number, height, bytes))?;
    let mut index = tx.prepare_cached(
        "INSERT INTO entry (id, project, height, place) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )?;
    let mut settle = tx.prepare_cached("UPDATE control SET pending = 0 WHERE id = ?1")?;
    for (place, entry) in (0_i64..).zip(entries) {
        let id = entry.id();
        if matches!(entry, Entry::Control(_)) {
            settle.execute([id.as_bytes()])?;
        }
        index.execute((id.as_bytes(), number, height, place))?;
    }
    Ok(())
}

fn record(tx: &Transaction<'_>, id: &RecordId, value: Option<&[u8]>) -> Result<(), Fail> {
    let number = project_number(tx, id.project)?;
    match value {
        Some(value) => {
            let sql = "INSERT INTO record (project, space, key, value) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (project, space, key) DO UPDATE SET value = excluded.value";
            tx.prepare_cached(sql)?.execute((number, id.space, &id.key, value))?;
        }
        None => {
            let sql = "DELETE FROM record WHERE project = ?1 AND space = ?2 AND key = ?3";
            tx.prepare_cached(sql)?.execute((number, id.space, &id.key))?;
        }
    }
    Ok(())
}

fn cursor(tx: &Transaction<'_>, project: ProjectId, name: &str, value: i64) -> Result<(), Fail> {
    let mut now = tx.prepare_cached(schema::CURSOR)?;
    let now: Option<i64> = now.query_row((project.0.as_bytes(), name), |r| r.get(0)).optional()?;
    let now = now.unwrap_or(0);
    if value < now {
        let what = format!("cursor {name:?} of project {project} is at {now}, not before {value}");
        return Err(conflict(what).into());
    }
    let sql = "INSERT INTO cursor (project, name, value) VALUES (?1, ?2, ?3)
        ON CONFLICT (project, name) DO UPDATE SET value = excluded.value";
    let number = project_number(tx, project)?;
    tx.prepare_cached(sql)?.execute((number, name, value))?;
    Ok(())
}
