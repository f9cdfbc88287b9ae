//! Values by digest, the ones used last.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use w3bstream_types::Digest;

/// Holds at most `most` values and forgets the one that was used longest ago.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    most: usize,
    #[allow(clippy::type_complexity, reason = "a clock, and each value with when it was used")]
    values: Mutex<(u64, HashMap<Digest, (u64, V)>)>,
}

impl<V: Clone> Cache<V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), values: Mutex::default() }
    }

    pub(crate) fn get(&self, digest: Digest) -> Option<V> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let (uses, values) = &mut *values;
        *uses += 1;
        let (used, value) = values.get_mut(&digest)?;
        *used = *uses;
        Some(value.clone())
    }

    pub(crate) fn put(&self, digest: Digest, value: V) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let (uses, values) = &mut *values;
        *uses += 1;
        values.insert(digest, (*uses, value));
        while values.len() > self.most {
            // A walk over a handful of entries.
            let oldest = values.iter().min_by_key(|(_, (used, _))| *used).map(|(d, _)| *d);
            let Some(oldest) = oldest else { return };
            values.remove(&oldest);
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
        assert_eq!(cache.get(key(1)), Some(1));
        cache.put(key(3), 3);
        assert_eq!(cache.get(key(2)), None, "2 was used before 1");
        assert_eq!((cache.get(key(1)), cache.get(key(3))), (Some(1), Some(3)));
    }
}
