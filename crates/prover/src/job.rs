//! What is asked of a prover, and how far it is.

use std::fmt;

use w3bstream_types::{Digest, Disposition};

use crate::{ArtefactSet, Error, ErrorKind, Scalar, Signals};

/// A job's name, chosen by who submits it: the same for the same thing to prove, so that it is proved once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub Digest);

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Something to prove. `Debug` shows no private number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The proof system's name, `groth16-bn254` for instance.
    pub system: String,
    /// The circuit's files.
    pub artefacts: ArtefactSet,
    /// The public inputs, in the circuit's order. From an attested statement, so nobody here chooses them.
    pub public: Signals,
    /// The private inputs.
    pub private: Signals,
}

impl Job {
    /// A digest of all that the job says, to tell two jobs of one name apart.
    pub(crate) fn digest(&self) -> Digest {
        let mut parts: Vec<Vec<u8>> = vec![self.system.as_bytes().to_vec()];
        for (role, digest) in &self.artefacts {
            parts.extend([role.as_bytes().to_vec(), digest.as_bytes().to_vec()]);
        }
        for signals in [&self.public, &self.private] {
            // A part of its own, so that no number moves from one list to the other.
            parts.push((signals.iter().count() as u64).to_be_bytes().to_vec());
            for signal in signals.iter() {
                parts.push(signal.name.as_bytes().to_vec());
                parts.push(signal.values.iter().flat_map(|v| *v.as_be_bytes()).collect());
            }
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        Digest::tagged("prover/job", &parts)
    }
}

/// How far a running job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, for people: `witness`, for instance.
    pub step: &'static str,
    /// How much of the job is done, 0 to 1000. It never falls while a job runs.
    pub thousandths: u16,
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of error.
    pub kind: ErrorKind,
    /// The error in words. No private number is in it.
    pub what: String,
}

impl Failure {
    /// What to do about it: a job that is refused fails again, one to retry may not.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        Error::new(self.kind, "").disposition()
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), what: error.to_string() }
    }
}

/// A job's state: `Waiting → Running → Proved | Failed | Cancelled`, and back to `Waiting` by a retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for a thread.
    Waiting,
    /// It is being proved.
    Running(Progress),
    /// Done: the proof.
    Proved(Vec<u8>),
    /// It failed.
    Failed(Failure),
    /// It was cancelled.
    Cancelled,
}

impl State {
    /// Whether the job has ended.
    #[must_use]
    pub const fn ended(&self) -> bool {
        matches!(self, Self::Proved(_) | Self::Failed(_) | Self::Cancelled)
    }
}

/// What a proof is said to show. All of it is public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The proof system's name.
    pub system: String,
    /// The circuit's verifying key, in the system's form ([`crate::Prover::verifying_key`]). Whoever verifies takes
    /// it from where they trust it, never from whoever brings the proof.
    pub verifying_key: Vec<u8>,
    /// The public numbers, in the circuit's order.
    pub public: Vec<Scalar>,
    /// The proof.
    pub proof: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signals(list: &[(&str, &[u128])]) -> Signals {
        let mut signals = Signals::default();
        for (name, values) in list {
            signals.push(name, values.iter().map(|v| Scalar::from_u128(*v)).collect()).unwrap();
        }
        signals
    }

    #[test]
    fn the_digest_covers_everything() {
        let job = Job {
            system: "s".into(),
            artefacts: ArtefactSet::from([("key".into(), Digest::of(b"1"))]),
            public: signals(&[("a", &[1]), ("b", &[2])]),
            private: signals(&[("c", &[3])]),
        };
        let mut others = vec![job.clone(); 7];
        others[0].system = "t".into();
        others[1].artefacts.insert("key".into(), Digest::of(b"2"));
        others[2].artefacts.insert("wasm".into(), Digest::of(b"1"));
        others[3].public = signals(&[("a", &[1, 2])]);
        others[4].public = signals(&[("a", &[1])]);
        others[4].private = signals(&[("b", &[2]), ("c", &[3])]);
        others[5].private = signals(&[("c", &[4])]);
        others[6].public = signals(&[("b", &[2]), ("a", &[1])]);
        for other in &others {
            assert_ne!(other.digest(), job.digest(), "{other:?}");
        }
        assert_eq!(job.clone().digest(), job.digest());
    }
}
