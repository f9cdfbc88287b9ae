//! What the sequencer has just read, kept for the executor: otherwise each message would be read from the store, decoded
//! and compared with its digest three times on its way.
//!
//! A shortcut and nothing more: journal and store are what counts. What is not here, after a start or because the
//! executor is far behind, is read from them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use w3bstream_types::{CertifiedBlock, Stored};

/// The most bytes of payload that wait for the executor of one project: two full blocks of small messages many times
/// over, and next to nothing for a machine.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// The most messages that wait: each has its own overhead beside the payload.
const MOST_MESSAGES: usize = 16 * 1024;

/// A block with the messages that it names.
pub(crate) type Read = (CertifiedBlock, Vec<Stored>);

/// Blocks that were journaled and not yet executed.
#[derive(Debug, Default)]
pub(crate) struct Handover(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    blocks: BTreeMap<u64, Read>,
    messages: usize,
    bytes: usize,
}

/// Bytes of payload.
fn size(messages: &[Stored]) -> usize {
    messages.iter().map(|m| m.record().payload().len()).sum()
}

/// Whether so many messages may be kept at all.
pub(crate) fn fits(messages: &[Stored]) -> bool {
    messages.len() <= MOST_MESSAGES && size(messages) <= MOST_BYTES
}

impl Handover {
    /// Keeps a block that is in the journal, if there is room.
    pub(crate) fn put(&self, block: CertifiedBlock, messages: Vec<Stored>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, bytes) = (waiting.messages + messages.len(), waiting.bytes + size(&messages));
        if count > MOST_MESSAGES || bytes > MOST_BYTES {
            return;
        }
        (waiting.messages, waiting.bytes) = (count, bytes);
        waiting.blocks.insert(block.block.header().height, (block, messages));
    }

    /// Takes the block of a height, if it was kept, and forgets those before it.
    pub(crate) fn take(&self, height: u64) -> Option<Read> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        while let Some(entry) = waiting.blocks.first_entry().filter(|e| *e.key() <= height) {
            let (at, (block, messages)) = entry.remove_entry();
            waiting.messages = waiting.messages.saturating_sub(messages.len());
            waiting.bytes = waiting.bytes.saturating_sub(size(&messages));
            found = (at == height).then_some((block, messages));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use w3bstream_types::{
        Algorithm, Block, Certificate, Did, Digest, Draft, Entry, Form, Place, Position, Record, SecretKey,
        Sequence, Timestamp, Trust,
    };

    use super::*;

    fn key() -> SecretKey {
        SecretKey::from_bytes(Algorithm::EdDSA, &[7; 32]).unwrap()
    }

    fn message(counter: u32, bytes: usize) -> Stored {
        let device = Did::key(&key().public());
        let draft = Draft {
            audience: w3bstream_types::ProjectId(Digest::ZERO),
            key: device.default_key_id(),
            event_type: "reading".parse().unwrap(),
            sequence: Sequence::new(0, counter),
            time: Timestamp::NONE,
            payload: vec![0; bytes],
        };
        let record = Record::new(Form::Envelope(draft.sign_envelope([0; 16], &key())));
        Stored::from_store(record, Trust::Signature, Timestamp(1), Position(u64::from(counter) + 1))
    }

    fn block(height: u64, messages: &[Stored]) -> CertifiedBlock {
        let place = Place {
            genesis: Digest::ZERO,
            epoch: 0,
            height,
            parent: Digest::ZERO,
            time: Timestamp(1),
            proposer: 0,
        };
        let entries = messages.iter().map(|m| Entry::Message(m.record().id())).collect();
        let block = Block::new(place, entries);
        let certificate = Certificate::sign_alone(&Digest::ZERO, block.header(), &key());
        CertifiedBlock { block, certificate }
    }

    fn put(handover: &Handover, height: u64, messages: Vec<Stored>) {
        handover.put(block(height, &messages), messages);
    }

    #[test]
    fn each_height_is_given_once_and_older_ones_are_forgotten() {
        let handover = Handover::default();
        for height in 1..=3 {
            put(&handover, height, vec![message(u32::try_from(height).unwrap(), 10)]);
        }
        let (block, messages) = handover.take(2).unwrap();
        assert_eq!((block.block.header().height, messages), (2, vec![message(2, 10)]));
        assert!(handover.take(2).is_none() && handover.take(1).is_none());
        assert!(handover.take(3).is_some());
        let waiting = handover.0.lock().unwrap();
        assert_eq!((waiting.blocks.len(), waiting.messages, waiting.bytes), (0, 0, 0));
    }

    #[test]
    fn beyond_its_bounds_nothing_is_kept() {
        let handover = Handover::default();
        let half = MOST_BYTES / 2;
        put(&handover, 1, vec![message(1, half)]);
        put(&handover, 2, vec![message(2, half + 1)]);
        put(&handover, 3, vec![message(3, half)]);
        assert!(!fits(&[message(1, MOST_BYTES), message(2, 1)]) && fits(&[message(1, MOST_BYTES)]));
        assert!(handover.take(1).is_some() && handover.take(2).is_none() && handover.take(3).is_some());
        let few = message(1, 1);
        put(&handover, 4, vec![few.clone(); MOST_MESSAGES]);
        put(&handover, 5, vec![few.clone()]);
        assert!(!fits(&vec![few; MOST_MESSAGES + 1]));
        assert!(handover.take(4).is_some() && handover.take(5).is_none());
    }
}
