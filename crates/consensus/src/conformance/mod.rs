//! The kit that every backend is held against.
//!
//! Implement [`Builder`] for the backend and run [`run_all`], or emit one `#[test]` per property with
//! [`consensus_conformance!`](crate::consensus_conformance). The kit puts the backend behind the driver on
//! disks that crash, between hosts that execute nothing, and watches from outside, with a memory that no
//! crash touches: no two blocks for one height, no two statements for one slot, no entry ordered twice, no
//! gap. Every property also asserts that blocks were made and that its fault really happened.
//!
//! ```
//! use w3bstream_consensus::conformance::{SoloBuilder, run_all};
//!
//! let failures = run_all(&SoloBuilder);
//! assert!(failures.is_empty(), "{failures:?}");
//! ```
//!
//! [`broken`] holds backends, drivers and logs that each break one promise; the kit's own tests show that it
//! notices every one. Faults of a network and of lying members are the simulator's affair, not this kit's.

pub mod broken;
mod fixed_leader;
mod oracle;
mod properties;
mod subnet;
mod world;

use std::fmt::{self, Debug};
use std::sync::Arc;

use w3bstream_types::Timestamp;

use crate::{Action, ConsensusFactory, Driver, DriverInput, Error, MemoryDisk, Setup, Solo, factory};
pub use fixed_leader::{FixedLeader, FixedLeaderBuilder, LeaderMessage, LeaderRecord};
pub use properties::*;
pub use subnet::Subnet;

/// A driver as the kit sees it, so that broken ones can be put in its place.
pub trait Drive: Debug {
    /// [`Driver::handle_batch`].
    ///
    /// # Errors
    /// As there.
    fn handle_batch(&mut self, now: Timestamp, inputs: Vec<DriverInput>) -> Result<Vec<Action>, Error>;

    /// [`Driver::next_wake`].
    fn next_wake(&self) -> Option<Timestamp>;
}

impl Drive for Driver {
    fn handle_batch(&mut self, now: Timestamp, inputs: Vec<DriverInput>) -> Result<Vec<Action>, Error> {
        Self::handle_batch(self, now, inputs)
    }

    fn next_wake(&self) -> Option<Timestamp> {
        Self::next_wake(self)
    }
}

/// Makes what is to be tested.
pub trait Builder: Debug {
    /// The backend.
    fn factory(&self) -> Arc<dyn ConsensusFactory>;

    /// The size of the subnet.
    fn members(&self) -> u32;

    /// The backend's settings.
    fn config(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Opens one member on its disk, as at the start of a process.
    ///
    /// # Errors
    /// As [`Driver::open`].
    fn open(&self, setup: Setup, disk: &MemoryDisk) -> Result<Box<dyn Drive>, Error> {
        Ok(Box::new(Driver::open(setup, Box::new(disk.open()?))?))
    }
}

/// [`Solo`] behind the driver.
#[derive(Clone, Copy, Debug)]
pub struct SoloBuilder;

impl Builder for SoloBuilder {
    fn factory(&self) -> Arc<dyn ConsensusFactory> {
        factory::<Solo>()
    }

    fn members(&self) -> u32 {
        1
    }
}

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

macro_rules! properties {
    ($($name:ident,)+) => {
        /// The names of all properties.
        pub const PROPERTIES: &[&str] = &[$(stringify!($name)),+];

        /// Runs one property by its name.
        ///
        /// # Errors
        /// The [`Failure`], also if there is no such property.
        pub fn run_one(builder: &dyn Builder, property: &'static str) -> Result<(), Failure> {
            let result = match property {
                $(stringify!($name) => $name(builder),)+
                _ => Err("there is no such property".to_owned()),
            };
            result.map_err(|what| Failure { property, what })
        }

        /// Emits one `#[test]` per property for a [`Builder`](crate::conformance::Builder) expression.
        #[macro_export]
        macro_rules! consensus_conformance {
            ($builder:expr) => {
                $(#[test]
                fn $name() {
                    if let Err(failure) = $crate::conformance::run_one(&$builder, stringify!($name)) {
                        panic!("{failure}");
                    }
                })+
            };
        }
    };
}

properties! {
    orders_everything_once,
    survives_a_crash_anywhere,
    survives_a_crash_anywhere_while_compacting,
    survives_a_storm_of_crashes,
    repeats_commits_until_they_are_applied,
    lets_nothing_out_before_it_is_durable,
    stops_when_the_disk_fails,
    refuses_a_damaged_log,
    refuses_what_does_not_belong_together,
    is_quiet_when_idle,
    is_deterministic,
    keeps_its_log_small,
    bears_garbage,
}

/// Runs every property and gives those that failed.
#[must_use]
pub fn run_all(builder: &dyn Builder) -> Vec<Failure> {
    PROPERTIES.iter().filter_map(|p| run_one(builder, p).err()).collect()
}

#[cfg(test)]
mod tests;
