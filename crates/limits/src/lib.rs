//! What endpoints bound and count in the same way, whatever they speak.
//!
//! **Takes** limits; **gives** places, shares of memory and counters that go back when they are dropped.
//!
//! # Invariants
//! - Nothing is handed out beyond its limit, and whatever was handed out comes back by `Drop`, however its holder ends.
//! - Nothing here refuses: who gets no place or share says so in its own protocol's words.

mod budget;
mod counters;
mod places;
mod queue;
mod spans;

pub use budget::{ByteBudget, InFlight, Permit};
pub use counters::{Counter, RefusalCounters};
pub use places::{Caps, Full, Place};
pub use queue::next;
pub use spans::check_spans;
// For the macro.
#[doc(hidden)]
pub use w3bstream_types as types;
