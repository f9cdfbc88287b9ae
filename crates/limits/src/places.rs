//! Places, in all and from one address: of connections, batches, streams.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts places.
#[derive(Debug)]
pub struct Caps {
    total: usize,
    per_address: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    Total,
    /// This address has as many as one may have.
    Address,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    caps: Arc<Caps>,
    address: Option<IpAddr>,
}

impl Caps {
    /// `total` places, `per_address` for one address. An IPv6 network of 64 bits is one address.
    #[must_use]
    pub fn new(total: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self { total, per_address, open: Mutex::default() })
    }

    /// A place for who comes from `address`.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        self.admit_from(Some(address))
    }

    /// The same; who comes from an unknown address only counts among all.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn admit_from(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Full> {
        let address = address.map(group);
        let mut open = self.lock();
        if open.total >= self.total {
            return Err(Full::Total);
        }
        if let Some(address) = address {
            let here = open.by_address.entry(address).or_default();
            if *here >= self.per_address {
                return Err(Full::Address);
            }
            *here += 1;
        }
        open.total += 1;
        Ok(Place { caps: Arc::clone(self), address })
    }

    /// Places taken now.
    #[must_use]
    pub fn open(&self) -> usize {
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
        let Some(address) = &self.address else { return };
        if let Some(here) = open.by_address.get_mut(address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                open.by_address.remove(address);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let caps = Caps::new(3, 2);
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        // The same network, and the same IPv4 address in IPv6 clothes.
        let (a2, b2): (IpAddr, IpAddr) =
            ("::ffff:192.0.2.1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let first = caps.admit(a).unwrap();
        let second = caps.admit(a2).unwrap();
        assert_eq!(caps.admit(a).unwrap_err(), Full::Address);
        let third = caps.admit(b).unwrap();
        assert_eq!(caps.admit(b2).unwrap_err(), Full::Total);
        drop(first);
        assert_eq!(caps.open(), 2);
        let fourth = caps.admit(b2).unwrap();
        drop(second);
        assert_eq!(caps.admit(b).unwrap_err(), Full::Address);
        let nameless = caps.admit_from(None).unwrap();
        assert_eq!(caps.admit_from(None).unwrap_err(), Full::Total);
        drop((third, fourth, nameless));
        assert_eq!(caps.open(), 0);
        assert!(caps.lock().by_address.is_empty(), "no address is remembered without a connection");
    }
}
