//! What every [`Vfs`] must do, as tests that any implementation can run.
//!
//! Write a [`Builder`] that opens your store, and put one line into your tests:
//!
//! ```
//! use w3bstream_vfs::conformance::{Builder, async_trait};
//! use w3bstream_vfs::{MemoryVfs, Vfs};
//!
//! struct Memory(MemoryVfs);
//!
//! #[async_trait]
//! impl Builder for Memory {
//!     async fn open(&self) -> Box<dyn Vfs> {
//!         Box::new(self.0.reopen())
//!     }
//! }
//!
//! w3bstream_vfs::vfs_conformance!(Memory(MemoryVfs::new()));
//! ```
//!
//! Each property works in a project of its own, so that all may share one store. The kit ships stores that
//! are [`broken`] on purpose and must find each one.

mod blocks;
pub mod broken;
mod programs;
mod reading;

use std::fmt;

pub use async_trait::async_trait;
pub use blocks::{
    a_failed_apply_changes_nothing, a_gap_in_heights_is_refused, a_model_agrees, applies_at_once_agree,
    apply_is_idempotent, results_are_kept, the_root_covers_every_namespace, the_root_is_that_of_the_entries,
    the_state_survives_a_reopen,
};
#[doc(hidden)]
pub use pollster::block_on;
pub use programs::{a_changed_program_is_noticed, programs_are_kept_by_digest, programs_survive_a_reopen};
pub use reading::{
    a_closed_store_refuses, a_new_project_is_empty, projects_are_apart, scans_are_in_order_and_complete,
};
use w3bstream_types::{Digest, MessageId, Output, OutputKind, ProjectId};

use crate::{Applied, Error, Vfs, Writes};

/// Opens the store under test.
#[async_trait]
pub trait Builder: Send + Sync {
    /// Opens the *same* store, the second time as after a restart of the process.
    async fn open(&self) -> Box<dyn Vfs>;

    /// Changes a byte of a stored program behind the store's back, and says whether it could.
    async fn damage_program(&self, digest: Digest) -> bool {
        let _ = digest;
        false
    }
}

/// A promise that the store under test does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property, by the name of its function.
    pub property: &'static str,
    /// What was seen.
    pub why: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.why)
    }
}

impl std::error::Error for Violation {}

macro_rules! properties {
    ($($name:ident),+ $(,)?) => {
        /// The properties' names.
        pub const NAMES: &[&str] = &[$(stringify!($name)),+];

        /// Runs every property.
        ///
        /// # Errors
        /// All violations that were found.
        pub async fn run_all(builder: &dyn Builder) -> Result<(), Vec<Violation>> {
            let mut found = Vec::new();
            $(
                // Boxed: the futures of all properties together would make a huge one.
                if let Err(violation) = Box::pin($name(builder)).await {
                    found.push(violation);
                }
            )+
            if found.is_empty() { Ok(()) } else { Err(found) }
        }
    };
}

properties!(
    programs_are_kept_by_digest,
    a_changed_program_is_noticed,
    programs_survive_a_reopen,
    a_new_project_is_empty,
    projects_are_apart,
    scans_are_in_order_and_complete,
    the_root_is_that_of_the_entries,
    the_root_covers_every_namespace,
    apply_is_idempotent,
    applies_at_once_agree,
    a_gap_in_heights_is_refused,
    a_failed_apply_changes_nothing,
    results_are_kept,
    the_state_survives_a_reopen,
    a_model_agrees,
    a_closed_store_refuses,
);

/// Emits one `#[test]` for each property of the kit; takes an expression that gives a
/// [`Builder`](crate::conformance::Builder), evaluated once for each.
#[macro_export]
macro_rules! vfs_conformance {
    ($builder:expr) => {
        $crate::vfs_conformance!(@each $builder;
            programs_are_kept_by_digest,
            a_changed_program_is_noticed,
            programs_survive_a_reopen,
            a_new_project_is_empty,
            projects_are_apart,
            scans_are_in_order_and_complete,
            the_root_is_that_of_the_entries,
            the_root_covers_every_namespace,
            apply_is_idempotent,
            applies_at_once_agree,
            a_gap_in_heights_is_refused,
            a_failed_apply_changes_nothing,
            results_are_kept,
            the_state_survives_a_reopen,
            a_model_agrees,
            a_closed_store_refuses,
        );
    };
    (@each $builder:expr; $($property:ident,)+) => {
        $(#[test]
        fn $property() -> Result<(), $crate::conformance::Violation> {
            let builder = $builder;
            $crate::conformance::block_on($crate::conformance::$property(&builder))
        })+
    };
}

/// The name of the property under test, and what it needs again and again.
#[derive(Clone, Copy)]
struct Probe(&'static str);

impl Probe {
    fn fail<T>(self, why: impl Into<String>) -> Result<T, Violation> {
        Err(Violation { property: self.0, why: why.into() })
    }

    fn ok<T>(self, what: &str, result: Result<T, Error>) -> Result<T, Violation> {
        result.or_else(|e| self.fail(format!("{what}: {e}")))
    }

    fn same<T: PartialEq + fmt::Debug>(self, what: &str, found: &T, wanted: &T) -> Result<(), Violation> {
        if found == wanted { Ok(()) } else { self.fail(format!("{what} is {found:?}, should be {wanted:?}")) }
    }

    fn kind<T>(
        self,
        what: &str,
        result: Result<T, Error>,
        wanted: crate::ErrorKind,
    ) -> Result<(), Violation> {
        match result {
            Ok(_) => self.fail(format!("{what} succeeds")),
            Err(e) if e.kind() == wanted => Ok(()),
            Err(e) => self.fail(format!("{what} fails with {:?} ({e}), should with {wanted:?}", e.kind())),
        }
    }

    /// A project that no other property uses.
    fn project(self, name: &str) -> ProjectId {
        ProjectId(Digest::tagged("kit/project", &[self.0.as_bytes(), name.as_bytes()]))
    }

    async fn apply(self, vfs: &dyn Vfs, project: ProjectId, applied: Applied) -> Result<Digest, Violation> {
        let height = applied.height;
        self.ok(&format!("apply of height {height}"), vfs.apply(project, applied).await)
    }
}

/// A block with these writes, one output and one message.
fn block(height: u64, writes: Writes) -> Applied {
    let id = message(height);
    let output = Output {
        kind: OutputKind::Result,
        chain_id: 0,
        target: id.digest().as_bytes().to_vec(),
        data: height.to_be_bytes().to_vec(),
    };
    Applied {
        height,
        writes,
        outputs: vec![output],
        manifest: Digest::of(&height.to_be_bytes()),
        index: vec![(id, 0, 1)],
        sql: vec![],
    }
}

/// The message of the block that [`block`] makes.
fn message(height: u64) -> MessageId {
    MessageId(Digest::tagged("kit/message", &[&height.to_be_bytes()]))
}

/// Writes that set text keys to text values, or delete them.
fn writes(changes: &[(&str, Option<&str>)]) -> Writes {
    changes.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.map(|v| v.as_bytes().to_vec()))).collect()
}

/// Numbers that look random and are the same in every run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Up to `most` random writes over a small set of keys of both namespaces' shapes, a third deletions.
    fn writes(&mut self, most: u64) -> Writes {
        let mut writes = Writes::new();
        for _ in 0..self.below(most + 1) {
            let key = vec![1 + self.below(8) as u8, self.below(32) as u8, 0xff];
            let value = (self.below(3) > 0).then(|| {
                let value = self.next().to_be_bytes();
                value[..self.below(9) as usize].to_vec()
            });
            writes.insert(key, value);
        }
        writes
    }
}

#[cfg(test)]
mod tests;
