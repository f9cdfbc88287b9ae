//! The kit that every storage backend is held against.
//!
//! Each property is a public async function that opens the backend at a fresh [`Place`], uses it, opens it
//! again where that matters, and says what is wrong. What a backend does not claim in its
//! [`Capabilities`](crate::Capabilities) it must answer with [`ErrorKind::Unsupported`](crate::ErrorKind);
//! the kit checks both. It needs no async runtime; a backend that does passes its own `block_on` to the macro.
//!
//! In a backend's tests, [`storage_conformance!`](crate::storage_conformance) emits one `#[test]` for each
//! property. Here is the same as a loop:
//!
//! ```
//! use std::sync::Arc;
//! use w3bstream_storage::conformance::Place;
//! use w3bstream_storage::{Error, MemoryStorage, Storage, async_trait};
//!
//! #[derive(Default)]
//! struct Here(MemoryStorage);
//!
//! #[async_trait]
//! impl Place for Here {
//!     async fn open(&self) -> Result<Arc<dyn Storage>, Error> {
//!         Ok(Arc::new(self.0.reopen()))
//!     }
//! }
//!
//! for property in w3bstream_storage::conformance::PROPERTIES {
//!     let place = Here::default();
//!     w3bstream_storage::conformance::block_on(property.check(&place)).expect(property.name);
//! }
//! ```
//!
//! [`faulty`] are backends that are broken on purpose. The kit must fail each; a kit of your own additions
//! should too.

mod append;
mod durable;
pub mod faulty;
pub mod fixtures;
mod join;
mod model;
mod scan;
mod upkeep;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
#[doc(hidden)]
pub use pollster::block_on;

pub use append::{
    conflicts_are_refused_and_kept, get_answers_in_the_order_asked, items_come_back_as_they_went_in,
    positions_rise, repeats_are_duplicates, token_events_conflict_by_their_bytes,
};
pub use durable::{
    a_closed_store_refuses_everything, positions_are_never_used_twice, survives_an_end_without_close,
    survives_close,
};
pub use model::{follows_the_model, follows_the_model_from};
pub use scan::{
    a_cursor_misses_nothing_while_others_append, concurrent_repeats_are_stored_once, filters_filter,
    pages_are_full_and_without_gap, projects_are_kept_apart,
};
pub use upkeep::{checks_find_nothing_wrong, deletes_what_is_old_and_remembers_it, stats_count};

use crate::{Error, Storage};

/// Where a store's data are. Every property gets one of its own, without data.
#[async_trait]
pub trait Place: Send + Sync {
    /// Opens the store at this place. Opening it again, after the handle before was closed or dropped, is
    /// the restart of the process: a persistent backend must find what it has acknowledged.
    ///
    /// # Errors
    /// Those of the backend.
    async fn open(&self) -> Result<Arc<dyn Storage>, Error>;
}

/// In what way a backend breaks its contract.
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
        macro_rules! storage_conformance {
            ($place:expr) => {
                $crate::storage_conformance!($place, $crate::conformance::block_on);
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
    items_come_back_as_they_went_in,
    repeats_are_duplicates,
    conflicts_are_refused_and_kept,
    token_events_conflict_by_their_bytes,
    positions_rise,
    get_answers_in_the_order_asked,
    pages_are_full_and_without_gap,
    projects_are_kept_apart,
    filters_filter,
    a_cursor_misses_nothing_while_others_append,
    concurrent_repeats_are_stored_once,
    deletes_what_is_old_and_remembers_it,
    checks_find_nothing_wrong,
    stats_count,
    survives_close,
    survives_an_end_without_close,
    positions_are_never_used_twice,
    a_closed_store_refuses_everything,
    follows_the_model,
}
