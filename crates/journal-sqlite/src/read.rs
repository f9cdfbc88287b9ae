//! Reading back.

use w3bstream_journal::{Error, ErrorKind, OutboxEntry, OutboxId, RecordId};
use w3bstream_sqlite::rusqlite::{OptionalExtension, Params, Row, Transaction};
use w3bstream_types::{
    Attestation, Canonical, CertifiedBlock, ControlTx, Digest, Genesis, Malformed, MessageId, ProjectId,
};

use crate::error::Fail;
use crate::schema;

fn corrupt(what: &str, e: Malformed) -> Fail {
    let what = format!("the journal's {what} is damaged; restore a backup");
    Fail(Error::new(ErrorKind::Corrupt, what).with_source(e))
}

fn decode<T: Canonical>(bytes: &[u8]) -> Result<T, Fail> {
    T::from_canonical(bytes).map_err(|e| corrupt(T::DOMAIN, e))
}

fn limit(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// All rows of one column of canonical values.
fn values<T: Canonical>(tx: &Transaction<'_>, sql: &str, values: impl Params) -> Result<Vec<T>, Fail> {
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(0)?;
        found.push(decode(&bytes)?);
    }
    Ok(found)
}

pub(crate) fn geneses(tx: &Transaction<'_>) -> Result<Vec<Genesis>, Fail> {
    values(tx, "SELECT g.bytes FROM genesis g JOIN project p ON p.id = g.project ORDER BY p.digest", [])
}

/// A value by project and height.
pub(crate) fn value<T: Canonical>(
    tx: &Transaction<'_>,
    sql: &str,
    project: ProjectId,
    height: u64,
) -> Result<Option<T>, Fail> {
    let Ok(height) = i64::try_from(height) else { return Ok(None) };
    Ok(values(tx, sql, (project.0.as_bytes(), height))?.pop())
}

pub(crate) fn last_height(tx: &Transaction<'_>, project: ProjectId) -> Result<u64, Fail> {
    let last: Option<i64> =
        tx.prepare_cached(schema::LAST_HEIGHT)?.query_row([project.0.as_bytes()], |r| r.get(0))?;
    Ok(last.unwrap_or(0).unsigned_abs())
}

type Place = (ProjectId, u64, u64);

pub(crate) fn ordered(tx: &Transaction<'_>, ids: &[MessageId]) -> Result<Vec<Option<Place>>, Fail> {
    let mut statement = tx.prepare_cached(
        "SELECT p.digest, e.height, e.place FROM entry e JOIN project p ON p.id = e.project WHERE e.id = ?1",
    )?;
    let place = |row: &Row<'_>| {
        let (digest, height, place): ([u8; 32], i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((ProjectId(Digest::from_bytes(digest)), height.unsigned_abs(), place.unsigned_abs()))
    };
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.push(statement.query_row([id.0.as_bytes()], place).optional()?);
    }
    Ok(found)
}

pub(crate) fn cursor(tx: &Transaction<'_>, project: ProjectId, name: &str) -> Result<u64, Fail> {
    let mut statement = tx.prepare_cached(schema::CURSOR)?;
    let value: Option<i64> = statement.query_row((project.0.as_bytes(), name), |r| r.get(0)).optional()?;
    Ok(value.unwrap_or(0).unsigned_abs())
}

pub(crate) fn control(tx: &Transaction<'_>, id: Digest) -> Result<Option<ControlTx>, Fail> {
    Ok(values(tx, "SELECT bytes FROM control WHERE id = ?1", [id.as_bytes()])?.pop())
}

pub(crate) fn pending(tx: &Transaction<'_>, project: ProjectId, most: usize) -> Result<Vec<ControlTx>, Fail> {
    let sql = "SELECT bytes FROM control
        WHERE pending = 1 AND project = (SELECT id FROM project WHERE digest = ?1)
        ORDER BY nonce, id LIMIT ?2";
    values(tx, sql, (project.0.as_bytes(), limit(most)))
}

pub(crate) fn outbox(
    tx: &Transaction<'_>,
    project: ProjectId,
    most: usize,
) -> Result<Vec<OutboxEntry>, Fail> {
    let mut statement = tx.prepare_cached(
        "SELECT height, place, attempts, last_error FROM outbox
         WHERE project = (SELECT id FROM project WHERE digest = ?1) ORDER BY height, place LIMIT ?2",
    )?;
    let entry = |row: &Row<'_>| {
        let (height, index): (i64, i64) = (row.get(0)?, row.get(1)?);
        let id = OutboxId { project, height: height.unsigned_abs(), index: index.unsigned_abs() };
        Ok(OutboxEntry { id, attempts: row.get(2)?, last_error: row.get(3)? })
    };
    Ok(statement.query_map((project.0.as_bytes(), limit(most)), entry)?.collect::<Result<_, _>>()?)
}

pub(crate) fn record(tx: &Transaction<'_>, id: &RecordId) -> Result<Option<Vec<u8>>, Fail> {
    let mut statement = tx.prepare_cached(
        "SELECT value FROM record
         WHERE project = (SELECT id FROM project WHERE digest = ?1) AND space = ?2 AND key = ?3",
    )?;
    Ok(statement.query_row((id.project.0.as_bytes(), id.space, &id.key), |r| r.get(0)).optional()?)
}

#[allow(clippy::type_complexity, reason = "pairs of key and value, as the trait has them")]
pub(crate) fn records(
    tx: &Transaction<'_>,
    after: &RecordId,
    most: usize,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Fail> {
    let mut statement = tx.prepare_cached(
        "SELECT key, value FROM record
         WHERE project = (SELECT id FROM project WHERE digest = ?1) AND space = ?2 AND key > ?3
         ORDER BY key LIMIT ?4",
    )?;
    let values = (after.project.0.as_bytes(), after.space, &after.key, limit(most));
    Ok(statement.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
}

pub(crate) fn halted(tx: &Transaction<'_>, project: ProjectId) -> Result<Option<String>, Fail> {
    let mut statement = tx.prepare_cached(
        "SELECT reason FROM halt WHERE project = (SELECT id FROM project WHERE digest = ?1)",
    )?;
    Ok(statement.query_row([project.0.as_bytes()], |r| r.get(0)).optional()?)
}

/// Says whether bytes are what a table should hold.
type Sound = fn(&[u8]) -> Result<(), Malformed>;

/// Decodes a stretch of blocks with their attestations, and the rest with the first stretch. Gives findings,
/// and from which row to go on.
pub(crate) fn check(tx: &Transaction<'_>, after: i64) -> Result<(Vec<String>, Option<i64>), Fail> {
    const STRETCH: usize = 200;
    let mut found = Vec::new();
    if after == 0 {
        let tables = ["genesis", "control", "attestation"];
        let decoders: [Sound; 3] = [sound::<Genesis>, sound::<ControlTx>, sound::<Attestation>];
        for (table, decoder) in tables.into_iter().zip(decoders) {
            let mut statement = tx.prepare(&format!("SELECT rowid, bytes FROM {table} ORDER BY rowid"))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (id, bytes): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
                found.extend(decoder(&bytes).err().map(|e| format!("{table} {id} is damaged: {e}")));
            }
        }
    }
    let sql = "SELECT b.id, b.height, b.bytes, (SELECT count(*) FROM block c WHERE c.project = b.project AND c.height = b.height - 1)
        FROM block b WHERE b.id > ?1 ORDER BY b.id LIMIT ?2";
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query((after, limit(STRETCH)))?;
    let (mut last, mut count) = (after, 0);
    while let Some(row) = rows.next()? {
        let (id, height, bytes, before): (i64, i64, Vec<u8>, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        (last, count) = (id, count + 1);
        match CertifiedBlock::from_canonical(&bytes) {
            Err(e) => found.push(format!("block {height} (row {id}) is damaged: {e}")),
            Ok(block) if block.block.header().height != height.unsigned_abs() => {
                found.push(format!("block {height} (row {id}) is of another height"));
            }
            Ok(_) if before == 0 && height > 1 => {
                found.push(format!("block {} (before row {id}) is missing", height - 1))
            }
            Ok(_) => {}
        }
    }
    Ok((found, (count == STRETCH).then_some(last)))
}

fn sound<T: Canonical>(bytes: &[u8]) -> Result<(), Malformed> {
    T::from_canonical(bytes).map(|_| ())
}
