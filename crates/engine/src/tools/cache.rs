//! Values by digest, the ones used last.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use w3bstream_types::Digest;

/// Holds at most `most` values and forgets the one that was used longest ago. Shared by threads.
#[derive(Debug)]
pub struct Cache<V> {
    most: usize,
    kept: Mutex<Kept<V>>,
}

#[derive(Debug)]
struct Kept<V> {
    /// Counts uses; the greater, the later.
    uses: u64,
    values: HashMap<Digest, (u64, V)>,
}

impl<V: Clone> Cache<V> {
    /// An empty cache of at most `most` values; of one, if that is zero.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), kept: Mutex::new(Kept { uses: 0, values: HashMap::new() }) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept<V>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a digest, which is thereby used. One that is not there is made and kept.
    ///
    /// It is not made under the lock: a large program must not keep others waiting. Two callers may make the same; the
    /// later one's is kept.
    ///
    /// # Errors
    /// Those of `make`; then nothing is kept.
    pub fn get_or<E>(&self, digest: Digest, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        if let Some(value) = self.get(&digest) {
            return Ok(value);
        }
        let value = make()?;
        self.put(digest, value.clone());
        Ok(value)
    }

    /// The value of a digest, which is thereby used.
    pub fn get(&self, digest: &Digest) -> Option<V> {
        let mut kept = self.kept();
        kept.uses += 1;
        let now = kept.uses;
        let (used, value) = kept.values.get_mut(digest)?;
        *used = now;
        Some(value.clone())
    }

    /// Keeps a value in place of the one that the digest had.
    pub fn put(&self, digest: Digest, value: V) {
        let mut kept = self.kept();
        kept.uses += 1;
        let now = kept.uses;
        kept.values.insert(digest, (now, value));
        while kept.values.len() > self.most {
            // A walk over some dozens of entries, next to a compilation.
            let oldest = kept.values.iter().min_by_key(|(_, (used, _))| *used).map(|(d, _)| *d);
            let Some(oldest) = oldest else { return };
            kept.values.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_used_longest_ago_is_forgotten() {
        let key = |i: u8| Digest::of(&[i]);
        let cache = Cache::new(2);
        cache.put(key(1), 1);
        cache.put(key(2), 2);
        assert_eq!(cache.get(&key(1)), Some(1));
        cache.put(key(3), 3);
        assert_eq!(cache.get(&key(2)), None, "2 was used before 1");
        assert_eq!(cache.get(&key(1)), Some(1));
        assert_eq!(cache.get(&key(3)), Some(3));
        cache.put(key(3), 4);
        assert_eq!((cache.get(&key(1)), cache.get(&key(3))), (Some(1), Some(4)));
    }

    #[test]
    fn what_is_there_is_not_made_again_and_a_failure_keeps_nothing() {
        let key = Digest::of(b"program");
        let cache = Cache::new(2);
        assert_eq!(cache.get_or(key, || Err::<u8, _>("it does not compile")), Err("it does not compile"));
        assert_eq!(cache.get_or(key, || Ok::<_, ()>(1)), Ok(1));
        assert_eq!(cache.get_or(key, || Ok::<_, ()>(2)), Ok(1));
    }
}
