//! A project's SQL database: SQLite, held to what gives the same on every node.
//!
//! ```text
//! block ─▶ session ─▶ savepoint per call ─▶ statements ─▶ rows changed, with their digests ─▶ state root
//!                         └─ log of statements ─▶ state.db, with the block's result ─▶ commit here
//! ```
//!
//! # Invariants
//! - What a statement answers, what it changes and what it costs depends on the database's contents, the statement and the
//!   budget alone: [`policy`] admits nothing else, and the version of SQLite is the ABI's.
//! - Every change of a row is seen, with its new contents: [`rows`] has triggers on every table.
//! - The height stands in the same transaction as the changes. The log of a block is in `state.db` before they are
//!   committed, and stays there until they have reached the disk: [`room`] does again what a crash took.

mod policy;
mod room;
mod rows;
mod run;
mod tables;

pub(crate) use room::{Rooms, store};

#[cfg(test)]
mod tests;
