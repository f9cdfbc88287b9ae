//! Stored → Ordered: the loop around a project's consensus driver.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use w3bstream_consensus::{
    Action, AttestationPool, BuildRequest, Built, Collected, Driver, DriverInput, SignedStatement, Verdict,
};
use w3bstream_journal::{OutboxId, Write};
use w3bstream_storage::Filter;
use w3bstream_tasks::Shutdown;
use w3bstream_types::{
    AckMode, Attestation, Block, CertifiedBlock, Control, ControlTx, Digest, Disposition, Entry, Manifest,
    MessageId, Ordered, OutputKind, Place, Position, Statement, Stored, Timestamp, Transcript,
};
use w3bstream_wallet::Role;

use crate::apply::Resolved;
use crate::counters::Counters;
use crate::handover;
use crate::live;
use crate::node::Shared;
use crate::project::Project;
use crate::reading::{self, Asking};
use crate::stage_execute::{Contracts, Run, compute};
use crate::{Error, ErrorKind};

/// Journal cursor: the store's position up to which every message of the project is in a block.
pub(crate) const ORDERED: &str = "ordered";
/// Journal cursor: the last attested height.
pub(crate) const ATTESTED: &str = "attested";
/// How many control transactions go into one block at most.
const CONTROLS_PER_BLOCK: usize = 256;

/// A project's sequencer.
pub(crate) struct Sequencer {
    shared: Arc<Shared>,
    project: Arc<Project>,
    // Taken out while a blocking thread uses it.
    driver: Option<Driver>,
    pool: AttestationPool,
    wake: Option<Timestamp>,
    // Every message of the project up to here is in a block.
    ordered_to: Position,
    // What the last build read from the store, for the block that will name it.
    built: Vec<Stored>,
    reading: Reading,
}

/// How the next batch of a project stands whose handlers read chains.
#[derive(Debug, Default)]
struct Reading {
    /// A batch waits for the block before it to be applied.
    behind: bool,
    /// Since when a chain does not answer.
    since: Option<Timestamp>,
    /// When it is asked again.
    again: Option<Timestamp>,
}

/// How long a batch waits for a chain that does not answer, in milliseconds. Then its calls fail, and the data go on.
const MOST_PATIENCE_MS: u64 = 30_000;
/// How long it waits before it asks again, in milliseconds.
const ASK_AGAIN_MS: u64 = 500;

impl Sequencer {
    pub(crate) async fn new(
        shared: Arc<Shared>,
        project: Arc<Project>,
        driver: Driver,
    ) -> Result<Self, Error> {
        let attested = *project.attested.borrow();
        let pool = AttestationPool::new(project.genesis.clone(), attested)?;
        let ordered_to = Position(shared.parts.journal.cursor(project.id, ORDERED).await?);
        Ok(Self {
            shared,
            project,
            driver: Some(driver),
            pool,
            wake: None,
            ordered_to,
            built: Vec::new(),
            reading: Reading::default(),
        })
    }

    /// Runs until the node stops or the project halts.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<DriverInput>, shutdown: Shutdown) {
        if let Err(e) = self.run_inner(&mut inputs, &shutdown).await {
            self.shared.halt(&self.project, &format!("ordering stopped: {e}")).await;
        }
    }

    async fn run_inner(
        &mut self,
        inputs: &mut mpsc::Receiver<DriverInput>,
        shutdown: &Shutdown,
    ) -> Result<(), Error> {
        let applied = *self.project.applied.borrow();
        self.handle(vec![DriverInput::Start { applied }, DriverInput::Pending]).await?;
        let mut batch = Vec::new();
        let project = self.project.clone();
        loop {
            let wake = self.wake.into_iter().chain(self.reading.again).min();
            let wake = wake.map(|at| at.0.saturating_sub(self.shared.parts.clock.now().0));
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                n = inputs.recv_many(&mut batch, 32) => {
                    if n == 0 {
                        return Ok(());
                    }
                }
                () = project.arrived.notified() => {
                    self.gather().await?;
                    batch.push(DriverInput::Pending);
                }
                () = sleep(wake) => batch.push(DriverInput::Tick),
            }
            if self.read_on() {
                batch.push(DriverInput::Pending);
            }
            self.handle(std::mem::take(&mut batch)).await?;
        }
    }

    /// The next batch waits for no chain, whatever the one before did.
    fn nothing_to_read(&mut self) {
        self.reading = Reading::default();
        self.project.waits.send_if_modified(|why| !std::mem::take(why).is_empty());
    }

    /// Whether a batch that could not be built because of what its handlers read should be tried again.
    fn read_on(&mut self) -> bool {
        let caught_up = *self.project.applied.borrow() >= *self.project.journaled.borrow();
        let now = self.shared.parts.clock.now();
        if self.reading.behind && caught_up || self.reading.again.is_some_and(|at| at <= now) {
            (self.reading.behind, self.reading.again) = (false, None);
            return true;
        }
        false
    }

    /// Lets the first message wait a little for company, unless a full block is there.
    async fn gather(&mut self) -> Result<(), Error> {
        let rules = self.shared.manifest(self.project.id).map(|m| m.blocks).unwrap_or_default();
        let waiting = self.project.counters.backlog.load(Ordering::Relaxed);
        if waiting < u64::from(rules.max_entries) {
            tokio::time::sleep(Duration::from_millis(u64::from(rules.max_delay_ms.min(1000)))).await;
        }
        Ok(())
    }

    /// Gives inputs to the driver and does what it asks for, until it asks for nothing more.
    async fn handle(&mut self, inputs: Vec<DriverInput>) -> Result<(), Error> {
        let mut inputs = inputs;
        while !inputs.is_empty() {
            let actions = self.drive(std::mem::take(&mut inputs)).await?;
            for action in actions {
                self.act(action, &mut inputs).await?;
            }
        }
        Ok(())
    }

    /// The driver blocks for the disk and the key, so it runs on a thread that may.
    async fn drive(&mut self, inputs: Vec<DriverInput>) -> Result<Vec<Action>, Error> {
        let gone = || Error::new(ErrorKind::Fatal, "the consensus driver was lost in a panic");
        let mut driver = self.driver.take().ok_or_else(gone)?;
        let now = self.shared.parts.clock.now();
        let work = move || {
            let result = driver.handle_batch(now, inputs);
            (driver, result)
        };
        let (driver, result) = tokio::task::spawn_blocking(work).await.map_err(|_| gone())?;
        self.wake = driver.next_wake();
        self.driver = Some(driver);
        Ok(result?)
    }

    async fn act(&mut self, action: Action, inputs: &mut Vec<DriverInput>) -> Result<(), Error> {
        match action {
            Action::Build(request) => {
                let (built, more) = self.build(request).await?;
                self.shared.parts.probe.at("order.built");
                inputs.push(DriverInput::Built(built));
                if more {
                    inputs.push(DriverInput::Pending);
                }
            }
            Action::Committed(block) => self.committed(*block).await?,
            Action::SignAttestation(statement) => self.attest(*statement).await?,
            // A member of one is its own proposer: a block of somebody else cannot be valid here.
            Action::Validate(block) => {
                inputs.push(DriverInput::Validated { block: block.id(), verdict: Verdict::Refuse })
            }
            Action::Halt(why) => return Err(Error::new(ErrorKind::Fatal, why)),
            Action::Evidence(evidence) => tracing::error!(?evidence, "a member said two things"),
            // Without other members there is nobody to send to or to fetch from.
            // When to wake is asked of the driver after each call.
            Action::WakeAt(_)
            | Action::Send { .. }
            | Action::Fetch { .. }
            | Action::Checkpoint { .. }
            | Action::Penalise { .. } => {}
        }
        Ok(())
    }

    /// Chooses what goes into the next block: control transactions first, then messages in the order in
    /// which they were stored. Says whether more is waiting. A removal waits until everything that was stored is
    /// ordered: the project takes nothing more meanwhile.
    async fn build(&mut self, request: BuildRequest) -> Result<(Built, bool), Error> {
        let parts = &self.shared.parts;
        let manifest = self.shared.manifest(self.project.id);
        let rules = manifest.as_ref().map(|m| m.blocks).unwrap_or_default();
        let limit = rules.max_entries as usize;
        let time = parts.clock.now().max(request.parent_time);
        let mut controls = parts.journal.pending_controls(self.project.id, CONTROLS_PER_BLOCK).await?;
        let removal = take_removal(&mut controls);
        let mut entries: Vec<Entry> = controls.iter().map(|tx| Entry::Control(tx.id())).collect();
        let manifest = manifest.filter(|m| m.reads());
        if manifest.is_none() {
            self.nothing_to_read();
        }
        let deploys = controls.iter().any(|tx| matches!(tx.change, Control::Deploy(_)));
        if deploys || manifest.is_some() && !entries.is_empty() {
            // What handlers may read is known for the block after it.
            return Ok((Built { slot: request.slot, entries, time }, true));
        }
        let filter = Filter { project: Some(self.project.id), ..Filter::default() };
        let mut stored = self.shared.store.scan(&filter, self.ordered_to, limit).await?;
        if let Some(removal) = removal
            && stored.is_empty()
            && entries.is_empty()
        {
            return Ok((Built { slot: request.slot, entries: vec![Entry::Control(removal)], time }, true));
        }
        let more = stored.len() == limit || removal.is_some();
        in_order_of_each_device(&mut stored);
        entries.extend(stored.iter().map(|s| Entry::Message(s.record().id())));
        if let Some(manifest) = manifest
            && !stored.is_empty()
        {
            let built = self.build_reading(&request, (entries, stored, time), &manifest).await?;
            let more = more && !built.entries.is_empty();
            return Ok((built, more));
        }
        self.built = if handover::fits(&stored) { stored } else { Vec::new() };
        Ok((Built { slot: request.slot, entries, time }, more))
    }

    /// Runs the batch to learn what its handlers read, and adds the transcript. Nothing, if it has to wait: for the block
    /// before it, or for a chain.
    async fn build_reading(
        &mut self,
        request: &BuildRequest,
        (mut entries, stored, time): (Vec<Entry>, Vec<Stored>, Timestamp),
        manifest: &Manifest,
    ) -> Result<Built, Error> {
        let nothing = Built { slot: request.slot, entries: vec![], time };
        if *self.project.applied.borrow() < *self.project.journaled.borrow() {
            self.reading.behind = true;
            return Ok(nothing);
        }
        let now = self.shared.parts.clock.now();
        let resigned =
            self.reading.since.is_some_and(|since| now.0 >= since.0.saturating_add(MOST_PATIENCE_MS));
        let height = *self.project.journaled.borrow() + 1;
        let place = Place {
            genesis: request.genesis,
            epoch: request.epoch,
            height,
            // Nothing that a handler sees depends on it.
            parent: Digest::ZERO,
            time,
            proposer: request.proposer,
        };
        let asking = Asking::new(&self.shared, manifest, resigned);
        match self.ask(Block::new(place, entries.clone()), stored, asking).await {
            Ok(transcript) => {
                self.nothing_to_read();
                if let Some(transcript) = transcript {
                    let write = reading::keep(self.project.id, &transcript);
                    self.shared.parts.journal.commit(vec![write]).await?;
                    entries.push(Entry::Transcript(transcript.id()));
                }
                Ok(Built { entries, ..nothing })
            }
            Err(e) if e.disposition() == Disposition::Retry => {
                tracing::warn!(project = %self.project.name, "a batch waits for what its handlers read: {e}");
                self.project.waits.send_replace(format!("waits for what handlers read: {e}"));
                self.reading.since.get_or_insert(now);
                self.reading.again = Some(Timestamp(now.0.saturating_add(ASK_AGAIN_MS)));
                Ok(nothing)
            }
            Err(e) => Err(e),
        }
    }

    /// Executes a block that is not one yet, for what its handlers ask.
    async fn ask(
        &mut self,
        block: Block,
        stored: Vec<Stored>,
        asking: Asking,
    ) -> Result<Option<Transcript>, Error> {
        let ordered = (0..).zip(stored).map(|(index, stored)| {
            let ordered = Ordered::new(stored, &block, index)?;
            Ok((Entry::Message(ordered.record().id()), Resolved::Message(Box::new(ordered))))
        });
        let entries = ordered.collect::<Result<Vec<_>, Error>>()?;
        let image = self.shared.registries.image(self.project.id);
        let work = (entries, Contracts::Asking(asking));
        let run = Run::live(&self.shared, self.project.id);
        let (_, contracts, _) = compute(run, (&block, image), work).await?;
        match contracts {
            Contracts::Asking(asking) => Ok(asking.transcript()),
            Contracts::Agreed(_) => Ok(None),
        }
    }

    async fn committed(&mut self, certified: CertifiedBlock) -> Result<(), Error> {
        let height = certified.block.header().height;
        let shared = self.shared.clone();
        let parts = &shared.parts;
        parts.probe.at("order.committed");
        if height <= *self.project.journaled.borrow() {
            return Ok(());
        }
        let ids: Vec<MessageId> = message_ids(&certified);
        let time = certified.block.header().time;
        let stored = self.messages(&ids).await?;
        // The cursor moves to the last of them: messages are taken in the order of their positions.
        let last = stored.iter().map(w3bstream_types::Stored::position).max();
        let ordered_to = last.map_or(self.ordered_to, |p| p.max(self.ordered_to));
        let mut batch = vec![
            Write::Block(self.project.id, Box::new(certified.clone())),
            Write::Cursor(self.project.id, ORDERED, ordered_to.0),
        ];
        batch.extend(crate::versions::note(&*parts.journal, self.project.id, &certified.block).await?);
        parts.journal.commit(batch).await?;
        parts.probe.at("order.journaled");
        self.ordered_to = ordered_to;
        self.project.counters.ordered(ids.len() as u64);
        Counters::add(&self.project.counters.blocks, 1);
        // Before those who wait are answered: who begins to wait after that sees it.
        self.project.ordered_before.fetch_max(ordered_to.0 + 1, Ordering::AcqRel);
        live::ordered(&self.shared, &self.project, (height, time), stored.iter());
        // Before the executor hears of the height.
        self.project.handover.put(certified, stored);
        self.project.journaled.send_replace(height);
        for id in ids {
            self.shared.waiters.reached(id, AckMode::Committed, &[]);
        }
        Ok(())
    }

    /// The messages with these ids that the store has: those of the last build, if it is its block.
    async fn messages(&mut self, ids: &[MessageId]) -> Result<Vec<Stored>, Error> {
        let built = std::mem::take(&mut self.built);
        if built.iter().map(|s| s.record().id()).eq(ids.iter().copied()) {
            return Ok(built);
        }
        Ok(self.shared.store.get(ids).await?.into_iter().flatten().collect())
    }

    /// The guard has noted the statement: sign it, and at quorum write it down.
    async fn attest(&mut self, statement: Statement) -> Result<(), Error> {
        if statement.height <= *self.project.attested.borrow() {
            return Ok(());
        }
        let signer = self.shared.parts.signer.clone();
        let hash = statement.signing_hash();
        let sign = move || signer.sign_recoverable(Role::Attestation, &hash);
        let signature = tokio::task::spawn_blocking(sign)
            .await
            .map_err(|_| Error::new(ErrorKind::Fatal, "the signer panicked"))??;
        self.shared.parts.probe.at("attest.signed");
        let member = self.shared.my_place(&self.project.genesis)?;
        match self.pool.add_own(SignedStatement { member, statement, signature })? {
            Collected::Complete(attestation) => self.attested(*attestation).await,
            Collected::Diverged(d) => {
                let why =
                    format!("height {}: a quorum attests another result than this node's", d.ours.height);
                Err(Error::new(ErrorKind::Fatal, why))
            }
            Collected::Refused(e) => Err(e.into()),
            Collected::Counted { .. } | Collected::Known | Collected::Equivocation(_) => Ok(()),
        }
    }

    async fn attested(&mut self, attestation: Attestation) -> Result<(), Error> {
        let (id, height) = (self.project.id, attestation.statement.height);
        let parts = &self.shared.parts;
        let result = parts.vfs.result(id, height).await?;
        let (_, _, outputs) = result.ok_or_else(|| {
            Error::new(ErrorKind::Fatal, format!("height {height} was attested but its result is gone"))
        })?;
        let effects = (0..).zip(&outputs).filter(|(_, o)| o.kind == OutputKind::Mqtt);
        let effects: Vec<OutboxId> =
            effects.map(|(index, _)| OutboxId { project: id, height, index }).collect();
        let manifest = self.shared.manifest(id);
        let (mut batch, opened) =
            crate::settle::open_records(id, height, &outputs, (manifest.as_deref(), parts.clock.now()))?;
        batch.extend([
            Write::Attestation(id, Box::new(attestation)),
            Write::Outbox(effects),
            Write::Cursor(id, ATTESTED, height),
        ]);
        parts.journal.commit(batch).await?;
        parts.probe.at("attest.journaled");
        Counters::add(&self.project.counters.attested, 1);
        Counters::add(&self.project.counters.settling, opened);
        self.project.attested.send_replace(height);
        live::attested(&self.shared, &self.project, height).await
    }
}

/// Messages of one device that were under way together may be stored in any order. Inside a block they come in the
/// device's own: each device keeps its places, and fills them by rising sequence number.
fn in_order_of_each_device(stored: &mut [w3bstream_types::Stored]) {
    let mut places: BTreeMap<w3bstream_types::Did, Vec<usize>> = BTreeMap::new();
    for (place, message) in stored.iter().enumerate() {
        if let Some(device) = message.record().device() {
            places.entry(device).or_default().push(place);
        }
    }
    let sequence = |place: &usize| stored.get(*place).map(|m| m.record().sequence());
    // Nearly always they came in order.
    places.retain(|_, places| !places.is_sorted_by_key(sequence));
    for places in places.into_values() {
        let mut messages: Vec<_> = places.iter().filter_map(|p| stored.get(*p).cloned()).collect();
        messages.sort_by_key(|m| m.record().sequence());
        for (place, message) in places.into_iter().zip(messages) {
            if let Some(slot) = stored.get_mut(place) {
                *slot = message;
            }
        }
    }
}

/// Takes a removal out of what is to be ordered, with all that follows it, and gives its id.
fn take_removal(controls: &mut Vec<ControlTx>) -> Option<Digest> {
    let place = controls.iter().position(|tx| matches!(tx.change, Control::Remove))?;
    let removal = controls.get(place).map(ControlTx::id);
    controls.truncate(place);
    removal
}

/// Waits so many milliseconds; for ever if there is nothing to wait for.
async fn sleep(millis: Option<u64>) {
    match millis {
        None => std::future::pending().await,
        Some(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
    }
}

pub(crate) fn message_ids(certified: &CertifiedBlock) -> Vec<MessageId> {
    let messages = certified.block.entries().iter().filter_map(|e| match e {
        Entry::Message(id) => Some(*id),
        Entry::Control(_) | Entry::Transcript(_) => None,
    });
    messages.collect()
}
