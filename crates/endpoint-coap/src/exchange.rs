//! Which requests were seen, and what they were answered (RFC 7252 §4.5); and how much each may still be answered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use tokio::time::Instant;

use crate::CoapConfig;

/// So many times the bytes that came from an address may go to it: who writes another's address into a datagram gains
/// no more by it (RFC 7252 §11.3).
pub(crate) const AMPLIFICATION: usize = 3;

/// Names a request: where it came from, and its Message ID.
pub(crate) type Peer = (SocketAddr, u16);

/// What is known of a request.
#[derive(Debug)]
struct Exchange {
    number: u64,
    /// Tells its bytes from others with the same Message ID.
    print: u64,
    begun: Instant,
    /// Bytes that may still go to its source because of it.
    room: usize,
    open: bool,
    told: Told,
}

/// What the source was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing that a repeat would be told again.
    Nothing,
    /// That the request is here; the answer comes in another message.
    Acknowledged,
    /// The answer.
    Answer(Vec<u8>),
}

/// Whether a request was seen before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Never,
    /// Yes; what it was told is told again.
    Before(Told),
}

#[derive(Debug, Default)]
struct Source {
    numbers: BTreeSet<u64>,
    open: usize,
}

/// The requests that are remembered.
#[derive(Debug)]
pub(crate) struct Exchanges {
    table: HashMap<Peer, Exchange>,
    /// By age.
    order: BTreeMap<u64, Peer>,
    sources: HashMap<SocketAddr, Source>,
    next: u64,
    config: CoapConfig,
    /// How many were forgotten before their time.
    pub(crate) forgotten: usize,
}

impl Exchanges {
    pub(crate) fn new(config: CoapConfig) -> Self {
        Self {
            table: HashMap::new(),
            order: BTreeMap::new(),
            sources: HashMap::new(),
            next: 0,
            config,
            forgotten: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Requests of a source that have no answer yet.
    pub(crate) fn open_of(&self, source: SocketAddr) -> usize {
        self.sources.get(&source).map_or(0, |s| s.open)
    }

    /// Looks whether a request of `bytes` bytes was seen before.
    ///
    /// The standard goes by source and Message ID alone. A device that was started anew may begin with the same ids,
    /// though, and would get answers to other questions; so other bytes are another request, once the first has its
    /// answer.
    pub(crate) fn seen(&mut self, now: Instant, peer: Peer, print: u64, bytes: usize) -> Seen {
        let Some(exchange) = self.table.get_mut(&peer) else { return Seen::Never };
        let old = now.duration_since(exchange.begun) >= self.config.exchange_lifetime;
        if !exchange.open && (old || exchange.print != print) {
            return Seen::Never;
        }
        exchange.room = exchange.room.saturating_add(AMPLIFICATION * bytes);
        Seen::Before(exchange.told.clone())
    }

    /// Remembers a new request. `None` if there is no place, since all that is remembered waits for its answer.
    pub(crate) fn begin(&mut self, now: Instant, peer: Peer, print: u64, bytes: usize) -> Option<u64> {
        self.forget(peer);
        let known = self.sources.get(&peer.0);
        if known.is_none() && self.sources.len() >= self.config.max_sources {
            let idle = self.order.values().find(|p| self.open_of(p.0) == 0)?.0;
            self.forget_source(idle);
        } else if let Some(source) = known.filter(|s| s.numbers.len() >= self.config.max_exchanges_per_source)
        {
            let oldest = source.numbers.iter().find_map(|n| self.closed(*n))?;
            self.forgotten += 1;
            self.forget(oldest);
        }
        if self.table.len() >= self.config.max_exchanges {
            let oldest = self.order.keys().find_map(|n| self.closed(*n))?;
            self.forgotten += 1;
            self.forget(oldest);
        }
        let number = self.next;
        self.next += 1;
        let room = AMPLIFICATION * bytes;
        let exchange = Exchange { number, print, begun: now, room, open: true, told: Told::Nothing };
        self.table.insert(peer, exchange);
        self.order.insert(number, peer);
        let source = self.sources.entry(peer.0).or_default();
        source.numbers.insert(number);
        source.open += 1;
        Some(number)
    }

    /// The request of that number, if it has its answer.
    fn closed(&self, number: u64) -> Option<Peer> {
        let peer = self.order.get(&number)?;
        self.table.get(peer).filter(|e| !e.open).map(|_| *peer)
    }

    fn forget(&mut self, peer: Peer) {
        let Some(exchange) = self.table.remove(&peer) else { return };
        self.order.remove(&exchange.number);
        if let Some(source) = self.sources.get_mut(&peer.0) {
            source.numbers.remove(&exchange.number);
            source.open -= usize::from(exchange.open);
            if source.numbers.is_empty() {
                self.sources.remove(&peer.0);
            }
        }
    }

    fn forget_source(&mut self, address: SocketAddr) {
        let numbers = self.sources.remove(&address).map(|s| s.numbers).unwrap_or_default();
        self.forgotten += numbers.len();
        for number in numbers {
            if let Some(peer) = self.order.remove(&number) {
                self.table.remove(&peer);
            }
        }
    }

    /// Forgets what is older than it has to be.
    pub(crate) fn expire(&mut self, now: Instant) {
        let old = |e: &Exchange| !e.open && now.duration_since(e.begun) >= self.config.exchange_lifetime;
        // Ages rise in this order; those that are open hold nobody up.
        let gone: Vec<Peer> = self
            .order
            .values()
            .take_while(|p| self.table.get(p).is_some_and(|e| e.open || old(e)))
            .filter(|p| self.table.get(p).is_some_and(old))
            .copied()
            .collect();
        gone.into_iter().for_each(|peer| self.forget(peer));
    }

    /// Bytes that may still go to its source because of this request.
    pub(crate) fn room(&self, peer: Peer) -> usize {
        self.table.get(&peer).map_or(0, |e| e.room)
    }

    /// More came from the source for this request: the blocks before.
    pub(crate) fn add_room(&mut self, peer: Peer, bytes: usize) {
        if let Some(exchange) = self.table.get_mut(&peer) {
            exchange.room = exchange.room.saturating_add(bytes);
        }
    }

    /// Takes `bytes` of the room, if it has them.
    pub(crate) fn spend(&mut self, peer: Peer, bytes: usize) -> bool {
        let Some(exchange) = self.table.get_mut(&peer).filter(|e| e.room >= bytes) else { return false };
        exchange.room -= bytes;
        true
    }

    /// Takes all of the room.
    pub(crate) fn take_room(&mut self, peer: Peer) -> usize {
        self.table.get_mut(&peer).map_or(0, |e| std::mem::take(&mut e.room))
    }

    /// Notes what the source was told, and whether that was the answer.
    pub(crate) fn tell(&mut self, peer: Peer, told: Told, done: bool) {
        let Some(exchange) = self.table.get_mut(&peer) else { return };
        exchange.told = told;
        if done
            && std::mem::take(&mut exchange.open)
            && let Some(source) = self.sources.get_mut(&peer.0)
        {
            source.open -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn peer(port: u16, id: u16) -> Peer {
        (SocketAddr::from(([127, 0, 0, 1], port)), id)
    }

    fn small() -> Exchanges {
        let config = CoapConfig {
            max_exchanges: 6,
            max_exchanges_per_source: 4,
            max_sources: 3,
            ..CoapConfig::default()
        };
        Exchanges::new(config)
    }

    #[test]
    fn a_repeat_is_told_the_same() {
        let (mut all, now) = (small(), Instant::now());
        let it = peer(1, 7);
        assert_eq!(all.seen(now, it, 0, 10), Seen::Never);
        all.begin(now, it, 0, 10).unwrap();
        assert_eq!(all.seen(now, it, 0, 10), Seen::Before(Told::Nothing));
        assert_eq!(all.seen(now, it, 9, 10), Seen::Before(Told::Nothing), "the first is not answered yet");
        all.tell(it, Told::Answer(vec![1]), true);
        assert_eq!(all.seen(now, it, 0, 10), Seen::Before(Told::Answer(vec![1])));
        assert_eq!(all.seen(now, it, 9, 10), Seen::Never, "a device that has begun anew");
        assert_eq!(all.room(it), 3 * 40);
        assert!(all.spend(it, 120) && !all.spend(it, 1));
        let late = now + Duration::from_secs(247);
        assert_eq!(all.seen(late, it, 0, 10), Seen::Never);
        all.expire(late);
        assert_eq!((all.len(), all.sources()), (0, 0));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_open_is_kept() {
        let (mut all, now) = (small(), Instant::now());
        for id in 0..4 {
            all.begin(now, peer(1, id), 0, 10).unwrap();
        }
        assert_eq!(all.begin(now, peer(1, 4), 0, 10), None, "four of this source are open");
        all.tell(peer(1, 2), Told::Nothing, true);
        assert!(all.begin(now, peer(1, 4), 0, 10).is_some());
        assert_eq!(all.seen(now, peer(1, 2), 0, 10), Seen::Never, "forgotten for the new one");
        assert_eq!(all.open_of(peer(1, 0).0), 4);
        for port in [2, 3] {
            all.begin(now, peer(port, 0), 0, 10).unwrap();
        }
        assert_eq!(all.begin(now, peer(4, 0), 0, 10), None, "three sources, all open");
        assert_eq!(all.begin(now, peer(3, 1), 0, 10), None, "six in all, all open");
        all.tell(peer(2, 0), Told::Nothing, true);
        assert!(all.begin(now, peer(4, 0), 0, 10).is_some(), "in the place of an idle source");
        assert_eq!((all.len(), all.sources(), all.forgotten), (6, 3, 2));
        all.expire(now + Duration::from_secs(247));
        assert_eq!(all.len(), 6, "what is open does not grow old");
    }
}
