//! Streams, arguments, variables, clocks, randomness, the end.

use std::sync::Arc;

use w3bstream_engine::{GuestError, LogLine};
use w3bstream_types::Digest;

use crate::world::{BLOCK_TIME, World, answer, engine, module};

#[test]
fn the_event_comes_in_and_the_answer_goes_out() {
    let mut world = World { payload: b"twenty-one".to_vec(), ..World::default() };
    let said = world.says(
        "(call $print 'got ') (call $print (i32.const 32768) (call $get (i32.const 0)))
         ;; The end of it is an end, not an error.
         (call $say (i32.add (i32.const 48) (call $get (i32.const 0))))",
    );
    assert_eq!(String::from_utf8_lossy(&said), "got twenty-one0");
}

#[test]
fn no_answer_is_no_output() {
    assert_eq!(World::default().run("").outputs, vec![]);
}

#[test]
fn standard_error_goes_to_the_log_also_of_a_call_that_fails() {
    let line = |text: &str| LogLine { level: 2, text: text.to_owned() };
    let body = "(drop (call $put (i32.const 2) 'one\ntw')) (drop (call $put (i32.const 2) 'o\nrest'))";
    let outcome = World::default().run(body);
    assert_eq!(outcome.logs, vec![line("one"), line("two"), line("rest")]);
    let outcome = World::default().fails(&format!("{body} unreachable"), GuestError::Trap);
    assert_eq!(outcome.logs.len(), 3);
}

#[test]
fn arguments_are_handler_and_event_type_and_variables_are_the_settings() {
    let mut world = World::default();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    // What cannot be a variable is none.
    world.env = vec![pair("LIMIT", "30"), pair("a=b", "c"), pair("nul", "\0"), pair("", "x")];
    let list = |sizes: &str, get: &str| {
        format!(
            "(if (call {sizes} (i32.const 24) (i32.const 28)) (then unreachable))
             (call $say (i32.add (i32.const 48) (i32.load (i32.const 24))))
             (if (call {get} (i32.const 1024) (i32.const 2048)) (then unreachable))
             (call $print (i32.const 2048) (i32.load (i32.const 28)))"
        )
    };
    let said = world.says(&list("$args_sizes_get", "$args_get"));
    assert_eq!(String::from_utf8_lossy(&said), "2_start\0reading\0");
    let said = world.says(&list("$environ_sizes_get", "$environ_get"));
    assert_eq!(String::from_utf8_lossy(&said), "2LIMIT=30\0W3BSTREAM_TIME=77\0");
}

#[test]
fn exit_0_is_an_end_and_any_other_a_failure() {
    let mut world = World::default();
    let write = "(if (call $make 'kept' 'x') (then unreachable)) (call $print 'said')";
    let said = world.says(&format!("{write} (call $proc_exit (i32.const 0)) unreachable"));
    assert_eq!((said.as_slice(), world.value("/data/kept").as_deref()), (b"said".as_slice(), Some("x")));
    let mut world = World::default();
    let outcome = world.fails(&format!("{write} (call $proc_exit (i32.const 3))"), GuestError::Exit);
    assert_eq!(outcome.logs.last().map(|l| l.text.as_str()), Some("exited with code 3"));
    assert!(world.state.is_empty());
}

/// Prints the 8 bytes of a clock.
const CLOCK: &str =
    "(if (call $clock_time_get (i32.const CLOCK) (i64.const 1) (i32.const 24)) (then unreachable))
                     (call $print (i32.const 24) (i32.const 8))";

fn times(said: &[u8]) -> Vec<u64> {
    said.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("8 bytes"))).collect()
}

#[test]
fn clocks_show_the_blocks_time_and_move_only_when_they_are_looked_at() {
    let look = |id: u32| CLOCK.replace("CLOCK", &id.to_string());
    let said = World::default().says(&[look(0), look(1), look(2), look(3)].concat());
    let start = BLOCK_TIME * 1_000_000;
    assert_eq!(times(&said), (1..=4).map(|n| start + n * 1_000).collect::<Vec<_>>());
    let errors = World::default().says(
        "(call $say (call $clock_time_get (i32.const 4) (i64.const 0) (i32.const 24)))
         (call $say (call $clock_res_get (i32.const 9) (i32.const 24)))
         (call $say (call $clock_res_get (i32.const 0) (i32.const 24)))
         (call $say (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const -4)))",
    );
    assert_eq!(errors, [28, 28, 0, 21]);
}

#[test]
fn sleep_takes_no_time_but_the_clocks() {
    // An hour: userdata 7, clock 1, 3,600 s.
    let sleep = "(i64.store (i32.const 1024) (i64.const 7)) (i32.store (i32.const 1040) (i32.const 1))
         (i64.store (i32.const 1048) (i64.const 3600000000000))
         (call $say (call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 28)))
         (call $say (i32.load (i32.const 28))) (call $say (i32.load8_u (i32.const 2048)))";
    let look = CLOCK.replace("CLOCK", "1");
    let started = std::time::Instant::now();
    let said = World::default().says(&[sleep, &look].concat());
    assert_eq!(said.get(..3), Some([0, 1, 7].as_slice()));
    let hour = 3_600_000_000_000;
    assert_eq!(times(&said[3..]), [BLOCK_TIME * 1_000_000 + hour + 2_000]);
    assert!(started.elapsed().as_secs() < 600, "it slept");
}

#[test]
fn random_numbers_depend_on_the_call_alone() {
    let draw = "(call $say (call $random_get (i32.const 1024) (i32.const 40))) (call $print (i32.const 1024) (i32.const 40))";
    let first = World::default().says(draw);
    assert_eq!(first.len(), 41);
    assert_eq!(World::default().says(draw), first);
    let other = World { id: Digest::of(b"another call"), ..World::default() }.says(draw);
    assert_ne!(other, first);
    let twice = World::default().says(&[draw, draw].concat());
    assert!(twice.starts_with(&first) && twice[42..] != first[1..]);
}

#[test]
fn a_reactor_is_initialised_and_called_by_name() {
    let text = r#"(global $ready (mut i32) (i32.const 0))
        (func (export "_initialize") (global.set $ready (i32.const 1)))
        (func (export "reading") (if (i32.eqz (global.get $ready)) (then unreachable)) (call $print 'ready'))"#;
    let module = engine().load(&module(text)).expect("a good program");
    assert_eq!(module.handlers(), ["reading"]);
    let outcome = World::default().call(&*module, "reading").expect("an outcome");
    assert_eq!((outcome.result, outcome.outputs[0].data.as_slice()), (Ok(0), b"ready".as_slice()));
    assert_eq!(outcome.outputs[0].target, b"reading");
    for name in ["_initialize", "memory", "nothing"] {
        let outcome = World::default().call(&*module, name).expect("an outcome");
        assert_eq!(outcome.result, Err(GuestError::NoHandler));
    }
}

#[test]
fn the_same_call_gives_the_same_outcome_on_many_threads() {
    let body = r#"
        (call $print (i32.const 32768) (call $get (i32.const 0)))
        (drop (call $random_get (i32.const 1024) (i32.const 64))) (call $print (i32.const 1024) (i32.const 64))
        (drop (call $path_create_directory (i32.const 4) 'dir'))
        (drop (call $make 'dir/z' 'last')) (drop (call $make 'dir/a' 'first')) (drop (call $make 'top' 'x'))
        (drop (call $path_filestat_get (i32.const 4) (i32.const 0) 'dir/z' (i32.const 2048)))
        (call $print (i32.const 2048) (i32.const 64))
        (if (call $open 'dir' (i32.const 2) (i32.const 0)) (then unreachable))
        (if (call $fd_readdir (global.get $fd) (i32.const 8192) (i32.const 512) (i64.const 0) (i32.const 28))
          (then unreachable))
        (call $print (i32.const 8192) (i32.load (i32.const 28)))
        (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 24))) (call $print (i32.const 24) (i32.const 8))"#;
    let module = engine().load(&crate::world::program(body)).expect("a good program");
    let first = World::default().call(&*module, "_start").expect("an outcome");
    assert_eq!(first.result, Ok(0), "{:?}", first.logs);
    assert!(answer(&first).len() > 200 && first.gas > 10_000);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (module, first) = (Arc::clone(&module), &first);
            scope.spawn(move || {
                for _ in 0..10 {
                    assert_eq!(&World::default().call(&*module, "_start").expect("an outcome"), first);
                }
            });
        }
    });
}
