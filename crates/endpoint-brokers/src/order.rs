//! Answers come in any order; acknowledgements leave in the order of the messages, as [MQTT-4.6.0-2] and [MQTT-4.6.0-3]
//! demand.

use std::collections::VecDeque;

/// Messages without an acknowledgement, in the order in which they came.
#[derive(Debug)]
pub(crate) struct InOrder<K, A> {
    /// The number of the first place.
    first: u64,
    places: VecDeque<(K, Verdict<A>)>,
    /// Messages that will never be acknowledged on this connection, and left the line.
    holes: usize,
}

#[derive(Debug)]
enum Verdict<A> {
    Open,
    Ack(A),
    Never,
}

impl<K, A> Default for InOrder<K, A> {
    fn default() -> Self {
        Self { first: 0, places: VecDeque::new(), holes: 0 }
    }
}

impl<K, A> InOrder<K, A> {
    /// How many messages the broker waits for.
    pub(crate) fn open(&self) -> usize {
        self.places.len() + self.holes
    }

    /// A place at the end, with its number.
    pub(crate) fn push(&mut self, key: K) -> u64 {
        self.places.push_back((key, Verdict::Open));
        self.first + self.places.len() as u64 - 1
    }

    /// The acknowledgement for place `number`; `None` if there never will be one. The first verdict counts.
    pub(crate) fn set(&mut self, number: u64, ack: Option<A>) {
        let place = number.checked_sub(self.first).and_then(|n| usize::try_from(n).ok());
        if let Some((_, verdict @ Verdict::Open)) = place.and_then(|p| self.places.get_mut(p)) {
            *verdict = ack.map_or(Verdict::Never, Verdict::Ack);
        }
    }

    /// The next acknowledgement that may leave. If `all`, those behind messages without an answer too: for the end of a
    /// connection, after which nothing else leaves.
    pub(crate) fn pop(&mut self, all: bool) -> Option<(K, A)> {
        while let Some((key, verdict)) = self.places.pop_front() {
            match verdict {
                Verdict::Open if !all => {
                    self.places.push_front((key, Verdict::Open));
                    return None;
                }
                Verdict::Ack(ack) => {
                    self.first += 1;
                    return Some((key, ack));
                }
                Verdict::Open | Verdict::Never => {
                    self.first += 1;
                    self.holes += 1;
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn acks_leave_in_order_and_none_is_lost(
            order in Just((0..50_usize).collect::<Vec<_>>()).prop_shuffle(),
            never in proptest::collection::hash_set(0..50_usize, 0..10),
            answered in 0..=50_usize,
        ) {
            let mut line = InOrder::default();
            let numbers: Vec<u64> = (0..50_usize).map(|n| line.push(n)).collect();
            let mut left = Vec::new();
            for (done, n) in order[..answered].iter().enumerate() {
                line.set(numbers[*n], (!never.contains(n)).then_some(*n));
                line.set(numbers[*n], None);
                left.extend(std::iter::from_fn(|| line.pop(false)));
                let known = &order[..=done];
                // All before the first message without an answer have left, and none behind it.
                let stuck = (0..50).find(|n| !known.contains(n)).unwrap_or(50);
                let expected: Vec<_> = (0..stuck).filter(|n| !never.contains(n)).map(|n| (n, n)).collect();
                prop_assert_eq!(&left, &expected);
            }
            prop_assert_eq!(line.open(), 50 - left.len());
            left.extend(std::iter::from_fn(|| line.pop(true)));
            let mut expected: Vec<_> =
                order[..answered].iter().filter(|n| !never.contains(n)).map(|n| (*n, *n)).collect();
            expected.sort_unstable();
            prop_assert_eq!(left, expected);
        }
    }
}
