//! The readings of `data/`, as the devices of this example would send them.

use std::path::{Path, PathBuf};

/// The workspace's folder, seen from the package's, in which cargo runs tests.
pub(crate) fn root() -> PathBuf {
    Path::new("../..").to_owned()
}

/// Thousandths of a degree Celsius from tenths of a degree Fahrenheit, rounded half away from zero.
pub(crate) fn milli_celsius(tenths_fahrenheit: i64) -> i64 {
    let ninths = (tenths_fahrenheit - 320) * 500;
    (ninths + 4 * ninths.signum()) / 9
}

/// One row of a file.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) date: String,
    pub(crate) time: i64,
    pub(crate) milli_celsius: i64,
}

impl Reading {
    pub(crate) fn payload(&self, device: &str) -> Vec<u8> {
        format!(r#"{{"device":"{device}","t":{},"c":{}}}"#, self.time, self.milli_celsius).into_bytes()
    }
}

/// All rows of `data/<station>-temps.csv`, whose columns differ in order and whose dates differ in form.
pub(crate) fn rows(station: &str) -> Vec<Reading> {
    let path = root().join("data").join(format!("{station}-temps.csv"));
    let mut file = csv::Reader::from_path(&path).unwrap();
    let headers = file.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|h| h == name).unwrap();
    let (date_at, temp_at) = (column("date"), column("temp"));
    let row = |row: csv::StringRecord| {
        let date = row[date_at][..10].replace('/', "-");
        let clock = &row[date_at][11..16];
        let time: jiff::Timestamp = format!("{date}T{clock}:00Z").parse().unwrap();
        let (whole, tenths) = row[temp_at].split_once('.').unwrap();
        let tenths_fahrenheit: i64 = format!("{whole}{tenths}").parse().unwrap();
        Reading { date, time: time.as_millisecond(), milli_celsius: milli_celsius(tenths_fahrenheit) }
    };
    file.records().map(|r| row(r.unwrap())).collect()
}

#[test]
fn the_conversion_rounds_to_the_nearest() {
    for tenths in -4000..4000 {
        let exact = (f64::from(tenths) / 10.0 - 32.0) / 1.8 * 1000.0;
        let off = (exact - milli_celsius(i64::from(tenths)) as f64).abs();
        assert!(off <= 0.5 + 1e-9, "{tenths}: off by {off}");
    }
    assert_eq!(milli_celsius(500), 10_000);
}
