//! Statements that are proven together: which of them may go on.

use std::collections::{BTreeMap, BTreeSet};

use w3bstream_types::{BatchRule, Timestamp};

/// Height and index of an output.
type Place = (u64, u64);

/// The batches of one project, by the names of its settlements. Kept in memory: after a restart what was let go and is not
/// proven waits again, but never longer than its rule says since it was attested.
#[derive(Debug, Default)]
pub(super) struct Batches(BTreeMap<String, Batch>);

#[derive(Debug, Default)]
struct Batch {
    /// What waits, and since when.
    waiting: BTreeMap<Place, Timestamp>,
    /// What was let go and is not proven yet.
    released: BTreeSet<Place>,
}

impl Batches {
    /// Whether a statement's proof may be asked for; if not, until when it waits at most.
    ///
    /// # Errors
    /// The time at which the batch is let go although it is not full.
    pub(super) fn pass(
        &mut self,
        (name, rule): (&str, &BatchRule),
        (place, since): (Place, Timestamp),
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        let batch = self.0.entry(name.to_owned()).or_default();
        if batch.released.contains(&place) {
            return Ok(());
        }
        batch.waiting.insert(place, since);
        let first = batch.waiting.values().min().copied().unwrap_or(since);
        let until = Timestamp(first.0.saturating_add(rule.max_delay_ms));
        let full = u32::try_from(batch.waiting.len()).is_ok_and(|n| n >= rule.count);
        if !full && now < until {
            return Err(until);
        }
        batch.released.extend(std::mem::take(&mut batch.waiting).into_keys());
        Ok(())
    }

    /// A statement was proven.
    pub(super) fn proven(&mut self, name: &str, place: Place) {
        if let Some(batch) = self.0.get_mut(name) {
            batch.released.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BatchRule = BatchRule { count: 3, max_delay_ms: 100 };

    fn pass(batches: &mut Batches, place: u64, since: u64, now: u64) -> Result<(), u64> {
        batches.pass(("day", &RULE), ((1, place), Timestamp(since)), Timestamp(now)).map_err(|t| t.0)
    }

    #[test]
    fn a_batch_goes_when_it_is_full() {
        let mut batches = Batches::default();
        assert_eq!(pass(&mut batches, 0, 10, 10), Err(110));
        assert_eq!(pass(&mut batches, 0, 10, 11), Err(110), "the same one is not counted twice");
        assert_eq!(pass(&mut batches, 1, 20, 20), Err(110));
        assert_eq!(pass(&mut batches, 2, 30, 30), Ok(()));
        assert_eq!(pass(&mut batches, 0, 10, 31), Ok(()), "those before it go too");
        assert_eq!(pass(&mut batches, 3, 40, 40), Err(140), "and the next one waits for a new batch");
        batches.proven("day", (1, 0));
        assert_eq!(pass(&mut batches, 1, 20, 41), Ok(()));
    }

    #[test]
    fn a_batch_goes_when_its_first_has_waited_long_enough() {
        let mut batches = Batches::default();
        assert_eq!(pass(&mut batches, 0, 10, 10), Err(110));
        assert_eq!(pass(&mut batches, 1, 50, 109), Err(110));
        assert_eq!(pass(&mut batches, 1, 50, 110), Ok(()));
        assert_eq!(pass(&mut batches, 0, 10, 110), Ok(()));
        // As after a restart: it has waited long enough already.
        assert_eq!(pass(&mut Batches::default(), 0, 10, 500), Ok(()));
    }

    #[test]
    fn settlements_wait_apart() {
        let mut batches = Batches::default();
        for name in ["a", "b", "c", "d"] {
            let passed = batches.pass((name, &RULE), ((1, 1), Timestamp(0)), Timestamp(0));
            assert_eq!(passed, Err(Timestamp(100)), "{name}");
        }
    }
}
