//! Retention, integrity and numbers.

use w3bstream_types::{Position, Timestamp};

use super::append::{all, append_new};
use super::fixtures::{Message, numbered, project};
use super::scan::is_kind;
use super::{Failure, Place, ensure};
use crate::{Appended, Error, ErrorKind, Item, Stats};

/// What is not claimed must be refused, neither done by halves nor ignored.
pub(super) fn unsupported<T>(what: &str, answer: Result<T, Error>) -> Result<(), Failure> {
    let words = match &answer {
        Ok(_) => "done".to_owned(),
        Err(e) => format!("answered with {:?}", e.kind()),
    };
    ensure!(
        is_kind(&answer, ErrorKind::Unsupported),
        "{what} is not claimed, but was {words} instead of being refused as unsupported"
    );
    Ok(())
}

/// Deletes the project's old records up to the limit, lowest position first, and nothing else; their ids and
/// sequence numbers stay known.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn deletes_what_is_old_and_remembers_it(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let mut items = Vec::new();
    for i in 0..10 {
        items.push(Message { sequence: i, received_at: 1000 + i, ..Message::default() }.envelope()?);
    }
    items.push(Message { sequence: 10, received_at: 1003, ..Message::default() }.token()?);
    let positions = append_new(&*store, &items).await?;
    let elsewhere = Message { project: 2, received_at: 1, ..Message::default() }.envelope()?;
    append_new(&*store, std::slice::from_ref(&elsewhere)).await?;

    let deleted = store.delete_before(project(1), Timestamp(1004), 3).await;
    if !store.capabilities().retention {
        return unsupported("retention", deleted);
    }
    let deleted = deleted?;
    ensure!(deleted == 3, "asked to delete 3 of 5 old records, it deleted {deleted}");
    let left: Vec<Position> = all(&*store).await?.into_iter().map(|(p, _)| p).collect();
    ensure!(left == positions[3..], "after deleting the 3 lowest, positions {left:?} are left");
    let deleted = store.delete_before(project(1), Timestamp(1004), 100).await?;
    ensure!(deleted == 2, "2 old records were left, it deleted {deleted}");
    let left: Vec<Position> = all(&*store).await?.into_iter().map(|(p, _)| p).collect();
    ensure!(left == positions[4..10], "of the records received from 1004 on, {left:?} are left");
    let nothing = store.delete_before(project(1), Timestamp(1004), 100).await?;
    ensure!(nothing == 0, "with nothing old left it deleted {nothing}");

    let found = store.get(&[items[0].record.id(), elsewhere.record.id()]).await?;
    let holds = matches!(&found[..], [None, Some((_, item))] if *item == elsewhere);
    ensure!(holds, "after deleting, get finds {found:?}");
    let repeats = store.append(vec![items[0].clone(), items[10].clone()]).await?;
    let expected = [Appended::Duplicate(positions[0]), Appended::Duplicate(positions[10])];
    ensure!(repeats == expected, "repeats of deleted records were answered with {repeats:?}");
    let other = Message { payload: b"other".to_vec(), ..Message::default() };
    let others = vec![
        Message { sequence: 0, ..other.clone() }.envelope()?,
        Message { sequence: 10, ..other }.token()?,
    ];
    let conflicts = store.append(others).await?;
    let expected = [0, 10].map(|i: usize| Appended::Conflict(items[i].record.id()));
    ensure!(conflicts == expected, "others in the place of deleted ones were answered with {conflicts:?}");
    Ok(())
}

/// A sound store checks as sound, whatever was done to it.
///
/// # Errors
/// [`Failure`].
pub async fn checks_find_nothing_wrong(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let other = Message { sequence: 1, payload: vec![1; 5000], ..Message::default() };
    let items = vec![numbered(1)?, other.envelope()?, other.token()?, numbered(2)?, other.jws()?];
    store.append(items).await?;
    if store.capabilities().retention {
        store.delete_before(project(1), Timestamp(u64::MAX >> 1), 1).await?;
    }
    let found = store.check().await;
    if !store.capabilities().integrity_check {
        return unsupported("an integrity check", found);
    }
    let found = found?;
    ensure!(found.is_empty(), "a sound store was found wrong: {found:?}");
    Ok(())
}

/// The numbers are those of what is stored.
///
/// # Errors
/// [`Failure`].
pub async fn stats_count(place: &dyn Place) -> Result<(), Failure> {
    let store = place.open().await?;
    let empty = store.stats().await?;
    ensure!((empty.records, empty.conflicts) == (0, 0), "an empty store has {empty:?}");
    let items: Result<Vec<Item>, Failure> = (0..5).map(numbered).collect();
    let mut items = items?;
    items.push(numbered(4)?);
    items.push(Message { sequence: 4, payload: vec![], ..Message::default() }.envelope()?);
    items.push(Message { project: 2, ..Message::default() }.envelope()?);
    store.append(items).await?;
    let Stats { records, conflicts, bytes } = store.stats().await?;
    ensure!((records, conflicts) == (6, 1), "6 records and 1 conflict count as {records} and {conflicts}");
    if store.capabilities().persistent {
        ensure!(bytes > 0, "a persistent store with records takes no bytes");
    }
    if store.capabilities().retention {
        store.delete_before(project(1), Timestamp(u64::MAX >> 1), 2).await?;
        let left = store.stats().await?.records;
        ensure!(left == 4, "after deleting 2 of 6 records it counts {left}");
    }
    Ok(())
}
