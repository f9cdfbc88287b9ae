//! A device's sequence numbers and the window in which they may arrive out of order.

use std::fmt;
use std::str::FromStr;

use crate::{Canonical, Decoder, Encoder, Malformed};

/// (boot epoch, counter), ordered as one `u64`. A device counts up; when its memory was wiped it starts
/// the next boot epoch at counter 0. In JSON a decimal string of the `u64`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(u64);

impl Sequence {
    /// The number `counter` of boot epoch `epoch`.
    #[must_use]
    pub const fn new(epoch: u32, counter: u32) -> Self {
        Self((epoch as u64) << 32 | counter as u64)
    }

    /// From the one number.
    #[must_use]
    pub const fn from_u64(v: u64) -> Self {
        Self(v)
    }

    /// As the one number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The boot epoch.
    #[must_use]
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The counter inside the boot epoch.
    #[must_use]
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch(), self.counter())
    }
}

impl FromStr for Sequence {
    type Err = Malformed;

    /// Accepts the decimal `u64` without sign or leading zeros.
    fn from_str(s: &str) -> Result<Self, Malformed> {
        let bad = || Malformed::new("sequence", "must be a decimal number below 2^64");
        let v: u64 = s.parse().map_err(|_| bad())?;
        if v.to_string() == s { Ok(Self(v)) } else { Err(bad()) }
    }
}

crate::text::text_serde!(Sequence);

/// What a window says of a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowVerdict {
    /// Not seen, and inside or above the window.
    New,
    /// Seen before.
    Seen,
    /// Below the window or of an older boot epoch: whether it was seen is not known any more.
    TooOld,
}

/// How far behind the highest counter a message may arrive, in messages.
pub const WINDOW_BITS: u32 = 4096;
const WORDS: usize = (WINDOW_BITS / 64) as usize;

/// Which sequence numbers of one device were ordered: the highest counter of the newest boot epoch and a
/// map of the 4,096 counters up to it. Gaps and reordering inside the map are accepted. Part of the
/// replicated state, so every node judges alike.
#[derive(Clone, PartialEq, Eq)]
pub struct SequenceWindow {
    epoch: u32,
    // `None` until the first message: counter 0 must be acceptable.
    highest: Option<u32>,
    // Bit i of the map is counter `highest - i`.
    map: [u64; WORDS],
}

impl Default for SequenceWindow {
    fn default() -> Self {
        Self { epoch: 0, highest: None, map: [0; WORDS] }
    }
}

impl fmt::Debug for SequenceWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen: u32 = self.map.iter().map(|w| w.count_ones()).sum();
        write!(f, "SequenceWindow {{ epoch: {}, highest: {:?}, seen: {seen} }}", self.epoch, self.highest)
    }
}

impl SequenceWindow {
    /// What is known of `sequence`.
    #[must_use]
    pub fn check(&self, sequence: Sequence) -> WindowVerdict {
        let Some(highest) = self.highest else { return WindowVerdict::New };
        if sequence.epoch() != self.epoch {
            let newer = sequence.epoch() > self.epoch;
            return if newer { WindowVerdict::New } else { WindowVerdict::TooOld };
        }
        let Some(behind) = highest.checked_sub(sequence.counter()) else { return WindowVerdict::New };
        if behind >= WINDOW_BITS {
            return WindowVerdict::TooOld;
        }
        if self.bit(behind) { WindowVerdict::Seen } else { WindowVerdict::New }
    }

    /// Marks `sequence` as seen and says what was known of it before. Only `New` changes the window.
    pub fn accept(&mut self, sequence: Sequence) -> WindowVerdict {
        let verdict = self.check(sequence);
        if verdict != WindowVerdict::New {
            return verdict;
        }
        match self.highest {
            Some(highest) if sequence.epoch() == self.epoch => {
                if let Some(ahead) = sequence.counter().checked_sub(highest) {
                    self.shift(ahead);
                    self.highest = Some(sequence.counter());
                    self.map[0] |= 1;
                } else {
                    let behind = highest - sequence.counter();
                    self.map[(behind / 64) as usize] |= 1 << (behind % 64);
                }
            }
            _ => {
                let first = Some(sequence.counter());
                *self = Self { epoch: sequence.epoch(), highest: first, map: [0; WORDS] };
                self.map[0] = 1;
            }
        }
        verdict
    }

    /// The boot epoch to tell a device whose memory was wiped: the one after the newest that was seen. (After
    /// the last of the 2^32 epochs it stays the last, and such a device needs a new key.)
    #[must_use]
    pub fn next_epoch(&self) -> u32 {
        if self.highest.is_none() { 0 } else { self.epoch.saturating_add(1) }
    }

    /// The highest sequence seen.
    #[must_use]
    pub fn highest(&self) -> Option<Sequence> {
        self.highest.map(|c| Sequence::new(self.epoch, c))
    }

    /// Whether some messages lead to this window: its highest counter was seen, and none below counter 0.
    fn is_reachable(&self) -> bool {
        match self.highest {
            None => *self == Self::default(),
            Some(highest) => {
                self.bit(0) && (0..WINDOW_BITS).all(|behind| behind <= highest || !self.bit(behind))
            }
        }
    }

    fn bit(&self, behind: u32) -> bool {
        self.map[(behind / 64) as usize] >> (behind % 64) & 1 == 1
    }

    /// Moves every bit `by` places up (towards older).
    fn shift(&mut self, by: u32) {
        let (words, bits) = ((by / 64) as usize, by % 64);
        for i in (0..WORDS).rev() {
            let at = |j: Option<usize>| j.map_or(0, |j| self.map[j]);
            let low = i.checked_sub(words);
            let carry = low.and_then(|j| j.checked_sub(1));
            self.map[i] = if bits == 0 { at(low) } else { at(low) << bits | at(carry) >> (64 - bits) };
        }
    }
}

impl Canonical for SequenceWindow {
    const DOMAIN: &'static str = "w3b/window";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 3;

    fn encode_fields(&self, e: &mut Encoder) {
        let map: Vec<u8> = self.map.iter().flat_map(|w| w.to_be_bytes()).collect();
        // Old zero words are left away: most windows are nearly empty or nearly full.
        let used = map.len() - map.iter().rev().take_while(|b| **b == 0).count();
        e.u64(u64::from(self.epoch));
        e.option(self.highest.as_ref(), |e, h| {
            e.u64(u64::from(*h));
        });
        e.bytes(&map[..used]);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let epoch = d.u32()?;
        let highest = d.option(|d| d.u32())?;
        let used = d.bytes()?;
        let mut bytes = [0; WORDS * 8];
        bytes
            .get_mut(..used.len())
            .ok_or_else(|| Malformed::new(Self::DOMAIN, "has more than 4,096 bits"))?
            .copy_from_slice(used);
        let mut map = [0; WORDS];
        for (word, raw) in map.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = raw.iter().fold(0, |w, b| w << 8 | u64::from(*b));
        }
        let window = Self { epoch, highest, map };
        if !window.is_reachable() {
            return Err(Malformed::new(Self::DOMAIN, "is none that any messages could give"));
        }
        Ok(window)
    }
}
