//! How much one client may publish, and how fast connections are taken: token buckets, kept as the time at which they are full
//! again.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::MqttConfig;
use crate::packet::frame_len;

const SECOND_NANOS: u64 = 1_000_000_000;

/// A token bucket. It is full at `full_at`, and something may be taken while that is no further away than
/// `slack`.
#[derive(Clone, Debug)]
struct Bucket {
    full_at: Instant,
    slack: Duration,
    /// Per second.
    rate: u64,
}

impl Bucket {
    fn cost(rate: u64, units: u64) -> Duration {
        let nanos = u128::from(units) * u128::from(SECOND_NANOS) / u128::from(rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn new(rate: u64, slack: Duration) -> Option<Self> {
        (rate > 0).then(|| Self { full_at: Instant::now(), slack, rate })
    }

    fn ready_at(&self) -> Instant {
        self.full_at.checked_sub(self.slack).unwrap_or(self.full_at)
    }

    fn take(&mut self, units: u64, now: Instant) {
        let from = self.full_at.max(now);
        self.full_at = from.checked_add(Self::cost(self.rate, units)).unwrap_or(from);
    }
}

/// How fast connections are taken, over all listeners.
#[derive(Debug)]
pub(crate) struct Pace(Option<Mutex<Bucket>>);

impl Pace {
    /// So many per second; 0 is without limit.
    pub(crate) fn new(rate: u32) -> Self {
        let rate = u64::from(rate);
        // Timers are a millisecond coarse, and a few devices that come at once need not wait.
        let burst = (rate / 20).max(1);
        Self(Bucket::new(rate, Bucket::cost(rate, burst - 1)).map(Mutex::new))
    }

    /// Takes a place; else says when there is one.
    pub(crate) fn take(&self, now: Instant) -> Result<(), Instant> {
        let Some(bucket) = &self.0 else { return Ok(()) };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let ready_at = bucket.ready_at();
        if ready_at > now {
            return Err(ready_at);
        }
        bucket.take(1, now);
        Ok(())
    }
}

/// What one client has used of what it may.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    packets: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Meter {
    fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.packets.iter().chain(&self.bytes)
    }

    /// When the next PUBLISH may be taken; in the past, if it may now.
    pub(crate) fn ready_at(&self) -> Option<Instant> {
        self.buckets().map(Bucket::ready_at).max()
    }

    /// Notes a PUBLISH of `bytes`. One may be larger than what is left, and the next waits for longer: else a
    /// packet larger than the bucket would never be taken.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant) {
        if let Some(packets) = &mut self.packets {
            packets.take(1, now);
        }
        if let Some(all) = &mut self.bytes {
            all.take(bytes as u64, now);
        }
    }

    fn is_full(&self, now: Instant) -> bool {
        self.buckets().all(|b| b.full_at <= now)
    }
}

/// The meters of all clients, so that who connects again has no more than before.
#[derive(Debug)]
pub(crate) struct Rates {
    /// A fresh meter; `None` if nothing is limited.
    fresh: Option<Meter>,
    most: usize,
    meters: Mutex<HashMap<Arc<str>, Arc<Mutex<Meter>>>>,
}

impl Rates {
    pub(crate) fn new(config: &MqttConfig) -> Self {
        let rate = u64::from(config.max_publish_rate);
        // One less than the burst may be missing when one is taken.
        let slack = Bucket::cost(rate, u64::from(config.publish_burst).saturating_sub(1));
        let packets = Bucket::new(rate, slack);
        let bytes = Bucket::new(config.max_publish_byte_rate, Duration::from_secs(1));
        let fresh = (packets.is_some() || bytes.is_some()).then_some(Meter { packets, bytes });
        Self { fresh, most: config.max_sessions, meters: Mutex::default() }
    }

    /// The meter of a client; `None` if nothing is limited.
    pub(crate) fn of(&self, client: &Arc<str>) -> Option<Arc<Mutex<Meter>>> {
        let fresh = self.fresh.clone()?;
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = meters.get(client) {
            return Some(Arc::clone(meter));
        }
        let meter = Arc::new(Mutex::new(fresh));
        // There are no more clients than sessions, but for those that went and whose buckets still fill.
        if meters.len() < self.most {
            meters.insert(Arc::clone(client), Arc::clone(&meter));
        }
        Some(meter)
    }

    /// Forgets the clients that are gone and whose buckets are full.
    pub(crate) fn sweep(&self) {
        if self.fresh.is_none() {
            return;
        }
        let now = Instant::now();
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        meters.retain(|_, meter| {
            Arc::strong_count(meter) > 1 || !meter.lock().unwrap_or_else(PoisonError::into_inner).is_full(now)
        });
    }
}

/// Where the first complete PUBLISH in `buf` is, if there is one and all before it are packets.
pub(crate) fn next_publish(buf: &[u8]) -> Option<Range<usize>> {
    let mut start = 0;
    loop {
        let rest = buf.get(start..)?;
        let first = *rest.first()?;
        // A length that is wrong is for the codec to find.
        let end = start + frame_len(rest, usize::MAX).ok()??;
        if end > buf.len() {
            return None;
        }
        if first >> 4 == 3 {
            return Some(start..end);
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(packets: u32, burst: u32, bytes: u64) -> Meter {
        let config = MqttConfig {
            max_publish_rate: packets,
            publish_burst: burst,
            max_publish_byte_rate: bytes,
            ..MqttConfig::default()
        };
        Rates::new(&config).fresh.unwrap()
    }

    /// How many packets of `size` pass in `millis`, taken as early as they may.
    fn passed(mut meter: Meter, size: usize, millis: u64) -> usize {
        let mut now = Instant::now() + Duration::from_secs(100);
        let end = now + Duration::from_millis(millis);
        let mut count = 0;
        while now < end {
            match meter.ready_at() {
                Some(at) if at > now => now = at,
                _ => {
                    meter.take(size, now);
                    count += 1;
                }
            }
        }
        count
    }

    /// How many connections are taken in `millis`, as early as they may.
    fn taken(rate: u32, millis: u64) -> u32 {
        let pace = Pace::new(rate);
        let mut now = Instant::now() + Duration::from_secs(100);
        let end = now + Duration::from_millis(millis);
        let mut count = 0;
        while now < end {
            match pace.take(now) {
                Ok(()) => count += 1,
                Err(at) => now = at,
            }
        }
        count
    }

    #[test]
    fn connections_are_taken_at_a_pace() {
        assert_eq!(taken(2000, 1), 100 + 1);
        assert_eq!(taken(2000, 1000), 100 + 1999);
        assert_eq!(taken(10, 1000), 10);
        let (free, now) = (Pace::new(0), Instant::now());
        assert!((0..100_000).all(|_| free.take(now).is_ok()));
    }

    #[test]
    fn the_burst_passes_at_once_and_then_the_rate() {
        assert_eq!(passed(meter(100, 20, 0), 10, 1), 20);
        assert_eq!(passed(meter(100, 20, 0), 10, 1000), 20 + 99);
        assert_eq!(passed(meter(100, 1, 0), 10, 1000), 100);
    }

    #[test]
    fn bytes_are_limited_and_a_packet_larger_than_the_bucket_still_passes() {
        // A second's worth, then ten a second; the one that empties the bucket may go below.
        assert_eq!(passed(meter(0, 1, 1000), 100, 1000), 11 + 9);
        assert_eq!(passed(meter(0, 1, 1000), 5000, 3900), 1);
        assert_eq!(passed(meter(0, 1, 1000), 5000, 4100), 2);
    }

    #[test]
    fn who_comes_back_has_no_fresh_bucket_and_who_is_gone_is_forgotten() {
        let config =
            MqttConfig { max_publish_rate: 1, publish_burst: 1, max_sessions: 2, ..MqttConfig::default() };
        let rates = Rates::new(&config);
        let client: Arc<str> = "a".into();
        rates.of(&client).unwrap().lock().unwrap().take(1, Instant::now());
        rates.sweep();
        assert!(rates.of(&client).unwrap().lock().unwrap().ready_at().unwrap() > Instant::now());
        for name in ["b", "c", "d"] {
            rates.of(&name.into()).unwrap();
        }
        assert_eq!(rates.meters.lock().unwrap().len(), 2, "no more than sessions");
        rates.sweep();
        assert_eq!(rates.meters.lock().unwrap().len(), 1, "a full bucket need not be remembered");
        assert!(Rates::new(&MqttConfig::default()).of(&client).is_none());
    }

    #[test]
    fn the_next_publish_is_found_behind_other_packets() {
        let bytes = [0xc0, 0, 0x30, 2, 1, 2, 0x30, 1, 9];
        assert_eq!(next_publish(&bytes), Some(2..6));
        assert_eq!(next_publish(&bytes[6..]), Some(0..3));
        assert_eq!(next_publish(&bytes[..5]), None, "not complete");
        assert_eq!(next_publish(&[0xc0, 0]), None);
        assert_eq!(next_publish(&[0xc0, 0xff, 0xff, 0xff, 0xff, 1]), None, "for the codec to find");
    }
}
