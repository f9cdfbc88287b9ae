//! Finds readings that do not fit what their sensor said before.
//!
//! A message has the readings of several sensors at one time: `{"t":1357020000000,"temp":3902,"wind":1036}`, where `t` is in
//! milliseconds and all other whole numbers are readings; what is no whole number is passed over.
//!
//! Of each sensor the applet keeps, under `s/<sensor>`, how many readings came, their mean, and their mean distance from it (the
//! spread), both exponentially smoothed over some 16 readings, in 256ths. A reading further from the mean than `limit` times the
//! spread is an anomaly: `anomalies/<sensor>` gets `{"sensor":…,"t":…,"v":…,"expected":…,"spread":…}`, the key `anomalies`
//! counts it, and it is learned from only up to the limit, so that a wild value does not hide the next one while a lasting change
//! becomes normal.
//!
//! | Setting | Meaning | If left away |
//! | --- | --- | --- |
//! | `limit` | how many spreads from the mean are normal, 1 to 1,000 | 8 |
//! | `warm_up` | how many readings of a sensor are learned from before any is judged | 24 |
//! | `floor` | the least spread that is reckoned with, in units of the readings, up to 1,000,000,000 | 10 |
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::format;

use w3bstream_sdk::json::{Object, Value, Writer};
use w3bstream_sdk::{Error, Event, env, handler, kv, log, mqtt};

w3bstream_sdk::runtime!();

/// Code of a reading that is too large to be one.
pub const TOO_LARGE: i32 = 3;

/// The largest reading. With it no step below leaves 64 bits.
const LARGEST: i64 = 1_000_000_000_000;
/// Fractions of a unit.
const PARTS: i64 = 256;
/// Over how many readings is smoothed.
const SMOOTH: i64 = 16;

struct Settings {
    limit: i64,
    warm_up: i64,
    floor: i64,
}

impl Settings {
    fn read() -> Result<Self, Error> {
        let get = |name, otherwise, range: core::ops::RangeInclusive<i64>| {
            let value = env::get_i64(name)?.unwrap_or(otherwise);
            range
                .contains(&value)
                .then_some(value)
                .ok_or_else(|| Error::from(format!("the setting {name} is out of range")))
        };
        let (limit, warm_up) = (get("limit", 8, 1..=1_000)?, get("warm_up", 24, 1..=LARGEST)?);
        Ok(Self { limit, warm_up, floor: get("floor", 10, 0..=1_000_000_000)? })
    }
}

/// What was learned of a sensor; mean and spread in parts of a unit.
#[derive(Clone, Copy, Default)]
struct Sensor {
    count: i64,
    mean: i64,
    spread: i64,
}

impl Sensor {
    fn load(key: &str) -> Result<Self, Error> {
        let Some(value) = kv::get(key)? else { return Ok(Self::default()) };
        let mut numbers = core::str::from_utf8(&value).unwrap_or("").split(' ').map(str::parse);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(count)), Some(Ok(mean)), Some(Ok(spread))) => Ok(Self { count, mean, spread }),
            _ => Err("what was learned of a sensor cannot be read".into()),
        }
    }

    /// Learns from a reading. If it is an anomaly: the mean and the spread that it does not fit.
    fn learn(&mut self, value: i64, settings: &Settings) -> Option<(i64, i64)> {
        let (before, mut value) = (self.mean, value * PARTS);
        self.count += 1;
        if self.count == 1 {
            self.mean = value;
            return None;
        }
        let spread = self.spread.max(settings.floor * PARTS);
        let most = spread * settings.limit;
        let strange = self.count > settings.warm_up && (value - before).abs() > most;
        if strange {
            value = if value > before { before + most } else { before - most };
        }
        self.spread += ((value - before).abs() - self.spread) / SMOOTH;
        self.mean += (value - before) / SMOOTH;
        strange.then_some((before / PARTS, spread / PARTS))
    }
}

fn readings<'a>(object: &'a Object<'_>) -> impl Iterator<Item = (&'a str, i64)> {
    object.iter().filter_map(|(name, value)| match value {
        Value::Int(value) if name != "t" => Some((name, *value)),
        _ => None,
    })
}

/// Handles the readings of one time.
///
/// # Errors
/// [`Error::JSON`] or [`TOO_LARGE`] for a payload that has none, and nothing is learned; [`Error::GENERAL`] for a setting.
#[handler]
pub fn reading(event: Event) -> Result<(), Error> {
    let object = Object::parse(event.data())?;
    let time = object.i64("t")?;
    let settings = Settings::read()?;
    if readings(&object).any(|(_, value)| !(-LARGEST..=LARGEST).contains(&value)) {
        return Err(Error::new(TOO_LARGE, "a reading must be at most 1000000000000"));
    }
    for (name, value) in readings(&object) {
        let key = format!("s/{name}");
        let mut sensor = Sensor::load(&key)?;
        let strange = sensor.learn(value, &settings);
        kv::set(&key, format!("{} {} {}", sensor.count, sensor.mean, sensor.spread))?;
        let Some((expected, spread)) = strange else { continue };
        log::warn!("{name}: {value} at {time}, expected {expected} with a spread of {spread}");
        let found = Writer::new().str("sensor", name).i64("t", time).i64("v", value);
        let found = found.i64("expected", expected).i64("spread", spread);
        mqtt::publish(&format!("anomalies/{name}"), found.finish())?;
        kv::set_i64("anomalies", kv::get_i64("anomalies")?.unwrap_or(0) + 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use w3bstream_sdk::Error;
    use w3bstream_sdk::mock::Host;

    #[test]
    fn a_wild_value_is_told_once_and_the_next_one_too() {
        let mut host = Host::new().env("warm_up", "10").env("limit", "5");
        let mut told = Vec::new();
        for t in 0..40 {
            let value = if t == 20 || t == 22 { 900 } else { 100 + t % 3 };
            let payload = format!(r#"{{"t":{t},"a":{value},"b":7,"note":"x"}}"#);
            let outcome = host.deliver(super::reading, "reading", payload.as_bytes());
            assert_eq!(outcome.code, 0);
            told.extend(outcome.published.iter().map(|m| (t, m.topic.clone())));
        }
        assert_eq!(told, [(20, "anomalies/a".to_owned()), (22, "anomalies/a".to_owned())]);
        assert_eq!(host.kv_text("anomalies"), Some("2"));
        assert_eq!(host.kv_text("s/b"), Some("40 1792 0"));
        assert!(host.kv("s/note").is_none());
    }

    #[test]
    fn a_lasting_change_becomes_normal() {
        let mut host = Host::new();
        let told: Vec<usize> = (0..200)
            .filter(|t| {
                let payload = format!(r#"{{"t":{t},"a":{}}}"#, if *t < 50 { 100 } else { 1_000 });
                !host.deliver(super::reading, "reading", payload.as_bytes()).published.is_empty()
            })
            .collect();
        assert_eq!(told.first(), Some(&50));
        assert!(told.len() > 3 && told.last() < Some(&100), "{told:?}");
    }

    #[test]
    fn what_is_no_reading_is_refused_before_anything_is_learned() {
        let mut host = Host::new();
        for (payload, code) in [
            (r#"{"t":1,"a":1,"b":1000000000001}"#, super::TOO_LARGE),
            (r#"{"a":1}"#, Error::JSON),
            (r#"{"t":"1","a":1}"#, Error::JSON),
        ] {
            assert_eq!(host.deliver(super::reading, "reading", payload.as_bytes()).code, code, "{payload}");
        }
        assert!(host.state().is_empty());
        let mut host = Host::new().env("limit", "0");
        assert_eq!(host.deliver(super::reading, "reading", br#"{"t":1,"a":1}"#).code, Error::GENERAL);
    }
}
