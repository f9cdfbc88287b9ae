//! Batches as a whole.

use super::fixtures::{attestation, block_of, control, effect, genesis, message, project};
use super::once::{conflict, write_block};
use super::{Failure, Place, ensure};
use crate::Write;

/// If one write of a batch is refused, nothing of the batch is there: neither what stood before it nor what
/// stood after it.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn a_batch_is_applied_whole_or_not_at_all(place: &dyn Place) -> Result<(), Failure> {
    let journal = place.open().await?;
    let p = project(1);
    let tx = control(1, 1, 1)?;
    journal.commit(vec![Write::Cursor(p, "applied", 5), Write::Outbox(vec![effect(1, 1, 0)])]).await?;
    let refused = Write::Cursor(p, "applied", 4);
    let others = || -> Result<Vec<Write>, Failure> {
        Ok(vec![
            Write::Genesis(Box::new(genesis(1, 1)?)),
            write_block(1, block_of(1, &[1])),
            Write::Attestation(p, Box::new(attestation(1, 1, 0))),
            Write::Cursor(p, "applied", 6),
            Write::Cursor(p, "archived", 1),
            Write::Control(Box::new(tx.clone())),
            Write::Outbox(vec![effect(1, 1, 1)]),
            Write::OutboxFailed(effect(1, 1, 0), "no".into()),
            Write::Halt(p, "reason".into()),
            Write::OutboxDone(effect(1, 1, 0)),
        ])
    };
    for at in [10, 0, 5] {
        let mut batch = others()?;
        batch.insert(at, refused.clone());
        conflict("a batch with a refused write", journal.commit(batch).await)?;
        let outbox = journal.outbox(p, 10).await?;
        let left = [
            ("genesis", journal.geneses().await?.is_empty()),
            ("block", journal.block(p, 1).await?.is_none() && journal.last_height(p).await? == 0),
            ("order", journal.ordered(&[message(1)]).await? == [None]),
            ("attestation", journal.attestation(p, 1).await?.is_none()),
            ("cursor", journal.cursor(p, "applied").await? == 5),
            ("new cursor", journal.cursor(p, "archived").await? == 0),
            ("control", journal.control(tx.id()).await?.is_none()),
            ("outbox", outbox.len() == 1 && outbox[0].id == effect(1, 1, 0) && outbox[0].attempts == 0),
            ("halt", journal.halted(p).await?.is_none()),
        ];
        for (what, untouched) in left {
            ensure!(untouched, "a batch was refused at place {at}, and its {what} was applied nevertheless");
        }
    }
    // The same without the refused write goes through.
    journal.commit(others()?).await?;
    ensure!(journal.last_height(p).await? == 1, "a batch was accepted but not applied");
    ensure!(journal.outbox(p, 10).await?.len() == 1, "the outbox is not as the batch left it");
    Ok(())
}

/// Writes of one batch are applied in order, each on what the ones before it left.
///
/// # Errors
/// [`Failure`].
pub async fn later_writes_of_a_batch_see_earlier_ones(place: &dyn Place) -> Result<(), Failure> {
    let journal = place.open().await?;
    let p = project(1);
    let batch = vec![
        write_block(1, block_of(1, &[1])),
        write_block(1, block_of(2, &[1, 2])),
        write_block(1, block_of(3, &[])),
        Write::Cursor(p, "applied", 1),
        Write::Cursor(p, "applied", 3),
        Write::Outbox(vec![effect(1, 1, 0), effect(1, 2, 0)]),
        Write::OutboxFailed(effect(1, 2, 0), "once".into()),
        Write::OutboxFailed(effect(1, 2, 0), "twice".into()),
        Write::OutboxDone(effect(1, 1, 0)),
        Write::Halt(p, "reason".into()),
        Write::Halt(p, String::new()),
    ];
    journal.commit(batch).await?;
    ensure!(journal.last_height(p).await? == 3, "three blocks in one batch were not applied");
    let ordered = journal.ordered(&[message(1), message(2)]).await?;
    ensure!(ordered == [Some((p, 1, 0)), Some((p, 2, 1))], "the messages are ordered at {ordered:?}");
    ensure!(journal.cursor(p, "applied").await? == 3, "the cursor is not at its last value");
    let outbox = journal.outbox(p, 10).await?;
    let expected = outbox.len() == 1 && outbox[0].attempts == 2 && outbox[0].last_error == "twice";
    ensure!(expected, "the outbox is {outbox:?}");
    ensure!(journal.halted(p).await?.is_none(), "a halt that was lifted still stands");
    let down = vec![Write::Cursor(p, "applied", 9), Write::Cursor(p, "applied", 8)];
    conflict("a cursor that goes back inside a batch", journal.commit(down).await)?;
    let twice = vec![write_block(1, block_of(4, &[5])), write_block(1, block_of(4, &[6]))];
    conflict("two blocks of one height in a batch", journal.commit(twice).await)?;
    Ok(())
}
