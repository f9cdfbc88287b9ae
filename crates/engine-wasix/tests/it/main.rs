//! WASI programs, from their modules to their outcomes.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod files;
mod hostile;
mod process;
mod runner;
mod world;

use std::sync::Arc;

use w3bstream_engine::{Engine, ErrorKind};
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};

mod kit {
    use super::*;

    // Applets go on as they did.
    w3bstream_engine::engine_conformance!(world::engine);
}

#[test]
fn an_engine_for_applets_says_that_it_does_not_run_these() {
    let applets: Arc<dyn Engine> = Arc::new(WasmerEngine::new(&WasmerConfig::default()));
    let refused = applets.load(&world::program("")).expect_err("it is no applet");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains("WASI program"), "{refused}");
}

#[test]
fn what_there_is_not_is_refused_by_name() {
    let text = r#"(module (import "wasi" "thread-spawn" (func (param i32) (result i32)))
        (memory (export "memory") 1) (func (export "_start")))"#;
    let refused = world::engine().load(&wat::parse_str(text).expect("valid")).expect_err("no threads");
    assert_eq!(refused.kind(), ErrorKind::BadProgram);
    assert!(refused.to_string().contains("wasi.thread-spawn"), "{refused}");
    for name in ["proc_spawn", "proc_exec", "proc_fork", "thread_spawn_v2", "sock_open", "dl_open"] {
        let text = format!(
            r#"(module (import "wasix_32v1" "{name}" (func)) (memory (export "memory") 1) (func (export "_start")))"#
        );
        let refused = world::engine().load(&wat::parse_str(text).expect("valid")).expect_err("closed");
        assert!(refused.to_string().contains(name), "{refused}");
    }
    let text = r#"(module (memory (export "mem") 1) (func (export "_start")))"#;
    let refused = world::engine().load(&wat::parse_str(text).expect("valid")).expect_err("no memory");
    assert!(refused.to_string().contains("`memory`"), "{refused}");
}
