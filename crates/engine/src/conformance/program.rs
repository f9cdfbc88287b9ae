//! What is a program, and what of it is called.

use std::sync::Arc;

use w3bstream_types::Digest;

use super::Checked;
use super::rig::{Rig, ensure, handler, module, same};
use crate::instrument::{Bounds, instrument};
use crate::{Engine, ErrorKind, GuestError, Uses};

const MEMORY: &str = r#"(memory (export "memory") 1)"#;

/// Programs that are refused, and what the error must name.
const BAD: &[(&str, &str)] = &[
    ("", "memory"),
    ("(memory 1)", "memory"),
    (r#"(import "env" "ws_lgo" (func (param i32 i32 i32) (result i32)))"#, "did you mean env.ws_log"),
    (r#"(import "stat" "ws_log" (func (param i32 i32 i32) (result i32)))"#, "did you mean env.ws_log"),
    (r#"(import "env" "something_else_entirely" (func))"#, "env.something_else_entirely"),
    (r#"(import "env" "ws_log" (func (param i32 i32) (result i32)))"#, "must be (i32, i32, i32) -> (i32)"),
    (
        r#"(import "env" "ws_gauge_set" (func (param i32 i32 f64) (result i32)))"#,
        "use stat.ws_submit_metrics",
    ),
    (r#"(import "env" "ws_get_data" (func (param i32 i32 i32) (result i32)))"#, "alloc"),
    (
        r#"(import "wasi_snapshot_preview1" "fd_wirte" (func (param i32 i32 i32 i32) (result i32)))"#,
        "fd_write",
    ),
    (r#"(import "env" "memory" (memory 1))"#, "memory"),
    (r#"(import "env" "table" (table 1 funcref))"#, "table"),
    (r#"(global (export "__w3b_gas") (mut i64) (i64.const 0))"#, "reserved"),
    (r#"(func (export "__w3b_start"))"#, "reserved"),
    ("(func (drop (v128.const i64x2 0 0)))", "SIMD"),
    ("(func (drop (i32.atomic.load (i32.const 0))))", "threads"),
    ("(func (return_call 0))", "tail calls"),
    ("(tag)", "exceptions"),
    ("(type (struct))", "gc"),
    (r#"(data (i32.const 65535) "ab")"#, "does not fit"),
    ("(table 1 funcref) (elem (i32.const 1) 0) (func)", "does not fit"),
    ("(memory 1)", "multiple memories"),
];

pub(super) fn bad_programs_are_named(engine: &Arc<dyn Engine>) -> Checked {
    let refused = |bytes: &[u8], what: &str, named: &str| {
        let Err(e) = engine.load(bytes) else { return Err(format!("{what} was accepted")) };
        same(&format!("kind of the error for {what}"), &e.kind(), &ErrorKind::BadProgram)?;
        ensure(e.to_string().contains(named), || {
            format!("the error for {what} is `{e}`, which does not name {named}")
        })
    };
    for (place, (fields, named)) in BAD.iter().enumerate() {
        // The first two are about the memory itself.
        let fields = if place < 2 { (*fields).to_owned() } else { imports_first(fields) };
        refused(&module(&fields)?, &fields, named)?;
    }
    // Without names: a program cut before its last custom section would be a good one.
    let good = module(&format!(r#"{MEMORY} (func (export "h") (param i32) (result i32) (i32.const 1))"#))?;
    engine.load(&good).map_err(|e| format!("a good program is refused: {e}"))?;
    for len in 0..good.len() {
        refused(good.get(..len).unwrap_or(&good), &format!("a program cut to {len} bytes"), "")?;
    }
    refused(b"\0asm\x0d\0\x01\0", "a component", "")?;
    refused(&[0xff; 100], "noise", "")?;
    Ok(())
}

/// The text format wants imports before a memory.
fn imports_first(fields: &str) -> String {
    if fields.starts_with("(import") { format!("{fields} {MEMORY}") } else { format!("{MEMORY} {fields}") }
}

pub(super) fn handlers_are_those_of_the_right_type(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        MEMORY,
        r#"(func (export "start")) (func (export "wide") (param i64) (result i32) (i32.const 0))
           (func (export "void") (param i32)) (func (export "two") (param i32 i32) (result i32) (i32.const 0))
           (global (export "g") i32 (i32.const 0)) (table (export "t") 1 funcref)"#,
        &handler("on_reading", "(i32.const 1)"),
        &handler("a b\u{e9}", "(i32.const 2)"),
    ];
    let mut rig = Rig::bare(engine, &fields.concat())?;
    let mut handlers = rig.module.handlers();
    handlers.sort();
    same("handlers", handlers.as_slice(), &["a b\u{e9}".to_owned(), "on_reading".to_owned()])?;
    rig.returns("a b\u{e9}", 2)?;
    for name in ["start", "wide", "void", "two", "g", "t", "memory", "absent", "", "__w3b_gas"] {
        let outcome = rig.fails(name, GuestError::NoHandler)?;
        same("gas without a handler", &outcome.gas, &0)?;
    }
    Ok(())
}

pub(super) fn what_a_program_uses_is_what_it_imports(engine: &Arc<dyn Engine>) -> Checked {
    let uses = |events, database| Uses { events, database };
    let imports = [
        ("", uses(false, false)),
        (r#"(import "env" "ws_set_db" (func (param i32 i32 i32 i32) (result i32)))"#, uses(false, false)),
        (r#"(import "env" "ws_send_event" (func (param i32 i32 i32 i32) (result i32)))"#, uses(true, false)),
        (r#"(import "env" "ws_set_sql_db" (func (param i32 i32) (result i32)))"#, uses(false, true)),
        (r#"(import "env" "ws_get_sql_db" (func (param i32 i32 i32 i32) (result i32)))"#, uses(false, true)),
    ];
    for (import, wanted) in imports {
        let alloc = r#"(func (export "alloc") (param i32) (result i32) (i32.const 1024))"#;
        let rig = Rig::bare(engine, &[import, MEMORY, alloc, &handler("h", "(i32.const 1)")].concat())?;
        same(import, &rig.module.uses(), &wanted)?;
    }
    Ok(())
}

pub(super) fn start_and_initialize_run_first(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        MEMORY,
        "(global $g (mut i32) (i32.const 1))
         (func $s (global.set $g (i32.mul (global.get $g) (i32.const 3)))) (start $s)",
        r#"(func (export "_initialize") (global.set $g (i32.add (global.get $g) (i32.const 4))))
           (func (export "_start") (global.set $g (i32.const 1000)))"#,
        &handler("h", "(global.get $g)"),
    ];
    Rig::bare(engine, &fields.concat())?.returns("h", 7)?;
    let endless = format!("{MEMORY} (func $s (loop (br 0))) (start $s) {}", handler("h", "(i32.const 1)"));
    Rig::bare(engine, &endless)?.fails("h", GuestError::OutOfGas)?;
    let trap = format!("{MEMORY} (func $s unreachable) (start $s) {}", handler("h", "(i32.const 1)"));
    Rig::bare(engine, &trap)?.fails("h", GuestError::Trap)?;
    // Segments are copied before anything runs, and that is paid for.
    let text = "x".repeat(8_000);
    let data = format!(
        "{MEMORY} (data (i32.const 0) \"{text}\") {}",
        handler("h", "(i32.load8_u (i32.const 7999))")
    );
    let mut rig = Rig::bare(engine, &data)?;
    let gas = rig.returns("h", i32::from(b'x'))?.gas;
    ensure((1_000..1_100).contains(&gas), || format!("8,000 bytes of data cost {gas} gas"))?;
    rig.limits.gas = 900;
    let outcome = rig.fails("h", GuestError::OutOfGas)?;
    same("gas of a call that could not start", &outcome.gas, &900)
}

pub(super) fn digests_are_of_program_and_instrumented_module(engine: &Arc<dyn Engine>) -> Checked {
    let bytes = module(&format!("{MEMORY} {}", handler("h", "(i32.const 1)")))?;
    let expected = instrument(&bytes, &Bounds::default()).map_err(|e| e.to_string())?;
    for _ in 0..2 {
        let module = engine.load(&bytes).map_err(|e| e.to_string())?;
        same("digest of the program", &module.program(), &Digest::of(&bytes))?;
        same("digest of what runs", &module.instrumented(), &Digest::of(&expected.bytes))?;
    }
    Ok(())
}

pub(super) fn wasi_programs_run_or_are_unsupported(engine: &Arc<dyn Engine>) -> Checked {
    let exit = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
    for (fields, handler) in [
        (format!(r#"{exit} {MEMORY} (func (export "_start"))"#), "_start"),
        (format!(r#"{exit} {MEMORY} (func (export "_initialize")) (func (export "reading"))"#), "reading"),
    ] {
        match engine.load(&module(&fields)?) {
            Ok(module) => same("handlers of a WASI program", &module.handlers(), &vec![handler.to_owned()])?,
            Err(e) => same("why a WASI program is refused", &e.kind(), &ErrorKind::Unsupported)?,
        }
    }
    // Whoever has a handler of applets is one, whatever else it exports.
    let applet =
        format!(r#"{exit} {MEMORY} (func (export "_start")) {}"#, super::rig::handler("h", "(i32.const 1)"));
    let applet = engine.load(&module(&applet)?).map_err(|e| format!("an applet with _start: {e}"))?;
    same("handlers of an applet with _start", &applet.handlers(), &vec!["h".to_owned()])
}
