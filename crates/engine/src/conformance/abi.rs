//! What host functions answer when they are used as meant.

use std::sync::Arc;

use w3bstream_types::{
    Address, Canonical as _, ChainRule, Did, Digest, Field, Output, OutputKind, Settlement,
    TransactionRequest,
};

use super::Checked;
use super::rig::{Rig, ensure, handler, same, saving};
use crate::abi::{HostFunction, code};
use crate::instrument::ValueType;
use crate::{Caused, Engine, GuestError};

const OUT: &str = "(i32.const 16) (i32.const 20)";

pub(super) fn event_data_reaches_the_guest(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        saving("data", &format!("(call $get_data (local.get $rid) {OUT})")),
        saving("kind", &format!("(call $event_type (local.get $rid) {OUT})")),
        saving("no_data", &format!("(call $get_data (i32.const 99) {OUT})")),
        saving("no_kind", &format!("(call $event_type (i32.const 99) {OUT})")),
        handler("rid", "(local.get $rid)"),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    for payload in [&b"hello"[..], b"", &[0xff; 20_000]] {
        payload.clone_into(&mut rig.payload);
        same("payload", rig.saved("data")?.as_slice(), payload)?;
    }
    same("event type", rig.saved("kind")?.as_slice(), b"reading")?;
    rig.returns("no_data", code::NOT_FOUND)?;
    rig.returns("no_kind", code::NOT_FOUND)?;
    rig.rid = i32::MAX;
    rig.returns("rid", i32::MAX)?;
    Ok(())
}

pub(super) fn resources_can_be_set(engine: &Arc<dyn Engine>) -> Checked {
    let set = |rid: &str| format!("(drop (call $set_data {rid} (i32.const 8) (i32.const 3)))");
    let get = |rid: &str| format!("(call $get_data {rid} {OUT})");
    let fields = [
        handler("set", "(call $set_data (local.get $rid) (i32.const 8) (i32.const 3))"),
        saving(
            "own",
            &format!("(block (result i32) {} {})", set("(local.get $rid)"), get("(local.get $rid)")),
        ),
        saving("new", &format!("(block (result i32) {} {})", set("(i32.const 99)"), get("(i32.const 99)"))),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    rig.returns("set", code::OK)?;
    same("overwritten resource", rig.saved("own")?.as_slice(), b"out")?;
    same("new resource", rig.saved("new")?.as_slice(), b"out")
}

pub(super) fn key_value_reads_its_own_writes(engine: &Arc<dyn Engine>) -> Checked {
    let get = format!("(call $get_db (i32.const 100) (i32.const 3) {OUT})");
    let set = |at: u32| {
        format!("(drop (call $set_db (i32.const 100) (i32.const 3) (i32.const {at}) (i32.const 2)))")
    };
    let fields = [
        r#"(data (i32.const 100) "key") (data (i32.const 110) "v1") (data (i32.const 120) "v2")"#.to_owned(),
        saving("get", &get),
        saving("set_get", &format!("(block (result i32) {} {get})", set(110))),
        saving("set_set_get", &format!("(block (result i32) {} {} {get})", set(110), set(120))),
        handler("set", "(call $set_db (i32.const 100) (i32.const 3) (i32.const 110) (i32.const 2))"),
        handler("empty_value", "(call $set_db (i32.const 100) (i32.const 3) (i32.const 110) (i32.const 0))"),
        handler("empty_key", "(call $set_db (i32.const 100) (i32.const 0) (i32.const 110) (i32.const 2))"),
        handler("long_key", "(call $set_db (i32.const 100) (i32.const 1025) (i32.const 110) (i32.const 2))"),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    rig.returns("get", code::NOT_FOUND)?;
    rig.state.0.insert(b"key".to_vec(), b"stored".to_vec());
    same("stored value", rig.saved("get")?.as_slice(), b"stored")?;
    same("own write", rig.saved("set_get")?.as_slice(), b"v1")?;
    same("later own write", rig.saved("set_set_get")?.as_slice(), b"v2")?;
    same("writes", &rig.returns("set", code::OK)?.writes, &[(b"key".to_vec(), b"v1".to_vec())].into())?;
    same("empty value", &rig.returns("empty_value", code::OK)?.writes, &[(b"key".to_vec(), vec![])].into())?;
    rig.returns("empty_key", code::FAILED)?;
    rig.returns("long_key", code::FAILED)?;
    same("state after calls", &rig.state.0.get(b"key".as_slice()), &Some(&b"stored".to_vec()))
}

pub(super) fn settings_are_found(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        r#"(data (i32.const 100) "LIMIT")"#.to_owned(),
        saving("whole", &format!("(call $get_env (i32.const 100) (i32.const 5) {OUT})")),
        saving("part", &format!("(call $get_env (i32.const 100) (i32.const 4) {OUT})")),
        saving("empty", &format!("(call $get_env (i32.const 100) (i32.const 0) {OUT})")),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    rig.env = vec![("A".into(), "1".into()), ("LIMIT".into(), "42 °C".into())];
    same("setting", rig.saved("whole")?.as_slice(), "42 °C".as_bytes())?;
    rig.returns("part", code::ENV_NOT_FOUND)?;
    rig.returns("empty", code::ENV_NOT_FOUND)?;
    rig.env.clear();
    rig.returns("whole", code::ENV_NOT_FOUND)?;
    Ok(())
}

pub(super) fn logs_keep_level_and_text(engine: &Arc<dyn Engine>) -> Checked {
    let log = |level: i32, at: u32, len: u32| {
        format!(
            "(local.set $a (i32.or (local.get $a) (call $log (i32.const {level}) (i32.const {at}) (i32.const {len}))))"
        )
    };
    let all = [log(4, 100, 5), log(2, 100, 0), log(-7, 100, 1), log(99, 110, 3), "(local.get $a)".into()];
    let fields = [
        r#"(data (i32.const 100) "hello") (data (i32.const 110) "a\ffb")"#.to_owned(),
        handler("log", &all.concat()),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    let outcome = rig.returns("log", code::OK)?;
    let got: Vec<(i32, &str)> = outcome.logs.iter().map(|l| (l.level, l.text.as_str())).collect();
    same("log", got.as_slice(), &[(4, "hello"), (2, ""), (-7, "h"), (99, "a\u{fffd}b")])
}

pub(super) fn mqtt_messages_become_outputs(engine: &Arc<dyn Engine>) -> Checked {
    let send = |name: &str, at: u32, len: u32| {
        handler(name, &format!("(call $mqtt (i32.const {at}) (i32.const {len}) (i32.const 8) (i32.const 3))"))
    };
    let fields = [
        r#"(data (i32.const 100) "a/b c/\c3\a9") (data (i32.const 120) "a/+/b") (data (i32.const 130) "a/#")"#,
        r#"(data (i32.const 140) "a\00b") (data (i32.const 150) "a\ff")"#,
        r#"(data (i32.const 2000) "t") "#,
        &send("good", 100, 8),
        &send("plus", 120, 5),
        &send("hash", 130, 3),
        &send("nul", 140, 3),
        &send("no_text", 150, 2),
        &send("no_topic", 100, 0),
        &send("long", 4000, 1025),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    let outcome = rig.returns("good", code::OK)?;
    let [output] = outcome.outputs.as_slice() else {
        return Err(format!("one message gave {} outputs", outcome.outputs.len()));
    };
    let got = (output.kind, output.chain_id, output.target.as_slice(), output.data.as_slice());
    same("output", &got, &(OutputKind::Mqtt, 0, "a/b c/é".as_bytes(), b"out"))?;
    for bad in ["plus", "hash", "nul", "no_text", "no_topic", "long"] {
        let outcome = rig.returns(bad, code::FAILED)?;
        ensure(outcome.outputs.is_empty(), || format!("topic {bad} became an output"))?;
    }
    Ok(())
}

pub(super) fn the_source_is_the_hosts_word(engine: &Arc<dyn Engine>) -> Checked {
    let item = |name: &str, item: i32| {
        saving(name, &format!("(call $context (local.get $rid) (i32.const {item}) {OUT})"))
    };
    let fields = [
        item("none", 0),
        item("project", 1),
        item("device", 2),
        item("device_hash", 3),
        item("salt", 4),
        item("time", 5),
        item("depth", 6),
        item("beyond", 7),
        saving("other", &format!("(call $context (i32.const 1000) (i32.const 1) {OUT})")),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    for unknown in ["none", "project", "device", "device_hash", "salt", "depth", "beyond", "other"] {
        rig.returns(unknown, code::NOT_FOUND).map_err(|e| format!("without a source: {e}"))?;
    }
    same("time", rig.saved("time")?.as_slice(), &[0; 8])?;
    let device: Did =
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK".parse().map_err(|e| format!("{e}"))?;
    rig.device = Some(device.clone());
    let did = device.as_str().as_bytes();
    same("project", rig.saved("project")?.as_slice(), Digest::of(b"project").as_bytes())?;
    same("device", rig.saved("device")?.as_slice(), did)?;
    same("hash of the device", rig.saved("device_hash")?.as_slice(), Digest::of(did).as_bytes())?;
    same("salt", rig.saved("salt")?.as_slice(), &[9; 16])?;
    same("time", rig.saved("time")?.as_slice(), &[0, 0, 0, 0, 0, 0, 1, 2])?;
    for unknown in ["none", "depth", "beyond", "other"] {
        rig.returns(unknown, code::NOT_FOUND)?;
    }
    rig.caused = Caused { depth: 3, ..Caused::default() };
    same("depth", rig.saved("depth")?.as_slice(), &3_u64.to_be_bytes())?;
    Ok(())
}

pub(super) fn settlements_become_outputs(engine: &Arc<dyn Engine>) -> Checked {
    let settle = |name: &str, (at, len): (u32, u32), size: u32| {
        handler(
            name,
            &format!("(call $settle (i32.const {at}) (i32.const {len}) (i32.const 200) (i32.const {size}))"),
        )
    };
    let fields = [
        // The second word is −2.
        r#"(data (i32.const 100) "day") (data (i32.const 200) "\ab") (data (i32.const 263) "\fe")"#.to_owned(),
        r#"(data (i32.const 232) "\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff")"#
            .to_owned(),
        settle("good", (100, 3), 64),
        settle("unknown", (100, 2), 64),
        settle("short", (100, 3), 63),
        settle("long", (100, 3), 96),
        settle("huge", (100, 3), 1_056),
        settle("nameless", (100, 0), 64),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    rig.returns("good", code::NOT_FOUND)?;
    let field = |text: &str| text.parse::<Field>().map_err(|e| e.to_string());
    let settlement = Settlement {
        name: "day".parse().map_err(|e| format!("{e}"))?,
        chain_id: 4690,
        executor: Address::from_bytes([1; 20]),
        contract: Address::from_bytes([2; 20]),
        fields: vec![field("bytes32 device")?, field("int8 low")?],
        proof: None,
    };
    rig.settlements = vec![settlement.clone()];
    let outcome = rig.returns("good", code::OK)?;
    let [output] = outcome.outputs.as_slice() else {
        return Err(format!("one settlement gave {} outputs", outcome.outputs.len()));
    };
    let mut statement = [0; 64];
    statement[0] = 0xab;
    statement[32..].fill(0xff);
    statement[63] = 0xfe;
    let got = (output.kind, output.chain_id, output.target.as_slice(), output.data.as_slice());
    same("output", &got, &(OutputKind::Settlement, 4690, settlement.target().as_slice(), &statement))?;
    rig.returns("unknown", code::NOT_FOUND)?;
    rig.returns("nameless", code::NOT_FOUND)?;
    for bad in ["short", "long", "huge"] {
        let outcome = rig.returns(bad, code::FAILED)?;
        ensure(outcome.outputs.is_empty(), || format!("the {bad} statement became an output"))?;
    }
    // The same bytes are no value of an unsigned field.
    rig.settlements =
        vec![Settlement { fields: vec![field("bytes32 device")?, field("uint8 low")?], ..settlement }];
    rig.returns("good", code::FAILED)?;
    Ok(())
}

/// The text of a request to a contract, as data of a module at an address, and its length.
fn request(at: u32, members: &str) -> (String, usize) {
    let json = format!(r#"{{"to":"0x00000000000000000000000000000000000000c0",{members}}}"#);
    (format!(r#"(data (i32.const {at}) "{}")"#, json.replace('"', "\\\"")), json.len())
}

fn chain_rule(read: bool, send: bool) -> ChainRule {
    ChainRule { chain_id: 5, read, send, confirmations: 1, operators: vec![] }
}

pub(super) fn contracts_answer_by_what_was_agreed_on(engine: &Arc<dyn Engine>) -> Checked {
    let ask = |name: &str, chain: u32, (at, len): (u32, usize)| {
        saving(
            name,
            &format!(
                "(call $call_contract (i32.const {chain}) (i32.const {at}) (i32.const {len})
                   (i32.const 16) (i32.const 20))"
            ),
        )
    };
    let (good, good_len) = request(1000, r#""data":"616263""#);
    let (reverts, reverts_len) = request(1200, r#""data":"0x7265""#);
    let (unknown, unknown_len) = request(1400, r#""data":"6e""#);
    let fields = [
        good,
        reverts,
        unknown,
        ask("good", 5, (1000, good_len)),
        ask("elsewhere", 6, (1000, good_len)),
        ask("reverts", 5, (1200, reverts_len)),
        ask("unknown", 5, (1400, unknown_len)),
        ask("cut", 5, (1000, good_len - 1)),
        ask("outside", 5, (65_530, 100)),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    rig.returns("good", code::FAILED)?;
    rig.chains = vec![chain_rule(false, true)];
    rig.returns("good", code::FAILED)?;
    rig.chains = vec![chain_rule(true, false)];
    let outcome = rig.returns("good", code::OK)?;
    same("what a contract answered", &outcome.writes.get(&b"out"[..]), &Some(&b"cba".to_vec()))?;
    ensure(outcome.outputs.is_empty(), || "a read became an output".into())?;
    for bad in ["elsewhere", "reverts", "unknown", "cut", "outside"] {
        let outcome = rig.returns(bad, code::FAILED)?;
        ensure(outcome.writes.is_empty(), || format!("{bad} gave something"))?;
    }
    Ok(())
}

pub(super) fn transactions_become_outputs_with_ids(engine: &Arc<dyn Engine>) -> Checked {
    let send = |function: &str, (at, len): (u32, usize)| {
        format!(
            "(call ${function} (i32.const 5) (i32.const {at}) (i32.const {len}) (i32.const 16) (i32.const 20))"
        )
    };
    let (plain, plain_len) = request(1000, r#""value":"7","data":"0aff""#);
    let (named, named_len) = request(1200, r#""operatorName":"payments""#);
    let (misnamed, misnamed_len) = request(1400, r#""operatorName":"Pay Ments""#);
    let fields = [
        plain,
        named,
        misnamed,
        saving("plain", &send("send_tx", (1000, plain_len))),
        saving("named", &send("send_tx_as", (1200, named_len))),
        saving("twice", &format!("(drop {0}) {0}", send("send_tx", (1000, plain_len)))),
        saving("nameless", &send("send_tx_as", (1000, plain_len))),
        saving("misnamed", &send("send_tx_as", (1400, misnamed_len))),
        saving("cut", &send("send_tx", (1000, plain_len - 1))),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    rig.returns("plain", code::FAILED)?;
    rig.chains = vec![chain_rule(true, false)];
    rig.returns("plain", code::FAILED)?;
    rig.chains = vec![chain_rule(false, true)];
    rig.returns("named", code::FAILED)?;
    rig.chains[0].operators = vec!["payments".parse().map_err(|e| format!("{e}"))?];
    let id = |n| TransactionRequest::id_of(&Digest::of(b"call"), n);
    let asked = |n, operator: Option<&str>, value, data: &[u8]| -> Result<Output, String> {
        let operator = operator.map(str::parse).transpose().map_err(|e| format!("{e}"))?;
        let request = TransactionRequest { id: id(n), operator, value, data: data.to_vec() };
        let mut target = vec![0; 20];
        target[19] = 0xc0;
        Ok(Output { kind: OutputKind::Transaction, chain_id: 5, target, data: request.to_canonical() })
    };
    let mut check = |name: &str, last, outputs: Vec<Output>| -> Checked {
        let outcome = rig.returns(name, code::OK)?;
        same(name, &outcome.outputs, &outputs)?;
        let told = format!("0x{}", id(last)).into_bytes();
        same("the id that the guest got", &outcome.writes.get(&b"out"[..]), &Some(&told))
    };
    check("plain", 0, vec![asked(0, None, 7, &[0x0a, 0xff])?])?;
    check("named", 0, vec![asked(0, Some("payments"), 0, &[])?])?;
    check("twice", 1, vec![asked(0, None, 7, &[0x0a, 0xff])?, asked(1, None, 7, &[0x0a, 0xff])?])?;
    for bad in ["nameless", "misnamed", "cut"] {
        let outcome = rig.returns(bad, code::FAILED)?;
        ensure(outcome.outputs.is_empty(), || format!("{bad} became an output"))?;
    }
    Ok(())
}

pub(super) fn metrics_must_be_objects(engine: &Arc<dyn Engine>) -> Checked {
    let submit = |name: &str, at: u32, len: u32| {
        handler(name, &format!("(call $metrics (i32.const {at}) (i32.const {len}))"))
    };
    let fields = [
        r#"(data (i32.const 100) "{\"t\": [21.5, null]}") (data (i32.const 130) "[{}]")"#,
        r#"(data (i32.const 140) "{\"t\":") (data (i32.const 150) "{} x") (data (i32.const 160) "1")"#,
        &submit("object", 100, 19),
        &submit("array", 130, 4),
        &submit("cut", 140, 5),
        &submit("more", 150, 4),
        &submit("number", 160, 1),
        &submit("empty", 160, 0),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    let outcome = rig.returns("object", code::OK)?;
    let got: Vec<_> = outcome.outputs.iter().map(|o| (o.kind, o.data.as_slice())).collect();
    same("outputs", got.as_slice(), &[(OutputKind::Metric, &br#"{"t": [21.5, null]}"#[..])])?;
    for bad in ["array", "cut", "more", "number", "empty"] {
        let outcome = rig.returns(bad, code::FAILED)?;
        ensure(outcome.outputs.is_empty(), || format!("{bad} became an output"))?;
    }
    Ok(())
}

pub(super) fn assemblyscript_functions_answer(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        // UTF-16LE strings behind their length in bytes.
        r#"(data (i32.const 96) "\06\00\00\00n\00o\00!\00") (data (i32.const 124) "\08\00\00\00a\00.\00t\00s\00")"#,
        &handler(
            "abort",
            "(call $abort (i32.const 100) (i32.const 128) (i32.const 3) (i32.const 9)) (i32.const 5)",
        ),
        &handler(
            "null",
            "(call $abort (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 0)) (i32.const 5)",
        ),
        &handler(
            "trace",
            "(call $trace (i32.const 100) (i32.const 2) (f64.const 1.5) (f64.const -2) (f64.const 3)
               (f64.const 4) (f64.const 5)) (i32.const 5)",
        ),
        &handler(
            "seed",
            "(f64.store (i32.const 200) (call $seed)) (f64.store (i32.const 208) (call $seed))
             (call $set_db (i32.const 8) (i32.const 3) (i32.const 200) (i32.const 16))",
        ),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    let line = |o: &crate::Outcome| o.logs.first().map(|l| (l.level, l.text.clone()));
    let outcome = rig.returns("abort", 5)?;
    same("abort's log", &line(&outcome), &Some((2, "abort: no! at a.ts:3:9".to_owned())))?;
    let outcome = rig.returns("null", 5)?;
    same("abort's log without strings", &line(&outcome), &Some((2, "abort:  at :0:0".to_owned())))?;
    let outcome = rig.returns("trace", 5)?;
    same("trace's log", &line(&outcome), &Some((6, "trace: no! 1.5, -2".to_owned())))?;
    let first = rig.saved("seed")?;
    same("seed of the same call", &rig.saved("seed")?, &first)?;
    ensure(first[..8] != first[8..], || "the seed is the same twice in one call".into())?;
    for part in first.chunks_exact(8) {
        let bits = part.iter().rev().fold(0_u64, |v, b| v << 8 | u64::from(*b));
        ensure((0.0..1.0).contains(&f64::from_bits(bits)), || format!("seed {bits:x} is not in 0..1"))?;
    }
    rig.rid = 8;
    ensure(rig.saved("seed")? != first, || "the seed is the same for another event".into())
}

pub(super) fn wasi_denies_all_but_output(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
           (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
           (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "path_open"
             (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
           (import "env" "ws_set_db" (func $set_db (param i32 i32 i32 i32) (result i32)))
           (memory (export "memory") 1)
           (data (i32.const 8) "out") (data (i32.const 100) "one\ntwo") (data (i32.const 110) " three\n")
           (data (i32.const 200) "\64\00\00\00\07\00\00\00\6e\00\00\00\07\00\00\00")
           (data (i32.const 300) "\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff")"#,
        &handler("write", "(call $write (i32.const 1) (i32.const 200) (i32.const 2) (i32.const 400))"),
        &handler("error", "(call $write (i32.const 2) (i32.const 200) (i32.const 1) (i32.const 400))"),
        &handler("file", "(call $write (i32.const 3) (i32.const 200) (i32.const 1) (i32.const 400))"),
        &handler("far", "(call $write (i32.const 1) (i32.const 65535) (i32.const 1) (i32.const 400))"),
        &handler(
            "zeros",
            "(i32.or (call $sizes (i32.const 300) (i32.const 304)) (i64.ne (i64.const 0) (i64.load (i32.const 300))))",
        ),
        // The rig's calls have no block: a millisecond.
        &handler(
            "clock",
            "(i32.or (call $clock (i32.const 0) (i64.const 0) (i32.const 308))
               (i64.ne (i64.const 1000000) (i64.load (i32.const 308))))",
        ),
        &handler("prestat", "(call $prestat (i32.const 3) (i32.const 400))"),
        &handler(
            "open",
            "(call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 3) (i32.const 0)
               (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 400))",
        ),
        &handler(
            "random",
            "(drop (call $random (i32.const 500) (i32.const 40)))
             (call $set_db (i32.const 8) (i32.const 3) (i32.const 500) (i32.const 40))",
        ),
        &handler("random_far", "(call $random (i32.const 65530) (i32.const 40))"),
        &handler("exit", "(call $exit (i32.const 0)) (i32.const 1)"),
    ];
    let mut rig = Rig::bare(engine, &fields.concat())?;
    let outcome = rig.returns("write", 0)?;
    let got: Vec<_> = outcome.logs.iter().map(|l| (l.level, l.text.as_str())).collect();
    same("standard output", got.as_slice(), &[(4, "one"), (4, "two three")])?;
    let outcome = rig.returns("error", 0)?;
    let got: Vec<_> = outcome.logs.iter().map(|l| (l.level, l.text.as_str())).collect();
    same("standard error", got.as_slice(), &[(2, "one"), (2, "two")])?;
    for (name, errno) in [
        ("file", 8),
        ("far", 21),
        ("zeros", 0),
        ("clock", 0),
        ("prestat", 8),
        ("open", 76),
        ("random_far", 21),
    ] {
        rig.returns(name, errno)?;
    }
    let random = rig.saved("random")?;
    same("random numbers of the same call", &rig.saved("random")?, &random)?;
    ensure(random.iter().any(|b| *b != 0), || "random numbers are zeros".into())?;
    rig.fails("exit", GuestError::Exit)?;
    Ok(())
}

pub(super) fn wasi_links_every_function(engine: &Arc<dyn Engine>) -> Checked {
    let ty = |t: &ValueType| match t {
        ValueType::I64 => " i64",
        ValueType::F64 => " f64",
        _ => " i32",
    };
    let (mut imports, mut calls) = (String::new(), String::new());
    let all = HostFunction::all().iter().filter(|f| f.module == "wasi_snapshot_preview1");
    let mut count = 0;
    for function in all.filter(|f| f.name != "proc_exit") {
        let params: String = function.params.iter().map(ty).collect();
        let (module, name) = (function.module, function.name);
        imports += &format!("(import \"{module}\" \"{name}\" (func ${name} (param{params}) (result i32)))");
        let zeros: String = function.params.iter().map(|t| format!("({}.const 0)", ty(t).trim())).collect();
        // Whatever they answer, they do not trap.
        calls += &format!("(drop (call ${name} {zeros}))");
        count += 1;
    }
    same("number of WASI functions beside proc_exit", &count, &45)?;
    let fields =
        [&imports, "(memory (export \"memory\") 1)", &handler("all", &format!("{calls} (i32.const 1)"))];
    Rig::bare(engine, &fields.concat())?.returns("all", 1).map(|_| ())
}
