//! A new module beside an applet's own: it gets the calls of live blocks, and what it does is compared and not applied.
//!
//! The executor hands over what each call of the applet was given and what it did, before the block is stored, and goes on:
//! if there is no room, the calls are dropped and counted. A task of the canary's own makes the calls again in the other
//! module. Its state is the project's, as it was before the block, with what the canary itself has written on top
//! ([`state`]). Nothing of that leaves this module but numbers and the first differences.

mod state;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;
use w3bstream_engine::Module;
use w3bstream_types::{AppletName, Digest, Manifest, ProjectId, ProjectName};

use crate::compare::{Difference, Field};
use crate::node::Shared;
use crate::project::Project;
use crate::replay::{load, the_applet};
use crate::{Error, ErrorKind, Pipeline};

pub(crate) use work::offer;

use state::Queue;

/// Limits of canaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanaryLimits {
    /// How many run on this node at the same time. 0 for none.
    pub most: usize,
    /// How many calls wait for one canary; those beyond are dropped and counted.
    pub queue_calls: usize,
    /// Bytes that wait for one canary, and bytes of state in which it differs from the project's; beyond either it ends.
    pub bytes: usize,
    /// How many differences are kept, from the first on.
    pub kept: usize,
}

impl CanaryLimits {
    /// Two canaries, 4,096 calls, 16 MiB, 20 differences.
    pub const DEFAULT: Self = Self { most: 2, queue_calls: 4096, bytes: 16 * 1024 * 1024, kept: 20 };
}

impl Default for CanaryLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A canary as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CanaryStatus {
    /// The project.
    pub project: ProjectName,
    /// The applet beside which it runs.
    pub applet: AppletName,
    /// SHA-256 of its module.
    pub program: Digest,
    /// Why it ended; absent while it runs.
    pub ended: Option<String>,
    /// It gets the blocks above this height.
    pub since: u64,
    /// The last height that it ran.
    pub height: u64,
    /// Calls that were compared.
    pub calls: u64,
    /// Calls that were dropped, because too many waited.
    pub dropped: u64,
    /// Calls that wait.
    pub waiting: u64,
    /// Gas of the compared calls, in the applet's own module.
    pub gas_old: u64,
    /// Their gas in the canary's.
    pub gas_new: u64,
    /// Calls that differ, by what differs first.
    pub differences: BTreeMap<&'static str, u64>,
    /// The first of them; of those in gas alone, the first one.
    pub first: Vec<Difference>,
}

/// One canary.
#[derive(Debug)]
pub(crate) struct Canary {
    applet: AppletName,
    module: Arc<dyn Module>,
    limits: CanaryLimits,
    queue: Mutex<Queue>,
    arrived: Notify,
    status: Mutex<CanaryStatus>,
}

impl Canary {
    // What the locks guard is whole between any two statements.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut CanaryStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn status(&self) -> CanaryStatus {
        let waiting = self.queue().calls() as u64;
        CanaryStatus { waiting, ..self.status.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }

    fn runs(&self) -> bool {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).ended.is_none()
    }

    /// Ends it, unless it has ended.
    fn end(&self, why: impl Into<String>) {
        self.set(|status| {
            status.ended.get_or_insert(why.into());
        });
        self.queue().clear();
        self.arrived.notify_one();
    }

    fn differs(&self, difference: Difference) {
        let most = self.limits.kept;
        self.set(|status| {
            *status.differences.entry(difference.field.name()).or_default() += 1;
            let gas = difference.field == Field::Gas;
            let again = gas && status.first.iter().any(|d| d.field == Field::Gas);
            if status.first.len() < most && !again {
                status.first.push(difference);
            }
        });
    }
}

/// The canaries of a project, one for an applet.
#[derive(Debug, Default)]
pub(crate) struct Canaries(Mutex<BTreeMap<AppletName, Arc<Canary>>>);

impl Canaries {
    fn all(&self) -> MutexGuard<'_, BTreeMap<AppletName, Arc<Canary>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Vec<Arc<Canary>> {
        self.all().values().filter(|c| c.runs()).cloned().collect()
    }

    /// The applets whose calls canaries want.
    pub(crate) fn wanted(&self) -> BTreeSet<AppletName> {
        self.running().iter().map(|c| c.applet.clone()).collect()
    }

    /// Ends all that run.
    pub(crate) fn end(&self, why: &str) {
        self.running().iter().for_each(|canary| canary.end(why));
    }

    fn show(&self) -> Vec<CanaryStatus> {
        let all: Vec<_> = self.all().values().cloned().collect();
        all.iter().map(|c| c.status()).collect()
    }
}

impl Pipeline {
    /// Runs a module beside an applet's own, from the next block on, until it is stopped or the node ends.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] if the module does not load or lacks a handler, the project has a database, the applet has a
    /// canary, or too many run.
    pub async fn start_canary(
        &self,
        id: ProjectId,
        (applet, module): (Option<AppletName>, Vec<u8>),
    ) -> Result<CanaryStatus, Error> {
        let unknown = || Error::new(ErrorKind::NotFound, format!("there is no project {id}"));
        let (project, manifest) = (self.0.project(id), self.0.manifest(id));
        let (project, manifest) = project.zip(manifest).ok_or_else(unknown)?;
        self.0.check_not_removed(id)?;
        let applet = the_applet(&manifest, applet)?;
        let module = load(&self.0, module).await?;
        check(&manifest, &applet, &*module)?;
        let _one_at_a_time = self.0.control.lock().await;
        let limits = self.0.parts.options.canaries;
        let running: usize = self.0.all_projects().iter().map(|p| p.canaries.running().len()).sum();
        if running >= limits.most {
            let why = format!("{running} canaries run on this node, which is the most (limits.canaries)");
            return Err(Error::new(ErrorKind::Refused, why));
        }
        if project.canaries.running().iter().any(|c| c.applet == applet) {
            let why = format!("a canary runs beside {applet}; stop it first");
            return Err(Error::new(ErrorKind::Refused, why));
        }
        let since = *project.applied.borrow();
        let status = CanaryStatus {
            project: project.name.clone(),
            applet: applet.clone(),
            program: module.program(),
            ended: None,
            since,
            height: since,
            calls: 0,
            dropped: 0,
            waiting: 0,
            gas_old: 0,
            gas_new: 0,
            differences: BTreeMap::new(),
            first: Vec::new(),
        };
        let canary = Arc::new(Canary {
            applet: applet.clone(),
            module,
            limits,
            queue: Mutex::default(),
            arrived: Notify::new(),
            status: Mutex::new(status),
        });
        let run = work::run(self.0.clone(), id, canary.clone(), self.0.stages.shutdown());
        self.0.stages.spawn(format!("canary {}.{applet}", project.name), run);
        let status = canary.status();
        project.canaries.all().insert(applet, canary);
        Ok(status)
    }

    /// The project's canaries since the node started, those that ended too: the last of each applet.
    #[must_use]
    pub fn canaries(&self, project: ProjectId) -> Vec<CanaryStatus> {
        self.0.project(project).map(|p| p.canaries.show()).unwrap_or_default()
    }

    /// Ends the canary beside an applet; gives how it stood.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none.
    pub fn stop_canary(&self, project: ProjectId, applet: &AppletName) -> Result<CanaryStatus, Error> {
        let found = self.0.project(project).and_then(|p| p.canaries.all().get(applet).cloned());
        let none = || Error::new(ErrorKind::NotFound, format!("there is no canary beside {applet}"));
        let canary = found.ok_or_else(none)?;
        canary.end("it was stopped");
        Ok(canary.status())
    }
}

/// Whether a module can run beside an applet.
fn check(manifest: &Manifest, applet: &AppletName, module: &dyn Module) -> Result<(), Error> {
    let refused = |why: String| Err(Error::new(ErrorKind::Refused, why));
    if manifest.database.is_some() {
        return refused(format!(
            "the project has a database, whose earlier contents a canary cannot see: {NO_DATABASE}"
        ));
    }
    let handlers = module.handlers();
    let routes = manifest.applets.iter().filter(|a| a.name == *applet).flat_map(|a| &a.routes);
    match routes.map(|r| &r.handler).find(|h| !handlers.contains(h)) {
        Some(wanted) => {
            refused(format!("the module exports no handler {wanted:?}; it exports {}", handlers.join(", ")))
        }
        None => Ok(()),
    }
}

const NO_DATABASE: &str = "use applet replay, which makes the database anew";

/// The canaries of all projects, in the Prometheus text format.
pub(crate) fn write_metrics(out: &mut String, shared: &Shared) {
    let all: Vec<CanaryStatus> = shared.all_projects().iter().flat_map(|p| p.canaries.show()).collect();
    let labels = |c: &CanaryStatus| format!("project=\"{}\",applet=\"{}\"", c.project, c.applet);
    let rows = [
        ("w3b_canary_calls_total", "Calls that a canary ran and compared."),
        ("w3b_canary_dropped_total", "Calls that were not compared, because too many waited."),
    ];
    for (i, (name, help)) in rows.into_iter().enumerate() {
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for canary in &all {
            let value = if i == 0 { canary.calls } else { canary.dropped };
            let _ = writeln!(out, "{name}{{{}}} {value}", labels(canary));
        }
    }
    let name = "w3b_canary_differences_total";
    let _ = writeln!(out, "# HELP {name} Calls in which a canary differs.\n# TYPE {name} counter");
    for canary in &all {
        for field in [Field::Code, Field::Output, Field::Write, Field::Gas] {
            let n = canary.differences.get(field.name()).copied().unwrap_or(0);
            let _ = writeln!(out, "{name}{{{},field=\"{}\"}} {n}", labels(canary), field.name());
        }
    }
}

/// What a project's canaries want of its next block.
pub(crate) fn trial(project: &Project) -> crate::call::Trial {
    let wanted = project.canaries.wanted();
    let trace = if wanted.is_empty() { crate::call::Trace::Off } else { crate::call::Trace::Of(wanted) };
    crate::call::Trial { swap: None, trace }
}
