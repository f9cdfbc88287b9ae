//! The kit that every chain is held against.
//!
//! Each property is a public async function that uses the chain at a fresh [`Place`] and says what is wrong. The
//! place has a funded key and mines when it is told to. In a backend's tests,
//! [`chain_conformance!`](crate::chain_conformance) emits one `#[test]` for each property. Here is the same as a
//! loop:
//!
//! ```
//! use w3bstream_chain::conformance::{MemoryPlace, PROPERTIES, block_on};
//!
//! for property in PROPERTIES {
//!     block_on(property.check(&MemoryPlace::new())).expect(property.name);
//! }
//! ```
//!
//! [`faulty`] are chains that are broken on purpose; the kit must fail each.

mod blocks;
mod contracts;
pub mod faulty;
pub mod fixture;
mod logs;
mod place;
mod pool;
mod receipts;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

#[doc(hidden)]
pub use pollster::block_on;

pub use blocks::{a_reorganisation_is_visible, blocks_are_linked, fees_can_be_paid, the_chain_has_one_id};
pub use contracts::{
    a_call_sees_the_state_of_its_block, reverts_are_told_with_their_data, simulated_gas_is_enough,
};
pub use logs::{logs_are_filtered, logs_of_a_range_are_whole_and_ordered};
pub use place::{MemoryPlace, Place};
pub use pool::{
    a_replacement_needs_a_higher_fee, nonces_are_counted, submitting_again_is_a_success,
    transactions_wait_for_the_nonce_before, what_cannot_be_is_refused,
};
pub use receipts::{
    a_mined_transaction_is_told, a_submitted_transaction_gets_a_receipt, raw_receipts_make_the_receipts_root,
    what_used_a_nonce_is_found,
};

use crate::{Error, ErrorKind};

/// In what way a chain breaks its contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// A failure in words.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self(format!("unexpected error ({:?}): {e}", e.kind()))
    }
}

/// Returns a [`Failure`] unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Failure::new(format!($($words)+)));
        }
    };
}
use ensure;

/// That something was refused with this kind of error.
fn refused<T>(what: &str, kind: ErrorKind, answer: Result<T, Error>) -> Result<(), Failure> {
    match answer {
        Err(e) if e.kind() == kind => Ok(()),
        Err(e) => Err(Failure::new(format!("{what} gave the error {:?}, not {kind:?}: {e}", e.kind()))),
        Ok(_) => Err(Failure::new(format!("{what} was accepted, not refused as {kind:?}"))),
    }
}

/// What a property answers.
pub type Checked<'p> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'p>>;

/// A property by its name.
#[derive(Clone, Copy)]
pub struct Property {
    /// The function's name.
    pub name: &'static str,
    run: for<'p> fn(&'p dyn Place) -> Checked<'p>,
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Property({})", self.name)
    }
}

impl Property {
    /// Runs it at a fresh place.
    #[must_use]
    pub fn check<'p>(&self, place: &'p dyn Place) -> Checked<'p> {
        (self.run)(place)
    }
}

macro_rules! properties {
    ($($name:ident,)+) => {
        /// All of them, for a backend that wants a loop instead of the macro.
        pub const PROPERTIES: &[Property] =
            &[$(Property { name: stringify!($name), run: |place| Box::pin($name(place)) },)+];

        /// Emits one `#[test]` for each property. `$place` is called for each and gives a fresh
        /// [`Place`](crate::conformance::Place); `$block_on` drives a future to its end, by default without
        /// any runtime.
        #[macro_export]
        macro_rules! chain_conformance {
            ($place:expr) => {
                $crate::chain_conformance!($place, $crate::conformance::block_on);
            };
            ($place:expr, $block_on:expr) => {
                $(
                    #[test]
                    fn $name() {
                        let place = $place();
                        if let Err(failure) = $block_on($crate::conformance::$name(&place)) {
                            panic!("{failure}");
                        }
                    }
                )+
            };
        }
    };
}

properties! {
    the_chain_has_one_id,
    blocks_are_linked,
    fees_can_be_paid,
    a_submitted_transaction_gets_a_receipt,
    submitting_again_is_a_success,
    nonces_are_counted,
    a_replacement_needs_a_higher_fee,
    transactions_wait_for_the_nonce_before,
    what_cannot_be_is_refused,
    a_call_sees_the_state_of_its_block,
    reverts_are_told_with_their_data,
    simulated_gas_is_enough,
    logs_of_a_range_are_whole_and_ordered,
    logs_are_filtered,
    a_mined_transaction_is_told,
    what_used_a_nonce_is_found,
    raw_receipts_make_the_receipts_root,
    a_reorganisation_is_visible,
}
