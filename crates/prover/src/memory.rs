//! The readable reference: a proof system that proves nothing, for tests.

use std::time::Duration;

use w3bstream_types::Digest;

use crate::pool::Files;
use crate::{Claim, Control, Error, ErrorKind, Job, Pool, Scalar, System};

/// The name of [`Sum`].
pub const SUM: &str = "sum";

/// A prover for tests: a [`Pool`] of [`Sum`].
pub type MemoryProver = Pool<Sum>;

/// "I know `count` numbers with the sum `sum`." Its proof is a digest that *anybody can compute without knowing
/// them*, so it is good for tests and for nothing else; all the rest behaves as a proof system does.
///
/// The file `program` starts with the text `sum`. Public inputs are `sum` and `count`, both below 2^128; the private
/// one is `parts`. With another private one, `milliseconds`, a proof takes that long.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum;

/// How often a slow proof looks whether it is cancelled.
const STEP: Duration = Duration::from_millis(2);

/// A number that fits.
fn small(number: &Scalar) -> Option<u128> {
    let (high, low) = number.as_be_bytes().split_at(16);
    high.iter().all(|byte| *byte == 0).then(|| low.iter().fold(0, |n, byte| n << 8 | u128::from(*byte)))
}

pub(crate) fn proof(key: &[u8], public: &[Scalar]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = vec![key];
    parts.extend(public.iter().map(|number| number.as_be_bytes().as_slice()));
    Digest::tagged("prover/sum", &parts).as_bytes().to_vec()
}

impl System for Sum {
    /// The verifying key: the program's digest.
    type Circuit = Digest;

    fn name(&self) -> &str {
        SUM
    }

    fn roles(&self) -> &[&str] {
        &["program"]
    }

    fn load(&self, files: &Files) -> Result<Digest, Error> {
        match files.get("program") {
            Some(program) if program.starts_with(b"sum") => Ok(Digest::of(program)),
            _ => Err(Error::new(ErrorKind::BadArtefact, "the program does not start with \"sum\"")),
        }
    }

    fn prove(&self, circuit: &Digest, job: &Job, control: &Control) -> Result<Vec<u8>, Error> {
        let missing = || Error::new(ErrorKind::BadInput, "public sum and count, private parts, and nothing else");
        let names: Vec<&str> = job.public.iter().map(|signal| signal.name.as_str()).collect();
        let public = job.public.values();
        let (["sum", "count"], &[sum, count]) = (names.as_slice(), public.as_slice()) else {
            return Err(missing());
        };
        let parts = job.private.get("parts").ok_or_else(missing)?;
        let slow = job.private.get("milliseconds").and_then(|v| v.first()).and_then(small).unwrap_or(0);
        let steps = u16::try_from(slow / STEP.as_millis()).unwrap_or(u16::MAX);
        for step in 0..steps {
            control.step("adding slowly", (u32::from(step) * 900 / u32::from(steps)).try_into().unwrap_or(900))?;
            std::thread::sleep(STEP);
        }
        control.step("adding", 900)?;
        let added = parts.iter().try_fold(0_u128, |sum, part| sum.checked_add(small(part)?));
        if added.is_none() || added != small(&sum) || small(&count) != Some(parts.len() as u128) {
            return Err(Error::new(ErrorKind::Unprovable, "the parts do not have that count and sum"));
        }
        Ok(proof(circuit.as_bytes(), &public))
    }

    fn verifying_key(&self, circuit: &Digest) -> Result<Vec<u8>, Error> {
        Ok(circuit.as_bytes().to_vec())
    }

    fn verify(&self, claim: &Claim) -> Result<(), Error> {
        if claim.verifying_key.len() != 32 {
            return Err(Error::new(ErrorKind::BadArtefact, "a verifying key of sum has 32 bytes"));
        }
        if claim.public.len() != 2 {
            return Err(Error::new(ErrorKind::BadInput, "a claim of sum has two public numbers"));
        }
        if claim.proof != proof(&claim.verifying_key, &claim.public) {
            return Err(Error::new(ErrorKind::Invalid, "this is no proof of that sum"));
        }
        Ok(())
    }
}
