//! The kit on wasmer, and what compiled code could do to this process.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use w3bstream_engine::Engine;
use w3bstream_engine::conformance::broken::{Broken, Fault};
use w3bstream_engine::conformance::compare::{Plan, compare};
use w3bstream_engine::conformance::{run_all, second::Interpreter};
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};

mod kit {
    use super::*;

    w3bstream_engine::engine_conformance!(|| Arc::new(WasmerEngine::new(&WasmerConfig::default())));
}

mod native {
    use super::*;

    w3bstream_engine::engine_native!(|instances, cache_entries| Arc::new(WasmerEngine::new(&WasmerConfig {
        instances,
        cache_entries
    })));
}

fn engine() -> Arc<dyn Engine> {
    Arc::new(WasmerEngine::new(&WasmerConfig::default()))
}

#[test]
fn the_kit_finds_faults_of_a_broken_wasmer() {
    for fault in [Fault::GasOffByOne, Fault::RemembersWrites] {
        let broken: Arc<dyn Engine> = Arc::new(Broken::new(engine(), fault));
        assert!(run_all(&broken).is_err(), "{fault:?} was not found");
    }
}

#[test]
fn wasmer_twice_and_the_interpreter_agree() {
    let engines = [engine(), engine(), Arc::new(Interpreter::new()) as Arc<dyn Engine>];
    let plan = Plan { seed: 1_000, programs: 225, blocks: 3, events: 3, gas: 150_000 };
    let seen = compare(&engines, &plan).unwrap_or_else(|why| panic!("{why}"));
    println!("{seen:?}");
    // Not vacuous: all kinds of ends, and effects, were compared often enough.
    assert!(seen.programs >= 200 && seen.blocks >= 500, "{seen:?}");
    assert!(seen.returned >= 500 && seen.trapped >= 200 && seen.out_of_gas >= 50, "{seen:?}");
    assert!(seen.overflowed >= 5 && seen.writes >= 100 && seen.outputs >= 50, "{seen:?}");
}
