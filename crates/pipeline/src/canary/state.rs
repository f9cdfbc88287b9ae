//! The state that a canary sees: the project's as it was before the block, and what the canary has written on top.
//!
//! The vfs has the newest state alone, which may be many blocks ahead. Each block that waits therefore brings what the keys
//! that it changed were before it. A key's value before the first block in the queue is the first such value in the queue,
//! or else the newest. That is right whatever happens meanwhile, if the newest is read first and the queue after it: a
//! block is put into the queue before it is stored.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use w3bstream_types::{Record, Timestamp, Transcript};

use crate::call::Traced;

/// Keys of one applet, as the vfs has them, with their values; `None` is not there.
pub(super) type Keys = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The applet's calls of one block.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) height: u64,
    pub(super) time: Timestamp,
    pub(super) transcript: Transcript,
    pub(super) calls: Vec<(Record, Traced)>,
    /// What the keys that the applet changed were before the block.
    pub(super) before: Keys,
    /// What they are after it.
    pub(super) after: Keys,
}

/// Bytes of keys and values.
pub(super) fn size(keys: &Keys) -> usize {
    keys.iter().map(|(k, v)| 64 + k.len() + v.as_ref().map_or(0, Vec::len)).sum()
}

impl Job {
    fn size(&self) -> usize {
        let done = |call: &Traced| {
            let outputs = call.done.outputs.iter().map(|o| o.target.len() + o.data.len());
            let event = call.event.as_ref().map_or(0, |event| event.payload.len());
            size(&call.done.writes) + outputs.sum::<usize>() + event
        };
        let calls = self.calls.iter().map(|(record, call)| 512 + record.payload().len() + done(call));
        size(&self.before) + size(&self.after) + calls.sum::<usize>()
    }
}

/// Blocks that wait for a canary. The first is the one that it runs.
#[derive(Debug, Default)]
pub(super) struct Queue {
    jobs: VecDeque<Waiting>,
    calls: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    job: Arc<Job>,
    /// What keys were before the blocks behind it whose calls were dropped.
    later: Keys,
    bytes: usize,
}

/// What became of a block that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// It waits.
    Taken,
    /// So many of its calls were dropped.
    Dropped(usize),
    /// Not even what its keys were has room.
    TooMuch,
}

impl Queue {
    pub(super) const fn calls(&self) -> usize {
        self.calls
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn front(&self) -> Option<Arc<Job>> {
        self.jobs.front().map(|w| w.job.clone())
    }

    /// The first block was run.
    pub(super) fn pop(&mut self) {
        if let Some(done) = self.jobs.pop_front() {
            self.calls = self.calls.saturating_sub(done.job.calls.len());
            self.bytes = self.bytes.saturating_sub(done.bytes);
        }
    }

    /// Puts a block in, as far as there is room.
    pub(super) fn offer(&mut self, job: Job, (most_calls, most_bytes): (usize, usize)) -> Offered {
        let (calls, bytes) = (job.calls.len(), job.size());
        if self.calls + calls <= most_calls && self.bytes + bytes <= most_bytes {
            (self.calls, self.bytes) = (self.calls + calls, self.bytes + bytes);
            self.jobs.push_back(Waiting { job: Arc::new(job), later: Keys::new(), bytes });
            return Offered::Taken;
        }
        // Those who wait must still find what the keys were.
        if let Some(last) = self.jobs.back_mut() {
            for (key, value) in job.before {
                if !last.job.before.contains_key(&key) && !last.later.contains_key(&key) {
                    let bytes = 64 + key.len() + value.as_ref().map_or(0, Vec::len);
                    last.bytes += bytes;
                    self.bytes += bytes;
                    last.later.insert(key, value);
                }
            }
        }
        // Twice, since the calls alone may take all of it.
        if self.bytes > most_bytes.saturating_mul(2) { Offered::TooMuch } else { Offered::Dropped(calls) }
    }

    /// What a key was before the first block, if a block has changed it since.
    pub(super) fn before(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let found = self.jobs.iter().find_map(|w| w.job.before.get(key).or_else(|| w.later.get(key)));
        found.cloned()
    }
}

/// What a canary has written and the project has not, or other than it.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    keys: Keys,
    bytes: usize,
}

impl Overlay {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.keys.get(key)
    }

    /// Bytes in which the two states differ.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A block has ended: the key is `own` in the canary's state and `live` in the project's.
    pub(super) fn settle(&mut self, key: &[u8], own: Option<Vec<u8>>, live: Option<&Vec<u8>>) {
        let size = |value: &Option<Vec<u8>>| 64 + key.len() + value.as_ref().map_or(0, Vec::len);
        if let Some(gone) = self.keys.remove(key) {
            self.bytes = self.bytes.saturating_sub(size(&gone));
        }
        if own.as_ref() != live {
            self.bytes += size(&own);
            self.keys.insert(key.to_vec(), own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(height: u64, before: &[(&str, Option<&str>)]) -> Job {
        let keys = |list: &[(&str, Option<&str>)]| -> Keys {
            list.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.map(|v| v.as_bytes().to_vec()))).collect()
        };
        let (time, transcript) = (Timestamp(1), Transcript::default());
        Job { height, time, transcript, calls: vec![], before: keys(before), after: Keys::new() }
    }

    const ROOM: (usize, usize) = (10, 100_000);

    #[test]
    fn a_key_is_what_it_was_before_the_first_block_that_changed_it() {
        let mut queue = Queue::default();
        assert_eq!(queue.offer(job(1, &[("a", None)]), ROOM), Offered::Taken);
        // Dropped: no room for more bytes than are there.
        assert_eq!(queue.offer(job(2, &[("a", Some("1")), ("b", Some("x"))]), (10, 80)), Offered::Dropped(0));
        assert_eq!(queue.offer(job(3, &[("b", Some("y")), ("c", Some("z"))]), ROOM), Offered::Taken);
        let was = |queue: &Queue, key: &str| {
            queue.before(key.as_bytes()).map(|v| v.map(|v| String::from_utf8(v).unwrap()))
        };
        assert_eq!(was(&queue, "a"), Some(None));
        assert_eq!(was(&queue, "b"), Some(Some("x".into())), "of the block that was dropped");
        assert_eq!(was(&queue, "c"), Some(Some("z".into())));
        assert_eq!(was(&queue, "d"), None);
        queue.pop();
        assert_eq!((was(&queue, "a"), was(&queue, "b")), (None, Some(Some("y".into()))));
        queue.pop();
        assert_eq!((was(&queue, "c"), queue.bytes, queue.calls()), (None, 0, 0));
    }

    #[test]
    fn what_does_not_fit_at_all_is_told() {
        let mut queue = Queue::default();
        assert_eq!(queue.offer(job(1, &[]), ROOM), Offered::Taken);
        let long = "x".repeat(1000);
        assert_eq!(queue.offer(job(2, &[("a", Some(&long))]), (10, 400)), Offered::TooMuch);
    }

    #[test]
    fn an_overlay_holds_what_differs_and_nothing_else() {
        let mut overlay = Overlay::default();
        let some = |text: &str| Some(text.as_bytes().to_vec());
        overlay.settle(b"a", some("1"), some("2").as_ref());
        overlay.settle(b"b", None, some("2").as_ref());
        overlay.settle(b"c", some("3"), some("3").as_ref());
        assert_eq!(
            (overlay.get(b"a"), overlay.get(b"b"), overlay.get(b"c")),
            (Some(&some("1")), Some(&None), None)
        );
        assert!(overlay.bytes() > 0);
        overlay.settle(b"a", some("2"), some("2").as_ref());
        overlay.settle(b"b", None, None);
        assert_eq!((overlay.bytes(), overlay.keys.len()), (0, 0));
    }
}
