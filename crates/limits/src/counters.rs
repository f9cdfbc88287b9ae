//! Counters that are read as one snapshot.

use std::sync::atomic::{AtomicU64, Ordering};

use w3bstream_types::RefusalKind;

/// One counter. Its order relative to other memory does not matter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Takes away.
    pub fn sub(&self, n: usize) {
        self.0.fetch_sub(n as u64, Ordering::Relaxed);
    }

    /// Sets.
    pub fn set(&self, n: usize) {
        self.0.store(n as u64, Ordering::Relaxed);
    }

    /// Reads.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Messages refused, by kind.
#[derive(Debug, Default)]
pub struct RefusalCounters([Counter; RefusalKind::ALL.len()]);

impl RefusalCounters {
    /// Counts a refusal.
    pub fn add(&self, kind: RefusalKind) {
        let place = RefusalKind::ALL.iter().position(|k| *k == kind);
        if let Some(counter) = place.and_then(|place| self.0.get(place)) {
            counter.add(1);
        }
    }

    /// What was counted; kinds that never happened are left out.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(RefusalKind, u64)> {
        let all = RefusalKind::ALL.into_iter().zip(&self.0);
        all.map(|(kind, counter)| (kind, counter.get())).filter(|(_, n)| *n > 0).collect()
    }
}

/// Defines `Counters` and the public snapshot of them that its first line names, from one list of documented names. The
/// snapshot also has `refused`: messages refused, by kind.
#[macro_export]
macro_rules! counters {
    ($(#[$about:meta])* $seen:vis $snapshot:ident { $($(#[$doc:meta])* $name:ident,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        $seen struct $snapshot {
            $($(#[$doc])* pub $name: u64,)+
            /// Messages refused, by kind; kinds that never happened are left out. Those that the endpoint itself
            /// refused are among them.
            pub refused: Vec<($crate::types::RefusalKind, u64)>,
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: $crate::Counter,)+
            refused: $crate::RefusalCounters,
        }

        impl Counters {
            pub(crate) fn refused(&self, kind: $crate::types::RefusalKind) {
                self.refused.add(kind);
            }

            pub(crate) fn snapshot(&self) -> $snapshot {
                $snapshot { $($name: self.$name.get(),)+ refused: self.refused.snapshot() }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    counters! {
        /// Of the test.
        pub(super) Seen {
            /// One.
            one,
            /// Two.
            two,
        }
    }

    #[test]
    fn a_snapshot_has_what_was_counted() {
        let counters = Counters::default();
        counters.one.add(3);
        counters.one.sub(1);
        counters.two.set(7);
        counters.refused(RefusalKind::Conflict);
        let seen = counters.snapshot();
        assert_eq!(seen, Seen { one: 2, two: 7, refused: vec![(RefusalKind::Conflict, 1)] });
    }
}
