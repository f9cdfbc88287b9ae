//! Applets that mean harm, each with what its handler's result is.

use std::time::Duration;

use w3bstream_types::{Applet, GuestLimits};

use super::world::{WELL, World, applet, block_on, engine};

/// A guest that means harm.
pub(super) struct Guest {
    /// Its name, and the type of the events that it gets.
    pub(super) name: &'static str,
    pub(super) module: Vec<u8>,
    pub(super) limits: GuestLimits,
    /// What its handler `run` gives, or why it does not.
    pub(super) ends: Result<i32, &'static str>,
    /// What it answers.
    pub(super) answer: Option<&'static [u8]>,
}

/// Deploys all guests in one project, a good applet beside them and a good project. Each guest gets its events, and after each
/// the good ones go on as if nothing had been. Twice, since what a guest leaves behind would show the second time.
pub(super) async fn each_harms_nobody(world: &World, guests: &[Guest]) {
    let program = world.put(wat::parse_str(WELL).unwrap()).await.unwrap();
    let well = applet("well", program, &[("check", "well")], GuestLimits::default());
    let mut applets: Vec<Applet> = vec![well.clone()];
    for guest in guests {
        let program = world.put(guest.module.clone()).await;
        let program = program.unwrap_or_else(|why| panic!("{} is refused: {why}", guest.name));
        applets.push(applet(guest.name, program, &[(guest.name, "run")], guest.limits));
    }
    let hostile = world.deploy("hostile", applets).await.unwrap();
    let other = world.deploy("other", vec![well]).await.unwrap();
    let (mut counter, mut wrong, mut good) = (0, vec![], 0);
    for round in 1..=2 {
        for guest in guests {
            let name = guest.name;
            let result = world.send(&hostile, 2 * counter, (name, b"payload")).await;
            let mut results = result.unwrap_or_else(|why| panic!("{name}: {why}"));
            let result = results.remove(0);
            let ends = match &result.error {
                Some(error) => Err(error.as_str()),
                None => Ok(result.code),
            };
            let answer = result.answer.as_ref().map(|a| a.as_bytes());
            if (ends, results.len(), answer) != (guest.ends, 0, guest.answer) {
                wrong.push(format!("{name}: {result:?} and {} more", results.len()));
                counter += 1;
                continue;
            }
            if let Err(error) = guest.ends {
                let labels = format!("project=\"hostile\",applet=\"{name}\",error=\"{error}\"");
                assert_eq!(world.metric(&format!("w3b_handler_errors_total{{{labels}}}")), round, "{name}");
            }
            for (project, n) in [(&hostile, 2 * counter + 1), (&other, counter)] {
                let results = world.send(project, n, ("check", b"")).await;
                let results = results.unwrap_or_else(|why| panic!("after {name}: {why}"));
                let given: Vec<(i32, Option<&str>)> =
                    results.iter().map(|r| (r.code, r.error.as_deref())).collect();
                assert_eq!(given, [(good, None)], "after {name}");
            }
            (counter, good) = (counter + 1, good + 1);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!world.halted("hostile") && !world.halted("other"));
}

/// Imports, a memory of a page, a key at 8, and a handler `run`. `ALLOC` stands for an `alloc` that is well.
fn module(rest: &str) -> Vec<u8> {
    let alloc = r#"(func (export "alloc") (param i32) (result i32) (i32.const 4096))"#;
    let text = format!(
        r#"(module
          (import "env" "ws_log" (func $log (param i32 i32 i32) (result i32)))
          (import "env" "ws_get_data" (func $get_data (param i32 i32 i32) (result i32)))
          (import "env" "ws_set_data" (func $set_data (param i32 i32 i32) (result i32)))
          (import "env" "ws_get_db" (func $get_db (param i32 i32 i32 i32) (result i32)))
          (import "env" "ws_set_db" (func $set_db (param i32 i32 i32 i32) (result i32)))
          (import "env" "ws_send_mqtt_msg" (func $mqtt (param i32 i32 i32 i32) (result i32)))
          (import "env" "ws_send_event" (func $event (param i32 i32 i32 i32) (result i32)))
          (import "env" "ws_set_sql_db" (func $sql (param i32 i32) (result i32)))
          (import "env" "ws_api_call" (func $api (param i32 i32 i32 i32) (result i32)))
          (import "stat" "ws_submit_metrics" (func $metrics (param i32 i32) (result i32)))
          (import "env" "seed" (func $seed (result f64)))
          (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          {rest})"#
    );
    wat::parse_str(text.replace("ALLOC", alloc)).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

const MEMORY: &str = r#"(memory (export "memory") 1) (data (i32.const 8) "key")"#;

/// A guest with a good `alloc` and a handler of this body. It may use the local `$i`.
fn does(name: &'static str, body: &str, ends: Result<i32, &'static str>) -> Guest {
    has(
        name,
        &format!(
            r#"{MEMORY} ALLOC (func (export "run") (param $rid i32) (result i32) (local $i i32) {body})"#
        ),
        ends,
    )
}

fn has(name: &'static str, rest: &str, ends: Result<i32, &'static str>) -> Guest {
    let limits = GuestLimits {
        gas: 50_000_000,
        memory_bytes: 16 << 16,
        table_elements: 1_000,
        ..GuestLimits::default()
    };
    Guest { name, module: module(rest), limits, ends, answer: None }
}

/// A guest that asks for its event with this `alloc`.
fn asks(name: &'static str, alloc: &str, ends: Result<i32, &'static str>) -> Guest {
    has(
        name,
        &format!(
            r#"{MEMORY} {alloc} (func $run (export "run") (param $rid i32) (result i32)
                (call $get_data (local.get $rid) (i32.const 16) (i32.const 20)))"#
        ),
        ends,
    )
}

fn pointers() -> Vec<Guest> {
    vec![
        does(
            "pointer-behind-the-end",
            "(call $set_db (i32.const 65535) (i32.const 2) (i32.const 8) (i32.const 3))",
            Ok(2),
        ),
        does("pointer-over-32-bits", "(call $set_data (i32.const 1) (i32.const -2) (i32.const 3))", Ok(5)),
        does("pointer-and-size-all-ones", "(call $log (i32.const 4) (i32.const -1) (i32.const -1))", Ok(-1)),
        does(
            "size-negative",
            "(call $get_db (i32.const 8) (i32.const -3) (i32.const 16) (i32.const 20))",
            Ok(2),
        ),
        does(
            "size-of-a-gigabyte",
            "(call $mqtt (i32.const 8) (i32.const 3) (i32.const 0) (i32.const 0x40000000))",
            Ok(-1),
        ),
        does("size-smallest", "(call $metrics (i32.const 8) (i32.const 0x80000000))", Ok(-1)),
        does("out-negative", "(call $get_data (local.get $rid) (i32.const -4) (i32.const 20))", Ok(5)),
        does(
            "out-behind-the-end",
            "(call $get_data (local.get $rid) (i32.const 16) (i32.const 65533))",
            Ok(5),
        ),
        does("resource-of-others", "(call $get_data (i32.const -1) (i32.const 16) (i32.const 20))", Ok(2)),
        does("load-over-32-bits", "(i32.load offset=0xffffffff (i32.const -1))", Err("trap")),
        does(
            "store-behind-the-end",
            "(i64.store (i32.const 65529) (i64.const 1)) (i32.const 0)",
            Err("trap"),
        ),
        does(
            "copy-behind-the-end",
            "(memory.copy (i32.const 65530) (i32.const 0) (i32.const 7)) (i32.const 0)",
            Err("trap"),
        ),
        does(
            "fill-of-4-gigabytes",
            "(memory.fill (i32.const 0) (i32.const 1) (i32.const -1)) (i32.const 0)",
            Err("out-of-gas"),
        ),
        does("division-by-zero", "(i32.div_s (i32.const 1) (i32.const 0))", Err("trap")),
        does(
            "no-such-descriptor",
            "(call $open (i32.const 3) (i32.const 0) (i32.const 8) (i32.const 3) (i32.const 1) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 16))",
            Ok(76),
        ),
        does("exit", "(call $exit (i32.const 0)) (i32.const 0)", Err("exit")),
    ]
}

fn allocators() -> Vec<Guest> {
    let alloc = |body: &str| format!(r#"(func $alloc (export "alloc") (param i32) (result i32) {body})"#);
    vec![
        asks("alloc-outside", &alloc("(i32.const 65536)"), Ok(5)),
        asks("alloc-at-the-end", &alloc("(i32.const 65535)"), Ok(5)),
        asks("alloc-negative", &alloc("(i32.const -1)"), Ok(5)),
        asks("alloc-smallest", &alloc("(i32.const 0x80000000)"), Ok(5)),
        asks("alloc-over-its-own-answer", &alloc("(i32.const 16)"), Ok(0)),
        asks("alloc-traps", &alloc("unreachable"), Err("trap")),
        asks("alloc-loops", &alloc("(loop $l (br $l)) (i32.const 0)"), Err("out-of-gas")),
        asks("alloc-recurses", &alloc("(call $alloc (local.get 0))"), Err("stack-overflow")),
        asks("alloc-exits", &alloc("(call $exit (i32.const 1)) (i32.const 0)"), Err("exit")),
        // The inner calls are answered 5, without asking for memory again; the outer one is well.
        asks(
            "alloc-asks-again",
            &alloc("(drop (call $get_data (i32.const 1) (i32.const 24) (i32.const 28))) (i32.const 4096)"),
            Ok(0),
        ),
        asks("alloc-calls-the-handler", &alloc("(drop (call $run (i32.const 1))) (i32.const 4096)"), Ok(0)),
        asks("alloc-grows", &alloc("(i32.mul (memory.grow (i32.const 1)) (i32.const 65536))"), Ok(0)),
        asks(
            "alloc-floods",
            &alloc("(loop $l (drop (call $seed)) (br $l)) (i32.const 0)"),
            Err("host-call-limit"),
        ),
    ]
}

fn starts() -> Vec<Guest> {
    let run = r#"ALLOC (func (export "run") (param i32) (result i32) (i32.const 1))"#;
    let start = |body: &str| format!("{MEMORY} (func $start {body}) (start $start) {run}");
    let initialize = |body: &str| format!(r#"{MEMORY} (func (export "_initialize") {body}) {run}"#);
    vec![
        has("start-loops", &start("(loop $l (br $l))"), Err("out-of-gas")),
        has("start-traps", &start("unreachable"), Err("trap")),
        has("start-recurses", &start("(call $start)"), Err("stack-overflow")),
        has("start-exits", &start("(call $exit (i32.const 0))"), Err("exit")),
        has(
            "start-floods",
            &start("(loop $l (drop (call $log (i32.const 4) (i32.const 0) (i32.const 9))) (br $l))"),
            Err("host-call-limit"),
        ),
        has("initialize-loops", &initialize("(loop $l (br $l))"), Err("out-of-gas")),
        has(
            "data-of-a-megabyte",
            &format!(
                r#"(memory (export "memory") 16) (data (i32.const 0) "{}") {run}"#,
                "x".repeat(1_000_000)
            ),
            Ok(1),
        ),
        has("memory-too-large", &format!(r#"(memory (export "memory") 17) {run}"#), Err("memory-limit")),
        has("table-too-large", &format!("{MEMORY} (table 1001 funcref) {run}"), Err("memory-limit")),
    ]
}

fn recursions() -> Vec<Guest> {
    let run = r#"ALLOC (func (export "run") (param i32) (result i32) (call $f (local.get 0)))"#;
    let locals = "(local i64)".repeat(1_000);
    vec![
        has(
            "recursion",
            &format!(
                "{MEMORY} (func $f (param i32) (result i32) (i32.add (i32.const 1) (call $f (local.get 0)))) {run}"
            ),
            Err("stack-overflow"),
        ),
        has(
            "recursion-by-two",
            &format!(
                "{MEMORY} (func $f (param i32) (result i32) (call $g (local.get 0))) (func $g (param i32) (result i32) (call $f (local.get 0))) {run}"
            ),
            Err("stack-overflow"),
        ),
        has(
            "recursion-by-table",
            &format!(
                "{MEMORY} (type $t (func (param i32) (result i32))) (table 1 funcref) (elem (i32.const 0) $f) (func $f (param i32) (result i32) (call_indirect (type $t) (local.get 0) (i32.const 0))) {run}"
            ),
            Err("stack-overflow"),
        ),
        has(
            "recursion-of-wide-frames",
            &format!("{MEMORY} (func $f (param i32) (result i32) {locals} (call $f (local.get 0))) {run}"),
            Err("stack-overflow"),
        ),
        has(
            "recursion-through-the-host",
            &format!(
                r#"{MEMORY} (func (export "alloc") (param i32) (result i32) (call $f (local.get 0))) (func $f (param i32) (result i32) (call $get_data (local.get 0) (i32.const 16) (i32.const 20))) (func (export "run") (param i32) (result i32) (call $f (local.get 0)))"#
            ),
            Ok(0),
        ),
        // Sixteen to the power of eight calls, none of them deep.
        has(
            "recursion-in-breadth",
            &format!(
                "{MEMORY} (func $f (param i32) (result i32) (if (local.get 0) (then {})) (i32.const 0)) {}",
                "(drop (call $f (i32.sub (local.get 0) (i32.const 1))))".repeat(16),
                run.replace("(local.get 0)", "(i32.const 8)")
            ),
            Err("out-of-gas"),
        ),
    ]
}

fn storms() -> Vec<Guest> {
    let forever = |call: &str| format!("(loop $l {call} (br $l)) (i32.const 0)");
    let times = |n: u32, what: &str| {
        format!(
            "(loop $l {what} (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {n}))))"
        )
    };
    let table = |name, body: &str, ends| {
        has(
            name,
            &format!(
                r#"{MEMORY} ALLOC (table $t 1 funcref) (func (export "run") (param $rid i32) (result i32) (local $i i32) {body})"#
            ),
            ends,
        )
    };
    vec![
        does(
            "memory-storm",
            &format!(
                "{} (memory.fill (i32.const 0) (i32.const 7) (i32.const 1048576)) (memory.size)",
                times(20_000, "(drop (memory.grow (i32.const 1)))")
            ),
            Ok(16),
        ),
        does(
            "memory-storm-of-all",
            &format!("{} (memory.size)", times(20_000, "(drop (memory.grow (i32.const -1)))")),
            Ok(1),
        ),
        does(
            "fill-storm",
            &forever("(memory.fill (i32.const 0) (i32.const 7) (i32.const 65536))"),
            Err("out-of-gas"),
        ),
        table(
            "table-storm",
            &format!(
                "{} (table.size $t)",
                times(20_000, "(drop (table.grow $t (ref.null func) (i32.const 37)))")
            ),
            Ok(1_000),
        ),
        table(
            "table-storm-of-all",
            &format!(
                "{} (table.size $t)",
                times(20_000, "(drop (table.grow $t (ref.null func) (i32.const -1)))")
            ),
            Ok(1),
        ),
        table(
            "table-fill-storm",
            &format!(
                "(drop (table.grow $t (ref.null func) (i32.const 999))) {}",
                forever("(table.fill $t (i32.const 0) (ref.null func) (i32.const 1000))")
            ),
            Err("out-of-gas"),
        ),
    ]
}

fn host_storms() -> Vec<Guest> {
    let forever = |call: &str| format!("(loop $l {call} (br $l)) (i32.const 0)");
    vec![
        does("host-call-storm", &forever("(drop (call $seed))"), Err("host-call-limit")),
        does(
            "random-storm",
            &forever("(drop (call $random (i32.const 0) (i32.const 65536)))"),
            Err("out-of-gas"),
        ),
        does(
            "poll-storm",
            &forever("(drop (call $poll (i32.const 0) (i32.const 1024) (i32.const 1000) (i32.const 8)))"),
            Err("host-call-limit"),
        ),
        does("sql-storm", &forever("(drop (call $sql (i32.const 0) (i32.const 0)))"), Err("out-of-gas")),
    ]
}

fn floods() -> Vec<Guest> {
    let forever = |call: &str| format!("(loop $l (drop {call}) (br $l)) (i32.const 0)");
    let text = |name, text: &str, call: &str, ends| {
        let escaped: String = text.bytes().map(|b| format!("\\{b:02x}")).collect();
        has(
            name,
            &format!(
                r#"{MEMORY} ALLOC (data (i32.const 1024) "{escaped}") (func (export "run") (param $rid i32) (result i32) {})"#,
                call.replace("TEXT", &format!("(i32.const 1024) (i32.const {})", text.len()))
            ),
            ends,
        )
    };
    let many = |n: usize| (0..n).map(|i| format!("\"n{i}\":1")).collect::<Vec<_>>().join(",");
    vec![
        does("log-flood", &forever("(call $log (i32.const 4) (i32.const 0) (i32.const 60000))"), Err("out-of-gas")),
        does("log-flood-of-nothing", &forever("(call $log (i32.const 4) (i32.const 0) (i32.const 0))"), Err("host-call-limit")),
        does("stdout-flood", "(i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 65536))
              (loop $l (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $l)) (i32.const 0)", Err("out-of-gas")),
        text("metric-flood", "{\"a\":1}", &forever("(call $metrics TEXT)"), Err("output-limit")),
        text("metric-flood-of-names", &format!("{{{}}}", many(3_000)), "(call $metrics TEXT)", Ok(0)),
        text("metric-nested", &format!("{{\"a\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000)), "(call $metrics TEXT)", Ok(-1)),
        text("api-nested", &"[".repeat(40_000), "(call $api TEXT (i32.const 16) (i32.const 20))", Ok(7)),
        does("output-flood", &forever("(call $mqtt (i32.const 8) (i32.const 3) (i32.const 0) (i32.const 9000))"), Err("output-limit")),
        does("event-flood", &forever("(call $event (i32.const 8) (i32.const 3) (i32.const 0) (i32.const 1))"), Err("host-call-limit")),
        does("key-flood", "(loop $l (i32.store (i32.const 8) (local.tee $i (i32.add (local.get $i) (i32.const 1))))
              (drop (call $set_db (i32.const 8) (i32.const 4) (i32.const 0) (i32.const 5000))) (br $l)) (i32.const 0)", Err("kv-limit")),
        does("resource-flood", "(loop $l (drop (call $set_data (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 0) (i32.const 5000))) (br $l)) (i32.const 0)", Err("kv-limit")),
        does("key-of-a-page", "(call $set_db (i32.const 0) (i32.const 65536) (i32.const 8) (i32.const 3))", Ok(-1)),
        text("sql-flood", r#"{"statement":"INSERT INTO t (v) VALUES (?)","params":[{"string":"x"}]}"#, &forever("(call $sql TEXT)"), Err("out-of-gas")),
        text("sql-rows", &format!(r#"{{"statement":"INSERT INTO t (v) VALUES (?)","params":[{{"string":"{}"}}]}}"#, "x".repeat(60_000)), &forever("(call $sql TEXT)"), Err("sql-limit")),
        text("sql-of-others", r#"{"statement":"ATTACH '/etc/passwd' AS p","params":[]}"#, "(call $sql TEXT)", Ok(-1)),
        text("sql-pragma", r#"{"statement":"PRAGMA writable_schema = 1","params":[]}"#, "(call $sql TEXT)", Ok(-1)),
        text("sql-nested", &format!(r#"{{"statement":"SELECT {}1{}","params":[]}}"#, "(".repeat(5_000), ")".repeat(5_000)), "(call $sql TEXT)", Ok(-1)),
    ]
}

#[test]
fn every_applet_that_means_harm_ends_as_its_own_failure() {
    block_on(async {
        let world = World::start(engine(256, Duration::from_secs(300)), caps()).await;
        let guests: Vec<Guest> =
            [pointers(), allocators(), starts(), recursions(), storms(), host_storms(), floods()]
                .into_iter()
                .flatten()
                .collect();
        println!("{} applets", guests.len());
        each_harms_nobody(&world, &guests).await;
        // What was counted apart from the failures.
        let cut = |name: &str| {
            world.metric(&format!("w3b_log_lines_cut_total{{project=\"hostile\",applet=\"{name}\"}}"))
        };
        assert!(cut("log-flood") > 1_000 && cut("log-flood-of-nothing") == 0, "{}", world.metrics());
        let refused = "w3b_events_refused_total{project=\"hostile\",applet=\"event-flood\"}";
        assert_eq!(world.metric(refused), 2 * (10_000 - 64));
        assert_eq!(world.metric("w3b_guest_metrics_dropped_total{project=\"hostile\"}"), 2 * (3_000 - 200));
        world.stop().await;
    });
}

/// More than any guest here asks for.
pub(super) fn caps() -> GuestLimits {
    let most = u64::MAX;
    GuestLimits { gas: most, kv_bytes: most, host_calls: most, output_bytes: most, ..GuestLimits::default() }
}
