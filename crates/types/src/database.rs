//! A project's SQL database: its tables, as the manifest declares them, and statements with their parameters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::text_serde;
use crate::{Canonical, Decoder, Digest, Encoder, Malformed};

/// The version of SQLite that runs guests' statements. Part of what a subnet agrees on: another one may take other steps,
/// so a change is a new version of the guests' interface.
pub const SQLITE_VERSION: &str = "3.54.1";
/// The most tables of a database.
pub const MAX_TABLES: usize = 64;
/// The most columns of a table, and the most keys.
pub const MAX_COLUMNS: usize = 64;
/// The longest statement, in bytes.
pub const MAX_STATEMENT_BYTES: usize = 16 * 1024;
/// The most parameters of a statement.
pub const MAX_STATEMENT_PARAMS: usize = 128;
/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// A name of a table, a column or a key: a letter or `_`, then letters, digits and `_`, at most 63 bytes. SQL compares
/// names without case, and so is this compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SqlName(Box<str>);

impl SqlName {
    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn same(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl fmt::Display for SqlName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SqlName {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        let bad = |why: String| Err(Malformed::new("database", why));
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if s.is_empty()
            || s.len() > MAX_NAME_BYTES
            || !s.bytes().all(word)
            || s.as_bytes()[0].is_ascii_digit()
        {
            return bad(format!(
                "{s:?} is no name: a letter or '_', then letters, digits and '_', at most 63"
            ));
        }
        let lower = s.to_ascii_lowercase();
        if lower.starts_with("sqlite_") || lower.starts_with("w3b_") || lower == "rowid" {
            return bad(format!("the name {s:?} is taken: none may be rowid or begin with sqlite_ or w3b_"));
        }
        Ok(Self(s.into()))
    }
}

text_serde!(SqlName);

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum SqlType {
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    /// Only up to 2^63 − 1.
    Uint64,
    /// As float64: SQLite has one kind of floats.
    Float32,
    Float64,
    Text,
    Bool,
    /// Microseconds since the epoch.
    Timestamp,
    /// A number as text, exactly as it was given.
    Decimal,
    /// As `decimal`.
    Numeric,
    Bytes,
}

impl SqlType {
    /// All types.
    pub const ALL: [Self; 16] = [
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Float32,
        Self::Float64,
        Self::Text,
        Self::Bool,
        Self::Timestamp,
        Self::Decimal,
        Self::Numeric,
        Self::Bytes,
    ];

    /// The least and the greatest number that it holds; `None` if it holds no integers.
    #[must_use]
    pub const fn range(self) -> Option<(i64, i64)> {
        Some(match self {
            Self::Int8 => (i8::MIN as i64, i8::MAX as i64),
            Self::Int16 => (i16::MIN as i64, i16::MAX as i64),
            Self::Int32 => (i32::MIN as i64, i32::MAX as i64),
            Self::Int64 | Self::Timestamp => (i64::MIN, i64::MAX),
            Self::Uint8 => (0, u8::MAX as i64),
            Self::Uint16 => (0, u16::MAX as i64),
            Self::Uint32 => (0, u32::MAX as i64),
            Self::Uint64 => (0, i64::MAX),
            Self::Bool => (0, 1),
            Self::Float32 | Self::Float64 | Self::Text | Self::Decimal | Self::Numeric | Self::Bytes => {
                return None;
            }
        })
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SqlColumn {
    /// Its name.
    pub name: SqlName,
    /// What it holds.
    pub datatype: SqlType,
    /// Whether it may be NULL.
    #[serde(default)]
    pub null: bool,
    /// What it is if a row is made without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Whether it numbers the rows. It then is an integer and the row's identity; a table has at most one.
    #[serde(default)]
    pub autoincrement: bool,
}

/// A key: an index, and a rule if it is unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SqlKey {
    /// Its name, unique in the table.
    pub name: SqlName,
    /// Whether no two rows may be the same in its columns.
    #[serde(default)]
    pub unique: bool,
    /// Its columns, in order.
    pub columns: Vec<SqlName>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SqlTable {
    /// Its name.
    pub name: SqlName,
    /// Its columns, in order.
    pub columns: Vec<SqlColumn>,
    /// Its keys.
    #[serde(default)]
    pub keys: Vec<SqlKey>,
}

/// A project's database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Database {
    /// The most bytes of all rows together, as their values count; indexes and the like come on top on disk.
    #[serde(default = "max_bytes")]
    pub max_bytes: u64,
    /// Its tables.
    pub tables: Vec<SqlTable>,
}

const fn max_bytes() -> u64 {
    Database::DEFAULT_MAX_BYTES
}

fn bad<T>(why: String) -> Result<T, Malformed> {
    Err(Malformed::new("database", why))
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a SqlName>) -> Result<(), Malformed> {
    let mut seen: Vec<&SqlName> = Vec::new();
    for name in names {
        if seen.iter().any(|s| s.same(name)) {
            return bad(format!("{what} {name} stands twice; SQL compares names without case"));
        }
        seen.push(name);
    }
    Ok(())
}

impl Database {
    /// What `max-bytes` is if it is not given.
    pub const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;
    /// The most that `max-bytes` can be.
    pub const MOST_BYTES: u64 = 16 * 1024 * 1024 * 1024;

    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`Malformed`] naming the table and what is wrong.
    pub fn check(&self) -> Result<(), Malformed> {
        if self.max_bytes == 0 || self.max_bytes > Self::MOST_BYTES {
            return bad(format!("max-bytes must be 1 to {}", Self::MOST_BYTES));
        }
        if self.tables.is_empty() || self.tables.len() > MAX_TABLES {
            return bad(format!("needs 1 to {MAX_TABLES} tables"));
        }
        unique("the table", self.tables.iter().map(|t| &t.name))?;
        self.tables.iter().try_for_each(SqlTable::check)
    }

    /// Whether this can follow another declaration without losing data: tables, columns and keys are only added.
    ///
    /// # Errors
    /// [`Malformed`] naming what would be lost.
    pub fn follows(&self, before: &Self) -> Result<(), Malformed> {
        for old in &before.tables {
            match self.tables.iter().find(|t| t.name.same(&old.name)) {
                Some(new) => new.follows(old)?,
                None => return bad(format!("table {}: it has rows and cannot be taken away", old.name)),
            }
        }
        Ok(())
    }
}

impl SqlTable {
    fn check(&self) -> Result<(), Malformed> {
        let name = &self.name;
        if self.columns.is_empty() || self.columns.len() > MAX_COLUMNS || self.keys.len() > MAX_COLUMNS {
            return bad(format!("table {name}: needs 1 to {MAX_COLUMNS} columns, and at most as many keys"));
        }
        unique(&format!("table {name}: column"), self.columns.iter().map(|c| &c.name))?;
        unique(&format!("table {name}: key"), self.keys.iter().map(|k| &k.name))?;
        for column in &self.columns {
            column.check().map_err(|why| Malformed::new("database", format!("table {name}: {why}")))?;
        }
        if self.columns.iter().filter(|c| c.autoincrement).count() > 1 {
            return bad(format!("table {name}: only one column can have autoincrement"));
        }
        for key in &self.keys {
            if key.columns.is_empty() {
                return bad(format!("table {name}: key {} has no columns", key.name));
            }
            unique(&format!("table {name}: key {}: column", key.name), key.columns.iter())?;
            let unknown = key.columns.iter().find(|c| self.columns.iter().all(|col| !col.name.same(c)));
            if let Some(unknown) = unknown {
                return bad(format!(
                    "table {name}: key {} names {unknown}, which is no column of it",
                    key.name
                ));
            }
        }
        Ok(())
    }

    fn follows(&self, before: &Self) -> Result<(), Malformed> {
        let name = &self.name;
        for (place, old) in before.columns.iter().enumerate() {
            let new = self.columns.get(place).filter(|c| c.name.same(&old.name));
            let Some(new) = new else {
                return bad(format!(
                    "table {name}: column {} must stay, and in its place; new columns come behind the old",
                    old.name
                ));
            };
            if new != old {
                return bad(format!("table {name}: column {} holds data and cannot be changed", old.name));
            }
        }
        for new in self.columns.iter().skip(before.columns.len()) {
            if new.autoincrement || (!new.null && new.default.is_none()) {
                return bad(format!(
                    "table {name}: the new column {} needs null = true or a default, for the rows that are there",
                    new.name
                ));
            }
        }
        for old in &before.keys {
            if !self.keys.contains(old) {
                return bad(format!("table {name}: key {} cannot be changed or taken away", old.name));
            }
        }
        Ok(())
    }
}

impl SqlColumn {
    fn check(&self) -> Result<(), String> {
        let integer = self.datatype.range().is_some() && self.datatype != SqlType::Bool;
        if self.autoincrement && (!integer || self.null || self.default.is_some()) {
            return Err(format!(
                "column {}: autoincrement needs an integer without null and default",
                self.name
            ));
        }
        match &self.default {
            Some(default) => self.value_of(default).map(|_| ()),
            None => Ok(()),
        }
    }

    /// The value that a default's text stands for.
    ///
    /// # Errors
    /// In words, if it is none of this column.
    pub fn value_of(&self, text: &str) -> Result<SqlValue, String> {
        let wrong = || format!("column {}: the default {text:?} is no {:?}", self.name, self.datatype);
        match self.datatype {
            SqlType::Bool => match text {
                "true" | "1" => Ok(SqlValue::Integer(1)),
                "false" | "0" => Ok(SqlValue::Integer(0)),
                _ => Err(wrong()),
            },
            SqlType::Float32 | SqlType::Float64 => {
                let float: Option<f64> = text.parse().ok().filter(|v: &f64| v.is_finite());
                float.map(SqlValue::Real).ok_or_else(wrong)
            }
            SqlType::Text | SqlType::Decimal | SqlType::Numeric => Ok(SqlValue::Text(text.to_owned())),
            SqlType::Bytes if text.is_empty() => Ok(SqlValue::Blob(Vec::new())),
            SqlType::Bytes => Err(wrong()),
            integer => {
                let (least, most) = integer.range().unwrap_or_default();
                let value = text.parse().ok().filter(|v| (least..=most).contains(v));
                value.map(SqlValue::Integer).ok_or_else(wrong)
            }
        }
    }
}

/// A value, as SQLite knows them.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlValue {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A float.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// Only in answers: the value of a column of type `bool`.
    Bool(bool),
}

/// One statement with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlStatement {
    /// The statement, with `?` for parameters.
    pub text: String,
    /// The parameters, in order.
    pub params: Vec<SqlValue>,
}

/// What may be used for one statement, and what it costs. The prices are the ABI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqlBudget {
    /// Gas that is left.
    pub gas: u64,
    /// Gas of a step of SQLite's virtual machine.
    pub step: u64,
    /// Gas of a row that is made, changed or removed, beside its bytes.
    pub row: u64,
    /// Gas of a byte of such a row.
    pub row_byte: u64,
    /// Most bytes of the rows that are answered.
    pub result_bytes: u64,
    /// Most bytes of the database; see [`Database::max_bytes`].
    pub database_bytes: u64,
}

impl SqlBudget {
    /// No limits, for what ran before.
    pub const UNLIMITED: Self = Self {
        gas: u64::MAX,
        step: 0,
        row: 0,
        row_byte: 0,
        result_bytes: u64::MAX,
        database_bytes: u64::MAX,
    };
}

/// Rows that a statement gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SqlRows {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<SqlValue>>,
}

/// Why a statement was not run, or was undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlRefusal {
    /// The project has no database.
    NoDatabase,
    /// The gas was used up.
    OutOfGas,
    /// More rows than the budget's bytes.
    TooMuch,
    /// Anything else, in words for who wrote the statement.
    Refused(String),
}

/// What became of a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlOutcome {
    /// Gas used: the same on every node.
    pub gas: u64,
    /// The rows, or why there are none.
    pub result: Result<SqlRows, SqlRefusal>,
}

impl SqlOutcome {
    /// Refused before it ran.
    #[must_use]
    pub const fn refused(why: SqlRefusal) -> Self {
        Self { gas: 0, result: Err(why) }
    }
}

/// What changes a database, in the order in which it does.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlEntry {
    /// Another declaration.
    Declare {
        /// The one before.
        from: Option<Database>,
        /// The one from now on.
        to: Database,
    },
    /// A guest's statement.
    Run(SqlStatement),
}

/// A row that was made, changed or removed: its table and number, and its digest if it is there.
pub type SqlChange = ((String, i64), Option<Digest>);

/// What a block did to a database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SqlBlock {
    /// What was done, to do it again.
    pub log: Vec<SqlEntry>,
    /// Rows that are not as they were.
    pub rows: Vec<SqlChange>,
}

mod encoding;
#[cfg(test)]
mod tests;
