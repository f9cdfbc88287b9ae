//! Finding a signed message by its id.
//!
//! Ids are digests, so an ordinary index on them grows at a random place with each message: a batch of 256
//! rewrites nearly 256 pages of 4 KiB, more than ten times what it stores. Instead, ids are kept in *runs* by
//! age. The newest 4,096 positions share a run of a few pages, and each time 65,536 positions are full their
//! sixteen runs are merged, in order, into one. A look-up asks the runs from the newest to the oldest: some
//! twenty of them for a million messages, some two hundred for ten millions, a microsecond each.
//!
//! Which runs there are follows from the highest position. Whether a signed message is *new* needs no id: its
//! source and sequence say so, and the id binds both.

use w3bstream_sqlite::rusqlite::{Connection, OptionalExtension};
use w3bstream_types::MessageId;

use crate::error::Fail;
use crate::schema;

/// Positions of a young run: 2^12.
const YOUNG: i64 = 12;
/// Positions of a merged run: 2^16.
const MERGED: i64 = 16;

/// Merged runs have negative numbers.
const fn merged(group: i64) -> i64 {
    -1 - group
}

/// The run that the id of the message at `position` is in, when `last` is the highest position.
pub(crate) const fn run_of(position: i64, last: i64) -> i64 {
    let group = position >> MERGED;
    if group < last >> MERGED { merged(group) } else { position >> YOUNG }
}

/// What of an id is kept in a run: enough that two messages seldom share it.
pub(crate) fn prefix(id: &MessageId) -> i64 {
    id.0.as_bytes().first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// The highest position; 0 if there is none.
pub(crate) fn last_position(db: &Connection) -> Result<i64, Fail> {
    let last: Option<i64> =
        db.prepare_cached("SELECT max(position) FROM message")?.query_row([], |r| r.get(0))?;
    Ok(last.unwrap_or(0))
}

/// Notes the id of a new message. [`merge`] must follow before the transaction ends.
pub(crate) fn insert(db: &Connection, position: i64, id: &MessageId) -> Result<(), Fail> {
    db.prepare_cached(schema::INSERT_ID)?.execute((position >> YOUNG, prefix(id), position))?;
    Ok(())
}

/// Merges the groups of young runs that have become full since `before` was the highest position.
pub(crate) fn merge(db: &Connection, before: i64, last: i64) -> Result<(), Fail> {
    for group in before >> MERGED..last >> MERGED {
        let first = group << (MERGED - YOUNG);
        let beyond = (group + 1) << (MERGED - YOUNG);
        db.prepare_cached(schema::MERGE_IDS)?.execute((merged(group), first, beyond))?;
        db.prepare_cached("DELETE FROM message_id WHERE run >= ?1 AND run < ?2")?.execute((first, beyond))?;
    }
    Ok(())
}

/// The position of the message with this id, whether or not its body is still there.
pub(crate) fn find(db: &Connection, id: &MessageId, last: i64) -> Result<Option<i64>, Fail> {
    let bytes = id.0.as_bytes();
    let mut token = db.prepare_cached(schema::TOKEN_POSITION)?;
    if let Some(position) = token.query_row([bytes], |r| r.get(0)).optional()? {
        return Ok(Some(position));
    }
    let mut run = db.prepare_cached("SELECT position FROM message_id WHERE run = ?1 AND prefix = ?2")?;
    let mut same = db.prepare_cached("SELECT 1 FROM message WHERE position = ?1 AND id = ?2")?;
    let group = last >> MERGED;
    let young = (group << (MERGED - YOUNG)..=last >> YOUNG).rev();
    for number in young.chain((0..group).rev().map(merged)) {
        let mut positions = run.query((number, prefix(id)))?;
        while let Some(row) = positions.next()? {
            let position: i64 = row.get(0)?;
            if same.exists((position, bytes))? {
                return Ok(Some(position));
            }
        }
    }
    Ok(None)
}
