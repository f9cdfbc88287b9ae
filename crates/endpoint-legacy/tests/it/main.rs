//! The original's routes on a node that is played: what is answered when, and what the node is asked for. The same routes on
//! a real node, with handlers, are tested in tests/it/legacy.rs of the workspace.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed test panics; clippy knows test functions, not their helpers"
)]

mod answers;
mod management;
mod openapi;
mod stage;
