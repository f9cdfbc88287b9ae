//! Workers that die, hang, or were never any.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use w3bstream_engine::conformance::native::call;
use w3bstream_engine::{Engine as _, Error, ErrorKind, HostState, Module, Outcome};
use w3bstream_engine_worker::{WorkerConfig, WorkerEngine};
use w3bstream_types::GuestLimits;

use crate::{ENDLESS, Nothing, SEVEN, is_there, kill, load, no_end, role, seven, started, until};

fn endless(module: &dyn Module) -> Result<Outcome, Error> {
    call(module, 1, &no_end(), &mut Nothing)
}

/// The error of a call that has no outcome, which names all that must be named.
fn lost(module: &dyn Module, given: Result<Outcome, Error>, how: &str) {
    let error = given.expect_err("no outcome");
    assert_eq!(error.kind(), ErrorKind::Host);
    let text = error.to_string();
    for named in [&module.program().to_string(), "handler \"h\"", "worker process", how, "no outcome"] {
        assert!(text.contains(named), "{named}: {text}");
    }
}

fn count(engine: &WorkerEngine, row: &str) -> u64 {
    let metrics = engine.metrics();
    let line = metrics.lines().find(|l| l.starts_with(row)).unwrap_or_else(|| panic!("{row}: {metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// State that is asked, says so, and waits.
struct Waits<'a> {
    asked: &'a AtomicUsize,
    open: &'a AtomicBool,
}

impl HostState for Waits<'_> {
    fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        while !self.open.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Ok(None)
    }
}

const ASKS: &str = r#"(func (export "alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "h") (param i32) (result i32)
      (drop (call $get (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 20))) (i32.const 7))"#;

fn asks(engine: &WorkerEngine) -> Arc<dyn Module> {
    let import = r#"(import "env" "ws_get_db" (func $get (param i32 i32 i32 i32) (result i32)))"#;
    let text = format!(r#"(module {import} (memory (export "memory") 1) {ASKS})"#);
    engine.load(&wat::parse_str(text).unwrap()).unwrap()
}

#[test]
fn a_worker_that_is_killed_takes_its_call_with_it_and_no_other() {
    let engine = started(role("wasmer"));
    let (module, calm) = (load(&engine, ENDLESS), asks(&engine));
    let [first] = engine.workers()[..] else { panic!("one worker is enough so far") };
    let before = used(first);
    let (asked, open) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let victim = scope.spawn(|| endless(&*module));
        // The other call has a worker of its own.
        let other = scope.spawn(|| {
            let mut state = Waits { asked: &asked, open: &open };
            until("the first has its worker", || used(first) >= before + 5);
            call(&*calm, 1, &GuestLimits::default(), &mut state)
        });
        until("both run", || asked.load(Ordering::SeqCst) == 1 && engine.workers().len() == 2);
        kill(first);
        lost(&*module, victim.join().unwrap(), "signal 9 (SIGKILL");
        assert!(!is_there(first), "it was buried");
        // A third call needs a new worker, while the other still has its own.
        seven(&*load(&engine, SEVEN));
        open.store(true, Ordering::SeqCst);
        assert_eq!(other.join().unwrap().unwrap().result, Ok(7));
    });
    assert_eq!(count(&engine, "w3b_engine_workers "), 2);
    assert_eq!(count(&engine, "w3b_engine_worker_starts_total"), 3);
    assert_eq!(count(&engine, "w3b_engine_workers_ended_total{reason=\"signal\"}"), 1);
    // Both, several times: nothing is left of what has happened.
    (0..5).for_each(|_| seven(&*load(&engine, SEVEN)));
}

/// Hundredths of a second that a process has used.
fn used(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let field = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(11)?.parse().ok());
    field.unwrap_or(0)
}

#[test]
fn a_worker_that_is_killed_while_the_node_answers_it_is_noticed() {
    let engine = started(role("wasmer"));
    let module = asks(&engine);
    let [pid] = engine.workers()[..] else { panic!("one worker") };
    let (asked, open) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            let mut state = Waits { asked: &asked, open: &open };
            call(&*module, 1, &GuestLimits::default(), &mut state)
        });
        until("it asks", || asked.load(Ordering::SeqCst) == 1);
        kill(pid);
        open.store(true, Ordering::SeqCst);
        lost(&*module, call.join().unwrap(), "signal 9 (SIGKILL");
    });
    assert_eq!(call(&*module, 1, &GuestLimits::default(), &mut Nothing).unwrap().result, Ok(7));
}

#[test]
fn a_runaway_is_ended_when_its_time_is_over() {
    let engine = started(WorkerConfig { call_time: Duration::from_millis(300), ..role("wasmer") });
    let module = load(&engine, ENDLESS);
    let [pid] = engine.workers()[..] else { panic!("one worker") };
    let begin = Instant::now();
    lost(&*module, endless(&*module), "it took longer than 300 ms");
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(3), "{took:?}");
    assert!(!is_there(pid));
    seven(&*load(&engine, SEVEN));
    assert_eq!(count(&engine, "w3b_engine_workers_ended_total{reason=\"time\"}"), 1);
}

#[test]
fn compiled_code_that_dies_is_named_with_how() {
    let engine = started(role("dies"));
    let module = load(&engine, SEVEN);
    for (rid, how, row) in [(13, "signal 6 (SIGABRT", "signal"), (14, "exit code 9", "exit")] {
        let given = call(&*module, rid, &GuestLimits::default(), &mut Nothing);
        lost(&*module, given, how);
        assert_eq!(count(&engine, &format!("w3b_engine_workers_ended_total{{reason=\"{row}\"}}")), 1);
        seven(&*module);
    }
    let deadly = [wat::parse_str("(module)").unwrap(), b"\0\x0b\x0adies-of-me".to_vec()].concat();
    let error = engine.load(&deadly).expect_err("no program");
    assert_eq!(error.kind(), ErrorKind::Host);
    let digest = w3bstream_types::Digest::of(&deadly).to_string();
    assert!(
        error.to_string().contains(&digest) && error.to_string().contains("while it was loaded"),
        "{error}"
    );
    seven(&*module);
}

#[test]
fn workers_that_die_all_the_time_are_started_later_and_later() {
    let engine = started(role("dies"));
    let module = load(&engine, SEVEN);
    let begin = Instant::now();
    for _ in 0..6 {
        assert!(call(&*module, 13, &GuestLimits::default(), &mut Nothing).is_err());
    }
    seven(&*module);
    // Nothing after the first, then 50, 100, 200, 400 and 800 ms.
    assert!(begin.elapsed() >= Duration::from_millis(1_550), "{:?}", begin.elapsed());
    assert_eq!(count(&engine, "w3b_engine_worker_starts_total"), 7);
}

#[test]
fn a_worker_that_is_gone_before_it_is_needed_is_replaced() {
    let engine = started(role("wasmer"));
    let module = load(&engine, SEVEN);
    let [pid] = engine.workers()[..] else { panic!("one worker") };
    kill(pid);
    until("it is gone", || !is_there(pid));
    seven(&*module);
    assert_eq!(count(&engine, "w3b_engine_workers_ended_total{reason=\"idle\"}"), 1);
    assert!(!engine.workers().contains(&pid));
}

#[test]
fn what_is_no_worker_is_refused_at_the_start() {
    let with = |command: &[&str]| {
        let command = command.iter().map(Into::into).collect();
        let config =
            WorkerConfig { command, start_time: Duration::from_millis(500), ..WorkerConfig::default() };
        let error = WorkerEngine::start(config).expect_err("no worker");
        assert_eq!(error.kind(), ErrorKind::Host);
        error.to_string()
    };
    assert!(with(&["/nowhere/at-all"]).contains("/nowhere/at-all"));
    assert!(with(&[]).contains("no command"));
    assert!(with(&["/bin/sh", "-c", "exit 4"]).contains("exit code 4, before it was ready"));
    // It says on the connection what was said to it.
    let echo = with(&["/bin/sh", "-c", "cat >&0"]);
    assert!(echo.contains("no worker") && echo.contains("worker-command"), "{echo}");
    assert!(with(&["/bin/sh", "-c", "exec sleep 60"]).contains("longer than 500 ms"));
    let error = WorkerEngine::start(role("cannot")).expect_err("no engine");
    assert_eq!(error.to_string(), "engine.kind is no engine");
}
