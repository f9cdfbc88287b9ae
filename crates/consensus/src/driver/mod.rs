//! The driver: everything around a backend that must not be got wrong twice.

mod actions;
mod log;
mod machine;
mod route;
mod timers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use w3bstream_types::{CertifiedBlock, Digest, Genesis, Timestamp};

use crate::{ConsensusFactory, ConsensusSigner, Error, ErrorKind, Guard, Input, TimerId, Tip, Wal};
#[cfg(feature = "fuzzing")]
pub(crate) use log::replay_any;

pub use actions::{Action, BuildRequest, DriverInput};
use log::{Replayed, Snapshot, Step};
use machine::{Machine, SigningDesk, Surroundings};
use timers::Timers;

/// The most entries in one block; the host must not build larger ones. About 6 MB, and more than a manifest
/// allows, so that control transactions always fit too.
pub const MAX_BLOCK_ENTRIES: usize = 131_072;
/// Heights behind the applied one for which the guard still knows what was said.
const GUARD_KEEPS: u64 = 256;
/// More steps than this in one call are a backend that talks to itself for ever.
const MAX_STEPS: usize = 100_000;

/// What a driver is opened with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The subnet's genesis.
    pub genesis: Genesis,
    /// This node's place among its members; `None` observes and never signs.
    pub me: Option<u32>,
    /// The block after which a new log starts. A log that is there knows its own.
    pub base: Tip,
    /// The backend's settings; `null` means defaults.
    pub config: serde_json::Value,
    /// The backend that the genesis names.
    pub factory: Arc<dyn ConsensusFactory>,
    /// The member's consensus key.
    pub signer: Arc<dyn ConsensusSigner>,
    /// Settings of the driver itself.
    pub options: DriverOptions,
}

impl Setup {
    /// A driver for a chain that starts at height 1, with default settings.
    #[must_use]
    pub fn new(
        genesis: Genesis,
        me: Option<u32>,
        factory: Arc<dyn ConsensusFactory>,
        signer: Arc<dyn ConsensusSigner>,
    ) -> Self {
        let base = Tip::before_first(&genesis);
        let (config, options) = (serde_json::Value::Null, DriverOptions::default());
        Self { genesis, me, base, config, factory, signer, options }
    }

    fn check(&self) -> Result<(), Error> {
        let bad = |why: String| Err(Error::new(ErrorKind::Config, why));
        self.genesis.check().map_err(|e| Error::new(ErrorKind::Config, "bad genesis").with_source(e))?;
        let (named, given) = (&self.genesis.backend, self.factory.name());
        if named != given {
            return bad(format!("the genesis names consensus {named:?}, the driver was given {given:?}"));
        }
        self.factory.profile(&self.config, &self.genesis)?;
        let Some(me) = self.me else { return Ok(()) };
        let Some(member) = self.genesis.members.get(me as usize) else {
            return bad(format!("the genesis has {} members, no member {me}", self.genesis.members.len()));
        };
        if member.consensus != self.signer.public()? {
            return bad(format!("the node's consensus key is not that of member {me}, {}", member.did));
        }
        Ok(())
    }
}

/// Settings of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverOptions {
    /// Run two instances side by side and stop when they differ. For tests: it doubles the work.
    pub check_determinism: bool,
    /// Replace the log by a snapshot when it has grown beyond this, in bytes.
    pub compact_bytes: u64,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self { check_determinism: false, compact_bytes: 8 * 1024 * 1024 }
    }
}

/// How a driver stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The last final block.
    pub tip: Tip,
    /// The last height that the host has applied, as far as it said so.
    pub applied: u64,
    /// Final blocks that the driver keeps because they are not applied.
    pub unapplied: usize,
    /// Size of the log, in bytes.
    pub log_bytes: u64,
    /// Statements that the guard remembers.
    pub guarded: usize,
    /// Timers that run.
    pub timers: usize,
}

#[derive(Debug)]
enum State {
    Opened,
    Running,
    Stopped(ErrorKind, String),
}

/// Drives one backend for one member of one subnet.
///
/// Calls block for the disk and the key: run it on a thread that may. It has no clock; each call brings the
/// time. Nothing that a call decides leaves before it is durable, and a call's fsync is shared by all its
/// inputs, so batch them under load.
#[derive(Debug)]
pub struct Driver {
    setup: Setup,
    digest: Digest,
    machine: Machine,
    wal: Box<dyn Wal>,
    desk: SigningDesk,
    timers: Timers,
    now: Timestamp,
    state: State,
    tip: Tip,
    // The last block that the host need not get again, and those after it.
    settled: Tip,
    unapplied: BTreeMap<u64, CertifiedBlock>,
    announced_wake: Option<Timestamp>,
    compacted_bytes: u64,
}

/// What one call has decided so far; none of it has left.
#[derive(Debug, Default)]
struct Batch {
    log: Vec<Vec<u8>>,
    actions: Vec<Action>,
    // Own messages on their way back.
    looped: VecDeque<Vec<u8>>,
    steps: usize,
    halted: Option<String>,
}

impl Driver {
    /// Opens a driver on a log: a new one, or the one of this member's last run.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if genesis, place, key, backend and settings do not fit together;
    /// [`ErrorKind::Incompatible`] if the log is of another subnet, backend or member;
    /// [`ErrorKind::CorruptWal`] if it contradicts itself; and those of the log and the signer.
    pub fn open(setup: Setup, mut wal: Box<dyn Wal>) -> Result<Self, Error> {
        setup.check()?;
        let digest = {
            use w3bstream_types::Canonical as _;
            setup.genesis.digest()
        };
        let mine = Snapshot::first(&setup, digest);
        let found = wal.read()?;
        let Replayed { head, guard, records, commits } = if found.is_empty() {
            wal.append(&log::encode(&mine)?)?;
            wal.sync()?;
            let guard = Guard::restore(mine.guard_floor, &[])?;
            Replayed { head: mine, guard, records: Vec::new(), commits: Vec::new() }
        } else {
            let replayed = log::replay(&found)?;
            replayed.head.check_belongs(&mine)?;
            replayed
        };
        let tip = commits.last().map_or(head.tip, |c| Tip::of(&c.block));
        Ok(Self {
            machine: Machine::recover(&setup, tip, &records)?,
            desk: SigningDesk::new(&setup, guard),
            timers: Timers::default(),
            now: Timestamp(0),
            state: State::Opened,
            tip,
            settled: head.tip,
            unapplied: commits.into_iter().map(|c| (c.block.header().height, c)).collect(),
            announced_wake: None,
            compacted_bytes: wal.bytes(),
            wal,
            digest,
            setup,
        })
    }

    /// One input; see [`Self::handle_batch`].
    ///
    /// # Errors
    /// As [`Self::handle_batch`].
    pub fn handle(&mut self, now: Timestamp, input: DriverInput) -> Result<Vec<Action>, Error> {
        self.handle_batch(now, vec![input])
    }

    /// Takes inputs in order, then the timers that are due at `now`, then syncs the log, and only then
    /// returns what is to be done, in order. A `now` before that of an earlier call counts as that one.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] if an input is not allowed now; then no input of the batch was taken. After any
    /// other error nothing of this batch has left and nothing ever will: the driver is stopped, and every
    /// later call gives an error of the same kind.
    pub fn handle_batch(&mut self, now: Timestamp, inputs: Vec<DriverInput>) -> Result<Vec<Action>, Error> {
        if let State::Stopped(kind, why) = &self.state {
            return Err(Error::new(*kind, format!("the consensus driver is stopped: {why}")));
        }
        self.check_inputs(&inputs)?;
        self.now = self.now.max(now);
        let result = self.run(inputs);
        if let Err(e) = &result {
            self.state = State::Stopped(e.kind(), e.to_string());
        }
        result
    }

    /// When the driver wants to be called at the latest, if nothing else happens.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.timers.earliest()
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            tip: self.tip,
            applied: self.settled.height,
            unapplied: self.unapplied.len(),
            log_bytes: self.wal.bytes(),
            guarded: self.desk.guard.entries().len(),
            timers: self.timers.len(),
        }
    }

    fn run(&mut self, inputs: Vec<DriverInput>) -> Result<Vec<Action>, Error> {
        let mut batch = Batch::default();
        for input in inputs {
            self.take(input, &mut batch)?;
        }
        while let Some(id) = self.due_timer(&batch) {
            self.step(Input::Timer(id), &mut batch)?;
        }
        for record in &batch.log {
            self.wal.append(record)?;
        }
        if !batch.log.is_empty() {
            self.wal.sync()?;
        }
        let wake = self.timers.earliest();
        if let Some(at) = wake.filter(|_| wake != self.announced_wake) {
            batch.actions.push(Action::WakeAt(at));
        }
        self.announced_wake = wake;
        if let Some(why) = batch.halted {
            self.state = State::Stopped(ErrorKind::Protocol, why.clone());
            batch.actions.push(Action::Halt(why));
        } else if self.wal.bytes() > self.setup.options.compact_bytes.max(2 * self.compacted_bytes) {
            self.compact()?;
        }
        Ok(batch.actions)
    }

    // Timers are set at least 1 ms ahead, so none comes due twice in a call.
    fn due_timer(&mut self, batch: &Batch) -> Option<TimerId> {
        let running = matches!(self.state, State::Running) && batch.halted.is_none();
        running.then(|| self.timers.pop_due(self.now)).flatten()
    }

    /// One step of the backend, and those that its messages to itself cause.
    fn step(&mut self, input: Input<Vec<u8>>, batch: &mut Batch) -> Result<(), Error> {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            if batch.halted.is_some() {
                return Ok(());
            }
            batch.steps += 1;
            if batch.steps > MAX_STEPS {
                return Err(Error::new(ErrorKind::Protocol, "the backend does not come to rest"));
            }
            let at = Surroundings {
                now: self.now,
                me: self.setup.me,
                genesis: &self.setup.genesis,
                digest: self.digest,
            };
            let outputs = self.machine.step(at, input, &mut self.desk)?;
            let mut step = Step { guard: self.desk.take_fresh(), ..Step::default() };
            for output in outputs {
                self.route(output, &mut step, batch)?;
            }
            // Many blocks may be final at once, after a fetch: each is a record of its own, so that none
            // grows too large to be read. All records of a call share one sync, and so one fate.
            let commits = std::mem::take(&mut step.commits);
            if !step.is_empty() {
                batch.log.push(log::encode(&step)?);
            }
            for commit in commits {
                batch.log.push(log::encode(&Step { commits: vec![commit], ..Step::default() })?);
            }
            next = match (self.setup.me, batch.looped.pop_front()) {
                (Some(from), Some(message)) => Some(Input::Message { from, message }),
                _ => None,
            };
        }
        Ok(())
    }

    /// Replaces the log by the least that stands for it.
    fn compact(&mut self) -> Result<(), Error> {
        self.desk.guard.forget_to(self.settled.height.saturating_sub(GUARD_KEEPS));
        let head = Snapshot {
            tip: self.settled,
            guard_floor: self.desk.guard.floor(),
            guard: self.desk.guard.entries(),
            records: self.machine.snapshot(),
            ..Snapshot::first(&self.setup, self.digest)
        };
        let mut records = vec![log::encode(&head)?];
        for commit in self.unapplied.values() {
            records.push(log::encode(&Step { commits: vec![commit.clone()], ..Step::default() })?);
        }
        self.wal.rewrite(&records)?;
        self.compacted_bytes = self.wal.bytes();
        tracing::debug!(
            height = self.tip.height,
            bytes = self.compacted_bytes,
            "compacted the consensus log"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;
