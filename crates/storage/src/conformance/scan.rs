//! What a scan sees.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use w3bstream_types::{MessageId, Position, SourceId, Timestamp};

use super::append::{all, append_new};
use super::fixtures::{Message, numbered, project};
use super::join::{Task, give_way, join};
use super::{Failure, Place, ensure};
use crate::{Appended, ErrorKind, Filter, Item, Storage};

/// Going on from the last position of each page gives everything once, and only the last page is short.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn pages_are_full_and_without_gap(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let mut items = Vec::new();
    for i in 0..25 {
        // Every other one is of another project, so that positions of one project have gaps.
        items.push(Message { project: 1 + (i % 2) as u8, sequence: i, ..Message::default() }.envelope()?);
    }
    append_new(&*store, &items).await?;
    let filter = Filter { project: Some(project(1)), ..Filter::default() };
    let (mut after, mut seen, mut pages) = (Position(0), Vec::new(), Vec::new());
    loop {
        let page = store.scan(&filter, after, 4).await?;
        pages.push(page.len());
        let Some((last, _)) = page.last() else { break };
        ensure!(*last > after, "a page ended at position {}, not after {}", last.0, after.0);
        after = *last;
        seen.extend(page.into_iter().map(|(_, item)| item.record.id()));
        ensure!(pages.len() < 10, "the pages have no end: {pages:?}");
    }
    let expected: Vec<MessageId> = items.iter().step_by(2).map(|i| i.record.id()).collect();
    ensure!(
        seen == expected,
        "the pages gave {} items of {}, or in another order",
        seen.len(),
        expected.len()
    );
    ensure!(pages == [4, 4, 4, 1, 0], "the pages had {pages:?} items");
    ensure!(store.scan(&filter, Position(0), 0).await?.is_empty(), "a limit of 0 gave something");
    ensure!(
        store.scan(&filter, Position(u64::MAX), 4).await?.is_empty(),
        "something is after the last position"
    );
    Ok(())
}

/// A project's scan gives nothing of another's; a scan over all needs the capability.
///
/// # Errors
/// [`Failure`].
pub async fn projects_are_kept_apart(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let items: Result<Vec<Item>, Failure> =
        (1..=3).map(|p| Message { project: p, ..Message::default() }.envelope()).collect();
    let items = items?;
    append_new(&*store, &items).await?;
    for (i, item) in items.iter().enumerate() {
        let filter = Filter { project: Some(project(i as u8 + 1)), ..Filter::default() };
        let found = store.scan(&filter, Position(0), 10).await?;
        ensure!(found.len() == 1 && found[0].1 == *item, "project {} has {found:?}", i + 1);
    }
    let filter = Filter { project: Some(project(9)), ..Filter::default() };
    let found = store.scan(&filter, Position(0), 10).await?;
    ensure!(found.is_empty(), "a project without data has {found:?}");
    let everything = store.scan(&Filter::default(), Position(0), 10).await;
    if store.capabilities().scan_all {
        let found: Vec<Item> = everything?.into_iter().map(|(_, item)| item).collect();
        ensure!(found == items, "a scan over all projects gave {found:?}");
    } else {
        super::upkeep::unsupported("a scan over all projects", everything)?;
    }
    Ok(())
}

/// Each filter alone and all together give what matches and nothing else; unclaimed, they are refused
/// rather than ignored.
///
/// # Errors
/// [`Failure`].
pub async fn filters_filter(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let mut items = Vec::new();
    for i in 0..24_u64 {
        let source = 1 + (i % 3) as u8;
        let event_type = if i % 2 == 0 { "reading" } else { "alarm" };
        let message =
            Message { sequence: i, source, event_type, received_at: 1000 + i, ..Message::default() };
        items.push(if i % 8 == 7 { message.token()? } else { message.envelope()? });
    }
    append_new(&*store, &items).await?;
    let base = Filter { project: Some(project(1)), ..Filter::default() };
    let source = Some(items[1].record.source());
    let publisher: SourceId = items[7].record.source();
    let event_type = Some(items[1].record.event_type().clone());
    let (from, to) = (Some(Timestamp(1005)), Some(Timestamp(1019)));
    let filters = [
        Filter { source: source.clone(), ..base.clone() },
        Filter { source: Some(publisher), ..base.clone() },
        Filter { event_type: event_type.clone(), ..base.clone() },
        Filter { received_from: from, ..base.clone() },
        Filter { received_to: to, ..base.clone() },
        Filter { received_to: Some(Timestamp(0)), ..base.clone() },
        Filter { received_from: Some(Timestamp(u64::MAX)), ..base.clone() },
        Filter { source, event_type, received_from: from, received_to: to, ..base },
    ];
    for filter in filters {
        let answer = store.scan(&filter, Position(0), 100).await;
        if !store.capabilities().filters {
            super::upkeep::unsupported("a filter", answer)?;
            continue;
        }
        let found: Vec<Item> = answer?.into_iter().map(|(_, item)| item).collect();
        let expected: Vec<Item> = items.iter().filter(|i| matches(&filter, i)).cloned().collect();
        ensure!(found == expected, "{filter:?} gave {} items, not {}", found.len(), expected.len());
        let page: Vec<Item> =
            store.scan(&filter, Position(0), 2).await?.into_iter().map(|(_, i)| i).collect();
        ensure!(page[..] == expected[..expected.len().min(2)], "{filter:?} gave {page:?} as its first page");
    }
    Ok(())
}

fn matches(filter: &Filter, item: &Item) -> bool {
    let time = item.received_at;
    filter.source.as_ref().is_none_or(|s| *s == item.record.source())
        && filter.event_type.as_ref().is_none_or(|t| t == item.record.event_type())
        && filter.received_from.is_none_or(|from| from <= time)
        && filter.received_to.is_none_or(|to| time < to)
}

/// A reader that goes on from its last position sees everything that concurrent appends have stored: a
/// position becomes visible only after all lower ones. And what an append has answered is seen at once.
///
/// # Errors
/// [`Failure`].
pub async fn a_cursor_misses_nothing_while_others_append(place: &dyn Place) -> Result<(), Failure> {
    const WRITERS: u8 = 8;
    const EACH: u64 = 12;
    let store = place.open().await?;
    let (store, finished) = (&*store, AtomicBool::new(false));
    let mut tasks: Vec<Task<'_, Result<BTreeSet<MessageId>, Failure>>> = Vec::new();
    tasks.push(Box::pin(follow(store, &finished)));
    for writer in 1..=WRITERS {
        tasks.push(Box::pin(async move {
            let mut ids = BTreeSet::new();
            for sequence in 0..EACH {
                let item = Message { source: writer, sequence, ..Message::default() }.envelope()?;
                ids.insert(item.record.id());
                let position = append_new(store, std::slice::from_ref(&item)).await?[0];
                let filter = Filter { project: Some(project(1)), ..Filter::default() };
                let seen = store.scan(&filter, Position(position.0 - 1), 1).await?;
                ensure!(seen == [(position, item)], "an append was answered, and a scan after it missed it");
            }
            Ok(ids)
        }));
    }
    let writers = tasks.split_off(1);
    let writing = async {
        let results = join(writers).await;
        finished.store(true, Ordering::SeqCst);
        results.into_iter().try_fold(BTreeSet::new(), |mut all, ids| {
            all.extend(ids?);
            Ok(all)
        })
    };
    tasks.push(Box::pin(writing));
    let mut results = join(tasks).await;
    let (written, seen) = (results.pop(), results.pop());
    let (Some(written), Some(seen)) = (written, seen) else {
        return Err(Failure::new("the kit's own tasks did not end"));
    };
    let (written, seen) = (written?, seen?);
    ensure!(written.len() == usize::from(WRITERS) * EACH as usize, "not everything was written");
    let missed = written.difference(&seen).count();
    ensure!(missed == 0, "a reader with a cursor missed {missed} of {} records", written.len());
    Ok(())
}

async fn follow(store: &dyn Storage, finished: &AtomicBool) -> Result<BTreeSet<MessageId>, Failure> {
    let filter = Filter { project: Some(project(1)), ..Filter::default() };
    let (mut after, mut seen) = (Position(0), BTreeSet::new());
    loop {
        // Asked before the scan: what was appended by then must be in it.
        let last_round = finished.load(Ordering::SeqCst);
        let page = store.scan(&filter, after, 7).await?;
        match page.last() {
            Some((position, _)) => after = *position,
            None if last_round => return Ok(seen),
            None => {}
        }
        for (_, item) in page {
            ensure!(seen.insert(item.record.id()), "a cursor saw one record twice");
        }
        give_way().await;
    }
}

/// The same message from several callers at once is new for exactly one of them; of two messages with one
/// sequence number exactly one wins.
///
/// # Errors
/// [`Failure`].
pub async fn concurrent_repeats_are_stored_once(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let store = &*store;
    for round in 0..10 {
        let one = numbered(round)?;
        let other =
            Message { sequence: round, payload: b"other".to_vec(), ..Message::default() }.envelope()?;
        let tasks = (0..8).map(|i| {
            let item = if i % 4 == 3 { other.clone() } else { one.clone() };
            let id = item.record.id();
            let task: Task<'_, _> = Box::pin(async move { (id, store.append(vec![item]).await) });
            task
        });
        let mut winners = Vec::new();
        for (id, answer) in join(tasks.collect()).await {
            match answer?[..] {
                [Appended::New(_)] => winners.push(id),
                [Appended::Duplicate(_) | Appended::Conflict(_)] => {}
                ref wrong => return Err(Failure::new(format!("one item was answered with {wrong:?}"))),
            }
        }
        ensure!(winners.len() == 1, "{} of 8 concurrent appends of one number were new", winners.len());
        let stored = all(store).await?;
        ensure!(stored.len() as u64 == round + 1, "{} records after {} numbers", stored.len(), round + 1);
        ensure!(stored.iter().any(|(_, i)| i.record.id() == winners[0]), "the winner is not stored");
    }
    Ok(())
}

/// That an error is of the kind expected.
pub(super) fn is_kind<T>(answer: &Result<T, crate::Error>, kind: ErrorKind) -> bool {
    matches!(answer, Err(e) if e.kind() == kind)
}
