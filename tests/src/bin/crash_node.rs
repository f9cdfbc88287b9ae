//! The reference node, killed at the hand-over that the environment names.

use std::process::ExitCode;
use std::sync::Arc;

use w3bstream_node::Registry;
use w3bstream_tests::Killer;

fn main() -> ExitCode {
    let stock = Registry::stock();
    w3bstream_node::main(match Killer::from_env() {
        Some(killer) => stock.with_probe(Arc::new(killer)),
        None => stock,
    })
}
