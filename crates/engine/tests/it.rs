//! The kit on its own second engine, and on engines that are broken.

use std::sync::Arc;

use w3bstream_engine::Engine;
use w3bstream_engine::conformance::agree::agree;
use w3bstream_engine::conformance::broken::{Broken, Fault};
use w3bstream_engine::conformance::compare::{Plan, compare};
use w3bstream_engine::conformance::{PROPERTIES, run_all, second::Interpreter};

mod interpreter {
    use super::*;

    w3bstream_engine::engine_conformance!(|| Arc::new(Interpreter::new()));
}

/// What finds each fault. A fault that more finds is fine; one that nothing finds is a hole in the kit.
const FOUND_BY: [(Fault, &str); 9] = [
    (Fault::GasOffByOne, "gas_is_exact"),
    (Fault::OneCost, "multiplications_cost_one"),
    (Fault::RoundsFloats, "floats_are_exact"),
    (Fault::OneRounding, "floats_are_exact"),
    (Fault::OneOrder, "outputs_keep_their_order"),
    (Fault::LeaksFailedWrites, "trap_drops_writes_and_outputs_but_not_logs"),
    (Fault::RemembersWrites, "state_does_not_leak_between_calls"),
    (Fault::DropsLogs, "trap_drops_writes_and_outputs_but_not_logs"),
    (Fault::ForgetsEvent, "event_data_reaches_the_guest"),
];

#[test]
fn every_broken_engine_is_found_out() {
    assert_eq!(FOUND_BY.map(|(fault, _)| fault), Fault::ALL);
    for (fault, by) in FOUND_BY {
        let engine: Arc<dyn Engine> = Arc::new(Broken::new(Arc::new(Interpreter::new()), fault));
        let violated = run_all(&engine).expect_err("a broken engine passed");
        assert!(violated.iter().any(|v| v.starts_with(by)), "{fault:?} violates only {violated:?}");
        assert!(violated.len() < PROPERTIES.len() / 2, "{fault:?} breaks everything: {violated:?}");
    }
}

#[test]
fn comparison_finds_broken_engines() {
    let good: Arc<dyn Engine> = Arc::new(Interpreter::new());
    let plan = Plan { seed: 0, programs: 18, blocks: 2, events: 2, gas: 100_000 };
    compare(&[good.clone(), good.clone()], &plan).expect("an engine agrees with itself");
    for fault in [Fault::GasOffByOne, Fault::RoundsFloats, Fault::LeaksFailedWrites, Fault::DropsLogs] {
        let broken: Arc<dyn Engine> = Arc::new(Broken::new(good.clone(), fault));
        let found = compare(&[good.clone(), broken], &plan).expect_err("a broken engine agrees");
        assert!(found.contains(" is not "), "{found}");
    }
}

#[test]
fn agreement_on_threads_finds_one_rounding_one_cost_and_one_order() {
    let good: Arc<dyn Engine> = Arc::new(Interpreter::new());
    let plan = Plan { seed: 0, programs: 18, blocks: 3, events: 2, gas: 60_000 };
    let seen = agree(std::slice::from_ref(&good), &plan, &[1, 2, 8]).expect("an engine agrees with itself");
    assert!(seen.programs >= 16 && seen.blocks >= 90 && seen.outputs > 0 && seen.writes > 0, "{seen:?}");
    for fault in [Fault::OneRounding, Fault::OneCost, Fault::OneOrder] {
        let broken: Arc<dyn Engine> = Arc::new(Broken::new(good.clone(), fault));
        let found = agree(&[good.clone(), broken], &plan, &[2]).expect_err("a broken engine agrees");
        assert!(found.contains("disagree") && found.contains(" is not "), "{fault:?}: {found}");
    }
}
