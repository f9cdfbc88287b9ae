//! Time of one call: a fresh instance of a small handler, with gas. Run with `--release`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example that prints")]

use std::sync::Arc;
use std::time::Instant;

use w3bstream_engine::{Call, Engine, Error, HostState, Module, Source};
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};
use w3bstream_types::GuestLimits;

struct Empty;

impl HostState for Empty {
    fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }
}

const PROGRAMS: [(&str, &str); 3] = [
    (
        "returns a constant",
        r#"(memory (export "memory") 17) (func (export "h") (param i32) (result i32) (i32.const 1))"#,
    ),
    (
        "reads its event, writes a key",
        r#"(import "env" "ws_get_data" (func $get (param i32 i32 i32) (result i32)))
           (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
           (memory (export "memory") 17)
           (func (export "alloc") (param i32) (result i32) (i32.const 1024))
           (func (export "h") (param i32) (result i32)
             (drop (call $get (local.get 0) (i32.const 16) (i32.const 20)))
             (call $set (i32.const 1024) (i32.const 4) (i32.load (i32.const 16)) (i32.load (i32.const 20))))"#,
    ),
    (
        "a million rounds of a loop",
        r#"(memory (export "memory") 17)
           (func (export "h") (param i32) (result i32) (local i32 i32)
             (loop $l
               (local.set 2 (i32.add (i32.mul (local.get 2) (i32.const 31)) (i32.load (i32.and (local.get 1) (i32.const 0xfff0)))))
               (br_if $l (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 1000000))))
             (local.get 2))"#,
    ),
];

fn main() {
    let engine = WasmerEngine::new(&WasmerConfig::default());
    let event_type = "reading".parse().unwrap();
    let limits = GuestLimits::default();
    for (what, fields) in PROGRAMS {
        let begin = Instant::now();
        let module: Arc<dyn Module> =
            engine.load(&wat::parse_str(format!("(module {fields})")).unwrap()).unwrap();
        let load = begin.elapsed();
        let call = Call {
            handler: "h",
            event_type: &event_type,
            payload: b"21.5",
            rid: 1,
            env: &[],
            source: Source::default(),
            settlements: &[],
            limits: &limits,
        };
        let rounds = if what.contains("million") { 50 } else { 20_000 };
        let mut times: Vec<_> = (0..rounds)
            .map(|_| {
                let begin = Instant::now();
                module.call(call, &mut Empty).unwrap();
                begin.elapsed()
            })
            .collect();
        times.sort();
        let (median, p99) = (times[rounds / 2], times[rounds * 99 / 100]);
        let gas = module.call(call, &mut Empty).unwrap().gas;
        println!("{what}: load {load:?}, call median {median:?}, p99 {p99:?}, gas {gas}");
    }
}
