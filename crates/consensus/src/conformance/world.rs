//! Members, their disks, a network that loses nothing, and hosts that execute nothing.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use w3bstream_types::{CertifiedBlock, Digest, Entry, MessageId, Timestamp};

use super::oracle::Oracle;
use super::{Builder, Drive, Subnet};
use crate::{
    Action, Built, ConsensusFactory, Damage, DriverInput, DriverOptions, MemoryDisk, Setup, To, Verdict,
};

/// When one member's process ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Crash {
    /// Instead of an operation of its disk.
    Disk { node: u32, operation: u64, damage: Damage },
    /// Before it does the action of this number that its driver gave.
    Action { node: u32, nth: u64, damage: Damage },
}

/// How a run differs from the plain one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    pub(super) crash: Option<Crash>,
    pub(super) compact_bytes: u64,
    /// How many heights execution lags behind.
    pub(super) lag: u64,
    pub(super) check_determinism: bool,
    /// After each call, look what a loss of power would leave.
    pub(super) check_barrier: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        let compact_bytes = DriverOptions::default().compact_bytes;
        Self { crash: None, compact_bytes, lag: 0, check_determinism: false, check_barrier: false }
    }
}

#[derive(Debug, Default)]
struct Node {
    disk: MemoryDisk,
    drive: Option<Box<dyn Drive>>,
    // The host's own durable state.
    journal: Vec<CertifiedBlock>,
    ordered: BTreeSet<Digest>,
    applied: u64,
    // Of this process.
    todo: VecDeque<Action>,
    next_commit: u64,
    actions: u64,
}

#[derive(Debug)]
pub(super) struct World<'b> {
    builder: &'b dyn Builder,
    factory: Arc<dyn ConsensusFactory>,
    pub(super) subnet: Subnet,
    conditions: Conditions,
    nodes: Vec<Node>,
    network: VecDeque<(u32, u32, Vec<u8>)>,
    pool: Vec<Digest>,
    pub(super) now: u64,
    pub(super) oracle: Oracle,
    // Every host has said that there is something to order, and nothing has come of it yet.
    nudged: bool,
    pub(super) crashes: u64,
    pub(super) barriers_checked: u64,
}

/// The most entries that a host of this world puts into a block.
const ENTRIES: usize = 2;

impl<'b> World<'b> {
    pub(super) fn new(builder: &'b dyn Builder, conditions: Conditions) -> Result<Self, String> {
        let factory = builder.factory();
        let subnet = Subnet::new(builder.members(), factory.name());
        let mut world = Self {
            builder,
            oracle: Oracle::new(subnet.genesis.clone()),
            factory,
            nodes: (0..builder.members()).map(|_| Node::default()).collect(),
            subnet,
            conditions,
            network: VecDeque::new(),
            pool: Vec::new(),
            now: 10_000,
            nudged: false,
            crashes: 0,
            barriers_checked: 0,
        };
        if let Some(Crash::Disk { node, operation, damage }) = conditions.crash {
            world.nodes[node as usize].disk.crash_at(operation, damage);
        }
        for node in 0..builder.members() {
            world.boot(node)?;
        }
        Ok(world)
    }

    pub(super) fn setup(&self, node: u32) -> Setup {
        let signer = self.subnet.signer(node);
        let mut setup =
            Setup::new(self.subnet.genesis.clone(), Some(node), Arc::clone(&self.factory), signer);
        setup.config = self.builder.config();
        setup.options = DriverOptions {
            check_determinism: self.conditions.check_determinism,
            compact_bytes: self.conditions.compact_bytes,
        };
        setup
    }

    pub(super) fn disk(&self, node: u32) -> &MemoryDisk {
        &self.nodes[node as usize].disk
    }

    pub(super) fn applied(&self, node: u32) -> u64 {
        self.nodes[node as usize].applied
    }

    pub(super) fn actions(&self, node: u32) -> u64 {
        self.nodes[node as usize].actions
    }

    pub(super) fn syncs(&self) -> u64 {
        self.nodes.iter().map(|n| n.disk.syncs()).sum()
    }

    /// Starts a member's process.
    fn boot(&mut self, node: u32) -> Result<(), String> {
        let setup = self.setup(node);
        // A crash may hit while the log is made; one crash is planned at a time, so the next try works.
        for _ in 0..2 {
            self.now += 1;
            let this = &mut self.nodes[node as usize];
            match self.builder.open(setup.clone(), &this.disk) {
                Ok(drive) => {
                    this.drive = Some(drive);
                    this.next_commit = this.applied + 1;
                    let applied = this.applied;
                    return self.give(node, DriverInput::Start { applied });
                }
                Err(_) if this.disk.has_crashed() => self.crashes += 1,
                Err(e) => return Err(format!("node {node} does not open: {e}")),
            }
        }
        Err(format!("node {node} does not open after a crash"))
    }

    fn reboot(&mut self, node: u32) -> Result<(), String> {
        self.crashes += 1;
        // A new process knows nothing of what was to be ordered.
        self.nudged = false;
        let this = &mut self.nodes[node as usize];
        this.drive = None;
        this.todo.clear();
        self.boot(node)
    }

    pub(super) fn restart(&mut self, node: u32, damage: Damage) -> Result<(), String> {
        self.nodes[node as usize].disk.crash(damage);
        self.reboot(node)
    }

    /// One input to one member.
    pub(super) fn give(&mut self, node: u32, input: DriverInput) -> Result<(), String> {
        self.now += 1;
        let this = &mut self.nodes[node as usize];
        let Some(drive) = &mut this.drive else { return Err(format!("node {node} is not open")) };
        let what = format!("{input:?}");
        match drive.handle_batch(Timestamp(self.now), vec![input]) {
            Ok(actions) => {
                for action in &actions {
                    self.oracle.left(node, action, &*self.factory)?;
                    if let Action::Committed(block) = action {
                        let height = block.block.header().height;
                        if height != this.next_commit {
                            return Err(format!(
                                "node {node} gave height {height}, not {}",
                                this.next_commit
                            ));
                        }
                        this.next_commit += 1;
                    }
                }
                this.todo.extend(actions);
                if self.conditions.check_barrier { self.check_barrier(node) } else { Ok(()) }
            }
            Err(_) if this.disk.has_crashed() => self.reboot(node),
            Err(e) => Err(format!("node {node} stopped on {what}: {e}")),
        }
    }

    /// All that has left this process must be on its disk: opened from what is synced, it comes again.
    fn check_barrier(&mut self, node: u32) -> Result<(), String> {
        let this = &self.nodes[node as usize];
        let copy = this.disk.synced_copy();
        let lost = |e: crate::Error| format!("node {node}: after a loss of power: {e}");
        let mut drive = self.builder.open(self.setup(node), &copy).map_err(lost)?;
        let start = DriverInput::Start { applied: this.applied };
        let actions = drive.handle_batch(Timestamp(self.now), vec![start]).map_err(lost)?;
        let again = actions.iter().filter(|a| matches!(a, Action::Committed(_))).count() as u64;
        if this.applied + again + 1 < this.next_commit {
            let (left, known) = (this.next_commit - 1, this.applied + again);
            return Err(format!("node {node} let height {left} out, but has only {known} on its disk"));
        }
        self.barriers_checked += 1;
        Ok(())
    }

    /// New entries to order; the same in every run.
    pub(super) fn submit(&mut self, count: usize) {
        for _ in 0..count {
            let n = self.pool.len() as u64;
            self.pool.push(Digest::tagged("entry", &[&n.to_be_bytes()]));
        }
    }

    /// Runs until every member has everything, or fails.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        self.nudged = false;
        let mut heights = self.oracle.heights();
        for _ in 0..20_000 {
            // A block was made: what is left may be said again.
            self.nudged &= heights == self.oracle.heights();
            heights = self.oracle.heights();
            if let Some((to, from, bytes)) = self.network.pop_front() {
                self.give(to, DriverInput::Message { from, bytes })?;
            } else if let Some(node) = (0..self.builder.members()).find(|n| self.has_todo(*n)) {
                self.act(node)?;
            } else if self.is_done() {
                return Ok(());
            } else if !self.nudged {
                self.nudged = true;
                for node in 0..self.builder.members() {
                    self.give(node, DriverInput::Pending)?;
                }
            } else {
                self.nudged = false;
                self.pass_time()?;
            }
        }
        Err(self.stuck("it does not come to rest"))
    }

    fn stuck(&self, why: &str) -> String {
        let have: Vec<_> = self.nodes.iter().map(|n| n.ordered.len()).collect();
        format!("no progress: {why}; of {} entries the members have ordered {have:?}", self.pool.len())
    }

    fn has_todo(&self, node: u32) -> bool {
        !self.nodes[node as usize].todo.is_empty()
    }

    fn is_done(&self) -> bool {
        self.nodes.iter().all(|n| n.ordered.len() == self.pool.len())
    }

    /// Does what is under way, and nothing new.
    pub(super) fn drain(&mut self) -> Result<(), String> {
        for _ in 0..20_000 {
            if let Some((to, from, bytes)) = self.network.pop_front() {
                self.give(to, DriverInput::Message { from, bytes })?;
            } else if let Some(node) = (0..self.builder.members()).find(|n| self.has_todo(*n)) {
                self.act(node)?;
            } else {
                return Ok(());
            }
        }
        Err("it does not come to rest".into())
    }

    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.nodes.iter().filter_map(|n| n.drive.as_ref()?.next_wake()).min()
    }

    fn pass_time(&mut self) -> Result<(), String> {
        let next = self.next_wake().ok_or_else(|| self.stuck("nothing is under way and no timer runs"))?;
        self.now = self.now.max(next.0);
        (0..self.builder.members()).try_for_each(|node| self.give(node, DriverInput::Tick))
    }

    /// The host does the first action that waits.
    fn act(&mut self, node: u32) -> Result<(), String> {
        let this = &mut self.nodes[node as usize];
        let number = this.actions;
        this.actions += 1;
        if let Some(Crash::Action { node: which, nth, damage }) = self.conditions.crash
            && (which, nth) == (node, number)
        {
            this.disk.crash(damage);
            return self.reboot(node);
        }
        match this.todo.pop_front() {
            Some(Action::Build(request)) => {
                let free = self.pool.iter().filter(|e| !this.ordered.contains(*e)).take(ENTRIES);
                let entries = free.map(|e| Entry::Message(MessageId(*e))).collect();
                // Every other height the clock has been set back.
                let back = if request.slot.height % 2 == 0 { 5_000 } else { 0 };
                let time = Timestamp(self.now.saturating_sub(back));
                self.give(node, DriverInput::Built(Built { slot: request.slot, entries, time }))
            }
            Some(Action::Committed(block)) => self.commit(node, *block),
            Some(Action::Send { to, bytes }) => {
                let all = 0..self.builder.members();
                let to = all.filter(|n| *n != node && (to == To::All || to == To::Member(*n)));
                self.network.extend(to.map(|n| (n, node, bytes.clone())));
                Ok(())
            }
            Some(Action::Validate(block)) => {
                let known = |e: &Entry| self.pool.contains(&e.id()) && !this.ordered.contains(&e.id());
                let good = block.entries().iter().all(known);
                let verdict = if good { Verdict::Accept } else { Verdict::Refuse };
                self.give(node, DriverInput::Validated { block: block.id(), verdict })
            }
            Some(Action::Fetch { from, to }) => {
                let longest = self.nodes.iter().max_by_key(|n| n.journal.len()).map(|n| &n.journal);
                let blocks = longest.into_iter().flatten();
                let wanted = blocks.filter(|b| (from..=to).contains(&b.block.header().height));
                let wanted = wanted.cloned().collect();
                self.give(node, DriverInput::Fetched(wanted))
            }
            _ => Ok(()),
        }
    }

    fn commit(&mut self, node: u32, block: CertifiedBlock) -> Result<(), String> {
        let lag = self.conditions.lag;
        let this = &mut self.nodes[node as usize];
        let height = block.block.header().height;
        match this.journal.get(height as usize - 1) {
            Some(known) if *known == block => {}
            Some(_) => return Err(format!("node {node} repeats height {height} with another block")),
            None if height as usize == this.journal.len() + 1 => {
                for entry in block.block.entries() {
                    if let Entry::Message(id) = entry {
                        this.ordered.insert(id.0);
                    }
                }
                this.journal.push(block);
            }
            None => return Err(format!("node {node} left out heights before {height}")),
        }
        let applied = height.saturating_sub(lag);
        if applied <= this.applied {
            return Ok(());
        }
        this.applied = applied;
        let state_root = Digest::of(&applied.to_be_bytes());
        self.give(node, DriverInput::Applied { height: applied, state_root })
    }
}
