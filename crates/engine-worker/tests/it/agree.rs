//! A worker gives what its engine gives in this process.

use std::sync::Arc;

use w3bstream_engine::conformance::MemoryState;
use w3bstream_engine::conformance::compare::{Plan, compare};
use w3bstream_engine::conformance::native::call;
use w3bstream_engine::{Engine, ErrorKind};
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};
use w3bstream_types::GuestLimits;

use crate::{engine, role, roles, started};

#[test]
fn the_same_programs_give_the_same_outcomes_here_and_there() {
    let here: Arc<dyn Engine> = Arc::new(WasmerEngine::new(&WasmerConfig::default()));
    let plan = Plan { seed: 1_000, programs: 120, blocks: 3, events: 3, gas: 150_000 };
    let seen = compare(&[here, engine()], &plan).unwrap_or_else(|why| panic!("{why}"));
    println!("{seen:?}");
    assert!(seen.programs >= 100 && seen.returned >= 250 && seen.trapped >= 100, "{seen:?}");
    assert!(seen.out_of_gas >= 25 && seen.overflowed >= 2, "{seen:?}");
    assert!(seen.writes >= 50 && seen.outputs >= 25, "{seen:?}");
}

/// Writes its event to a file and to standard output.
const WASI: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
      (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\40\00\00\00\05\00\00\00") (data (i32.const 64) "hello") (data (i32.const 80) "a")
    (func (export "h")
      (drop (call $open (i32.const 4) (i32.const 1) (i32.const 80) (i32.const 1) (i32.const 1)
        (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 32)))
      (drop (call $write (i32.load (i32.const 32)) (i32.const 0) (i32.const 1) (i32.const 36)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 36)))))"#;

#[test]
fn wasi_programs_run_in_workers_too() {
    let program = wat::parse_str(WASI).unwrap();
    assert_eq!(engine().load(&program).unwrap_err().kind(), ErrorKind::Unsupported, "wasmer alone");
    let both: [Arc<dyn Engine>; 2] = [roles::with_wasi().unwrap(), started(role("wasix"))];
    let outcomes = both.map(|engine| {
        let module = engine.load(&program).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(module.handlers(), ["h"]);
        let mut state = MemoryState::default();
        let first = call(&*module, 1, &GuestLimits::default(), &mut state).unwrap();
        state.0.extend(first.writes.clone());
        // The second finds the file, which it asks the node for.
        [first, call(&*module, 2, &GuestLimits::default(), &mut state).unwrap()]
    });
    let [here, there] = outcomes;
    assert_eq!(here, there);
    let [first, _] = here;
    assert_eq!(first.result, Ok(0));
    assert_eq!(first.outputs.first().map(|o| o.data.as_slice()), Some(b"hello".as_slice()));
    assert!(!first.writes.is_empty(), "{first:?}");
}
