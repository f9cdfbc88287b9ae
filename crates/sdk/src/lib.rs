//! Guest SDK for Rust applets: a safe interface over the `ws` functions that a node gives to a module.
//!
//! An applet is a set of *handlers*, functions `fn(Event) -> Result<(), Error>` with the attribute [`handler`]. The project's
//! manifest says which event type goes to which handler. A handler reads its [`Event`], keeps state in [`kv`] or in [`sql`], and asks for
//! side effects, which the node performs after the block has been agreed on: [`mqtt::publish`],
//! [`metrics::submit`], [`settle::submit`], [`contract::send`], [`events::send`]. Contracts are read with [`contract::call`].
//!
//! ```
//! use w3bstream_sdk::{Error, Event, handler, json::Object, kv, log};
//!
//! /// Keeps the highest value that was ever seen.
//! #[handler]
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
//! A handler may also take the payload as `Vec<u8>` or `String`, or any type that is a [`FromEvent`]; it may answer who waits, with
//! a [`Reply`]; and its error may be any that becomes an [`Error`]:
//!
//! ```
//! use w3bstream_sdk::{Error, Event, FromEvent, handler, json::Object};
//!
//! struct Reading {
//!     value: i64,
//! }
//!
//! impl FromEvent for Reading {
//!     fn from_event(event: Event) -> Result<Self, Error> {
//!         Ok(Self { value: Object::parse(event.data())?.i64("value")? })
//!     }
//! }
//!
//! #[handler("judge")]
//! fn judged(reading: Reading) -> Result<&'static str, &'static str> {
//!     if reading.value < 0 { Err("below zero") } else { Ok("fine") }
//! }
//!
//! # fn main() {
//! let mut host = w3bstream_sdk::mock::Host::new();
//! assert_eq!(host.call(judged, "reading", br#"{"value":7}"#).answer.as_deref(), Some(&b"fine"[..]));
//! assert_eq!(host.call(judged, "reading", br#"{"value":-7}"#).logs[0].text, "below zero");
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
// The attribute names this crate as its users do.
extern crate self as w3bstream_sdk;

pub mod api;
#[cfg(target_arch = "wasm32")]
mod bump;
pub mod contract;
pub mod env;
mod error;
mod event;
pub mod events;
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
pub mod resource;
pub mod settle;
pub mod sql;

#[cfg(not(target_arch = "wasm32"))]
use mock::host;

pub use error::Error;
pub use event::{Event, FromEvent, Reply, Source};
pub use w3bstream_sdk_macros::handler;

/// What the macros of this crate expand to. Not for direct use; it may change in any version.
#[doc(hidden)]
pub mod rt {
    #[cfg(target_arch = "wasm32")]
    pub use crate::bump::Bump;
    pub use crate::event::run;
    #[cfg(target_arch = "wasm32")]
    pub use crate::host::{guest_alloc, panicked};
}
