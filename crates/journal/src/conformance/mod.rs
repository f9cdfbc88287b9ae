//! The kit that every journal is held against.
//!
//! Each property is a public async function that opens the journal at a fresh [`Place`], uses it, opens it
//! again where that matters, and says what is wrong. It needs no async runtime; a backend that does passes
//! its own `block_on` to the macro.
//!
//! In a backend's tests, [`journal_conformance!`](crate::journal_conformance) emits one `#[test]` for each
//! property. Here is the same as a loop:
//!
//! ```
//! use std::sync::Arc;
//! use w3bstream_journal::conformance::{PROPERTIES, Place, block_on};
//! use w3bstream_journal::{Error, Journal, MemoryJournal, async_trait};
//!
//! #[derive(Default)]
//! struct Here(MemoryJournal);
//!
//! #[async_trait]
//! impl Place for Here {
//!     async fn open(&self) -> Result<Arc<dyn Journal>, Error> {
//!         Ok(Arc::new(self.0.reopen()))
//!     }
//! }
//!
//! for property in PROPERTIES {
//!     block_on(property.check(&Here::default())).expect(property.name);
//! }
//! ```
//!
//! [`faulty`] are journals that are broken on purpose; the kit must fail each.

mod batch;
mod durable;
pub mod faulty;
pub mod fixtures;
mod lists;
mod once;
mod reference;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
#[doc(hidden)]
pub use pollster::block_on;

pub use batch::{a_batch_is_applied_whole_or_not_at_all, later_writes_of_a_batch_see_earlier_ones};
pub use durable::{a_closed_journal_refuses_everything, survives_an_end_without_close, survives_close};
pub use lists::{
    halts_are_set_and_lifted, pending_controls_are_those_not_ordered, records_are_set_listed_and_removed,
    side_effects_stay_until_they_are_done,
};
pub use once::{
    attestations_are_written_once, blocks_are_written_once_and_without_gap, cursors_never_go_back,
    entries_are_found_where_they_were_ordered_first, geneses_are_written_once, nothing_is_there_at_first,
};
pub use reference::{follows_the_reference, follows_the_reference_from};

use crate::{Error, Journal};

/// Where a journal's data are. Every property gets one of its own, without data.
#[async_trait]
pub trait Place: Send + Sync {
    /// Opens the journal at this place. Opening it again, after the handle before was closed or dropped, is
    /// the restart of the process: a persistent journal must find every batch that it has committed.
    ///
    /// # Errors
    /// Those of the backend.
    async fn open(&self) -> Result<Arc<dyn Journal>, Error>;
}

/// In what way a journal breaks its contract.
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
        macro_rules! journal_conformance {
            ($place:expr) => {
                $crate::journal_conformance!($place, $crate::conformance::block_on);
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
    nothing_is_there_at_first,
    geneses_are_written_once,
    blocks_are_written_once_and_without_gap,
    attestations_are_written_once,
    cursors_never_go_back,
    entries_are_found_where_they_were_ordered_first,
    a_batch_is_applied_whole_or_not_at_all,
    later_writes_of_a_batch_see_earlier_ones,
    pending_controls_are_those_not_ordered,
    side_effects_stay_until_they_are_done,
    halts_are_set_and_lifted,
    records_are_set_listed_and_removed,
    survives_close,
    survives_an_end_without_close,
    a_closed_journal_refuses_everything,
    follows_the_reference,
}
