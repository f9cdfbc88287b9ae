//! Readings from CSV files: anybody's columns, bad rows counted and skipped.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use jiff::civil::DateTime;
use serde::Serialize;

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// When, in milliseconds since the epoch.
    pub(crate) time: i64,
    /// Thousandths of the file's unit.
    pub(crate) milli: i64,
}

/// What was not taken from a file, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Skipped {
    /// Rows with another number of columns, or a time or value that cannot be read.
    pub(crate) bad_rows: u64,
    /// Rows without a value.
    pub(crate) missing: u64,
    /// Rows with a time that the same device had before.
    pub(crate) repeated: u64,
    /// Rows that were sorted into their place: their time was before an earlier row's.
    pub(crate) disordered: u64,
}

/// Which columns hold what.
#[derive(Clone, Debug)]
pub(crate) struct Columns<'a> {
    pub(crate) time: &'a str,
    pub(crate) value: &'a str,
    pub(crate) device: Option<&'a str>,
}

/// Readings by device, by rising time.
pub(crate) type Series = BTreeMap<String, Vec<Reading>>;

/// Reads a file from disk.
pub(crate) fn load(path: &Path, columns: &Columns<'_>) -> anyhow::Result<(Series, Skipped)> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let stem = path.file_stem().map_or_else(|| "device".into(), |s| s.to_string_lossy().into_owned());
    read(file, columns, &label(&stem)).with_context(|| path.display().to_string())
}

/// Reads CSV with a head row. Without a device column all readings are those of `device`.
pub(crate) fn read(
    source: impl std::io::Read,
    columns: &Columns<'_>,
    device: &str,
) -> anyhow::Result<(Series, Skipped)> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(source);
    let head = reader.headers().context("cannot read the head row")?.clone();
    let find = |name: &str| {
        let found = head.iter().position(|h| h == name);
        let known: Vec<&str> = head.iter().collect();
        found.with_context(|| format!("there is no column {name:?}; the columns are: {}", known.join(", ")))
    };
    let (time, value) = (find(columns.time)?, find(columns.value)?);
    let by = columns.device.map(find).transpose()?;
    let (mut series, mut skipped) = (Series::new(), Skipped::default());
    for row in reader.records() {
        let Ok(row) = row else {
            skipped.bad_rows += 1;
            continue;
        };
        let text = row.get(value).unwrap_or("");
        if text.is_empty() || ["na", "nan", "null", "-"].contains(&text.to_lowercase().as_str()) {
            skipped.missing += 1;
            continue;
        }
        let device = by.map_or_else(|| Some(device.to_owned()), |i| row.get(i).map(label));
        match (device, row.get(time).and_then(parse_time), parse_milli(text)) {
            (Some(device), Some(time), Some(milli)) if !device.is_empty() && row.len() == head.len() => {
                series.entry(device).or_default().push(Reading { time, milli });
            }
            _ => skipped.bad_rows += 1,
        }
    }
    for readings in series.values_mut() {
        put_in_order(readings, &mut skipped);
    }
    if series.is_empty() {
        bail!(
            "there is no reading in it ({} bad rows, {} without a value)",
            skipped.bad_rows,
            skipped.missing
        );
    }
    Ok((series, skipped))
}

fn put_in_order(readings: &mut Vec<Reading>, skipped: &mut Skipped) {
    let mut latest = i64::MIN;
    for r in readings.iter() {
        skipped.disordered += u64::from(r.time < latest);
        latest = latest.max(r.time);
    }
    readings.sort_by_key(|r| r.time);
    let before = readings.len();
    readings.dedup_by_key(|r| r.time);
    skipped.repeated += (before - readings.len()) as u64;
}

/// A name of the alphabet `[a-z0-9-]`, at most 63 characters.
fn label(text: &str) -> String {
    let lower = text.to_lowercase();
    let mapped = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    mapped.collect::<String>().trim_matches('-').chars().take(63).collect()
}

/// RFC 3339, `2010-01-31 13:00[:00]` with `-` or `/`, or a Unix time in seconds or milliseconds.
fn parse_time(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        // Seconds reach 10^11 in the year 5138, milliseconds did so in 1973.
        return Some(if number.abs() < 100_000_000_000 { number.checked_mul(1000)? } else { number });
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.as_millisecond());
    }
    let text = text.replace('/', "-");
    ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"]
        .iter()
        .find_map(|format| parse_civil(format, &text))
}

fn parse_civil(format: &str, text: &str) -> Option<i64> {
    let parsed = jiff::fmt::strtime::parse(format, text).ok()?;
    let at: DateTime = parsed.to_datetime().or_else(|_| parsed.to_date().map(DateTime::from)).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// A decimal number in thousandths, without floating point: 39.4 is 39,400.
fn parse_milli(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let milli = whole.checked_mul(1000)?.checked_add(thousandths.parse().ok()?)?;
    Some(if negative { -milli } else { milli })
}

/// From thousandths of a degree Fahrenheit to thousandths of a degree Celsius, rounded to the nearest.
pub(crate) fn fahrenheit_to_celsius(milli: i64) -> i64 {
    let ninths = (milli - 32_000) * 5;
    (ninths + ninths.signum() * 4) / 9
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: Columns<'_> = Columns { time: "date", value: "temp", device: None };

    fn check(csv: &str) -> (Vec<(i64, i64)>, Skipped) {
        let (series, skipped) = read(csv.as_bytes(), &COLUMNS, "d").unwrap();
        (series["d"].iter().map(|r| (r.time, r.milli)).collect(), skipped)
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let expected = vec![(1_262_304_000_000, 47_800)];
        assert_eq!(check("temp,date\n47.8,2010/01/01 00:00:00\n").0, expected);
        assert_eq!(check("date,temp\n2010/01/01 00:00,47.8\n").0, expected);
        assert_eq!(check("date,temp\n2010-01-01T00:00:00Z,47.8\n").0, expected);
        assert_eq!(check("date,temp\n1262304000,47.8\n").0, expected);
    }

    #[test]
    fn what_cannot_be_used_is_counted() {
        let (rows, skipped) = check(
            "date,temp\n2010-01-01 02:00,2\n2010-01-01 01:00,1\n2010-01-01 03:00,\nyesterday,1\n2010-01-01 04:00,warm\n\
             2010-01-01 01:00,1\n2010-01-01 05:00\n",
        );
        assert_eq!(rows.iter().map(|r| r.1).collect::<Vec<_>>(), [1000, 2000]);
        assert_eq!(skipped, Skipped { bad_rows: 2, missing: 2, repeated: 1, disordered: 2 });
    }

    #[test]
    fn a_column_that_is_not_there_is_named_with_those_that_are() {
        let error = read("a,b\n1,2\n".as_bytes(), &COLUMNS, "d").unwrap_err().to_string();
        assert!(error.contains("\"date\"") && error.contains("a, b"), "{error}");
    }

    #[test]
    fn numbers_are_read_without_floating_point() {
        assert_eq!(parse_milli("39.4"), Some(39_400));
        assert_eq!(parse_milli("-0.0019"), Some(-1));
        assert_eq!(parse_milli("1e3"), None);
        assert_eq!(parse_milli(""), None);
        assert_eq!(fahrenheit_to_celsius(32_000), 0);
        assert_eq!(fahrenheit_to_celsius(212_000), 100_000);
        assert_eq!(fahrenheit_to_celsius(-40_000), -40_000);
        assert_eq!(fahrenheit_to_celsius(39_400), 4_111);
    }

    #[test]
    fn the_shipped_readings_are_all_read() {
        for (file, device) in [("seattle-temps.csv", "seattle-temps"), ("sf-temps.csv", "sf-temps")] {
            let path = Path::new("../../data").join(file);
            let (series, skipped) = load(&path, &COLUMNS).unwrap();
            assert_eq!(series[device].len() as u64 + skipped.repeated, 8759, "{file}: {skipped:?}");
            assert_eq!((skipped.bad_rows, skipped.missing), (0, 0), "{file}");
        }
    }
}
