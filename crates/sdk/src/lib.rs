//! Guest SDK for Rust applets: a safe interface over the `ws` functions that a node gives to a module.
//!
//! An applet is a set of *handlers*, functions `fn(Event) -> Result<(), Error>`. The project's manifest says
//! which event type goes to which handler. A handler reads its [`Event`], keeps state in [`kv`] or in [`sql`], and asks for
//! side effects, which the node performs after the block has been agreed on: [`mqtt::publish`],
//! [`metrics::submit`], [`settle::submit`], [`contract::send`]. Contracts are read with [`contract::call`].
//!
//! ```
//! use w3bstream_sdk::{Error, Event, json::Object, kv, log};
//!
//! /// Keeps the highest value that was ever seen.
//! fn measured(event: Event) -> Result<(), Error> {
//!     let value = Object::parse(event.data())?.i64("value")?;
//!     let highest = kv::get_i64("highest")?.unwrap_or(i64::MIN);
//!     if value > highest {
//!         log::info!("new record: {value}");
//!         kv::set_i64("highest", value)?;
//!     }
//!     Ok(())
//! }
//!
//! w3bstream_sdk::handler!(measured);
//!
//! # fn main() {
//! // The same code runs natively, against a host in memory:
//! let mut host = w3bstream_sdk::mock::Host::new();
//! host.deliver(measured, "measured", br#"{"value":7}"#);
//! let outcome = host.deliver(measured, "measured", br#"{"value":5}"#);
//! assert_eq!(outcome.code, 0);
//! assert_eq!(host.kv_text("highest"), Some("7"));
//! # }
//! ```
//!
//! A module also needs [`runtime!`], once: it exports `alloc` and supplies the allocator and the panic
//! handler, so that the module needs no standard library.
//!
//! # What a handler may rely on
//! - Every call runs in a fresh instance: statics and memory never outlive it, [`kv`] does.
//! - There is no clock, no randomness, no file and no network. Time comes with the event.
//! - A call that traps (a panic, a limit) changes nothing: its writes and outputs are dropped, its log stays.
//! - An [`Error`] that a handler *returns* becomes the result's code; what was written before it stays.
//!   Check first, write last.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

#[cfg(target_arch = "wasm32")]
mod bump;
pub mod contract;
pub mod env;
mod error;
mod event;
#[cfg(target_arch = "wasm32")]
#[path = "wasm.rs"]
mod host;
pub mod json;
pub mod kv;
pub mod log;
mod macros;
pub mod metrics;
#[cfg(not(target_arch = "wasm32"))]
pub mod mock;
pub mod mqtt;
pub mod poseidon;
pub mod settle;
pub mod sql;

#[cfg(not(target_arch = "wasm32"))]
use mock::host;

pub use error::Error;
pub use event::{Event, Source};

/// What the macros of this crate expand to. Not for direct use; it may change in any version.
#[doc(hidden)]
pub mod rt {
    #[cfg(target_arch = "wasm32")]
    pub use crate::bump::Bump;
    pub use crate::event::run;
    #[cfg(target_arch = "wasm32")]
    pub use crate::host::{guest_alloc, panicked};
}
