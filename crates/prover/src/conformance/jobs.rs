//! How jobs live.

use std::thread;

use w3bstream_types::Digest;

use super::proofs::proof_of;
use super::{Place, Verdict, Violation, block_on, hold, refused, works};
use crate::{ErrorKind, Job, JobState, MAX_VALUES};

/// A job that is submitted twice is one job; another job with its id is refused.
///
/// # Errors
/// [`Violation`].
pub fn submitting_again_changes_nothing(place: &dyn Place) -> Verdict {
    block_on(async {
        let (prover, job) = (place.open(), place.job(0));
        for _ in 0..=place.queue() {
            works("submitting again", prover.submit(job.clone(), place.artefacts()).await)?;
        }
        let other = Job { id: job.id, ..place.job(1) };
        let both = prover.submit(other.clone(), place.artefacts()).await;
        refused("submitting another job with its id", ErrorKind::Conflict, both)?;
        let proof = proof_of(place, &*prover, job.clone()).await?;
        works("submitting a done job", prover.submit(job.clone(), place.artefacts()).await)?;
        let both = prover.submit(other, place.artefacts()).await;
        refused("submitting another job with the id of a done one", ErrorKind::Conflict, both)?;
        let state = works("asking", prover.state(job.id).await)?;
        hold(state == Some(JobState::Done(proof)), || format!("a done job became {state:?}"))?;
        works("closing", prover.close().await)
    })
}

/// A full queue refuses a job and keeps nothing of it; once there is room it takes it.
///
/// # Errors
/// [`Violation`].
pub fn a_full_queue_says_so(place: &dyn Place) -> Verdict {
    block_on(async {
        let prover = place.open();
        let mut taken = Vec::new();
        let mut refusal = None;
        // Some may run already, so that as many more are taken.
        for n in 0..16 {
            let job = place.job(n);
            match prover.submit(job.clone(), place.artefacts()).await {
                Ok(()) => taken.push(job.id),
                Err(e) => {
                    refusal = Some((job, e));
                    break;
                }
            }
        }
        let Some((job, error)) = refusal else {
            return Err(Violation::new("16 jobs were taken at once, and the queue is shorter"));
        };
        hold(error.kind() == ErrorKind::Busy, || format!("a full queue says {error}"))?;
        hold(taken.len() >= place.queue(), || format!("the queue is full with {} jobs", taken.len()))?;
        let state = works("asking for a refused job", prover.state(job.id).await)?;
        hold(state.is_none(), || format!("a refused job is {state:?}"))?;
        for id in taken {
            let state = works("waiting", prover.wait(id).await)?;
            hold(matches!(state, JobState::Done(_)), || format!("a queued job ended as {state:?}"))?;
        }
        proof_of(place, &*prover, job).await?;
        works("closing", prover.close().await)
    })
}

/// A cancelled job is cancelled and makes room, and can be submitted again. A done one stays done.
///
/// # Errors
/// [`Violation`].
pub fn a_cancelled_job_can_be_had_again(place: &dyn Place) -> Verdict {
    block_on(async {
        let prover = place.open();
        let jobs = [place.job(0), place.job(1)];
        for job in &jobs {
            works("submitting", prover.submit(job.clone(), place.artefacts()).await)?;
        }
        // The last is behind the first, so that it waits or has hardly begun.
        let id = jobs[1].id;
        works("cancelling", prover.cancel(id).await)?;
        let state = works("asking", prover.state(id).await)?;
        hold(state == Some(JobState::Cancelled), || format!("a cancelled job is {state:?}"))?;
        let state = works("waiting for it", prover.wait(id).await)?;
        hold(state == JobState::Cancelled, || format!("a cancelled job ended as {state:?}"))?;
        proof_of(place, &*prover, jobs[0].clone()).await?;
        let proof = proof_of(place, &*prover, jobs[1].clone()).await?;
        works("cancelling a done job", prover.cancel(id).await)?;
        let state = works("asking", prover.state(id).await)?;
        hold(state == Some(JobState::Done(proof)), || format!("cancelling made a done job {state:?}"))?;
        works("cancelling an unknown job", prover.cancel(Digest::of(b"unknown")).await)?;
        works("closing", prover.close().await)
    })
}

/// A job that was forgotten is unknown, whether it was done or waits, and can be submitted again.
///
/// # Errors
/// [`Violation`].
pub fn a_forgotten_job_is_unknown(place: &dyn Place) -> Verdict {
    block_on(async {
        let (prover, job) = (place.open(), place.job(0));
        refused("waiting for an unknown job", ErrorKind::NotFound, prover.wait(job.id).await)?;
        let state = works("asking", prover.state(job.id).await)?;
        hold(state.is_none(), || format!("an unknown job is {state:?}"))?;
        proof_of(place, &*prover, job.clone()).await?;
        for wait in [false, true] {
            if wait {
                works("submitting", prover.submit(job.clone(), place.artefacts()).await)?;
            }
            works("forgetting", prover.forget(job.id).await)?;
            let state = works("asking", prover.state(job.id).await)?;
            hold(state.is_none(), || format!("a forgotten job is {state:?}"))?;
            refused("waiting for a forgotten job", ErrorKind::NotFound, prover.wait(job.id).await)?;
        }
        works("forgetting again", prover.forget(job.id).await)?;
        proof_of(place, &*prover, job).await?;
        works("closing", prover.close().await)
    })
}

/// Any number may wait for a job, and all hear the same.
///
/// # Errors
/// [`Violation`].
pub fn many_may_wait_for_one_job(place: &dyn Place) -> Verdict {
    let (prover, job) = (place.open(), place.job(0));
    works("submitting", block_on(prover.submit(job.clone(), place.artefacts())))?;
    let heard: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| block_on(prover.wait(job.id)))).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let state = works("asking", block_on(prover.state(job.id)))?;
    hold(matches!(state, Some(JobState::Done(_))), || format!("a good job ended as {state:?}"))?;
    for one in heard {
        let one = one.map_err(|_| Violation::new("waiting panicked"))?;
        let one = Some(works("waiting", one)?);
        hold(one == state, || format!("one waiter heard {one:?}, and the state is {state:?}"))?;
    }
    works("closing", block_on(prover.close()))
}

/// Jobs of another system, and jobs that [`Job::check`] refuses, are refused and kept nowhere.
///
/// # Errors
/// [`Violation`].
pub fn what_no_prover_takes_is_refused(place: &dyn Place) -> Verdict {
    block_on(async {
        let (prover, good) = (place.open(), place.job(0));
        let mut foreign = good.clone();
        foreign.circuit.system += "-other";
        let mut twice = good.clone();
        let first = twice.inputs.first().cloned();
        twice.inputs.extend(first);
        let mut large = good.clone();
        large.inputs.push(("large".into(), vec![crate::FieldElement::ZERO; MAX_VALUES]));
        for job in [foreign.clone(), twice, large] {
            let id = job.id;
            refused("submitting it", ErrorKind::Unsupported, prover.submit(job, place.artefacts()).await)?;
            let state = works("asking", prover.state(id).await)?;
            hold(state.is_none(), || format!("a refused job is {state:?}"))?;
        }
        let proof = proof_of(place, &*prover, good.clone()).await?;
        let verdict = prover.verify(&foreign.circuit, &good.public, &proof, place.artefacts()).await;
        refused("verifying for another system", ErrorKind::Unsupported, verdict)?;
        works("closing", prover.close().await)
    })
}

/// After closing, which may be repeated, everything says that the prover is closed.
///
/// # Errors
/// [`Violation`].
pub fn nothing_works_once_closed(place: &dyn Place) -> Verdict {
    block_on(async {
        let (prover, job) = (place.open(), place.job(0));
        let proof = proof_of(place, &*prover, job.clone()).await?;
        // One waits or runs while it closes.
        works("submitting", prover.submit(place.job(1), place.artefacts()).await)?;
        works("closing", prover.close().await)?;
        works("closing again", prover.close().await)?;
        let closed = ErrorKind::Closed;
        refused("submitting", closed, prover.submit(job.clone(), place.artefacts()).await)?;
        refused("asking", closed, prover.state(job.id).await)?;
        refused("waiting", closed, prover.wait(job.id).await)?;
        refused("cancelling", closed, prover.cancel(job.id).await)?;
        refused("forgetting", closed, prover.forget(job.id).await)?;
        let verdict = prover.verify(&job.circuit, &job.public, &proof, place.artefacts()).await;
        refused("verifying", closed, verdict)
    })
}
