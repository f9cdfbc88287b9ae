//! From a declaration to tables.

use rusqlite::Connection;
use w3bstream_types::{Database, SqlColumn, SqlTable, SqlType, SqlValue};

/// A name or a text, quoted.
fn quoted(name: &str, quote: char) -> String {
    let inside = name.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{inside}{quote}")
}

fn name(name: &str) -> String {
    quoted(name, '"')
}

/// What makes a database of one declaration that of another. SQLite's text comparison and its affinities would let
/// anything into any column, so each has a check.
pub(super) fn steps(from: Option<&Database>, to: &Database) -> Vec<String> {
    let mut steps = Vec::new();
    for table in &to.tables {
        let old = from.and_then(|f| {
            f.tables.iter().find(|t| t.name.as_str().eq_ignore_ascii_case(table.name.as_str()))
        });
        if old == Some(table) {
            continue;
        }
        let known = old.map_or(0, |t| t.columns.len());
        match old {
            None => {
                let columns: Vec<String> = table.columns.iter().map(column).collect();
                steps.push(format!("CREATE TABLE {} ({})", name(table.name.as_str()), columns.join(", ")));
            }
            Some(_) => {
                let new = table.columns.iter().skip(known);
                steps.extend(
                    new.map(|c| {
                        format!("ALTER TABLE {} ADD COLUMN {}", name(table.name.as_str()), column(c))
                    }),
                );
            }
        }
        for key in table.keys.iter().filter(|k| old.is_none_or(|t| !t.keys.contains(k))) {
            let columns: Vec<String> = key.columns.iter().map(|c| name(c.as_str())).collect();
            let index = name(&format!("w3b_{}_{}", table.name, key.name).to_ascii_lowercase());
            let unique = if key.unique { "UNIQUE " } else { "" };
            let (table, columns) = (name(table.name.as_str()), columns.join(", "));
            steps.push(format!("CREATE {unique}INDEX {index} ON {table} ({columns})"));
        }
        if known < table.columns.len() {
            steps.extend(triggers(table, known));
        }
    }
    steps
}

fn column(c: &SqlColumn) -> String {
    let quoted_name = name(c.name.as_str());
    if c.autoincrement {
        return format!("{quoted_name} INTEGER PRIMARY KEY");
    }
    // The affinity follows from the words (SQLite, "Datatypes in SQLite", 3.1), and the answer's form from BOOLEAN.
    let (declared, kind) = match c.datatype {
        SqlType::Float32 | SqlType::Float64 => ("REAL", "real"),
        SqlType::Text | SqlType::Decimal | SqlType::Numeric => ("TEXT", "text"),
        SqlType::Bytes => ("BLOB", "blob"),
        SqlType::Bool => ("BOOLEAN", "integer"),
        _ => ("INTEGER", "integer"),
    };
    let mut rule = format!("typeof({quoted_name}) = '{kind}'");
    if let Some((least, most)) = c.datatype.range().filter(|r| *r != (i64::MIN, i64::MAX)) {
        rule += &format!(" AND {quoted_name} BETWEEN {least} AND {most}");
    }
    if c.null {
        rule = format!("{quoted_name} IS NULL OR ({rule})");
    }
    let null = if c.null { "" } else { " NOT NULL" };
    let default = c.default.as_deref().and_then(|text| c.value_of(text).ok()).map(literal);
    let default = default.map_or(String::new(), |value| format!(" DEFAULT {value}"));
    format!("{quoted_name} {declared}{null}{default} CHECK ({rule})")
}

fn literal(value: SqlValue) -> String {
    match value {
        SqlValue::Integer(v) if v < 0 => format!("({v})"),
        SqlValue::Integer(v) => v.to_string(),
        SqlValue::Real(v) => format!("({v:?})"),
        SqlValue::Text(text) => quoted(&text, '\''),
        SqlValue::Blob(_) => "x''".to_owned(),
        SqlValue::Null | SqlValue::Bool(_) => "NULL".to_owned(),
    }
}

/// Triggers that tell of each row what it was and what it is. Of a table that had fewer columns, each row is told of
/// anew: as it was with those, and as it is with all.
fn triggers(table: &SqlTable, known: usize) -> Vec<String> {
    let (on, plain) = (name(table.name.as_str()), table.name.as_str().to_ascii_lowercase());
    let call = |side: &str, made: u8, columns: usize| {
        let columns = table.columns.iter().take(columns);
        let values: String = columns.map(|c| format!(", {side}.{}", name(c.name.as_str()))).collect();
        format!("SELECT w3b_row('{plain}', {made}, {side}.rowid{values});")
    };
    let all = table.columns.len();
    let (was, is) = (call("OLD", 0, all), call("NEW", 1, all));
    let trigger = |event: &str| name(&format!("w3b_{plain}_{event}"));
    let create = |event: &str, body: String| {
        format!("CREATE TRIGGER {} AFTER {event} ON {on} BEGIN {body} END", trigger(event))
    };
    let drop = |event: &str| format!("DROP TRIGGER {}", trigger(event));
    let mut steps = Vec::new();
    if known > 0
        && let Some(first) = table.columns.first()
    {
        let first = name(first.name.as_str());
        steps.extend(["insert", "delete", "update"].map(drop));
        steps.push(create("update", format!("{} {is}", call("OLD", 0, known))));
        steps.push(format!("UPDATE {on} SET {first} = {first}"));
        steps.push(drop("update"));
    }
    steps.push(create("insert", is.clone()));
    steps.push(create("delete", was.clone()));
    steps.push(create("update", format!("{was} {is}")));
    steps
}

/// The tables of guests that a database has.
pub(super) fn names(conn: &Connection) -> rusqlite::Result<super::policy::Names> {
    let sql = "SELECT lower(name) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
               AND name NOT LIKE 'w3b\\_%' ESCAPE '\\'";
    conn.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}
