//! Triggers → stored: events of chains and moments of schedules become messages.
//!
//! A trigger's message goes the way of a device's from the store on: it is ordered, executed and attested. Before that
//! it is checked against the manifest instead of a signature, and named by what happened, so that it is the same
//! message on every node and after every restart.
//!
//! Each trigger has a record in the journal that says how far it has come. It is written after the messages are
//! stored: after a crash in between, the same messages are made again and the store knows them.

mod chain;
mod payload;
mod progress;
mod schedule;
mod time;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use serde::Serialize;
use w3bstream_storage::Outcome;
use w3bstream_tasks::Shutdown;
use w3bstream_types::{
    Canonical as _, Digest, Disposition, MAX_PAYLOAD_BYTES, Manifest, RefusalKind, Timestamp, Trigger,
    TriggerMessage, TriggerName, TriggerOn, Verified,
};

use crate::chains::back_off;
use crate::counters::Counters;
use crate::node::Shared;
use crate::project::Project;
use crate::{Error, ErrorKind};
use progress::Progress;
use schedule::Schedule;

pub(crate) use progress::Board;
pub(crate) use schedule::{check as check_schedules, show as show_time};

/// The most messages that are stored at once.
const BATCH: usize = 256;
/// The longest pause before a trigger that did not work is tried again, in milliseconds.
const MAX_PAUSE_MS: u64 = 60_000;

/// How a trigger stands, for people who look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TriggerStatus {
    /// Its name.
    pub name: TriggerName,
    /// What it watches: `log`, `height`, `transaction` or `cron`. One on `sent` watches nothing and is not here.
    pub kind: &'static str,
    /// The chain that it watches, if it watches one.
    pub chain: Option<u64>,
    /// The next block that it looks at; for a schedule the last moment that it told of, in milliseconds. `None` before
    /// it has begun.
    pub next: Option<u64>,
    /// How many messages it has made.
    pub told: u64,
    /// Whether it will never make another one.
    pub done: bool,
    /// Why it does not go on; empty if it does.
    pub reason: String,
}

/// Which triggers a task runs. Two kinds, so that a chain that does not answer holds up no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chains,
    Clock,
}

impl Kind {
    const fn has(self, trigger: &Trigger) -> bool {
        matches!((self, &trigger.on), (Self::Clock, TriggerOn::Cron(_)))
            || matches!(
                (self, &trigger.on),
                (Self::Chains, TriggerOn::Log(_) | TriggerOn::Height(_) | TriggerOn::Transaction(_))
            )
    }
}

/// Runs until the node stops or the project halts.
pub(crate) async fn run(shared: Arc<Shared>, project: Arc<Project>, kind: Kind, shutdown: Shutdown) {
    let mut watches =
        Watches { shared: shared.clone(), project: project.clone(), kind, of: None, all: vec![] };
    let mut applied = project.applied.subscribe();
    while project.halt_reason().is_none() {
        let busy = tokio::select! {
            () = shutdown.requested() => return,
            busy = watches.round() => busy,
        };
        let busy = match busy {
            Ok(busy) => busy,
            Err(e) => {
                shared.halt(&project, &format!("triggers stopped: {e}")).await;
                return;
            }
        };
        if busy {
            continue;
        }
        let idle = watches.all.is_empty();
        let pause = async {
            match idle {
                // Only a new manifest gives it something to do.
                true => drop(applied.changed().await),
                false => tokio::time::sleep(shared.parts.trigger_every).await,
            }
        };
        tokio::select! {
            () = shutdown.requested() => return,
            () = pause => {}
        }
    }
}

/// The triggers of the manifest in force.
struct Watches {
    shared: Arc<Shared>,
    project: Arc<Project>,
    kind: Kind,
    /// The digest of the manifest that they are of.
    of: Option<Digest>,
    all: Vec<Watch>,
}

/// One trigger at work.
struct Watch {
    shared: Arc<Shared>,
    project: Arc<Project>,
    manifest: Arc<Manifest>,
    trigger: Trigger,
    /// Set at the first step.
    progress: Option<Progress>,
    watcher: Option<w3bstream_chain::watch::Watcher>,
    /// Of a trigger on moments, once it was read.
    schedule: Option<Schedule>,
    failures: u32,
    not_before: Timestamp,
}

impl Watches {
    /// Takes every trigger a step further. True if one has more to tell at once.
    async fn round(&mut self) -> Result<bool, Error> {
        self.follow_manifest();
        let steps = join_all(self.all.iter_mut().map(Watch::turn)).await;
        let mut busy = false;
        for step in steps {
            busy |= step?;
        }
        Ok(busy)
    }

    fn follow_manifest(&mut self) {
        let Some(manifest) = self.shared.manifest(self.project.id) else { return };
        if self.shared.removed(self.project.id).is_some() {
            // A removed project has none.
            self.all.clear();
            self.project.triggers.retain(|_| false);
            return;
        }
        let digest = manifest.digest();
        if self.of == Some(digest) {
            return;
        }
        self.of = Some(digest);
        let mine = manifest.triggers.iter().filter(|t| self.kind.has(t));
        self.all = mine
            .map(|trigger| Watch {
                shared: self.shared.clone(),
                project: self.project.clone(),
                manifest: manifest.clone(),
                trigger: trigger.clone(),
                progress: None,
                watcher: None,
                schedule: None,
                failures: 0,
                not_before: Timestamp(0),
            })
            .collect();
        let known = |name: &TriggerName| manifest.trigger(name).is_some();
        self.project.triggers.retain(known);
    }
}

impl Watch {
    fn now(&self) -> Timestamp {
        self.shared.parts.clock.now()
    }

    /// A step, unless it is to wait. What cannot be done now keeps its reason; what says that state is no longer
    /// trusted is the error.
    async fn turn(&mut self) -> Result<bool, Error> {
        let waits = self.not_before > self.now() || self.project.is_leaving();
        if waits || self.progress.as_ref().is_some_and(|p| p.done) {
            return Ok(false);
        }
        let reason = match self.step().await {
            Ok(more) => {
                self.failures = 0;
                self.show(String::new());
                return Ok(more);
            }
            Err(e) if e.kind() == ErrorKind::Fatal => return Err(e),
            Err(e) => e.to_string(),
        };
        self.failures = self.failures.saturating_add(1);
        let pause = back_off(self.failures, MAX_PAUSE_MS);
        self.not_before = Timestamp(self.now().0.saturating_add(pause));
        tracing::warn!(project = %self.project.name, trigger = %self.trigger.name, "waits: {reason}");
        self.show(reason);
        Ok(false)
    }

    async fn step(&mut self) -> Result<bool, Error> {
        if self.progress.is_none() {
            self.progress = self.load().await?;
            if self.progress.as_ref().is_some_and(|p| p.done) {
                return Ok(false);
            }
        }
        let backlog = self.project.counters.backlog.load(Ordering::Relaxed);
        if backlog >= self.shared.parts.options.max_backlog {
            return Err(Error::new(ErrorKind::Unavailable, format!("{backlog} messages wait to be ordered")));
        }
        match self.trigger.on.clone() {
            TriggerOn::Log(on) => self.logs(&on).await,
            TriggerOn::Height(on) => self.heights(&on).await,
            TriggerOn::Transaction(on) => self.transaction(&on).await,
            TriggerOn::Cron(on) => self.moments(&on).await,
            // Told of by who sends.
            TriggerOn::Sent(_) => Ok(false),
        }
    }

    async fn load(&self) -> Result<Option<Progress>, Error> {
        progress::load(&*self.shared.parts.journal, self.project.id, &self.trigger).await
    }

    /// Writes how far it has come.
    async fn keep(&mut self, progress: Progress) -> Result<(), Error> {
        let write = progress.write(self.project.id, &self.trigger)?;
        self.shared.parts.journal.commit(vec![write]).await?;
        self.progress = Some(progress);
        Ok(())
    }

    fn show(&self, reason: String) {
        let progress = self.progress.as_ref();
        self.project.triggers.set(TriggerStatus {
            name: self.trigger.name.clone(),
            kind: self.trigger.kind(),
            chain: self.trigger.chain_id(),
            next: progress.map(|p| p.next),
            told: progress.map_or(0, |p| p.told),
            done: progress.is_some_and(|p| p.done),
            reason,
        });
    }

    fn message(&self, event_id: String, time: Timestamp, payload: Vec<u8>) -> TriggerMessage {
        TriggerMessage {
            project: self.project.id,
            trigger: self.trigger.name.clone(),
            event_id,
            event_type: self.trigger.event_type.clone(),
            time,
            payload,
        }
    }

    /// Stores messages.
    async fn tell(&self, messages: Vec<TriggerMessage>) -> Result<(), Error> {
        tell(&self.shared, &self.project, &self.manifest, messages).await
    }
}

/// Stores messages of triggers, which the ordering stage then takes as it takes those of devices.
pub(crate) async fn tell(
    shared: &Shared,
    project: &Project,
    manifest: &Manifest,
    messages: Vec<TriggerMessage>,
) -> Result<(), Error> {
    let now = shared.parts.clock.now();
    let mut verified = Vec::with_capacity(messages.len());
    for message in messages {
        if message.payload.len() > MAX_PAYLOAD_BYTES {
            let detail = format!("event {} has {} bytes", message.event_id, message.payload.len());
            tracing::error!(project = %project.name, trigger = %message.trigger, "left away: {detail}");
            shared.refusals.count(Some(&project.name), RefusalKind::TooLarge);
            project.recent.refused(now, RefusalKind::TooLarge, &detail);
            continue;
        }
        verified.push(Verified::by_trigger(message, manifest, now)?);
    }
    if verified.is_empty() {
        return Ok(());
    }
    let expected: Vec<_> = verified.iter().map(|_| project.counters.expect()).collect();
    let outcomes = shared.store.append(verified).await.inspect_err(|e| {
        if e.disposition() == Disposition::Halt {
            shared.fail(&format!("storage: {e}"));
        }
    })?;
    shared.parts.probe.at("trigger.stored");
    for (outcome, expected) in outcomes.iter().zip(expected) {
        match outcome {
            Outcome::Stored(stored, new) => {
                project.took(stored, new.then_some(expected));
                if *new {
                    crate::live::stored(shared, project, stored);
                }
            }
            // The id names the whole message, so that no other one can have it.
            Outcome::Conflict(kept) => {
                let why = format!("the store says that a trigger's event is another message, {kept}");
                return Err(Error::new(ErrorKind::Fatal, why));
            }
        }
    }
    Counters::add(&project.counters.triggered, outcomes.len() as u64);
    project.arrived.notify_one();
    Ok(())
}
