//! Which signed message an `Idempotency-Key` stood for.
//!
//! A signed message is exactly-once by its own id, across restarts and members, so nothing rests on this. It only tells a
//! client that uses one key for two messages by mistake (draft-ietf-httpapi-idempotency-key-header §2.7), and it may forget:
//! when the node restarts, when the time is over, when others need the room.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use w3bstream_types::{Digest, MessageId, ProjectName};

use crate::HttpLimits;

/// The memory of keys.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    known: HashMap<Digest, MessageId>,
    /// Oldest first; every key of `known` is here once.
    order: VecDeque<(Instant, Digest)>,
}

/// A key of one sender in one project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name(Digest);

impl Name {
    pub(crate) fn new(project: &ProjectName, sender: &str, key: &str) -> Self {
        let parts = [project.as_str().as_bytes(), sender.as_bytes(), key.as_bytes()];
        Self(Digest::tagged("w3b/idempotency-key/1", &parts))
    }
}

impl Keys {
    /// Whether `name` stands for another message than `id`.
    pub(crate) fn contradicts(&self, name: Name, id: MessageId, limits: &HttpLimits) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget(limits, limits.idempotency_keys);
        state.known.get(&name.0).is_some_and(|known| *known != id)
    }

    /// Remembers what `name` stands for. Only of messages that were accepted: before, nobody has checked who sends.
    pub(crate) fn remember(&self, name: Name, id: MessageId, limits: &HttpLimits) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.known.contains_key(&name.0) {
            return;
        }
        state.forget(limits, limits.idempotency_keys.saturating_sub(1));
        state.known.insert(name.0, id);
        state.order.push_back((Instant::now(), name.0));
    }
}

impl State {
    fn forget(&mut self, limits: &HttpLimits, most: usize) {
        let now = Instant::now();
        while let Some((since, name)) = self.order.front() {
            if self.order.len() <= most && now.duration_since(*since) < limits.idempotency_time {
                return;
            }
            self.known.remove(name);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn name(sender: &str, key: &str) -> Name {
        Name::new(&"kit".parse().unwrap(), sender, key)
    }

    #[test]
    fn a_key_stands_for_one_message_of_one_sender() {
        let (keys, limits) = (Keys::default(), HttpLimits::default());
        let (a, b) = (MessageId(Digest::of(b"a")), MessageId(Digest::of(b"b")));
        assert!(!keys.contradicts(name("did:x", "1"), a, &limits), "nothing is known");
        keys.remember(name("did:x", "1"), a, &limits);
        keys.remember(name("did:x", "1"), b, &limits);
        assert!(!keys.contradicts(name("did:x", "1"), a, &limits));
        assert!(keys.contradicts(name("did:x", "1"), b, &limits));
        assert!(!keys.contradicts(name("did:y", "1"), b, &limits), "another sender's key is another key");
        assert!(!keys.contradicts(name("did:x", "2"), b, &limits));
    }

    #[test]
    fn keys_are_forgotten_by_number_and_by_time() {
        let mut limits = HttpLimits { idempotency_keys: 2, ..HttpLimits::default() };
        let keys = Keys::default();
        let (a, b) = (MessageId(Digest::of(b"a")), MessageId(Digest::of(b"b")));
        for key in ["1", "2", "3"] {
            keys.remember(name("d", key), a, &limits);
        }
        assert!(!keys.contradicts(name("d", "1"), b, &limits), "the oldest made room");
        assert!(keys.contradicts(name("d", "3"), b, &limits));
        limits.idempotency_time = Duration::from_nanos(1);
        std::thread::sleep(Duration::from_millis(1));
        assert!(!keys.contradicts(name("d", "3"), b, &limits));
        let state = keys.0.lock().unwrap();
        assert!(state.known.is_empty() && state.order.is_empty());
    }
}
