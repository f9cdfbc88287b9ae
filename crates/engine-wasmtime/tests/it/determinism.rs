//! wasmer, wasmtime and wasmi give the same outputs, roots and gas, on any number of threads.

use std::sync::Arc;
use std::time::Instant;

use w3bstream_engine::Engine;
use w3bstream_engine::conformance::agree::agree;
use w3bstream_engine::conformance::broken::{Broken, Fault};
use w3bstream_engine::conformance::compare::Plan;
use w3bstream_engine::conformance::second::Interpreter;
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};

use super::engine;

const THREADS: [usize; 3] = [1, 2, 8];

fn all() -> [Arc<dyn Engine>; 3] {
    [Arc::new(WasmerEngine::new(&WasmerConfig::default())), engine(), Arc::new(Interpreter::new())]
}

/// `W3B_BLOCKS` says how many blocks each program runs on each partition: 4 if it is not set, 500 at night.
#[test]
fn three_engines_agree_on_all_numbers_of_threads() {
    let blocks = std::env::var("W3B_BLOCKS").map_or(4, |n| n.parse().expect("a number of blocks"));
    let plan = Plan { seed: 5_000, programs: 216, blocks, events: 1, gas: 60_000 };
    let begin = Instant::now();
    let seen = agree(&all(), &plan, &THREADS).unwrap_or_else(|why| panic!("{why}"));
    println!("{seen:?} in {:?}, nine times", begin.elapsed());
    // Not vacuous: all kinds of ends, and effects, were compared often enough.
    assert!(seen.programs >= 200 && seen.blocks >= 400 * blocks, "{seen:?}");
    assert!(seen.returned >= 100 * blocks && seen.trapped >= 50 * blocks, "{seen:?}");
    assert!(seen.out_of_gas >= 10 * blocks && seen.overflowed >= blocks, "{seen:?}");
    assert!(seen.writes >= 20 * blocks && seen.outputs >= 10 * blocks, "{seen:?}");
}

#[test]
fn one_rounding_one_cost_or_one_order_is_found() {
    let plan = Plan { seed: 5_000, programs: 18, blocks: 3, events: 2, gas: 60_000 };
    let good = engine();
    for fault in [Fault::OneRounding, Fault::OneCost, Fault::OneOrder] {
        let broken: Arc<dyn Engine> = Arc::new(Broken::new(engine(), fault));
        let why = agree(&[good.clone(), broken], &plan, &[2]).expect_err("a broken engine agrees");
        assert!(why.contains("disagree") && why.contains(" is not "), "{fault:?}: {why}");
    }
}
