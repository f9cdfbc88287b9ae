use proptest::prelude::*;

use super::*;

fn wat(fields: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {fields})")).expect("the test's module is valid text")
}

/// A module with something of everything that is admitted.
fn everything() -> Vec<u8> {
    wat(r#"
        (type $pair (func (param i32 f64) (result f64 i32)))
        (import "env" "ws_log" (func $log (param i32 i32 i32) (result i32)))
        (memory (export "memory") 2 9) (table $t 3 9 funcref) (table $u 1 externref)
        (global $g (mut i32) (i32.const 5)) (global $k f32 (f32.const nan:0x200001))
        (elem $e funcref (ref.func $swap) (ref.null func)) (elem (table $t) (i32.const 1) func $swap)
        (data $d "passive") (data (i32.const 10) "active")
        (func $swap (type $pair) (local.get 1) (local.get 0))
        (func $begin (global.set $g (i32.const 6))) (start $begin)
        (func (export "h") (param i32) (result i32) (local f32 f64 i64)
            (block (result i32) (br_if 0 (i32.const 1) (local.get 0)) (drop) (return (i32.const 2)) (nop))
            (local.set 2 (f64.add (f64.mul (local.get 2) (f64.const 2)) (f64.const 1)))
            (local.set 1 (f32.demote_f64 (local.get 2)))
            (call_indirect $t (type $pair) (local.get 0) (local.get 2) (i32.const 1)) (drop) (drop)
            (block $b (loop $l (br_table $l $b (local.get 0))))
            (drop (memory.grow (i32.const 1))) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 3))
            (memory.copy (i32.const 0) (i32.const 9) (i32.const 3)) (memory.fill (i32.const 0) (i32.const 9) (i32.const 3))
            (drop (table.grow $t (ref.null func) (i32.const 1))) (drop (table.grow $u (ref.null extern) (i32.const 1)))
            (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1)) (data.drop $d) (elem.drop $e)
            (table.fill $t (i32.const 0) (ref.null func) (i32.const 1))
            (i32.extend8_s (i32.trunc_sat_f32_u (f32.add (global.get $k) (local.get 1)))) (i32.add))
    "#)
}

#[test]
fn the_pass_is_deterministic_and_pinned() {
    let program = everything();
    let first = instrument(&program, &Bounds::default()).expect("admitted");
    let second = instrument(&program, &Bounds::default()).expect("admitted");
    assert_eq!(first.bytes, second.bytes);
    assert_eq!(first.program, Digest::of(&program));
    assert_eq!(first.digest, Digest::of(&first.bytes));
    assert!(first.has_start && first.exports_memory);
    assert_eq!((first.memory_pages, first.table_elements), (2, 4));
    // Nodes agree on this digest. If it changes, VERSION and the ABI's version must rise.
    assert_eq!((VERSION, first.digest.to_string().as_str()), (1, PINNED));
}

const PINNED: &str = "34f53534e77dcda76f61d02fe5231907b4968a272415b189d427dd133b25a700";

#[test]
fn what_hosts_do_not_need_is_left_away() {
    let program = wat(
        r#"(memory (export "memory") 1) (global (export "g") i32 (i32.const 1)) (table (export "t") 1 funcref)
        (func (export "h") (param i32) (result i32) (local.get 0)) (func (export "wide") (param i64))"#,
    );
    let out = instrument(&program, &Bounds::default()).expect("admitted").bytes;
    let mut names = vec![];
    for payload in wasmparser::Parser::new(0).parse_all(&out) {
        match payload.expect("valid") {
            wasmparser::Payload::ExportSection(s) => {
                names.extend(s.into_iter().map(|e| e.expect("valid").name))
            }
            wasmparser::Payload::CustomSection(s) => panic!("custom section {} is still there", s.name()),
            _ => {}
        }
    }
    let mut expected = vec!["h", "memory"];
    expected.extend(Reserved::ALL.map(Reserved::name));
    assert_eq!(names, expected);
}

#[test]
fn dead_code_is_left_away() {
    let live = wat(r#"(func (param i32) (result i32) (return (i32.const 1)))"#);
    let dead = wat(r#"(func (param i32) (result i32) (return (i32.const 1))
        (block (loop (br 0)) (if (i32.const 1) (then nop) (else nop))) (f32.add) (drop) (unreachable))"#);
    let bytes = |program: &[u8]| instrument(program, &Bounds::default()).expect("admitted").bytes;
    assert_eq!(bytes(&live), bytes(&dead));
}

#[test]
fn nans_are_replaced_only_where_they_can_be_seen() {
    let size = |expression: &str| {
        let program = wat(&format!("(func (param f64 f64) (result f64) {expression})"));
        instrument(&program, &Bounds::default()).expect("admitted").bytes.len()
    };
    // The product goes right into the sum: one replacement; through a local it can be seen: two.
    let hidden = size("(f64.add (local.get 0) (f64.mul (local.get 0) (local.get 1)))");
    let seen =
        size("(f64.mul (local.get 0) (local.get 1)) (local.set 1) (f64.add (local.get 0) (local.get 1))");
    assert!(seen > hidden + 15, "{seen} bytes against {hidden}");
}

#[test]
fn every_bound_holds() {
    let good = Bounds::default();
    let many = |n: usize, text: &str| text.repeat(n);
    let cases = [
        (
            Bounds { module_bytes: 20, ..good },
            "(func) (func) (func) (func) (func) (func)".to_owned(),
            "bytes",
        ),
        (Bounds { types: 1, ..good }, "(type (func)) (type (func (param i32)))".into(), "types"),
        (Bounds { imports: 1, ..good }, many(2, r#"(import "a" "b" (func))"#), "imports"),
        (Bounds { functions: 2, ..good }, many(3, "(func)"), "functions"),
        (Bounds { function_bytes: 50, ..good }, format!("(func {})", many(60, "nop ")), "function 0"),
        (Bounds { locals: 4, ..good }, "(func (param i32) (local i32 i32 i64 i64))".into(), "locals"),
        (
            Bounds { operands: 3, ..good },
            format!("(func {} {})", many(4, "(i32.const 1)"), many(4, "drop ")),
            "operands",
        ),
        (Bounds { nesting: 3, ..good }, "(func (block (block (block (nop)))))".into(), "blocks"),
        (Bounds { arity: 2, ..good }, "(type (func (param i32 i32 i32)))".into(), "parameters"),
        (Bounds { arity: 2, ..good }, "(type (func (result i32 i32 i32)))".into(), "results"),
        (Bounds { branch_targets: 2, ..good }, "(func (br_table 0 0 0 0 (i32.const 1)))".into(), "br_table"),
        (Bounds { globals: 1, ..good }, many(2, "(global i32 (i32.const 1))"), "globals"),
        (Bounds { exports: 1, ..good }, r#"(func (export "a") (export "b"))"#.into(), "exports"),
        (Bounds { name_bytes: 3, ..good }, r#"(func (export "abcd"))"#.into(), "exported name"),
        (Bounds { tables: 1, ..good }, many(2, "(table 1 funcref)"), "tables"),
        (Bounds { table_elements: 9, ..good }, many(2, "(table 5 funcref)"), "elements of tables"),
        (
            Bounds { segment_elements: 3, ..good },
            "(func $f) (elem func $f $f) (elem func $f $f)".into(),
            "elements in segments",
        ),
        (Bounds { segments: 2, ..good }, r#"(data "a") (data "b") (data "c")"#.into(), "segments"),
        (Bounds { memory_pages: 2, ..good }, "(memory 3)".into(), "pages"),
    ];
    for (bounds, fields, named) in cases {
        let program = wat(&fields);
        let e = instrument(&program, &bounds).expect_err(&fields);
        assert_eq!(e.kind(), ErrorKind::BadProgram);
        assert!(e.to_string().contains(named), "{fields}: {e}");
        instrument(&program, &good).expect(&fields);
    }
}

#[test]
fn a_large_function_is_instrumented_in_time() {
    // Many small stretches, many result types: what would show a step that is not linear.
    let body = "(block (br_if 0 (local.get 0)) (local.set 1 (f64.sqrt (local.get 1))))".repeat(20_000);
    let functions: String = (0..120)
        .map(|n| {
            let (types, values) = ("i32 ".repeat(n), "(i32.const 1)".repeat(n));
            format!("(func (result {types} i64) {values} (i64.const 1))")
        })
        .collect();
    let program = wat(&format!("(func (param i32 f64) {body}) {functions}"));
    let out = instrument(&program, &Bounds::default()).expect("admitted");
    assert!(out.bytes.len() < 12 * program.len(), "{} bytes became {}", program.len(), out.bytes.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever is uploaded: it is refused as a bad program, or what comes out is valid.
    #[test]
    fn no_bytes_break_the_pass(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut program = everything();
        for (place, byte) in changes {
            let place = place.index(program.len());
            program[place] = byte;
        }
        match instrument(&program, &Bounds::default()) {
            Ok(out) => prop_assert!(out.exports_memory || !out.bytes.is_empty()),
            Err(e) => prop_assert_eq!(e.kind(), ErrorKind::BadProgram, "{}", e),
        }
    }
}
