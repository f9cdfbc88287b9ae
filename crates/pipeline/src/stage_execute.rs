//! Ordered → Executed: applies final blocks one after the other and asks for their attestation.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use w3bstream_consensus::DriverInput;
use w3bstream_tasks::Shutdown;
use w3bstream_types::{
    AckMode, Block, Canonical, CertifiedBlock, ContractAnswer, ContractCall, Digest, Entry, EventRecord,
    Executed, HandlerAnswer, HandlerResult, MessageId, Ordered, Output, OutputKind, ProjectId, Refusal,
    RefusalKind, ResultRecord, SqlBlock, Stored, Transcript,
};
use w3bstream_vfs::{SqlSession, Vfs};

use crate::apply::{Applier, Effects, Resolved, StateReader};
use crate::call::Trial;
use crate::counters::Counters;
use crate::crew::Hands;
use crate::events::event_type;
use crate::live;
use crate::node::Shared;
use crate::project::{GuestLog, Project};
use crate::reading::Asking;
use crate::registry::Image;
use crate::stage_order::message_ids;
use crate::{Error, ErrorKind, canary};

/// Runs until the node stops or the project halts.
pub(crate) async fn run(shared: Arc<Shared>, project: Arc<Project>, shutdown: Shutdown) {
    if let Err(e) = run_inner(&shared, &project, &shutdown).await {
        shared.halt(&project, &format!("execution stopped: {e}")).await;
    }
}

async fn run_inner(shared: &Arc<Shared>, project: &Arc<Project>, shutdown: &Shutdown) -> Result<(), Error> {
    let mut journaled = project.journaled.subscribe();
    let mut applied = *project.applied.borrow();
    let attested = *project.attested.borrow();
    for height in attested + 1..=applied {
        // Applied before the last stop, but not attested: the result is in the vfs.
        let executed = recover(shared, project, height).await?;
        announce(project, &executed).await?;
    }
    loop {
        let target = *journaled.borrow_and_update();
        while applied < target {
            if shutdown.is_requested() {
                return Ok(());
            }
            applied += 1;
            let executed = execute(shared, project, applied).await?;
            announce(project, &executed).await?;
        }
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            changed = journaled.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// Tells the driver what was applied and what this node is going to attest.
async fn announce(project: &Project, executed: &Executed) -> Result<(), Error> {
    let statement = executed.statement(project.id);
    let (height, state_root) = (statement.height, statement.state_root);
    let stopped = |_| Error::new(ErrorKind::ShuttingDown, "the sequencer has ended");
    project.driver.send(DriverInput::Attest(Box::new(statement))).await.map_err(stopped)?;
    project.driver.send(DriverInput::Applied { height, state_root }).await.map_err(stopped)
}

async fn execute(shared: &Arc<Shared>, project: &Project, height: u64) -> Result<Executed, Error> {
    let parts = &shared.parts;
    let (certified, entries) = load(shared, project, height).await?;
    parts.probe.at("execute.started");
    let image = shared.registries.image(project.id);
    let transcript = transcript_of(&entries);
    let contracts = Contracts::Agreed(Arc::new(transcript.clone()));
    let run = Run { trial: canary::trial(project), ..Run::live(shared, project.id) };
    let (effects, _, entries) = compute(run, (&certified.block, image), (entries, contracts)).await?;
    parts.probe.at("execute.ran");
    let Effects { applied, draft, logs, cuts, calls } = effects;
    if !calls.is_empty() {
        // Before it is stored: what the state was is still there.
        let given = (&certified.block, &entries[..], &transcript);
        canary::offer(shared, project, given, (&calls, &applied.writes)).await;
    }
    let (outputs, manifest, index) = (applied.outputs.clone(), applied.manifest, applied.index.clone());
    let state_root = parts.vfs.apply(project.id, applied).await?;
    parts.probe.at("execute.applied");
    let removed = draft.removed;
    shared.registries.adopt(project.id, draft);
    crate::removal::applied(project, &entries, removed);
    let lines = logs.into_iter().map(|(applet, message, line)| GuestLog { number: 0, applet, message, line });
    project.log(lines, parts.options.log_lines);
    cuts.iter().for_each(|(applet, cut)| project.guest_counts.cut(applet, cut));
    project.applied.send_replace(height);
    settle_waiters(shared, project, &outputs, &index);
    let records = entries.iter().filter_map(|(_, resolved)| match resolved {
        Resolved::Message(ordered) => Some(ordered.record()),
        Resolved::Control(_) | Resolved::Transcript(_) => None,
    });
    live::executed(shared, project, (&outputs, &index), records);
    baton(certified.block, entries, (manifest, state_root), outputs)
}

async fn recover(shared: &Arc<Shared>, project: &Project, height: u64) -> Result<Executed, Error> {
    let (certified, entries) = load(shared, project, height).await?;
    let result = shared.parts.vfs.result(project.id, height).await?;
    let (state_root, manifest, outputs) = result
        .ok_or_else(|| Error::new(ErrorKind::Fatal, format!("the result of height {height} is gone")))?;
    baton(certified.block, entries, (manifest, state_root), outputs)
}

fn baton(
    block: Block,
    entries: Vec<(Entry, Resolved)>,
    (manifest, state_root): (Digest, Digest),
    outputs: Vec<Output>,
) -> Result<Executed, Error> {
    let ordered = entries.into_iter().filter_map(|(_, resolved)| match resolved {
        Resolved::Message(ordered) => Some(*ordered),
        Resolved::Control(_) | Resolved::Transcript(_) => None,
    });
    Ok(Executed::new(block, ordered.collect(), manifest, state_root, outputs)?)
}

/// The block of a height with everything that its entries name.
async fn load(
    shared: &Shared,
    project: &Project,
    height: u64,
) -> Result<(CertifiedBlock, Vec<(Entry, Resolved)>), Error> {
    match project.handover.take(height) {
        Some((certified, stored)) => resolve(shared, project.id, certified, stored).await,
        None => read(shared, project.id, height).await,
    }
}

fn gone(height: u64, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Fatal, format!("block {height}: {what} is gone"))
}

/// The block of a height from the journal, with everything that its entries name.
pub(crate) async fn read(
    shared: &Shared,
    project: ProjectId,
    height: u64,
) -> Result<(CertifiedBlock, Vec<(Entry, Resolved)>), Error> {
    let certified = shared.parts.journal.block(project, height).await?.ok_or_else(|| gone(height, "it"))?;
    let stored = shared.store.get(&message_ids(&certified)).await?;
    resolve(shared, project, certified, stored.into_iter().flatten().collect()).await
}

async fn resolve(
    shared: &Shared,
    project: ProjectId,
    certified: CertifiedBlock,
    stored: Vec<Stored>,
) -> Result<(CertifiedBlock, Vec<(Entry, Resolved)>), Error> {
    let (height, parts) = (certified.block.header().height, &shared.parts);
    let gone = |what: String| gone(height, what);
    let mut stored: HashMap<MessageId, _> = stored.into_iter().map(|s| (s.record().id(), s)).collect();
    let mut entries = Vec::with_capacity(certified.block.entries().len());
    for (index, entry) in (0..).zip(certified.block.entries()) {
        let resolved = match entry {
            Entry::Message(id) => {
                let stored = stored.remove(id).ok_or_else(|| gone(format!("message {id}")))?;
                Resolved::Message(Box::new(Ordered::new(stored, &certified.block, index)?))
            }
            Entry::Control(id) => {
                let tx = parts.journal.control(*id).await?;
                Resolved::Control(Box::new(tx.ok_or_else(|| gone(format!("control transaction {id}")))?))
            }
            Entry::Transcript(id) => {
                let transcript = crate::reading::find(&*parts.journal, project, *id).await?;
                Resolved::Transcript(Box::new(transcript.ok_or_else(|| gone(format!("transcript {id}")))?))
            }
        };
        entries.push((*entry, resolved));
    }
    Ok((certified, entries))
}

/// The answers on which a block's members have agreed; none if it names no transcript.
pub(crate) fn transcript_of(entries: &[(Entry, Resolved)]) -> Transcript {
    let found = entries.iter().find_map(|(_, resolved)| match resolved {
        Resolved::Transcript(transcript) => Some((**transcript).clone()),
        Resolved::Message(_) | Resolved::Control(_) => None,
    });
    found.unwrap_or_default()
}

/// Where and how a block is run.
pub(crate) struct Run {
    pub(crate) shared: Arc<Shared>,
    pub(crate) project: ProjectId,
    /// What holds the state before the block.
    pub(crate) state: Arc<dyn Vfs>,
    pub(crate) trial: Trial,
    /// How many threads may run it.
    pub(crate) hands: Hands,
}

impl Run {
    /// On the project's own state.
    pub(crate) fn live(shared: &Arc<Shared>, project: ProjectId) -> Self {
        let state = shared.parts.vfs.clone();
        Self::on(shared, (project, state), Trial::default())
    }

    /// On another state.
    pub(crate) fn on(
        shared: &Arc<Shared>,
        (project, state): (ProjectId, Arc<dyn Vfs>),
        trial: Trial,
    ) -> Self {
        let pace = shared.project(project).map(|p| p.pace.clone()).unwrap_or_default();
        let hands = Hands { helpers: shared.helpers.clone(), pace };
        Self { shared: shared.clone(), project, state, trial, hands }
    }
}

/// Runs a block's handlers on a thread that may block. Gives the contracts' answers and the entries back.
pub(crate) async fn compute(
    run: Run,
    (block, image): (&Block, Arc<Image>),
    (entries, contracts): (Vec<(Entry, Resolved)>, Contracts),
) -> Result<(Effects, Contracts, Vec<(Entry, Resolved)>), Error> {
    let runtime = tokio::runtime::Handle::current();
    let (height, time) = (block.header().height, block.header().time);
    let work = move || {
        let Run { shared, project, state: vfs, trial, hands } = run;
        let programs = shared.parts.vfs.clone();
        let mut state = VfsReader { runtime, vfs, programs, project, contracts, sql: None, forked: false };
        let applier = Applier {
            project,
            time,
            image: &image,
            engine: shared.parts.engine.clone(),
            caps: shared.parts.options.guest_caps,
            state: &mut state,
            trial,
            hands,
        };
        let entries = Arc::new(entries);
        let effects = applier.apply(height, &entries)?;
        // Nobody else has them any more.
        let entries = Arc::try_unwrap(entries).unwrap_or_else(|shared| shared.to_vec());
        Ok((effects, state.contracts, entries))
    };
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|_| Error::new(ErrorKind::Fatal, format!("executing block {height} panicked")))?
}

/// Where contracts' answers come from.
pub(crate) enum Contracts {
    /// From the block's transcript.
    Agreed(Arc<Transcript>),
    /// From the chains, for a block that is being built.
    Asking(Asking),
}

struct VfsReader {
    runtime: tokio::runtime::Handle,
    vfs: Arc<dyn Vfs>,
    /// Where programs are, whatever state they run on.
    programs: Arc<dyn Vfs>,
    project: ProjectId,
    contracts: Contracts,
    sql: Option<Box<dyn SqlSession>>,
    /// Whether another one has the database.
    forked: bool,
}

impl StateReader for VfsReader {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.runtime.block_on(self.vfs.get(self.project, key))?)
    }

    fn program(&mut self, digest: Digest) -> Result<Vec<u8>, Error> {
        Ok(self.runtime.block_on(self.programs.program(digest))?)
    }

    fn contract(&mut self, call: &ContractCall) -> Result<Option<ContractAnswer>, Error> {
        match &mut self.contracts {
            Contracts::Agreed(transcript) => Ok(transcript.answer(call).cloned()),
            Contracts::Asking(asking) => asking.ask(call),
        }
    }

    fn sql(&mut self) -> Result<&mut dyn SqlSession, Error> {
        if self.forked {
            let why = "a program that was said to use no database asks for it";
            return Err(Error::new(ErrorKind::Fatal, why));
        }
        let session = match self.sql.take() {
            Some(session) => session,
            None => self.runtime.block_on(self.vfs.sql(self.project))?,
        };
        Ok(&mut **self.sql.insert(session))
    }

    fn finish_sql(&mut self) -> Result<SqlBlock, Error> {
        Ok(self.sql.take().map(|session| session.finish()).transpose()?.unwrap_or_default())
    }

    fn fork(&self) -> Option<Box<dyn StateReader + Send>> {
        // What a block may read of chains is bounded, so whoever asks first matters while it is asked.
        let Contracts::Agreed(transcript) = &self.contracts else { return None };
        Some(Box::new(Self {
            runtime: self.runtime.clone(),
            vfs: self.vfs.clone(),
            programs: self.programs.clone(),
            project: self.project,
            contracts: Contracts::Agreed(transcript.clone()),
            sql: None,
            forked: true,
        }))
    }
}

fn settle_waiters(shared: &Shared, project: &Project, outputs: &[Output], index: &[(MessageId, u64, u64)]) {
    let counters = &project.counters;
    for (id, first, count) in index {
        let range = *first as usize..(first + count) as usize;
        let about = outputs.get(range).unwrap_or_default();
        if let Some(reason) = rejection(about) {
            Counters::add(&counters.rejected, 1);
            shared
                .waiters
                .reject(*id, &Refusal::new(reason, "the project's registry changed before its block"));
            continue;
        }
        let results = results(about);
        project.guest_metrics.take(about);
        Counters::add(&counters.executed, 1);
        let events = about.iter().filter(|o| o.kind == OutputKind::Event).count();
        Counters::add(&counters.events, events as u64);
        project.guest_counts.failed(&results);
        Counters::add(&counters.failed_calls, results.iter().filter(|r| r.error.is_some()).count() as u64);
        Counters::add(&counters.gas, results.iter().map(|r| r.gas).sum());
        shared.waiters.reached(*id, AckMode::Executed, &results);
    }
}

/// The results among a message's outputs, with the types of the events that they are of, and their answers.
pub(crate) fn results(outputs: &[Output]) -> Vec<HandlerResult> {
    let (mut events, mut results) = (BTreeMap::new(), Vec::<HandlerResult>::new());
    for output in outputs {
        match output.kind {
            OutputKind::Result => {
                let Ok(record) = ResultRecord::from_canonical(&output.data) else { continue };
                let event = record.event.and_then(|id| events.get(&id).cloned());
                results.push(HandlerResult { event, ..record.to_handler_result() });
            }
            // What a call put out stands behind its result, and an event's results behind the event.
            OutputKind::Answer => {
                if let Some(result) = results.last_mut() {
                    result.answer = Some(HandlerAnswer::new(output.data.clone()));
                }
            }
            OutputKind::Event => {
                let record = EventRecord::from_canonical(&output.data);
                if let (Ok(record), Some(event_type)) = (record, event_type(output)) {
                    events.insert(record.id, event_type);
                }
            }
            _ => {}
        }
    }
    results
}

/// Why a message was ordered but not executed, if that is so.
pub(crate) fn rejection(outputs: &[Output]) -> Option<RefusalKind> {
    let output = outputs.iter().find(|o| o.kind == OutputKind::Rejected)?;
    RefusalKind::ALL.into_iter().find(|k| k.code().as_bytes() == output.data)
}
