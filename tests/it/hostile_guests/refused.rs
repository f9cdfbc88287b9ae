//! What is refused when it is deployed, each with what the owner is told.

use std::time::Duration;

use w3bstream_types::GuestLimits;

use super::world::{WELL, World, applet, block_on, engine};

const MEMORY: &str = r#"(memory (export "memory") 1)"#;
const RUN: &str = r#"(func (export "run") (param i32) (result i32) (i32.const 1))"#;
const GET_DATA: &str = r#"(import "env" "ws_get_data" (func (param i32 i32 i32) (result i32)))"#;

fn wat(fields: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {fields})")).unwrap_or_else(|e| panic!("{e}\n{fields}"))
}

/// A name, a module as text, and what is said of it.
type Row = (&'static str, String, &'static str);

/// Memories and tables that are not as they must be.
fn memories() -> Vec<Row> {
    let alone = |fields: &str| format!("{MEMORY} {fields} {RUN}");
    let many = |n: usize, text: &str| text.repeat(n);
    vec![
        ("no memory", RUN.to_owned(), "does not export its memory as `memory`"),
        ("a memory that is kept", format!("(memory 1) {RUN}"), "does not export its memory as `memory`"),
        (
            "a memory that is a function",
            format!(r#"(memory 1) (func (export "memory")) {RUN}"#),
            "does not export its memory as `memory`",
        ),
        (
            "a memory that is a global",
            format!(r#"(memory 1) (global (export "memory") i32 (i32.const 0)) {RUN}"#),
            "does not export its memory as `memory`",
        ),
        (
            "a memory that is a table",
            format!(r#"(memory 1) (table (export "memory") 1 funcref) {RUN}"#),
            "does not export its memory as `memory`",
        ),
        ("a memory of others", format!(r#"(import "env" "memory" (memory 1)) {RUN}"#), "imports env.memory"),
        ("a memory of 64 bits", format!(r#"(memory (export "memory") i64 1) {RUN}"#), "memory64"),
        ("two memories", alone("(memory 1)"), "multiple memories"),
        ("a shared memory", format!(r#"(memory (export "memory") 1 2 shared) {RUN}"#), "threads"),
        (
            "a memory of 4 GiB",
            format!(r#"(memory (export "memory") 65536) {RUN}"#),
            "initial pages of memory: 65536",
        ),
        (
            "a table of 4 billion",
            alone("(table 4294967295 funcref)"),
            "initial elements of tables: 4294967295",
        ),
        ("seventeen tables", alone(&many(17, "(table 1 funcref)")), "too many tables: 17"),
    ]
}

/// Functions that there are not, and an `alloc` that is none.
fn imports() -> Vec<Row> {
    let before = |import: &str| format!("{import} {MEMORY} {RUN}");
    vec![
        ("no alloc", before(GET_DATA), "imports ws_get_data, so it must export `alloc`"),
        (
            "an alloc of another type",
            before(GET_DATA) + r#"(func (export "alloc") (param i64) (result i32) (i32.const 0))"#,
            "imports ws_get_data, so it must export `alloc`",
        ),
        (
            "an alloc that is a global",
            before(GET_DATA) + r#"(global (export "alloc") i32 (i32.const 0))"#,
            "imports ws_get_data, so it must export `alloc`",
        ),
        (
            "a misspelt import",
            before(r#"(import "env" "ws_lgo" (func (param i32 i32 i32) (result i32)))"#),
            "did you mean env.ws_log",
        ),
        (
            "an import of another type",
            before(r#"(import "env" "ws_log" (func (param i64 i32 i32) (result i32)))"#),
            "must be (i32, i32, i32) -> (i32)",
        ),
        ("an import of nobody", before(r#"(import "host" "system" (func (param i32)))"#), "host.system"),
        ("a table of others", before(r#"(import "env" "table" (table 1 funcref))"#), "imports env.table"),
        ("a global of others", before(r#"(import "env" "g" (global i32))"#), "imports env.g"),
        (
            "wasix",
            before(r#"(import "wasix_32v1" "proc_fork" (func (param i32) (result i32)))"#),
            "wasix_32v1.proc_fork",
        ),
        (
            "threads",
            before(r#"(import "wasi" "thread-spawn" (func (param i32) (result i32)))"#),
            "wasi.thread-spawn",
        ),
    ]
}

/// What is not admitted, and segments that lie.
fn features() -> Vec<Row> {
    let alone = |fields: &str| format!("{MEMORY} {fields} {RUN}");
    vec![
        ("a reserved export", alone(r#"(global (export "__w3b_gas") (mut i64) (i64.const 0))"#), "reserved"),
        ("SIMD", alone("(func (drop (v128.const i64x2 0 0)))"), "SIMD"),
        ("atomics", alone("(func (drop (i32.atomic.load (i32.const 0))))"), "threads"),
        ("tail calls", alone("(func (return_call 0))"), "tail calls"),
        ("exceptions", alone("(tag)"), "exceptions"),
        ("garbage collection", alone("(type (struct))"), "gc"),
        ("data behind the memory", alone(r#"(data (i32.const 65535) "ab")"#), "does not fit the memory"),
        ("data at minus one", alone(r#"(data (i32.const -1) "ab")"#), "does not fit the memory"),
        (
            "elements behind the table",
            alone("(table 1 funcref) (elem (i32.const 1) 0)"),
            "does not fit its table",
        ),
    ]
}

/// Too much of something, and handlers that are none.
fn sizes() -> Vec<Row> {
    let alone = |fields: &str| format!("{MEMORY} {fields} {RUN}");
    let many = |n: usize, text: &str| text.repeat(n);
    vec![
        (
            "too many locals",
            alone(&format!("(func {})", many(4_097, "(local i64)"))),
            "too many locals: 4097",
        ),
        (
            "too many blocks",
            alone(&format!("(func {} {})", many(4_097, "block "), many(4_097, "end "))),
            "too many blocks inside each other",
        ),
        (
            "too many operands",
            alone(&format!("(func {} {})", many(4_097, "i32.const 1 "), many(4_097, "drop "))),
            "too many operands: 4097",
        ),
        (
            "too many parameters",
            alone(&format!("(func (param {}))", many(129, "i64 "))),
            "too many parameters",
        ),
        (
            "a name of 2,000 letters",
            alone(&format!(r#"(func (export "{}"))"#, many(2_000, "x"))),
            "too many bytes of an exported name: 2000",
        ),
        ("no handler", MEMORY.to_owned(), "exports no handler \"run\""),
        (
            "a handler of another type",
            format!(r#"{MEMORY} (func (export "run") (param i64) (result i32) (i32.const 1))"#),
            "exports no handler \"run\"",
        ),
        (
            "a handler that is a memory",
            r#"(memory (export "memory") 1) (export "run" (memory 0))"#.to_owned(),
            "exports no handler \"run\"",
        ),
    ]
}

/// Bytes that no text makes, with what is said of them.
fn bytes() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = wat(&format!("{MEMORY} {RUN}"));
    let head = b"\0asm\x01\0\0\0";
    let with = |rest: &[u8]| [&head[..], rest].concat();
    let lie = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let mut cut = good.clone();
    cut.truncate(good.len() - 3);
    vec![
        ("nothing", vec![], "no WebAssembly"),
        ("a script", b"#!/bin/sh\nrm -rf /\n".to_vec(), "no WebAssembly"),
        ("noise", vec![0xff; 4_096], "no WebAssembly"),
        ("a component", b"\0asm\x0d\0\x01\0".to_vec(), "component"),
        ("another version", b"\0asm\x02\0\0\0".to_vec(), "version"),
        ("a module that was cut", cut, "end"),
        (
            "a section that is longer than the module",
            with(&[&[1][..], &lie].concat()),
            "unexpected end-of-file",
        ),
        ("4 billion types", with(&[&[1, 5][..], &lie].concat()), "types"),
        ("4 billion functions", with(&[&[3, 5][..], &lie].concat()), "functions"),
        ("4 billion imports", with(&[&[2, 5][..], &lie].concat()), "imports"),
        ("4 billion exports", with(&[&[7, 5][..], &lie].concat()), "exports"),
        ("16 MiB and one byte", with(&vec![0; (16 << 20) - 7]), "too many bytes"),
    ]
}

#[test]
fn what_cannot_be_an_applet_is_refused_by_name_and_nothing_changes() {
    block_on(async {
        let world = World::start(engine(64, Duration::from_secs(300)), GuestLimits::default()).await;
        let program = world.put(wat::parse_str(WELL).unwrap()).await.unwrap();
        let well = || applet("well", program, &[("check", "well")], GuestLimits::default());
        let project = world.deploy("hostile", vec![well()]).await.unwrap();
        let texts = [memories(), imports(), features(), sizes()].into_iter().flatten();
        let all: Vec<(&str, Vec<u8>, &str)> =
            texts.map(|(name, text, said)| (name, wat(&text), said)).chain(bytes()).collect();
        let mut wrong = vec![];
        for (counter, (name, module, said)) in (0..).zip(all) {
            let why = match world.put(module).await {
                Err(why) => why,
                Ok(program) => {
                    let bad = applet("bad", program, &[("default", "run")], GuestLimits::default());
                    world.deploy("hostile", vec![well(), bad]).await.expect_err(name)
                }
            };
            if !why.contains(said) {
                wrong.push(format!("{name} is refused with {why:?}, which does not say {said:?}"));
            }
            let results = world.send(&project, counter, ("check", b"")).await.unwrap();
            assert_eq!(results[0].code, i32::try_from(counter).unwrap(), "after {name}");
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(!world.halted("hostile"));
        world.stop().await;
    });
}
