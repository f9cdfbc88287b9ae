//! The kit that every endpoint is held against.
//!
//! Implement [`Fixture`] for the endpoint: it opens one, with a [`Device`] that speaks its protocol. Then run
//! [`run_all`], or emit one `#[test]` per property with [`endpoint_conformance!`](crate::endpoint_conformance).
//! Nothing here needs a particular executor; time limits are kept by plain threads.
//!
//! ```
//! use w3bstream_endpoint::conformance::{MemoryFixture, run_all};
//!
//! let failures = pollster::block_on(run_all(&MemoryFixture));
//! assert!(failures.is_empty(), "{failures:?}");
//! ```
//!
//! [`broken`] holds endpoints that each break one promise; the kit's own tests show that it notices.

pub mod broken;
mod fixture;
mod played;
mod properties;
mod timing;

use std::fmt;

pub use fixture::{Device, Fixture, Limits, MemoryFixture, Running, Seen, Sight, messages};
pub use played::{PlayedQuery, accepted, compact, device_key, draft, id_of, refused};
pub use properties::*;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The property, by the name of its function.
    pub property: &'static str,
    /// What was seen instead.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)
    }
}

impl std::error::Error for Failure {}

/// What a property found.
pub type Outcome = Result<(), Failure>;

macro_rules! properties {
    ($($name:ident,)+) => {
        /// The names of all properties.
        pub const PROPERTIES: &[&str] = &[$(stringify!($name)),+];

        /// Runs one property by its name.
        ///
        /// # Errors
        /// The [`Failure`], also if there is no such property.
        pub async fn run_one(fixture: &dyn Fixture, property: &'static str) -> Outcome {
            match property {
                $(stringify!($name) => $name(fixture).await,)+
                _ => Err(Failure { property, what: "there is no such property".to_owned() }),
            }
        }
    };
}

properties! {
    accepted_messages_are_accepted_once,
    nothing_is_answered_before_the_ack,
    a_permanent_refusal_blocks_nobody,
    a_transient_refusal_is_never_an_acknowledgement,
    a_dropped_ack_is_a_transient_refusal,
    in_flight_is_bounded,
    messages_are_pipelined,
    answers_keep_the_order_of_the_protocol,
    next_may_be_cancelled,
    stopping_answers_or_refuses_everything,
    closing_twice_is_closing_once,
}

/// Runs every property and gives the failures.
pub async fn run_all(fixture: &dyn Fixture) -> Vec<Failure> {
    let mut failures = Vec::new();
    for property in PROPERTIES {
        failures.extend(run_one(fixture, property).await.err());
    }
    failures
}

/// Emits one `#[test]` per property. `$block_on` is a path to a function that runs a future to its end;
/// `$fixture` an expression that gives a [`Fixture`].
#[macro_export]
macro_rules! endpoint_conformance {
    ($block_on:path, $fixture:expr) => {
        $crate::endpoint_conformance!(
            @each $block_on, $fixture,
            accepted_messages_are_accepted_once,
            nothing_is_answered_before_the_ack,
            a_permanent_refusal_blocks_nobody,
            a_transient_refusal_is_never_an_acknowledgement,
            a_dropped_ack_is_a_transient_refusal,
            in_flight_is_bounded,
            messages_are_pipelined,
            answers_keep_the_order_of_the_protocol,
            next_may_be_cancelled,
            stopping_answers_or_refuses_everything,
            closing_twice_is_closing_once,
        );
    };
    (@each $block_on:path, $fixture:expr, $($property:ident,)+) => {
        $(
            #[test]
            fn $property() {
                let outcome = $block_on(async { $crate::conformance::$property(&$fixture).await });
                if let Err(failure) = outcome {
                    panic!("{failure}");
                }
            }
        )+
    };
}
