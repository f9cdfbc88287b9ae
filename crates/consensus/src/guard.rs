//! The key and its guard: a second line of defence that is independent of every backend.

use std::collections::BTreeMap;
use std::fmt::Debug;

use w3bstream_types::{Canonical, Decoder, Digest, Encoder, Malformed, PublicKey};

use crate::{Error, ErrorKind, Slot};

/// The phase under which attestation statements are guarded. Backends use the phases below it.
pub const PHASE_ATTEST: u8 = 255;

/// Signs with the node's consensus key. May block, as the driver may.
pub trait ConsensusSigner: Send + Sync + Debug {
    /// The public half, to compare with the genesis before anything is signed.
    ///
    /// # Errors
    /// [`ErrorKind::Signer`].
    fn public(&self) -> Result<PublicKey, Error>;

    /// Signs these bytes with Ed25519.
    ///
    /// # Errors
    /// [`ErrorKind::Signer`].
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error>;
}

/// What was said in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardEntry {
    /// The slot.
    pub slot: Slot,
    /// SHA-256 of the statement.
    pub statement: Digest,
}

impl Canonical for GuardEntry {
    const DOMAIN: &'static str = "w3b/guard-entry";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 5;

    fn encode_fields(&self, e: &mut Encoder) {
        let Slot { epoch, height, phase, round } = self.slot;
        e.u64(epoch).u64(height).u64(u64::from(phase)).u64(round).digest(&self.statement);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (epoch, height, phase, round) = (d.u64()?, d.u64()?, d.u64()?, d.u64()?);
        let phase = u8::try_from(phase).map_err(|_| Malformed::new(Self::DOMAIN, "phase is above 255"))?;
        Ok(Self { slot: Slot { epoch, height, phase, round }, statement: d.digest()? })
    }
}

/// Remembers what this node has said and refuses to contradict it.
///
/// For each (epoch, height, phase) it knows the highest round and what was said there: the same again is
/// fine, anything else in that round or in a lower one is refused. Heights up to the floor are forgotten and
/// refused altogether, so its memory is bounded by the heights in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    floor: u64,
    said: BTreeMap<(u64, u64, u8), (u64, Digest)>,
}

impl Guard {
    /// A guard that forgot everything up to `floor` and knows these entries.
    ///
    /// # Errors
    /// [`ErrorKind::Equivocation`] if the entries contradict each other.
    pub fn restore(floor: u64, entries: &[GuardEntry]) -> Result<Self, Error> {
        let mut guard = Self { floor, said: BTreeMap::new() };
        for entry in entries {
            guard.admit(*entry)?;
        }
        Ok(guard)
    }

    /// Takes note of a statement. `true` if it is new and must be durable before it leaves.
    ///
    /// # Errors
    /// [`ErrorKind::Equivocation`] if it contradicts what was said, or its height is forgotten.
    pub fn admit(&mut self, entry: GuardEntry) -> Result<bool, Error> {
        let Slot { epoch, height, phase, round } = entry.slot;
        let refuse = |why: &str| {
            let slot = format!("epoch {epoch}, height {height}, phase {phase}, round {round}");
            Err(Error::new(ErrorKind::Equivocation, format!("the guard refuses to sign for {slot}: {why}")))
        };
        if height <= self.floor {
            return refuse("the height is settled");
        }
        match self.said.get(&(epoch, height, phase)) {
            Some((said, _)) if round < *said => return refuse("a higher round was signed"),
            Some((said, what)) if round == *said => {
                return if entry.statement == *what {
                    Ok(false)
                } else {
                    refuse("another statement was signed")
                };
            }
            _ => self.said.insert((epoch, height, phase), (round, entry.statement)),
        };
        Ok(true)
    }

    /// Forgets heights up to `floor`; they are refused from now on.
    pub fn forget_to(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        self.said.retain(|(_, height, _), _| *height > self.floor);
    }

    /// The height up to which everything is forgotten and refused.
    #[must_use]
    pub const fn floor(&self) -> u64 {
        self.floor
    }

    /// Everything that it knows, in a fixed order.
    #[must_use]
    pub fn entries(&self) -> Vec<GuardEntry> {
        let entry = |(&(epoch, height, phase), &(round, statement)): (&(u64, u64, u8), &(u64, Digest))| {
            GuardEntry { slot: Slot { epoch, height, phase, round }, statement }
        };
        self.said.iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(height: u64, round: u64, what: &[u8]) -> GuardEntry {
        GuardEntry { slot: Slot { epoch: 0, height, phase: 2, round }, statement: Digest::of(what) }
    }

    #[test]
    fn a_second_statement_is_refused_and_the_same_one_is_not() {
        let mut guard = Guard::default();
        assert!(guard.admit(entry(1, 0, b"a")).unwrap());
        assert!(!guard.admit(entry(1, 0, b"a")).unwrap());
        assert_eq!(guard.admit(entry(1, 0, b"b")).unwrap_err().kind(), ErrorKind::Equivocation);
        assert!(guard.admit(entry(1, 1, b"b")).unwrap(), "a higher round may say something else");
        assert!(guard.admit(entry(1, 0, b"a")).is_err(), "but never go back");
        assert!(guard.admit(entry(0, 0, b"a")).is_err(), "heights count from 1");
    }

    #[test]
    fn what_is_forgotten_is_refused_and_the_rest_survives() {
        let mut guard = Guard::default();
        for height in 1..=5 {
            guard.admit(entry(height, 0, b"a")).unwrap();
        }
        guard.forget_to(3);
        let mut back = Guard::restore(guard.floor(), &guard.entries()).unwrap();
        assert_eq!(back, guard);
        assert_eq!(back.entries().len(), 2);
        assert!(back.admit(entry(3, 0, b"a")).is_err());
        assert!(back.admit(entry(4, 0, b"b")).is_err());
        assert!(!back.admit(entry(4, 0, b"a")).unwrap());
    }

    #[test]
    fn entries_are_canonical() {
        let e = entry(7, 3, b"x");
        assert_eq!(GuardEntry::from_canonical(&e.to_canonical()).unwrap(), e);
    }
}
