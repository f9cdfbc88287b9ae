//! What is left after the process has ended.

use std::sync::Arc;

use w3bstream_types::{Position, Timestamp};

use super::append::{all, append_new};
use super::fixtures::{Message, numbered, project};
use super::scan::is_kind;
use super::{Failure, Place, ensure};
use crate::{Appended, ErrorKind, Filter, Item, Storage};

/// The store at this place, if it claims to be persistent.
async fn persistent(place: &dyn Place) -> Result<Option<Arc<dyn Storage>>, Failure> {
    let store = place.open().await?;
    let claimed = store.capabilities();
    ensure!(
        claimed.persistent || !claimed.power_safe,
        "it claims to survive the loss of power but not a restart"
    );
    Ok(claimed.persistent.then_some(store))
}

/// After close and reopen everything is there: records, conflicts, and who holds which number.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn survives_close(place: &dyn Place) -> Result<(), Failure> {
    let Some(store) = persistent(place).await? else { return Ok(()) };
    let other = Message { sequence: 3, payload: b"other".to_vec(), ..Message::default() };
    let items: Result<Vec<Item>, Failure> = (0..6).map(numbered).collect();
    let items = items?;
    append_new(&*store, &items).await?;
    append_new(&*store, &[other.token()?]).await?;
    store.append(vec![other.envelope()?]).await?;
    let before = (all(&*store).await?, store.conflicts(project(1), 10).await?);
    ensure!((before.0.len(), before.1.len()) == (7, 1), "before the restart the store holds {before:?}");
    store.close().await?;
    drop(store);

    let store = place.open().await?;
    let after = (all(&*store).await?, store.conflicts(project(1), 10).await?);
    ensure!(after == before, "after a restart the store holds {} of 7 records", after.0.len());
    let answers = store.append(vec![items[2].clone(), other.envelope()?]).await?;
    let expected = [Appended::Duplicate(before.0[2].0), Appended::Conflict(items[3].record.id())];
    ensure!(answers == expected, "after a restart a repeat and a conflict were answered with {answers:?}");
    Ok(())
}

/// What was acknowledged is there after an end without close, after any number of appends.
///
/// # Errors
/// [`Failure`].
pub async fn survives_an_end_without_close(place: &dyn Place) -> Result<(), Failure> {
    let Some(mut store) = persistent(place).await? else { return Ok(()) };
    for i in 0..12 {
        append_new(&*store, &[numbered(2 * i)?, numbered(2 * i + 1)?]).await?;
        drop(store);
        store = place.open().await?;
        let found = all(&*store).await?;
        let expected = 2 * (i + 1);
        ensure!(
            found.len() as u64 == expected,
            "of {expected} acknowledged records {} are left after an end without close",
            found.len()
        );
        let last = found.last().and_then(|(_, item)| item.record.sequence()).map(|s| s.as_u64());
        ensure!(last == Some(2 * i + 1), "the last record after a restart is number {last:?}");
    }
    Ok(())
}

/// No position is given twice, not after a restart and not after the newest records were deleted.
///
/// # Errors
/// [`Failure`].
pub async fn positions_are_never_used_twice(place: &dyn Place) -> Result<(), Failure> {
    let mut store = place.open().await?;
    let claimed = store.capabilities();
    let mut last = Position(0);
    for round in 0..4 {
        let fresh = [numbered(2 * round)?, numbered(2 * round + 1)?];
        for position in append_new(&*store, &fresh).await? {
            ensure!(position > last, "position {} was given after {}", position.0, last.0);
            last = position;
        }
        if claimed.retention {
            store.delete_before(project(1), Timestamp(u64::MAX >> 1), 100).await?;
        }
        if claimed.persistent {
            store.close().await?;
            drop(store);
            store = place.open().await?;
        }
    }
    Ok(())
}

/// After close every call is refused as closed, and closing again is no error.
///
/// # Errors
/// [`Failure`].
pub async fn a_closed_store_refuses_everything(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let item = numbered(1)?;
    append_new(&*store, std::slice::from_ref(&item)).await?;
    store.close().await?;
    store.close().await?;
    let filter = Filter { project: Some(project(1)), ..Filter::default() };
    let closed = [
        ("append", is_kind(&store.append(vec![numbered(2)?]).await, ErrorKind::Closed)),
        ("get", is_kind(&store.get(&[item.record.id()]).await, ErrorKind::Closed)),
        ("scan", is_kind(&store.scan(&filter, Position(0), 1).await, ErrorKind::Closed)),
        ("conflicts", is_kind(&store.conflicts(project(1), 1).await, ErrorKind::Closed)),
        ("stats", is_kind(&store.stats().await, ErrorKind::Closed)),
    ];
    for (call, refused) in closed {
        ensure!(refused, "after close, {call} is not refused as closed");
    }
    Ok(())
}
