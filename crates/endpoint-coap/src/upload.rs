//! Messages that come in blocks (RFC 7959 §2.3): put together, within bounds.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;
use w3bstream_types::{EventType, ProjectName};

use crate::CoapConfig;
use crate::codec::Block;

/// An upload that had no block for so long gives its place to another.
const YIELDS_AFTER: Duration = Duration::from_secs(5);

/// Which upload a block belongs to (RFC 7959 §2.5, RFC 9175 §3.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) source: SocketAddr,
    pub(crate) project: ProjectName,
    pub(crate) event_type: EventType,
    pub(crate) tag: Vec<u8>,
}

#[derive(Debug)]
struct Upload {
    bytes: Vec<u8>,
    /// True if its content is said to be text.
    text: bool,
    /// Bytes of the datagrams that brought it.
    received: usize,
    begun: Instant,
    touched: Instant,
}

/// One block, as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) block: Block,
    pub(crate) payload: &'a [u8],
    pub(crate) text: bool,
    /// What the sender says all blocks are together.
    pub(crate) size1: Option<u32>,
    /// Bytes of its datagram.
    pub(crate) datagram: usize,
}

/// What became of a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// More must come.
    Continue,
    /// That was the last; with the bytes of the datagrams before this one.
    Whole { bytes: Vec<u8>, received: usize },
    /// It is no block of the size that it says.
    Malformed,
    /// A block before it is missing, or its upload was given up.
    Incomplete,
    /// Together they are too large.
    TooLarge,
    /// There are too many uploads.
    Full,
}

/// All uploads that are not complete.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    table: HashMap<Key, Upload>,
    per_source: HashMap<SocketAddr, usize>,
    /// Memory that they hold.
    bytes: usize,
    /// How many were given up.
    pub(crate) dropped: usize,
}

impl Uploads {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, key: &Key) -> Option<Upload> {
        let upload = self.table.remove(key)?;
        self.bytes = self.bytes.saturating_sub(upload.bytes.capacity());
        if let Some(count) = self.per_source.get_mut(&key.source) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&key.source);
            }
        }
        Some(upload)
    }

    /// Gives up all.
    pub(crate) fn clear(&mut self) {
        self.dropped += self.table.len();
        self.table.clear();
        self.per_source.clear();
        self.bytes = 0;
    }

    /// Gives up those that take too long.
    pub(crate) fn expire(&mut self, now: Instant, config: &CoapConfig) {
        let late = |upload: &Upload| {
            now.duration_since(upload.touched) >= config.upload_idle
                || now.duration_since(upload.begun) >= config.upload_timeout
        };
        let gone: Vec<Key> = self.table.iter().filter(|(_, u)| late(u)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.dropped += usize::from(self.remove(&key).is_some());
        }
    }

    /// Takes one block.
    pub(crate) fn take(&mut self, now: Instant, key: Key, piece: Piece<'_>, config: &CoapConfig) -> Step {
        let Piece { block, payload, text, size1, datagram } = piece;
        let fits = if block.more { payload.len() == block.size() } else { payload.len() <= block.size() };
        if !fits {
            return Step::Malformed;
        }
        let said = size1.map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX));
        if said.max(block.start() + payload.len()) > config.max_message_bytes {
            self.dropped += usize::from(self.remove(&key).is_some());
            return Step::TooLarge;
        }
        if block.number == 0 {
            // The first block begins anew, whatever was there.
            let known = self.remove(&key).is_some();
            self.dropped += usize::from(known);
            if !block.more {
                return Step::Whole { bytes: payload.to_vec(), received: 0 };
            }
            if !known && !self.make_room(now, key.source, config) {
                return Step::Full;
            }
            let upload = Upload { bytes: Vec::new(), text, received: 0, begun: now, touched: now };
            *self.per_source.entry(key.source).or_default() += 1;
            self.table.insert(key.clone(), upload);
        }
        self.append(now, &key, (block, payload, text, datagram), config)
    }

    fn append(
        &mut self,
        now: Instant,
        key: &Key,
        (block, payload, text, datagram): (Block, &[u8], bool, usize),
        config: &CoapConfig,
    ) -> Step {
        let Some(upload) = self.table.get_mut(key) else { return Step::Incomplete };
        let (start, held) = (block.start(), upload.bytes.len());
        if upload.text != text {
            return Step::Incomplete;
        }
        // A block that came before, in another message: its answer was lost.
        if start < held && block.more && upload.bytes.get(start..start + payload.len()) == Some(payload) {
            upload.touched = now;
            return Step::Continue;
        }
        if start != held {
            return Step::Incomplete;
        }
        let before = upload.bytes.capacity();
        upload.bytes.extend_from_slice(payload);
        let grown = upload.bytes.capacity() - before;
        self.bytes += grown;
        if block.more {
            upload.received += datagram;
            upload.touched = now;
            if self.bytes > config.max_upload_bytes {
                self.dropped += usize::from(self.remove(key).is_some());
                return Step::Full;
            }
            return Step::Continue;
        }
        match self.remove(key) {
            Some(upload) => Step::Whole { bytes: upload.bytes, received: upload.received },
            None => Step::Incomplete,
        }
    }

    /// Finds a place for one upload more. Who sends blocks keeps his place; who has stopped may lose it.
    fn make_room(&mut self, now: Instant, source: SocketAddr, config: &CoapConfig) -> bool {
        let own = self.per_source.get(&source).copied().unwrap_or(0) >= config.max_uploads_per_source;
        if !own && self.table.len() < config.max_uploads {
            return true;
        }
        let idle = self.table.iter().filter(|(key, _)| !own || key.source == source);
        let oldest = idle.min_by_key(|(_, upload)| upload.touched).map(|(key, u)| (key.clone(), u.touched));
        match oldest {
            Some((key, touched)) if now.duration_since(touched) >= YIELDS_AFTER => {
                self.dropped += usize::from(self.remove(&key).is_some());
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16, tag: &[u8]) -> Key {
        let source = SocketAddr::from(([127, 0, 0, 1], port));
        Key { source, project: "p".parse().unwrap(), event_type: "t".parse().unwrap(), tag: tag.to_vec() }
    }

    fn piece(number: u32, more: bool, payload: &[u8]) -> Piece<'_> {
        let block = Block { number, more, exponent: 0 };
        Piece { block, payload, text: false, size1: None, datagram: 40 }
    }

    fn config() -> CoapConfig {
        CoapConfig {
            max_uploads: 3,
            max_uploads_per_source: 2,
            max_message_bytes: 1024,
            ..CoapConfig::default()
        }
    }

    const A: &[u8] = &[b'a'; 16];
    const B: &[u8] = &[b'b'; 16];

    #[test]
    fn blocks_are_put_together() {
        let (mut uploads, now, config) = (Uploads::default(), Instant::now(), config());
        let mut take =
            |number, more, payload| uploads.take(now, key(1, b""), piece(number, more, payload), &config);
        assert_eq!(take(1, true, B), Step::Incomplete, "no first block");
        assert_eq!(take(0, true, A), Step::Continue);
        assert_eq!(take(0, true, B), Step::Continue, "begins anew");
        assert_eq!(take(2, true, B), Step::Incomplete, "a gap");
        assert_eq!(take(1, true, A), Step::Continue);
        assert_eq!(take(1, true, A), Step::Continue, "the same once more");
        assert_eq!(take(1, true, B), Step::Incomplete, "another one in its place");
        assert_eq!(take(2, true, &A[1..]), Step::Malformed);
        assert_eq!(take(2, false, b"end"), Step::Whole { bytes: [B, A, b"end"].concat(), received: 80 });
        assert_eq!(take(2, false, b"end"), Step::Incomplete, "it is gone");
        assert_eq!(take(0, false, b"one"), Step::Whole { bytes: b"one".to_vec(), received: 0 });
        assert_eq!((uploads.len(), uploads.bytes()), (0, 0));
    }

    #[test]
    fn every_bound_is_kept() {
        let (mut uploads, now, config) = (Uploads::default(), Instant::now(), config());
        let begin = |uploads: &mut Uploads, at, key| uploads.take(at, key, piece(0, true, A), &config);
        assert_eq!(begin(&mut uploads, now, key(1, b"")), Step::Continue);
        assert_eq!(begin(&mut uploads, now, key(1, b"x")), Step::Continue, "a tag tells them apart");
        assert_eq!(begin(&mut uploads, now, key(1, b"y")), Step::Full, "of one source");
        assert_eq!(begin(&mut uploads, now, key(2, b"")), Step::Continue);
        assert_eq!(begin(&mut uploads, now, key(3, b"")), Step::Full, "of all");
        let later = now + YIELDS_AFTER;
        assert_eq!(begin(&mut uploads, later, key(3, b"")), Step::Continue, "who has stopped gives way");
        assert_eq!((uploads.len(), uploads.dropped), (3, 1));
        let large = Piece { size1: Some(1025), ..piece(0, true, A) };
        assert_eq!(uploads.take(later, key(3, b""), large, &config), Step::TooLarge, "by its own word");
        let far = piece(64, true, A);
        assert_eq!(uploads.take(later, key(2, b""), far, &config), Step::TooLarge, "by its place");
        uploads.expire(later + config.upload_idle, &config);
        assert_eq!((uploads.len(), uploads.bytes()), (0, 0));
    }

    #[test]
    fn memory_and_time_are_bounded_over_all() {
        let small =
            CoapConfig { max_upload_bytes: 1024, upload_timeout: Duration::from_secs(70), ..config() };
        let (mut uploads, mut now) = (Uploads::default(), Instant::now());
        let mut full = 0;
        for number in 0..40 {
            for port in [1, 2] {
                full += usize::from(
                    uploads.take(now, key(port, b""), piece(number, true, A), &small) == Step::Full,
                );
                assert!(uploads.bytes() <= 1024);
            }
        }
        assert_eq!(full, 1, "one of the two had to go");
        for number in 40..44 {
            now += Duration::from_secs(20);
            uploads.expire(now, &small);
            let _ = uploads.take(now, key(1, b""), piece(number, true, A), &small);
            let _ = uploads.take(now, key(2, b""), piece(number, true, A), &small);
        }
        assert_eq!(uploads.len(), 0, "neither is idle, and both take too long");
    }
}
