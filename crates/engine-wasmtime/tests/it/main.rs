//! The kit on wasmtime, what compiled code could do to this process, the guard of time, and all engines against each other.

#![allow(clippy::disallowed_methods, reason = "tests take their numbers from the environment")]
#![allow(clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use w3bstream_engine::Engine;
use w3bstream_engine::conformance::broken::{Broken, Fault};
use w3bstream_engine::conformance::run_all;
use w3bstream_engine_wasmtime::{WasmtimeConfig, WasmtimeEngine};

mod determinism;
mod guard;

mod kit {
    use super::*;

    w3bstream_engine::engine_conformance!(|| Arc::new(
        WasmtimeEngine::new(&WasmtimeConfig::default()).expect("an engine")
    ));
}

mod native {
    use super::*;

    w3bstream_engine::engine_native!(|instances, cache_entries| {
        let instances = u32::try_from(instances).expect("few");
        engine_of(&WasmtimeConfig { instances, cache_entries, ..WasmtimeConfig::default() })
    });
}

fn engine_of(config: &WasmtimeConfig) -> Arc<dyn Engine> {
    Arc::new(WasmtimeEngine::new(config).expect("an engine"))
}

fn engine() -> Arc<dyn Engine> {
    engine_of(&WasmtimeConfig::default())
}

#[test]
fn the_kit_finds_faults_of_a_broken_wasmtime() {
    for fault in [Fault::GasOffByOne, Fault::RemembersWrites] {
        let broken: Arc<dyn Engine> = Arc::new(Broken::new(engine(), fault));
        assert!(run_all(&broken).is_err(), "{fault:?} was not found");
    }
}
