//! Answers come in any order; PUBACKs and PUBRECs leave in the order of the PUBLISHes, as [MQTT-4.6.0-2] and
//! [MQTT-4.6.0-3] demand.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use crate::message::Qos;

/// The QoS 1 and 2 messages of one connection that have no PUBACK or PUBREC yet, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    /// The number of the first slot.
    first: u64,
    slots: VecDeque<Slot<T>>,
    /// Messages that will never get a PUBACK on this connection, and left the queue.
    holes: usize,
}

#[derive(Debug)]
struct Slot<T> {
    packet_id: NonZeroU16,
    qos: Qos,
    verdict: Option<Verdict<T>>,
}

/// What becomes of a slot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<T> {
    /// A PUBACK leaves, of the kind that `T` says.
    Ack(T),
    /// None ever does; those behind it need not wait.
    Never,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { first: 0, slots: VecDeque::new(), holes: 0 }
    }
}

impl<T> Slots<T> {
    /// How many PUBLISHes the peer still waits for.
    pub(crate) fn open(&self) -> usize {
        self.slots.len() + self.holes
    }

    /// Opens a slot and gives its number.
    pub(crate) fn push(&mut self, packet_id: NonZeroU16, qos: Qos) -> u64 {
        self.slots.push_back(Slot { packet_id, qos, verdict: None });
        self.first + self.slots.len() as u64 - 1
    }

    /// Notes the verdict on slot `number`. The first verdict counts.
    pub(crate) fn set(&mut self, number: u64, verdict: Verdict<T>) {
        let place = number.checked_sub(self.first).and_then(|n| usize::try_from(n).ok());
        if let Some(slot) = place.and_then(|p| self.slots.get_mut(p)) {
            slot.verdict.get_or_insert(verdict);
        }
    }

    /// The next PUBACK or PUBREC that may leave.
    pub(crate) fn pop(&mut self) -> Option<(NonZeroU16, Qos, T)> {
        while self.slots.front().is_some_and(|s| s.verdict.is_some()) {
            let slot = self.slots.pop_front()?;
            self.first += 1;
            match slot.verdict? {
                Verdict::Ack(kind) => return Some((slot.packet_id, slot.qos, kind)),
                Verdict::Never => self.holes += 1,
            }
        }
        None
    }

    /// Gives up on all that has no verdict, so that [`Self::pop`] gives every PUBACK that can still leave.
    pub(crate) fn give_up(&mut self) {
        for slot in &mut self.slots {
            slot.verdict.get_or_insert(Verdict::Never);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: usize) -> NonZeroU16 {
        NonZeroU16::new(u16::try_from(n).unwrap() + 1).unwrap()
    }

    proptest! {
        #[test]
        fn acks_leave_in_order_and_none_is_lost(
            order in Just((0..50_usize).collect::<Vec<_>>()).prop_shuffle(),
            never in proptest::collection::hash_set(0..50_usize, 0..10),
            answered in 0..=50_usize,
        ) {
            let mut slots = Slots::default();
            let numbers: Vec<u64> = (0..50).map(|n| slots.push(id(n), Qos::AtLeastOnce)).collect();
            let mut left = Vec::new();
            for (done, n) in order[..answered].iter().enumerate() {
                slots.set(numbers[*n], if never.contains(n) { Verdict::Never } else { Verdict::Ack(*n) });
                slots.set(numbers[*n], Verdict::Never);
                left.extend(std::iter::from_fn(|| slots.pop()));
                let known = &order[..=done];
                prop_assert!(left.iter().all(|(_, _, n)| known.contains(n)), "only what was answered");
                // Everything before the first message without an answer has left.
                let stuck = (0..50).find(|n| !known.contains(n)).unwrap_or(50);
                let gone = left.iter().filter(|(_, _, n)| *n < stuck).count();
                prop_assert_eq!(gone, (0..stuck).filter(|n| !never.contains(n)).count());
            }
            prop_assert_eq!(slots.open(), 50 - left.len());
            slots.give_up();
            left.extend(std::iter::from_fn(|| slots.pop()));
            let mut expected: Vec<usize> =
                order[..answered].iter().copied().filter(|n| !never.contains(n)).collect();
            expected.sort_unstable();
            prop_assert_eq!(left, expected.into_iter().map(|n| (id(n), Qos::AtLeastOnce, n)).collect::<Vec<_>>());
        }
    }
}
