//! Answers in messages of their own, sent again until the client has them (RFC 7252 §4.2, §5.2.2).

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::CoapConfig;
use crate::exchange::Peer;

#[derive(Debug)]
struct Answer {
    bytes: Vec<u8>,
    /// Bytes that may still go to this address.
    room: usize,
    again_at: Instant,
    wait: Duration,
    repeats: u32,
}

/// The answers that are not acknowledged yet, by where they went and their Message ID.
#[derive(Debug, Default)]
pub(crate) struct Separate {
    table: HashMap<Peer, Answer>,
    due: BTreeSet<(Instant, Peer)>,
}

/// What is to be done with an answer whose time has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Again(Peer, Vec<u8>),
    GivenUp,
}

impl Separate {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn has(&self, peer: Peer) -> bool {
        self.table.contains_key(&peer)
    }

    /// Keeps an answer that has left, to send it again after `wait`.
    pub(crate) fn keep(&mut self, now: Instant, peer: Peer, bytes: Vec<u8>, room: usize, wait: Duration) {
        let again_at = now + wait;
        self.due.insert((again_at, peer));
        self.table.insert(peer, Answer { bytes, room, again_at, wait, repeats: 0 });
    }

    /// The client has it, or does not want it. False if there is none.
    pub(crate) fn settle(&mut self, peer: Peer) -> bool {
        let Some(answer) = self.table.remove(&peer) else { return false };
        self.due.remove(&(answer.again_at, peer))
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// One answer whose time has come.
    pub(crate) fn pop(&mut self, now: Instant, config: &CoapConfig) -> Option<Due> {
        let (at, peer) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        let answer = self.table.get_mut(&peer)?;
        if answer.repeats >= config.max_retransmit || answer.room < answer.bytes.len() {
            self.table.remove(&peer);
            return Some(Due::GivenUp);
        }
        answer.room -= answer.bytes.len();
        answer.repeats += 1;
        answer.wait = answer.wait.saturating_mul(2);
        answer.again_at = now + answer.wait;
        self.due.insert((answer.again_at, peer));
        Some(Due::Again(peer, answer.bytes.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_sent_again_ever_more_slowly_then_given_up() {
        let (config, start) = (CoapConfig::default(), Instant::now());
        let peer = (std::net::SocketAddr::from(([127, 0, 0, 1], 1)), 7);
        let mut all = Separate::default();
        all.keep(start, peer, vec![1; 10], 1000, Duration::from_secs(2));
        for at in [2, 6, 14, 30] {
            assert_eq!(all.next(), Some(start + Duration::from_secs(at)));
            assert_eq!(all.pop(start + Duration::from_secs(at - 1), &config), None);
            assert!(
                matches!(all.pop(start + Duration::from_secs(at), &config), Some(Due::Again(p, _)) if p == peer)
            );
        }
        assert_eq!(all.pop(start + Duration::from_secs(62), &config), Some(Due::GivenUp));
        assert_eq!((all.len(), all.next()), (0, None));
        all.keep(start, peer, vec![1; 10], 15, Duration::from_secs(2));
        assert!(matches!(all.pop(start + Duration::from_secs(2), &config), Some(Due::Again(..))));
        assert_eq!(all.pop(start + Duration::from_secs(6), &config), Some(Due::GivenUp), "no room is left");
        all.keep(start, peer, vec![1; 10], 15, Duration::from_secs(2));
        assert!(all.settle(peer) && !all.settle(peer));
        assert_eq!(all.next(), None);
    }
}
