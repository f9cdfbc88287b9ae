//! Where a prover is tested.

use std::sync::Arc;

use w3bstream_types::Digest;

use super::broken::{Broken, Fault};
use crate::{Circuit, FieldElement, Job, MemoryArtefacts, MemoryProver, Prover, TOY};

/// Makes provers under test, and work for them.
pub trait Place: Sync {
    /// A fresh prover without jobs, in which at most [`Self::queue`] jobs wait.
    fn open(&self) -> Arc<dyn Prover>;

    /// How many jobs may wait; from 2 to 8.
    fn queue(&self) -> usize;

    /// The circuit's artefacts.
    fn artefacts(&self) -> Arc<MemoryArtefacts>;

    /// A job that can be proven. Jobs with different `n`, 0 to 15, have different ids; 0 and 1 have as many public
    /// numbers, but others, and different signals.
    fn job(&self, n: u8) -> Job;

    /// A job of which the signals do not satisfy the circuit.
    fn unsatisfied(&self) -> Job;

    /// Texts that show a private number of [`Self::unsatisfied`] or of job 0.
    fn secrets(&self) -> Vec<String>;
}

/// A place for [`MemoryProver`].
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryPlace;

const PROGRAM: &[u8] = b"a program of the toy system";
const KEY: &[u8] = b"a key of the toy system";
const SECRET: u128 = 123_454_321;
const QUEUE: usize = 3;

impl MemoryPlace {
    fn job_of(n: u8, x: FieldElement, y: FieldElement) -> Job {
        let n = FieldElement::from(u128::from(n));
        Job {
            id: Digest::tagged("w3b/toy-job", &[&n.to_be_bytes(), &y.to_be_bytes()]),
            circuit: Circuit { system: TOY.into(), witness: Digest::of(PROGRAM), key: Digest::of(KEY) },
            public: vec![y, n],
            inputs: vec![("y".into(), vec![y]), ("n".into(), vec![n]), ("x".into(), vec![x])],
        }
    }
}

impl Place for MemoryPlace {
    fn open(&self) -> Arc<dyn Prover> {
        Arc::new(MemoryProver::new(QUEUE))
    }

    fn queue(&self) -> usize {
        QUEUE
    }

    fn artefacts(&self) -> Arc<MemoryArtefacts> {
        let artefacts = MemoryArtefacts::new();
        artefacts.put(PROGRAM);
        artefacts.put(KEY);
        Arc::new(artefacts)
    }

    fn job(&self, n: u8) -> Job {
        let x = FieldElement::from(SECRET + u128::from(n));
        Self::job_of(n, x, x.negated())
    }

    fn unsatisfied(&self) -> Job {
        Self::job_of(99, FieldElement::from(SECRET), FieldElement::from(1))
    }

    fn secrets(&self) -> Vec<String> {
        vec![SECRET.to_string(), format!("{SECRET:x}")]
    }
}

/// A place for a broken prover.
#[derive(Clone, Copy, Debug)]
pub struct BrokenPlace(pub Fault);

impl Place for BrokenPlace {
    fn open(&self) -> Arc<dyn Prover> {
        let queue = if self.0 == Fault::Unbounded { usize::MAX } else { QUEUE };
        Arc::new(Broken::new(self.0, MemoryProver::new(queue), MemoryPlace.artefacts()))
    }

    fn queue(&self) -> usize {
        MemoryPlace.queue()
    }

    fn artefacts(&self) -> Arc<MemoryArtefacts> {
        MemoryPlace.artefacts()
    }

    fn job(&self, n: u8) -> Job {
        MemoryPlace.job(n)
    }

    fn unsatisfied(&self) -> Job {
        MemoryPlace.unsatisfied()
    }

    fn secrets(&self) -> Vec<String> {
        MemoryPlace.secrets()
    }
}
