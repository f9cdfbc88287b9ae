use super::broken::{Broken, Fault};
use super::*;
use crate::{MemoryProver, PoolConfig, Sum};

struct Memory(SumBuilder);

#[async_trait]
impl Builder for Memory {
    async fn open(&self, artefacts: Arc<dyn Artefacts>, jobs: usize) -> Box<dyn Prover> {
        Box::new(MemoryProver::open(Sum, artefacts, PoolConfig { jobs, ..PoolConfig::default() }).unwrap())
    }

    fn files(&self) -> Vec<Vec<u8>> {
        self.0.files()
    }

    fn job(&self, number: u64) -> Job {
        self.0.job(number)
    }

    fn unprovable(&self) -> Job {
        self.0.unprovable()
    }

    fn slow(&self, number: u64) -> Job {
        self.0.slow(number)
    }
}

mod memory {
    use super::{Memory, SumBuilder};

    crate::prover_conformance!(Memory(SumBuilder));
}

#[test]
fn the_macro_names_every_property() {
    let text = include_str!("../conformance.rs");
    let list = text.split("@each $builder;").nth(1).unwrap().split(");").next().unwrap();
    for name in NAMES {
        assert!(list.contains(name), "prover_conformance! leaves out {name}");
    }
}

#[test]
fn every_broken_prover_is_found_by_the_property_that_is_about_it() {
    for fault in Fault::ALL {
        let found = block_on(run_all(&Broken::new(fault))).expect_err(&format!("{fault:?} passes"));
        let wanted = match fault {
            Fault::AcceptsAnyProof | Fault::IgnoresTrailingBytes => "a_proof_has_one_form",
            Fault::IgnoresAPublicNumber => "a_proof_is_for_its_public_numbers",
            Fault::IgnoresTheKey => "a_proof_is_for_its_key",
            Fault::TakesAnyCount => "malformed_claims_are_refused",
            Fault::TakesAnyFile => "artefacts_are_checked",
            Fault::TakesAnySystem => "systems_are_known_by_name",
            Fault::ProvesLies => "what_is_unprovable_fails",
            Fault::MixesNames => "a_job_is_named_once",
            Fault::KeepsForgotten => "a_job_that_nobody_knows_is_not_found",
            Fault::ProgressFalls => "progress_only_grows",
            Fault::LosesRetry => "a_retry_runs_again",
            Fault::LosesCancel => "a_waiting_job_is_cancelled_at_once",
            Fault::CannotStop => "a_cancelled_job_does_not_end_as_proved",
            Fault::Unbounded => "a_full_queue_refuses_and_recovers",
            Fault::ProvesInSubmit | Fault::VerifiesLast => "callers_are_not_blocked",
            Fault::SharesJobs => "a_new_prover_starts_empty",
            Fault::IgnoresClose => "a_closed_prover_refuses",
        };
        assert!(found.iter().any(|v| v.property == wanted), "{fault:?}: {found:?}");
    }
}
