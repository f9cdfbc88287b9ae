//! What may be written only once, or only upwards.

use w3bstream_types::{Digest, Entry};

use super::fixtures::{attestation, block, block_of, control, effect, genesis, message, project};
use super::{Failure, Place, ensure};
use crate::{Error, ErrorKind, Journal, Write};

/// That a commit was refused as a conflict.
pub(super) fn conflict(what: &str, answer: Result<(), Error>) -> Result<(), Failure> {
    match answer {
        Err(e) if e.kind() == ErrorKind::Conflict => Ok(()),
        Err(e) => {
            Err(Failure::new(format!("{what} was answered with {:?}, not with a conflict: {e}", e.kind())))
        }
        Ok(()) => Err(Failure::new(format!("{what} was accepted"))),
    }
}

pub(super) fn write_block(p: u8, b: w3bstream_types::CertifiedBlock) -> Write {
    Write::Block(project(p), Box::new(b))
}

/// An empty journal answers with nothing, not with errors.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn nothing_is_there_at_first(place: &dyn Place) -> Result<(), Failure> {
    let journal = place.open().await?;
    journal.commit(vec![]).await?;
    let p = project(1);
    ensure!(journal.geneses().await?.is_empty(), "there is a genesis");
    ensure!(journal.block(p, 1).await?.is_none(), "there is a block");
    ensure!(journal.last_height(p).await? == 0, "there is a height");
    ensure!(journal.ordered(&[message(1)]).await? == [None], "something is ordered");
    ensure!(journal.attestation(p, 1).await?.is_none(), "there is an attestation");
    ensure!(journal.cursor(p, "applied").await? == 0, "a cursor is set");
    ensure!(journal.control(Digest::ZERO).await?.is_none(), "there is a control transaction");
    ensure!(journal.pending_controls(p, 10).await?.is_empty(), "a control transaction is pending");
    ensure!(journal.outbox(p, 10).await?.is_empty(), "there is a side effect");
    ensure!(journal.halted(p).await?.is_none(), "the project is halted");
    Ok(())
}

/// A genesis is written once per project: the same again is accepted, another is not.
///
/// # Errors
/// [`Failure`].
pub async fn geneses_are_written_once(place: &dyn Place) -> Result<(), Failure> {
    let journal = place.open().await?;
    let (one, two, other) = (genesis(1, 10)?, genesis(2, 10)?, genesis(1, 11)?);
    for g in [&one, &two, &one] {
        journal.commit(vec![Write::Genesis(Box::new(g.clone()))]).await?;
    }
    conflict("another genesis", journal.commit(vec![Write::Genesis(Box::new(other))]).await)?;
    let mut expected = vec![one, two];
    expected.sort_by_key(|g| g.project);
    let found = journal.geneses().await?;
    ensure!(found == expected, "the geneses are {found:?}");
    Ok(())
}

/// Blocks start at height 1, have no gap, and are never replaced.
///
/// # Errors
/// [`Failure`].
pub async fn blocks_are_written_once_and_without_gap(place: &dyn Place) -> Result<(), Failure> {
    let journal = place.open().await?;
    conflict("a block of height 0", journal.commit(vec![write_block(1, block_of(0, &[]))]).await)?;
    conflict("a first block of height 2", journal.commit(vec![write_block(1, block_of(2, &[]))]).await)?;
    let blocks = [block_of(1, &[1, 2, 3]), block_of(2, &[]), block_of(3, &[4])];
    for b in &blocks {
        journal.commit(vec![write_block(1, b.clone())]).await?;
    }
    journal.commit(vec![write_block(1, blocks[1].clone())]).await?;
    conflict("another block of height 2", journal.commit(vec![write_block(1, block_of(2, &[9]))]).await)?;
    let mut certified_anew = blocks[2].clone();
    certified_anew.certificate.signatures[0].1 = [1; 64];
    conflict("another certificate of height 3", journal.commit(vec![write_block(1, certified_anew)]).await)?;
    conflict("a block after a gap", journal.commit(vec![write_block(1, block_of(5, &[]))]).await)?;
    journal.commit(vec![write_block(2, block_of(1, &[7]))]).await?;
    for (height, b) in (1..).zip(&blocks) {
        let found = journal.block(project(1), height).await?;
        ensure!(found.as_ref() == Some(b), "block {height} is {found:?}");
    }
    let heights = (journal.last_height(project(1)).await?, journal.last_height(project(2)).await?);
    ensure!(heights == (3, 1), "the heights of two projects are {heights:?}");
    ensure!(journal.block(project(1), 4).await?.is_none(), "there is a block 4");
    ensure!(journal.block(project(1), u64::MAX).await?.is_none(), "there is a block at the highest height");
    let refused = journal.ordered(&[message(9)]).await?;
    ensure!(refused == [None], "an entry of a refused block is ordered at {refused:?}");
    Ok(())
}

/// Attestations are written once per height, in any order of heights.
///
/// # Errors
/// [`Failure`].
pub async fn attestations_are_written_once(place: &dyn Place) -> Result<(), Failure> {
    let journal = place.open().await?;
    let write = |p: u8, height, root| Write::Attestation(project(p), Box::new(attestation(p, height, root)));
    journal.commit(vec![write(1, 2, 0), write(1, 1, 0), write(2, 1, 5)]).await?;
    journal.commit(vec![write(1, 1, 0)]).await?;
    conflict("another attestation", journal.commit(vec![write(1, 1, 1)]).await)?;
    for (p, height, root) in [(1, 1, 0), (1, 2, 0), (2, 1, 5)] {
        let found = journal.attestation(project(p), height).await?;
        let expected = attestation(p, height, root);
        ensure!(found.as_ref() == Some(&expected), "attestation {height} of project {p} is {found:?}");
    }
    ensure!(journal.attestation(project(1), 3).await?.is_none(), "there is an attestation 3");
    Ok(())
}

/// A cursor takes the same or a higher value, never a lower one; each project and name has its own.
///
/// # Errors
/// [`Failure`].
pub async fn cursors_never_go_back(place: &dyn Place) -> Result<(), Failure> {
    let journal = place.open().await?;
    let set = |p, name, value| journal.commit(vec![Write::Cursor(project(p), name, value)]);
    set(1, "applied", 5).await?;
    set(1, "applied", 5).await?;
    conflict("a lower cursor", set(1, "applied", 4).await)?;
    conflict("a cursor of 0", set(1, "applied", 0).await)?;
    set(1, "archived", 1).await?;
    set(2, "applied", 2).await?;
    set(1, "applied", 1 << 40).await?;
    for (p, name, expected) in
        [(1, "applied", 1 << 40), (1, "archived", 1), (2, "applied", 2), (2, "archived", 0)]
    {
        let found = journal.cursor(project(p), name).await?;
        ensure!(found == expected, "cursor {name:?} of project {p} is at {found}, not at {expected}");
    }
    Ok(())
}

/// A message is found at the place where it was ordered first, also if a later block names it again.
///
/// # Errors
/// [`Failure`].
pub async fn entries_are_found_where_they_were_ordered_first(place: &dyn Place) -> Result<(), Failure> {
    let journal = place.open().await?;
    let tx = control(1, 1, 1)?;
    let first = block(
        1,
        vec![
            Entry::Message(message(1)),
            Entry::Control(tx.id()),
            Entry::Message(message(2)),
            Entry::Message(message(1)),
        ],
    );
    journal.commit(vec![write_block(1, first), write_block(1, block_of(2, &[3, 2]))]).await?;
    journal.commit(vec![write_block(2, block_of(1, &[4]))]).await?;
    let found = journal.ordered(&[4, 3, 99, 2, 1, 1].map(message)).await?;
    let (p, q) = (project(1), project(2));
    let expected =
        [Some((q, 1, 0)), Some((p, 2, 0)), None, Some((p, 1, 2)), Some((p, 1, 0)), Some((p, 1, 0))];
    ensure!(found == expected, "the messages are ordered at {found:?}");
    journal.commit(vec![Write::Outbox(vec![effect(1, 2, 0)])]).await?;
    Ok(())
}

/// Two handles on what should be the same journal, compared by everything that can be read.
pub(super) async fn compare(a: &dyn Journal, b: &dyn Journal, when: &str) -> Result<(), Failure> {
    let same = |what: &str, same: bool| {
        if same { Ok(()) } else { Err(Failure::new(format!("{when}: {what} differ"))) }
    };
    same("geneses", a.geneses().await? == b.geneses().await?)?;
    for p in [1, 2].map(project) {
        let height = a.last_height(p).await?;
        same("heights", height == b.last_height(p).await?)?;
        for h in 0..=height + 1 {
            same("blocks", a.block(p, h).await? == b.block(p, h).await?)?;
            same("attestations", a.attestation(p, h).await? == b.attestation(p, h).await?)?;
        }
        for name in ["applied", "archived"] {
            same("cursors", a.cursor(p, name).await? == b.cursor(p, name).await?)?;
        }
        for limit in [0, 2, 1000] {
            let pending = (a.pending_controls(p, limit).await?, b.pending_controls(p, limit).await?);
            same("pending controls", pending.0 == pending.1)?;
            same("outboxes", a.outbox(p, limit).await? == b.outbox(p, limit).await?)?;
        }
        same("halts", a.halted(p).await? == b.halted(p).await?)?;
    }
    let ids: Vec<_> = (0..40).map(message).collect();
    same("orders", a.ordered(&ids).await? == b.ordered(&ids).await?)
}
