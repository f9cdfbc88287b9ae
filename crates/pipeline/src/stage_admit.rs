//! Received → Verified → Stored, and the acknowledgement.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use futures_util::FutureExt as _;
use tokio::sync::{Mutex, oneshot};
use w3bstream_endpoint::{Ack, Arrival, Endpoint};
use w3bstream_storage::Outcome;
use w3bstream_types::{
    Accepted, AckMode, Disposition, MessageId, ProjectName, Record, Refusal, RefusalKind, Stored, Verified,
};
use w3bstream_wallet::Registry as _;

use crate::counters::Expected;
use crate::live;
use crate::node::Shared;
use crate::project::Project;

/// One arrival that was verified, with what is needed to answer it.
struct Pending {
    ack: Ack,
    project: Arc<Project>,
    mode: AckMode,
}

/// The line of an endpoint's batches: they are verified side by side, and given to the store in the order in which they
/// were taken. So what a device sent in order over one connection is stored in order.
///
/// It holds the end of the last batch that was taken. A batch that is lost in a panic lets the next one pass.
#[derive(Debug)]
pub(crate) struct Line(Mutex<oneshot::Receiver<()>>);

/// A batch's place in its line.
struct Turn {
    before: oneshot::Receiver<()>,
    done: oneshot::Sender<()>,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(nobody()))
    }
}

/// What waits for nobody: its sender is gone.
fn nobody() -> oneshot::Receiver<()> {
    let (_, end) = oneshot::channel();
    end
}

impl Turn {
    /// The place behind `last`, which becomes this one's end.
    fn behind(last: &mut oneshot::Receiver<()>) -> Self {
        let (done, end) = oneshot::channel();
        Self { before: std::mem::replace(last, end), done }
    }
}

/// Takes arrivals of one endpoint until it has no more. Several run side by side.
pub(crate) async fn run(shared: Arc<Shared>, endpoint: Arc<dyn Endpoint>, line: Arc<Line>) {
    loop {
        let mut last = line.0.lock().await;
        let Some(first) = endpoint.next().await else { return };
        shared.admitting.fetch_add(1, Ordering::AcqRel);
        let mut batch = vec![first];
        take_waiting(&shared, &*endpoint, &mut batch);
        let turn = Turn::behind(&mut last);
        drop(last);
        admit_batch(&shared, batch, turn).await;
        shared.admitting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Admits what waits in an endpoint now, and gives how many messages that were.
pub(crate) async fn run_waiting(shared: &Shared, endpoint: &dyn Endpoint) -> usize {
    let mut batch = Vec::new();
    take_waiting(shared, endpoint, &mut batch);
    let count = batch.len();
    if count > 0 {
        admit_batch(shared, batch, Turn::behind(&mut nobody())).await;
    }
    count
}

/// What has arrived meanwhile shares the commit. Dropping a `next` that is not ready loses nothing.
fn take_waiting(shared: &Shared, endpoint: &dyn Endpoint, batch: &mut Vec<Arrival>) {
    while batch.len() < shared.parts.options.admit_batch
        && let Some(Some(more)) = endpoint.next().now_or_never()
    {
        batch.push(more);
    }
}

async fn admit_batch(shared: &Shared, batch: Vec<Arrival>, turn: Turn) {
    shared.parts.probe.at("admit.received");
    let (mut verified, mut pending) = (Vec::new(), Vec::new());
    for Arrival { received, ack } in batch {
        let name = received.project.clone();
        let id = received.submission.signed_id();
        let gone = shared.registries.removed(&name).and_then(|_| received.submission.signed().cloned());
        match judge(shared, received) {
            Ok((message, project, mode)) => {
                verified.push(message);
                pending.push(Pending { ack, project, mode });
            }
            Err(refusal) if refusal.kind == RefusalKind::TooOld => {
                answer_again(shared, &name, ack, (id, refusal)).await;
            }
            Err(refusal) => match gone {
                Some(record) if is_stored(shared, &record).await => {
                    answer_again(shared, &name, ack, (id, refusal)).await;
                }
                _ => refuse(shared, &name, ack, refusal),
            },
        }
    }
    if verified.is_empty() {
        let _ = turn.before.await;
        return;
    }
    shared.parts.probe.at("admit.verified");
    // A batch is let in as a whole: `judge` has seen the backlog without it.
    let expected = pending.iter().map(|p| p.project.counters.expect()).collect();
    match append_in_turn(shared, verified, turn).await {
        Ok(outcomes) => {
            shared.parts.probe.at("admit.stored");
            acknowledge(shared, (outcomes, expected), pending).await;
            shared.parts.probe.at("admit.acked");
        }
        Err(e) => {
            tracing::error!(error = %e, "storage failed; nothing of this batch is acknowledged");
            if e.disposition() == Disposition::Halt {
                shared.fail(&format!("storage: {e}"));
            }
            for Pending { ack, project, .. } in pending {
                let why = "the record could not be stored; send it again";
                refuse(shared, &project.name, ack, Refusal::new(RefusalKind::StorageFailing, why));
            }
        }
    }
}

/// Appends when the batches before have been given to the store, and lets the next one follow as soon as this one has
/// been: a store with one writer takes them in this order and may put several into one commit.
async fn append_in_turn(
    shared: &Shared,
    verified: Vec<Verified>,
    Turn { before, done }: Turn,
) -> Result<Vec<Outcome>, w3bstream_storage::Error> {
    // An error says that the batch before was dropped: it will not come.
    let _ = before.await;
    let mut append = std::pin::pin!(shared.store.append(verified));
    let first = futures_util::poll!(&mut append);
    drop(done);
    match first {
        Poll::Ready(outcomes) => outcomes,
        Poll::Pending => append.await,
    }
}

/// Whether just this message, signature and all, is stored.
async fn is_stored(shared: &Shared, record: &Record) -> bool {
    let found = shared.store.get(&[record.id()]).await;
    found.is_ok_and(|mut found| found.pop().flatten().is_some_and(|stored| stored.record() == record))
}

/// A message below the window may be one that was accepted before the window moved on, and whose acknowledgement was lost:
/// then it is answered as a repeat. Its signature was verified before the window was asked. Likewise a message of a project
/// that was removed since, which was compared with the stored one.
async fn answer_again(
    shared: &Shared,
    name: &ProjectName,
    ack: Ack,
    (id, refusal): (Option<MessageId>, Refusal),
) {
    let known = match id {
        Some(id) => shared.store.get(&[id]).await.map(|mut found| found.pop().flatten()),
        None => Ok(None),
    };
    let project = shared.registries.named(name).and_then(|id| shared.project(id));
    let manifest = project.as_ref().and_then(|project| shared.manifest(project.id));
    match (known, project, manifest) {
        (Ok(Some(stored)), Some(project), Some(manifest)) => {
            project.took(&stored, None);
            answer((shared, &project), stored, ack, (manifest.ack, true)).await;
        }
        (Ok(_), ..) => refuse(shared, name, ack, refusal),
        (Err(e), ..) => {
            tracing::error!(error = %e, "storage failed; a repeat is not answered");
            let why = "the record could not be looked up; send it again";
            refuse(shared, name, ack, Refusal::new(RefusalKind::StorageFailing, why));
        }
    }
}

fn refuse(shared: &Shared, name: &ProjectName, ack: Ack, refusal: Refusal) {
    let known = shared.registries.named(name);
    shared.refusals.count(known.map(|_| name), refusal.kind);
    if let Some(project) = known.and_then(|id| shared.project(id)) {
        project.recent.refused(shared.parts.clock.now(), refusal.kind, &refusal.detail);
    }
    ack.refuse(refusal);
}

fn judge(
    shared: &Shared,
    received: w3bstream_types::Received,
) -> Result<(Verified, Arc<Project>, AckMode), Refusal> {
    let not_ready = |why: String| Refusal::new(RefusalKind::NotReady, why);
    let view = shared.registries.project(&received.project);
    let verified = w3bstream_wallet::admit(received, &shared.registries, &shared.parts.options.admit)?;
    // `admit` has refused unknown projects.
    let view = view.ok_or_else(|| not_ready("the project is being deployed".into()))?;
    let project = shared.project(view.id).ok_or_else(|| not_ready("the project is being started".into()))?;
    if let Some(why) = project.halt_reason() {
        return Err(not_ready(format!("the project is halted: {why}")));
    }
    if project.is_leaving() {
        return Err(not_ready("the project is being removed by its owner".into()));
    }
    let backlog = project.counters.backlog.load(Ordering::Relaxed);
    if backlog >= shared.parts.options.max_backlog {
        return Err(Refusal::new(RefusalKind::Overloaded, format!("{backlog} messages wait to be ordered")));
    }
    Ok((verified, project, view.manifest.ack))
}

async fn acknowledge(
    shared: &Shared,
    (outcomes, expected): (Vec<Outcome>, Vec<Expected>),
    pending: Vec<Pending>,
) {
    let mut touched: HashMap<_, Arc<Project>> = HashMap::new();
    let told = outcomes.into_iter().zip(expected).zip(pending);
    for ((outcome, expected), Pending { ack, project, mode }) in told {
        match outcome {
            Outcome::Conflict(kept) => {
                let why = format!("this sequence number or event id was used by message {kept}");
                refuse(shared, &project.name, ack, Refusal::new(RefusalKind::Conflict, why));
            }
            Outcome::Stored(stored, new) => {
                project.took(&stored, new.then_some(expected));
                if new {
                    live::stored(shared, &project, &stored);
                    touched.insert(project.id, project.clone());
                }
                answer((shared, &project), stored, ack, (mode, !new)).await;
            }
        }
    }
    for project in touched.values() {
        project.arrived.notify_one();
    }
}

async fn answer(
    (shared, project): (&Shared, &Project),
    stored: Stored,
    mut ack: Ack,
    (mode, duplicate): (AckMode, bool),
) {
    let (id, mode) = (stored.record().id(), ack.mode(mode));
    ack.stored(id, duplicate);
    if mode == AckMode::Durable {
        ack.accept(Accepted { id, duplicate, mode, results: Vec::new() });
        return;
    }
    shared.waiters.add(id, ack, mode, (duplicate, shared.parts.clock.now()));
    // A message is ordered as soon as it is stored, whoever wakes the sequencer: perhaps before anybody waits for it.
    let passed = stored.position().0 < project.ordered_before.load(Ordering::Acquire);
    if duplicate || passed {
        // Its block may have passed before: then nobody else will answer.
        shared.answer_if_reached(project.id, id).await;
    }
}
