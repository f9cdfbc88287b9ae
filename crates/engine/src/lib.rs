//! Room: program and event to outputs.
//!
//! **Takes** a module and an event; **gives** an [`Outcome`]: the handler's code, writes, outputs, gas.
//!
//! # Invariants
//! - Deterministic: the same module, call and state give the same outcome, gas included, on every engine.
//!   Every engine runs the output of one instrumentation pass ([`instrument`]), which counts gas and stack
//!   and canonicalises NaNs; every engine shares the host functions of [`abi`].
//! - A fresh instance per event: a guest's globals and memory never outlive a call.
//! - A call that fails changes nothing: its writes and outputs are dropped; only gas and logs remain.
//! - No clock, no randomness, no network, no host file reaches a guest.
//! - No panic is reachable from a module, however hostile.
//!
//! # Implementing this room
//! Implement [`Engine`] and [`Module`] over [`abi`], and run the kit of feature `conformance`.

pub mod abi;
#[cfg(feature = "conformance")]
pub mod conformance;
mod engine;
mod error;
pub mod instrument;
pub mod tools;

pub use engine::{
    Call, Caused, Cut, Engine, EngineStats, GuestError, HostState, LogLine, Module, Outcome, Source, Uses,
};
pub use error::{Error, ErrorKind};

/// Version of the guest ABI together with the gas table and the version of SQLite. Part of a subnet's genesis.
///
/// 1: without databases. 2: with them, by SQLite 3.54.1 ([`w3bstream_types::SQLITE_VERSION`]), and the system API. 3: with
/// events between handlers, and answers.
pub const ABI_VERSION: u64 = 3;
