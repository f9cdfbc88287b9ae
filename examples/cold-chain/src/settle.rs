//! Statements about closed days, for a contract to act on: what a device measured, without the readings.
//!
//! With the setting `settle = "true"`, and for events that a device signed, the first reading of each UTC hour
//! is kept until the first reading of a later day comes. Then the day is closed, once: the statement goes to the
//! settlement `day` of the manifest, and what proves it (the circuit of `circuits/cold-chain-day`) to the key
//! `witness/<commitment>`. Readings that come later for a closed day are in the day's record and in no statement.
//!
//! Readings of a day are few enough to be guessed, so the commitment to them is salted with the payloads' salts,
//! which only the device and the members of the subnet know. A reading that came without one counts as 0: a
//! device that sends none gives its readings away to whoever guesses.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use w3bstream_sdk::poseidon::{Field, chain};
use w3bstream_sdk::{Error, Event, env, kv, log, settle};

use crate::day::MS_PER_DAY;

/// The settlement's name in the manifest.
const SETTLEMENT: &str = "day";
const MS_PER_HOUR: i64 = 60 * 60 * 1000;
/// Most readings of a day: one for each hour. The circuit has as many.
const HOURS: usize = 24;
/// Added to a reading so that it is not negative and has 21 bits.
const COLDEST: i64 = -273_150;
/// Readings in one number of the commitment.
const PACKED: usize = 12;

/// The first reading of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    hour: u8,
    milli_celsius: i32,
    salt: [u8; 16],
}

const ENTRY_BYTES: usize = 1 + 4 + 16;

/// A device's open day.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Series {
    /// Days since 1970-01-01.
    day: u32,
    /// By rising hour, at most one for each.
    entries: Vec<Entry>,
}

impl Series {
    const fn new(day: u32) -> Self {
        Self { day, entries: Vec::new() }
    }

    /// The stored form.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.day.to_be_bytes().to_vec();
        for entry in &self.entries {
            bytes.push(entry.hour);
            bytes.extend_from_slice(&entry.milli_celsius.to_be_bytes());
            bytes.extend_from_slice(&entry.salt);
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let broken = || Error::from("the series of the open day is not what was stored");
        let (day, rest) = bytes.split_first_chunk().ok_or_else(broken)?;
        let (entries, rest) = rest.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() || entries.len() > HOURS {
            return Err(broken());
        }
        let entry = |[hour, a, b, c, d, salt @ ..]: &[u8; ENTRY_BYTES]| Entry {
            hour: *hour,
            milli_celsius: i32::from_be_bytes([*a, *b, *c, *d]),
            salt: *salt,
        };
        Ok(Self { day: u32::from_be_bytes(*day), entries: entries.iter().map(entry).collect() })
    }

    /// Adds a reading, unless there is one of its hour; says whether it did.
    fn add(&mut self, new: Entry) -> bool {
        match self.entries.binary_search_by_key(&new.hour, |entry| entry.hour) {
            Ok(_) => false,
            Err(place) => {
                self.entries.insert(place, new);
                true
            }
        }
    }
}

/// Whose day it is.
struct Owner {
    project: [u8; 32],
    device: [u8; 32],
}

/// What is settled, and what proves it.
struct Closed {
    statement: Vec<u8>,
    commitment: [u8; 32],
    /// The circuit's private inputs.
    private: String,
}

fn halves(id: &[u8; 32]) -> [Field; 2] {
    let half = |bytes: &[u8]| Field::from_u128(bytes.iter().fold(0, |n, byte| n << 8 | u128::from(*byte)));
    let (high, low) = id.split_at(16);
    [half(high), half(low)]
}

impl Owner {
    /// The statement of a day and its proof's inputs; `circuits/README.md` describes both. `None` for a day without
    /// readings, which is never stored.
    fn close(&self, series: &Series) -> Option<Closed> {
        let readings = || series.entries.iter().map(|entry| i64::from(entry.milli_celsius));
        let (lo, hi) = (readings().min()?, readings().max()?);
        let n = series.entries.len() as i64;
        let sum: i64 = readings().sum();
        let (a, r) = (sum.div_euclid(n), sum.rem_euclid(n));

        let salts: Vec<Field> =
            series.entries.iter().map(|entry| Field::from_u128(u128::from_be_bytes(entry.salt))).collect();
        let salt = chain("w3b/cold-chain/salt/1", &salts);
        let mut padded = [0_i64; HOURS];
        padded.iter_mut().zip(readings()).for_each(|(to, reading)| *to = reading);
        let [p0, p1] = halves(&self.project);
        let [d0, d1] = halves(&self.device);
        let day_and_n = Field::from_u64(u64::from(series.day) * 256 + series.entries.len() as u64);
        let mut items = alloc::vec![salt, p0, p1, d0, d1, day_and_n];
        for word in padded.chunks(PACKED) {
            let shifted: Vec<u32> = word.iter().map(|reading| (reading - COLDEST) as u32).collect();
            items.push(Field::pack(&shifted, 21)?);
        }
        let commitment = chain("w3b/cold-chain/day/1", &items).to_be_bytes();

        let mut statement = Vec::with_capacity(9 * 32);
        statement.extend_from_slice(&self.project);
        statement.extend_from_slice(&self.device);
        for value in [i64::from(series.day), n, lo, hi, a, r] {
            statement.extend_from_slice(&settle::word(value));
        }
        statement.extend_from_slice(&commitment);
        let mut private = format!("{{\"salt\":\"{}\",\"readings\":[", salt.to_decimal());
        for (i, reading) in padded.iter().enumerate() {
            private.push_str(if i == 0 { "\"" } else { ",\"" });
            private.push_str(&format!("{reading}\""));
        }
        private.push_str("]}");
        Some(Closed { statement, commitment, private })
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

/// Adds a reading to the sender's open day, after closing that day if the reading is of a later one.
///
/// # Errors
/// [`Error::HOST`] if the host refuses, [`Error::GENERAL`] for a series that cannot be read.
pub(crate) fn add(event: &Event, time: i64, milli_celsius: i64) -> Result<(), Error> {
    if env::get("settle")?.as_deref() != Some("true") {
        return Ok(());
    }
    let source = event.source();
    // An event with a token: nobody signed, so nobody's day is settled.
    let Some(device) = source.device_hash()? else { return Ok(()) };
    let key = format!("series/{}", hex(&device));
    // Both were checked: a day before the year 10000 and a temperature that a sensor can mean.
    let (day, hour) = ((time / MS_PER_DAY) as u32, (time % MS_PER_DAY / MS_PER_HOUR) as u8);
    let mut series = match kv::get(&key)? {
        Some(bytes) => Series::from_bytes(&bytes)?,
        None => Series::new(day),
    };
    if day < series.day {
        return Ok(());
    }
    let mut done = None;
    if day > series.day {
        done = (Owner { project: source.project()?, device }).close(&series);
        series = Series::new(day);
    }
    let salt = source.salt()?.unwrap_or_default();
    if series.add(Entry { hour, milli_celsius: milli_celsius as i32, salt }) {
        kv::set(&key, series.to_bytes())?;
    }
    match done {
        Some(closed) => submit(&closed),
        None => Ok(()),
    }
}

/// Asks for the settlement, and keeps what proves it.
fn submit(closed: &Closed) -> Result<(), Error> {
    if let Err(e) = settle::submit(SETTLEMENT, &closed.statement) {
        // The readings and their summary are as good without a chain.
        log::warn!(
            "the day is not settled: {}; has the manifest a settlement \"{SETTLEMENT}\"?",
            e.message()
        );
        return Ok(());
    }
    kv::set(format!("witness/{}", hex(&closed.commitment)), &closed.private)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(hour: u8, milli_celsius: i32) -> Entry {
        Entry { hour, milli_celsius, salt: [hour; 16] }
    }

    #[test]
    fn the_first_reading_of_an_hour_counts() {
        let mut series = Series::new(7);
        for (hour, value, added) in
            [(5, 50, true), (3, 30, true), (5, 51, false), (23, 1, true), (0, 2, true)]
        {
            assert_eq!(series.add(entry(hour, value)), added);
        }
        assert_eq!(series.entries, [entry(0, 2), entry(3, 30), entry(5, 50), entry(23, 1)]);
    }

    #[test]
    fn a_stored_series_that_was_changed_is_noticed() {
        let mut series = Series::new(7);
        series.add(entry(1, -5));
        let bytes = series.to_bytes();
        for broken in [&bytes[1..], &bytes[..3], &[&bytes[..], &[0]].concat(), &[0; 4 + 25 * ENTRY_BYTES]] {
            assert!(Series::from_bytes(broken).is_err());
        }
    }

    #[test]
    fn a_day_without_readings_has_no_statement() {
        let owner = Owner { project: [1; 32], device: [2; 32] };
        assert!(owner.close(&Series::new(1)).is_none());
    }

    proptest! {
        #[test]
        fn a_series_survives_its_bytes(readings in prop::collection::btree_map(0_u8..24, any::<i32>(), 0..=24)) {
            let mut series = Series::new(20_000);
            for (hour, value) in &readings {
                series.add(entry(*hour, *value));
            }
            prop_assert_eq!(Series::from_bytes(&series.to_bytes()).unwrap(), series);
        }

        #[test]
        fn a_statement_says_what_its_readings_say(readings in prop::collection::vec(-273_150..=1_000_000, 1..=24)) {
            let mut series = Series::new(20_000);
            for (hour, value) in readings.iter().enumerate() {
                series.add(entry(hour as u8, *value));
            }
            let closed = Owner { project: [1; 32], device: [2; 32] }.close(&series).unwrap();
            let word = |i: usize| {
                let word: &[u8] = &closed.statement[32 * i..][..32];
                let low = i64::from_be_bytes(word[24..].try_into().unwrap());
                assert!(word[..24].iter().all(|b| *b == if low < 0 { 0xff } else { 0 }), "{word:?}");
                low
            };
            let (n, sum) = (readings.len() as i64, readings.iter().map(|r| i64::from(*r)).sum::<i64>());
            prop_assert_eq!(closed.statement.len(), 288);
            prop_assert_eq!((word(2), word(3)), (20_000, n));
            prop_assert_eq!(word(4), i64::from(*readings.iter().min().unwrap()));
            prop_assert_eq!(word(5), i64::from(*readings.iter().max().unwrap()));
            prop_assert_eq!(word(6) * n + word(7), sum);
            prop_assert!((0..n).contains(&word(7)));
            prop_assert_eq!(&closed.statement[256..], &closed.commitment);
        }
    }
}
