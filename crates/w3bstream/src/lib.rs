//! What an integrator needs, in one place.
//!
//! A node of one's own is ten lines: the stock registry, and what is different.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use std::sync::Arc;
//!
//! use w3bstream::node::{Registry, StorageContext};
//! use w3bstream::storage::{MemoryStorage, Storage};
//!
//! fn mine(_: StorageContext<'_>) -> anyhow::Result<Arc<dyn Storage>> {
//!     Ok(Arc::new(MemoryStorage::new()))
//! }
//!
//! fn main() -> ExitCode {
//!     w3bstream::node::main(Registry::stock().with_storage("mine", mine))
//! }
//! ```
//!
//! with `[storage] kind = "mine"` in `node.toml`. Whoever brings a storage backend depends on
//! `w3bstream-storage` alone; this crate is for those who compose.
//!
//! # Invariants
//! - Nothing is defined here. Each module is a crate under a shorter name.

pub use w3bstream_chain as chain;
pub use w3bstream_consensus as consensus;
pub use w3bstream_endpoint as endpoint;
pub use w3bstream_engine as engine;
pub use w3bstream_journal as journal;
pub use w3bstream_node as node;
pub use w3bstream_pipeline as pipeline;
pub use w3bstream_prover as prover;
pub use w3bstream_storage as storage;
pub use w3bstream_tasks as tasks;
pub use w3bstream_types as types;
pub use w3bstream_verify as verify;
pub use w3bstream_vfs as vfs;
pub use w3bstream_wallet as wallet;
pub use w3bstream_wire as wire;

#[cfg(test)]
mod tests {
    #[test]
    fn the_facade_gives_one_set_of_types() {
        // If two versions of a crate were re-exported, this would not compile.
        let digest: crate::types::Digest = w3bstream_types::Digest::of(b"x");
        assert_eq!(digest.to_string().len(), 64);
    }
}
