//! The kit on wasmtime, what compiled code could do to this process, the guard of time, and all engines against each other.

#![allow(clippy::disallowed_methods, reason = "tests take their numbers from the environment")]
#![allow(clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use w3bstream_engine::Engine;
use w3bstream_engine::conformance::broken::{Broken, Fault};
use w3bstream_engine::conformance::{Checked, native, run_all};
use w3bstream_engine_wasmtime::{WasmtimeConfig, WasmtimeEngine};

mod determinism;
mod guard;

mod kit {
    use super::*;

    w3bstream_engine::engine_conformance!(|| Arc::new(
        WasmtimeEngine::new(&WasmtimeConfig::default()).expect("an engine")
    ));
}

fn engine_of(config: &WasmtimeConfig) -> Arc<dyn Engine> {
    Arc::new(WasmtimeEngine::new(config).expect("an engine"))
}

fn engine() -> Arc<dyn Engine> {
    engine_of(&WasmtimeConfig::default())
}

fn holds(checked: Checked) {
    checked.unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn the_kit_finds_faults_of_a_broken_wasmtime() {
    for fault in [Fault::GasOffByOne, Fault::RemembersWrites] {
        let broken: Arc<dyn Engine> = Arc::new(Broken::new(engine(), fault));
        assert!(run_all(&broken).is_err(), "{fault:?} was not found");
    }
}

#[test]
fn the_counted_stack_ends_before_the_native_one() {
    holds(native::the_counted_stack_ends_first(&engine()));
}

#[test]
fn instances_see_nothing_of_each_other() {
    holds(native::instances_see_nothing_of_each_other(&engine()));
}

#[test]
fn one_module_runs_on_many_threads() {
    holds(native::one_module_runs_on_many_threads(&engine()));
}

#[test]
fn calls_wait_for_an_instance() {
    let config = WasmtimeConfig { instances: 2, ..WasmtimeConfig::default() };
    holds(native::calls_wait_for_an_instance(&engine_of(&config), 2));
}

#[test]
fn the_cache_keeps_what_was_used_last() {
    let config = WasmtimeConfig { cache_entries: 2, ..WasmtimeConfig::default() };
    holds(native::the_cache_keeps_what_was_used_last(&engine_of(&config)));
}

#[test]
fn a_panic_in_a_host_function_is_an_error_of_the_node() {
    holds(native::a_panic_of_the_host_is_no_outcome(&engine()));
}

/// In a process of its own, whose numbers are then this test's alone.
#[test]
fn instances_in_turn_leave_nothing_behind() {
    let this = std::env::current_exe().expect("a test's own file");
    let run = std::process::Command::new(this)
        .args(["--exact", "--ignored", "--nocapture", "instances_in_turn_alone"])
        .output()
        .expect("it runs again");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    println!("{said}");
}

#[test]
#[ignore = "runs in a process of its own, started by instances_in_turn_leave_nothing_behind"]
fn instances_in_turn_alone() {
    let calls = std::env::var("W3B_INSTANCES").map_or(5_000, |n| n.parse().expect("a number of calls"));
    let (before, after) = native::instances_in_turn(&engine(), calls).unwrap_or_else(|why| panic!("{why}"));
    println!("{calls} calls: {before:?} became {after:?}");
    assert!(before.mappings > 0, "this system tells nothing of processes");
    // A mapping or a page per hundred calls would already be more.
    assert!(after.mappings <= before.mappings + 8, "{before:?} became {after:?}");
    assert!(after.resident <= before.resident + (2 << 20), "{before:?} became {after:?}");
    assert_eq!(after.threads, before.threads);
}
