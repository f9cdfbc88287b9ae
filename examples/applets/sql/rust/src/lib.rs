//! Keeps readings in the project's database, and reports on a device when asked.
//!
//! - `store`: `{"device":"d1","value":21}` becomes a row of the table `readings`.
//! - `report`: `{"device":"d1"}` is answered on the topic `reports/d1` with `{"high":…,"low":…,"n":…}`.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use w3bstream_sdk::json::Object;
use w3bstream_sdk::{Error, Event, handler, mqtt, sql};

w3bstream_sdk::runtime!();

/// Keeps a reading.
///
/// # Errors
/// [`Error::JSON`] for a payload that is none; [`Error::HOST`] if the database refuses it.
#[handler]
pub fn store(event: Event) -> Result<(), Error> {
    let object = Object::parse(event.data())?;
    sql::statement("INSERT INTO readings (device, value) VALUES (?, ?)")
        .str(object.str("device")?)
        .i64(object.i64("value")?)
        .execute()
}

/// Reports on a device.
///
/// # Errors
/// As [`store`].
#[handler]
pub fn report(event: Event) -> Result<(), Error> {
    let object = Object::parse(event.data())?;
    let device = object.str("device")?;
    let query = "SELECT count(*) AS n, min(value) AS low, max(value) AS high FROM readings WHERE device = ?";
    let row = sql::statement(query).str(device).row()?.unwrap_or_default();
    mqtt::publish(&alloc::format!("reports/{device}"), row)
}

#[cfg(test)]
mod tests {
    use w3bstream_sdk::Error;
    use w3bstream_sdk::mock::Host;

    const INSERT: &str = r#"{"statement":"INSERT INTO readings (device, value) VALUES (?, ?)","params":[{"string":"d1"},{"int64":21}]}"#;
    const SELECT: &str = r#"{"statement":"SELECT count(*) AS n, min(value) AS low, max(value) AS high FROM readings WHERE device = ?","params":[{"string":"d1"}]}"#;

    #[test]
    fn readings_are_stored_and_reported() {
        let mut host = Host::new().sql(SELECT, r#"{"high":21,"low":21,"n":1}"#);
        let stored = host.deliver(super::store, "reading", br#"{"device":"d1","value":21}"#);
        assert_eq!((stored.code, stored.sql), (0, vec![INSERT.to_owned()]));
        let report = host.deliver(super::report, "report", br#"{"device":"d1"}"#);
        assert_eq!((report.code, report.published[0].topic.as_str()), (0, "reports/d1"));
        assert_eq!(report.published[0].text(), r#"{"high":21,"low":21,"n":1}"#);
        assert_eq!(host.deliver(super::store, "reading", b"{}").code, Error::JSON);
    }
}
