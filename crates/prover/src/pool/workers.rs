//! The threads that prove.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::shared::{self, Shared};
use super::table::Task;
use super::{Control, System};
use crate::{Claim, Error, ErrorKind};

pub(super) fn start<S: System>(shared: &Arc<Shared<S>>, number: usize) -> Result<(), Error> {
    shared::start(shared, format!("prover-{number}"), |shared| {
        while let Some(task) = shared.next() {
            // A panic leaves nothing behind: the task is gone, and circuits are not changed by proving.
            let outcome = catch_unwind(AssertUnwindSafe(|| prove(shared, &task)));
            let outcome = outcome.unwrap_or_else(|_| Err(panicked()));
            shared.table().end(task.id, outcome).tell();
        }
    })
}

pub(super) fn panicked() -> Error {
    Error::new(ErrorKind::Internal, "the proof system panicked; its message is in the node's log")
}

fn prove<S: System>(shared: &Shared<S>, task: &Task<S::Circuit>) -> Result<Vec<u8>, Error> {
    let control: &Control = &task.control;
    control.step("loading the circuit", 0)?;
    let circuit = shared.circuit(&task.job.artefacts, &task.material)?;
    let proof = shared.system.prove(&circuit, &task.job, control)?;
    control.step("checking the proof", 990)?;
    let claim = Claim {
        system: task.job.system.clone(),
        verifying_key: shared.system.verifying_key(&circuit)?,
        public: task.job.public.values(),
        proof,
    };
    shared.system.verify(&claim).map_err(|e| {
        Error::new(ErrorKind::Internal, "a proof that was made does not verify, so it is not given away").with_source(e)
    })?;
    Ok(claim.proof)
}
