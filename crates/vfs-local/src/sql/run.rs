//! One database: its transaction, and a statement in it.

use std::path::Path;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, Value};
use rusqlite::{Connection, ErrorCode, OpenFlags, Statement, StatementStatus};
use w3bstream_types::{
    Database, MAX_STATEMENT_BYTES, MAX_STATEMENT_PARAMS, SQLITE_VERSION, SqlBlock, SqlBudget, SqlEntry,
    SqlOutcome, SqlRefusal, SqlRows, SqlStatement, SqlValue,
};
use w3bstream_vfs::{Error, ErrorKind};

use super::rows::{Capture, Shared, size, value, watch};
use super::{policy, tables};
use crate::error::Fault;

/// Bytes that a row of an answer counts beside its values.
const ROW_BYTES: u64 = 16;

/// A connection with at most one block's transaction open.
#[derive(Debug)]
pub(super) struct SqlDatabase {
    conn: Connection,
    shared: Arc<Shared>,
    /// The height of the last block that was committed here.
    height: u64,
    /// What the open block did.
    log: Vec<SqlEntry>,
    /// What its open call did.
    call: Vec<SqlStatement>,
    /// A statement of the open call was stopped where it stood: the call cannot be kept.
    spoiled: bool,
}

fn connect(conn: &mut Connection, shared: &Arc<Shared>) -> Result<(), Fault> {
    if rusqlite::version() != SQLITE_VERSION {
        let what = format!(
            "this program has SQLite {}, and version {SQLITE_VERSION} belongs to the guests' interface: build it with \
             rusqlite's feature `bundled` and the lock file's versions",
            rusqlite::version()
        );
        return Err(Fault(Error::new(ErrorKind::Unsupported, what)));
    }
    for (pragma, value) in [
        ("trusted_schema", "OFF"),
        ("foreign_keys", "OFF"),
        // So that rows that REPLACE removes are seen.
        ("recursive_triggers", "ON"),
        ("automatic_index", "ON"),
        // Where it sorts is not to depend on this machine's folders.
        ("temp_store", "MEMORY"),
        ("cache_size", "-4096"),
    ] {
        conn.pragma_update(None, pragma, value)?;
    }
    watch(conn, shared)?;
    policy::enforce(conn, shared)?;
    Ok(())
}

impl SqlDatabase {
    /// Opens a file, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // The log in `state.db` makes good what is lost without a sync of each commit.
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        conn.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
        Self::new(conn)
    }

    /// A database in memory, with the same rules.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Result<Self, Fault> {
        Self::new(Connection::open_in_memory()?)
    }

    #[cfg(test)]
    pub(super) fn limit_memory(&self, bytes: u64) {
        self.shared.capture().set_max_memory(bytes);
    }

    fn new(mut conn: Connection) -> Result<Self, Fault> {
        let shared = Arc::<Shared>::default();
        conn.execute_batch(
            "CREATE TABLE IF NOT EXISTS w3b_meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL)",
        )?;
        connect(&mut conn, &shared)?;
        let mut database =
            Self { conn, shared, height: 0, log: Vec::new(), call: Vec::new(), spoiled: false };
        database.height = u64::try_from(database.meta("height")?).unwrap_or(0);
        Ok(database)
    }

    fn meta(&self, key: &str) -> Result<i64, Fault> {
        let sql = "SELECT coalesce(max(value), 0) FROM w3b_meta WHERE key = ?1";
        Ok(self.conn.query_row(sql, [key], |row| row.get(0))?)
    }

    fn batch(&self, sql: &str) -> Result<(), Fault> {
        Ok(self.conn.execute_batch(sql)?)
    }

    pub(crate) const fn height(&self) -> u64 {
        self.height
    }

    /// What the open block did so far.
    pub(crate) fn log(&self) -> &[SqlEntry] {
        &self.log
    }

    /// Whether a block's transaction is open.
    pub(crate) fn is_open(&self) -> bool {
        !self.conn.is_autocommit()
    }

    /// Begins a block. What was begun before is undone.
    pub(crate) fn begin(&mut self) -> Result<(), Fault> {
        self.rollback()?;
        self.batch("BEGIN IMMEDIATE")?;
        let (stored, tables) = (self.meta("bytes")?, tables::names(&self.conn)?);
        let mut capture = self.shared.capture();
        capture.begin_block(stored);
        capture.tables = tables;
        Ok(())
    }

    /// Undoes the open block.
    pub(crate) fn rollback(&mut self) -> Result<(), Fault> {
        self.log.clear();
        self.call.clear();
        if self.is_open() { self.batch("ROLLBACK") } else { Ok(()) }
    }

    /// What the open block did, which stays open.
    pub(crate) fn block(&self) -> SqlBlock {
        let rows = self.shared.capture().block.rows.clone();
        SqlBlock { log: self.log.clone(), rows: rows.into_iter().collect() }
    }

    /// Commits the open block as that of a height.
    pub(crate) fn commit(&mut self, height: u64) -> Result<(), Fault> {
        let bytes = self.shared.capture().bytes();
        let put = "INSERT INTO w3b_meta (key, value) VALUES (?1, ?2)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.conn.execute(put, ("height", i64::try_from(height).unwrap_or(i64::MAX)))?;
        self.conn.execute(put, ("bytes", bytes))?;
        self.batch("COMMIT")?;
        self.height = height;
        self.log.clear();
        Ok(())
    }

    /// Brings all that was committed to the disk; false if a reader is in the way.
    pub(crate) fn checkpoint(&self) -> Result<bool, Fault> {
        let mut busy = 0_i64;
        self.conn.pragma(None, "wal_checkpoint", "TRUNCATE", |row| {
            busy = row.get(0)?;
            Ok(())
        })?;
        Ok(busy == 0)
    }

    /// Does again what a block's log says.
    pub(crate) fn replay(&mut self, log: &[SqlEntry]) -> Result<(), Fault> {
        for entry in log {
            let failed = match entry {
                SqlEntry::Declare { from, to } => self.declare(from.as_ref(), to)?.err(),
                SqlEntry::Run(statement) => {
                    self.begin_call()?;
                    let outcome = self.run(statement, &SqlBudget::UNLIMITED)?;
                    self.end_call(outcome.result.is_ok())?;
                    outcome.result.err().map(|e| format!("{e:?}"))
                }
            };
            if let Some(why) = failed {
                return Err(crate::error::corrupt(format!(
                    "a statement that ran before does not run again: {why}"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn declare(
        &mut self,
        from: Option<&Database>,
        to: &Database,
    ) -> Result<Result<(), String>, Fault> {
        self.batch("SAVEPOINT declare")?;
        self.shared.capture().begin_statement(&SqlBudget::UNLIMITED);
        for step in tables::steps(from, to) {
            if let Err(e) = self.conn.execute_batch(&step) {
                let why = refusal(e)?;
                self.batch("ROLLBACK TO declare; RELEASE declare")?;
                self.shared.capture().end_statement(false);
                return Ok(Err(format!("{why}, in: {step}")));
            }
        }
        self.batch("RELEASE declare")?;
        let tables = tables::names(&self.conn)?;
        let mut capture = self.shared.capture();
        capture.end_statement(true);
        capture.end_call(true);
        capture.tables = tables;
        self.log.push(SqlEntry::Declare { from: from.cloned(), to: to.clone() });
        Ok(Ok(()))
    }

    pub(crate) fn begin_call(&mut self) -> Result<(), Fault> {
        self.batch("SAVEPOINT call")
    }

    pub(crate) fn end_call(&mut self, keep: bool) -> Result<(), Fault> {
        let (call, keep) = (std::mem::take(&mut self.call), keep && !self.spoiled);
        self.spoiled = false;
        self.shared.capture().end_call(keep);
        if !self.is_open() {
            // A statement was stopped amid its changes, and SQLite undid the whole transaction.
            let log = std::mem::take(&mut self.log);
            self.begin()?;
            return self.replay(&log);
        }
        if keep {
            self.log.extend(call.into_iter().map(SqlEntry::Run));
            self.batch("RELEASE call")
        } else {
            self.batch("ROLLBACK TO call; RELEASE call")
        }
    }

    /// Runs a guest's statement.
    pub(crate) fn run(&mut self, statement: &SqlStatement, budget: &SqlBudget) -> Result<SqlOutcome, Fault> {
        if !self.is_open() {
            return Ok(SqlOutcome::refused(SqlRefusal::OutOfGas));
        }
        if let Err(why) = check(statement) {
            return Ok(SqlOutcome::refused(SqlRefusal::Refused(why)));
        }
        self.shared.capture().begin_statement(budget);
        self.shared.set_guest(true);
        let ran = execute(&self.conn, statement, budget);
        self.shared.set_guest(false);
        let ran = ran?;
        let mut capture = self.shared.capture();
        guard(&capture)?;
        let outcome = outcome(&capture, &ran, budget);
        let keep = outcome.result.is_ok();
        capture.end_statement(keep);
        drop(capture);
        self.spoiled |= matches!(outcome.result, Err(SqlRefusal::OutOfGas | SqlRefusal::TooMuch));
        if keep && !ran.readonly {
            self.call.push(statement.clone());
        }
        Ok(outcome)
    }
}

/// Runs a statement that only reads on a connection of its own, which sees what was committed.
pub(super) fn read(path: &Path, statement: &SqlStatement, budget: &SqlBudget) -> Result<SqlOutcome, Fault> {
    if let Err(why) = check(statement) {
        return Ok(SqlOutcome::refused(SqlRefusal::Refused(why)));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.pragma_update(None, "query_only", true)?;
    let shared = Arc::<Shared>::default();
    connect(&mut conn, &shared)?;
    shared.capture().tables = tables::names(&conn)?;
    shared.capture().begin_statement(budget);
    shared.set_guest(true);
    if conn.prepare(&statement.text).is_ok_and(|prepared| !prepared.readonly()) {
        let why = "it changes something; here is only read".to_owned();
        return Ok(SqlOutcome::refused(SqlRefusal::Refused(why)));
    }
    let ran = execute(&conn, statement, budget)?;
    let capture = shared.capture();
    guard(&capture)?;
    Ok(outcome(&capture, &ran, budget))
}

/// Whether the statement went beyond what this node can give.
fn guard(capture: &Capture) -> Result<(), Fault> {
    if capture.guarded {
        let what = "a statement took more memory than this node gives one (256 MiB): it sorts or collects large values";
        return Err(Fault(Error::new(ErrorKind::Io, what)));
    }
    Ok(())
}

fn check(statement: &SqlStatement) -> Result<(), String> {
    if statement.text.len() > MAX_STATEMENT_BYTES {
        return Err(format!(
            "the statement has more than {MAX_STATEMENT_BYTES} bytes; give values as params"
        ));
    }
    if statement.params.len() > MAX_STATEMENT_PARAMS {
        return Err(format!("more than {MAX_STATEMENT_PARAMS} params"));
    }
    if statement.text.contains('\0') {
        return Err("the statement has a zero byte".into());
    }
    policy::check_text(&statement.text)
}

/// What became of a statement, as SQLite tells.
struct Ran {
    steps: u64,
    readonly: bool,
    result: Result<SqlRows, SqlRefusal>,
}

fn outcome(capture: &Capture, ran: &Ran, budget: &SqlBudget) -> SqlOutcome {
    let gas = capture.gas(ran.steps);
    let stopped = matches!(ran.result, Err(SqlRefusal::OutOfGas)) || gas > budget.gas;
    if stopped {
        return SqlOutcome { gas: budget.gas, result: Err(SqlRefusal::OutOfGas) };
    }
    SqlOutcome { gas, result: ran.result.clone() }
}

fn execute(conn: &Connection, statement: &SqlStatement, budget: &SqlBudget) -> Result<Ran, Fault> {
    let refused = |why| Ran { steps: 0, readonly: true, result: Err(SqlRefusal::Refused(why)) };
    // Not from the cache: a statement that was prepared before another declaration takes more steps.
    let mut prepared = match conn.prepare(&statement.text) {
        Ok(prepared) => prepared,
        Err(e) => return refusal(e).map(refused),
    };
    if let Err(why) = bind(&mut prepared, &statement.params)? {
        return Ok(refused(why));
    }
    let result = match rows(&mut prepared, budget) {
        Ok(result) => result,
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Err(SqlRefusal::OutOfGas),
        Err(e) => Err(SqlRefusal::Refused(refusal(e)?)),
    };
    let steps = u64::try_from(prepared.get_status(StatementStatus::VmStep)).unwrap_or(0);
    Ok(Ran { steps, readonly: prepared.readonly(), result })
}

/// Gives the parameters: `?` in order, `?2` and `$2` by number.
fn bind(prepared: &mut Statement<'_>, params: &[SqlValue]) -> Result<Result<(), String>, Fault> {
    let wanted = prepared.parameter_count();
    let place = |prepared: &Statement<'_>, index: usize| match prepared.parameter_name(index) {
        Some(name) if name.starts_with('?') => Some(index),
        Some(name) => name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok()),
        None => Some(index),
    };
    let mut highest = 0;
    for index in 1..=wanted {
        let Some(number) = place(prepared, index).filter(|n| *n > 0) else {
            return Ok(Err("parameters have no names: write ?, ?1 or $1".into()));
        };
        highest = highest.max(number);
        let Some(value) = params.get(number - 1) else {
            return Ok(Err(format!(
                "the statement has a parameter {number}, and there are {} params",
                params.len()
            )));
        };
        if let Err(e) = prepared.raw_bind_parameter(index, to_sqlite(value)) {
            return refusal(e).map(Err);
        }
    }
    if highest < params.len() {
        return Ok(Err(format!(
            "there are {} params, and the statement has {highest} parameters",
            params.len()
        )));
    }
    Ok(Ok(()))
}

fn to_sqlite(value: &SqlValue) -> ToSqlOutput<'static> {
    ToSqlOutput::Owned(match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(v) => Value::Integer(*v),
        SqlValue::Real(v) => Value::Real(*v),
        SqlValue::Text(v) => Value::Text(v.as_str().into()),
        SqlValue::Blob(v) => Value::Blob(v.clone()),
        SqlValue::Bool(v) => Value::Integer(i64::from(*v)),
    })
}

fn rows(prepared: &mut Statement<'_>, budget: &SqlBudget) -> rusqlite::Result<Result<SqlRows, SqlRefusal>> {
    let columns: Vec<(String, bool)> = prepared
        .columns()
        .map(|c| (c.name().to_owned(), c.decl_type().is_some_and(|t| t.eq_ignore_ascii_case("boolean"))))
        .collect();
    let mut answer =
        SqlRows { columns: columns.iter().map(|(name, _)| name.clone()).collect(), rows: Vec::new() };
    let names: u64 = columns.iter().map(|(name, _)| name.len() as u64).sum();
    let (mut bytes, mut too_much) = (0_u64, false);
    let mut found = prepared.raw_query();
    // To the end, also of what is too much: a statement that changes rows is not left half done.
    while let Some(row) = found.next()? {
        if too_much {
            continue;
        }
        let mut values = Vec::with_capacity(columns.len());
        bytes += ROW_BYTES + names;
        for (place, (_, boolean)) in columns.iter().enumerate() {
            let raw = row.get_ref(place)?;
            bytes += size(raw);
            values.push(match value(raw) {
                SqlValue::Integer(v @ (0 | 1)) if *boolean => SqlValue::Bool(v == 1),
                other => other,
            });
        }
        answer.rows.push(values);
        too_much = bytes > budget.result_bytes;
    }
    Ok(if too_much { Err(SqlRefusal::TooMuch) } else { Ok(answer) })
}

/// What is wrong with a statement, in words; an error if it is not the statement.
fn refusal(e: rusqlite::Error) -> Result<String, Fault> {
    let told = match &e {
        rusqlite::Error::SqliteFailure(_, told) => told.clone(),
        // Only ever about the text.
        rusqlite::Error::SqlInputError { msg, .. } => return Ok(msg.clone()),
        _ => return Ok(e.to_string()),
    };
    match e.sqlite_error_code() {
        Some(
            ErrorCode::Unknown
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig
            | ErrorCode::AuthorizationForStatementDenied
            | ErrorCode::ParameterOutOfRange,
        ) => Ok(told.unwrap_or_else(|| e.to_string())),
        _ => Err(e.into()),
    }
}
