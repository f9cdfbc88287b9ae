//! Attested → performed: the side effects of attested blocks.

use std::sync::Arc;
use std::time::Duration;

use w3bstream_endpoint::Publication;
use w3bstream_journal::{OutboxEntry, Write};
use w3bstream_tasks::Shutdown;
use w3bstream_types::Output;

use crate::counters::Counters;
use crate::node::Shared;
use crate::project::Project;
use crate::{Error, ErrorKind};

/// How many side effects are performed between two writes to the journal.
const BATCH: usize = 64;
/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Runs until the node stops or the project halts.
pub(crate) async fn run(shared: Arc<Shared>, project: Arc<Project>, shutdown: Shutdown) {
    let mut attested = project.attested.subscribe();
    let mut pause = Duration::ZERO;
    loop {
        match drain(&shared, &project, &shutdown).await {
            Ok(0) => pause = Duration::ZERO,
            Ok(_) => pause = (pause * 2).clamp(Duration::from_millis(100), MAX_PAUSE),
            Err(e) => {
                shared.halt(&project, &format!("outbox stopped: {e}")).await;
                return;
            }
        }
        let again = async {
            if pause.is_zero() { std::future::pending().await } else { tokio::time::sleep(pause).await }
        };
        tokio::select! {
            () = shutdown.requested() => return,
            changed = attested.changed() => if changed.is_err() { return },
            () = again => {}
        }
    }
}

/// Performs what is there. Gives how many failed and stay.
async fn drain(shared: &Shared, project: &Project, shutdown: &Shutdown) -> Result<usize, Error> {
    loop {
        let entries = shared.parts.journal.outbox(project.id, BATCH).await?;
        if entries.is_empty() || shutdown.is_requested() {
            return Ok(0);
        }
        let (mut writes, mut failed) = (Vec::new(), 0);
        for entry in &entries {
            match perform(shared, project, entry).await {
                Ok(()) => writes.push(Write::OutboxDone(entry.id)),
                Err(e) => {
                    failed += 1;
                    writes.push(Write::OutboxFailed(entry.id, e.to_string()));
                }
            }
        }
        shared.parts.probe.at("outbox.performed");
        let performed = entries.len() - failed;
        shared.parts.journal.commit(writes).await?;
        Counters::add(&project.counters.outputs, performed as u64);
        if failed > 0 {
            return Ok(failed);
        }
    }
}

async fn perform(shared: &Shared, project: &Project, entry: &OutboxEntry) -> Result<(), Error> {
    let id = entry.id;
    let Some(publisher) = &shared.parts.publisher else {
        return Err(Error::new(ErrorKind::Unavailable, "this node has no MQTT endpoint to publish with"));
    };
    let result = shared.parts.vfs.result(id.project, id.height).await?;
    let output = result.as_ref().and_then(|(_, _, outputs)| outputs.get(usize::try_from(id.index).ok()?));
    let output = output.ok_or_else(|| Error::new(ErrorKind::Fatal, "the output is gone"))?;
    let publication = Publication {
        topic: topic(project, output),
        payload: output.data.clone(),
        idempotency_key: format!("{}/{}/{}", id.project, id.height, id.index),
    };
    Ok(publisher.publish(publication).await?)
}

/// A guest publishes under its own project only: to its devices' command topics, else below `out/`.
fn topic(project: &Project, output: &Output) -> String {
    let wanted = String::from_utf8_lossy(&output.target);
    let own = format!("w3b/{}/", project.name);
    match wanted.strip_prefix(&own) {
        Some(rest) if rest.starts_with("cmd/") || rest.starts_with("out/") => wanted.into_owned(),
        _ => format!("{own}out/{wanted}"),
    }
}
