//! The project's SQL database, which the manifest declares in `[database]`. All applets of a project share it.
//!
//! ```
//! use w3bstream_sdk::{Error, Event, json::Object, sql};
//!
//! fn measured(event: Event) -> Result<(), Error> {
//!     let reading = Object::parse(event.data())?;
//!     sql::statement("INSERT INTO readings (device, value) VALUES (?, ?)")
//!         .str(reading.str("device")?)
//!         .i64(reading.i64("value")?)
//!         .execute()?;
//!     let row = sql::statement("SELECT count(*) AS n FROM readings").row()?.unwrap_or_default();
//!     let _n = Object::parse(row.as_bytes())?.i64("n")?;
//!     Ok(())
//! }
//! # let mut host = w3bstream_sdk::mock::Host::new()
//! #     .sql(r#"{"statement":"SELECT count(*) AS n FROM readings","params":[]}"#, r#"{"n":1}"#);
//! # let outcome = host.deliver(measured, "measured", br#"{"device":"a","value":7}"#);
//! # assert_eq!((outcome.code, outcome.sql.len()), (0, 1));
//! ```

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::json::{push_i64, push_text};
use crate::{Error, host};

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A statement with `?` for each parameter, which are then given in order.
pub fn statement(text: &str) -> Statement {
    let mut json = String::from("{\"statement\":");
    push_text(&mut json, text);
    json.push_str(",\"params\":[");
    Statement { json, first: true }
}

/// A statement with the parameters that it has so far.
#[derive(Clone, Debug)]
#[must_use = "it runs when `execute`, `row` or `rows` is called"]
pub struct Statement {
    json: String,
    first: bool,
}

impl Statement {
    fn param(mut self, kind: &str, value: impl FnOnce(&mut String)) -> Self {
        self.json.push_str(if self.first { "{\"" } else { ",{\"" });
        self.first = false;
        self.json.push_str(kind);
        self.json.push_str("\":");
        value(&mut self.json);
        self.json.push('}');
        self
    }

    /// A whole number.
    pub fn i64(self, value: i64) -> Self {
        self.param("int64", |json| push_i64(json, value))
    }

    /// A float. What JSON cannot say (infinities, NaN) is NULL.
    pub fn f64(self, value: f64) -> Self {
        self.param("float64", |json| match value.is_finite() {
            true => json.push_str(&value.to_string()),
            false => json.push_str("null"),
        })
    }

    /// A text.
    pub fn str(self, value: &str) -> Self {
        self.param("string", |json| push_text(json, value))
    }

    /// `true` or `false`.
    pub fn bool(self, value: bool) -> Self {
        self.param("bool", |json| json.push_str(if value { "true" } else { "false" }))
    }

    /// Bytes.
    pub fn bytes(self, value: &[u8]) -> Self {
        self.param("bytes", |json| {
            json.push('"');
            for part in value.chunks(3) {
                let word = part.iter().fold(0_u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - part.len()));
                for place in 0..=part.len() {
                    let digit = word >> (18 - 6 * place) & 63;
                    json.push(char::from(DIGITS[digit as usize]));
                }
            }
            json.push('"');
        })
    }

    /// A time, as RFC 3339 writes it. It is kept as microseconds since the epoch.
    pub fn time(self, value: &str) -> Self {
        self.param("time", |json| push_text(json, value))
    }

    /// NULL.
    pub fn null(self) -> Self {
        self.param("string", |json| json.push_str("null"))
    }

    fn finish(mut self) -> String {
        self.json.push_str("]}");
        self.json
    }

    /// Runs it, whatever rows it gives.
    ///
    /// # Errors
    /// [`Error::HOST`] if the statement is refused or fails; the project's log says why.
    pub fn execute(self) -> Result<(), Error> {
        match host::set_sql_db(self.finish().as_bytes()) {
            0 => Ok(()),
            code => Err(Error::host("ws_set_sql_db", code)),
        }
    }

    /// Its rows: each the text of a JSON object, for [`Object::parse`](crate::json::Object::parse).
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn rows(self) -> Result<Vec<String>, Error> {
        let answer =
            host::get_sql_db(self.finish().as_bytes()).map_err(|code| Error::host("ws_get_sql_db", code))?;
        Ok(split(&String::from_utf8_lossy(&answer)))
    }

    /// Its first row, or `None` if it gives none.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn row(self) -> Result<Option<String>, Error> {
        Ok(self.rows()?.into_iter().next())
    }
}

/// The objects of an answer: nothing, one object, or an array of objects.
fn split(answer: &str) -> Vec<String> {
    let (mut rows, mut depth, mut begin) = (Vec::new(), 0_u32, 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in answer.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' if !quoted => {
                if depth == 0 {
                    begin = at;
                }
                depth += 1;
            }
            '}' if !quoted => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    rows.push(answer[begin..=at].to_string());
                }
            }
            _ => {}
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_json_whatever_is_put_into_them() {
        let made = statement("SELECT \"a\"")
            .i64(-7)
            .f64(0.5)
            .f64(f64::NAN)
            .str("x\"\n")
            .bool(true)
            .bytes(b"")
            .bytes(&[0])
            .bytes(&[0, 255])
            .bytes(&[251, 255, 190])
            .time("2023-11-14T22:13:20Z")
            .null();
        assert_eq!(
            made.finish(),
            "{\"statement\":\"SELECT \\\"a\\\"\",\"params\":[{\"int64\":-7},{\"float64\":0.5},{\"float64\":null},\
             {\"string\":\"x\\\"\\n\"},{\"bool\":true},{\"bytes\":\"\"},{\"bytes\":\"AA\"},{\"bytes\":\"AP8\"},\
             {\"bytes\":\"+/++\"},{\"time\":\"2023-11-14T22:13:20Z\"},{\"string\":null}]}"
        );
    }

    #[test]
    fn answers_of_all_shapes_are_split() {
        assert!(split("").is_empty());
        assert_eq!(split(r#"{"a":"}{\"","b":{}}"#), [r#"{"a":"}{\"","b":{}}"#]);
        assert_eq!(split(r#"[{"a":1},{"a":"\\"}]"#), [r#"{"a":1}"#, r#"{"a":"\\"}"#]);
    }
}
