//! `PROJECT_DATABASE`: the original's declaration of a database, read as a manifest's.

use serde::Deserialize;
use serde_json::Value;
use w3bstream_types::{Database, Malformed, SqlColumn, SqlKey, SqlTable, SqlType};

use crate::model::Rest;

#[derive(Deserialize)]
struct Declared {
    schemas: Vec<Schema>,
    #[serde(flatten)]
    _rest: Rest,
}

#[derive(Deserialize)]
struct Schema {
    #[serde(default)]
    tables: Vec<Table>,
    #[serde(flatten)]
    _rest: Rest,
}

#[derive(Deserialize)]
struct Table {
    name: String,
    cols: Vec<Column>,
    #[serde(default)]
    keys: Vec<Key>,
    #[serde(flatten)]
    _rest: Rest,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    constrains: Constraints,
    #[serde(flatten)]
    _rest: Rest,
}

/// `length`, `decimal` and `desc` say nothing that SQLite would hold anybody to.
#[derive(Deserialize)]
struct Constraints {
    datatype: String,
    #[serde(default)]
    default: Option<String>,
    #[serde(default)]
    null: bool,
    #[serde(default)]
    autoincrement: bool,
    #[serde(flatten)]
    _rest: Rest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    name: String,
    #[serde(default)]
    is_unique: bool,
    column_names: Vec<String>,
    #[serde(flatten)]
    _rest: Rest,
}

/// The original's names of the types. Its `INT` and `UINT` are those of a 64-bit Go.
const TYPES: [(&str, SqlType); 17] = [
    ("INT", SqlType::Int64),
    ("INT8", SqlType::Int8),
    ("INT16", SqlType::Int16),
    ("INT32", SqlType::Int32),
    ("INT64", SqlType::Int64),
    ("UINT", SqlType::Uint64),
    ("UINT8", SqlType::Uint8),
    ("UINT16", SqlType::Uint16),
    ("UINT32", SqlType::Uint32),
    ("UINT64", SqlType::Uint64),
    ("FLOAT32", SqlType::Float32),
    ("FLOAT64", SqlType::Float64),
    ("TEXT", SqlType::Text),
    ("BOOL", SqlType::Bool),
    ("TIMESTAMP", SqlType::Timestamp),
    ("DECIMAL", SqlType::Decimal),
    ("NUMERIC", SqlType::Numeric),
];

/// The names of the types.
pub(crate) fn datatypes() -> Vec<&'static str> {
    TYPES.iter().map(|(name, _)| *name).collect()
}

fn bad<T>(why: String) -> Result<T, Malformed> {
    Err(Malformed::new("PROJECT_DATABASE", why))
}

/// Reads a declaration; `None` if it has no tables. Tables of all schemas are in one database, so a name can be there once.
///
/// # Errors
/// [`Malformed`] naming the table and what is wrong.
pub(crate) fn read(value: &Value) -> Result<Option<Database>, Malformed> {
    let declared: Declared = match serde_json::from_value(value.clone()) {
        Ok(declared) => declared,
        Err(e) => return bad(e.to_string()),
    };
    let tables = declared.schemas.into_iter().flat_map(|s| s.tables).map(table);
    let tables: Vec<SqlTable> = tables.collect::<Result<_, _>>()?;
    if tables.is_empty() {
        return Ok(None);
    }
    let database = Database { max_bytes: Database::DEFAULT_MAX_BYTES, tables };
    database.check()?;
    Ok(Some(database))
}

fn table(table: Table) -> Result<SqlTable, Malformed> {
    let columns = table.cols.into_iter().map(|c| column(&table.name, c)).collect::<Result<_, _>>()?;
    let key = |k: Key| {
        // As users of the original named it; then it is one whatever else is said.
        let unique = k.is_unique || k.name.eq_ignore_ascii_case("primary");
        let columns = k.column_names.iter().map(|c| c.parse()).collect::<Result<_, _>>()?;
        Ok(SqlKey { name: k.name.parse()?, unique, columns })
    };
    let keys = table.keys.into_iter().map(key).collect::<Result<_, Malformed>>()?;
    Ok(SqlTable { name: table.name.parse()?, columns, keys })
}

fn column(table: &str, column: Column) -> Result<SqlColumn, Malformed> {
    let Constraints { datatype, default, null, autoincrement, .. } = column.constrains;
    let Some((_, kind)) = TYPES.iter().find(|(name, _)| *name == datatype) else {
        return bad(format!(
            "table {table:?}: column {:?} has the datatype {datatype:?}, which is none of {}",
            column.name,
            datatypes().join(" ")
        ));
    };
    // A number counts itself; the original's users gave such columns a default of 0.
    let default = if autoincrement { None } else { default };
    let null = null && !autoincrement;
    Ok(SqlColumn { name: column.name.parse()?, datatype: *kind, null, default, autoincrement })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_declaration_of_the_original_becomes_a_manifests() {
        let column = |name: &str, constrains: Value| json!({ "name": name, "constrains": constrains });
        let declared = json!({ "schemas": [{ "schema": "public", "tables": [{
            "name": "t_reading", "desc": "readings",
            "cols": [
                column("f_id", json!({ "datatype": "INT64", "autoincrement": true, "default": "0" })),
                column("f_name", json!({ "datatype": "TEXT", "length": 255, "default": "" })),
                column("f_at", json!({ "datatype": "TIMESTAMP", "null": true, "desc": "when" })),
            ],
            "keys": [
                { "name": "primary", "isUnique": false, "columnNames": ["f_id"] },
                { "name": "by_name", "isUnique": false, "columnNames": ["f_name", "f_at"] },
            ],
        }] }] });
        let database = read(&declared).unwrap().unwrap();
        let [table] = database.tables.as_slice() else { panic!("{database:?}") };
        let columns: Vec<_> = table
            .columns
            .iter()
            .map(|c| (c.name.as_str(), c.datatype, c.null, c.default.as_deref(), c.autoincrement))
            .collect();
        assert_eq!(
            columns,
            [
                ("f_id", SqlType::Int64, false, None, true),
                ("f_name", SqlType::Text, false, Some(""), false),
                ("f_at", SqlType::Timestamp, true, None, false),
            ]
        );
        assert_eq!(table.keys.iter().map(|k| k.unique).collect::<Vec<_>>(), [true, false]);
        assert_eq!(read(&json!({ "schemas": [] })).unwrap(), None);
    }
}
