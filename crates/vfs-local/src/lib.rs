//! Programs and state on the local disk.
//!
//! **Takes** a folder; **gives** a [`Vfs`](w3bstream_vfs::Vfs): programs as files named by their digest,
//! everything else in one SQLite database.
//!
//! ```text
//! <dir>/programs/3f/3f9a…   a program, complete or not there
//! <dir>/state.db            entries, tree nodes, results, index of messages, logs of SQL
//! <dir>/sql/3f9a….db        a project's own database, if it declares one
//! ```
//!
//! # Invariants
//! - A program is renamed into place after it was synced, and checked against its digest on every read.
//! - A block is one transaction: entries, nodes, result and index of a height are all there or none is.
//! - A project's database has the height of its last block in it, and is brought up to the state's height from the log
//!   that stands in the block's transaction. It is SQLite of one version, with what is not deterministic closed.
//! - The database is made by this crate's schema; one of a newer version is refused and not touched.
//!
//! It has threads of its own (those of [`w3bstream_sqlite::Database`]) and needs no async runtime. Only one
//! process may have a folder open.

mod config;
mod error;
mod local;
mod programs;
mod schema;
mod sql;
mod state;

pub use config::Config;
pub use local::LocalVfs;
