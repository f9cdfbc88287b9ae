//! Acknowledgements that wait for more than durability.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use w3bstream_endpoint::Ack;
use w3bstream_types::{Accepted, AckMode, HandlerResult, MessageId, Refusal, RefusalKind, Timestamp};

/// How long an acknowledgement waits before the sender is told to try again, in milliseconds. The message
/// stays stored: the repeat finds it.
const PATIENCE_MS: u64 = 30_000;

struct Waiter {
    ack: Ack,
    mode: AckMode,
    duplicate: bool,
    since: Timestamp,
}

/// Acknowledgements by message. Bounded by what the endpoints let in flight.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<HashMap<MessageId, Vec<Waiter>>>);

impl fmt::Debug for Waiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waiters({})", self.lock().len())
    }
}

impl Waiters {
    // The lock guards plain data that is whole between statements.
    fn lock(&self) -> MutexGuard<'_, HashMap<MessageId, Vec<Waiter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(crate) fn add(&self, id: MessageId, ack: Ack, mode: AckMode, (duplicate, since): (bool, Timestamp)) {
        self.lock().entry(id).or_default().push(Waiter { ack, mode, duplicate, since });
    }

    /// Answers those of `id` that wait for nothing more than `reached`.
    pub(crate) fn reached(&self, id: MessageId, reached: AckMode, results: &[HandlerResult]) {
        let ready: Vec<Waiter> = {
            let mut all = self.lock();
            let Some(waiting) = all.remove(&id) else { return };
            let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|w| w.mode <= reached);
            if !rest.is_empty() {
                all.insert(id, rest);
            }
            ready
        };
        for Waiter { ack, mode, duplicate, .. } in ready {
            let results = if mode == AckMode::Executed { results.to_vec() } else { Vec::new() };
            ack.accept(Accepted { id, duplicate, mode, results });
        }
    }

    /// Refuses `id`'s waiters for good: it was ordered but the state did not allow it.
    pub(crate) fn reject(&self, id: MessageId, refusal: &Refusal) {
        let waiting = self.lock().remove(&id).unwrap_or_default();
        for waiter in waiting {
            waiter.ack.refuse(refusal.clone());
        }
    }

    /// Tells those that have waited too long to try again.
    pub(crate) fn expire(&self, now: Timestamp) {
        let late: Vec<Waiter> = {
            let mut all = self.lock();
            let mut late = Vec::new();
            all.retain(|_, waiting| {
                late.extend(waiting.extract_if(.., |w| now.0.saturating_sub(w.since.0) >= PATIENCE_MS));
                !waiting.is_empty()
            });
            late
        };
        for waiter in late {
            let why = "the message is stored but not final yet; send it again to learn when it is";
            waiter.ack.refuse(Refusal::new(RefusalKind::NotReady, why));
        }
    }
}
