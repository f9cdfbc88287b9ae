//! For engines that run compiled code in this process: the native stack, what instances leave behind, many threads,
//! panics of the host. An interpreter has no such dangers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use w3bstream_types::{EventType, GuestLimits};

use super::rig::{ensure, module, same};
use super::{Checked, MemoryState};
use crate::abi::MAX_STACK_SLOTS;
use crate::{Call, Engine, Error, ErrorKind, GuestError, HostState, Module, Outcome};

/// A program that reads its event, writes a key, grows, and traps on each tenth resource id.
const BUSY: &str = r#"
    (import "env" "ws_get_data" (func $get (param i32 i32 i32) (result i32)))
    (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2) (table $t 10 funcref) (data (i32.const 100) "data")
    (func (export "alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "h") (param i32) (result i32)
        (drop (call $get (local.get 0) (i32.const 16) (i32.const 20)))
        (drop (memory.grow (i32.and (local.get 0) (i32.const 3))))
        (drop (table.grow $t (ref.null func) (i32.const 100)))
        (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (i32.const 1))
        (if (i32.eqz (i32.rem_u (local.get 0) (i32.const 10))) (then unreachable))
        (call $set (i32.const 1024) (i32.const 4) (i32.load (i32.const 16)) (i32.load (i32.const 20))))
"#;

fn load(engine: &Arc<dyn Engine>, fields: &str) -> Result<Arc<dyn Module>, String> {
    engine.load(&module(fields)?).map_err(|e| format!("a good program is refused: {e}"))
}

/// Calls the handler `h`.
///
/// # Errors
/// Those of [`Module::call`].
pub fn call(
    module: &dyn Module,
    rid: i32,
    limits: &GuestLimits,
    state: &mut dyn HostState,
) -> Result<Outcome, Error> {
    let event_type: EventType = "reading".parse().map_err(|e| Error::new(ErrorKind::Host, format!("{e}")))?;
    let call = Call { rid, ..Call::of("h", &event_type, b"21.5", limits) };
    module.call(call, state)
}

fn outcome(module: &dyn Module, rid: i32, limits: &GuestLimits) -> Result<Outcome, String> {
    call(module, rid, limits, &mut MemoryState::default()).map_err(|e| format!("no outcome: {e}"))
}

/// The counted stack ends before the native one, whatever frames look like.
///
/// # Errors
/// The frame that found another end.
pub fn the_counted_stack_ends_first(engine: &Arc<dyn Engine>) -> Checked {
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
        let handler = r#"(func (export "h") (param i32) (result i32) (call $f (local.get 0)))"#;
        let module = load(engine, &format!(r#"(memory (export "memory") 1) {body} {handler}"#))?;
        for stack_slots in [1_000, 64 * 1024, MAX_STACK_SLOTS, u64::MAX] {
            let limits = GuestLimits { stack_slots, gas: 1 << 40, ..GuestLimits::default() };
            let result = outcome(&*module, 1, &limits)?.result;
            same(&format!("{stack_slots} slots: {body:.60}"), &result, &Err(GuestError::StackOverflow))?;
        }
    }
    Ok(())
}

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Mappings.
    pub mappings: usize,
    /// Resident memory, in bytes.
    pub resident: usize,
    /// Threads.
    pub threads: usize,
}

impl Usage {
    /// Of this process, from /proc; zeros where there is none.
    #[must_use]
    pub fn now() -> Self {
        let lines = |path| std::fs::read_to_string(path).unwrap_or_default();
        let status = lines("/proc/self/status");
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name));
            line.and_then(|l| l.split_whitespace().next()).and_then(|v| v.parse().ok()).unwrap_or(0)
        };
        let mappings = lines("/proc/self/maps").lines().count();
        Self { mappings, resident: field("VmRSS:") << 10, threads: field("Threads:") }
    }
}

/// Runs calls in turn, 100,000 or `W3B_INSTANCES`; a tenth more come first, which warm what is kept on purpose. The process
/// holds no more afterwards. Says something only in a process that does nothing else: [`alone`].
///
/// # Errors
/// What the process held before and after, or a call without the expected outcome.
#[allow(clippy::print_stdout, reason = "a test tells its numbers")]
pub fn instances_in_turn_leave_nothing_behind(engine: &Arc<dyn Engine>) -> Checked {
    let calls = setting("W3B_INSTANCES")
        .map_or(Ok(100_000), |n| n.parse())
        .map_err(|e| format!("W3B_INSTANCES: {e}"))?;
    let module = load(engine, BUSY)?;
    let limits = GuestLimits::default();
    let round = |calls: i32| {
        (1..=calls).try_for_each(|rid| {
            let result = outcome(&*module, rid, &limits)?.result;
            ensure(result.is_err() == (rid % 10 == 0), || format!("call {rid} gave {result:?}"))
        })
    };
    round(calls / 10)?;
    let before = Usage::now();
    round(calls)?;
    let after = Usage::now();
    println!("{calls} calls: {before:?} became {after:?}");
    ensure(before.mappings > 0, || "this system tells nothing of processes".into())?;
    // A mapping for ten thousand calls, or a page for two hundred, would already be more.
    let flat = after.mappings <= before.mappings + 8 && after.resident <= before.resident + (2 << 20);
    ensure(flat && after.threads == before.threads, || format!("{before:?} became {after:?}"))
}

/// Programs that are compiled, called and forgotten one after the other leave neither code nor memory behind, on an engine of
/// two cached programs. `W3B_MODULES` says how many; a tenth more come first. To be called in a process of its own.
///
/// # Errors
/// What the process held before and after, or a call without the expected outcome.
#[allow(clippy::print_stdout, reason = "a test tells its numbers")]
pub fn modules_in_turn_leave_nothing_behind(engine: &Arc<dyn Engine>) -> Checked {
    let programs =
        setting("W3B_MODULES").map_or(Ok(500), |n| n.parse()).map_err(|e| format!("W3B_MODULES: {e}"))?;
    let limits = GuestLimits::default();
    let round = |from: i32, count: i32| {
        (from..from + count).try_for_each(|n| {
            let module = load(
                engine,
                &format!("{BUSY} (func (result i32) (i32.const {n})) (global i32 (i32.const {n}))"),
            )?;
            same("outcome", &outcome(&*module, 1, &limits)?.result, &Ok(0))
        })
    };
    round(0, programs / 10)?;
    let before = Usage::now();
    round(programs, programs)?;
    let after = Usage::now();
    println!("{programs} programs: {before:?} became {after:?}");
    ensure(before.mappings > 0, || "this system tells nothing of processes".into())?;
    // A page of each would be 2 MiB, a mapping of each 500. Threads of the last compilations may still end.
    let flat = after.mappings <= before.mappings + 16
        && after.resident <= before.resident + (8 << 20)
        && after.threads <= before.threads + 8;
    ensure(flat, || format!("{before:?} became {after:?}"))
}

#[allow(clippy::disallowed_methods, reason = "tests take their numbers from the environment")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Checks something in a process of its own, whose numbers are then this check's alone: the test's file is started again
/// for the one test `name`, a path as `module_path!` gives it.
///
/// # Errors
/// What the other process said.
#[allow(clippy::print_stdout, reason = "what the test in the other process prints")]
pub fn alone(name: &str, check: impl FnOnce() -> Checked) -> Checked {
    const INSIDE: &str = "W3B_TEST_ALONE";
    if setting(INSIDE).is_some() {
        return check();
    }
    let (_, name) = name.split_once("::").unwrap_or(("", name));
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let run =
        std::process::Command::new(this).args(["--exact", name, "--nocapture"]).env(INSIDE, "1").output();
    let run = run.map_err(|e| format!("the test does not start again: {e}"))?;
    let said = String::from_utf8_lossy(&run.stdout);
    println!("{said}");
    // None passes if the name is wrong.
    let passed = run.status.success() && said.contains("1 passed");
    ensure(passed, || format!("{said}{}", String::from_utf8_lossy(&run.stderr)))
}

/// Makes a test of each property of [`native`](crate::conformance::native). `$build` makes an engine from how many instances
/// there are at once, and how many programs it keeps.
#[macro_export]
macro_rules! engine_native {
    ($build:expr) => {
        fn holds(checked: $crate::conformance::Checked) {
            if let Err(why) = checked {
                panic!("{why}");
            }
        }

        fn build(instances: usize, cache_entries: usize) -> std::sync::Arc<dyn $crate::Engine> {
            ($build)(instances, cache_entries)
        }

        #[test]
        fn the_counted_stack_ends_before_the_native_one() {
            holds($crate::conformance::native::the_counted_stack_ends_first(&build(64, 64)));
        }

        #[test]
        fn instances_see_nothing_of_each_other() {
            holds($crate::conformance::native::instances_see_nothing_of_each_other(&build(64, 64)));
        }

        #[test]
        fn one_module_runs_on_many_threads() {
            holds($crate::conformance::native::one_module_runs_on_many_threads(&build(64, 64)));
        }

        #[test]
        fn calls_wait_for_an_instance() {
            holds($crate::conformance::native::calls_wait_for_an_instance(&build(2, 64), 2));
        }

        #[test]
        fn the_cache_keeps_what_was_used_last() {
            holds($crate::conformance::native::the_cache_keeps_what_was_used_last(&build(64, 2)));
        }

        #[test]
        fn a_panic_in_a_host_function_is_an_error_of_the_node() {
            holds($crate::conformance::native::a_panic_of_the_host_is_no_outcome(&build(64, 64)));
        }

        #[test]
        fn instances_in_turn_leave_nothing_behind() {
            use $crate::conformance::native;
            let name = concat!(module_path!(), "::instances_in_turn_leave_nothing_behind");
            holds(native::alone(name, || native::instances_in_turn_leave_nothing_behind(&build(64, 64))));
        }

        #[test]
        fn modules_in_turn_leave_nothing_behind() {
            use $crate::conformance::native;
            let name = concat!(module_path!(), "::modules_in_turn_leave_nothing_behind");
            holds(native::alone(name, || native::modules_in_turn_leave_nothing_behind(&build(64, 2))));
        }
    };
}

/// One module on many threads gives each of them what it gives one.
///
/// # Errors
/// An outcome that differs.
pub fn one_module_runs_on_many_threads(engine: &Arc<dyn Engine>) -> Checked {
    let module = load(engine, BUSY)?;
    let limits = GuestLimits::default();
    let expected = outcome(&*module, 1, &limits)?;
    let work = || (0..100).try_for_each(|_| same("outcome", &outcome(&*module, 1, &limits)?, &expected));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| "a thread panicked".to_owned())?)
    })
}

/// State whose host functions tell when they are entered, and wait there.
struct Waits<'a> {
    inside: &'a AtomicUsize,
    most: &'a AtomicUsize,
    open: &'a AtomicBool,
}

impl HostState for Waits<'_> {
    fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.most.fetch_max(self.inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        while !self.open.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        self.inside.fetch_sub(1, Ordering::SeqCst);
        Ok(None)
    }
}

const ASKS: &str = r#"(import "env" "ws_get_db" (func $get (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1) (func (export "alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "h") (param i32) (result i32)
      (call $get (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 20)))"#;

/// On an engine of `places` instances, so many calls run at once, further ones wait, and all give their outcome.
///
/// # Errors
/// More calls at once, fewer, or one without an outcome.
pub fn calls_wait_for_an_instance(engine: &Arc<dyn Engine>, places: usize) -> Checked {
    let module = load(engine, ASKS)?;
    let (inside, most, open) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut state = Waits { inside: &inside, most: &most, open: &open };
        call(&*module, 1, &GuestLimits::default(), &mut state).map_err(|e| format!("no outcome: {e}"))
    };
    let waited = engine.stats().waited;
    let outcomes: Result<Vec<Outcome>, String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2 * places + 1).map(|_| scope.spawn(work)).collect();
        // All places fill up; for the others to come in as well, they get a while.
        while inside.load(Ordering::SeqCst) < places && threads.iter().any(|t| !t.is_finished()) {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        open.store(true, Ordering::SeqCst);
        threads.into_iter().map(|t| t.join().map_err(|_| "a thread panicked".to_owned())?).collect()
    });
    ensure(outcomes?.iter().all(|o| o.result == Ok(2)), || "a call that waited gave something else".into())?;
    same("calls at once", &most.into_inner(), &places)?;
    let stats = engine.stats();
    ensure(stats.waited > waited && stats.running == 0, || {
        format!("calls have waited, but it says {stats:?}")
    })
}

/// A panic of the host, inside a host function, is an error of the node; thread and engine are usable afterwards.
///
/// # Errors
/// What comes of it instead.
pub fn a_panic_of_the_host_is_no_outcome(engine: &Arc<dyn Engine>) -> Checked {
    struct Panics;

    impl HostState for Panics {
        #[allow(clippy::panic, reason = "this is what is tested")]
        fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
            panic!("the state's own fault")
        }
    }

    let module = load(engine, ASKS)?;
    for _ in 0..3 {
        match call(&*module, 1, &GuestLimits::default(), &mut Panics) {
            Err(e) => same("kind of the error", &e.kind(), &ErrorKind::Host)?,
            Ok(outcome) => return Err(format!("a panic gave the outcome {outcome:?}")),
        }
        same("the next call", &outcome(&*module, 1, &GuestLimits::default())?.result, &Ok(2))?;
    }
    Ok(())
}

/// The cache of an engine of two entries keeps what was used last, and what was forgotten still runs for its holder.
///
/// # Errors
/// What was kept, or was not.
pub fn the_cache_keeps_what_was_used_last(engine: &Arc<dyn Engine>) -> Checked {
    let program = |n: i32| {
        let handler = format!(r#"(func (export "h") (param i32) (result i32) (i32.const {n}))"#);
        load(engine, &format!(r#"(memory (export "memory") 1) {handler}"#))
    };
    let first = program(1)?;
    ensure(Arc::ptr_eq(&first, &program(1)?), || "a program was compiled twice".into())?;
    program(2)?;
    program(3)?;
    ensure(!Arc::ptr_eq(&first, &program(1)?), || "more was kept than there is room for".into())?;
    same("what was forgotten", &outcome(&*first, 1, &GuestLimits::default())?.result, &Ok(1))
}

/// Nothing of an instance is seen by the next, of the same program or of another, whatever it did: memory that it
/// touched, grew or wrote over data, tables, globals, dropped segments; whether it returned or trapped.
///
/// # Errors
/// What was left.
pub fn instances_see_nothing_of_each_other(engine: &Arc<dyn Engine>) -> Checked {
    // Folds all of memory, table and globals into one number, then fills everything.
    let body = |memory: u32, end: &str| {
        format!(
            r#"(memory (export "memory") {memory}) (table $t 20 funcref) (elem (i32.const 3) $e) (func $e)
            (elem $passive func $e) (data (i32.const 70) "first") (data $d "passive") (data (i32.const 60000) "last")
            (global $g (mut i64) (i64.const 77))
            (func (export "h") (param i32) (result i32) (local $at i32) (local $sum i64)
              (loop $l
                (local.set $sum (i64.xor (i64.mul (local.get $sum) (i64.const 31)) (i64.load (local.get $at))))
                (br_if $l (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.mul (memory.size) (i32.const 65536)))))
              (local.set $at (i32.const 0))
              (loop $l
                (local.set $sum (i64.add (i64.shl (local.get $sum) (i64.const 1)) (i64.extend_i32_u (ref.is_null (table.get $t (local.get $at))))))
                (br_if $l (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (table.size $t))))
              (local.set $sum (i64.add (local.get $sum) (global.get $g)))
              (memory.init $d (i32.const 200) (i32.const 0) (i32.const 7))
              (table.init $t $passive (i32.const 7) (i32.const 0) (i32.const 1))
              (data.drop $d) (elem.drop $passive)
              (global.set $g (i64.extend_i32_u (local.get 0)))
              (drop (table.grow $t (ref.func $e) (i32.and (local.get 0) (i32.const 255))))
              (table.fill $t (i32.const 0) (ref.func $e) (table.size $t))
              (drop (memory.grow (i32.and (local.get 0) (i32.const 31))))
              (memory.fill (i32.const 0) (local.get 0) (i32.mul (memory.size) (i32.const 65536)))
              {end}
              (i32.wrap_i64 (i64.xor (local.get $sum) (i64.shr_u (local.get $sum) (i64.const 32)))))"#
        )
    };
    let returning = load(engine, &body(1, ""))?;
    let trapping = load(engine, &body(1, "unreachable"))?;
    let larger = load(engine, &body(9, ""))?;
    // What another instance had grown by is out of reach.
    let beyond = "(i32.load (i32.mul (memory.size) (i32.const 65536)))";
    let beyond =
        format!(r#"(memory (export "memory") 1) (func (export "h") (param i32) (result i32) {beyond})"#);
    let beyond = load(engine, &beyond)?;
    let limits = GuestLimits { memory_bytes: 64 << 16, ..GuestLimits::default() };
    let (one, nine) = (outcome(&*returning, 1, &limits)?.result, outcome(&*larger, 1, &limits)?.result);
    ensure(one.is_ok() && nine.is_ok() && one != nine, || format!("the programs gave {one:?} and {nine:?}"))?;
    let rounds = || {
        (2..60).try_for_each(|rid| {
            let trapped = outcome(&*trapping, 255 - rid, &limits)?.result;
            same("a trap", &trapped, &Err(GuestError::Trap))?;
            same("a fresh instance", &outcome(&*returning, rid, &limits)?.result, &one)?;
            same("a larger fresh instance", &outcome(&*larger, rid, &limits)?.result, &nine)?;
            same("beyond its memory", &outcome(&*beyond, rid, &limits)?.result, &Err(GuestError::Trap))
        })
    };
    rounds()?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(rounds)).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| "a thread panicked".to_owned())?)
    })
}
