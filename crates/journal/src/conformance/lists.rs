//! What waits to be done.

use w3bstream_types::{Digest, Entry};

use super::fixtures::{block, control, effect, project};
use super::once::write_block;
use super::{Failure, Place, ensure};
use crate::{OutboxEntry, RecordId, Write};

/// Control transactions are pending until a block orders them, whichever the journal hears of first, and
/// come by rising nonce.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn pending_controls_are_those_not_ordered(place: &dyn Place) -> Result<(), Failure> {
    let journal = place.open().await?;
    let p = project(1);
    let txs = (1..=6).map(|n| control(1, n, n as u8)).collect::<Result<Vec<_>, Failure>>()?;
    let elsewhere = control(2, 1, 1)?;
    // Block 1 orders a transaction of which the journal hears only later.
    journal.commit(vec![write_block(1, block(1, vec![Entry::Control(txs[0].id())]))]).await?;
    for i in [5, 2, 0, 3, 1, 4] {
        journal.commit(vec![Write::Control(Box::new(txs[i].clone()))]).await?;
    }
    journal
        .commit(vec![Write::Control(Box::new(elsewhere.clone())), Write::Control(Box::new(txs[2].clone()))])
        .await?;
    let nonces =
        |found: Vec<w3bstream_types::ControlTx>| found.into_iter().map(|t| t.nonce).collect::<Vec<_>>();
    let found = nonces(journal.pending_controls(p, 10).await?);
    ensure!(found == [2, 3, 4, 5, 6], "nonce 1 is ordered, and {found:?} are pending");
    let block = block(2, vec![Entry::Control(txs[1].id()), Entry::Control(txs[3].id())]);
    journal.commit(vec![write_block(1, block)]).await?;
    let found = nonces(journal.pending_controls(p, 10).await?);
    ensure!(found == [3, 5, 6], "nonces 1, 2 and 4 are ordered, and {found:?} are pending");
    let found = nonces(journal.pending_controls(p, 2).await?);
    ensure!(found == [3, 5], "the first two pending are {found:?}");
    let found = journal.pending_controls(project(2), 10).await?;
    ensure!(found == [elsewhere], "of project 2 {found:?} are pending");
    for tx in &txs {
        let found = journal.control(tx.id()).await?;
        ensure!(found.as_ref() == Some(tx), "control {} is {found:?}", tx.nonce);
    }
    ensure!(journal.control(Digest::ZERO).await?.is_none(), "an unknown control transaction was found");
    Ok(())
}

/// A side effect is there once, with its tries counted, until it is done.
///
/// # Errors
/// [`Failure`].
pub async fn side_effects_stay_until_they_are_done(place: &dyn Place) -> Result<(), Failure> {
    let journal = place.open().await?;
    let p = project(1);
    let entry = |height, index, attempts, last_error: &str| OutboxEntry {
        id: effect(1, height, index),
        attempts,
        last_error: last_error.into(),
    };
    journal.commit(vec![Write::Outbox(vec![effect(1, 300, 0), effect(1, 2, 1), effect(2, 1, 0)])]).await?;
    journal.commit(vec![Write::Outbox(vec![effect(1, 2, 0), effect(1, 2, 10), effect(1, 2, 2)])]).await?;
    journal.commit(vec![Write::OutboxFailed(effect(1, 2, 1), "timed out".into())]).await?;
    journal.commit(vec![Write::OutboxFailed(effect(1, 2, 1), "refused".into())]).await?;
    journal.commit(vec![Write::Outbox(vec![effect(1, 2, 1)])]).await?;
    let all = [
        entry(2, 0, 0, ""),
        entry(2, 1, 2, "refused"),
        entry(2, 2, 0, ""),
        entry(2, 10, 0, ""),
        entry(300, 0, 0, ""),
    ];
    let found = journal.outbox(p, 100).await?;
    ensure!(found == all, "the outbox is {found:?}");
    let found = journal.outbox(p, 3).await?;
    ensure!(found == all[..3], "the first three of the outbox are {found:?}");
    journal.commit(vec![Write::OutboxDone(effect(1, 2, 1)), Write::OutboxDone(effect(1, 2, 10))]).await?;
    // What is not there can neither fail nor be done again.
    journal
        .commit(vec![Write::OutboxDone(effect(1, 2, 1)), Write::OutboxFailed(effect(1, 9, 9), "x".into())])
        .await?;
    let found = journal.outbox(p, 100).await?;
    let expected = [all[0].clone(), all[2].clone(), all[4].clone()];
    ensure!(found == expected, "after two are done the outbox is {found:?}");
    ensure!(journal.outbox(project(2), 100).await?.len() == 1, "another project's outbox was changed");
    Ok(())
}

/// Records hold what was set last, apart by project and space, are listed by rising key, and go when removed.
///
/// # Errors
/// [`Failure`].
pub async fn records_are_set_listed_and_removed(place: &dyn Place) -> Result<(), Failure> {
    let journal = place.open().await?;
    let id = |p, space, key: &[u8]| RecordId { project: project(p), space, key: key.to_vec() };
    let set = |id, value: &[u8]| Write::Record(id, Some(value.to_vec()));
    journal
        .commit(vec![
            set(id(1, "a", &[2]), b"two"),
            set(id(1, "a", &[1, 255]), b"one"),
            set(id(1, "a", &[0]), b""),
            set(id(1, "b", &[1]), b"another space"),
            set(id(2, "a", &[3]), b"another project"),
            set(id(1, "a", &[2]), b"two again"),
        ])
        .await?;
    let all = [(vec![0], b"".to_vec()), (vec![1, 255], b"one".to_vec()), (vec![2], b"two again".to_vec())];
    let found = journal.records(&id(1, "a", &[]), 10).await?;
    ensure!(found == all, "the records are {found:?}");
    let found = journal.records(&id(1, "a", &[]), 2).await?;
    ensure!(found == all[..2], "the first two records are {found:?}");
    let found = journal.records(&id(1, "a", &[0]), 10).await?;
    ensure!(found == all[1..], "behind the first record are {found:?}");
    let found = journal.record(&id(1, "a", &[2])).await?;
    ensure!(found.as_deref() == Some(&b"two again"[..]), "the record is {found:?}");
    journal
        .commit(vec![Write::Record(id(1, "a", &[2]), None), Write::Record(id(1, "a", &[9]), None)])
        .await?;
    drop(journal);
    let journal = place.open().await?;
    let found = journal.records(&id(1, "a", &[]), 10).await?;
    ensure!(found == all[..2], "after one was removed the records are {found:?}");
    let found = journal.record(&id(1, "a", &[2])).await?;
    ensure!(found.is_none(), "the removed record is {found:?}");
    let found = journal.records(&id(1, "b", &[]), 10).await?;
    ensure!(found.len() == 1, "the other space has {found:?}");
    Ok(())
}

/// A halt has the last reason given, for its project alone, until it is lifted.
///
/// # Errors
/// [`Failure`].
pub async fn halts_are_set_and_lifted(place: &dyn Place) -> Result<(), Failure> {
    let journal = place.open().await?;
    let p = project(1);
    let set = |reason: &str| journal.commit(vec![Write::Halt(p, reason.into())]);
    set("roots differ").await?;
    set("roots differ at height 7").await?;
    let found = journal.halted(p).await?;
    ensure!(
        found.as_deref() == Some("roots differ at height 7"),
        "the project is halted because of {found:?}"
    );
    ensure!(journal.halted(project(2)).await?.is_none(), "another project is halted too");
    set("").await?;
    set("").await?;
    let found = journal.halted(p).await?;
    ensure!(found.is_none(), "a lifted halt stands because of {found:?}");
    Ok(())
}
