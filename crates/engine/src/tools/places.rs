//! Places for what may exist so many times at once, such as instances.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::EngineStats;

/// A number of places. Who finds none free waits until one is.
///
/// Whoever holds a place must not ask for another: with all places held by such, nobody would go on.
#[derive(Debug)]
pub struct Places {
    most: usize,
    taken: Mutex<usize>,
    freed: Condvar,
    waited: AtomicU64,
}

impl Places {
    /// So many places; one, if that is zero.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        let most = if most == 0 { 1 } else { most };
        Self { most, taken: Mutex::new(0), freed: Condvar::new(), waited: AtomicU64::new(0) }
    }

    /// Takes a place, and blocks this thread while there is none.
    #[must_use]
    pub fn take(&self) -> Place<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if *taken >= self.most {
            self.waited.fetch_add(1, Ordering::Relaxed);
        }
        let full = |taken: &mut usize| *taken >= self.most;
        let mut taken = self.freed.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Place(self)
    }

    /// How many have found no place free, and waited for one.
    #[must_use]
    pub fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// What an engine whose calls take these places says of itself.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        EngineStats { running: self.taken() as u64, waited: self.waited() }
    }

    /// How many places are taken now.
    #[must_use]
    pub fn taken(&self) -> usize {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken; dropping it frees it.
#[derive(Debug)]
pub struct Place<'a>(&'a Places);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(1);
        drop(taken);
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_than_there_are_places_and_everybody_gets_one() {
        let places = Places::new(3);
        let (inside, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let place = places.take();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(place);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((done.into_inner(), places.taken()), (1_600, 0));
        assert!((1..=3).contains(&most.into_inner()));
        // Who comes while all are taken is counted.
        let (places, waiting) = (Places::new(1), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let place = places.take();
            scope.spawn(|| drop((waiting.fetch_add(1, Ordering::SeqCst), places.take())));
            while waiting.load(Ordering::SeqCst) == 0 || places.waited() == 0 {
                std::thread::yield_now();
            }
            drop(place);
        });
        assert_eq!((places.taken(), places.waited()), (0, 1));
    }

    #[test]
    fn a_panic_frees_its_place() {
        let places = Places::new(1);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _place = places.take();
            panic!("in the middle of it");
        }));
        assert!(caught.is_err());
        assert_eq!((places.taken(), places.waited()), (0, 0));
        drop(places.take());
    }
}
