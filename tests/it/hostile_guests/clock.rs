//! The guards of time: who hits one halts alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use w3bstream_engine::Engine;
use w3bstream_engine_wasmtime::{WasmtimeConfig, WasmtimeEngine};
use w3bstream_types::GuestLimits;

use super::stopped::caps;
use super::world::{WELL, World, applet, block_on, engine};

/// Deploys a program that runs for as long as it has gas, and sends it an event: its project halts and says why, another one on
/// the same node goes on, meanwhile and afterwards.
async fn halts_alone(engine: Arc<dyn Engine>, endless: &str, setting: &str) {
    let world = World::start(engine, caps()).await;
    let program = world.put(wat::parse_str(WELL).unwrap()).await.unwrap();
    let well = applet("well", program, &[("check", "well")], GuestLimits::default());
    let program = world.put(wat::parse_str(endless).unwrap()).await.unwrap();
    // Some seconds of work.
    let limits = GuestLimits { gas: 4_000_000_000, ..GuestLimits::default() };
    let endless = applet("endless", program, &[("loop", "run")], limits);
    let hostile = world.deploy("hostile", vec![well.clone(), endless]).await.unwrap();
    let other = world.deploy("other", vec![well]).await.unwrap();
    assert_eq!(world.send(&hostile, 0, ("check", b"")).await.unwrap()[0].code, 0);
    let until = Instant::now() + Duration::from_secs(20);
    let halts = async {
        while !world.halted("hostile") {
            assert!(Instant::now() < until, "{}", world.metrics());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let looping = async {
        // Who sent it waits for its result, which does not come.
        tokio::select! {
            answer = world.send(&hostile, 1, ("loop", b"")) => panic!("it was answered: {answer:?}"),
            () = halts => {}
        }
    };
    let ((), beside) = tokio::join!(looping, async {
        let mut codes = vec![];
        for n in 0..5 {
            codes.push(world.send(&other, n, ("check", b"")).await.unwrap()[0].code);
        }
        codes
    });
    assert_eq!(beside, [0, 1, 2, 3, 4]);
    assert!(world.halted("hostile") && !world.halted("other"), "{}", world.metrics());
    let why = world.send(&hostile, 2, ("check", b"")).await.unwrap_err();
    assert!(why.contains("halted") && why.contains(setting), "{why}");
    assert_eq!(world.send(&other, 5, ("check", b"")).await.unwrap()[0].code, 5);
    // Not `stop`: that would wait for as long as who sent the endless message waits for an answer.
    drop(world);
}

#[test]
fn a_call_over_the_clock_of_wasmtime_halts_its_project_alone() {
    let call_time = Duration::from_millis(300);
    let engine = WasmtimeEngine::new(&WasmtimeConfig { call_time, ..WasmtimeConfig::default() }).unwrap();
    let endless = r#"(module (memory (export "memory") 1)
        (func (export "run") (param i32) (result i32) (loop $l (br $l)) (i32.const 0)))"#;
    block_on(halts_alone(Arc::new(engine), endless, "call-ms"));
}

#[test]
fn a_wasi_program_over_its_clock_halts_its_project_alone() {
    let endless = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
        (memory (export "memory") 1) (func (export "run") (loop $l (br $l))))"#;
    block_on(halts_alone(engine(64, Duration::from_millis(300)), endless, "wasi-call-ms"));
}
