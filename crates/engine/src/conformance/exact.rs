//! What must be the same on every engine to the last bit.

use std::sync::Arc;

use w3bstream_types::EventType;

use super::Checked;
use super::rig::{ALLOC, Rig, ensure, handler, same};
use crate::abi::code;
use crate::{Call, Engine, Error, ErrorKind, HostState};

pub(super) fn gas_is_exact(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        r#"(import "env" "ws_log" (func $log (param i32 i32 i32) (result i32)))"#,
        r#"(memory (export "memory") 1) (global $g (mut i32) (i32.const 0)) (func $empty)"#,
        // Entering costs 2, and one for each four locals and parameters; then one for each instruction.
        &handler("const", "(i32.const 1)"),
        r#"(func (export "locals") (param i32) (result i32) (local i64 i64 i64 i64 i64 i64 i64) (i32.const 1))"#,
        &handler("add", "(i32.add (i32.const 1) (i32.const 0))"),
        &handler("div", "(i32.div_u (i32.const 1) (i32.const 1))"),
        &handler("call", "(call $empty) (i32.const 1)"),
        &handler("host", "(drop (call $log (i32.const 4) (i32.const 0) (i32.const 41))) (i32.const 1)"),
        // Condition 1, `if` 1, arm 1: the other arm is not paid for.
        &handler(
            "if",
            "(if (result i32) (local.get $rid) (then (i32.const 1)) (else (nop) (nop) (i32.const 1)))",
        ),
        // What follows a branch is paid for only if it is reached.
        &handler("br", "(block (br_if 0 (local.get $rid)) (nop) (nop)) (i32.const 1)"),
        &handler("return", "(return (i32.const 1)) (nop) (nop)"),
    ];
    let mut rig = Rig::bare(engine, &fields.concat())?;
    // Each begins with 1 for the program's only global and 2 for entering.
    let expected = [
        ("const", 4),
        ("locals", 6),
        ("add", 6),
        ("div", 13),
        ("call", 10),
        // Arguments and the call 7, drop and constant 2; the host function 200, and 11 for 41 bytes.
        ("host", 3 + 9 + 200 + 11),
        ("if", 6),
        ("br", 6),
        ("return", 5),
    ];
    for (name, gas) in expected {
        same(&format!("gas of {name}"), &rig.returns(name, 1)?.gas, &gas)?;
        rig.limits.gas = gas;
        rig.returns(name, 1)?;
        rig.limits.gas = gas - 1;
        rig.fails(name, crate::GuestError::OutOfGas)?;
        rig.limits.gas = 10_000_000;
    }
    Ok(())
}

/// Stores i64s from address 200 on and saves them.
fn bits(values: &[&str]) -> String {
    let store =
        |(i, v): (usize, &&str)| format!("(i64.store (i32.const {}) (i64.reinterpret_f64 {v}))", 200 + 8 * i);
    let stores: String = values.iter().enumerate().map(store).collect();
    let len = 8 * values.len();
    let prelude = r#"(import "env" "ws_set_db" (func $set_db (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 8) "out")"#;
    let save = format!("(call $set_db (i32.const 8) (i32.const 3) (i32.const 200) (i32.const {len}))");
    format!("{prelude} {}", handler("h", &format!("{stores} {save}")))
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|w| w.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))).collect()
}

pub(super) fn floats_are_exact(engine: &Arc<dyn Engine>) -> Checked {
    let cases: [(&str, f64); 9] = [
        ("(f64.add (f64.const 0.1) (f64.const 0.2))", 0.1 + 0.2),
        ("(f64.div (f64.const 1) (f64.const 3))", 1.0 / 3.0),
        ("(f64.sqrt (f64.const 2))", std::f64::consts::SQRT_2),
        ("(f64.mul (f64.const 1e308) (f64.const 10))", f64::INFINITY),
        ("(f64.promote_f32 (f32.add (f32.const 0.1) (f32.const 0.2)))", 0.300_000_011_920_928_96),
        ("(f64.nearest (f64.const 2.5))", 2.0),
        ("(f64.min (f64.const 0) (f64.const -0))", -0.0),
        ("(f64.sub (f64.const 5e-324) (f64.const 5e-324))", 0.0),
        ("(f64.mul (f64.const 5e-324) (f64.const 0.75))", 5e-324),
    ];
    let texts: Vec<&str> = cases.iter().map(|(text, _)| *text).collect();
    let got = words(&Rig::bare(engine, &bits(&texts))?.saved("h")?);
    for ((text, want), got) in cases.iter().zip(got) {
        ensure(got == want.to_bits(), || {
            format!("{text} has the bits {got:x}, expected {:x}", want.to_bits())
        })?;
    }
    Ok(())
}

pub(super) fn nans_are_canonical(engine: &Arc<dyn Engine>) -> Checked {
    const CANONICAL: u64 = 0x7ff8_0000_0000_0000;
    let odd = "(f64.const -nan:0x4000000000abc)";
    let narrow = "(f32.const -nan:0x200abc)";
    let computed = [
        "(f64.div (f64.const 0) (f64.const 0))".to_owned(),
        "(f64.sqrt (f64.const -1))".to_owned(),
        format!("(f64.add {odd} (f64.const 1))"),
        format!("(f64.sub (f64.const 1) {odd})"),
        format!("(f64.mul {odd} {odd})"),
        format!("(f64.min {odd} (f64.const 1))"),
        format!("(f64.max (f64.const 1) {odd})"),
        format!("(f64.ceil {odd})"),
        format!("(f64.floor {odd})"),
        format!("(f64.trunc {odd})"),
        format!("(f64.nearest {odd})"),
        format!("(f64.promote_f32 {narrow})"),
        format!("(f64.promote_f32 (f32.demote_f64 {odd}))"),
        format!("(f64.promote_f32 (f32.sqrt {narrow}))"),
        format!("(f64.add (f64.mul {odd} (f64.const 2)) (f64.const 1))"),
    ];
    // What only moves bits keeps them.
    let moved = [odd.to_owned(), format!("(f64.neg {odd})"), format!("(f64.copysign {odd} (f64.const 1))")];
    let texts: Vec<&str> = computed.iter().chain(&moved).map(String::as_str).collect();
    let got = words(&Rig::bare(engine, &bits(&texts))?.saved("h")?);
    for (text, got) in computed.iter().zip(&got) {
        ensure(*got == CANONICAL, || format!("{text} has the bits {got:x}"))?;
    }
    let kept: Vec<u64> = got.into_iter().skip(computed.len()).collect();
    let plain = 0x7ff4_0000_0000_0abc;
    same("moved NaNs", kept.as_slice(), &[plain | 1 << 63, plain, plain])
}

pub(super) fn outputs_keep_their_order(engine: &Arc<dyn Engine>) -> Checked {
    let send =
        |at: u32| format!("(drop (call $mqtt (i32.const 8) (i32.const 3) (i32.const {at}) (i32.const 1)))");
    let fields = [
        r#"(data (i32.const 100) "abc")"#,
        &handler("h", &format!("{}{}{}(i32.const 0)", send(102), send(100), send(101))),
    ];
    let outcome = Rig::new(engine, &fields.concat())?.returns("h", 0)?;
    let got: Vec<&[u8]> = outcome.outputs.iter().map(|o| o.data.as_slice()).collect();
    same("outputs", got.as_slice(), &[&b"c"[..], b"a", b"b"])
}

/// Each operation's own price, where [`gas_is_exact`] has others beside it.
pub(super) fn multiplications_cost_one(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        r#"(memory (export "memory") 1)"#,
        &handler("without", "(i32.const 1)"),
        &handler("with", "(i32.mul (i32.const 1) (i32.const 1))"),
    ];
    let mut rig = Rig::bare(engine, &fields.concat())?;
    let gas = rig.returns("with", 1)?.gas - rig.returns("without", 1)?.gas;
    same("gas of a multiplication with one more operand", &gas, &2)
}

pub(super) fn globals_and_memory_do_not_survive(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        "(global $g (mut i32) (i32.const 1)) (table $t 1 funcref)",
        &handler(
            "count",
            "(global.set $g (i32.add (global.get $g) (i32.const 1)))
             (i32.store (i32.const 300) (i32.add (i32.load (i32.const 300)) (i32.const 10)))
             (drop (memory.grow (i32.const 1)))
             (drop (table.grow $t (ref.null func) (i32.const 1)))
             (i32.add (i32.add (global.get $g) (i32.load (i32.const 300)))
                      (i32.add (i32.mul (i32.const 100) (memory.size)) (i32.mul (i32.const 1000) (table.size $t))))",
        ),
        &handler("trap", "(global.set $g (i32.const 50)) (i32.store (i32.const 300) (i32.const 50)) unreachable"),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    for _ in 0..3 {
        rig.returns("count", 2212)?;
        rig.fails("trap", crate::GuestError::Trap)?;
    }
    Ok(())
}

pub(super) fn state_does_not_leak_between_calls(engine: &Arc<dyn Engine>) -> Checked {
    let set = "(drop (call $set_db (i32.const 8) (i32.const 3) (i32.const 8) (i32.const 3)))";
    let get = "(call $get_db (i32.const 8) (i32.const 3) (i32.const 16) (i32.const 20))";
    let fields = [
        handler("get", get),
        handler("set", &format!("{set} {get}")),
        handler("set_trap", &format!("{set} unreachable")),
        handler("set_data", "(call $set_data (i32.const 99) (i32.const 8) (i32.const 3))"),
        handler("get_data", "(call $get_data (i32.const 99) (i32.const 16) (i32.const 20))"),
    ]
    .concat();
    let mut rig = Rig::new(engine, &fields)?;
    rig.returns("get", code::NOT_FOUND)?;
    rig.returns("set", code::OK)?;
    // The state was not changed by whoever holds it, so the write is not there.
    rig.returns("get", code::NOT_FOUND)?;
    rig.fails("set_trap", crate::GuestError::Trap)?;
    rig.returns("get", code::NOT_FOUND)?;
    rig.returns("set_data", code::OK)?;
    rig.returns("get_data", code::NOT_FOUND)?;
    // Nor in another module of the same text.
    Rig::new(engine, &fields)?.returns("get", code::NOT_FOUND).map(|_| ())
}

pub(super) fn calls_are_repeatable(engine: &Arc<dyn Engine>) -> Checked {
    let body = "(loop $l
        (f64.store (i32.const 200) (f64.add (f64.sqrt (f64.load (i32.const 200))) (call $seed)))
        (br_if $l (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (i32.const 100))))
        (drop (call $log (i32.const 4) (i32.const 200) (i32.const 8)))
        (drop (call $mqtt (i32.const 8) (i32.const 3) (i32.const 200) (i32.const 8)))
        (call $set_db (i32.const 8) (i32.const 3) (i32.const 200) (i32.const 8))";
    let fields = handler("h", body);
    let mut rig = Rig::new(engine, &fields)?;
    let first = rig.returns("h", 0)?;
    for _ in 0..5 {
        same("outcome of the same call", &rig.call("h")?, &first)?;
    }
    same(
        "outcome of the same call in a module loaded again",
        &Rig::new(engine, &fields)?.call("h")?,
        &first,
    )?;
    rig.payload = b"other".to_vec();
    ensure(rig.call("h")?.writes != first.writes, || "another event drew the same random numbers".into())
}

struct Unreadable;

impl HostState for Unreadable {
    fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Err(Error::new(ErrorKind::State, "the disk is gone"))
    }
}

pub(super) fn unreadable_state_is_no_outcome(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        r#"(import "env" "ws_get_db" (func $get_db (param i32 i32 i32 i32) (result i32)))
           (memory (export "memory") 1)"#,
        ALLOC,
        &handler("get", "(call $get_db (i32.const 8) (i32.const 3) (i32.const 16) (i32.const 20))"),
        &handler("other", "(i32.const 1)"),
    ];
    let rig = Rig::bare(engine, &fields.concat())?;
    let event_type: EventType = "reading".parse().map_err(|e| format!("{e}"))?;
    let call = |handler| Call::of(handler, &event_type, b"", &rig.limits);
    match rig.module.call(call("get"), &mut Unreadable) {
        Err(e) => same("kind of the error", &e.kind(), &ErrorKind::State)?,
        Ok(outcome) => return Err(format!("unreadable state gave the outcome {outcome:?}")),
    }
    let outcome = rig.module.call(call("other"), &mut Unreadable).map_err(|e| e.to_string())?;
    same("result of a call that reads no state", &outcome.result, &Ok(1))
}
