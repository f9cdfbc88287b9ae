//! Backends, drivers and logs that each break one promise. The kit must fail every one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use w3bstream_types::{Genesis, Malformed, Timestamp};

use super::{Builder, Drive};
use crate::{
    Action, Claim, Consensus, ConsensusFactory, Context, Driver, DriverInput, Error, ErrorKind, Input,
    MemoryDisk, Output, Outputs, Profile, Recovery, Setup, Solo, SoloConfig, SoloRecord, TimerId, Wal,
    factory,
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flaw {
    /// The log says that it is synced, and is not.
    SkipsFsync,
    /// The driver starts with an empty log each time, so another block takes a height that left before.
    Forgets,
    /// The driver starts anew if the log is damaged.
    IgnoresDamage,
    /// The driver goes on in memory when the disk has failed.
    GoesOnWithoutDisk,
    /// The driver does not give commits again after a restart.
    LosesCommits,
    /// The driver gives the first commit of a call twice.
    DoublesCommits,
    /// The driver starts anew if the log is another subnet's.
    TakesAnyLog,
    /// The backend commits a height twice.
    CommitsTwice,
    /// The backend leaves a height out.
    SkipsAHeight,
    /// The backend's outputs depend on something outside.
    NotDeterministic,
    /// The backend starts from the genesis after a restart.
    RestartsFromGenesis,
    /// The backend makes blocks of nothing.
    MakesEmptyBlocks,
    /// The backend writes while there is nothing to do.
    IsRestless,
    /// The backend's snapshot is everything that it ever wrote.
    NeverForgets,
    /// The backend never builds.
    IsStuck,
    /// The backend takes the clock as it is, even if that was set back.
    TrustsTheClock,
    /// The backend gives a certificate without a signature.
    ForgesCertificates,
}

impl Flaw {
    /// Every flaw.
    pub const ALL: [Self; 17] = [
        Self::SkipsFsync,
        Self::Forgets,
        Self::IgnoresDamage,
        Self::GoesOnWithoutDisk,
        Self::LosesCommits,
        Self::DoublesCommits,
        Self::TakesAnyLog,
        Self::CommitsTwice,
        Self::SkipsAHeight,
        Self::NotDeterministic,
        Self::RestartsFromGenesis,
        Self::MakesEmptyBlocks,
        Self::IsRestless,
        Self::NeverForgets,
        Self::IsStuck,
        Self::TrustsTheClock,
        Self::ForgesCertificates,
    ];

    /// The property that is there to notice it.
    #[must_use]
    pub const fn noticed_by(self) -> &'static str {
        match self {
            Self::SkipsFsync => "lets_nothing_out_before_it_is_durable",
            Self::Forgets | Self::RestartsFromGenesis => "survives_a_crash_anywhere",
            Self::IgnoresDamage => "refuses_a_damaged_log",
            Self::GoesOnWithoutDisk => "stops_when_the_disk_fails",
            Self::LosesCommits => "repeats_commits_until_they_are_applied",
            Self::TakesAnyLog => "refuses_what_does_not_belong_together",
            Self::NotDeterministic => "is_deterministic",
            Self::MakesEmptyBlocks | Self::IsRestless => "is_quiet_when_idle",
            Self::NeverForgets => "keeps_its_log_small",
            Self::DoublesCommits
            | Self::CommitsTwice
            | Self::SkipsAHeight
            | Self::IsStuck
            | Self::TrustsTheClock
            | Self::ForgesCertificates => "orders_everything_once",
        }
    }
}

/// [`Solo`] with a flaw in backend, driver or log.
#[derive(Clone, Copy, Debug)]
pub struct Broken(pub Flaw);

impl Builder for Broken {
    fn factory(&self) -> Arc<dyn ConsensusFactory> {
        factory::<Faulty>()
    }

    fn members(&self) -> u32 {
        1
    }

    fn config(&self) -> serde_json::Value {
        let name = format!("{:?}", self.0);
        // As serde's kebab-case.
        let mut flaw = String::new();
        for (i, c) in name.chars().enumerate() {
            if c.is_ascii_uppercase() && i > 0 {
                flaw.push('-');
            }
            flaw.push(c.to_ascii_lowercase());
        }
        serde_json::json!({ "flaw": flaw })
    }

    fn open(&self, setup: Setup, disk: &MemoryDisk) -> Result<Box<dyn Drive>, Error> {
        let lazy = |deaf| -> Result<Box<dyn Wal>, Error> {
            Ok(Box::new(Lazy { inner: Box::new(disk.open()?), synced: false, deaf }))
        };
        let log: Box<dyn Wal> = match self.0 {
            Flaw::Forgets => Box::new(Amnesia(Box::new(disk.open()?))),
            Flaw::SkipsFsync => lazy(false)?,
            Flaw::GoesOnWithoutDisk => lazy(true)?,
            Flaw::IgnoresDamage => Box::new(disk.open().or_else(|_| MemoryDisk::new().open())?),
            _ => Box::new(disk.open()?),
        };
        let inner = match Driver::open(setup.clone(), log) {
            Err(e) if e.kind() == ErrorKind::Incompatible && self.0 == Flaw::TakesAnyLog => {
                Driver::open(setup, Box::new(MemoryDisk::new().open()?))?
            }
            result => result?,
        };
        Ok(Box::new(Warped { flaw: self.0, inner }))
    }
}

/// A driver whose commits are tampered with.
#[derive(Debug)]
struct Warped {
    flaw: Flaw,
    inner: Driver,
}

impl Drive for Warped {
    fn handle_batch(&mut self, now: Timestamp, inputs: Vec<DriverInput>) -> Result<Vec<Action>, Error> {
        let start = matches!(inputs.first(), Some(DriverInput::Start { .. }));
        let mut actions = self.inner.handle_batch(now, inputs)?;
        if self.flaw == Flaw::LosesCommits && start {
            actions.retain(|a| !matches!(a, Action::Committed(_)));
        }
        if self.flaw == Flaw::DoublesCommits
            && let Some(commit) = actions.iter().find(|a| matches!(a, Action::Committed(_))).cloned()
        {
            actions.push(commit);
        }
        Ok(actions)
    }

    fn next_wake(&self) -> Option<Timestamp> {
        self.inner.next_wake()
    }
}

/// A log that is always found empty.
#[derive(Debug)]
struct Amnesia(Box<dyn Wal>);

impl Wal for Amnesia {
    fn read(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        self.0.rewrite(&[])?;
        self.0.read()
    }

    fn append(&mut self, record: &[u8]) -> Result<(), Error> {
        self.0.append(record)
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.0.sync()
    }

    fn rewrite(&mut self, records: &[Vec<u8>]) -> Result<(), Error> {
        self.0.rewrite(records)
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

/// A log that syncs only once, or does not listen when the disk says no.
#[derive(Debug)]
struct Lazy {
    inner: Box<dyn Wal>,
    synced: bool,
    deaf: bool,
}

impl Wal for Lazy {
    fn read(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        self.inner.read()
    }

    fn append(&mut self, record: &[u8]) -> Result<(), Error> {
        let result = self.inner.append(record);
        if self.deaf { Ok(()) } else { result }
    }

    fn sync(&mut self) -> Result<(), Error> {
        if self.deaf {
            return self.inner.sync().or(Ok(()));
        }
        if std::mem::replace(&mut self.synced, true) { Ok(()) } else { self.inner.sync() }
    }

    fn rewrite(&mut self, records: &[Vec<u8>]) -> Result<(), Error> {
        self.inner.rewrite(records)
    }

    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }
}

/// [`Solo`], with the flaw that its settings name.
#[derive(Debug)]
pub struct Faulty {
    flaw: Option<Flaw>,
    solo: Solo,
    records: Vec<SoloRecord>,
}

/// Settings of [`Faulty`].
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FaultyConfig {
    flaw: Option<Flaw>,
}

/// Something outside of every backend.
static OUTSIDE: AtomicU64 = AtomicU64::new(1);
const RESTLESS: TimerId = TimerId(7);

impl Faulty {
    fn spoil(flaw: Flaw, out: &mut Outputs<Self>) {
        let commit = out.iter().position(|o| matches!(o, Output::Commit(_)));
        match (flaw, commit) {
            (Flaw::CommitsTwice, Some(at)) => out.push(out[at].clone()),
            (Flaw::ForgesCertificates, Some(at)) => {
                if let Output::Commit(block) = &mut out[at] {
                    block.certificate.signatures.clear();
                }
            }
            (Flaw::NotDeterministic, _) => {
                for output in out.iter_mut() {
                    if let Output::Build { within_ms, .. } = output {
                        *within_ms = OUTSIDE.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            (Flaw::IsStuck, _) => out.retain(|o| !matches!(o, Output::Build { .. })),
            (Flaw::IsRestless, Some(_)) => out.push(Output::SetTimer { id: RESTLESS, after_ms: 60_000 }),
            _ => {}
        }
    }
}

impl Consensus for Faulty {
    const NAME: &'static str = Solo::NAME;
    const WIRE_VERSION: u16 = Solo::WIRE_VERSION;
    const MAX_MESSAGE_BYTES: usize = Solo::MAX_MESSAGE_BYTES;
    type Config = FaultyConfig;
    type Message = <Solo as Consensus>::Message;
    type Record = SoloRecord;

    fn profile(_: &FaultyConfig, genesis: &Genesis) -> Result<Profile, Error> {
        Solo::profile(&SoloConfig::default(), genesis)
    }

    fn recover(config: FaultyConfig, at: &Recovery<'_>, records: Vec<SoloRecord>) -> Result<Self, Error> {
        let mut at = *at;
        let mut kept = records.clone();
        if config.flaw == Some(Flaw::RestartsFromGenesis) {
            at.tip = crate::Tip::before_first(at.genesis);
            kept.clear();
        }
        let solo = Solo::recover(SoloConfig::default(), &at, kept)?;
        Ok(Self { flaw: config.flaw, solo, records })
    }

    fn claims(message: &Self::Message, genesis: &Genesis) -> Result<Vec<Claim>, Malformed> {
        Solo::claims(message, genesis)
    }

    fn step(&mut self, cx: &mut Context<'_>, input: Input<Self::Message>, out: &mut Outputs<Self>) {
        if let (Some(Flaw::IsRestless), Input::Timer(_)) = (self.flaw, &input) {
            out.extend(self.records.last().map(|r| Output::Persist(*r)));
            out.push(Output::SetTimer { id: RESTLESS, after_ms: 60_000 });
        }
        match (self.flaw, input) {
            (Some(Flaw::MakesEmptyBlocks), Input::Built(built)) => {
                self.solo.building = None;
                self.solo.seal(cx, built, out);
            }
            (Some(Flaw::SkipsAHeight), Input::Built(built)) => {
                self.solo.tip.height += 1;
                self.solo.step(cx, Input::Built(built), out);
            }
            (Some(Flaw::TrustsTheClock), Input::Built(built)) => {
                self.solo.tip.time = Timestamp(0);
                self.solo.step(cx, Input::Built(built), out);
            }
            (_, input) => self.solo.step(cx, input, out),
        }
        self.records.extend(out.iter().filter_map(|o| match o {
            Output::Persist(record) => Some(*record),
            _ => None,
        }));
        if let Some(flaw) = self.flaw {
            Self::spoil(flaw, out);
        }
    }

    fn snapshot(&self) -> Vec<SoloRecord> {
        if self.flaw == Some(Flaw::NeverForgets) {
            // Long enough that sixty blocks show.
            return self.records.iter().flat_map(|r| std::iter::repeat_n(*r, 32)).collect();
        }
        self.solo.snapshot()
    }
}
