//! Timers as absolute deadlines on the driver's logical clock.

use std::collections::{BTreeMap, BTreeSet};

use w3bstream_types::Timestamp;

use crate::TimerId;

#[derive(Debug, Default)]
pub(super) struct Timers {
    by_id: BTreeMap<TimerId, Timestamp>,
    by_time: BTreeSet<(Timestamp, TimerId)>,
}

impl Timers {
    pub(super) fn set(&mut self, id: TimerId, at: Timestamp) {
        self.cancel(id);
        self.by_id.insert(id, at);
        self.by_time.insert((at, id));
    }

    pub(super) fn cancel(&mut self, id: TimerId) {
        if let Some(at) = self.by_id.remove(&id) {
            self.by_time.remove(&(at, id));
        }
    }

    /// The first timer that is due, removed. In a fixed order: by time, then by name.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<TimerId> {
        let (at, id) = self.by_time.first().copied().filter(|(at, _)| *at <= now)?;
        self.by_time.remove(&(at, id));
        self.by_id.remove(&id);
        Some(id)
    }

    pub(super) fn earliest(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}
