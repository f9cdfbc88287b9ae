//! Programs that try to harm their host or each other: each ends as its own failure.

use std::fmt::Write as _;

use w3bstream_engine::abi::HostFunction;
use w3bstream_engine::instrument::ValueType;
use w3bstream_engine::{Engine as _, ErrorKind, GuestError};
use w3bstream_types::GuestLimits;

use crate::world::{World, engine, program};

/// The next program is well.
fn others_are_well() {
    let mut world = World::default();
    let said = world.says("(drop (call $make 'f' 'fine')) (call $say (call $cat 'f'))");
    assert_eq!(said, b"fine\0");
}

#[test]
fn addresses_of_numbers_must_be_aligned() {
    let mut world = World::default();
    let said = world.says(
        "(call $say (call $fd_prestat_get (i32.const 3) (i32.const 2050)))
         (call $say (call $args_sizes_get (i32.const 2048) (i32.const 2053)))
         (call $say (call $fd_tell (i32.const 3) (i32.const 2052)))
         (call $say (call $fd_prestat_get (i32.const 4) (i32.const 2052)))",
    );
    assert_eq!(said, [28, 28, 28, 0], "inval, and what is aligned is answered");
    others_are_well();
}

#[test]
fn loops_recursion_and_memory_end_at_their_limits() {
    let mut world = World::default();
    let outcome = world.fails("(loop $l (br $l))", GuestError::OutOfGas);
    assert_eq!(outcome.gas, GuestLimits::default().gas);
    let recursion = r#"(func $f (call $f)) (func (export "_start") (call $f))"#;
    let module = engine().load(&crate::world::module(recursion)).expect("a good program");
    let outcome = world.call(&*module, "_start").expect("an outcome");
    assert_eq!(outcome.result, Err(GuestError::StackOverflow));
    world.limits.memory_bytes = 65_536;
    world.fails("", GuestError::MemoryLimit);
    world.limits.memory_bytes = 4 * 65_536;
    let grown = world.says("(call $say (memory.grow (i32.const 2))) (call $say (memory.grow (i32.const 1)))");
    assert_eq!(grown, [2, 255]);
    others_are_well();
}

#[test]
fn floods_of_output_end_the_call_and_floods_of_logs_are_cut() {
    let mut world = World::default();
    world.limits = GuestLimits { output_bytes: 1_000, log_bytes: 1_000, ..world.limits };
    let flood = |fd: u32| {
        format!("(loop $l (drop (call $put (i32.const {fd}) (i32.const 0) (i32.const 65536))) (local.set $i (i32.add (local.get $i) (i32.const 1)))
                 (br_if $l (i32.lt_u (local.get $i) (i32.const 200))))")
    };
    world.fails(&flood(1), GuestError::OutputLimit);
    let outcome = world.run(&flood(2));
    let bytes: usize = outcome.logs.iter().map(|l| l.text.len()).sum();
    assert!(outcome.result == Ok(0) && bytes < 4_000, "{bytes} bytes of log");
    // Exactly what there is room for.
    let said = world.says("(call $print (i32.const 0) (i32.const 968))");
    assert_eq!(said.len(), 968);
    world.fails("(call $print (i32.const 0) (i32.const 969))", GuestError::OutputLimit);
    others_are_well();
}

#[test]
fn calls_of_the_host_are_counted() {
    let mut world = World::default();
    world.limits.host_calls = 10;
    let yields = |n: u32| "(drop (call $sched_yield))".repeat(n as usize);
    assert_eq!(world.says(&yields(10)), b"");
    world.fails(&yields(11), GuestError::HostCallLimit);
}

#[test]
fn ten_thousand_tiny_files_are_too_many() {
    let mut world = World::default();
    world.limits =
        GuestLimits { gas: 10_000_000_000, host_calls: 1_000_000, kv_bytes: 1 << 30, ..world.limits };
    let files = |n: u32| {
        format!(
            "(loop $l (i32.store (i32.const 1024) (i32.add (i32.const 0x30303030)
               (i32.or (i32.and (local.get $i) (i32.const 15)) (i32.or
                 (i32.shl (i32.and (local.get $i) (i32.const 240)) (i32.const 4)) (i32.or
                 (i32.shl (i32.and (local.get $i) (i32.const 3840)) (i32.const 8))
                 (i32.shl (i32.and (local.get $i) (i32.const 61440)) (i32.const 12)))))))
               (if (call $make (i32.const 1024) (i32.const 4) 'x') (then unreachable))
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $l (i32.lt_u (local.get $i) (i32.const {n}))))"
        )
    };
    world.fails(&files(10_000), GuestError::KvLimit);
    assert!(world.state.is_empty());
    // As many as a folder may have, and one more in the next call.
    world.says(&files(1_024));
    assert_eq!(world.value("/data").as_deref(), Some("1024 1024"));
    world.fails("(if (call $make 'one more' 'x') (then unreachable))", GuestError::KvLimit);
    // There is room again once something was removed.
    world.says("(drop (call $path_unlink_file (i32.const 4) '0000')) (drop (call $make 'one more' 'x'))");
    assert_eq!(world.value("/data").as_deref(), Some("1024 1024"));
    others_are_well();
}

#[test]
fn bytes_of_files_are_limited_before_there_is_memory_for_them() {
    let mut world = World::default();
    world.limits.kv_bytes = 10_000;
    let open = "(if (call $open 'f' (i32.const 1) (i32.const 0)) (then unreachable))";
    for huge in ["10001", "1099511627776", "9223372036854775807", "-1"] {
        for call in [
            format!("$fd_filestat_set_size (global.get $fd) (i64.const {huge})"),
            format!("$fd_allocate (global.get $fd) (i64.const 0) (i64.const {huge})"),
            format!("$fd_allocate (global.get $fd) (i64.const {huge}) (i64.const 1)"),
            format!(
                "$fd_pwrite (global.get $fd) (i32.const 1024) (i32.const 1) (i64.const {huge}) (i32.const 8)"
            ),
        ] {
            let outcome = world.run(&format!(
                "(i32.store (i32.const 1028) (i32.const 1)) {open} (if (call {call}) (then (call $say (i32.const 1))))"
            ));
            let refused = outcome.result == Ok(0) && crate::world::answer(&outcome) == [1];
            assert!(outcome.result == Err(GuestError::KvLimit) || refused, "{call}: {outcome:?}");
            world.state.clear();
        }
    }
    let write = |n: u32| format!("{open} (drop (call $put (global.get $fd) (i32.const 0) (i32.const {n})))");
    world.says(&write(9_800));
    world.fails(&write(10_000), GuestError::KvLimit);
    others_are_well();
}

#[test]
fn the_quota_of_an_applet_holds_over_calls() {
    let mut world = World::default();
    world.limits = GuestLimits { kv_bytes: 1 << 30, memory_bytes: 1 << 30, gas: 1 << 40, ..world.limits };
    let write = |name: u32| {
        format!(
            "(if (call $open '{name}' (i32.const 1) (i32.const 0)) (then unreachable))
                 (drop (call $fd_filestat_set_size (global.get $fd) (i64.const 16777216)))"
        )
    };
    for name in 0..4 {
        world.says(&write(name));
    }
    assert_eq!(world.value("/data").as_deref(), Some("4 67108864"));
    world.fails(&write(4), GuestError::KvLimit);
}

#[test]
fn descriptors_run_out_and_come_back() {
    let mut world = World::default();
    let said = world.says(
        "(drop (call $make 'f' 'x'))
         (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $l (i32.eqz (local.tee $a (call $open 'f' (i32.const 0) (i32.const 0))))))
         (call $say (local.get $a)) (call $say (local.get $i))
         (call $say (call $fd_close (global.get $fd))) (call $say (call $open 'f' (i32.const 0) (i32.const 0)))
         (call $say (call $fd_renumber (global.get $fd) (i32.const 1000000000)))
         (call $say (call $fd_renumber (global.get $fd) (i32.const -1)))",
    );
    assert_eq!(said, [33, 126, 0, 0, 8, 8]);
    others_are_well();
}

#[test]
fn polls_of_anything_end() {
    let mut world = World::default();
    let poll = |n: i64| {
        format!(
            "(call $say (call $poll_oneoff (i32.const 1024) (i32.const 1024) (i32.const {n}) (i32.const 28)))"
        )
    };
    // Zeros are clocks that have come; too many, none, and over the end of memory.
    let said = world.says(&[poll(1), poll(1_024), poll(1_025), poll(0), poll(-1)].concat());
    assert_eq!(said, [0, 0, 28, 28, 28]);
    // Reading from what is not open, and a kind that there is not.
    let said = world.says(
        "(i32.store8 (i32.const 1032) (i32.const 1)) (i32.store (i32.const 1040) (i32.const 99))
         (i32.store8 (i32.const 1080) (i32.const 9))
         (call $say (call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const 2) (i32.const 28)))
         (call $say (i32.load (i32.const 28))) (call $say (i32.load8_u (i32.const 2056))) (call $say (i32.load8_u (i32.const 2088)))",
    );
    assert_eq!(said, [0, 2, 8, 28]);
    let bomb = "(loop $l (i64.store (i32.const 1048) (i64.const -1))
        (drop (call $poll_oneoff (i32.const 1024) (i32.const 1024) (i32.const 1000) (i32.const 28))) (br $l))";
    let ended = world.run(bomb).result;
    assert!(matches!(ended, Err(GuestError::HostCallLimit | GuestError::OutOfGas)), "{ended:?}");
    others_are_well();
}

#[test]
fn sockets_and_signals_are_refused() {
    let said = World::default().says(
        "(call $say (call $sock_accept (i32.const 3) (i32.const 0) (i32.const 1024)))
         (call $say (call $sock_recv (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 28) (i32.const 32)))
         (call $say (call $sock_send (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 28)))
         (call $say (call $sock_shutdown (i32.const 1) (i32.const 3)))
         (call $say (call $proc_raise (i32.const 9)))",
    );
    assert_eq!(said, [52; 5]);
}

/// Numbers that are odd as pointers, lengths, descriptors and flags.
const ODD: [i64; 16] =
    [0, 1, 2, 3, 4, 5, 8, 64, 1_024, 4_096, 65_535, 131_071, 131_072, i32::MAX as i64, i32::MIN as i64, -1];

#[test]
fn no_argument_makes_the_host_fail() {
    let functions: Vec<_> = HostFunction::all()
        .iter()
        .filter(|f| f.module == "wasi_snapshot_preview1" && f.result.is_some())
        .collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).expect("small")
    };
    let mut world = World::default();
    let mut ended = 0;
    for _ in 0..150 {
        let mut body = String::from(
            "(drop (call $make 'f' 'contents')) (drop (call $path_create_directory (i32.const 4) 'd'))
             (drop (call $open 'f' (i32.const 0) (i32.const 0))) (drop (call $open 'd' (i32.const 2) (i32.const 0)))
             (i32.store (i32.const 1024) (i32.const 2048)) (i32.store (i32.const 1028) (i32.const 64))
             (i32.store (i32.const 2048) (i32.const 0x2f2e2e2f)) (i32.store8 (i32.const 64) (i32.const 0x66))",
        );
        for _ in 0..40 {
            let function = functions[next(functions.len())];
            // The first argument is most often a descriptor.
            let args = function.params.iter().enumerate().map(|(i, ty)| {
                let n = if i == 0 && next(4) > 0 { [4, 5, 6, 3][next(4)] } else { ODD[next(ODD.len())] };
                if *ty == ValueType::I64 { format!("(i64.const {n})") } else { format!("(i32.const {n})") }
            });
            let args: String = args.collect();
            let _ = write!(body, "(drop (call ${} {args}))", function.name);
        }
        let module = engine().load(&program(&body)).expect("a good program");
        let outcome = world.call(&*module, "_start").unwrap_or_else(|e| panic!("no outcome: {e}\n{body}"));
        let again = world.call(&*module, "_start").expect("an outcome");
        assert_eq!(again, outcome, "{body}");
        ended += usize::from(outcome.result.is_ok());
        world.state.extend(outcome.writes);
        world.state.retain(|key, _| !outcome.removed.contains(key));
        assert!(world.keys().iter().all(|k| k.starts_with("/data")));
    }
    assert!(ended > 20, "only {ended} of 150 came to their end");
    others_are_well();
}

#[test]
fn a_state_that_cannot_be_read_is_no_outcome() {
    struct Unreadable;
    impl w3bstream_engine::HostState for Unreadable {
        fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, w3bstream_engine::Error> {
            Err(w3bstream_engine::Error::new(ErrorKind::State, "the disk is gone"))
        }
    }
    let module = engine().load(&program("(drop (call $make 'f' 'x'))")).expect("a good program");
    let event_type = "reading".parse().expect("a label");
    let limits = GuestLimits::default();
    let call = w3bstream_engine::Call::of("_start", &event_type, b"", &limits);
    let e = module.call(call, &mut Unreadable).expect_err("no outcome");
    assert_eq!(e.kind(), ErrorKind::State);
}

#[test]
fn a_guest_that_hangs_is_given_up() {
    let applets =
        w3bstream_engine_wasmer::WasmerEngine::new(&w3bstream_engine_wasmer::WasmerConfig::default());
    let (shared, guard) = (applets.shared(), std::time::Duration::from_millis(50));
    let config = w3bstream_engine_wasix::WasixConfig { guard, ..Default::default() };
    let engine = w3bstream_engine_wasix::WasixEngine::new(std::sync::Arc::new(applets), shared, config)
        .expect("an engine");
    // Some seconds of gas stand for a layer that hangs.
    let mut world = World::default();
    world.limits.gas = 4_000_000_000;
    let module = engine.load(&program("(loop $l (br $l))")).expect("a good program");
    let e = world.call(&*module, "_start").expect_err("no outcome");
    assert!(e.kind() == ErrorKind::Host && e.to_string().contains("did not come to its end"), "{e}");
}

#[test]
fn programs_wait_for_a_place() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Tells how many calls are inside at once.
    struct Counts<'a>(&'a AtomicUsize, &'a AtomicUsize);
    impl w3bstream_engine::HostState for Counts<'_> {
        fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, w3bstream_engine::Error> {
            self.1.fetch_max(self.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(20));
            self.0.fetch_sub(1, Ordering::SeqCst);
            Ok(None)
        }
    }
    let applets =
        w3bstream_engine_wasmer::WasmerEngine::new(&w3bstream_engine_wasmer::WasmerConfig::default());
    let shared = applets.shared();
    let config = w3bstream_engine_wasix::WasixConfig { instances: 2, ..Default::default() };
    let engine = w3bstream_engine_wasix::WasixEngine::new(std::sync::Arc::new(applets), shared, config)
        .expect("an engine");
    let module = engine.load(&program("(drop (call $make 'f' 'x'))")).expect("a good program");
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let (event_type, limits) = ("reading".parse().expect("a label"), GuestLimits::default());
                let call = w3bstream_engine::Call::of("_start", &event_type, b"", &limits);
                let outcome = module.call(call, &mut Counts(&inside, &most)).expect("an outcome");
                assert_eq!(outcome.result, Ok(0));
            });
        }
    });
    assert!(most.into_inner() <= 2);
    let stats = engine.stats();
    assert!(stats.waited >= 4 && stats.running == 0, "{stats:?}");
}
