//! Comparing everything with its digests.

use w3bstream_sqlite::Database;
use w3bstream_sqlite::rusqlite::{Row, Transaction};
use w3bstream_storage::{Error, ErrorKind};
use w3bstream_types::{Digest, MessageId};

use crate::error::Fail;
use crate::read::Raw;
use crate::{ids, schema};

/// Rows per read. A read of the whole store at once would keep the log from being copied for all that time.
const STRETCH: i64 = 1000;
/// Most findings that are told one by one.
const MOST: usize = 200;

/// What a stretch gave: findings, and the last row's number if there may be more.
type Stretch = (Vec<String>, Option<i64>);

/// Checks a stretch of one table.
type Check = fn(&Transaction<'_>, i64) -> Result<Stretch, Fail>;

pub(crate) async fn check(db: &Database) -> Result<Vec<String>, Error> {
    let mut found = db.integrity_check().await.map_err(Fail::from)?;
    let stretches: [Check; 2] = [messages, conflicts];
    for stretch in stretches {
        let mut after = Some(0);
        while let Some(from) = after {
            let result = db.read(move |tx| stretch(tx, from)).await;
            after = match result {
                Ok((lines, next)) => {
                    found.extend(lines);
                    next
                }
                Err(Fail(e)) if e.kind() == ErrorKind::Corrupt => {
                    found.push(format!("cannot read on after row {from}: {e}"));
                    None
                }
                Err(Fail(e)) => return Err(e),
            };
        }
    }
    if found.len() > MOST {
        let more = found.len() - MOST;
        found.truncate(MOST);
        found.push(format!("and {more} more"));
    }
    Ok(found)
}

fn messages(tx: &Transaction<'_>, after: i64) -> Result<Stretch, Fail> {
    let mut statement = tx.prepare_cached(schema::CHECK_MESSAGES)?;
    let mut rows = statement.query((after, STRETCH))?;
    let highest = ids::last_position(tx)?;
    let mut by_id =
        tx.prepare_cached("SELECT 1 FROM message_id WHERE run = ?1 AND prefix = ?2 AND position = ?3")?;
    let (mut found, mut last, mut count) = (Vec::new(), after, 0);
    while let Some(row) = rows.next()? {
        // The number first: it must be known even if nothing else can be read.
        last = row.get(0)?;
        count += 1;
        if let Err(why) = message(row) {
            found.push(format!("the record at position {last} is damaged: {why}"));
            continue;
        }
        let (id, signed): ([u8; 32], bool) = (row.get(1)?, row.get::<_, Option<i64>>(9)?.is_some());
        let prefix = ids::prefix(&MessageId(Digest::from_bytes(id)));
        if signed && !by_id.exists((ids::run_of(last, highest), prefix, last))? {
            found.push(format!("the record at position {last} cannot be found by its id"));
        }
    }
    Ok((found, (count == STRETCH).then_some(last)))
}

fn message(row: &Row<'_>) -> Result<(), String> {
    let words = |e: w3bstream_sqlite::rusqlite::Error| e.to_string();
    let raw = Raw::read(row).map_err(words)?;
    // Nothing is left of a deleted record that could be compared.
    let Some(item) = raw.item()? else { return Ok(()) };
    let record = &item.record;
    if record.id().0.as_bytes() != &raw.id {
        return Err("its id is another's".into());
    }
    let project: Option<Vec<u8>> = row.get(6).map_err(words)?;
    let source: Option<String> = row.get(7).map_err(words)?;
    let event_type: Option<String> = row.get(8).map_err(words)?;
    let sequence: Option<i64> = row.get(9).map_err(words)?;
    let columns = [
        ("project", project.as_deref() == Some(&record.project().0.as_bytes()[..])),
        ("source", source == Some(record.source().to_string())),
        ("event type", event_type.as_deref() == Some(record.event_type().as_str())),
        ("sequence", sequence == record.sequence().map(|s| s.as_u64().cast_signed())),
    ];
    match columns.iter().find(|(_, same)| !same) {
        Some((name, _)) => Err(format!("its {name} is not the one in its bytes")),
        None => Ok(()),
    }
}

fn conflicts(tx: &Transaction<'_>, after: i64) -> Result<Stretch, Fail> {
    let mut statement = tx.prepare_cached(schema::CHECK_CONFLICTS)?;
    let mut rows = statement.query((after, STRETCH))?;
    let (mut found, mut last, mut count) = (Vec::new(), after, 0);
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        count += 1;
        let why = Raw::read(row).map_err(|e| e.to_string()).and_then(|raw| raw.item().map(|_| ()));
        if let Err(why) = why {
            found.push(format!("conflict {last} is damaged: {why}"));
        }
    }
    Ok((found, (count == STRETCH).then_some(last)))
}
