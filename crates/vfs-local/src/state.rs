//! The SQL: state, results and index of one project inside a transaction.

use rusqlite::{OptionalExtension as _, Transaction, params};
use w3bstream_types::{Canonical as _, Decoder, Digest, Encoder, MessageId, Output, ProjectId};
use w3bstream_vfs::{Applied, Entries, Error, ErrorKind, check_sizes, tree};

use crate::error::{Fault, corrupt};
use crate::sql;

/// A project's row.
struct Project {
    id: i64,
    height: u64,
    root: Digest,
}

fn digest(bytes: &[u8]) -> Result<Digest, Fault> {
    Digest::from_slice(bytes).map_err(|_| corrupt("a digest in the database does not have 32 bytes"))
}

fn unsigned(v: i64) -> Result<u64, Fault> {
    u64::try_from(v).map_err(|_| corrupt("a number in the database is negative"))
}

fn signed(v: u64) -> Result<i64, Fault> {
    i64::try_from(v).map_err(|_| Fault(Error::new(ErrorKind::TooLarge, format!("{v} is over 2^63"))))
}

fn find(tx: &Transaction<'_>, project: ProjectId) -> Result<Option<Project>, Fault> {
    let row = tx
        .prepare_cached("SELECT id, height, root FROM project WHERE project = ?1")?
        .query_row([project.digest().as_bytes()], |r| {
            Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, Vec<u8>>(2)?))
        })
        .optional()?;
    let Some((id, height, root)) = row else { return Ok(None) };
    Ok(Some(Project { id, height: unsigned(height)?, root: digest(&root)? }))
}

pub(crate) fn head(tx: &Transaction<'_>, project: ProjectId) -> Result<(u64, Digest), Fault> {
    Ok(find(tx, project)?.map_or((0, tree::EMPTY_ROOT), |p| (p.height, p.root)))
}

pub(crate) fn get(tx: &Transaction<'_>, project: ProjectId, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let mut statement = tx.prepare_cached(
        "SELECT value FROM kv WHERE project = (SELECT id FROM project WHERE project = ?1) AND key = ?2",
    )?;
    Ok(statement.query_row(params![project.digest().as_bytes(), key], |r| r.get(0)).optional()?)
}

/// Which entries a scan gives.
pub(crate) struct Scan {
    pub(crate) prefix: Vec<u8>,
    pub(crate) after: Vec<u8>,
    pub(crate) limit: usize,
}

pub(crate) fn scan(tx: &Transaction<'_>, project: ProjectId, scan: &Scan) -> Result<Entries, Fault> {
    let Some(project) = find(tx, project)? else { return Ok(Vec::new()) };
    // With nothing to start above, or something below the prefix, the prefix itself is the first key.
    let above = !scan.after.is_empty() && scan.after >= scan.prefix;
    let (sql, from) = if above {
        ("SELECT key, value FROM kv WHERE project = ?1 AND key > ?2 ORDER BY key", &scan.after)
    } else {
        ("SELECT key, value FROM kv WHERE project = ?1 AND key >= ?2 ORDER BY key", &scan.prefix)
    };
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query(params![project.id, from])?;
    let mut found = Vec::new();
    while found.len() < scan.limit {
        let Some(row) = rows.next()? else { break };
        let key: Vec<u8> = row.get(0)?;
        if !key.starts_with(&scan.prefix) {
            break;
        }
        found.push((key, row.get(1)?));
    }
    Ok(found)
}

/// Applies a block. `durable`: logs of SQL below this height can go.
pub(crate) fn apply(
    tx: &Transaction<'_>,
    id: ProjectId,
    (applied, durable): (&Applied, u64),
) -> Result<Digest, Fault> {
    let found = find(tx, id)?;
    let height = found.as_ref().map_or(0, |p| p.height);
    if applied.height > 0 && applied.height <= height {
        let stored = result(tx, id, applied.height)?;
        return match stored {
            Some((root, ..)) => Ok(root),
            None => Err(corrupt(format!("the result of height {} is missing", applied.height))),
        };
    }
    if applied.height.checked_sub(1) != Some(height) {
        let what = format!("height {} does not follow {height}", applied.height);
        return Err(Fault(Error::new(ErrorKind::WrongHeight, what)));
    }
    check_sizes(&applied.writes)?;
    let project = match found {
        Some(project) => project,
        None => create(tx, id)?,
    };
    let root = write_nodes(tx, &project, applied)?;
    write_entries(tx, project.id, applied)?;
    write_result(tx, project.id, root, applied)?;
    if !applied.sql.is_empty() {
        sql::store(tx, project.id, (applied.height, durable), &applied.sql)?;
    }
    tx.prepare_cached("UPDATE project SET height = ?2, root = ?3 WHERE id = ?1")?.execute(params![
        project.id,
        signed(applied.height)?,
        root.as_bytes()
    ])?;
    Ok(root)
}

fn create(tx: &Transaction<'_>, project: ProjectId) -> Result<Project, Fault> {
    tx.prepare_cached("INSERT INTO project (project, height, root) VALUES (?1, 0, ?2)")?
        .execute(params![project.digest().as_bytes(), tree::EMPTY_ROOT.as_bytes()])?;
    Ok(Project { id: tx.last_insert_rowid(), height: 0, root: tree::EMPTY_ROOT })
}

fn write_nodes(tx: &Transaction<'_>, project: &Project, applied: &Applied) -> Result<Digest, Fault> {
    let read = |path: &[u8]| -> Result<Option<Vec<u8>>, Error> {
        let read = || -> rusqlite::Result<Option<Vec<u8>>> {
            tx.prepare_cached("SELECT bytes FROM node WHERE project = ?1 AND path = ?2")?
                .query_row(params![project.id, path], |r| r.get(0))
                .optional()
        };
        read().map_err(|e| Fault::from(e).0)
    };
    let change = tree::update(&read, project.root, &applied.writes)?;
    let mut put = tx.prepare_cached(
        "INSERT INTO node (project, path, bytes) VALUES (?1, ?2, ?3)
         ON CONFLICT (project, path) DO UPDATE SET bytes = excluded.bytes",
    )?;
    for (path, bytes) in &change.put {
        put.execute(params![project.id, path, bytes])?;
    }
    let mut delete = tx.prepare_cached("DELETE FROM node WHERE project = ?1 AND path = ?2")?;
    for path in &change.delete {
        delete.execute(params![project.id, path])?;
    }
    Ok(change.root)
}

fn write_entries(tx: &Transaction<'_>, project: i64, applied: &Applied) -> Result<(), Fault> {
    let mut put = tx.prepare_cached(
        "INSERT INTO kv (project, key, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (project, key) DO UPDATE SET value = excluded.value",
    )?;
    let mut delete = tx.prepare_cached("DELETE FROM kv WHERE project = ?1 AND key = ?2")?;
    for (key, value) in &applied.writes {
        match value {
            Some(value) => put.execute(params![project, key, value])?,
            None => delete.execute(params![project, key])?,
        };
    }
    Ok(())
}

fn write_result(tx: &Transaction<'_>, project: i64, root: Digest, applied: &Applied) -> Result<(), Fault> {
    let height = signed(applied.height)?;
    let mut outputs = Encoder::new();
    outputs.list(&applied.outputs, |e, output| {
        e.item(output);
    });
    let row = params![project, height, root.as_bytes(), applied.manifest.as_bytes(), outputs.into_bytes()];
    tx.prepare_cached(
        "INSERT INTO result (project, height, root, manifest, outputs) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(row)?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO message (project, message, height, first, count) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING",
    )?;
    for (id, first, count) in &applied.index {
        insert.execute(params![project, id.digest().as_bytes(), height, signed(*first)?, signed(*count)?])?;
    }
    Ok(())
}

type ResultRow = (Digest, Digest, Vec<Output>);

pub(crate) fn result(
    tx: &Transaction<'_>,
    project: ProjectId,
    height: u64,
) -> Result<Option<ResultRow>, Fault> {
    // No height above i64 was ever written.
    let Ok(height) = i64::try_from(height) else { return Ok(None) };
    let row = tx
        .prepare_cached(
            "SELECT root, manifest, outputs FROM result
             WHERE project = (SELECT id FROM project WHERE project = ?1) AND height = ?2",
        )?
        .query_row(params![project.digest().as_bytes(), height], |r| {
            Ok((r.get::<_, Vec<u8>>(0)?, r.get::<_, Vec<u8>>(1)?, r.get::<_, Vec<u8>>(2)?))
        })
        .optional()?;
    let Some((root, manifest, outputs)) = row else { return Ok(None) };
    let mut decoder = Decoder::new(&outputs);
    let outputs = decoder
        .list(|d| d.item::<Output>())
        .map_err(|e| corrupt(format!("the outputs of height {height} are damaged: {e}")))?;
    if !decoder.is_at_end() {
        return Err(corrupt(format!("the outputs of height {height} are followed by something")));
    }
    Ok(Some((digest(&root)?, digest(&manifest)?, outputs)))
}

pub(crate) fn outputs_of(
    tx: &Transaction<'_>,
    project: ProjectId,
    id: MessageId,
) -> Result<Option<(u64, u64, u64)>, Fault> {
    let row = tx
        .prepare_cached(
            "SELECT height, first, count FROM message
             WHERE project = (SELECT id FROM project WHERE project = ?1) AND message = ?2",
        )?
        .query_row(params![project.digest().as_bytes(), id.digest().as_bytes()], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })
        .optional()?;
    let Some((height, first, count)) = row else { return Ok(None) };
    Ok(Some((unsigned(height)?, unsigned(first)?, unsigned(count)?)))
}

/// About how many bytes applying writes, tree nodes included.
pub(crate) fn size(applied: &Applied) -> usize {
    // An entry dirties some nodes of about 1 KiB.
    let writes: usize =
        applied.writes.iter().map(|(k, v)| 2048 + k.len() + v.as_ref().map_or(0, Vec::len)).sum();
    let outputs: usize = applied.outputs.iter().map(|o| 32 + o.target.len() + o.data.len()).sum();
    let sql: usize = applied.sql.iter().map(|e| e.to_canonical().len()).sum();
    writes + outputs + applied.index.len() * 64 + sql
}
