//! Tells the feed of live changes. Nothing is worked out unless somebody listens, and nothing waits for a listener.

use std::collections::HashMap;

use w3bstream_endpoint::{Feed, LiveChange};
use w3bstream_types::{MessageId, MessageState, Output, Record, StateChange, Stored, Timestamp};

use crate::Error;
use crate::node::Shared;
use crate::project::Project;
use crate::stage_execute::{rejection, results};
use crate::view::describe;

fn tell(feed: &Feed, project: &Project, record: &Record, change: impl FnOnce() -> StateChange) {
    feed.tell(|| LiveChange {
        project: project.name.clone(),
        id: record.id(),
        source: record.source().to_string(),
        event_type: record.event_type().clone(),
        change: change(),
    });
}

/// A new message is durable.
pub(crate) fn stored(shared: &Shared, project: &Project, stored: &Stored) {
    tell(&shared.parts.feed, project, stored.record(), || StateChange {
        state: MessageState::Stored,
        time: stored.received_at(),
        reason: "durable on this node; waits for the next block".into(),
    });
}

/// Messages stand in a final block; by their places in it.
pub(crate) fn ordered<'a>(
    shared: &Shared,
    project: &Project,
    (height, time): (u64, Timestamp),
    messages: impl Iterator<Item = &'a Stored>,
) {
    let feed = &shared.parts.feed;
    if feed.listeners() == 0 {
        return;
    }
    for stored in messages {
        tell(feed, project, stored.record(), || StateChange {
            state: MessageState::Ordered,
            time,
            reason: format!("in block {height}"),
        });
    }
}

/// Messages of a height were executed, or rejected.
pub(crate) fn executed<'a>(
    shared: &Shared,
    project: &Project,
    (outputs, index): (&[Output], &[(MessageId, u64, u64)]),
    records: impl Iterator<Item = &'a Record>,
) {
    let feed = &shared.parts.feed;
    if feed.listeners() == 0 {
        return;
    }
    let time = shared.parts.clock.now();
    let places: HashMap<MessageId, (u64, u64)> = index.iter().map(|(id, at, n)| (*id, (*at, *n))).collect();
    for record in records {
        let Some((first, count)) = places.get(&record.id()) else { continue };
        let about = outputs.get(*first as usize..(first + count) as usize).unwrap_or_default();
        tell(feed, project, record, || match rejection(about) {
            Some(why) => StateChange { state: MessageState::Rejected, time, reason: why.code().to_owned() },
            None => StateChange { state: MessageState::Executed, time, reason: describe(&results(about)) },
        });
    }
}

/// A height was attested.
pub(crate) async fn attested(shared: &Shared, project: &Project, height: u64) -> Result<(), Error> {
    let feed = &shared.parts.feed;
    if feed.listeners() == 0 {
        return Ok(());
    }
    let Some(block) = shared.parts.journal.block(project.id, height).await? else { return Ok(()) };
    let ids = crate::stage_order::message_ids(&block);
    let (time, of) = (shared.parts.clock.now(), project.genesis.members.len());
    for stored in shared.store.get(&ids).await?.iter().flatten() {
        tell(feed, project, stored.record(), || StateChange {
            state: MessageState::Attested,
            time,
            reason: format!("by {} of {of}", project.genesis.quorum()),
        });
    }
    Ok(())
}
