//! Counts failed attempts to connect, of an address and of a user name, in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use w3bstream_types::{Digest, Timestamp};

/// The span in which attempts are counted, in milliseconds.
const SPAN_MS: u64 = 60_000;
/// Addresses and names that are remembered; beyond it the oldest is forgotten.
const MOST: usize = 8192;
/// A name may fail so many times as often as an address: whoever guesses from many addresses is slowed down, and one
/// address alone cannot shut somebody else out.
const PER_NAME: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Address(IpAddr),
    /// The digest of a name, so that long names take no memory.
    Name(Digest),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    since: Timestamp,
}

/// Failed attempts of the last minute.
#[derive(Debug)]
pub(super) struct Throttle {
    limit: u32,
    failures: Mutex<HashMap<Who, Failures>>,
}

impl Throttle {
    /// An address may fail `limit` times a minute.
    pub(super) fn new(limit: u32) -> Self {
        Self { limit: limit.max(1), failures: Mutex::default() }
    }

    /// In how many seconds the client may try again; `None` if it may now.
    pub(super) fn wait(&self, address: Option<IpAddr>, name: Option<&str>, now: Timestamp) -> Option<u64> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |who: Who| {
            let known = failures.get(&who).filter(|f| f.count >= self.limit_of(who))?;
            let end = known.since.0.saturating_add(SPAN_MS);
            (now.0 < end).then(|| (end - now.0).div_ceil(1000))
        };
        all(address, name).filter_map(left).max()
    }

    /// An attempt has failed.
    pub(super) fn failed(&self, address: Option<IpAddr>, name: Option<&str>, now: Timestamp) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for who in all(address, name) {
            if !failures.contains_key(&who) && failures.len() >= MOST {
                forget(&mut failures, now);
            }
            let entry = failures.entry(who).or_insert(Failures { count: 0, since: now });
            if entry.since.0.saturating_add(SPAN_MS) <= now.0 {
                *entry = Failures { count: 0, since: now };
            }
            entry.count = entry.count.saturating_add(1);
        }
    }

    const fn limit_of(&self, who: Who) -> u32 {
        match who {
            Who::Address(_) => self.limit,
            Who::Name(_) => self.limit.saturating_mul(PER_NAME),
        }
    }
}

/// Makes room: what is past goes, else the oldest.
fn forget(failures: &mut HashMap<Who, Failures>, now: Timestamp) {
    failures.retain(|_, f| f.since.0.saturating_add(SPAN_MS) > now.0);
    if failures.len() >= MOST
        && let Some(oldest) = failures.iter().min_by_key(|(_, f)| f.since).map(|(who, _)| *who)
    {
        failures.remove(&oldest);
    }
}

fn all(address: Option<IpAddr>, name: Option<&str>) -> impl Iterator<Item = Who> {
    let name = name.map(|n| Who::Name(Digest::tagged("w3b/gate-name/1", &[n.as_bytes()])));
    address.map(|a| Who::Address(network(a))).into_iter().chain(name)
}

/// An IPv6 client has a network of 64 bits to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_waits_after_its_limit_and_others_do_not() {
        let throttle = Throttle::new(3);
        let bad = address("192.0.2.1");
        for _ in 0..3 {
            assert_eq!(throttle.wait(bad, Some("ops"), NOW), None);
            throttle.failed(bad, Some("ops"), NOW);
        }
        assert_eq!(throttle.wait(bad, Some("other"), NOW), Some(60));
        assert_eq!(throttle.wait(address("::ffff:192.0.2.1"), None, NOW), Some(60), "the same address");
        // The name is not shut out by one address.
        assert_eq!(throttle.wait(address("192.0.2.2"), Some("ops"), NOW), None);
        assert_eq!(throttle.wait(bad, None, Timestamp(NOW.0 + 59_999)), Some(1));
        assert_eq!(throttle.wait(bad, None, Timestamp(NOW.0 + 60_000)), None);
        throttle.failed(bad, None, Timestamp(NOW.0 + 60_000));
        assert_eq!(throttle.wait(bad, None, Timestamp(NOW.0 + 60_000)), None, "counted anew");
    }

    #[test]
    fn a_name_waits_wherever_it_is_guessed_from() {
        let throttle = Throttle::new(3);
        for n in 0..15 {
            let from = address(&format!("2001:db8:0:{n}::1"));
            assert_eq!(throttle.wait(from, Some("ops"), NOW), None, "{n}");
            throttle.failed(from, Some("ops"), NOW);
        }
        assert_eq!(throttle.wait(address("192.0.2.9"), Some("ops"), NOW), Some(60));
        assert_eq!(throttle.wait(address("192.0.2.9"), Some("dev"), NOW), None);
        // Addresses of one network of 64 bits are one client.
        for _ in 0..3 {
            throttle.failed(address("2001:db8:1:1::1"), None, NOW);
        }
        assert_eq!(throttle.wait(address("2001:db8:1:1:ffff::7"), None, NOW), Some(60));
    }

    #[test]
    fn the_memory_is_bounded_and_the_oldest_goes() {
        let throttle = Throttle::new(1);
        let at = |n: u64| Timestamp(NOW.0 + n);
        for n in 0..=MOST as u64 {
            throttle.failed(None, Some(&n.to_string()), at(n));
        }
        assert_eq!(throttle.failures.lock().unwrap().len(), MOST);
        let known = |n: u64| {
            throttle
                .failures
                .lock()
                .unwrap()
                .keys()
                .any(|w| Some(*w) == all(None, Some(&n.to_string())).next())
        };
        assert!(!known(0) && known(1) && known(MOST as u64));
    }
}
