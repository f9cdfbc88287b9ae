//! What statements change, row by row.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error};
use w3bstream_types::{Digest, SqlBudget, SqlValue};

use super::policy::Names;

/// The highest number of a row. Behind the highest of all, SQLite would number rows by chance.
const MAX_ROWID: i64 = i64::MAX / 2;
/// How many steps of SQLite's machine there are between two looks at the gas.
const STEPS_PER_LOOK: i32 = 1_000;

/// How much memory SQLite may take for a statement. What it takes is not the same on every node, so this is a guard of the
/// node and never an outcome: gas ends what is ordinary long before.
const MAX_MEMORY: u64 = 256 * 1024 * 1024;

/// Memory that SQLite holds in this process, in bytes.
fn memory() -> u64 {
    #[allow(
        unsafe_code,
        reason = "a function of C without parameters, which only reads a counter under its own lock"
    )]
    // SAFETY: see the reason above.
    let used = unsafe { rusqlite::ffi::sqlite3_memory_used() };
    u64::try_from(used).unwrap_or(0)
}

/// Rows that are not as they were, with their digests.
pub(super) type Changed = BTreeMap<(String, i64), Option<Digest>>;

/// Changes of a statement, a call or a block.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) rows: Changed,
    /// Bytes that rows have grown by.
    bytes: i64,
}

impl Layer {
    fn take(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.bytes += other.bytes;
    }
}

/// What is counted while a connection works.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) tables: Names,
    statement: Layer,
    call: Layer,
    pub(super) block: Layer,
    /// Bytes of all rows before the block.
    stored: i64,
    budget: SqlBudget,
    looks: u64,
    rows: u64,
    row_bytes: u64,
    /// Memory when the statement began, and the most that it may be.
    memory: (u64, u64),
    /// The statement was stopped by the guard on memory.
    pub(super) guarded: bool,
}

impl Default for Capture {
    fn default() -> Self {
        let (tables, statement, call, block) = Default::default();
        let (stored, looks, rows, row_bytes) = Default::default();
        let (budget, memory, guarded) = (SqlBudget::UNLIMITED, (0, MAX_MEMORY), false);
        Self { tables, statement, call, block, stored, budget, looks, rows, row_bytes, memory, guarded }
    }
}

impl Capture {
    /// Gas of what was done since the statement began, for so many steps.
    pub(super) fn gas(&self, steps: u64) -> u64 {
        let rows = self.budget.row.saturating_mul(self.rows);
        let bytes = self.budget.row_byte.saturating_mul(self.row_bytes);
        self.budget.step.saturating_mul(steps).saturating_add(rows).saturating_add(bytes)
    }

    /// Whether the gas is used up, as far as is known while the statement runs: never if it is not in the end.
    fn is_spent(&self) -> bool {
        self.gas(self.looks * u64::from(STEPS_PER_LOOK.unsigned_abs())) > self.budget.gas
    }

    pub(super) fn begin_block(&mut self, stored: i64) {
        (self.statement, self.call, self.block) = Default::default();
        self.stored = stored;
    }

    pub(super) fn begin_statement(&mut self, budget: &SqlBudget) {
        self.statement = Layer::default();
        self.budget = *budget;
        (self.looks, self.rows, self.row_bytes) = (0, 0, 0);
        self.memory.0 = memory();
    }

    /// Sets the guard on memory.
    #[cfg(test)]
    pub(super) const fn set_max_memory(&mut self, bytes: u64) {
        self.memory.1 = bytes;
    }

    pub(super) fn end_statement(&mut self, keep: bool) {
        let statement = std::mem::take(&mut self.statement);
        if keep {
            self.call.take(statement);
        }
    }

    pub(super) fn end_call(&mut self, keep: bool) {
        let call = std::mem::take(&mut self.call);
        if keep {
            self.block.take(call);
        }
    }

    /// Bytes of all rows.
    pub(super) fn bytes(&self) -> i64 {
        self.stored + self.block.bytes + self.call.bytes + self.statement.bytes
    }

    fn change(&mut self, key: (String, i64), row: &Row) -> Result<(), String> {
        self.rows += 1;
        self.row_bytes += row.bytes;
        let bytes = i64::try_from(row.bytes).unwrap_or(i64::MAX);
        match row.digest {
            None => self.statement.bytes -= bytes,
            Some(_) => {
                if key.1 > MAX_ROWID {
                    return Err(format!("the row's number {} is too high", key.1));
                }
                self.statement.bytes += bytes;
                if u64::try_from(self.bytes()).unwrap_or(0) > self.budget.database_bytes {
                    let limit = self.budget.database_bytes;
                    return Err(format!("the database is full: max-bytes of the manifest is {limit}"));
                }
            }
        }
        self.statement.rows.insert(key, row.digest);
        Ok(())
    }
}

/// A row's size, and its digest if it is there.
struct Row {
    bytes: u64,
    digest: Option<Digest>,
}

/// What a connection and its callbacks share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    guest: AtomicBool,
    capture: Mutex<Capture>,
}

impl Shared {
    /// Whether what is prepared is a guest's.
    pub(super) fn is_guest(&self) -> bool {
        self.guest.load(Ordering::Relaxed)
    }

    pub(super) fn set_guest(&self, guest: bool) {
        self.guest.store(guest, Ordering::Relaxed);
    }

    pub(super) fn capture(&self) -> MutexGuard<'_, Capture> {
        // Counts are whole between any two statements.
        self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_table(&self, name: &str) -> bool {
        self.capture().tables.contains(&name.to_ascii_lowercase())
    }
}

/// Makes the function that triggers call, and looks at the gas while statements run.
pub(super) fn watch(conn: &mut Connection, shared: &Arc<Shared>) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
    let all = Arc::clone(shared);
    conn.create_scalar_function("w3b_row", -1, flags, move |context| {
        let table: String = context.get(0)?;
        let (made, number): (bool, i64) = (context.get(1)?, context.get(2)?);
        let row = row(context, &table, number, made);
        all.capture().change((table, number), &row).map_err(|why| Error::UserFunctionError(why.into()))?;
        Ok(true)
    })?;
    let all = Arc::clone(shared);
    conn.progress_handler(
        STEPS_PER_LOOK,
        Some(move || {
            let mut capture = all.capture();
            capture.looks += 1;
            capture.guarded |= memory().saturating_sub(capture.memory.0) > capture.memory.1;
            capture.guarded || capture.is_spent()
        }),
    )
}

/// The row whose values are the arguments behind the third.
fn row(context: &Context<'_>, table: &str, number: i64, made: bool) -> Row {
    let values = || (3..context.len()).map(|place| context.get_raw(place));
    // Its number, and a byte for each value's kind.
    let bytes = 8 + values().map(|v| 1 + size(v)).sum::<u64>();
    let digest = made.then(|| {
        let values: Vec<Vec<u8>> = values().map(|v| value(v).to_bytes()).collect();
        let number = number.to_be_bytes();
        let mut parts: Vec<&[u8]> = vec![table.as_bytes(), &number];
        parts.extend(values.iter().map(Vec::as_slice));
        Digest::tagged("w3b/sql-row/1", &parts)
    });
    Row { bytes, digest }
}

/// Bytes of a value.
pub(super) fn size(value: ValueRef<'_>) -> u64 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() as u64,
    }
}

/// A value of its own. Text that is no UTF-8 becomes a blob, since a guest could make it one.
pub(super) fn value(value: ValueRef<'_>) -> SqlValue {
    match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(v) => SqlValue::Integer(v),
        ValueRef::Real(v) => SqlValue::Real(v),
        ValueRef::Text(bytes) => match String::from_utf8(bytes.to_vec()) {
            Ok(text) => SqlValue::Text(text),
            Err(e) => SqlValue::Blob(e.into_bytes()),
        },
        ValueRef::Blob(bytes) => SqlValue::Blob(bytes.to_vec()),
    }
}
