//! Jobs, their names and their states.

use super::{Builder, Probe, Violation, job_id};
use crate::{ErrorKind, State};

/// What is not so is not proved, and the job says so.
///
/// # Errors
/// What was seen instead.
pub async fn what_is_unprovable_fails(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("what_is_unprovable_fails", builder, 8).await;
    let id = probe.submit("lie", builder.unprovable()).await?;
    match probe.end(id).await? {
        State::Failed(failure) if failure.kind == ErrorKind::Unprovable => {}
        other => return probe.fail(format!("a job that is not so ends as {other:?}")),
    }
    // The numbers that a statement fixes, with what proves another one.
    let mut mixed = builder.job(1);
    mixed.private = builder.job(2).private;
    let id = probe.submit("mixed", mixed).await?;
    if let State::Proved(_) = probe.end(id).await? {
        return probe.fail("a job is proved with the private numbers of another");
    }
    // It harms no other.
    let id = probe.submit("truth", builder.job(0)).await?;
    probe.proof(id).await.map(|_| ())
}

/// A job under a name stays that job: again is no change, another one is refused.
///
/// # Errors
/// What was seen instead.
pub async fn a_job_is_named_once(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("a_job_is_named_once", builder, 8).await;
    let id = probe.submit("name", builder.job(0)).await?;
    probe.submit("name", builder.job(0)).await?;
    let other = probe.prover.submit(id, builder.job(1)).await;
    probe.kind("another job of the name", other, ErrorKind::Conflict)?;
    let first = probe.proof(id).await?;
    probe.submit("name", builder.job(0)).await?;
    if probe.proof(id).await? != first {
        return probe.fail("a job that was submitted again is proved again");
    }
    let other = probe.prover.submit(id, builder.job(1)).await;
    probe.kind("another job of the name of an ended one", other, ErrorKind::Conflict)?;
    probe.ok("retry of a proved job", probe.prover.retry(id).await)?;
    if probe.proof(id).await? != first {
        return probe.fail("a proved job runs again by a retry");
    }
    Ok(())
}

/// Unknown and forgotten jobs are not found; forgetting works for ended jobs, and twice.
///
/// # Errors
/// What was seen instead.
pub async fn a_job_that_nobody_knows_is_not_found(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("a_job_that_nobody_knows_is_not_found", builder, 8).await;
    let id = job_id("job");
    for round in ["unknown", "forgotten"] {
        probe.kind(&format!("state, {round}"), probe.prover.state(id).await, ErrorKind::NotFound)?;
        probe.kind(&format!("finished, {round}"), probe.prover.finished(id).await, ErrorKind::NotFound)?;
        probe.kind(&format!("cancel, {round}"), probe.prover.cancel(id).await, ErrorKind::NotFound)?;
        probe.kind(&format!("retry, {round}"), probe.prover.retry(id).await, ErrorKind::NotFound)?;
        probe.ok(&format!("forget, {round}"), probe.prover.forget(id).await)?;
        if round == "unknown" {
            probe.submit("job", builder.job(0)).await?;
            probe.proof(id).await?;
            probe.ok("forget", probe.prover.forget(id).await)?;
        }
    }
    // The name is free again, for another job too.
    probe.submit("job", builder.job(1)).await?;
    probe.proof(id).await.map(|_| ())
}

/// A job waits, runs and ends, in that order, and its progress never falls.
///
/// # Errors
/// What was seen instead.
pub async fn progress_only_grows(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("progress_only_grows", builder, 8).await;
    let id = probe.submit("slow", builder.slow(0)).await?;
    let (mut rank, mut most) = (0, 0);
    let start = std::time::Instant::now();
    loop {
        let state = probe.ok("state", probe.prover.state(id).await)?;
        let now = match &state {
            State::Waiting => 0,
            State::Running(progress) => {
                if progress.thousandths < most || progress.thousandths > 1000 {
                    return probe.fail(format!("progress goes from {most} to {}", progress.thousandths));
                }
                most = progress.thousandths;
                1
            }
            _ => 2,
        };
        if now < rank {
            return probe.fail(format!("a job goes back to {state:?}"));
        }
        rank = now;
        if state.ended() {
            return probe.proof(id).await.map(|_| ());
        }
        if start.elapsed() > super::PATIENCE {
            return probe.fail("a job does not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Cancelled and failed jobs run again by a retry, and as what they are.
///
/// # Errors
/// What was seen instead.
pub async fn a_retry_runs_again(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("a_retry_runs_again", builder, 8).await;
    let blocking = probe.submit("blocking", builder.slow(0)).await?;
    let id = probe.submit("retried", builder.job(1)).await?;
    probe.ok("cancel", probe.prover.cancel(id).await)?;
    match probe.end(id).await? {
        State::Cancelled => {}
        // The machine was fast.
        State::Proved(_) => return Ok(()),
        other => return probe.fail(format!("a cancelled job ends as {other:?}")),
    }
    probe.ok("retry", probe.prover.retry(id).await)?;
    probe.ok("second retry", probe.prover.retry(id).await)?;
    probe.proof(id).await?;
    probe.proof(blocking).await?;
    let id = probe.submit("failed", builder.unprovable()).await?;
    probe.end(id).await?;
    probe.ok("retry of a failed job", probe.prover.retry(id).await)?;
    match probe.end(id).await? {
        State::Failed(_) => Ok(()),
        other => probe.fail(format!("a job that cannot be proved ends as {other:?} after a retry")),
    }
}
