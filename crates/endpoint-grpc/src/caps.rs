//! How many connections there are, in all and from one address; and how many bytes of messages.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use w3bstream_types::RefusalKind;

use crate::problem::Problem;

/// Counts connections.
#[derive(Debug)]
pub(crate) struct Caps {
    total: usize,
    per_address: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Total,
    Address,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    caps: Arc<Caps>,
    address: IpAddr,
}

impl Caps {
    pub(crate) fn new(total: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self { total, per_address, open: Mutex::default() })
    }

    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let address = group(address);
        let mut open = self.lock();
        if open.total >= self.total {
            return Err(Full::Total);
        }
        let here = open.by_address.entry(address).or_default();
        if *here >= self.per_address {
            return Err(Full::Address);
        }
        *here += 1;
        open.total += 1;
        Ok(Place { caps: Arc::clone(self), address })
    }

    /// Connections now.
    pub(crate) fn open(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Plain counters: after a panic elsewhere they are still whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.caps.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(here) = open.by_address.get_mut(&self.address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// One subscriber holds a whole IPv6 network of 64 bits, so that is what counts.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let s = v6.segments();
            IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// The bytes of all messages in memory. A message takes its share as it arrives, so that a client that only
/// announces much takes nothing.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }

    /// Bytes that are free.
    pub(crate) fn free(&self) -> usize {
        self.0.available_permits()
    }

    /// A share of `bytes`, which goes back when it is dropped.
    pub(crate) fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let count = u32::try_from(bytes).ok();
        count.and_then(|count| Arc::clone(&self.0).try_acquire_many_owned(count).ok()).ok_or_else(|| {
            Problem::refusal(RefusalKind::Overloaded, "the node holds too many bytes of unanswered messages")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let caps = Caps::new(3, 2);
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let (a2, b2): (IpAddr, IpAddr) =
            ("::ffff:192.0.2.1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let first = caps.admit(a).unwrap();
        let second = caps.admit(a2).unwrap();
        assert_eq!(caps.admit(a).unwrap_err(), Full::Address);
        let third = caps.admit(b).unwrap();
        assert_eq!(caps.admit(b2).unwrap_err(), Full::Total);
        drop((first, second, third));
        assert_eq!(caps.open(), 0);
        assert!(caps.lock().by_address.is_empty(), "no address is remembered without a connection");
    }

    #[test]
    fn the_budget_is_never_overdrawn() {
        let budget = Budget::new(10);
        let most = budget.take(8).unwrap();
        assert!(budget.take(3).is_err());
        drop(most);
        let all = budget.take(10).unwrap();
        assert_eq!(budget.free(), 0);
        drop(all);
        assert_eq!(budget.free(), 10);
        assert!(budget.take(usize::MAX).is_err());
    }
}
