//! How an answer leaves.

use std::hash::BuildHasher as _;
use std::net::SocketAddr;
use std::time::Duration;

use coap_lite::{MessageClass, MessageType};
use tokio::time::Instant;

use super::{Asked, Core};
use crate::answer::Reply;
use crate::codec::empty;
use crate::exchange::Told;

impl Core {
    /// Sends an answer: with the acknowledgement, or in a message of its own.
    pub(super) fn reply(&mut self, now: Instant, asked: &Asked, reply: &Reply) {
        let (peer, token) = (asked.peer, &asked.head.token);
        let class = u8::from(MessageClass::Response(reply.code)) >> 5;
        let mut reply = reply.clone();
        // An answer to a block says which one; a last block's has `more` off, as the block had.
        reply.block1 = asked.block1;
        // RFC 7967: the bit of a class that is not wanted.
        if asked.no_response & (1 << (class - 1)) != 0 {
            let acknowledge = asked.head.confirmable && !asked.acknowledged;
            let bytes = empty(MessageType::Acknowledgement, asked.head.id);
            if acknowledge && self.exchanges.spend(peer, bytes.len()) {
                self.send(peer.0, bytes);
            }
            let told = if asked.head.confirmable { Told::Acknowledged } else { Told::Nothing };
            return self.exchanges.tell(peer, told, true);
        }
        let separate = asked.acknowledged && self.separate.len() < self.config.max_separate;
        let kind = match (asked.head.confirmable, asked.acknowledged) {
            (true, false) => MessageType::Acknowledgement,
            (true, true) if separate => MessageType::Confirmable,
            _ => MessageType::NonConfirmable,
        };
        let id = if kind == MessageType::Acknowledgement { asked.head.id } else { self.fresh_id(peer.0) };
        let (bytes, shortened) = reply.fit(kind, id, token, self.exchanges.room(peer));
        self.counters.shortened.add(shortened.into());
        if self.exchanges.spend(peer, bytes.len()) {
            self.send(peer.0, bytes.clone());
        }
        let told = match kind {
            MessageType::Acknowledgement => Told::Answer(bytes),
            _ if !asked.head.confirmable => Told::Nothing,
            _ => {
                self.counters.separate.add(1);
                if separate {
                    let room = self.exchanges.take_room(peer);
                    self.separate.keep(now, (peer.0, id), bytes, room, self.first_wait(id));
                }
                Told::Acknowledged
            }
        };
        self.exchanges.tell(peer, told, true);
    }

    /// ACK_TIMEOUT, and up to half of it more (ACK_RANDOM_FACTOR).
    fn first_wait(&self, id: u16) -> Duration {
        let [random, ..] = self.random.hash_one(id).to_le_bytes();
        self.config.ack_timeout + self.config.ack_timeout.mul_f64(f64::from(random) / 512.0)
    }

    fn fresh_id(&mut self, to: SocketAddr) -> u16 {
        // `max_separate` is less than there are ids, so one is free.
        for _ in 0..=u16::MAX {
            self.next_id = self.next_id.wrapping_add(1);
            if !self.separate.has((to, self.next_id)) {
                break;
            }
        }
        self.next_id
    }
}
