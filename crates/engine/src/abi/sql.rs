//! `ws_set_sql_db` and `ws_get_sql_db`: statements on the project's database.
//!
//! ```json
//! {"statement": "INSERT INTO readings (device, celsius) VALUES (?, ?)", "params": [{"string": "d1"}, {"float64": 4.5}]}
//! ```
//!
//! `params` must be there, and may be empty. A parameter has one member: `int32`, `int64`, `float32`, `float64`, `string`,
//! `bool`, `bytes` (base64, with or without padding) or `time` (RFC 3339, kept as microseconds); `null` as its value is
//! NULL. The answer is empty for no row, a JSON object for one, an array of objects for more.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use w3bstream_types::{
    MAX_STATEMENT_BYTES, SqlBudget, SqlOutcome, SqlRefusal, SqlRows, SqlStatement, SqlValue,
};

use super::rfc3339::microseconds;
use super::{Args, Guest, Span, Stop, code, give, pay, price, scope};
use crate::GuestError;

/// The longest JSON that is read, in bytes: the statement with every character escaped, and 256 KiB of parameters.
const MAX_JSON_BYTES: u32 = 6 * MAX_STATEMENT_BYTES as u32 + 256 * 1024;
/// Old hosts' Rust kit writes bytes without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize)]
struct Asked {
    statement: String,
    params: Vec<Map<String, Json>>,
}

fn parse(json: &[u8]) -> Result<SqlStatement, String> {
    let asked: Asked = serde_json::from_slice(json).map_err(|e| format!("the JSON is wrong: {e}"))?;
    let params =
        (1..).zip(&asked.params).map(|(place, p)| param(p).map_err(|why| format!("param {place}: {why}")));
    Ok(SqlStatement { params: params.collect::<Result<_, _>>()?, text: asked.statement })
}

fn param(member: &Map<String, Json>) -> Result<SqlValue, String> {
    let mut members = member.iter();
    let (Some((kind, value)), None) = (members.next(), members.next()) else {
        return Err("must have one member, such as {\"int64\": 7}".into());
    };
    let wrong = || format!("{value} is no {kind}");
    let text = || value.as_str().ok_or_else(wrong);
    Ok(match (kind.as_str(), value) {
        ("int32" | "int64" | "float32" | "float64" | "string" | "bool" | "bytes" | "time", Json::Null) => {
            SqlValue::Null
        }
        ("int32", _) => {
            let number = value.as_i64().and_then(|v| i32::try_from(v).ok()).ok_or_else(wrong)?;
            SqlValue::Integer(number.into())
        }
        ("int64", _) => SqlValue::Integer(value.as_i64().ok_or_else(wrong)?),
        #[allow(clippy::cast_possible_truncation, reason = "that is what float32 says")]
        ("float32", _) => SqlValue::Real(f64::from(value.as_f64().ok_or_else(wrong)? as f32)),
        ("float64", _) => SqlValue::Real(value.as_f64().ok_or_else(wrong)?),
        ("string", _) => SqlValue::Text(text()?.to_owned()),
        ("bool", _) => SqlValue::Integer(value.as_bool().ok_or_else(wrong)?.into()),
        ("bytes", _) => SqlValue::Blob(BASE64.decode(text()?).map_err(|e| format!("{}: {e}", wrong()))?),
        ("time", _) => SqlValue::Integer(microseconds(text()?).ok_or_else(wrong)?),
        _ => return Err(format!("{kind:?} is none of int32 int64 float32 float64 string bool bytes time")),
    })
}

/// Rows as the original gives them. Every byte is decided here, and none by a library's version or features: guests of
/// all nodes must see the same.
fn to_json(rows: &SqlRows) -> Vec<u8> {
    let object = |row: &Vec<SqlValue>| {
        // The last of two columns of one name counts.
        let members: BTreeMap<&str, String> =
            rows.columns.iter().map(String::as_str).zip(row.iter().map(value)).collect();
        let members: Vec<String> =
            members.into_iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
        format!("{{{}}}", members.join(","))
    };
    let objects: Vec<String> = rows.rows.iter().map(object).collect();
    match objects.as_slice() {
        [] => Vec::new(),
        [one] => one.clone().into_bytes(),
        many => format!("[{}]", many.join(",")).into_bytes(),
    }
}

fn value(value: &SqlValue) -> String {
    match value {
        SqlValue::Null => "null".into(),
        SqlValue::Integer(v) => v.to_string(),
        SqlValue::Real(v) if v.is_finite() => format!("{v:?}"),
        // JSON has no infinity.
        SqlValue::Real(v) => quoted(&v.to_string()),
        SqlValue::Text(v) => quoted(v),
        SqlValue::Blob(v) => quoted(&BASE64.encode(v)),
        SqlValue::Bool(v) => v.to_string(),
    }
}

/// A text in quotes, with the escapes that RFC 8259 asks for and no others.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `ws_set_sql_db(json)`. 9: no database; 2: bad memory; −1: a wrong statement, or one that fails.
pub(super) fn set<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    Ok(match run(guest, args, "ws_set_sql_db")? {
        Ok(_) => code::OK,
        Err(code) => code,
    })
}

/// `ws_get_sql_db(json, out)`. As [`set`]; 5: the answer could not be copied.
pub(super) fn get<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    match run(guest, args, "ws_get_sql_db")? {
        Ok(rows) => {
            let json = to_json(&rows);
            pay(guest, price::COMPUTE_BYTE * json.len() as u64)?;
            give(guest, &json, (args.i32(2), args.i32(3)))
        }
        Err(code) => Ok(code),
    }
}

/// Runs the statement at the first two parameters: its rows, or the code.
fn run<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>, name: &str) -> Result<Result<SqlRows, i32>, Stop> {
    let Some(span) = Span::new(guest, args.i32(0), args.i32(1)).filter(|s| s.len <= MAX_JSON_BYTES) else {
        return Ok(Err(code::NOT_FOUND));
    };
    if !scope::with(|c| c.has_database())? {
        return Ok(Err(code::NO_DATABASE));
    }
    pay(guest, price::SQL_STATEMENT + price::SQL_STATEMENT_BYTE * u64::from(span.len))?;
    let json = span.take(guest)?;
    scope::with(|c| c.count_sql(json.len() as u64))??;
    let SqlOutcome { gas, result } = match parse(&json) {
        Ok(statement) => {
            let budget = SqlBudget {
                gas: u64::try_from(guest.gas()).unwrap_or(0),
                step: price::SQL_STEP,
                row: price::SQL_ROW,
                row_byte: price::KV_SET_BYTE,
                result_bytes: scope::with(|c| c.sql_room())?,
                // The project's, which the host knows.
                database_bytes: u64::MAX,
            };
            scope::with(|c| c.sql(&statement, &budget))??
        }
        Err(why) => SqlOutcome::refused(SqlRefusal::Refused(why)),
    };
    pay(guest, gas)?;
    match result {
        Ok(rows) => {
            let bytes = rows.rows.iter().flatten().map(|v| v.to_bytes().len() as u64).sum();
            scope::with(|c| c.count_sql(bytes))??;
            Ok(Ok(rows))
        }
        Err(SqlRefusal::NoDatabase) => Ok(Err(code::NO_DATABASE)),
        Err(SqlRefusal::OutOfGas) => Err(Stop::Guest(GuestError::OutOfGas)),
        Err(SqlRefusal::TooMuch) => Err(Stop::Guest(GuestError::SqlLimit)),
        Err(SqlRefusal::Refused(why)) => {
            scope::with(|c| c.log(3, format!("{name}: {why}").as_bytes(), false))?;
            Ok(Err(code::FAILED))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(json: &str) -> Result<Vec<SqlValue>, String> {
        parse(format!(r#"{{"statement":"s","params":[{json}]}}"#).as_bytes()).map(|s| s.params)
    }

    #[test]
    fn parameters_have_the_originals_forms() {
        let all = r#"{"int32":-7},{"int64":9223372036854775807},{"float32":0.1},{"float64":0.1},{"string":"é"},
                     {"bool":true},{"bytes":"AP8="},{"bytes":"AP8"},{"time":"1970-01-01T00:00:01.5Z"},{"string":null}"#;
        let wanted = [
            SqlValue::Integer(-7),
            SqlValue::Integer(i64::MAX),
            SqlValue::Real(f64::from(0.1_f32)),
            SqlValue::Real(0.1),
            SqlValue::Text("é".into()),
            SqlValue::Integer(1),
            SqlValue::Blob(vec![0, 255]),
            SqlValue::Blob(vec![0, 255]),
            SqlValue::Integer(1_500_000),
            SqlValue::Null,
        ];
        assert_eq!(params(all).unwrap(), wanted);
        assert_eq!(params("").unwrap(), []);
        for (wrong, named) in [
            (r#"{"int32":2147483648}"#, "int32"),
            (r#"{"int64":9223372036854775808}"#, "int64"),
            (r#"{"int64":1.5}"#, "int64"),
            (r#"{"string":1}"#, "string"),
            (r#"{"bool":1}"#, "bool"),
            (r#"{"bytes":"?"}"#, "bytes"),
            (r#"{"time":"yesterday"}"#, "time"),
            (r#"{"uint8":1}"#, "uint8"),
            ("{}", "one member"),
            (r#"{"int32":1,"int64":1}"#, "one member"),
            ("1", "JSON"),
        ] {
            let why = params(wrong).unwrap_err();
            assert!(why.contains(named), "{wrong}: {why}");
        }
        assert!(parse(br#"{"statement":"s"}"#).unwrap_err().contains("params"), "params is mandatory");
    }

    #[test]
    fn an_answer_has_one_of_three_shapes() {
        let columns = ["n", "t"].map(str::to_owned).to_vec();
        let row = |n| vec![SqlValue::Integer(n), SqlValue::Null];
        let shown = |rows| String::from_utf8(to_json(&SqlRows { columns: columns.clone(), rows })).unwrap();
        assert_eq!(shown(vec![]), "");
        assert_eq!(shown(vec![row(1)]), r#"{"n":1,"t":null}"#);
        assert_eq!(shown(vec![row(1), row(2)]), r#"[{"n":1,"t":null},{"n":2,"t":null}]"#);
        let kinds = vec![SqlValue::Blob(vec![0, 255]), SqlValue::Bool(true)];
        assert_eq!(shown(vec![kinds]), r#"{"n":"AP8=","t":true}"#);
        let kinds = vec![SqlValue::Real(1.0), SqlValue::Real(f64::INFINITY)];
        assert_eq!(shown(vec![kinds]), r#"{"n":1.0,"t":"inf"}"#);
        let kinds = vec![SqlValue::Real(-1e300), SqlValue::Text("\u{1}\"\\é\n/".into())];
        let json = shown(vec![kinds]);
        assert_eq!(json, "{\"n\":-1e300,\"t\":\"\\u0001\\\"\\\\é\\n/\"}");
        assert!(serde_json::from_str::<Json>(&json).is_ok());
    }
}
