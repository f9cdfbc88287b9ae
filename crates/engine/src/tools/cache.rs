//! Values by digest, the ones used last.

use std::collections::HashMap;

use w3bstream_types::Digest;

/// Holds at most `most` values and forgets the one that was used longest ago.
#[derive(Debug)]
pub struct Cache<V> {
    most: usize,
    /// Counts uses; the greater, the later.
    uses: u64,
    values: HashMap<Digest, (u64, V)>,
}

impl<V: Clone> Cache<V> {
    /// An empty cache of at most `most` values; of one, if that is zero.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { most, uses: 0, values: HashMap::new() }
    }

    /// The value of a digest, which is thereby used.
    pub fn get(&mut self, digest: &Digest) -> Option<V> {
        self.uses += 1;
        let (used, value) = self.values.get_mut(digest)?;
        *used = self.uses;
        Some(value.clone())
    }

    /// Keeps a value in place of the one that the digest had.
    pub fn put(&mut self, digest: Digest, value: V) {
        self.uses += 1;
        self.values.insert(digest, (self.uses, value));
        while self.values.len() > self.most {
            // A walk over some dozens of entries, next to a compilation.
            let oldest = self.values.iter().min_by_key(|(_, (used, _))| *used).map(|(d, _)| *d);
            let Some(oldest) = oldest else { return };
            self.values.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_used_longest_ago_is_forgotten() {
        let key = |i: u8| Digest::of(&[i]);
        let mut cache = Cache::new(2);
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
}
