//! What is left after the process has ended.

use super::fixtures::{attestation, block, control, effect, genesis, message, project};
use super::once::{conflict, write_block};
use super::{Failure, Place, ensure};
use crate::{Error, ErrorKind, RecordId, Write};
use w3bstream_types::Entry;

fn round(n: u64) -> Result<Vec<Write>, Failure> {
    let p = project(1);
    let tx = control(1, n, n as u8)?;
    let entries = vec![Entry::Message(message(n)), Entry::Control(tx.id())];
    Ok(vec![
        Write::Control(Box::new(tx)),
        write_block(1, block(n, entries)),
        Write::Attestation(p, Box::new(attestation(1, n, 0))),
        Write::Outbox(vec![effect(1, n, 0), effect(1, n, 1)]),
        Write::OutboxFailed(effect(1, n, 0), format!("try {n}")),
        Write::OutboxDone(effect(1, n, 1)),
        Write::Control(Box::new(control(1, 100 + n, n as u8)?)),
        Write::Cursor(p, "applied", n),
        Write::Halt(p, format!("at {n}")),
    ])
}

async fn survives(place: &dyn Place, close: bool) -> Result<(), Failure> {
    let mut journal = place.open().await?;
    journal.commit(vec![Write::Genesis(Box::new(genesis(1, 1)?))]).await?;
    let p = project(1);
    for n in 1..=8 {
        journal.commit(round(n)?).await?;
        if close {
            journal.close().await?;
        }
        drop(journal);
        journal = place.open().await?;
        ensure!(journal.geneses().await?.len() == 1, "after restart {n} the genesis is lost");
        let height = journal.last_height(p).await?;
        ensure!(height == n, "after restart {n} the last block is {height}");
        let ordered = journal.ordered(&[message(n)]).await?;
        ensure!(ordered == [Some((p, n, 0))], "after restart {n} its message is ordered at {ordered:?}");
        ensure!(journal.attestation(p, n).await?.is_some(), "after restart {n} its attestation is lost");
        let cursor = journal.cursor(p, "applied").await?;
        ensure!(cursor == n, "after restart {n} the cursor is at {cursor}");
        let outbox = journal.outbox(p, 100).await?;
        let tried = outbox.iter().all(|e| e.attempts == 1 && e.last_error == format!("try {}", e.id.height));
        ensure!(outbox.len() as u64 == n && tried, "after restart {n} the outbox is {outbox:?}");
        let pending = journal.pending_controls(p, 100).await?.len() as u64;
        ensure!(pending == n, "after restart {n} {pending} control transactions are pending");
        let halted = journal.halted(p).await?;
        ensure!(halted == Some(format!("at {n}")), "after restart {n} it is halted because of {halted:?}");
    }
    // What may be written once may not be written again after a restart.
    conflict(
        "another genesis after a restart",
        journal.commit(vec![Write::Genesis(Box::new(genesis(1, 2)?))]).await,
    )?;
    conflict("a lower cursor after a restart", journal.commit(vec![Write::Cursor(p, "applied", 1)]).await)?;
    conflict("another block after a restart", journal.commit(vec![write_block(1, block(2, vec![]))]).await)
}

/// Everything committed is there after close and reopen.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn survives_close(place: &dyn Place) -> Result<(), Failure> {
    survives(place, true).await
}

/// Everything committed is there after an end without close.
///
/// # Errors
/// [`Failure`].
pub async fn survives_an_end_without_close(place: &dyn Place) -> Result<(), Failure> {
    survives(place, false).await
}

/// After close every call is refused as closed, and closing again is no error.
///
/// # Errors
/// [`Failure`].
pub async fn a_closed_journal_refuses_everything(place: &dyn Place) -> Result<(), Failure> {
    fn closed<T>(answer: Result<T, Error>) -> bool {
        matches!(answer, Err(e) if e.kind() == ErrorKind::Closed)
    }
    let journal = place.open().await?;
    journal.commit(round(1)?).await?;
    journal.close().await?;
    journal.close().await?;
    let p = project(1);
    let records = RecordId { project: p, space: "a", key: vec![1] };
    let refused = [
        ("commit", closed(journal.commit(round(2)?).await)),
        ("geneses", closed(journal.geneses().await)),
        ("block", closed(journal.block(p, 1).await)),
        ("last_height", closed(journal.last_height(p).await)),
        ("ordered", closed(journal.ordered(&[message(1)]).await)),
        ("cursor", closed(journal.cursor(p, "applied").await)),
        ("outbox", closed(journal.outbox(p, 1).await)),
        ("record", closed(journal.record(&records).await)),
        ("records", closed(journal.records(&records, 1).await)),
        ("halted", closed(journal.halted(p).await)),
    ];
    for (call, refused) in refused {
        ensure!(refused, "after close, {call} is not refused as closed");
    }
    Ok(())
}
