//! What the executor hands over, and the task that runs it.

use std::collections::BTreeSet;
use std::sync::Arc;

use w3bstream_engine::HostState;
use w3bstream_tasks::Shutdown;
use w3bstream_types::{Block, ContractAnswer, ContractCall, Entry, ProjectId, Record, Transcript};
use w3bstream_vfs::{Writes, key};

use super::state::{Job, Keys, Offered, Overlay};
use super::{Canary, NO_DATABASE};
use crate::Error;
use crate::apply::Resolved;
use crate::call::{Done, Frame, Traced};
use crate::compare::{self, Difference};
use crate::node::Shared;
use crate::project::Project;
use crate::replay::with_sources;

/// Hands a block that was run, and is not stored yet, to the project's canaries. Never fails: a canary that cannot be given
/// what it needs ends.
pub(crate) async fn offer(
    shared: &Shared,
    project: &Project,
    (block, entries, transcript): (&Block, &[(Entry, Resolved)], &Transcript),
    (calls, writes): (&[Traced], &Writes),
) {
    for canary in project.canaries.running() {
        let header = block.header();
        let calls: Vec<_> = calls.iter().filter(|call| call.applet == canary.applet).collect();
        if calls.is_empty() {
            continue;
        }
        if calls.iter().any(|call| call.manifest.database.is_some()) {
            canary.end(format!("the project has a database since block {}: {NO_DATABASE}", header.height));
            continue;
        }
        let full = |call: &&Traced| -> Vec<_> {
            let names = call.done.writes.keys();
            names.map(|name| key::guest(&call.applet, &call.partition, name)).collect()
        };
        let changed: BTreeSet<Vec<u8>> = calls.iter().flat_map(full).collect();
        let mut job = Job {
            height: header.height,
            time: header.time,
            transcript: transcript.clone(),
            calls: Vec::with_capacity(calls.len()),
            before: Keys::new(),
            after: Keys::new(),
        };
        for full in changed {
            match shared.parts.vfs.get(project.id, &full).await {
                Ok(value) => drop(job.before.insert(full.clone(), value)),
                Err(e) => canary.end(format!("the state before block {} cannot be read: {e}", header.height)),
            }
            let after = writes.get(&full).cloned().flatten();
            job.after.insert(full, after);
        }
        let records =
            calls.into_iter().filter_map(|call| Some((record(entries, call)?.clone(), call.clone())));
        job.calls.extend(records);
        give(&canary, job);
        if !canary.runs() {
            // It ended meanwhile: nobody would take this.
            canary.queue().clear();
        }
    }
}

fn give(canary: &Canary, job: Job) {
    let (height, limits) = (job.height, canary.limits);
    let offered = canary.queue().offer(job, (limits.queue_calls, limits.bytes));
    match offered {
        Offered::Taken => canary.arrived.notify_one(),
        Offered::Dropped(calls) => canary.set(|status| status.dropped += calls as u64),
        Offered::TooMuch => canary.end(format!(
            "it is so far behind at block {height} that what waits has more than {} bytes (limits.canary-bytes)",
            limits.bytes
        )),
    }
}

/// The message of a call.
fn record<'a>(entries: &'a [(Entry, Resolved)], call: &Traced) -> Option<&'a Record> {
    let place = usize::try_from(call.rid).ok()?.checked_sub(1)?;
    match &entries.get(place)?.1 {
        Resolved::Message(ordered) => Some(ordered.record()),
        Resolved::Control(_) | Resolved::Transcript(_) => None,
    }
}

/// Runs what was handed over, until the canary ends or the node stops.
pub(super) async fn run(shared: Arc<Shared>, project: ProjectId, canary: Arc<Canary>, shutdown: Shutdown) {
    let mut overlay = Overlay::default();
    while canary.runs() {
        let Some(job) = canary.queue().front() else {
            tokio::select! {
                () = shutdown.requested() => return,
                () = canary.arrived.notified() => {}
            }
            continue;
        };
        let world = World {
            runtime: tokio::runtime::Handle::current(),
            shared: shared.clone(),
            project,
            canary: canary.clone(),
            shutdown: shutdown.clone(),
            overlay,
        };
        let work = tokio::task::spawn_blocking(move || world.block(&job));
        let joined = tokio::select! {
            () = shutdown.requested() => return,
            joined = work => joined,
        };
        match joined {
            Ok(Ok(after)) => overlay = after,
            Ok(Err(e)) => return canary.end(with_sources(&e)),
            Err(_) => return canary.end("its engine panicked"),
        }
        if overlay.bytes() > canary.limits.bytes {
            let most = canary.limits.bytes;
            return canary.end(format!("its state differs in more than {most} bytes (limits.canary-bytes)"));
        }
        canary.queue().pop();
    }
}

/// What a canary's calls need. Blocks.
struct World {
    runtime: tokio::runtime::Handle,
    shared: Arc<Shared>,
    project: ProjectId,
    canary: Arc<Canary>,
    shutdown: Shutdown,
    overlay: Overlay,
}

impl World {
    /// Runs a block's calls and gives the overlay behind them.
    fn block(mut self, job: &Job) -> Result<Overlay, Error> {
        let mut own = Keys::new();
        for (record, traced) in &job.calls {
            if self.shutdown.is_requested() || !self.canary.runs() {
                return Ok(self.overlay);
            }
            self.call(job, (record, traced), &mut own)?;
        }
        self.canary.set(|status| status.height = job.height);
        let changed: BTreeSet<&Vec<u8>> = own.keys().chain(job.after.keys()).collect();
        let mut ends = Vec::new();
        for name in changed {
            let live = match job.after.get(name) {
                Some(after) => after.clone(),
                None => self.base(name)?,
            };
            let mine = match own.get(name) {
                Some(value) => value.clone(),
                None => self.before(name)?,
            };
            ends.push((name, mine, live));
        }
        for (name, mine, live) in ends {
            self.overlay.settle(name, mine, live.as_ref());
        }
        Ok(self.overlay)
    }

    fn call(&self, job: &Job, (record, traced): (&Record, &Traced), own: &mut Keys) -> Result<(), Error> {
        let frame = Frame {
            record,
            rid: traced.rid,
            event: traced.event.as_ref(),
            caused: traced.caused,
            applet: &traced.applet,
            partition: &traced.partition,
            handler: &traced.handler,
            limits: traced.limits,
            manifest: &traced.manifest,
            device: record.of_device(),
            block_time: job.time,
        };
        let mut view = View { world: self, traced, own, transcript: &job.transcript };
        let outcome = self.canary.module.call(frame.call(), &mut view)?;
        let done = Done::of(&outcome);
        self.canary.set(|status| {
            status.calls += 1;
            status.gas_old = status.gas_old.saturating_add(traced.done.gas);
            status.gas_new = status.gas_new.saturating_add(done.gas);
        });
        if let Some((field, name, old, new)) = compare::calls(&traced.done, &done, true) {
            self.canary.differs(Difference {
                height: job.height,
                message: Some(traced.message),
                applet: Some(traced.applet.clone()),
                handler: Some(traced.handler.clone()),
                field,
                name,
                old,
                new,
            });
        }
        let full =
            |(name, value): (Vec<u8>, _)| (key::guest(&traced.applet, &traced.partition, &name), value);
        own.extend(done.writes.into_iter().map(full));
        Ok(())
    }

    /// What the project's state had before the block.
    fn base(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        // In this order: see [`super::state`].
        let newest = self.runtime.block_on(self.shared.parts.vfs.get(self.project, key))?;
        Ok(self.canary.queue().before(key).unwrap_or(newest))
    }

    /// What the canary's state had before the block.
    fn before(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.overlay.get(key).map_or_else(|| self.base(key), |value| Ok(value.clone()))
    }
}

/// What one call of the canary sees.
struct View<'a> {
    world: &'a World,
    /// The call as the applet made it.
    traced: &'a Traced,
    /// What it has written in this block.
    own: &'a Keys,
    transcript: &'a Transcript,
}

fn state(e: Error) -> w3bstream_engine::Error {
    w3bstream_engine::Error::new(w3bstream_engine::ErrorKind::State, "state of the canary").with_source(e)
}

impl HostState for View<'_> {
    fn kv_get(&mut self, name: &[u8]) -> Result<Option<Vec<u8>>, w3bstream_engine::Error> {
        let key = key::guest(&self.traced.applet, &self.traced.partition, name);
        match self.own.get(&key) {
            Some(value) => Ok(value.clone()),
            None => self.world.before(&key).map_err(state),
        }
    }

    fn contract(&mut self, call: &ContractCall) -> Result<Option<ContractAnswer>, w3bstream_engine::Error> {
        Ok(self.transcript.answer(call).cloned())
    }
}
