//! Runs a project's blocks again: to see that they give what they gave, and what another module would have given.
//!
//! The vfs keeps the newest state alone, so a replay makes every state anew: from the first block on, in a vfs that is thrown
//! away afterwards. Each block is run with the programs that it had, and its outputs and root are compared with the
//! stored ones: if they differ, that is a failure of determinism, and named so. In the span that was asked for, the other
//! module runs each block first, on the same state. Until the first difference both have the same state, so there is none
//! of its own to keep.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use w3bstream_engine::Module;
use w3bstream_types::{AppletName, Digest, Entry, Manifest, OutputKind, ProjectId, ProjectName};
use w3bstream_vfs::Vfs;

use crate::apply::{Effects, Resolved};
use crate::call::{Trace, Traced, Trial};
use crate::compare::{self, Difference};
use crate::node::Shared;
use crate::registry::Image;
use crate::stage_execute::{Contracts, Run, compute, read, transcript_of};
use crate::{Error, ErrorKind, Pipeline};

/// What is to be replayed.
#[derive(Clone, Debug, Default)]
pub struct ReplayRequest {
    /// The first height that is compared; 1 if there is none.
    pub from: Option<u64>,
    /// The last height; the last applied one if there is none.
    pub to: Option<u64>,
    /// The applet whose module is replaced; needed if the project has several.
    pub applet: Option<AppletName>,
    /// The other module; without one, blocks are compared with what they gave.
    pub module: Option<Vec<u8>>,
    /// Whether gas may differ.
    pub ignore_gas: bool,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplayState {
    /// It runs.
    Running,
    /// All blocks of the span gave the same.
    Same,
    /// The module does something else; `difference` says what.
    Different,
    /// A block gave something else than when it was executed, with the same programs: `difference` says what.
    NotDeterministic,
    /// It was stopped.
    Stopped,
    /// It could not go on; `error` says why.
    Failed,
}

/// A replay as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayStatus {
    /// The project.
    pub project: ProjectName,
    /// How far it is.
    pub state: ReplayState,
    /// The first height that is compared.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// The last height that was run.
    pub height: u64,
    /// The applet whose module was replaced.
    pub applet: Option<AppletName>,
    /// SHA-256 of the other module.
    pub program: Option<Digest>,
    /// Handler calls in the span.
    pub calls: u64,
    /// Gas of the calls of the applet in the span, as they were.
    pub gas_old: u64,
    /// Their gas in the other module.
    pub gas_new: u64,
    /// The first difference.
    pub difference: Option<Difference>,
    /// Why it could not go on.
    pub error: Option<String>,
}

/// The node's replay: one at a time, since it takes a core and a copy of a project's state.
#[derive(Debug, Default)]
pub(crate) struct Replays(Mutex<Option<Job>>);

#[derive(Clone, Debug)]
struct Job {
    project: ProjectId,
    stop: Arc<AtomicBool>,
    status: Arc<Mutex<ReplayStatus>>,
}

impl Job {
    fn status(&self) -> ReplayStatus {
        // What it guards is whole between any two statements.
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, change: impl FnOnce(&mut ReplayStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Replays {
    fn get(&self, project: ProjectId) -> Option<Job> {
        let job = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        job.filter(|job| job.project == project)
    }

    /// Takes the only place, unless one runs.
    fn begin(&self, job: &Job) -> Result<(), Error> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = place.as_ref().map(Job::status).filter(|s| s.state == ReplayState::Running) {
            let why = format!("a replay of {} is under way; wait for it, or stop it", running.project);
            return Err(Error::new(ErrorKind::Refused, why));
        }
        *place = Some(job.clone());
        Ok(())
    }
}

/// What a replay needs to know beside its job.
struct Plan {
    from: u64,
    to: u64,
    swap: Option<(AppletName, Arc<dyn Module>)>,
    gas: bool,
}

/// A block's end: nothing, or what differs and how that is called.
type Found = Option<(ReplayState, Difference)>;

impl Pipeline {
    /// Starts a replay on a task of its own; [`Pipeline::replay`] tells how it goes.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] if the span is none of the project's, the module does not load, or another replay runs.
    pub async fn start_replay(&self, id: ProjectId, request: ReplayRequest) -> Result<ReplayStatus, Error> {
        let refused = |why: String| Error::new(ErrorKind::Refused, why);
        let unknown = || Error::new(ErrorKind::NotFound, format!("there is no project {id}"));
        let project = self.0.project(id).ok_or_else(unknown)?;
        let last = *project.applied.borrow();
        let (from, to) = (request.from.unwrap_or(1), request.to.unwrap_or(last));
        if from == 0 || from > to || to > last {
            let why = format!("heights {from} to {to} are no span of blocks 1 to {last}, which are applied");
            return Err(refused(why));
        }
        let swap = match request.module {
            None => None,
            Some(bytes) => {
                let manifest = self.0.manifest(id).ok_or_else(unknown)?;
                let applet = the_applet(&manifest, request.applet)?;
                Some((applet, load(&self.0, bytes).await?))
            }
        };
        let status = ReplayStatus {
            project: project.name.clone(),
            state: ReplayState::Running,
            from,
            to,
            height: 0,
            applet: swap.as_ref().map(|(applet, _)| applet.clone()),
            program: swap.as_ref().map(|(_, module)| module.program()),
            calls: 0,
            gas_old: 0,
            gas_new: 0,
            difference: None,
            error: None,
        };
        let (stop, status) = (Arc::default(), Arc::new(Mutex::new(status)));
        let job = Job { project: id, stop, status };
        self.0.replays.begin(&job)?;
        let plan = Plan { from, to, swap, gas: !request.ignore_gas };
        let (shared, shutdown, begun) = (self.0.clone(), self.0.stages.shutdown(), job.status());
        self.0.stages.spawn(format!("replay {}", project.name), async move {
            let outcome = tokio::select! {
                () = shutdown.requested() => Err(Error::new(ErrorKind::ShuttingDown, "the node stops")),
                outcome = run(&shared, &job, plan) => outcome,
            };
            job.set(|status| match outcome {
                Ok(state) => status.state = state,
                Err(e) => {
                    (status.state, status.error) = (ReplayState::Failed, Some(with_sources(&e)));
                }
            });
        });
        Ok(begun)
    }

    /// The project's last replay since the node started.
    #[must_use]
    pub fn replay(&self, project: ProjectId) -> Option<ReplayStatus> {
        self.0.replays.get(project).map(|job| job.status())
    }

    /// Asks the project's replay to stop behind the block that it is at.
    pub fn stop_replay(&self, project: ProjectId) {
        if let Some(job) = self.0.replays.get(project) {
            job.stop.store(true, Ordering::Release);
        }
    }
}

/// An error with what it comes from.
pub(crate) fn with_sources(e: &Error) -> String {
    let (mut text, mut source) = (e.to_string(), std::error::Error::source(e));
    while let Some(e) = source {
        let next = e.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = e.source();
    }
    text
}

/// The applet that is meant.
pub(crate) fn the_applet(manifest: &Manifest, named: Option<AppletName>) -> Result<AppletName, Error> {
    let names: Vec<&str> = manifest.applets.iter().map(|a| a.name.as_str()).collect();
    let refused = |why: String| Error::new(ErrorKind::Refused, why);
    match (named, &manifest.applets[..]) {
        (Some(name), all) if all.iter().any(|a| a.name == name) => Ok(name),
        (Some(name), _) => Err(refused(format!("there is no applet {name}; there is {}", names.join(", ")))),
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => Err(refused(format!("name the applet that the module is for: {}", names.join(", ")))),
    }
}

/// A module that is not kept.
pub(crate) async fn load(shared: &Arc<Shared>, bytes: Vec<u8>) -> Result<Arc<dyn Module>, Error> {
    let engine = shared.parts.engine.clone();
    let loaded = tokio::task::spawn_blocking(move || engine.load(&bytes)).await;
    let loaded = loaded.map_err(|_| Error::new(ErrorKind::Fatal, "loading a program panicked"))?;
    loaded.map_err(|e| {
        let text = with_sources(&e.into());
        Error::new(ErrorKind::Refused, format!("the module cannot run: {text}"))
    })
}

async fn run(shared: &Arc<Shared>, job: &Job, plan: Plan) -> Result<ReplayState, Error> {
    let place = shared.parts.scratch.clone();
    let blocking = |_| Error::new(ErrorKind::Fatal, "the vfs that is thrown away panicked");
    let opener = place.clone();
    let scratch = tokio::task::spawn_blocking(move || opener.open()).await.map_err(blocking)??;
    let outcome = run_on(shared, job, (&plan, scratch.clone())).await;
    let closed = scratch.close().await;
    drop(scratch);
    let cleared = tokio::task::spawn_blocking(move || place.clear()).await.map_err(blocking)?;
    let state = outcome?;
    closed.and(cleared)?;
    Ok(state)
}

async fn run_on(
    shared: &Arc<Shared>,
    job: &Job,
    (plan, scratch): (&Plan, Arc<dyn Vfs>),
) -> Result<ReplayState, Error> {
    let mut image = Image::default();
    if let Some(project) = shared.project(job.project) {
        image.members = project.genesis.members.iter().map(|m| m.did.clone()).collect();
    }
    for height in 1..=plan.to {
        if job.stop.load(Ordering::Acquire) {
            return Ok(ReplayState::Stopped);
        }
        let found = block(shared, job, (plan, &scratch), (height, &mut image)).await?;
        job.set(|status| status.height = height);
        if let Some((state, difference)) = found {
            job.set(|status| status.difference = Some(difference));
            return Ok(state);
        }
    }
    Ok(ReplayState::Same)
}

/// Runs a block, and takes over what it did.
async fn block(
    shared: &Arc<Shared>,
    job: &Job,
    (plan, scratch): (&Plan, &Arc<dyn Vfs>),
    (height, image): (u64, &mut Image),
) -> Result<Found, Error> {
    let id = job.project;
    let (certified, entries) = read(shared, id, height).await.map_err(|e| {
        let why =
            format!("block {height} cannot be run again, which takes every payload since the first block");
        Error::new(ErrorKind::Refused, why).with_source(e)
    })?;
    let before = Arc::new(image.clone());
    let on = |trial| Run::on(shared, (id, scratch.clone()), trial);
    let answers = Arc::new(transcript_of(&entries));
    let again = async |entries: Vec<(Entry, Resolved)>, trial| {
        let work = (entries, Contracts::Agreed(answers.clone()));
        let (effects, _, entries) = compute(on(trial), (&certified.block, before.clone()), work).await?;
        Ok::<_, Error>((effects, entries))
    };
    let compared = height >= plan.from;
    // What is of this height's own program is compared with the stored outputs alone.
    let swap = plan.swap.as_ref().filter(|_| compared);
    let (mut new, mut entries) = (None, entries);
    if let Some(swap) = swap {
        let trial = Trial { swap: Some(swap.clone()), trace: Trace::All };
        let (effects, back) = again(entries, trial).await?;
        (new, entries) = (Some(effects), back);
    }
    let trace = if compared { Trace::All } else { Trace::Off };
    let (old, _) = again(entries, Trial { swap: None, trace }).await?;
    count(job, swap.map(|(applet, _)| applet), (&old.calls, new.as_ref().map(|n| &n.calls[..])));
    if let Some(difference) = stored(shared, (id, height), &old).await? {
        return Ok(Some((ReplayState::NotDeterministic, difference)));
    }
    let other = new.and_then(|new| differs(height, &old, &new, plan.gas));
    let Effects { applied, draft, .. } = old;
    let root = scratch.apply(id, applied).await?;
    image.adopt(draft);
    let result = shared.parts.vfs.result(id, height).await?;
    if let Some((then, _, _)) = result.filter(|(then, _, _)| *then != root) {
        let difference = Difference::of_roots(height, then, root);
        return Ok(Some((ReplayState::NotDeterministic, difference)));
    }
    Ok(other.map(|difference| (ReplayState::Different, difference)))
}

fn count(job: &Job, applet: Option<&AppletName>, (old, new): (&[Traced], Option<&[Traced]>)) {
    let gas = |calls: &[Traced]| -> u64 {
        let counted = calls.iter().filter(|c| applet.is_none_or(|a| *a == c.applet));
        counted.fold(0, |sum, call| sum.saturating_add(call.done.gas))
    };
    job.set(|status| {
        status.calls = status.calls.saturating_add(old.len() as u64);
        status.gas_old = status.gas_old.saturating_add(gas(old));
        status.gas_new = status.gas_new.saturating_add(gas(new.unwrap_or(old)));
    });
}

/// In what a block with the programs that it had differs from what it gave.
async fn stored(
    shared: &Shared,
    (project, height): (ProjectId, u64),
    again: &Effects,
) -> Result<Option<Difference>, Error> {
    let result = shared.parts.vfs.result(project, height).await?;
    let gone = || Error::new(ErrorKind::Fatal, format!("the result of height {height} is gone"));
    let (_, _, outputs) = result.ok_or_else(gone)?;
    Ok(compare::outputs(height, &outputs, &again.applied.outputs))
}

/// In what another module's run of a block differs.
fn differs(height: u64, old: &Effects, new: &Effects, gas: bool) -> Option<Difference> {
    compare::blocks(height, &old.calls, &new.calls, gas)
        .or_else(|| compare::writes(height, &old.applied.writes, &new.applied.writes))
        .or_else(|| {
            let others = |effects: &Effects| -> Vec<_> {
                let all = effects.applied.outputs.iter();
                all.filter(|o| o.kind != OutputKind::Result).cloned().collect()
            };
            compare::outputs(height, &others(old), &others(new))
        })
}
