//! What is kept per device and day.

use alloc::string::String;

use w3bstream_sdk::Error;
use w3bstream_sdk::json::{Object, Writer};

/// What is kept per device and day. Temperatures are in thousandths of a degree Celsius.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// How many readings.
    pub count: i64,
    /// The lowest.
    pub min: i64,
    /// The highest.
    pub max: i64,
    /// Their sum.
    pub sum: i64,
    /// How many were beyond a limit.
    pub alarms: i64,
    /// How many came after a later day's.
    pub late: i64,
}

impl Record {
    /// Adds a reading.
    pub fn add(&mut self, milli_celsius: i64, alarm: bool, late: bool) {
        let first = self.count == 0;
        self.min = if first { milli_celsius } else { self.min.min(milli_celsius) };
        self.max = if first { milli_celsius } else { self.max.max(milli_celsius) };
        self.count += 1;
        self.sum += milli_celsius;
        self.alarms += i64::from(alarm);
        self.late += i64::from(late);
    }

    /// The mean, rounded down; 0 without readings.
    #[must_use]
    pub fn mean(&self) -> i64 {
        self.sum.checked_div_euclid(self.count).unwrap_or(0)
    }

    /// The stored form.
    #[must_use]
    pub fn to_json(&self) -> String {
        Writer::new()
            .i64("n", self.count)
            .i64("min", self.min)
            .i64("max", self.max)
            .i64("sum", self.sum)
            .i64("alarms", self.alarms)
            .i64("late", self.late)
            .finish()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`Error::JSON`] naming the field.
    pub fn from_json(text: &[u8]) -> Result<Self, Error> {
        let object = Object::parse(text)?;
        Ok(Self {
            count: object.i64("n")?,
            min: object.i64("min")?,
            max: object.i64("max")?,
            sum: object.i64("sum")?,
            alarms: object.i64("alarms")?,
            late: object.i64("late")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_is_what_its_readings_say_and_survives_its_text(
            readings in proptest::collection::vec((-273_150i64..=1_000_000, any::<bool>(), any::<bool>()), 1..40),
        ) {
            let mut record = Record::default();
            for (c, alarm, late) in &readings {
                record.add(*c, *alarm, *late);
                record = Record::from_json(record.to_json().as_bytes()).unwrap();
            }
            let all = || readings.iter().map(|r| r.0);
            prop_assert_eq!(Some(record.min), all().min());
            prop_assert_eq!(Some(record.max), all().max());
            prop_assert_eq!(record.sum, all().sum::<i64>());
            prop_assert_eq!(record.mean(), (all().sum::<i64>() as f64 / readings.len() as f64).floor() as i64);
            prop_assert_eq!(record.alarms, readings.iter().filter(|r| r.1).count() as i64);
            prop_assert_eq!(record.late, readings.iter().filter(|r| r.2).count() as i64);
        }
    }
}
