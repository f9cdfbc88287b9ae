//! The kit against the reference, and against provers that are broken on purpose.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use w3bstream_prover::conformance::broken::{BrokenPlace, Fault};
use w3bstream_prover::conformance::{MemoryPlace, PROPERTIES};

mod memory {
    use super::MemoryPlace;

    w3bstream_prover::prover_conformance!(MemoryPlace);
}

fn noticed_by(fault: Fault) -> Vec<&'static str> {
    let failing = PROPERTIES.iter().filter(|(_, property)| property(&BrokenPlace(fault)).is_err());
    failing.map(|(name, _)| *name).collect()
}

#[test]
fn every_fault_is_noticed_by_the_property_that_is_for_it() {
    assert_eq!(noticed_by(Fault::None), Vec::<&str>::new());
    for fault in Fault::ALL {
        let expected = match fault {
            Fault::None => continue,
            Fault::RefusesGood | Fault::ForgetsDone => "a_job_becomes_a_proof",
            Fault::IgnoresProof => "changed_proofs_are_refused",
            Fault::IgnoresPublic => "a_proof_is_of_its_public_numbers",
            Fault::ProvesAnything | Fault::IgnoresPublicOfJob | Fault::FailsForAWhile => {
                "what_does_not_hold_fails_for_good"
            }
            Fault::UncheckedArtefacts => "artefacts_are_checked",
            Fault::PrintsInputs => "nothing_private_is_shown",
            Fault::Replaces => "submitting_again_changes_nothing",
            Fault::Unbounded | Fault::KeepsRefused => "a_full_queue_says_so",
            Fault::CancelsNothing | Fault::CancelsDone => "a_cancelled_job_can_be_had_again",
            Fault::ForgetsNothing => "a_forgotten_job_is_unknown",
            Fault::AnySystem => "what_no_prover_takes_is_refused",
            Fault::NeverCloses | Fault::ClosesOnce => "nothing_works_once_closed",
        };
        let noticed = noticed_by(fault);
        assert!(noticed.contains(&expected), "{fault:?} was noticed by {noticed:?} alone");
    }
}
