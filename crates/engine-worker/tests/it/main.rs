//! The kit on wasmer in worker processes, and what happens to these.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "roles talk to their tests")]

mod agree;
mod ends;
mod roles;
mod system;

use std::sync::Arc;
use std::time::Duration;

use w3bstream_engine::conformance::native::call;
use w3bstream_engine::{Engine, HostState, Module};
use w3bstream_engine_worker::{WorkerConfig, WorkerEngine};
use w3bstream_types::GuestLimits;

/// This program in another role.
fn role(name: &str) -> WorkerConfig {
    let this = std::env::current_exe().expect("a test's own file");
    let role = format!("roles::{name}");
    let words = ["--exact", "--ignored", "--nocapture", "--test-threads=1", &role];
    let command = std::iter::once(this.into_os_string()).chain(words.map(Into::into)).collect();
    WorkerConfig { command, workers: 2, start_time: Duration::from_secs(60), ..WorkerConfig::default() }
}

fn started(config: WorkerConfig) -> Arc<WorkerEngine> {
    Arc::new(WorkerEngine::start(config).unwrap_or_else(|e| panic!("{e}")))
}

fn engine() -> Arc<dyn Engine> {
    started(role("wasmer"))
}

fn load(engine: &WorkerEngine, fields: &str) -> Arc<dyn Module> {
    let bytes = wat::parse_str(format!(r#"(module (memory (export "memory") 1) {fields})"#)).unwrap();
    engine.load(&bytes).unwrap_or_else(|e| panic!("{e}"))
}

/// A handler `h` that never comes to an end.
const ENDLESS: &str = r#"(func (export "h") (param i32) (result i32) (loop $l (br $l)) (i32.const 0))"#;
/// A handler `h` that answers 7.
const SEVEN: &str = r#"(func (export "h") (param i32) (result i32) (i32.const 7))"#;

fn no_end() -> GuestLimits {
    GuestLimits { gas: u64::MAX, ..GuestLimits::default() }
}

/// State of which nothing is read.
struct Nothing;

impl HostState for Nothing {
    fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, w3bstream_engine::Error> {
        Ok(None)
    }
}

fn seven(module: &dyn Module) {
    let outcome = call(module, 1, &GuestLimits::default(), &mut Nothing);
    assert_eq!(outcome.unwrap_or_else(|e| panic!("{e}")).result, Ok(7));
}

/// Waits until something holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(std::time::Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether there is such a process; one that nobody has buried is none, once its last thread has ended.
fn is_there(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let dead = stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']));
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    !dead || threads > 1
}

fn kill(pid: u32) {
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    assert!(killed.expect("kill").success(), "{pid} is gone already");
}

mod kit {
    use super::*;

    w3bstream_engine::engine_conformance!(engine);
}

mod native {
    use super::*;

    w3bstream_engine::engine_native!(|workers, cache_entries| started(WorkerConfig {
        workers,
        cache_entries,
        ..role("wasmer")
    }) as Arc<dyn Engine>);
}
