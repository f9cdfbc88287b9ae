//! WASI programs that mean harm, each with what its result is.

use std::fmt::Write as _;
use std::time::Duration;

use w3bstream_engine::abi::HostFunction;
use w3bstream_engine::instrument::ValueType;
use w3bstream_types::GuestLimits;

use super::stopped::{Guest, caps, each_harms_nobody};
use super::world::{World, block_on, engine};

/// Where the text of a program is kept in its memory.
const TEXT_AT: usize = 4_096;

/// All functions of preview 1 under their names; `$say` writes a byte to standard output, `$put` a stretch of memory to a
/// descriptor, and `$make` makes a file of a byte below `/data`. `'some text'` stands for address and length of it.
fn module(body: &str) -> Vec<u8> {
    let mut text = String::from("(module ");
    for f in HostFunction::all().iter().filter(|f| f.module == "wasi_snapshot_preview1") {
        let name = |t: &ValueType| if *t == ValueType::I64 { "i64" } else { "i32" };
        let params: Vec<&str> = f.params.iter().map(name).collect();
        let result = if f.result.is_some() { "(result i32)" } else { "" };
        let (name, params) = (f.name, params.join(" "));
        let _ = writeln!(
            text,
            r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) {result}))"#
        );
    }
    text += r#"(memory (export "memory") 2 16)
        (func $put (param i32 i32 i32) (result i32)
          (i32.store (i32.const 0) (local.get 1)) (i32.store (i32.const 4) (local.get 2))
          (call $fd_write (local.get 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (func $say (param $byte i32)
          (i32.store8 (i32.const 16) (local.get $byte))
          (drop (call $put (i32.const 1) (i32.const 16) (i32.const 1))))
        (func $open (param $at i32) (param $len i32) (result i32)
          (call $path_open (i32.const 4) (i32.const 1) (local.get $at) (local.get $len) (i32.const 1)
            (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 20)))
        (func $make (param $at i32) (param $len i32) (result i32) (local $error i32)
          (if (local.tee $error (call $open (local.get $at) (local.get $len))) (then (return (local.get $error))))
          (if (local.tee $error (call $put (i32.load (i32.const 20)) (i32.const 16) (i32.const 1)))
            (then (return (local.get $error))))
          (call $fd_close (i32.load (i32.const 20))))"#;
    let body = format!(r#"(func (export "run") (local $i i32) {body})"#);
    let (mut data, mut at) = (String::new(), TEXT_AT);
    for (i, part) in body.split('\'').enumerate() {
        if i % 2 == 0 {
            text += part;
            continue;
        }
        let _ = write!(text, "(i32.const {at}) (i32.const {})", part.len());
        let bytes: String = part.bytes().map(|b| format!("\\{b:02x}")).collect();
        let _ = writeln!(data, "(data (i32.const {at}) \"{bytes}\")");
        at += part.len();
    }
    wat::parse_str(format!("{text} {data})")).unwrap_or_else(|e| panic!("{e}\n{body}"))
}

fn does(
    name: &'static str,
    body: &str,
    ends: Result<i32, &'static str>,
    answer: Option<&'static [u8]>,
) -> Guest {
    let limits = GuestLimits {
        gas: 60_000_000,
        memory_bytes: 4 << 16,
        table_elements: 1_000,
        output_bytes: 100_000,
        host_calls: 200_000,
        kv_bytes: 1 << 24,
        ..GuestLimits::default()
    };
    Guest { name, module: module(body), limits, ends, answer }
}

/// A guest that fails.
fn fails(name: &'static str, body: &str, error: &'static str) -> Guest {
    does(name, body, Err(error), None)
}

/// A guest that asks the host for something and says what it was told.
fn told(name: &'static str, calls: &str, answer: &'static [u8]) -> Guest {
    let said: String = calls.lines().map(|call| format!("(call $say {call})")).collect();
    does(name, &said, Ok(0), Some(answer))
}

/// Numbers of errors, as preview 1 has them.
mod errno {
    pub(super) const FAULT: u8 = 21;
    pub(super) const INVAL: u8 = 28;
    pub(super) const ISDIR: u8 = 31;
    pub(super) const MFILE: u8 = 33;
    pub(super) const NOENT: u8 = 44;
    pub(super) const NOSYS: u8 = 52;
    pub(super) const NOTDIR: u8 = 54;
    pub(super) const NOTSUP: u8 = 58;
    pub(super) const PERM: u8 = 63;
    pub(super) const NOTCAPABLE: u8 = 76;
}
use errno::{FAULT, INVAL, ISDIR, MFILE, NOENT, NOSYS, NOTCAPABLE, NOTDIR, NOTSUP, PERM};

fn limits() -> Vec<Guest> {
    let forever = |call: &str| format!("(loop $l (drop {call}) (br $l))");
    vec![
        fails("wasi-loop", "(loop $l (br $l))", "out-of-gas"),
        fails("wasi-trap", "unreachable", "trap"),
        fails("wasi-exit", "(call $proc_exit (i32.const 1))", "exit"),
        does(
            "wasi-memory-storm",
            "(loop $l (drop (memory.grow (i32.const 1)))
               (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 20000))))
             (memory.fill (i32.const 0) (i32.const 7) (i32.const 262144)) (call $say (memory.size))",
            Ok(0),
            Some(&[4]),
        ),
        fails("wasi-poll-bomb", &format!("(i64.store (i32.const 1048) (i64.const -1)) {}",
            forever("(call $poll_oneoff (i32.const 1024) (i32.const 1024) (i32.const 1000) (i32.const 28))")), "out-of-gas"),
        told(
            "wasi-poll-of-anything",
            "(call $poll_oneoff (i32.const 1024) (i32.const 1024) (i32.const 1025) (i32.const 28))
             (call $poll_oneoff (i32.const 1024) (i32.const 1024) (i32.const -1) (i32.const 28))
             (call $poll_oneoff (i32.const 1024) (i32.const 1024) (i32.const 0) (i32.const 28))",
            &[INVAL, INVAL, INVAL],
        ),
        fails("wasi-stdout-flood", &forever("(call $put (i32.const 1) (i32.const 0) (i32.const 65536))"), "output-limit"),
        fails("wasi-stdout-flood-of-bytes", &forever("(call $put (i32.const 1) (i32.const 0) (i32.const 1))"), "output-limit"),
        fails("wasi-stderr-flood", &forever("(call $put (i32.const 2) (i32.const 0) (i32.const 65536))"), "out-of-gas"),
        fails("wasi-yield-storm", &forever("(call $sched_yield)"), "host-call-limit"),
        fails("wasi-random-storm", &forever("(call $random_get (i32.const 0) (i32.const 65536))"), "out-of-gas"),
        fails(
            "wasi-10000-tiny-files",
            "(loop $l (i32.store (i32.const 1024) (i32.add (i32.const 0x30303030)
               (i32.or (i32.and (local.get $i) (i32.const 15)) (i32.or
                 (i32.shl (i32.and (local.get $i) (i32.const 240)) (i32.const 4)) (i32.or
                 (i32.shl (i32.and (local.get $i) (i32.const 3840)) (i32.const 8))
                 (i32.shl (i32.and (local.get $i) (i32.const 61440)) (i32.const 12)))))))
               (if (call $make (i32.const 1024) (i32.const 4)) (then unreachable))
               (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10000))))",
            "kv-limit",
        ),
        fails(
            "wasi-file-of-a-terabyte",
            "(if (call $open 'f') (then unreachable))
             (if (call $fd_filestat_set_size (i32.load (i32.const 20)) (i64.const 1099511627776)) (then (call $say (i32.const 1))))",
            "kv-limit",
        ),
        does(
            "wasi-descriptors",
            "(if (call $make 'f') (then unreachable))
             (loop $l (br_if $l (i32.eqz (call $open 'f')))) (call $say (call $open 'f'))",
            Ok(0),
            Some(&[MFILE]),
        ),
    ]
}

/// What a path out of `/data` is answered with; 0 is a file inside.
fn escapes() -> Vec<Guest> {
    let path = |path: &str| format!("(call $open '{path}')");
    let each = |paths: &[&str]| paths.iter().map(|p| path(p)).collect::<Vec<_>>().join("\n");
    vec![
        told("wasi-escape-dots", &each(&["../x", "../../etc/passwd", "d/../../etc/passwd", "..", "./../x"]), &[PERM, NOTCAPABLE, NOENT, ISDIR, PERM]),
        told("wasi-escape-absolute", &each(&["/etc/passwd", "//etc/passwd", "/proc/self/environ", "/dev/null", "/"]), &[NOTCAPABLE, NOTCAPABLE, NOTCAPABLE, NOTCAPABLE, ISDIR]),
        told("wasi-escape-slash", &format!("(call $make 'f')\n{}", each(&["f/", "f/.", "f/..", "f/x", "new/"])), &[0, ISDIR, NOTDIR, NOTDIR, NOTDIR, ISDIR]),
        told(
            "wasi-links",
            "(call $make 'f')
             (call $path_symlink '/etc/passwd' (i32.const 4) 'link')
             (call $path_link (i32.const 4) (i32.const 0) 'f' (i32.const 4) 'hard')
             (call $path_readlink (i32.const 4) 'f' (i32.const 1024) (i32.const 64) (i32.const 28))
             (call $path_filestat_get (i32.const 4) (i32.const 1) 'link' (i32.const 2048))",
            &[0, NOTSUP, NOTSUP, INVAL, NOENT],
        ),
        told(
            "wasi-rename-over",
            "(call $make 'f')
             (call $make 'g')
             (call $path_rename (i32.const 4) 'f' (i32.const 4) 'g')
             (call $path_rename (i32.const 4) 'f' (i32.const 4) 'g')
             (call $path_rename (i32.const 4) 'g' (i32.const 4) '../../etc/passwd')
             (call $path_rename (i32.const 4) '../../etc/passwd' (i32.const 4) 'g')",
            &[0, 0, 0, NOENT, NOTCAPABLE, NOTCAPABLE],
        ),
        told(
            "wasi-sockets-and-signals",
            "(call $sock_accept (i32.const 3) (i32.const 0) (i32.const 1024))
             (call $sock_recv (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 28) (i32.const 32))
             (call $sock_send (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 28))
             (call $proc_raise (i32.const 9))",
            &[NOSYS; 4],
        ),
        told(
            "wasi-pointers",
            "(call $fd_write (i32.const 1) (i32.const -8) (i32.const 1) (i32.const 8))
             (call $fd_write (i32.const 1) (i32.const 0) (i32.const 0x20000000) (i32.const 8))
             (call $fd_read (i32.const 0) (i32.const 131068) (i32.const 1) (i32.const 8))
             (call $random_get (i32.const -1) (i32.const 2))
             (call $path_open (i32.const 4) (i32.const 1) (i32.const -4) (i32.const 8) (i32.const 1) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 20))",
            &[FAULT, INVAL, FAULT, FAULT, FAULT],
        ),
    ]
}

#[test]
fn every_wasi_program_that_means_harm_ends_as_its_own_failure() {
    block_on(async {
        let world = World::start(engine(256, Duration::from_secs(300)), caps()).await;
        let guests: Vec<Guest> = limits().into_iter().chain(escapes()).collect();
        println!("{} WASI programs", guests.len());
        each_harms_nobody(&world, &guests).await;
        let cut = "w3b_log_lines_cut_total{project=\"hostile\",applet=\"wasi-stderr-flood\"}";
        assert!(world.metric(cut) > 0, "{}", world.metrics());
        world.stop().await;
    });
}
