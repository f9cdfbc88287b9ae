//! Memory that messages in flight may take.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds what is in flight in messages and in bytes, for protocols that stop reading until there is room.
#[derive(Debug)]
pub struct InFlight {
    messages: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    most_kib: u32,
}

/// A message's part of [`InFlight`], given back when its answer is known.
#[derive(Debug)]
pub struct Permit {
    _message: OwnedSemaphorePermit,
    _kib: OwnedSemaphorePermit,
}

impl InFlight {
    /// Room for so many messages and bytes. A message counts in whole KiB, and one that is larger than all of the room as
    /// all of it.
    #[must_use]
    pub fn new(messages: usize, bytes: usize) -> Self {
        let most_kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX >> 3);
        Self {
            messages: Arc::new(Semaphore::new(messages.min(Semaphore::MAX_PERMITS))),
            kib: Arc::new(Semaphore::new(most_kib as usize)),
            most_kib,
        }
    }

    fn kib(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.most_kib)
    }

    /// Takes a part for a message of `bytes`, if there is one.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Option<Permit> {
        let message = Arc::clone(&self.messages).try_acquire_owned().ok()?;
        let kib = Arc::clone(&self.kib).try_acquire_many_owned(self.kib(bytes)).ok()?;
        Some(Permit { _message: message, _kib: kib })
    }

    /// Waits for a part; `None` never comes, as the semaphores are never closed.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing, and loses the place in the line.
    pub async fn wait(&self, bytes: usize) -> Option<Permit> {
        let kib = Arc::clone(&self.kib).acquire_many_owned(self.kib(bytes)).await.ok()?;
        let message = Arc::clone(&self.messages).acquire_owned().await.ok()?;
        Some(Permit { _message: message, _kib: kib })
    }
}

/// The bytes of all messages in memory, for protocols that refuse what does not fit. A message takes its share as it
/// arrives, so that a client that only announces much takes nothing.
#[derive(Clone, Debug)]
pub struct ByteBudget(Arc<Semaphore>);

impl ByteBudget {
    /// So many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// ByteBudget that are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.0.available_permits()
    }

    /// A share of so many bytes, which goes back when it is dropped; `None` if there is none now.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let count = u32::try_from(bytes).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(count).ok()
    }

    /// The same, once there is one; `None` if there never is.
    ///
    /// # Cancel safety
    /// As [`InFlight::wait`].
    pub async fn wait(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let count = u32::try_from(bytes).ok()?;
        Arc::clone(&self.0).acquire_many_owned(count).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_bytes_are_bounded_apart() {
        let room = InFlight::new(2, 3 * 1024);
        let first = room.take(1).unwrap();
        let second = room.take(2 * 1024).unwrap();
        assert!(room.take(0).is_none(), "two messages");
        drop(first);
        assert!(room.take(1025).is_none(), "one KiB is left");
        drop(second);
        let all = pollster::block_on(room.wait(usize::MAX)).unwrap();
        assert!(room.take(1).is_none(), "it has all bytes");
        drop(all);
        assert!(room.take(1).is_some());
    }

    #[test]
    fn the_budget_is_never_overdrawn() {
        let budget = ByteBudget::new(10);
        let most = budget.take(8).unwrap();
        assert!(budget.take(3).is_none());
        drop(most);
        let all = budget.take(10).unwrap();
        assert_eq!(budget.free(), 0);
        drop(all);
        assert_eq!(budget.free(), 10);
        assert!(budget.take(usize::MAX).is_none());
        assert!(pollster::block_on(budget.wait(usize::MAX)).is_none());
        assert!(pollster::block_on(budget.wait(10)).is_some());
    }
}
