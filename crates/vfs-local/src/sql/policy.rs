//! What a guest's statement may contain.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::functions::{Aggregate, Context, FunctionFlags, WindowAggregate};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;

use super::rows::Shared;

/// Functions that a statement may use: their answer depends on what they are given alone, on every machine. Missing are
/// those of time and chance, those that tell of the connection or of SQLite, and those that use the C library's
/// mathematics.
const FUNCTIONS: &[&str] = &[
    "abs",
    "avg",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "count",
    "cume_dist",
    "dense_rank",
    "first_value",
    "glob",
    "group_concat",
    "hex",
    "if",
    "ifnull",
    "iif",
    "instr",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "lower",
    "ltrim",
    "max",
    "min",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "quote",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "total",
    "trim",
    "typeof",
    "unhex",
    "unicode",
    "upper",
];

/// The most bytes of a value, and of a row.
pub(super) const MAX_VALUE_BYTES: i32 = 64 * 1024;

/// Limits of SQLite itself, so that preparing a statement takes a bounded time.
const LIMITS: &[(Limit, i32)] = &[
    (Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_VALUE_BYTES),
    (Limit::SQLITE_LIMIT_COLUMN, 200),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 16),
    (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 64),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 256),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Closes a connection to all but what is admitted. Statements of this crate pass while `shared` says so.
pub(super) fn enforce(conn: &mut Connection, shared: &Arc<Shared>) -> rusqlite::Result<()> {
    for (limit, value) in LIMITS {
        conn.set_limit(*limit, *value)?;
    }
    // SQLite counts a whole table in one step of its machine, however long that takes. This one is called row by row.
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    for arguments in [0, 1] {
        conn.create_window_function("count", arguments, flags, Count)?;
    }
    let shared = Arc::clone(shared);
    conn.authorizer(Some(move |context: AuthContext<'_>| {
        if !shared.is_guest() || admits(&shared, &context) {
            Authorization::Allow
        } else {
            Authorization::Deny
        }
    }))
}

fn admits(shared: &Shared, context: &AuthContext<'_>) -> bool {
    // Triggers are this crate's own.
    if context.accessor.is_some() {
        return true;
    }
    match context.action {
        AuthAction::Select | AuthAction::Recursive => true,
        AuthAction::Read { table_name, column_name } => {
            // Without a column it may be the name of a subquery, of which SQLite asks too.
            shared.is_table(table_name) || (column_name.is_empty() && !is_internal(table_name))
        }
        AuthAction::Insert { table_name } | AuthAction::Delete { table_name } => shared.is_table(table_name),
        AuthAction::Update { table_name, .. } => shared.is_table(table_name),
        AuthAction::Function { function_name } => {
            FUNCTIONS.iter().any(|known| known.eq_ignore_ascii_case(function_name))
        }
        _ => false,
    }
}

/// Tables that SQLite makes by itself: of itself, of its file, of JSON.
fn is_internal(table: &str) -> bool {
    let table = table.to_ascii_lowercase();
    let prefixes =
        ["sqlite_", "w3b_", "pragma_", "json", "fts", "rtree", "dbstat", "bytecode", "tables_used"];
    prefixes.iter().any(|p| table.starts_with(p))
}

/// Words that a statement must not have outside of texts and names: they undo more than the statement.
const UNDOING: &str = "rollback";

/// Checks that a text is one statement.
pub(super) fn check_text(text: &str) -> Result<(), String> {
    let mut ended = false;
    for token in Tokens(text) {
        if ended {
            return Err("there is more than one statement; give them one by one".into());
        }
        ended = token == ";";
        if token.eq_ignore_ascii_case(UNDOING) {
            return Err("ROLLBACK is not admitted: a call is undone as a whole, when it fails".into());
        }
    }
    Ok(())
}

/// Words and signs of SQL, without blanks and comments. A quoted text or name is one token, with its quotes.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            self.0 = self.0.trim_start_matches(|c: char| c.is_ascii_whitespace());
            let first = self.0.chars().next()?;
            let len = if let Some(comment) = self.0.strip_prefix("--") {
                2 + comment.find('\n').unwrap_or(comment.len())
            } else if let Some(comment) = self.0.strip_prefix("/*") {
                2 + comment.find("*/").map_or(comment.len(), |end| end + 2)
            } else {
                let len = token(self.0, first);
                let (token, rest) = self.0.split_at(len);
                self.0 = rest;
                return Some(token);
            };
            self.0 = &self.0[len..];
        }
    }
}

/// Length of the token that a text begins with.
fn token(text: &str, first: char) -> usize {
    let close = match first {
        '\'' | '"' | '`' => first,
        '[' => ']',
        c if c.is_alphanumeric() || c == '_' => {
            let word = |c: char| !(c.is_alphanumeric() || c == '_' || c == '$');
            return text.find(word).unwrap_or(text.len());
        }
        c => return c.len_utf8(),
    };
    let mut rest = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = rest.next() {
        if c == close {
            // Twice stands for itself.
            if close != ']' && rest.peek().is_some_and(|(_, next)| *next == close) {
                rest.next();
                continue;
            }
            return at + close.len_utf8();
        }
    }
    text.len()
}

/// `count(*)` and `count(x)`.
struct Count;

fn counts(context: &Context<'_>) -> bool {
    context.is_empty() || !matches!(context.get_raw(0), rusqlite::types::ValueRef::Null)
}

impl Aggregate<i64, i64> for Count {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<i64> {
        Ok(0)
    }

    fn step(&self, context: &mut Context<'_>, count: &mut i64) -> rusqlite::Result<()> {
        *count += i64::from(counts(context));
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, count: Option<i64>) -> rusqlite::Result<i64> {
        Ok(count.unwrap_or_default())
    }
}

impl WindowAggregate<i64, i64> for Count {
    fn value(&self, count: Option<&mut i64>) -> rusqlite::Result<i64> {
        Ok(count.map_or(0, |c| *c))
    }

    fn inverse(&self, context: &mut Context<'_>, count: &mut i64) -> rusqlite::Result<()> {
        *count -= i64::from(counts(context));
        Ok(())
    }
}

/// Names of tables, in lower case.
pub(super) type Names = BTreeSet<String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_is_told_from_more() {
        for good in [
            "SELECT 1",
            "SELECT 1;",
            " SELECT 1 ; -- and no more; rollback",
            "SELECT ';', \"a;b\", [;], `;` /* ; SELECT */",
            "SELECT 'it''s; ROLLBACK'",
            "SELECT rollback_count FROM t",
            "SELECT 'open",
            "",
        ] {
            assert_eq!(check_text(good), Ok(()), "{good}");
        }
        for bad in [
            "SELECT 1; SELECT 2",
            ";;",
            "INSERT OR RollBack INTO t VALUES (1)",
            "SELECT 1;/* */x",
            "ROLLBACK",
        ] {
            assert!(check_text(bad).is_err(), "{bad}");
        }
    }
}
