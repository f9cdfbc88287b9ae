//! UTC days.

use alloc::string::String;

use w3bstream_sdk::Error;

/// The last millisecond that has a day with a year of four digits: the end of 9999-12-31.
pub const MAX_TIME: i64 = 253_402_300_799_999;

pub(crate) const MS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

/// Days in 400 years of the Gregorian calendar, after which it repeats.
const DAYS_PER_CYCLE: i64 = 146_097;

/// A day of the Gregorian calendar, 1970-01-01 to 9999-12-31. Days compare by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    year: u16,
    month: u8,
    day: u8,
}

impl Day {
    /// The day of a time in milliseconds since the epoch, or `None` before 1970 or after [`MAX_TIME`].
    #[must_use]
    pub fn of(time: i64) -> Option<Self> {
        if !(0..=MAX_TIME).contains(&time) {
            return None;
        }
        // Count from 1 March of the year 0, so that the leap day ends a year and a cycle starts at zero.
        let days = time / MS_PER_DAY + 719_468;
        let (cycle, in_cycle) = (days / DAYS_PER_CYCLE, days % DAYS_PER_CYCLE);
        // Years of 365 days, less the leap days so far: every 4 years, not every 100, every 400.
        let year_of_cycle = (in_cycle - in_cycle / 1460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
        let in_year = in_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        // Months from March have 31, 30, 31, 30, 31 days, again and again: 153 days in five.
        let from_march = (5 * in_year + 2) / 153;
        let day = in_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
        Some(Self { year: year.try_into().ok()?, month: month.try_into().ok()?, day: day.try_into().ok()? })
    }

    /// `YYYY-MM-DD`.
    #[must_use]
    pub fn to_text(self) -> String {
        let mut text = String::with_capacity(10);
        let mut push = |value: u16, mut unit: u16| {
            while unit > 0 {
                text.push(char::from(b'0' + (value / unit % 10) as u8));
                unit /= 10;
            }
        };
        push(self.year, 1000);
        push(u16::from(self.month), 10);
        push(u16::from(self.day), 10);
        text.insert(4, '-');
        text.insert(7, '-');
        text
    }

    /// Reads what [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// [`Error::GENERAL`] if it is something else.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let part = |from: usize, to: usize| -> Option<u16> {
            text.get(from..to)?
                .iter()
                .try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u16::from(b - b'0')))
        };
        let parts = (part(0, 4), part(5, 7), part(8, 10));
        match (text.len(), parts) {
            (10, (Some(year), Some(month), Some(day))) if text[4] == b'-' && text[7] == b'-' => {
                Ok(Self { year, month: month as u8, day: day as u8 })
            }
            _ => Err(Error::from("the open day is no YYYY-MM-DD")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends_are_where_they_should_be() {
        assert_eq!(Day::of(0).unwrap().to_text(), "1970-01-01");
        assert_eq!(Day::of(MAX_TIME).unwrap().to_text(), "9999-12-31");
        assert_eq!(Day::of(-1), None);
        assert_eq!(Day::of(MAX_TIME + 1), None);
        for text in ["2010-1-01", "2010-01-01x", "2010/01/01", "", "20a0-01-01"] {
            assert!(Day::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn every_day_is_followed_by_the_next() {
        let leap = |y: u16| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
        let length = |year, month| match month {
            2 => 28 + u8::from(leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut wanted = Day { year: 1970, month: 1, day: 1 };
        for time in (0..=MAX_TIME).step_by(MS_PER_DAY as usize) {
            assert_eq!(Day::of(time), Some(wanted));
            wanted.day += 1;
            if wanted.day > length(wanted.year, wanted.month) {
                (wanted.month, wanted.day) = (wanted.month + 1, 1);
            }
            if wanted.month > 12 {
                (wanted.year, wanted.month) = (wanted.year + 1, 1);
            }
        }
        assert_eq!(wanted, Day { year: 10_000, month: 1, day: 1 });
    }

    proptest! {
        #[test]
        fn the_calendar_is_that_of_jiff(time in 0..=MAX_TIME) {
            let zoned = jiff::Timestamp::from_millisecond(time).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let day = Day::of(time).unwrap();
            prop_assert_eq!(day.to_text(), zoned.date().to_string());
            prop_assert_eq!(Day::parse(day.to_text().as_bytes()), Ok(day));
        }

        #[test]
        fn text_and_days_have_one_order(a in 0..=MAX_TIME, b in 0..=MAX_TIME) {
            let (a, b) = (Day::of(a).unwrap(), Day::of(b).unwrap());
            prop_assert_eq!(a.cmp(&b), a.to_text().cmp(&b.to_text()));
        }
    }
}
