//! What a guest can do with gas without end: the clock stops it.

use std::time::{Duration, Instant};

use w3bstream_engine::ErrorKind;
use w3bstream_engine::conformance::{MemoryState, native};
use w3bstream_engine_wasmtime::WasmtimeConfig;
use w3bstream_types::GuestLimits;

use super::engine_of;

const ENDLESS: [&str; 3] = [
    "(loop $l (br $l))",
    // Work between two looks at the clock.
    "(loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br $l))",
    // Calls alone.
    "(loop $l (drop (call $f (i32.const 1000))) (br $l))",
];

#[test]
fn a_call_that_takes_too_long_is_stopped_and_is_no_outcome() {
    let call_time = Duration::from_millis(200);
    let engine = engine_of(&WasmtimeConfig { call_time, ..WasmtimeConfig::default() });
    let limits = GuestLimits { gas: u64::MAX, ..GuestLimits::default() };
    for body in ENDLESS {
        let text = format!(
            r#"(module (memory (export "memory") 1)
            (func $f (param i32) (result i32)
              (if (result i32) (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const 0))))
            (func (export "h") (param i32) (result i32)
              (if (i32.eq (local.get 0) (i32.const 1)) (then {body})) (i32.const 5)))"#
        );
        let module = engine.load(&wat::parse_str(text).expect("valid text")).expect("a good program");
        let begin = Instant::now();
        let e = native::call(&*module, 1, &limits, &mut MemoryState::default()).expect_err("no outcome");
        let took = begin.elapsed();
        assert_eq!(e.kind(), ErrorKind::Host, "{e}");
        assert!(e.to_string().contains("call-ms"), "{e}");
        // Not before its time; how long after depends on what else this machine does.
        assert!(took >= call_time, "stopped after {took:?}");
        println!("{body:.30}: stopped {:?} after its time", took - call_time);
        let next = native::call(&*module, 2, &limits, &mut MemoryState::default()).expect("an outcome");
        assert_eq!(next.result, Ok(5), "the next call is not affected");
    }
}

#[test]
fn the_clock_wakes_up_for_a_call_after_a_quiet_time() {
    let call_time = Duration::from_millis(20);
    let engine = engine_of(&WasmtimeConfig { call_time, ..WasmtimeConfig::default() });
    let text = r#"(module (memory (export "memory") 1)
        (func (export "h") (param i32) (result i32) (loop $l (br $l)) (i32.const 5)))"#;
    let module = engine.load(&wat::parse_str(text).expect("valid text")).expect("a good program");
    let limits = GuestLimits { gas: u64::MAX, ..GuestLimits::default() };
    // Longer than after which it stops counting.
    std::thread::sleep(Duration::from_millis(1_500));
    let stopped = || native::call(&*module, 1, &limits, &mut MemoryState::default()).is_err();
    assert!(stopped() && stopped());
}
