//! The kit that every prover is held against.
//!
//! Write a [`Place`] that opens your prover and makes jobs for it, and put one line into your tests:
//!
//! ```
//! w3bstream_prover::prover_conformance!(w3bstream_prover::conformance::MemoryPlace);
//! ```
//!
//! It emits one `#[test]` for each property. [`broken`] are provers with one fault each; the kit must find all of them.

pub mod broken;
mod jobs;
mod place;
mod proofs;

use std::fmt;

#[doc(hidden)]
pub use pollster::block_on;

pub use jobs::{
    a_cancelled_job_can_be_had_again, a_forgotten_job_is_unknown, a_full_queue_says_so,
    many_may_wait_for_one_job, nothing_works_once_closed, submitting_again_changes_nothing,
    what_no_prover_takes_is_refused,
};
pub use place::{MemoryPlace, Place};
pub use proofs::{
    a_job_becomes_a_proof, a_proof_is_of_its_public_numbers, artefacts_are_checked,
    changed_proofs_are_refused, nothing_private_is_shown, what_does_not_hold_fails_for_good,
};

/// A promise that a prover does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}

impl Violation {
    /// In words.
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// What a property says.
pub type Verdict = Result<(), Violation>;

/// A property of the kit. It blocks its thread.
pub type Property = fn(&dyn Place) -> Verdict;

/// Every property with its name.
pub const PROPERTIES: [(&str, Property); 13] = [
    ("a_job_becomes_a_proof", a_job_becomes_a_proof),
    ("a_proof_is_of_its_public_numbers", a_proof_is_of_its_public_numbers),
    ("changed_proofs_are_refused", changed_proofs_are_refused),
    ("what_does_not_hold_fails_for_good", what_does_not_hold_fails_for_good),
    ("artefacts_are_checked", artefacts_are_checked),
    ("nothing_private_is_shown", nothing_private_is_shown),
    ("submitting_again_changes_nothing", submitting_again_changes_nothing),
    ("a_full_queue_says_so", a_full_queue_says_so),
    ("a_cancelled_job_can_be_had_again", a_cancelled_job_can_be_had_again),
    ("a_forgotten_job_is_unknown", a_forgotten_job_is_unknown),
    ("many_may_wait_for_one_job", many_may_wait_for_one_job),
    ("what_no_prover_takes_is_refused", what_no_prover_takes_is_refused),
    ("nothing_works_once_closed", nothing_works_once_closed),
];

/// Emits one `#[test]` for each property of the kit; takes an expression that gives a
/// [`Place`](crate::conformance::Place).
#[macro_export]
macro_rules! prover_conformance {
    ($place:expr) => {
        $crate::prover_conformance!(@each $place;
            a_job_becomes_a_proof,
            a_proof_is_of_its_public_numbers,
            changed_proofs_are_refused,
            what_does_not_hold_fails_for_good,
            artefacts_are_checked,
            nothing_private_is_shown,
            submitting_again_changes_nothing,
            a_full_queue_says_so,
            a_cancelled_job_can_be_had_again,
            a_forgotten_job_is_unknown,
            many_may_wait_for_one_job,
            what_no_prover_takes_is_refused,
            nothing_works_once_closed,
        );
    };
    (@each $place:expr; $($property:ident,)+) => {
        $(#[test]
        fn $property() -> $crate::conformance::Verdict {
            $crate::conformance::$property(&$place)
        })+
    };
}

/// A violation unless it holds.
fn hold(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation(why())) }
}

/// The value, or a violation that says what was tried.
fn works<T>(what: &str, result: Result<T, crate::Error>) -> Result<T, Violation> {
    result.map_err(|e| Violation(format!("{what}: {e}")))
}

/// A violation unless it is an error of this kind.
fn refused<T>(what: &str, kind: crate::ErrorKind, result: Result<T, crate::Error>) -> Verdict {
    match result {
        Ok(_) => Err(Violation(format!("{what} succeeded; it must be refused as {kind:?}"))),
        Err(e) => {
            hold(e.kind() == kind, || format!("{what} is refused as {:?}, not {kind:?}: {e}", e.kind()))
        }
    }
}
