//! The developer's runner.

use w3bstream_engine::ErrorKind;
use w3bstream_engine_wasix::runner::{Ended, Run, run};

use crate::world::program;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

#[test]
fn a_program_has_real_folders_and_its_exit_code_is_passed_on() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("in.txt"), "from outside").expect("a file");
    let body = "(if (call $open 'in.txt' (i32.const 0) (i32.const 0)) (then (call $proc_exit (i32.const 9))))
        (local.set $a (call $get (global.get $fd)))
        (if (call $open 'out.txt' (i32.const 9) (i32.const 0)) (then (call $proc_exit (i32.const 10))))
        (if (call $put (global.get $fd) (i32.const 32768) (local.get $a)) (then (call $proc_exit (i32.const 11))))
        (call $proc_exit (i32.const 7))";
    let dirs = vec![(dir.path().to_owned(), "/files".to_owned())];
    let ended =
        run(&Run { program: program(body), name: "p".into(), dirs, ..Run::default() }, runtime().handle());
    assert_eq!(ended.expect("it ran"), Ended::Exit(7));
    assert_eq!(std::fs::read_to_string(dir.path().join("out.txt")).expect("a file"), "from outside");
}

#[test]
fn a_return_is_0_and_a_trap_is_told() {
    let of = |body: &str| {
        run(&Run { program: program(body), name: "p".into(), ..Run::default() }, runtime().handle())
            .expect("it ran")
    };
    assert_eq!(of(""), Ended::Exit(0));
    assert!(matches!(of("unreachable"), Ended::Trap(why) if why.contains("unreachable")));
}

#[test]
fn what_cannot_be_run_is_told_why() {
    let refused = |program: &[u8], dirs: Vec<(std::path::PathBuf, String)>| {
        let run = run(
            &Run { program: program.to_vec(), name: "p".into(), dirs, ..Run::default() },
            runtime().handle(),
        );
        let e = run.expect_err("refused");
        (e.kind(), e.to_string())
    };
    assert_eq!(refused(b"no module", vec![]).0, ErrorKind::BadProgram);
    let (kind, why) =
        refused(br#"(module (import "env" "ws_log" (func (param i32 i32 i32) (result i32))))"#, vec![]);
    assert!(
        kind == ErrorKind::BadProgram && why.contains("env.ws_log") && why.contains("applet run"),
        "{why}"
    );
    let (kind, why) = refused(br#"(module (memory (export "memory") 1))"#, vec![]);
    assert!(kind == ErrorKind::BadProgram && why.contains("_start"), "{why}");
    let (kind, why) = refused(&program(""), vec![("/no/such/folder".into(), "/x".into())]);
    assert!(kind == ErrorKind::Host && why.contains("/no/such/folder"), "{why}");
}
