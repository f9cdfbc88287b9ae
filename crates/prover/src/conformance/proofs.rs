//! What a proof is worth.

use w3bstream_types::Digest;

use super::{Place, Verdict, Violation, block_on, hold, refused, works};
use crate::{Artefacts, ErrorKind, FieldElement, Job, JobState, MemoryArtefacts, Proof, Prover};

/// Submits a job and waits for its proof.
pub(super) async fn proof_of(place: &dyn Place, prover: &dyn Prover, job: Job) -> Result<Proof, Violation> {
    let id = job.id;
    works("submitting a job", prover.submit(job, place.artefacts()).await)?;
    match works("waiting for it", prover.wait(id).await)? {
        JobState::Done(proof) => Ok(proof),
        other => Err(Violation::new(format!("a good job ended as {other:?}"))),
    }
}

/// A good job becomes a proof that verifies, here and by a prover that never saw the job.
///
/// # Errors
/// [`Violation`].
pub fn a_job_becomes_a_proof(place: &dyn Place) -> Verdict {
    block_on(async {
        let (prover, job) = (place.open(), place.job(0));
        let proof = proof_of(place, &*prover, job.clone()).await?;
        let state = works("asking for a done job", prover.state(job.id).await)?;
        hold(state == Some(JobState::Done(proof)), || format!("a done job is said to be {state:?}"))?;
        for prover in [prover, place.open()] {
            let verdict = prover.verify(&job.circuit, &job.public, &proof, place.artefacts()).await;
            hold(works("verifying", verdict)?, || "its own proof does not verify".into())?;
            works("closing", prover.close().await)?;
        }
        Ok(())
    })
}

/// A proof verifies for no other public numbers, and for no other count of them.
///
/// # Errors
/// [`Violation`].
pub fn a_proof_is_of_its_public_numbers(place: &dyn Place) -> Verdict {
    block_on(async {
        let (prover, job) = (place.open(), place.job(0));
        let proof = proof_of(place, &*prover, job.clone()).await?;
        let mut others = vec![place.job(1).public, Vec::new()];
        for i in 0..job.public.len() {
            let mut other = job.public.clone();
            other[i] =
                if other[i] == FieldElement::ZERO { FieldElement::from(1) } else { other[i].negated() };
            others.push(other);
        }
        others.push([&job.public[..], &[FieldElement::ZERO]].concat());
        others.push(job.public[..job.public.len().saturating_sub(1)].to_vec());
        for other in others.into_iter().filter(|other| *other != job.public) {
            let verdict = prover.verify(&job.circuit, &other, &proof, place.artefacts()).await;
            hold(!works("verifying", verdict)?, || "a proof verifies for other public numbers".into())?;
        }
        works("closing", prover.close().await)
    })
}

/// A proof with a changed word does not verify.
///
/// # Errors
/// [`Violation`].
pub fn changed_proofs_are_refused(place: &dyn Place) -> Verdict {
    block_on(async {
        let (prover, job) = (place.open(), place.job(0));
        let proof = proof_of(place, &*prover, job.clone()).await?;
        for word in 0..8 {
            for (at, value) in [(31, 1), (0, 0x10), (15, 0x80)] {
                let mut bytes = *proof.as_bytes();
                bytes[word * 32 + at] ^= value;
                let Ok(changed) = Proof::from_bytes(&bytes) else { continue };
                let verdict = prover.verify(&job.circuit, &job.public, &changed, place.artefacts()).await;
                hold(!works("verifying", verdict)?, || format!("word {word} can be changed"))?;
            }
        }
        for all in [0, 1] {
            let Ok(trivial) = Proof::from_bytes(&[all; crate::PROOF_BYTES]) else { continue };
            let verdict = prover.verify(&job.circuit, &job.public, &trivial, place.artefacts()).await;
            hold(!works("verifying", verdict)?, || format!("a proof of bytes {all} verifies"))?;
        }
        works("closing", prover.close().await)
    })
}

/// A job whose signals do not satisfy the circuit fails for good, and so does one whose public numbers are not those
/// that its signals have. The prover goes on working.
///
/// # Errors
/// [`Violation`].
pub fn what_does_not_hold_fails_for_good(place: &dyn Place) -> Verdict {
    block_on(async {
        let prover = place.open();
        let mislabelled = Job { public: place.job(1).public, ..place.job(0) };
        let short = Job { public: Vec::new(), id: Digest::of(b"short"), ..place.job(0) };
        let unset = Job { inputs: Vec::new(), id: Digest::of(b"unset"), ..place.job(0) };
        for job in [place.unsatisfied(), mislabelled, short, unset] {
            let id = job.id;
            works("submitting", prover.submit(job.clone(), place.artefacts()).await)?;
            let state = works("waiting", prover.wait(id).await)?;
            let for_good = matches!(state, JobState::Failed { retry: false, .. });
            hold(for_good, || format!("a job that does not hold ended as {state:?}"))?;
            works("submitting again", prover.submit(job, place.artefacts()).await)?;
            let again = works("asking", prover.state(id).await)?;
            hold(again == Some(state), || format!("submitting it again made it {again:?}"))?;
        }
        proof_of(place, &*prover, place.job(2)).await?;
        works("closing", prover.close().await)
    })
}

/// Bytes with another digest are refused wherever they come, missing ones are said to be missing, and the job stays
/// unknown.
///
/// # Errors
/// [`Violation`].
pub fn artefacts_are_checked(place: &dyn Place) -> Verdict {
    block_on(async {
        let job = place.job(0);
        let good = place.open();
        let proof = proof_of(place, &*good, job.clone()).await?;
        works("closing", good.close().await)?;
        let (witness, key) = (job.circuit.witness, job.circuit.key);
        for forged in [witness, key] {
            let prover = place.open();
            let artefacts = std::sync::Arc::new(MemoryArtefacts::new());
            let lost = prover.submit(job.clone(), artefacts.clone()).await;
            refused("submitting without artefacts", ErrorKind::Missing, lost)?;
            for digest in [witness, key] {
                artefacts.put_as(digest, &works("fetching", place.artefacts().fetch(digest).await)?);
            }
            artefacts.put_as(forged, b"something else");
            let submitted = prover.submit(job.clone(), artefacts.clone()).await;
            refused("submitting with a forged artefact", ErrorKind::Artefact, submitted)?;
            let state = works("asking", prover.state(job.id).await)?;
            hold(state.is_none(), || format!("a refused job is {state:?}"))?;
            if forged == key {
                let verdict = prover.verify(&job.circuit, &job.public, &proof, artefacts).await;
                refused("verifying with a forged key", ErrorKind::Artefact, verdict)?;
            }
            proof_of(place, &*prover, job.clone()).await?;
            works("closing", prover.close().await)?;
        }
        Ok(())
    })
}

/// No private number is in what a prover prints or says.
///
/// # Errors
/// [`Violation`].
pub fn nothing_private_is_shown(place: &dyn Place) -> Verdict {
    block_on(async {
        let prover = place.open();
        let (job, bad) = (place.job(0), place.unsatisfied());
        let mut shown = format!("{job:?} {bad:?}");
        for job in [job, bad] {
            works("submitting", prover.submit(job.clone(), place.artefacts()).await)?;
            shown += &format!("{prover:?} {prover:#?}");
            shown += &format!("{:?}", works("waiting", prover.wait(job.id).await)?);
            shown += &format!("{prover:?}");
            let other = Job { inputs: Vec::new(), ..job };
            if let Err(e) = prover.submit(other, place.artefacts()).await {
                shown += &format!("{e} {e:?}");
            }
        }
        works("closing", prover.close().await)?;
        let found = place.secrets().into_iter().find(|secret| shown.contains(secret.as_str()));
        hold(found.is_none(), || "a private number is shown".into())
    })
}
