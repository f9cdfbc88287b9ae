//! Moments of a schedule.

use w3bstream_types::{CronTrigger, Missed, Timestamp, TriggerMessage};

use super::progress::Progress;
use super::schedule::Schedule;
use super::{BATCH, Watch, payload};
use crate::Error;

/// A moment that is told later than this was missed, in milliseconds.
const LATE_MS: u64 = 60_000;

impl Watch {
    /// Tells of the moments since the last time. The order of the messages is that of the moments, and a block's time
    /// is never before a moment that it has.
    pub(super) async fn moments(&mut self, on: &CronTrigger) -> Result<bool, Error> {
        let now = self.now();
        let Some(mut progress) = self.progress.clone() else {
            self.keep(Progress::begin(&self.trigger, now.0)).await?;
            return Ok(false);
        };
        let schedule = match &mut self.schedule {
            Some(known) => known,
            none => none.insert(Schedule::parse(&on.schedule)?),
        };
        let moments = due(schedule, on.missed, (Timestamp(progress.next), now));
        let Some(last) = moments.last() else { return Ok(false) };
        progress.next = last.0;
        let told: Vec<TriggerMessage> = moments
            .iter()
            .filter(|m| on.missed != Missed::None || !late(**m, now))
            .map(|m| self.moment(*m))
            .collect();
        progress.told += told.len() as u64;
        let more = moments.len() == BATCH;
        self.tell(told).await?;
        self.keep(progress).await?;
        Ok(more)
    }

    fn moment(&self, time: Timestamp) -> TriggerMessage {
        let id = format!("{}:{}", self.trigger.name, time.0);
        let payload = payload::moment(&id, time.0);
        self.message(id, time, payload)
    }
}

fn late(moment: Timestamp, now: Timestamp) -> bool {
    now.0.saturating_sub(moment.0) > LATE_MS
}

/// The moments to deal with, at most [`BATCH`].
fn due(schedule: &Schedule, missed: Missed, (since, now): (Timestamp, Timestamp)) -> Vec<Timestamp> {
    let mut moments = Vec::new();
    let mut at = since;
    if missed != Missed::All {
        // All but the last of those that were missed are passed over.
        let before = schedule.up_to(Timestamp(now.0.saturating_sub(LATE_MS + 1))).filter(|m| *m > since);
        at = before.map_or(since, |m| Timestamp(m.0 - 1));
    }
    while moments.len() < BATCH
        && let Some(next) = schedule.after(at).filter(|m| *m <= now)
    {
        moments.push(next);
        at = next;
    }
    moments
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    /// A full hour.
    const HOUR: u64 = 1_599_998_400_000;

    fn found(missed: Missed, since: u64, now: u64) -> Vec<u64> {
        let schedule = Schedule::parse("*/10 * * * *").unwrap();
        let moments = due(&schedule, missed, (Timestamp(HOUR + since), Timestamp(HOUR + now)));
        moments.into_iter().map(|m| (m.0 - HOUR) / MINUTE).collect()
    }

    #[test]
    fn each_moment_is_due_once() {
        for missed in [Missed::Last, Missed::All, Missed::None] {
            assert_eq!(found(missed, 0, 10 * MINUTE - 1), [0; 0], "{missed:?}: before it");
            assert_eq!(found(missed, 0, 10 * MINUTE), [10], "{missed:?}: at it");
            assert_eq!(found(missed, 10 * MINUTE, 10 * MINUTE + 1), [0; 0], "{missed:?}: after it was told");
            assert_eq!(found(missed, 20 * MINUTE, 10 * MINUTE), [0; 0], "{missed:?}: the clock went back");
        }
    }

    #[test]
    fn what_was_missed_is_made_up_for_as_the_rule_says() {
        let now = 45 * MINUTE;
        assert_eq!(found(Missed::All, 0, now), [10, 20, 30, 40]);
        assert_eq!(found(Missed::Last, 0, now), [40]);
        // It is passed over when it is told, but the next round begins after it.
        assert_eq!(found(Missed::None, 0, now), [40]);
        assert!(late(Timestamp(HOUR + 40 * MINUTE), Timestamp(HOUR + now)));
        assert_eq!(found(Missed::Last, 0, 40 * MINUTE + 5), [30, 40], "one was missed, one is now");
    }

    #[test]
    fn a_long_absence_is_made_up_for_in_parts() {
        let first = found(Missed::All, 0, 10 * MINUTE * 1000);
        assert_eq!((first.len(), first[BATCH - 1]), (BATCH, 2560));
    }
}
