//! Cron expressions.

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use w3bstream_types::{Manifest, Timestamp, TriggerOn};

use crate::{Error, ErrorKind};

/// A schedule in UTC, minute by minute.
#[derive(Clone, Debug)]
pub(super) struct Schedule(Cron);

impl Schedule {
    /// Reads minute, hour, day, month and weekday.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|e| {
            let why = format!("{text:?} is no schedule: {e}; write five fields, such as \"0 * * * *\"");
            Error::new(ErrorKind::Refused, why)
        })?;
        let schedule = Self(cron);
        // A day that never comes, such as the 30th of February.
        let start = Timestamp(1_600_000_000_000);
        if schedule.after(start).is_none() {
            return Err(Error::new(ErrorKind::Refused, format!("the schedule {text:?} has no moment")));
        }
        Ok(schedule)
    }

    /// The first moment after this time.
    pub(super) fn after(&self, time: Timestamp) -> Option<Timestamp> {
        stamp(self.0.find_next_occurrence(&date(time)?, false).ok()?)
    }

    /// The last moment up to this time, it included.
    pub(super) fn up_to(&self, time: Timestamp) -> Option<Timestamp> {
        stamp(self.0.find_previous_occurrence(&date(time)?, true).ok()?)
    }
}

fn date(time: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(i64::try_from(time.0).ok()?)
}

fn stamp(date: DateTime<Utc>) -> Option<Timestamp> {
    u64::try_from(date.timestamp_millis()).ok().map(Timestamp)
}

/// A time for people, as RFC 3339 writes it; the milliseconds if no calendar has it.
pub(crate) fn show(time: Timestamp) -> String {
    date(time).map_or_else(|| time.to_string(), |date| format!("{date:?}"))
}

/// Checks the schedules of a manifest.
pub(crate) fn check(manifest: &Manifest) -> Result<(), Error> {
    for trigger in &manifest.triggers {
        if let TriggerOn::Cron(on) = &trigger.on {
            Schedule::parse(&on.schedule)
                .map_err(|e| Error::new(ErrorKind::Refused, format!("trigger {}: {e}", trigger.name)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2020-09-13T12:26:40Z, a Sunday.
    const TIME: Timestamp = Timestamp(1_600_000_000_000);
    const MINUTE: u64 = 60_000;

    #[test]
    fn moments_are_those_of_the_expression() {
        let after = |text: &str| Schedule::parse(text).unwrap().after(TIME).unwrap().0;
        let midnight = TIME.0 - (12 * 60 + 26) * MINUTE - 40_000;
        assert_eq!(after("* * * * *"), TIME.0 + 20_000);
        assert_eq!(after("0 * * * *"), midnight + 13 * 60 * MINUTE);
        assert_eq!(after("30 9 * * 1"), midnight + (24 * 60 + 9 * 60 + 30) * MINUTE);
        assert_eq!(after("*/15 12 * * *"), midnight + (12 * 60 + 30) * MINUTE);
        let hourly = Schedule::parse("0 * * * *").unwrap();
        let noon = Timestamp(midnight + 12 * 60 * MINUTE);
        assert_eq!(hourly.up_to(TIME), Some(noon));
        assert_eq!(hourly.up_to(noon), Some(noon), "a moment is up to itself");
        assert_eq!(hourly.after(noon), Some(Timestamp(noon.0 + 60 * MINUTE)), "and not after itself");
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_how_to_write_one() {
        for bad in ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "x * * * *", "0 0 30 2 *"] {
            assert!(Schedule::parse(bad).is_err(), "{bad}");
        }
        let error = Schedule::parse("every hour").unwrap_err().to_string();
        assert!(error.contains("every hour") && error.contains("0 * * * *"), "{error}");
    }

    #[test]
    fn times_are_shown_as_people_read_them() {
        assert_eq!(show(TIME), "2020-09-13T12:26:40Z");
        assert_eq!(show(Timestamp(u64::MAX)), u64::MAX.to_string());
    }

    #[test]
    fn times_that_no_calendar_has_are_no_moments() {
        let schedule = Schedule::parse("* * * * *").unwrap();
        assert_eq!(schedule.after(Timestamp(u64::MAX)), None);
        assert_eq!(schedule.up_to(Timestamp(u64::MAX)), None);
    }
}
