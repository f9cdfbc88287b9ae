//! What the driver writes: a snapshot first, then one record per step.

use w3bstream_types::{Canonical, CertifiedBlock, Decoder, Digest, Encoder, MAX_CANONICAL_BYTES, Malformed};

use crate::{Error, ErrorKind, Guard, GuardEntry, Setup, Tip};

/// The first record of a log: whose it is, and everything that came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) genesis: Digest,
    pub(super) backend: String,
    pub(super) wire_version: u64,
    /// The member's place plus one; 0 for an observer.
    pub(super) seat: u64,
    /// The last block that need not be kept; the steps after this record hold all later ones.
    pub(super) tip: Tip,
    pub(super) guard_floor: u64,
    pub(super) guard: Vec<GuardEntry>,
    /// The backend's.
    pub(super) records: Vec<Vec<u8>>,
}

/// What one step decided; in the log as a whole or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) guard: Vec<GuardEntry>,
    pub(super) records: Vec<Vec<u8>>,
    pub(super) commits: Vec<CertifiedBlock>,
}

impl Snapshot {
    pub(super) fn first(setup: &Setup, genesis: Digest) -> Self {
        Self {
            genesis,
            backend: setup.factory.name().to_owned(),
            wire_version: u64::from(setup.factory.wire_version()),
            seat: setup.me.map_or(0, |me| u64::from(me) + 1),
            tip: setup.base,
            guard_floor: setup.base.height,
            guard: Vec::new(),
            records: Vec::new(),
        }
    }

    /// Refuses the log of another subnet, backend or member.
    pub(super) fn check_belongs(&self, to: &Self) -> Result<(), Error> {
        let other = |what: &str, has: &dyn std::fmt::Display, want: &dyn std::fmt::Display| {
            let why =
                format!("the log is of another {what}: {has}, not {want}; each member needs its own log");
            Err(Error::new(ErrorKind::Incompatible, why))
        };
        if self.genesis != to.genesis {
            return other("genesis", &self.genesis, &to.genesis);
        }
        if self.backend != to.backend {
            return other("backend", &self.backend, &to.backend);
        }
        if self.wire_version != to.wire_version {
            return other("wire version", &self.wire_version, &to.wire_version);
        }
        if self.seat != to.seat {
            return other("member (counted from 1, 0 is an observer)", &self.seat, &to.seat);
        }
        Ok(())
    }
}

impl Step {
    pub(super) fn is_empty(&self) -> bool {
        self.guard.is_empty() && self.records.is_empty() && self.commits.is_empty()
    }
}

/// The canonical bytes, if they can be read back.
pub(super) fn encode<T: Canonical>(value: &T) -> Result<Vec<u8>, Error> {
    let bytes = value.to_canonical();
    if bytes.len() > MAX_CANONICAL_BYTES {
        let what =
            format!("one step wants to log {} bytes, at most {MAX_CANONICAL_BYTES} can be read", bytes.len());
        return Err(Error::new(ErrorKind::Protocol, what));
    }
    Ok(bytes)
}

/// A log as it was found.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) head: Snapshot,
    pub(super) guard: Guard,
    pub(super) records: Vec<Vec<u8>>,
    pub(super) commits: Vec<CertifiedBlock>,
}

/// Reads the records of a log that is not empty.
pub(super) fn replay(log: &[Vec<u8>]) -> Result<Replayed, Error> {
    let corrupt = |n: usize, why: &dyn std::fmt::Display| {
        Error::new(ErrorKind::CorruptWal, format!("record {n} of the log: {why}"))
    };
    let first = log.first().ok_or_else(|| corrupt(0, &"is missing"))?;
    let head = Snapshot::from_canonical(first).map_err(|e| corrupt(0, &e))?;
    let guard = Guard::restore(head.guard_floor, &head.guard).map_err(|e| corrupt(0, &e))?;
    let mut replayed = Replayed { records: head.records.clone(), commits: Vec::new(), head, guard };
    let mut tip = replayed.head.tip;
    for (n, bytes) in log.iter().enumerate().skip(1) {
        let step = Step::from_canonical(bytes).map_err(|e| corrupt(n, &e))?;
        for entry in step.guard {
            replayed.guard.admit(entry).map_err(|e| corrupt(n, &e))?;
        }
        for commit in step.commits {
            let header = commit.block.header();
            if (header.height, header.parent) != (tip.height + 1, tip.id) {
                return Err(corrupt(n, &format!("commits height {} after {}", header.height, tip.height)));
            }
            tip = Tip::of(&commit.block);
            replayed.commits.push(commit);
        }
        replayed.records.extend(step.records);
    }
    Ok(replayed)
}

/// Reads records that may be anything, twice over: what was read is written as it was.
#[cfg(feature = "fuzzing")]
pub(crate) fn replay_any(records: &[Vec<u8>]) {
    for record in records {
        let same = [
            Snapshot::from_canonical(record).map(|s| s.to_canonical()),
            Step::from_canonical(record).map(|s| s.to_canonical()),
        ];
        assert!(same.iter().flatten().all(|again| again == record), "a record has two forms");
    }
    if let Ok(replayed) = replay(records) {
        let heights = replayed.commits.iter().map(|c| c.block.header().height);
        assert!(
            heights.eq((1..=replayed.commits.len() as u64).map(|n| replayed.head.tip.height + n)),
            "a height is missing"
        );
    }
}

fn encode_bytes(e: &mut Encoder, records: &[Vec<u8>]) {
    e.list(records, |e, r| {
        e.bytes(r);
    });
}

fn encode_items<T: Canonical>(e: &mut Encoder, items: &[T]) {
    e.list(items, |e, i| {
        e.item(i);
    });
}

impl Canonical for Snapshot {
    const DOMAIN: &'static str = "w3b/consensus-snapshot";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 8;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.genesis).text(&self.backend).u64(self.wire_version).u64(self.seat);
        e.item(&self.tip).u64(self.guard_floor);
        encode_items(e, &self.guard);
        encode_bytes(e, &self.records);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            genesis: d.digest()?,
            backend: d.text()?.to_owned(),
            wire_version: d.u64()?,
            seat: d.u64()?,
            tip: d.item()?,
            guard_floor: d.u64()?,
            guard: d.list(Decoder::item)?,
            records: d.list(|d| d.bytes().map(<[u8]>::to_vec))?,
        })
    }
}

impl Canonical for Step {
    const DOMAIN: &'static str = "w3b/consensus-step";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 3;

    fn encode_fields(&self, e: &mut Encoder) {
        encode_items(e, &self.guard);
        encode_bytes(e, &self.records);
        encode_items(e, &self.commits);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            guard: d.list(Decoder::item)?,
            records: d.list(|d| d.bytes().map(<[u8]>::to_vec))?,
            commits: d.list(Decoder::item)?,
        })
    }
}
