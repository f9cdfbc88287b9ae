//! Bounds, cancelling and closing.

use std::time::Instant;

use super::{Builder, Probe, Violation, job_id};
use crate::{ErrorKind, State};

/// A job that waits has ended when its cancelling returns, and leaves room.
///
/// # Errors
/// What was seen instead.
pub async fn a_waiting_job_is_cancelled_at_once(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("a_waiting_job_is_cancelled_at_once", builder, 8).await;
    let first = probe.submit("first", builder.slow(0)).await?;
    let second = probe.submit("second", builder.job(1)).await?;
    if probe.ok("state", probe.prover.state(second).await)? != State::Waiting {
        // It proves more than one at a time, or faster than we look.
        return Ok(());
    }
    probe.ok("cancel", probe.prover.cancel(second).await)?;
    let state = probe.ok("state", probe.prover.state(second).await)?;
    let started = matches!(state, State::Running(_) | State::Proved(_));
    if state != State::Cancelled && !started {
        return probe.fail(format!("a waiting job is {state:?} after it was cancelled"));
    }
    probe.proof(first).await?;
    match probe.end(second).await? {
        State::Proved(_) if !started => probe.fail("a cancelled job is proved"),
        _ => probe.ok("cancel of an ended job", probe.prover.cancel(second).await),
    }
}

/// A running job that is cancelled ends, and not as proved, and its waiter learns it.
///
/// # Errors
/// What was seen instead.
pub async fn a_cancelled_job_does_not_end_as_proved(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("a_cancelled_job_does_not_end_as_proved", builder, 8).await;
    let id = probe.submit("running", builder.slow(0)).await?;
    if !probe.running(id).await? {
        return probe.fail("slow() is over before it can be cancelled");
    }
    probe.ok("cancel", probe.prover.cancel(id).await)?;
    // What was proved in that very moment, before the cancelling, stays proved.
    let raced = matches!(probe.ok("state", probe.prover.state(id).await)?, State::Proved(_));
    match probe.end(id).await? {
        State::Cancelled => {}
        State::Proved(_) if raced => {}
        other => return probe.fail(format!("a cancelled job ends as {other:?}")),
    }
    // The thread is free again.
    let next = probe.submit("next", builder.job(1)).await?;
    probe.proof(next).await.map(|_| ())
}

/// Jobs have a bound, ended ones count, and forgetting makes room.
///
/// # Errors
/// What was seen instead.
pub async fn a_full_queue_refuses_and_recovers(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("a_full_queue_refuses_and_recovers", builder, 3).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(probe.submit(&format!("job {number}"), builder.job(number)).await?);
    }
    let one_more = || probe.prover.submit(job_id("one more"), builder.job(3));
    probe.kind("a job too many", one_more().await, ErrorKind::Overloaded)?;
    probe.submit("job 0", builder.job(0)).await?;
    for id in &ids {
        probe.proof(*id).await?;
    }
    probe.kind("a job too many beside ended ones", one_more().await, ErrorKind::Overloaded)?;
    probe.ok("forget", probe.prover.forget(job_id("job 1")).await)?;
    probe.ok("a job after forgetting one", one_more().await)?;
    probe.proof(job_id("one more")).await.map(|_| ())
}

/// Submitting does not prove, and while a job runs others get their answers.
///
/// # Errors
/// What was seen instead.
pub async fn callers_are_not_blocked(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("callers_are_not_blocked", builder, 8).await;
    let claim = probe.claim("claim", builder.job(9)).await?;
    // How long a slow job takes; then twice that as two jobs.
    let start = Instant::now();
    let id = probe.submit("slow 0", builder.slow(0)).await?;
    let submitted = start.elapsed();
    if probe.ok("state", probe.prover.state(id).await)?.ended() {
        return probe.fail(format!("a job has ended when its submit returns, after {} ms", submitted.as_millis()));
    }
    let id = probe.submit("slow 1", builder.slow(1)).await?;
    let verified = probe.prover.verify(claim).await;
    probe.ok("verify beside jobs", verified)?;
    if probe.ok("state", probe.prover.state(id).await)?.ended() {
        return probe.fail("a verification waits for the jobs that were there before it");
    }
    let unended = probe.prover.forget(id).await;
    probe.kind("forgetting a job that has not ended", unended, ErrorKind::Conflict)?;
    probe.proof(id).await.map(|_| ())
}

/// A prover that starts again knows nothing of the one before, and takes its jobs.
///
/// # Errors
/// What was seen instead.
pub async fn a_new_prover_starts_empty(builder: &dyn Builder) -> Result<(), Violation> {
    let before = Probe::new("a_new_prover_starts_empty", builder, 8).await;
    let id = before.submit("job", builder.slow(0)).await?;
    before.ok("close", before.prover.close().await)?;
    let after = Probe::new("a_new_prover_starts_empty", builder, 8).await;
    after.kind("a job of the prover before", after.prover.state(id).await, ErrorKind::NotFound)?;
    after.submit("job", builder.slow(0)).await?;
    after.proof(id).await.map(|_| ())
}

/// After close every method answers so, and close itself works again.
///
/// # Errors
/// What was seen instead.
pub async fn a_closed_prover_refuses(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("a_closed_prover_refuses", builder, 8).await;
    let (job, prover) = (builder.job(0), &probe.prover);
    let claim = probe.claim("claim", job.clone()).await?;
    let id = probe.submit("running", builder.slow(1)).await?;
    probe.running(id).await?;
    probe.ok("close with a running job", prover.close().await)?;
    let closed = ErrorKind::Closed;
    probe.kind("submit", prover.submit(job_id("late"), job.clone()).await, closed)?;
    probe.kind("state", prover.state(id).await, closed)?;
    probe.kind("finished", prover.finished(id).await, closed)?;
    probe.kind("cancel", prover.cancel(id).await, closed)?;
    probe.kind("retry", prover.retry(id).await, closed)?;
    probe.kind("forget", prover.forget(id).await, closed)?;
    probe.kind("verifying_key", prover.verifying_key(&job.system, &job.artefacts).await, closed)?;
    probe.kind("verify", prover.verify(claim).await, closed)?;
    probe.ok("close again", prover.close().await)
}
