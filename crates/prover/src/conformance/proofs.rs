//! What a proof shows, and what it does not.

use super::{Builder, Probe, Violation};
use crate::{Claim, ErrorKind, Scalar};

/// A proof verifies, in this prover and in a new one.
///
/// # Errors
/// What was seen instead.
pub async fn a_proof_verifies(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("a_proof_verifies", builder, 8).await;
    let claim = probe.claim("proof", builder.job(0)).await?;
    probe.ok("verify", probe.prover.verify(claim.clone()).await)?;
    let other = Probe::new("a_proof_verifies", builder, 8).await;
    other.ok("verify in another prover", other.prover.verify(claim).await)
}

/// A proof says nothing about other public numbers, whichever of them is changed.
///
/// # Errors
/// What was seen instead.
pub async fn a_proof_is_for_its_public_numbers(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("a_proof_is_for_its_public_numbers", builder, 8).await;
    let claim = probe.claim("first", builder.job(0)).await?;
    let second = probe.claim("second", builder.job(1)).await?;
    let swapped = Claim { proof: second.proof, ..claim.clone() };
    probe.kind("the proof of another job", probe.prover.verify(swapped).await, ErrorKind::Invalid)?;
    for index in 0..claim.public.len() {
        let mut changed = claim.clone();
        if let Some(number) = changed.public.get_mut(index) {
            *number = if *number == Scalar::ZERO { Scalar::from_u128(1) } else { Scalar::ZERO };
        }
        let what = format!("a claim with another public number {index}");
        probe.kind(&what, probe.prover.verify(changed).await, ErrorKind::Invalid)?;
    }
    Ok(())
}

/// A proof says nothing under another key, and a key is the circuit's alone.
///
/// # Errors
/// What was seen instead.
pub async fn a_proof_is_for_its_key(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("a_proof_is_for_its_key", builder, 8).await;
    let claim = probe.claim("proof", builder.job(0)).await?;
    for index in 0..claim.verifying_key.len().min(64) {
        let mut changed = claim.clone();
        // Spread over the key, so that every part of it is hit once in a while.
        let place = index * claim.verifying_key.len() / claim.verifying_key.len().min(64);
        if let Some(byte) = changed.verifying_key.get_mut(place) {
            *byte ^= 1;
        }
        if probe.prover.verify(changed).await.is_ok() {
            return probe.fail(format!("a claim verifies under a key whose byte {place} is another"));
        }
    }
    Ok(())
}

/// A proof has one encoding: no bit of it can be changed, and nothing can be left out or added.
///
/// # Errors
/// What was seen instead.
pub async fn a_proof_has_one_form(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("a_proof_has_one_form", builder, 8).await;
    let claim = probe.claim("proof", builder.job(0)).await?;
    let length = claim.proof.len();
    let mut forms: Vec<Vec<u8>> = vec![Vec::new(), vec![0; length], vec![0xff; length]];
    forms.push(claim.proof.get(..length.saturating_sub(1)).unwrap_or_default().to_vec());
    forms.push([claim.proof.as_slice(), &[0]].concat());
    forms.push([&[0], claim.proof.as_slice()].concat());
    for place in (0..length).step_by(length.div_ceil(48).max(1)) {
        let mut changed = claim.proof.clone();
        if let Some(byte) = changed.get_mut(place) {
            *byte ^= 1 << (place % 8);
        }
        forms.push(changed);
    }
    for proof in forms {
        let what = format!("a changed proof of {} bytes", proof.len());
        let changed = Claim { proof, ..claim.clone() };
        probe.kind(&what, probe.prover.verify(changed).await, ErrorKind::Invalid)?;
    }
    Ok(())
}

/// Claims that are none get an error, each of its kind.
///
/// # Errors
/// What was seen instead.
pub async fn malformed_claims_are_refused(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("malformed_claims_are_refused", builder, 8).await;
    let claim = probe.claim("proof", builder.job(0)).await?;
    let mut public = claim.public.clone();
    public.push(Scalar::ZERO);
    let more = Claim { public: public.clone(), ..claim.clone() };
    probe.kind("a public number too many", probe.prover.verify(more).await, ErrorKind::BadInput)?;
    public.truncate(claim.public.len().saturating_sub(1));
    let less = Claim { public, ..claim.clone() };
    probe.kind("a public number too few", probe.prover.verify(less).await, ErrorKind::BadInput)?;
    let keyless = Claim { verifying_key: Vec::new(), ..claim };
    probe.kind("no key", probe.prover.verify(keyless).await, ErrorKind::BadArtefact)
}

/// Files that are missing, are others than their digests say, or are no circuit, give no proof and no key.
///
/// # Errors
/// What was seen instead.
pub async fn artefacts_are_checked(builder: &dyn Builder) -> Result<(), Violation> {
    let property = "artefacts_are_checked";
    let job = builder.job(0);
    for (role, digest) in &job.artefacts {
        let probe = Probe::new(property, builder, 8).await;
        let mut missing = job.clone();
        missing.artefacts.insert(role.clone(), w3bstream_types::Digest::of(b"no such file"));
        let key = probe.prover.verifying_key(&missing.system, &missing.artefacts).await;
        probe.kind("the key of a file that is missing", key, ErrorKind::NotFound)?;
        let submitted = probe.prover.submit(super::job_id("missing"), missing).await;
        probe.kind("a job with a missing file", submitted, ErrorKind::NotFound)?;

        let mut nonsense = job.clone();
        nonsense.artefacts.insert(role.clone(), probe.artefacts.add(b"no circuit".to_vec()));
        let key = probe.prover.verifying_key(&nonsense.system, &nonsense.artefacts).await;
        probe.kind("the key of a file that is no circuit", key, ErrorKind::BadArtefact)?;

        // The right bytes with one more, where the digest's file should be.
        for file in builder.files() {
            probe.artefacts.put(w3bstream_types::Digest::of(&file), [file.as_slice(), b" "].concat());
        }
        let key = probe.prover.verifying_key(&job.system, &job.artefacts).await;
        probe.kind("the key of other bytes", key, ErrorKind::WrongDigest)?;
        let mut fewer = job.clone();
        fewer.artefacts.remove(role);
        let key = probe.prover.verifying_key(&fewer.system, &fewer.artefacts).await;
        probe.kind(&format!("a circuit without {role}"), key, ErrorKind::BadInput)?;
        // The job itself must not end as proved either.
        if let Ok(()) = probe.prover.submit(super::job_id("other"), job.clone()).await {
            if let crate::State::Proved(_) = probe.end(super::job_id("other")).await? {
                return probe.fail(format!("a job is proved although {digest} is another file"));
            }
        }
    }
    Ok(())
}

/// A system that is not here is refused; those that are here have names.
///
/// # Errors
/// What was seen instead.
pub async fn systems_are_known_by_name(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe::new("systems_are_known_by_name", builder, 8).await;
    let mut job = builder.job(0);
    if !probe.prover.systems().contains(&job.system) {
        return probe.fail(format!("systems() leaves out {}", job.system));
    }
    let claim = probe.claim("proof", job.clone()).await?;
    let other = Claim { system: "no-such-system".to_owned(), ..claim };
    probe.kind("a claim of another system", probe.prover.verify(other).await, ErrorKind::UnknownSystem)?;
    let key = probe.prover.verifying_key("no-such-system", &job.artefacts).await;
    probe.kind("a key of another system", key, ErrorKind::UnknownSystem)?;
    job.system = "no-such-system".to_owned();
    let submitted = probe.prover.submit(super::job_id("other"), job).await;
    probe.kind("a job of another system", submitted, ErrorKind::UnknownSystem)
}
