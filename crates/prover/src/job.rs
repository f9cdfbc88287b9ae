//! What is asked of a prover, and how far it is.

use std::fmt;

use w3bstream_types::{Digest, Disposition, Settlement};

use crate::{ArtefactSet, Error, ErrorKind, Scalar, Signals, private_signals, public_signals};

/// The role of the program that computes a witness, in an [`ArtefactSet`].
pub const WITNESS: &str = "witness";
/// The role of a proving key, in an [`ArtefactSet`].
pub const KEY: &str = "key";

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
    /// The job of proving a statement: public numbers from its fields, private ones from the JSON that the guest
    /// stored under [`Settlement::private_key`], both under the circuit's names.
    ///
    /// # Errors
    /// [`ErrorKind::BadInput`] if one of them is not in its only form, a name is both public and private, or
    /// statements of this kind are not proven; [`ErrorKind::TooLarge`].
    pub fn new(settlement: &Settlement, statement: &[u8], private: &[u8]) -> Result<Self, Error> {
        let Some(rule) = &settlement.proof else {
            let what = format!("the settlement {} has no proof in the manifest", settlement.name);
            return Err(Error::new(ErrorKind::BadInput, what));
        };
        let public = public_signals(&settlement.fields, statement)?;
        let private = private_signals(private)?;
        if let Some(both) = public.iter().find(|signal| private.get(&signal.name).is_some()) {
            let what = format!("{} is in the statement, so it must not be among the private inputs", both.name);
            return Err(Error::new(ErrorKind::BadInput, what));
        }
        let artefacts = [(WITNESS, rule.witness), (KEY, rule.key)].map(|(role, digest)| (role.to_owned(), digest));
        Ok(Self { system: rule.system.clone(), artefacts: artefacts.into(), public, private })
    }

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
    use w3bstream_types::{Address, ProofRule};

    use super::*;

    fn signals(list: &[(&str, &[u128])]) -> Signals {
        let mut signals = Signals::default();
        for (name, values) in list {
            signals.push(name, values.iter().map(|v| Scalar::from_u128(*v)).collect()).unwrap();
        }
        signals
    }

    #[test]
    fn a_job_is_made_of_settlement_statement_and_private_inputs() {
        let proof = ProofRule {
            system: "groth16-bn254".into(),
            witness: Digest::of(b"w"),
            key: Digest::of(b"k"),
            private: "witness/{x}".into(),
        };
        let mut settlement = Settlement {
            name: "day".parse().unwrap(),
            chain_id: 1,
            executor: Address::from_bytes([1; 20]),
            contract: Address::from_bytes([2; 20]),
            fields: vec!["uint8 x".parse().unwrap()],
            proof: Some(proof.clone()),
        };
        let mut statement = [0; 32];
        statement[31] = 9;
        let job = Job::new(&settlement, &statement, br#"{"salt":"12345"}"#).unwrap();
        assert_eq!(job.public.get("x"), Some(&[Scalar::from_u128(9)][..]));
        assert_eq!((&job.artefacts[WITNESS], &job.artefacts[KEY]), (&proof.witness, &proof.key));
        assert!(!format!("{job:?}").contains("12345"), "{job:?}");
        for (statement, private) in [
            (&statement[..], &br#"{"salt":"1","x":"9"}"#[..]),
            (&statement[..31], br#"{"salt":"1"}"#),
            (&[1; 32], br#"{"salt":"1"}"#),
            (&statement[..], b"salt"),
        ] {
            assert_eq!(Job::new(&settlement, statement, private).unwrap_err().kind(), ErrorKind::BadInput);
        }
        settlement.proof = None;
        assert!(Job::new(&settlement, &statement, br#"{"salt":"1"}"#).is_err());
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
