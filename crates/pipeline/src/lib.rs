//! The order of the rooms: the only crate that knows it.
//!
//! ```text
//! endpoint ─▶ wallet ─▶ storage ─▶ consensus ─▶ engine ─▶ attest ─┬─▶ outbox
//! Received    Verified   Stored     Ordered      Executed   Attested  │   side effects
//!    ▲                      │                                        └─▶ prover ─▶ chain
//!    └──── ack, once ───────┘                                            Proven    Settled
//! ```
//!
//! **Takes** the rooms of one node ([`Parts`]); **gives** a [`Pipeline`] that runs them and answers questions
//! about what went through.
//!
//! # Invariants
//! - No backend is named here: everything is behind a room's trait.
//! - Storage is the hand-over point. After it, channels carry wake-ups only; every stage reads from its own
//!   cursor, so a restart goes on where the crash was. What one stage has just read the next need not read
//!   again: a bounded memory of that is a shortcut, and may be empty at any time.
//! - A project that fails is halted alone; the node stops only when what all share is no longer trusted.
//! - Every queue is bounded: endpoints by what they let in flight, the driver's by 64 inputs.

mod apply;
mod call;
mod canary;
mod chains;
mod compare;
mod control;
mod counters;
mod crew;
mod error;
mod events;
mod guest_counts;
mod handover;
mod lanes;
mod live;
mod node;
mod parts;
mod probe;
mod project;
mod reading;
mod recent;
mod registry;
mod removal;
mod replay;
mod segment;
mod sessions;
mod settle;
mod stage_admit;
mod stage_execute;
mod stage_order;
mod stage_outbox;
mod trigger;
mod versions;
mod view;
mod waiters;

pub use canary::{CanaryLimits, CanaryStatus};
pub use compare::{Difference, Field};
pub use control::ControlOutcome;
pub use error::{Error, ErrorKind};
pub use node::Pipeline;
pub use parts::{ChainParts, OpenScratch, OpenWal, Options, Parts};
pub use probe::{NoProbe, POINTS, Probe};
pub use project::GuestLog;
pub use recent::{RecentMessage, RecentRefusal};
pub use removal::UnderWay;
pub use replay::{ReplayRequest, ReplayState, ReplayStatus};
pub use sessions::SessionOptions;
pub use settle::{
    FeeAccount, GuestTransaction, Landed, ProofProgress, SendState, Settlement, SettlementState,
};
pub use trigger::TriggerStatus;
pub use versions::VersionView;
pub use view::{BlockView, DeviceView, ProjectStatus, ReceiptContent};
