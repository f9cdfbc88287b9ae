//! Cold-chain applet: daily minimum, maximum, count and alarms per device.
//!
//! A reading is the JSON object `{"device":"truck-7","t":1262304000000,"c":-1250}`:
//!
//! | Field | Meaning |
//! | --- | --- |
//! | `device` | the device's short name, `[a-z0-9-]{1,63}` |
//! | `t` | when it was measured, in milliseconds since the epoch |
//! | `c` | the temperature in thousandths of a degree Celsius, a whole number |
//!
//! Whole numbers, because sums of them are the same in every order and on every machine. A sensor that
//! gives °F with one decimal sends `c = (tenths − 320) × 500 / 9`, rounded.
//!
//! The name is the payload's, since a handler is not told who signed. The receipt names the signer: whoever
//! relies on a summary checks there that `truck-7` was signed by the key of truck 7.
//!
//! # Handlers
//! - `reading` (event type `reading`) adds to the record of the device's UTC day.
//! - `default` (event type `default`) counts events of types that the project has no route for.
//!
//! # State
//! - `d/<device>/<YYYY-MM-DD>`: the day's [`Record`].
//! - `open/<device>`: the latest day of which a reading came.
//! - `unknown/<type>`: how many events of an unknown type came.
//! - `series/<device's hash>`, `witness/<commitment>`: see the settlement below.
//!
//! # Outputs
//! - MQTT `alarms/<device>`, at the first reading of a day outside the limits.
//! - MQTT `daily/<device>`, the summary of a day, when the first reading of a later day comes. A reading
//!   that comes after that still changes the day's record, where `late` counts it, but is in no summary.
//!
//! # Settlement
//! With the setting `settle`, each closed day of a device that signs becomes a statement of the settlement `day`,
//! whose fields are `bytes32 project, bytes32 device, uint32 day, uint8 n, int32 lo, int32 hi, int32 a, uint8 r,
//! uint256 commitment`: how many hours have a reading, the lowest and the highest, and the mean `a + r/n`. Here the
//! *signer* is the device, whatever name the payload has. The numbers that prove it are kept under
//! `witness/<commitment>`; `circuits/README.md` says how they are committed to.
//!
//! # Settings
//! - `alarm_above_mc` and `alarm_below_mc`: the limits in thousandths of a degree Celsius, each optional.
//! - `settle`: `true` to settle closed days.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod day;
mod record;
mod settle;

use alloc::format;
use alloc::string::String;

use w3bstream_sdk::json::{Object, Writer};
use w3bstream_sdk::{Error, Event, env, handler, kv, log, mqtt};

pub use day::{Day, MAX_TIME};
pub use record::Record;

w3bstream_sdk::runtime!();

/// Code of a reading that is no reading: a bad name, time or temperature.
pub const BAD_READING: i32 = 3;

/// Temperatures that a sensor can mean: from absolute zero to 1,000 °C, in thousandths of a degree.
const POSSIBLE: core::ops::RangeInclusive<i64> = -273_150..=1_000_000;

/// One checked reading.
struct Reading<'a> {
    device: &'a str,
    time: i64,
    day: Day,
    milli_celsius: i64,
}

impl<'a> Reading<'a> {
    fn new(object: &'a Object<'_>) -> Result<Self, Error> {
        let device = object.str("device")?;
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if device.is_empty() || device.len() > 63 || !device.bytes().all(known) {
            return Err(Error::new(BAD_READING, "device must have 1 to 63 characters of a-z, 0-9 and '-'"));
        }
        let time = object.i64("t")?;
        let day = Day::of(time)
            .ok_or(Error::new(BAD_READING, "t must be in milliseconds since 1970, before the year 10000"))?;
        let milli_celsius = object.i64("c")?;
        if !POSSIBLE.contains(&milli_celsius) {
            return Err(Error::new(
                BAD_READING,
                "c must be -273150 to 1000000 thousandths of a degree Celsius",
            ));
        }
        Ok(Self { device, time, day, milli_celsius })
    }
}

/// A limit that a reading is beyond.
struct Breach {
    kind: &'static str,
    limit: i64,
}

impl Breach {
    fn of(milli_celsius: i64) -> Result<Option<Self>, Error> {
        if let Some(limit) = env::get_i64("alarm_above_mc")?.filter(|limit| milli_celsius > *limit) {
            return Ok(Some(Self { kind: "above", limit }));
        }
        let below = env::get_i64("alarm_below_mc")?.filter(|limit| milli_celsius < *limit);
        Ok(below.map(|limit| Self { kind: "below", limit }))
    }
}

/// Handles one reading.
///
/// # Errors
/// [`BAD_READING`] or [`Error::JSON`] for a payload that is none; [`Error::GENERAL`] for a setting or a
/// record that cannot be read. Nothing is written then.
#[handler]
pub fn reading(event: Event) -> Result<(), Error> {
    let object = Object::parse(event.data())?;
    let reading = Reading::new(&object)?;
    let breach = Breach::of(reading.milli_celsius)?;
    let device = reading.device;
    let open_key = format!("open/{device}");
    let open = kv::get(&open_key)?.map(|value| Day::parse(&value)).transpose()?;
    let late = open.is_some_and(|open| open > reading.day);

    let key = record_key(device, reading.day);
    let mut record = load(&key)?.unwrap_or_default();
    record.add(reading.milli_celsius, breach.is_some(), late);
    kv::set(&key, record.to_json())?;

    if let Some(open) = open.filter(|open| *open < reading.day) {
        close(device, open)?;
    }
    if !late && open != Some(reading.day) {
        kv::set(&open_key, reading.day.to_text())?;
    }
    settle::add(&event, reading.time, reading.milli_celsius)?;
    match breach {
        Some(breach) if record.alarms == 1 => alarm(&reading, &breach),
        _ => Ok(()),
    }
}

fn record_key(device: &str, day: Day) -> String {
    format!("d/{device}/{}", day.to_text())
}

fn load(key: &str) -> Result<Option<Record>, Error> {
    kv::get(key)?.map(|value| Record::from_json(&value)).transpose()
}

/// Publishes the summary of a day.
fn close(device: &str, day: Day) -> Result<(), Error> {
    let Some(record) = load(&record_key(device, day))? else {
        return Err(Error::from("the open day has no record"));
    };
    let day = day.to_text();
    log::info!("{device}: {day} closed with {} readings", record.count);
    let summary = Writer::new()
        .str("device", device)
        .str("day", &day)
        .i64("n", record.count)
        .i64("min", record.min)
        .i64("max", record.max)
        .i64("mean", record.mean())
        .i64("alarms", record.alarms);
    mqtt::publish(&format!("daily/{device}"), summary.finish())
}

fn alarm(reading: &Reading<'_>, breach: &Breach) -> Result<(), Error> {
    let device = reading.device;
    log::warn!("{device}: {} is {} {}", reading.milli_celsius, breach.kind, breach.limit);
    let alarm = Writer::new()
        .str("device", device)
        .i64("t", reading.time)
        .i64("c", reading.milli_celsius)
        .str("kind", breach.kind)
        .i64("limit", breach.limit);
    mqtt::publish(&format!("alarms/{device}"), alarm.finish())
}

/// Counts an event that no other route took.
///
/// # Errors
/// [`Error::HOST`] if the host refuses.
#[handler("default")]
pub fn unknown(event: Event) -> Result<(), Error> {
    let key = format!("unknown/{}", event.event_type()?);
    let count = kv::get_i64(&key)?.unwrap_or(0);
    kv::set_i64(&key, count + 1)
}
