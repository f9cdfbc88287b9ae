//! The pipeline as a whole: what its stages share, how it starts and how it drains.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use w3bstream_consensus::{ConsensusSigner, Driver, DriverInput, Setup};
use w3bstream_journal::Write;
use w3bstream_storage::Store;
use w3bstream_tasks::Tasks;
use w3bstream_types::{
    AckMode, Disposition, Genesis, Manifest, Member, MessageId, ProjectId, ProjectName, PublicKey, Refusal,
    RefusalKind,
};
use w3bstream_wallet::{Role, Signer};

use crate::counters::{Counters, Refusals};
use crate::crew::Helpers;
use crate::project::{Project, Resume};
use crate::registry::{Image, Registries};
use crate::replay::Replays;
use crate::sessions::Desk;
use crate::stage_order::{ATTESTED, Sequencer};
use crate::waiters::Waiters;
use crate::{Error, ErrorKind, Parts, stage_admit, stage_execute, stage_outbox, trigger};

/// What every stage of every project shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) parts: Parts,
    pub(crate) store: Store,
    pub(crate) registries: Registries,
    pub(crate) refusals: Refusals,
    pub(crate) desk: Desk,
    pub(crate) replays: Replays,
    pub(crate) waiters: Waiters,
    /// Batches that were taken from an endpoint and are not yet stored.
    pub(crate) admitting: AtomicUsize,
    pub(crate) projects: RwLock<HashMap<ProjectId, Arc<Project>>>,
    /// Serialises deployments and control transactions: nonces are given one after the other.
    pub(crate) control: Mutex<()>,
    /// Every project of the journal was started.
    pub(crate) resumed: AtomicBool,
    /// Why the whole node has to stop.
    pub(crate) fatal: watch::Sender<Option<String>>,
    /// Threads that help projects to run blocks.
    pub(crate) helpers: Helpers,
    /// Stages of the projects; stopped after the admission stage.
    pub(crate) stages: Tasks,
}

impl Shared {
    pub(crate) fn project(&self, id: ProjectId) -> Option<Arc<Project>> {
        self.projects.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub(crate) fn all_projects(&self) -> Vec<Arc<Project>> {
        let all = self.projects.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = all.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    pub(crate) fn manifest(&self, id: ProjectId) -> Option<Arc<Manifest>> {
        self.registries.with(id, |image| image.manifest.clone()).flatten()
    }

    /// The height at which the owner has removed a project.
    pub(crate) fn removed(&self, id: ProjectId) -> Option<u64> {
        self.registries.with(id, |image| image.removed).flatten()
    }

    /// The whole node must stop: state that all projects share is no longer trusted.
    pub(crate) fn fail(&self, why: &str) {
        tracing::error!("the node stops: {why}");
        self.fatal.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                *reason = Some(why.to_owned());
            }
            first
        });
    }

    /// One project stops; the others go on.
    pub(crate) async fn halt(&self, project: &Project, why: &str) {
        if self.stages.shutdown().is_requested() {
            return;
        }
        tracing::error!(project = %project.name, "project halted: {why}");
        project.halted.send_replace(Some(why.to_owned()));
        let halt = Write::Halt(project.id, why.to_owned());
        if let Err(e) = self.parts.journal.commit(vec![halt]).await {
            self.fail(&format!("journal: {e}"));
        }
    }

    /// This node's place among a subnet's members.
    pub(crate) fn my_place(&self, genesis: &Genesis) -> Result<u32, Error> {
        let place = genesis.members.iter().position(|m| m.did == self.parts.node);
        let place = place.and_then(|p| u32::try_from(p).ok());
        place.ok_or_else(|| {
            let why = format!("{} is no member of this project's subnet", self.parts.node);
            Error::new(ErrorKind::Fatal, why)
        })
    }

    /// Answers waiters of a message whose block may have passed already.
    pub(crate) async fn answer_if_reached(&self, project: ProjectId, id: MessageId) {
        let Ok(Some((height, first, count))) = self.parts.vfs.outputs_of(project, id).await else {
            if let Ok(found) = self.parts.journal.ordered(&[id]).await
                && matches!(found.first(), Some(Some(_)))
            {
                self.waiters.reached(id, AckMode::Committed, &[]);
            }
            return;
        };
        let Ok(Some((_, _, outputs))) = self.parts.vfs.result(project, height).await else { return };
        let about = outputs.get(first as usize..(first + count) as usize).unwrap_or_default();
        match stage_execute::rejection(about) {
            Some(kind) => {
                let why = "the project's registry changed before its block";
                self.waiters.reject(id, &Refusal::new(kind, why));
            }
            None => self.waiters.reached(id, AckMode::Executed, &stage_execute::results(about)),
        }
    }
}

/// The pipeline of one node: rooms in their order, stages with their own cursors.
///
/// Clones are handles of one pipeline.
#[derive(Clone, Debug)]
pub struct Pipeline(pub(crate) Arc<Shared>);

impl Pipeline {
    /// Puts the rooms together and reads where every project stands. Starts nothing.
    ///
    /// # Errors
    /// [`Error`] if a room cannot be read.
    pub async fn build(parts: Parts) -> Result<Self, Error> {
        if !parts.consensus.contains_key(&parts.default_consensus) {
            let why = format!("there is no consensus backend {:?}", parts.default_consensus);
            return Err(Error::new(ErrorKind::Refused, why));
        }
        let stages = Tasks::new("pipeline");
        let shared = Arc::new(Shared {
            helpers: Helpers::new(parts.options.threads, stages.clone()),
            store: Store::new(parts.storage.clone()),
            registries: Registries::default(),
            refusals: Refusals::default(),
            desk: Desk::new(parts.sessions, parts.clock.now()),
            replays: Replays::default(),
            waiters: Waiters::default(),
            admitting: AtomicUsize::new(0),
            projects: RwLock::default(),
            control: Mutex::default(),
            resumed: AtomicBool::new(false),
            fatal: watch::Sender::new(None),
            stages,
            parts,
        });
        Ok(Self(shared))
    }

    /// Runs until `stop` resolves or the node can no longer be trusted, then drains in the order of the flow:
    /// intake, admission, ordering, execution, outbox, each within what is left of `deadline`.
    ///
    /// # Errors
    /// The reason why the node had to stop, or what did not end in time.
    pub async fn run(self, stop: impl Future<Output = ()>, deadline: Duration) -> Result<(), Error> {
        let shared = &self.0;
        self.resume().await?;
        let intake = Tasks::new("admission");
        for endpoint in &shared.parts.endpoints {
            let line = Arc::new(stage_admit::Line::new());
            for i in 0..shared.parts.options.admit_tasks {
                let (name, line) = (format!("{}-{i}", endpoint.name()), line.clone());
                intake.spawn(name, stage_admit::run(shared.clone(), endpoint.clone(), line));
            }
        }
        self.spawn_sweeper();
        let mut fatal = shared.fatal.subscribe();
        let broken = tokio::select! {
            () = stop => None,
            reason = fatal.wait_for(Option::is_some) => reason.ok().and_then(|r| r.clone()),
            name = intake.failed() => Some(format!("task {name} panicked")),
            name = shared.stages.failed() => Some(format!("task {name} panicked")),
        };
        let drained = self.drain(&intake, deadline).await;
        match broken {
            Some(why) => Err(Error::new(ErrorKind::Fatal, why)),
            None => drained,
        }
    }

    /// Starts the projects that this node has, each where it stopped. Whoever answers questions about
    /// messages calls this first: before it, the node knows no project. Does nothing the second time.
    ///
    /// # Errors
    /// [`Error`] if a room cannot be read.
    pub async fn resume(&self) -> Result<(), Error> {
        let _one_at_a_time = self.0.control.lock().await;
        for genesis in self.0.parts.journal.geneses().await? {
            if self.0.project(genesis.project).is_none() {
                self.start_project(genesis, None).await?;
            }
        }
        self.0.resumed.store(true, Ordering::Release);
        Ok(())
    }

    fn spawn_sweeper(&self) {
        let (shared, shutdown) = (Arc::downgrade(&self.0), self.0.stages.shutdown());
        self.0.stages.spawn("waiting acknowledgements", async move {
            loop {
                tokio::select! {
                    () = shutdown.requested() => return,
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
                let Some(shared) = shared.upgrade() else { return };
                shared.waiters.expire(shared.parts.clock.now());
            }
        });
    }

    async fn drain(&self, intake: &Tasks, deadline: Duration) -> Result<(), Error> {
        let shared = &self.0;
        let until = tokio::time::Instant::now() + deadline;
        let left = || until.saturating_duration_since(tokio::time::Instant::now());
        for endpoint in &shared.parts.endpoints {
            endpoint.stop_intake().await;
        }
        self.answer_what_was_read(left() / 2).await;
        // What is left gets a transient refusal, then `next` gives `None` and these tasks end.
        let closing: Vec<_> = shared.parts.endpoints.iter().map(|e| e.close()).collect();
        let closed = tokio::time::timeout(left(), futures_util::future::join_all(closing)).await;
        let mut late = intake.join(left()).await.err().unwrap_or_default();
        self.flush(left()).await;
        late.extend(shared.stages.join(left()).await.err().unwrap_or_default());
        for result in closed.into_iter().flatten() {
            result?;
        }
        shared.parts.storage.close().await?;
        shared.parts.vfs.close().await?;
        shared.parts.journal.close().await?;
        if late.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, format!("did not end in time: {}", late.join(", "))))
    }

    /// Lets the admission tasks and the stages behind them answer what the endpoints had read, as far as time
    /// allows: `close` refuses the rest, and its senders would have to send it again.
    async fn answer_what_was_read(&self, deadline: Duration) {
        let shared = &self.0;
        let answered = async {
            let mut quiet = 0;
            // Twice in a row, since a task may stand between taking a batch and counting it.
            while quiet < 2 {
                let mut waiting = 0;
                for endpoint in &shared.parts.endpoints {
                    waiting += stage_admit::run_waiting(shared, &**endpoint).await;
                }
                let idle = shared.admitting.load(Ordering::Acquire) == 0 && shared.waiters.is_empty();
                quiet = if idle && waiting == 0 { quiet + 1 } else { 0 };
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = tokio::time::timeout(deadline, answered).await;
    }

    /// Lets what is journaled become executed and attested, as far as time allows. What is left goes on at
    /// the next start.
    async fn flush(&self, deadline: Duration) {
        let all =
            self.0.all_projects().into_iter().filter(|p| p.halt_reason().is_none()).map(|p| async move {
                let mut attested = p.attested.subscribe();
                let target = *p.journaled.borrow();
                let _ = attested.wait_for(|h| *h >= target).await;
            });
        let _ = tokio::time::timeout(deadline, futures_util::future::join_all(all)).await;
    }

    /// Reads where a project stands and starts its stages.
    pub(crate) async fn start_project(
        &self,
        genesis: Genesis,
        name: Option<ProjectName>,
    ) -> Result<Arc<Project>, Error> {
        let shared = &self.0;
        let (id, parts) = (genesis.project, &shared.parts);
        let mut image = Image::load(&*parts.vfs, id).await?;
        image.members = genesis.members.iter().map(|m| m.did.clone()).collect();
        let pending = parts.journal.pending_controls(id, 1).await?;
        let name = name
            .or_else(|| image.manifest.as_ref().map(|m| m.name.clone()))
            .or_else(|| pending.first().and_then(name_in))
            .ok_or_else(|| Error::new(ErrorKind::Fatal, format!("project {id} has no manifest")))?;
        let at = Resume {
            journaled: parts.journal.last_height(id).await?,
            applied: parts.vfs.head(id).await?.0,
            attested: parts.journal.cursor(id, ATTESTED).await?,
        };
        let halted = parts.journal.halted(id).await?;
        let (project, inputs) = Project::new(genesis, name, at, halted);
        let open = crate::settle::count_live(&*parts.journal, id).await?;
        Counters::add(&project.counters.settling, open);
        if let Err(e) = self.recall(&project).await {
            // It is only for who looks; whatever else is wrong with the project halts it where it matters.
            tracing::warn!(project = %project.name, "what came last before the stop is not known: {e}");
        }
        crate::versions::find_old(&*parts.journal, id).await?;
        crate::removal::resume(&project, &*parts.journal).await?;
        shared.registries.insert(id, image);
        shared.projects.write().unwrap_or_else(PoisonError::into_inner).insert(id, project.clone());
        if project.halt_reason().is_none() {
            self.start_stages(&project, inputs).await?;
        }
        Ok(project)
    }

    async fn start_stages(
        &self,
        project: &Arc<Project>,
        inputs: mpsc::Receiver<DriverInput>,
    ) -> Result<(), Error> {
        let shared = &self.0;
        let driver = match open_driver(shared, project) {
            Ok(driver) => driver,
            Err(e) if e.disposition() == Disposition::Halt => {
                shared.halt(project, &format!("consensus does not start: {e}")).await;
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let sequencer = Sequencer::new(shared.clone(), project.clone(), driver).await?;
        let (stages, name) = (&shared.stages, &project.name);
        stages.spawn(format!("order {name}"), sequencer.run(inputs, stages.shutdown()));
        let run = stage_execute::run(shared.clone(), project.clone(), stages.shutdown());
        stages.spawn(format!("execute {name}"), run);
        let run = stage_outbox::run(shared.clone(), project.clone(), stages.shutdown());
        stages.spawn(format!("outbox {name}"), run);
        let run = crate::settle::run(shared.clone(), project.clone(), stages.shutdown());
        stages.spawn(format!("settle {name}"), run);
        for (what, kind) in [("chains", trigger::Kind::Chains), ("clock", trigger::Kind::Clock)] {
            let run = trigger::run(shared.clone(), project.clone(), kind, stages.shutdown());
            stages.spawn(format!("triggers of {what} {name}"), run);
        }
        Ok(())
    }

    /// The genesis of a new project whose only member is this node.
    pub(crate) fn new_genesis(&self, project: ProjectId) -> Result<Genesis, Error> {
        let parts = &self.0.parts;
        let (consensus, attestation) =
            (parts.signer.public(Role::Consensus)?, parts.signer.public(Role::Attestation)?);
        let input = Member::cross_input(&parts.node, &consensus, &attestation);
        let member = Member {
            did: parts.node.clone(),
            by_consensus: parts.signer.sign(Role::Consensus, &input)?,
            by_attestation: parts.signer.sign(Role::Attestation, &input)?,
            consensus,
            attestation,
        };
        let genesis = Genesis {
            project,
            backend: parts.default_consensus.clone(),
            abi_version: w3bstream_engine::ABI_VERSION,
            epoch: 0,
            created: parts.clock.now(),
            members: vec![member],
        };
        genesis.check()?;
        Ok(genesis)
    }
}

fn name_in(tx: &w3bstream_types::ControlTx) -> Option<ProjectName> {
    match &tx.change {
        w3bstream_types::Control::Deploy(manifest) => Some(manifest.name.clone()),
        _ => None,
    }
}

fn open_driver(shared: &Shared, project: &Project) -> Result<Driver, Error> {
    let genesis = project.genesis.clone();
    let factory = shared.parts.consensus.get(&genesis.backend).cloned().ok_or_else(|| {
        Error::new(ErrorKind::Fatal, format!("the genesis names the consensus backend {:?}", genesis.backend))
    })?;
    if genesis.abi_version != w3bstream_engine::ABI_VERSION {
        let (theirs, ours) = (genesis.abi_version, w3bstream_engine::ABI_VERSION);
        return Err(Error::new(
            ErrorKind::Fatal,
            format!("the genesis has ABI {theirs}, this node has {ours}"),
        ));
    }
    let me = shared.my_place(&genesis)?;
    let signer = Arc::new(ConsensusKey(shared.parts.signer.clone()));
    let wal = shared.parts.wals.open(project.id)?;
    Ok(Driver::open(Setup::new(genesis, Some(me), factory, signer), wal)?)
}

/// The wallet's consensus role, as the driver wants it.
#[derive(Debug)]
struct ConsensusKey(Arc<dyn Signer>);

impl ConsensusKey {
    fn error(e: w3bstream_wallet::Error) -> w3bstream_consensus::Error {
        w3bstream_consensus::Error::new(w3bstream_consensus::ErrorKind::Signer, "wallet").with_source(e)
    }
}

impl ConsensusSigner for ConsensusKey {
    fn public(&self) -> Result<PublicKey, w3bstream_consensus::Error> {
        self.0.public(Role::Consensus).map_err(Self::error)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], w3bstream_consensus::Error> {
        self.0.sign(Role::Consensus, message).map_err(Self::error)
    }
}

impl Pipeline {
    /// Whether the node takes messages; if not, why.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        if let Some(why) = &*self.0.fatal.borrow() {
            return Err(why.clone());
        }
        if !self.0.resumed.load(Ordering::Acquire) {
            return Err("the node is starting its projects".into());
        }
        if self.0.stages.shutdown().is_requested() {
            return Err(RefusalKind::ShuttingDown.code().to_owned());
        }
        Ok(())
    }
}
