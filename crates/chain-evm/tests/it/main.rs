//! The kit against a node that is played here, and against anvil; and what a node may do wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod anvil;
mod campaign;
mod encodings;
mod hardhat;
mod node;
mod server;
mod tls;
mod trouble;

use std::future::Future;

/// Drives a future with a runtime of its own.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

mod kit {
    w3bstream_chain::chain_conformance!(crate::node::NodePlace::new, crate::block_on);
}
