//! What a call may use, and what happens when it uses more.

use std::sync::Arc;

use super::Checked;
use super::rig::{Rig, ensure, handler, same};
use crate::abi::{LOG_TRUNCATED, MAX_STACK_SLOTS};
use crate::{Engine, GuestError};

pub(super) fn endless_loop_runs_out_of_gas(engine: &Arc<dyn Engine>) -> Checked {
    let mut rig = Rig::new(engine, &handler("spin", "(loop $l (br $l)) (i32.const 0)"))?;
    for gas in [0, 1, 1_000, 1_234_567] {
        rig.limits.gas = gas;
        let outcome = rig.fails("spin", GuestError::OutOfGas)?;
        same("gas of a call that used it up", &outcome.gas, &gas)?;
    }
    Ok(())
}

pub(super) fn endless_recursion_overflows_the_counted_stack(engine: &Arc<dyn Engine>) -> Checked {
    // A small frame; and a frame of many values that live across the call.
    let locals: String = (0..200).map(|i| format!("(local $l{i} i64)")).collect();
    let fill: String = (0..200)
        .map(|i| format!("(local.set $l{i} (i64.extend_i32_u (i32.add (local.get 0) (i32.const {i}))))"))
        .collect();
    let sum: String = (0..200).map(|i| format!("(i64.xor (local.get $l{i}))")).collect();
    let fields = [
        "(func $small (param i32) (result i32) (i32.add (i32.const 1) (call $small (local.get 0))))",
        &format!(
            "(func $large (param i32) (result i64) {locals} {fill} (call $large (i32.add (local.get 0) (i32.const 1))) {sum})"
        ),
        &handler("small", "(call $small (i32.const 0))"),
        &handler("large", "(i32.wrap_i64 (call $large (i32.const 0)))"),
        // Goes as deep as it is told and comes back.
        "(func $down (param i32) (result i32)
           (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
             (else (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))))",
        &handler("often", "(loop $l (drop (call $down (i32.const 4000)))
           (br_if $l (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (i32.const 50)))) (local.get $a)"),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    rig.limits.gas = 1 << 40;
    for slots in [0, 100, 64 * 1024, MAX_STACK_SLOTS, u64::MAX] {
        rig.limits.stack_slots = slots;
        rig.fails("small", GuestError::StackOverflow)?;
        rig.fails("large", GuestError::StackOverflow)?;
    }
    rig.limits.stack_slots = 64 * 1024;
    // What returns gives its slots back.
    rig.returns("often", 50).map(|_| ())
}

pub(super) fn memory_grows_to_its_limit(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        handler("by_2", "(memory.grow (i32.const 2))"),
        handler("by_3", "(memory.grow (i32.const 3))"),
        handler("by_all", "(memory.grow (i32.const -1))"),
        handler(
            "use_it",
            "(drop (memory.grow (i32.const 2))) (i32.store (i32.const 196604) (i32.const 9)) (i32.load (i32.const 196604))",
        ),
        handler(
            "twice",
            "(drop (memory.grow (i32.const 2))) (i32.add (memory.size) (memory.grow (i32.const 1)))",
        ),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    rig.limits.memory_bytes = 3 * 65_536 + 65_535;
    rig.returns("by_2", 1)?;
    rig.returns("by_3", -1)?;
    rig.returns("by_all", -1)?;
    rig.returns("use_it", 9)?;
    rig.returns("twice", 2)?;
    let cheap = rig.returns("by_3", -1)?.gas;
    let dear = rig.returns("by_2", 1)?.gas;
    ensure(dear > cheap + 10_000, || format!("two pages cost {dear}, none {cheap}"))?;
    // The program's own maximum holds as well.
    let own = format!("(memory (export \"memory\") 1 2) {}", handler("by_2", "(memory.grow (i32.const 2))"));
    Rig::bare(engine, &own)?.returns("by_2", -1).map(|_| ())
}

pub(super) fn tables_grow_to_their_limit(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        "(table $t 10 funcref) (table $u 5 20 externref)",
        &handler("by_5", "(table.grow $t (ref.null func) (i32.const 5))"),
        &handler("by_6", "(table.grow $t (ref.null func) (i32.const 6))"),
        &handler("by_all", "(table.grow $t (ref.null func) (i32.const -1))"),
        &handler("other", "(table.grow $u (ref.null extern) (i32.const 5))"),
        &handler("own_limit", "(table.grow $u (ref.null extern) (i32.const 16))"),
        &handler(
            "both",
            "(i32.add (i32.mul (i32.const 100) (table.grow $t (ref.null func) (i32.const 3))) (table.grow $u (ref.null extern) (i32.const 3)))",
        ),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    rig.limits.table_elements = 20;
    for (name, code) in [("by_5", 10), ("by_6", -1), ("by_all", -1), ("other", 5), ("both", 999)] {
        rig.returns(name, code)?;
    }
    rig.limits.table_elements = 1_000;
    rig.returns("own_limit", -1).map(|_| ())
}

pub(super) fn initial_sizes_over_the_limit_do_not_start(engine: &Arc<dyn Engine>) -> Checked {
    let fields =
        format!("(memory (export \"memory\") 3) (table 30 funcref) {}", handler("h", "(i32.const 1)"));
    let mut rig = Rig::bare(engine, &fields)?;
    rig.returns("h", 1)?;
    rig.limits.memory_bytes = 3 * 65_536 - 1;
    let outcome = rig.fails("h", GuestError::MemoryLimit)?;
    same("gas of a call that did not start", &outcome.gas, &0)?;
    rig.limits.memory_bytes = 3 * 65_536;
    rig.limits.table_elements = 29;
    rig.fails("h", GuestError::MemoryLimit).map(|_| ())
}

/// A handler that does something `$rid` times.
fn repeat(name: &str, body: &str) -> String {
    handler(
        name,
        &format!(
            "(loop $l {body} (br_if $l (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (local.get $rid)))) (local.get $a)"
        ),
    )
}

pub(super) fn host_calls_are_limited(engine: &Arc<dyn Engine>) -> Checked {
    let mut rig = Rig::new(engine, &repeat("seeds", "(drop (call $seed))"))?;
    rig.limits.host_calls = 10;
    rig.rid = 10;
    rig.returns("seeds", 10)?;
    rig.rid = 11;
    rig.fails("seeds", GuestError::HostCallLimit).map(|_| ())
}

pub(super) fn outputs_are_limited(engine: &Arc<dyn Engine>) -> Checked {
    let send = "(drop (call $mqtt (i32.const 8) (i32.const 3) (i32.const 8) (i32.const 3)))";
    let mut rig = Rig::new(engine, &repeat("send", send))?;
    // Topic, message, and 32 bytes for the output itself.
    rig.limits.output_bytes = 4 * (3 + 3 + 32);
    rig.rid = 4;
    same("outputs", &rig.returns("send", 4)?.outputs.len(), &4)?;
    rig.rid = 5;
    rig.fails("send", GuestError::OutputLimit).map(|_| ())
}

pub(super) fn key_value_bytes_are_limited(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        repeat("set", "(drop (call $set_db (i32.const 8) (i32.const 3) (i32.const 8) (i32.const 97)))"),
        repeat("set_data", "(drop (call $set_data (local.get $a) (i32.const 8) (i32.const 68)))"),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    rig.limits.kv_bytes = 300;
    rig.rid = 3;
    rig.returns("set", 3)?;
    rig.returns("set_data", 3)?;
    rig.rid = 4;
    // The same key again counts again: each write is work.
    rig.fails("set", GuestError::KvLimit)?;
    rig.fails("set_data", GuestError::KvLimit).map(|_| ())
}

pub(super) fn logs_are_cut(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        r#"(data (i32.const 100) "12345678\c3\a9")"#.to_owned(),
        repeat("log", "(drop (call $log (i32.const 4) (i32.const 100) (i32.const 10)))"),
        handler("huge", "(call $log (i32.const 4) (i32.const 100) (i32.const 60000))"),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    // One line and its end, and nine bytes: the last character is not cut in two.
    rig.limits.log_bytes = 20;
    rig.rid = 5;
    let outcome = rig.returns("log", 5)?;
    let got: Vec<&str> = outcome.logs.iter().map(|l| l.text.as_str()).collect();
    let last = format!("12345678{LOG_TRUNCATED} [3 more lines left away]");
    same("log", got.as_slice(), &["12345678é", &last])?;
    same("lines that were cut", &outcome.cut.log_lines, &4)?;
    let outcome = rig.returns("huge", 0)?;
    same("lines that were cut", &outcome.cut.log_lines, &1)?;
    let text = outcome.logs.into_iter().map(|l| l.text).collect::<String>();
    ensure(text.len() <= 20 + LOG_TRUNCATED.len() + 10, || format!("{} bytes were logged", text.len()))
}

pub(super) fn bulk_operations_are_paid_by_length(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        repeat("few", "(memory.fill (i32.const 0) (i32.const 0) (i32.const 8))"),
        repeat("many", "(memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))"),
        repeat("copy", "(memory.copy (i32.const 0) (i32.const 0) (i32.const 65536))"),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    rig.rid = 10;
    let few = rig.returns("few", 10)?.gas;
    for name in ["many", "copy"] {
        let gas = rig.returns(name, 10)?.gas;
        same(&format!("gas of {name} beyond few"), &(gas - few), &(10 * (65_536 - 8) / 8))?;
    }
    rig.rid = i32::MAX;
    rig.fails("many", GuestError::OutOfGas).map(|_| ())
}

pub(super) fn host_functions_are_paid_by_length(engine: &Arc<dyn Engine>) -> Checked {
    let out = "(i32.const 16) (i32.const 20)";
    let fields = [
        handler("data", &format!("(drop (call $get_data (local.get $rid) {out})) (i32.const 1)")),
        handler("seed", "(drop (call $seed)) (i32.const 1)"),
        handler("seeds", "(drop (call $seed)) (drop (call $seed)) (i32.const 1)"),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    let gas = |rig: &mut Rig, name: &str, len: usize| {
        rig.payload = vec![b'x'; len];
        rig.returns(name, 1).map(|outcome| outcome.gas)
    };
    // 20,000 bytes are copied for a quarter of a unit each, and hashed for eight; hashed once.
    let copied = gas(&mut rig, "data", 20_000)? - gas(&mut rig, "data", 0)?;
    same("gas for copying 20,000 bytes", &copied, &5_000)?;
    for name in ["seed", "seeds"] {
        let hashed = gas(&mut rig, name, 20_000)? - gas(&mut rig, name, 0)?;
        same(&format!("gas for {name} over 20,000 bytes"), &hashed, &160_000)?;
    }
    Ok(())
}

/// What hits each limit, and what comes of it; `None` is an end that is no failure.
const EXCESSES: [(&str, &str, Option<GuestError>); 9] = [
    ("gas", "(loop $l (br $l)) (i32.const 0)", Some(GuestError::OutOfGas)),
    ("stack", "(call $deeper (i32.const 0))", Some(GuestError::StackOverflow)),
    ("pages", "(loop $l (br_if $l (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))) (i32.const 0)", None),
    (
        "tables",
        "(loop $l (br_if $l (i32.ge_s (table.grow $t (ref.null func) (i32.const 7)) (i32.const 0)))) (i32.const 0)",
        None,
    ),
    ("host_calls", "(loop $l (drop (call $seed)) (br $l)) (i32.const 0)", Some(GuestError::HostCallLimit)),
    (
        "outputs",
        "(loop $l (drop (call $mqtt (i32.const 8) (i32.const 3) (i32.const 0) (i32.const 9000))) (br $l)) (i32.const 0)",
        Some(GuestError::OutputLimit),
    ),
    (
        "keys",
        "(loop $l (drop (call $set_db (i32.const 8) (i32.const 3) (i32.const 0) (i32.const 60000))) (br $l)) (i32.const 0)",
        Some(GuestError::KvLimit),
    ),
    (
        "resources",
        "(loop $l (drop (call $set_data (i32.const 1) (i32.const 0) (i32.const 60000))) (br $l)) (i32.const 0)",
        Some(GuestError::KvLimit),
    ),
    (
        "logs",
        "(loop $l (drop (call $log (i32.const 4) (i32.const 0) (i32.const 60000)))
           (br_if $l (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (i32.const 50)))) (i32.const 0)",
        None,
    ),
];

pub(super) fn excesses_leave_the_next_calls_alone(engine: &Arc<dyn Engine>) -> Checked {
    let well = "(drop (memory.grow (i32.const 1))) (drop (table.grow $t (ref.null func) (i32.const 5)))
        (drop (call $log (i32.const 4) (i32.const 8) (i32.const 3)))
        (drop (call $mqtt (i32.const 8) (i32.const 3) (i32.const 8) (i32.const 3)))
        (drop (call $set_db (i32.const 8) (i32.const 3) (i32.const 8) (i32.const 3)))
        (i32.add (memory.size) (table.size $t))";
    let table = "(table $t 2 funcref)";
    let excesses: String = EXCESSES.iter().map(|(name, body, _)| handler(name, body)).collect();
    let deeper =
        "(func $deeper (param i32) (result i32) (i32.add (i32.const 1) (call $deeper (local.get 0))))";
    let mut bad = Rig::new(engine, &format!("{table} {deeper} {excesses} {}", handler("well", well)))?;
    let mut other = Rig::new(engine, &format!("{table} {}", handler("well", well)))?;
    for rig in [&mut bad, &mut other] {
        rig.limits.table_elements = 1_000;
        rig.limits.memory_bytes = 4 << 20;
    }
    let (of_bad, of_other) = (bad.returns("well", 9)?, other.returns("well", 9)?);
    for (name, _, error) in EXCESSES {
        let outcome = match error {
            Some(error) => bad.fails(name, error)?,
            None => bad.returns(name, 0)?,
        };
        let logged: usize = outcome.logs.iter().map(|l| l.text.len()).sum();
        let marks = LOG_TRUNCATED.len() + " [49 more lines left away]".len();
        let most = usize::try_from(bad.limits.log_bytes).unwrap_or(usize::MAX) + marks;
        ensure(logged <= most, || format!("{name} logged {logged} bytes"))?;
        same(&format!("the same program's next call after {name}"), &bad.call("well")?, &of_bad)?;
        same(&format!("another program's next call after {name}"), &other.call("well")?, &of_other)?;
    }
    Ok(())
}
