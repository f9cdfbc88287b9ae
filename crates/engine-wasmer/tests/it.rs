//! The kit on wasmer, wasmer against the interpreter, and what is wasmer's alone: native stack, leaks, threads.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Instant;

use w3bstream_engine::abi::MAX_STACK_SLOTS;
use w3bstream_engine::conformance::broken::{Broken, Fault};
use w3bstream_engine::conformance::compare::{Plan, compare};
use w3bstream_engine::conformance::{MemoryState, run_all, second::Interpreter};
use w3bstream_engine::{Call, Engine, Error, ErrorKind, GuestError, HostState, Module, Outcome, Source};
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};
use w3bstream_types::{EventType, GuestLimits};

mod kit {
    use super::*;

    w3bstream_engine::engine_conformance!(|| Arc::new(WasmerEngine::new(&WasmerConfig::default())));
}

fn engine() -> Arc<dyn Engine> {
    Arc::new(WasmerEngine::new(&WasmerConfig::default()))
}

fn load(engine: &Arc<dyn Engine>, fields: &str) -> Arc<dyn Module> {
    let text = format!("(module {fields})");
    engine.load(&wat::parse_str(text).expect("valid text")).expect("a good program")
}

fn call(
    module: &dyn Module,
    rid: i32,
    limits: &GuestLimits,
    state: &mut dyn HostState,
) -> Result<Outcome, Error> {
    let event_type: EventType = "reading".parse().expect("a label");
    module.call(
        Call {
            handler: "h",
            event_type: &event_type,
            payload: b"21.5",
            rid,
            env: &[],
            source: Source::default(),
            settlements: &[],
            chains: &[],
            triggers: &[],
            id: w3bstream_types::Digest::ZERO,
            limits,
        },
        state,
    )
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

#[test]
fn the_counted_stack_ends_before_the_native_one() {
    let engine = engine();
    let list = |n: usize, text: &str| (0..n).map(|i| text.replace('#', &i.to_string())).collect::<String>();
    let gets = list(100, "(local.get #)");
    let bodies = [
        // Nothing but calls.
        "(func $f (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1)))".to_owned(),
        // As many parameters and results as there may be: some go over the native stack.
        format!(
            "(func $g (param {0}) (result {0}) (call $g {gets}))
             (func $f (param i32) (result i32) (call $g {1}) {2} (local.get 0))",
            "i64 ".repeat(100),
            "(i64.const 1)".repeat(100),
            "drop ".repeat(100)
        ),
        // Floats that live across the call, each computed so that none can be made again afterwards.
        format!(
            "(func $f (param i32) (result i32) {} (drop (call $f (i32.add (local.get 0) (i32.const 1)))) {} (i32.trunc_sat_f64_s))",
            list(300, "(f64.sqrt (f64.convert_i32_u (i32.add (local.get 0) (i32.const #))))"),
            "f64.add ".repeat(299)
        ),
        // Through a table, with memory in between.
        "(type $t (func (param i32) (result i32))) (table 1 funcref) (elem (i32.const 0) $f)
         (func $f (param i32) (result i32) (i32.store (i32.const 0) (local.get 0))
            (call_indirect (type $t) (i32.add (i32.load (i32.const 0)) (i32.const 1)) (i32.const 0)))"
            .to_owned(),
    ];
    for body in bodies {
        let module = load(
            &engine,
            &format!(
                r#"(memory (export "memory") 1) {body} (func (export "h") (param i32) (result i32) (call $f (local.get 0)))"#
            ),
        );
        for stack_slots in [1_000, 64 * 1024, MAX_STACK_SLOTS, u64::MAX] {
            let limits = GuestLimits { stack_slots, gas: 1 << 40, ..GuestLimits::default() };
            let outcome = call(&*module, 1, &limits, &mut MemoryState::default()).expect("an outcome");
            assert_eq!(outcome.result, Err(GuestError::StackOverflow), "{stack_slots} slots: {body:.60}");
        }
    }
}

const TINY: &str = r#"
    (import "env" "ws_get_data" (func $get (param i32 i32 i32) (result i32)))
    (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "h") (param i32) (result i32)
        (drop (call $get (local.get 0) (i32.const 16) (i32.const 20)))
        (if (i32.eqz (i32.rem_u (local.get 0) (i32.const 10))) (then unreachable))
        (call $set (i32.const 1024) (i32.const 4) (i32.load (i32.const 16)) (i32.load (i32.const 20))))
"#;

/// Mappings and resident pages of this process.
fn usage() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").map_or(0, |m| m.lines().count());
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    (maps, statm.split(' ').nth(1).and_then(|v| v.parse().ok()).unwrap_or(0))
}

#[test]
fn five_thousand_instances_in_turn_leave_nothing_behind() {
    let module = load(&engine(), TINY);
    let limits = GuestLimits::default();
    let mut state = MemoryState::default();
    let mut round = |calls: i32| {
        for rid in 1..=calls {
            let outcome = call(&*module, rid, &limits, &mut state).expect("an outcome");
            assert_eq!(outcome.result.is_err(), rid % 10 == 0);
        }
    };
    round(500);
    let (maps, pages) = usage();
    let begin = Instant::now();
    round(5_000);
    println!("5,000 calls in {:?}", begin.elapsed());
    let (maps_after, pages_after) = usage();
    // Other tests run beside this one and hold some mappings for a while; a leak would be thousands.
    assert!(maps_after < maps + 500, "{maps} mappings became {maps_after}");
    assert!(pages_after < pages + 50_000, "{pages} pages became {pages_after}");
}

#[test]
fn one_module_runs_on_many_threads() {
    let module = load(&engine(), TINY);
    let limits = GuestLimits::default();
    let expected = call(&*module, 1, &limits, &mut MemoryState::default()).expect("an outcome");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let outcome =
                        call(&*module, 1, &limits, &mut MemoryState::default()).expect("an outcome");
                    assert_eq!(outcome, expected);
                }
            });
        }
    });
}

#[test]
fn the_cache_keeps_what_was_used_last() {
    let engine: Arc<dyn Engine> = Arc::new(WasmerEngine::new(&WasmerConfig { cache_entries: 2 }));
    let program = |n: i32| {
        format!(
            r#"(memory (export "memory") 1) (func (export "h") (param i32) (result i32) (i32.const {n}))"#
        )
    };
    let first = load(&engine, &program(1));
    assert!(Arc::ptr_eq(&first, &load(&engine, &program(1))), "compiled twice");
    load(&engine, &program(2));
    load(&engine, &program(3));
    assert!(!Arc::ptr_eq(&first, &load(&engine, &program(1))), "kept too much");
    // What was forgotten still runs for whoever holds it.
    let outcome = call(&*first, 1, &GuestLimits::default(), &mut MemoryState::default()).expect("an outcome");
    assert_eq!(outcome.result, Ok(1));
}

#[test]
fn a_panic_in_a_host_function_is_an_error_of_the_node() {
    struct Panics;

    impl HostState for Panics {
        fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
            panic!("the state's own fault")
        }
    }

    let module = load(
        &engine(),
        r#"(import "env" "ws_get_db" (func $get (param i32 i32 i32 i32) (result i32)))
           (memory (export "memory") 1) (func (export "alloc") (param i32) (result i32) (i32.const 1024))
           (func (export "h") (param i32) (result i32)
             (call $get (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 20)))"#,
    );
    let e = call(&*module, 1, &GuestLimits::default(), &mut Panics).expect_err("no outcome");
    assert_eq!(e.kind(), ErrorKind::Host);
    let outcome =
        call(&*module, 1, &GuestLimits::default(), &mut MemoryState::default()).expect("an outcome");
    assert_eq!(outcome.result, Ok(2), "the thread is usable afterwards");
}
