//! Room: arrivals and acknowledgements.
//!
//! **Takes** bytes from devices; **gives** [`Arrival`]s: what was received, and the handle that answers it.
//!
//! # Invariants
//! - An endpoint never judges identity, never looks into a payload, never writes a record.
//! - Exactly one answer leaves for each arrival, and it is positive only if [`Ack::accept`] was called.
//!   An [`Ack`] that is dropped (a panic, a cancelled task) answers with a transient refusal.
//! - Acks may complete out of order; the protocol's own side restores the order that its standard asks for.
//! - At most the configured number of arrivals is in flight; beyond it the endpoint stops reading.
//!
//! # Implementing this room
//! Implement [`Endpoint`], hold the conformance kit's builder against it (feature `conformance`), and register
//! it with the node's builder. [`MemoryEndpoint`] is the readable reference.

mod ack;
#[cfg(feature = "conformance")]
pub mod conformance;
mod endpoint;
mod error;
mod feed;
mod gate;
mod memory;
mod sessions;

pub use ack::{Ack, Answer};
pub use async_trait::async_trait;
pub use endpoint::{Arrival, Endpoint, MessageLife, Publication, Publisher, Query, SharedQuery};
pub use error::{Error, ErrorKind};
pub use feed::{Feed, FeedFilter, Heard, Listener, LiveChange};
pub use gate::{Access, Credentials, Gate, OpenGate, Principal, SharedGate, Vouched, covers};
pub use memory::{MemoryClient, MemoryEndpoint};
pub use sessions::{Challenge, NoSessions, OpenedSession, Sessions, SharedSessions};
