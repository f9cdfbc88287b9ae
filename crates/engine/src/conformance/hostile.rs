//! Guests that lie, trap and point to where nothing is.

use std::sync::Arc;

use super::Checked;
use super::rig::{Rig, ensure, handler, same};
use crate::abi::code;
use crate::{Engine, GuestError};

/// Pairs of address and size that do not lie inside one page of memory.
const OUTSIDE: [(i32, i32); 8] = [
    (65_530, 7),
    (65_537, 0),
    (0, 65_537),
    (-1, 2),
    (4, -1),
    (-1, -1),
    (i32::MIN, i32::MIN),
    (i32::MAX, i32::MAX),
];

pub(super) fn pointers_outside_memory_get_codes(engine: &Arc<dyn Engine>) -> Checked {
    let bad = "(local.get $a) (local.get $b)";
    let good = "(i32.const 8) (i32.const 3)";
    let calls = [
        ("log", format!("(call $log (i32.const 4) {bad})"), code::FAILED),
        ("set_data", format!("(call $set_data (local.get $rid) {bad})"), code::COPY_FAILED),
        ("get_db", format!("(call $get_db {bad} (i32.const 16) (i32.const 20))"), code::NOT_FOUND),
        ("set_db_key", format!("(call $set_db {bad} {good})"), code::NOT_FOUND),
        ("set_db_value", format!("(call $set_db {good} {bad})"), code::NOT_FOUND),
        ("get_env", format!("(call $get_env {bad} (i32.const 16) (i32.const 20))"), code::ENV_NOT_FOUND),
        ("mqtt_topic", format!("(call $mqtt {bad} {good})"), code::FAILED),
        ("mqtt_message", format!("(call $mqtt {good} {bad})"), code::FAILED),
        ("settle_name", format!("(call $settle {bad} {good})"), code::FAILED),
        ("settle_statement", format!("(call $settle {good} {bad})"), code::FAILED),
        ("metrics", format!("(call $metrics {bad})"), code::FAILED),
    ];
    for (at, len) in OUTSIDE {
        let set = format!("(local.set $a (i32.const {at})) (local.set $b (i32.const {len}))");
        let fields: String =
            calls.iter().map(|(name, call, _)| handler(name, &format!("{set} {call}"))).collect();
        let mut rig = Rig::new(engine, &fields)?;
        rig.env = vec![("A".into(), "1".into())];
        for (name, _, code) in &calls {
            let outcome = rig.returns(name, *code).map_err(|e| format!("at {at}, {len} bytes: {e}"))?;
            let nothing = outcome.writes.is_empty() && outcome.outputs.is_empty() && outcome.logs.is_empty();
            ensure(nothing, || format!("{name} at {at}, {len} bytes did something"))?;
        }
    }
    Ok(())
}

pub(super) fn out_pointers_outside_memory_get_code_5(engine: &Arc<dyn Engine>) -> Checked {
    for (address, size) in [(65_533, 20), (16, 65_533), (-1, 20), (16, -1), (-4, -4), (i32::MIN, 20)] {
        let out = format!("(i32.const {address}) (i32.const {size})");
        let fields = [
            handler("data", &format!("(call $get_data (local.get $rid) {out})")),
            handler("kind", &format!("(call $event_type (local.get $rid) {out})")),
            handler("time", &format!("(call $context (local.get $rid) (i32.const 5) {out})")),
            handler("get", &format!("(call $get_db (i32.const 8) (i32.const 3) {out})")),
            handler("env", &format!("(call $get_env (i32.const 8) (i32.const 3) {out})")),
        ];
        let mut rig = Rig::new(engine, &fields.concat())?;
        rig.state.0.insert(b"out".to_vec(), b"v".to_vec());
        rig.env = vec![("out".into(), "1".into())];
        for name in ["data", "kind", "time", "get", "env"] {
            rig.returns(name, code::COPY_FAILED)?;
        }
    }
    Ok(())
}

/// A handler that reads the payload and returns the answer.
fn reader() -> String {
    handler("data", "(call $get_data (local.get $rid) (i32.const 16) (i32.const 20))")
}

pub(super) fn malloc_stands_in_for_alloc(engine: &Arc<dyn Engine>) -> Checked {
    let malloc = r#"(func (export "malloc") (param i32) (result i32) (i32.const 4096))"#;
    let at = handler(
        "at",
        "(drop (call $get_data (local.get $rid) (i32.const 16) (i32.const 20))) (i32.load (i32.const 16))",
    );
    Rig::without_alloc(engine, &format!("{malloc} {at}"))?.returns("at", 4096)?;
    let both = r#"(func (export "alloc") (param i32) (result i32) (i32.const 8192))"#;
    Rig::without_alloc(engine, &format!("{malloc} {both} {at}"))?.returns("at", 8192)?;
    Ok(())
}

pub(super) fn lying_alloc_gets_code_5(engine: &Arc<dyn Engine>) -> Checked {
    for at in [65_536, 65_530, -1, i32::MIN, i32::MAX] {
        let alloc = format!("(func (export \"alloc\") (param i32) (result i32) (i32.const {at}))");
        let mut rig = Rig::without_alloc(engine, &format!("{alloc} {}", reader()))?;
        rig.returns("data", code::COPY_FAILED).map_err(|e| format!("alloc said {at}: {e}"))?;
    }
    Ok(())
}

pub(super) fn trapping_alloc_ends_the_call(engine: &Arc<dyn Engine>) -> Checked {
    let bodies = [
        ("unreachable", GuestError::Trap),
        ("(loop (br 0)) (i32.const 0)", GuestError::OutOfGas),
        ("(call $self (local.get 0))", GuestError::StackOverflow),
    ];
    for (body, error) in bodies {
        let alloc = format!("(func $self (export \"alloc\") (param i32) (result i32) {body})");
        let mut rig = Rig::without_alloc(engine, &format!("{alloc} {}", reader()))?;
        rig.fails("data", error).map_err(|e| format!("alloc does {body}: {e}"))?;
    }
    Ok(())
}

pub(super) fn alloc_that_asks_for_data_gets_code_5(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        r#"(global $answer (mut i32) (i32.const -9))
           (func (export "alloc") (param i32) (result i32)
             (global.set $answer (call $get_data (i32.const 7) (i32.const 16) (i32.const 20)))
             (i32.const 4096))"#,
        &handler(
            "data",
            "(local.set $a (call $get_data (local.get $rid) (i32.const 16) (i32.const 20)))
             (i32.add (i32.mul (i32.const 100) (local.get $a)) (global.get $answer))",
        ),
    ];
    // The outer call succeeds, the inner one does not.
    Rig::without_alloc(engine, &fields.concat())?.returns("data", code::COPY_FAILED).map(|_| ())
}

pub(super) fn traps_are_outcomes(engine: &Arc<dyn Engine>) -> Checked {
    let traps = [
        ("unreachable", "unreachable"),
        ("div", "(i32.div_s (i32.const 1) (i32.const 0))"),
        ("overflow", "(i32.div_s (i32.const 0x80000000) (i32.const -1))"),
        ("rem", "(i32.rem_u (i32.const 1) (i32.const 0))"),
        ("load", "(i32.load (i32.const 65533))"),
        ("load_far", "(i32.load offset=0xffffffff (i32.const -1))"),
        ("store", "(i64.store (i32.const -8) (i64.const 1)) (i32.const 0)"),
        ("fill", "(memory.fill (i32.const 65530) (i32.const 1) (i32.const 7)) (i32.const 0)"),
        ("nan", "(i32.trunc_f64_s (f64.const nan))"),
        ("huge", "(i32.trunc_f32_u (f32.const 1e30))"),
        ("null", "(call_indirect (type $f) (i32.const 1))"),
        ("type", "(call_indirect (type $f) (i32.const 0))"),
        ("index", "(call_indirect (type $f) (i32.const 2))"),
        ("table", "(drop (table.get 0 (i32.const 2))) (i32.const 0)"),
    ];
    let base = "(type $f (func (result i32))) (table 2 funcref) (elem (i32.const 0) $g) (func $g)";
    let fields: String = traps.iter().map(|(name, body)| handler(name, body)).collect();
    let mut rig = Rig::new(engine, &format!("{base} {fields}"))?;
    for (name, _) in traps {
        let outcome = rig.fails(name, GuestError::Trap)?;
        ensure((1..1_000).contains(&outcome.gas), || format!("{name} cost {} gas", outcome.gas))?;
    }
    Ok(())
}

pub(super) fn trap_drops_writes_and_outputs_but_not_logs(engine: &Arc<dyn Engine>) -> Checked {
    let body = "(drop (call $log (i32.const 4) (i32.const 8) (i32.const 3)))
                (drop (call $set_db (i32.const 8) (i32.const 3) (i32.const 8) (i32.const 3)))
                (drop (call $mqtt (i32.const 8) (i32.const 3) (i32.const 8) (i32.const 3)))";
    let fields =
        [handler("good", &format!("{body} (i32.const 0)")), handler("bad", &format!("{body} unreachable"))];
    let mut rig = Rig::new(engine, &fields.concat())?;
    let good = rig.returns("good", 0)?;
    same("writes and outputs", &(good.writes.len(), good.outputs.len()), &(1, 1))?;
    let bad = rig.fails("bad", GuestError::Trap)?;
    same("logs", &bad.logs, &good.logs)
}
