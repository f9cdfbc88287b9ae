//! Programs from a seed: arbitrary valid modules, and small ones that are made of what engines disagree on.

use std::fmt::Write as _;

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, InstructionSink, Module,
    RawSection, TypeSection, ValType,
};
use wasmparser::{Parser, Payload};

use w3bstream_types::Digest;

use super::rig::{ALLOC, handler, module};

/// Numbers that depend on a seed alone.
pub(super) struct Dice {
    seed: u64,
    drawn: u64,
    block: [u8; 32],
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, drawn: 0, block: [0; 32] }
    }

    pub(super) fn byte(&mut self) -> u8 {
        let place = (self.drawn % 32) as usize;
        if place == 0 {
            let parts = [self.seed.to_be_bytes(), self.drawn.to_be_bytes()];
            self.block = *Digest::tagged("w3b/dice", &[&parts[0], &parts[1]]).as_bytes();
        }
        self.drawn += 1;
        self.block.get(place).copied().unwrap_or(0)
    }

    /// A number below `end`, which is at most 65,536.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % end.max(1)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from.get(self.below(from.len())).copied().unwrap_or("")
    }
}

/// A kind of program.
struct Kind {
    /// How many of [`SHARES`] seeds give one.
    share: u64,
    make: fn(&mut Dice) -> Result<Vec<u8>, String>,
}

/// All kinds. A new one takes its share from the last.
const KINDS: [Kind; 4] = [
    Kind { share: 1, make: |dice| module(&floats(dice)) },
    Kind { share: 1, make: |dice| module(&key_values(dice)) },
    Kind { share: 1, make: |dice| module(&mixed(dice)) },
    Kind { share: 6, make: arbitrary },
];

/// Seeds after which the kinds come round again.
const SHARES: u64 = 9;

/// The program of a seed.
pub(super) fn program(seed: u64) -> Result<Vec<u8>, String> {
    let mut turn = seed % SHARES;
    for kind in KINDS {
        match turn.checked_sub(kind.share) {
            Some(rest) => turn = rest,
            None => return (kind.make)(&mut Dice::new(seed)),
        }
    }
    Err(format!("the shares of all kinds are fewer than {SHARES}"))
}

/// Arithmetic over numbers of all kinds, whose bits are written to the state.
fn floats(dice: &mut Dice) -> String {
    let mut text = r#"(import "env" "ws_set_db" (func $set_db (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)"#
        .to_owned();
    for place in 0..3 {
        let mut body = String::new();
        for i in 0..8 {
            let at = 64 + 8 * i;
            let value = double(dice, 5);
            let _ = write!(body, "(f64.store (i32.const {at}) {value})");
        }
        body += "(call $set_db (i32.const 64) (i32.const 8) (i32.const 64) (i32.const 64))";
        text += &handler(&format!("h{place}"), &body);
    }
    text
}

const DOUBLES: &[&str] = &[
    "(f64.const nan)",
    "(f64.const -nan:0x4000000000123)",
    "(f64.const nan:0xfffffffffffff)",
    "(f64.const inf)",
    "(f64.const -inf)",
    "(f64.const 0)",
    "(f64.const -0)",
    "(f64.const 1e308)",
    "(f64.const 5e-324)",
    "(f64.const 0.1)",
    "(f64.const -2.5)",
    "(f64.const 4503599627370497.5)",
    "(f64.convert_i32_s (local.get $rid))",
    "(f64.load (i32.const 64))",
    "(f64.reinterpret_i64 (i64.mul (i64.extend_i32_u (local.get $rid)) (i64.const 0x9e3779b97f4a7c15)))",
];
const SINGLES: &[&str] = &[
    "(f32.const nan)",
    "(f32.const -nan:0x200123)",
    "(f32.const inf)",
    "(f32.const -0)",
    "(f32.const 3e38)",
    "(f32.const 1e-45)",
    "(f32.const 0.1)",
    "(f32.convert_i32_u (local.get $rid))",
    "(f32.reinterpret_i32 (i32.mul (local.get $rid) (i32.const 0x9e3779b1)))",
];

fn double(dice: &mut Dice, depth: usize) -> String {
    if depth == 0 {
        return dice.pick(DOUBLES).to_owned();
    }
    match dice.below(8) {
        0..4 => {
            let op = dice.pick(&["add", "sub", "mul", "div", "min", "max", "copysign"]);
            format!("(f64.{op} {} {})", double(dice, depth - 1), double(dice, depth - 1))
        }
        4..6 => {
            let op = dice.pick(&["sqrt", "ceil", "floor", "trunc", "nearest", "neg", "abs"]);
            format!("(f64.{op} {})", double(dice, depth - 1))
        }
        6 => format!("(f64.promote_f32 {})", single(dice, depth - 1)),
        _ => format!("(f64.convert_i64_s (i64.trunc_sat_f64_s {}))", double(dice, depth - 1)),
    }
}

fn single(dice: &mut Dice, depth: usize) -> String {
    if depth == 0 {
        return dice.pick(SINGLES).to_owned();
    }
    match dice.below(6) {
        0..3 => {
            let op = dice.pick(&["add", "sub", "mul", "div", "min", "max", "copysign"]);
            format!("(f32.{op} {} {})", single(dice, depth - 1), single(dice, depth - 1))
        }
        3 | 4 => {
            let op = dice.pick(&["sqrt", "ceil", "floor", "trunc", "nearest", "neg", "abs"]);
            format!("(f32.{op} {})", single(dice, depth - 1))
        }
        _ => format!("(f32.demote_f64 {})", double(dice, depth - 1)),
    }
}

/// Reads and writes of a few keys, outputs and logs, and sometimes a trap at the end.
fn key_values(dice: &mut Dice) -> String {
    let mut text = format!(
        r#"(import "env" "ws_log" (func $log (param i32 i32 i32) (result i32)))
        (import "env" "ws_get_data" (func $get_data (param i32 i32 i32) (result i32)))
        (import "env" "ws_get_db" (func $get_db (param i32 i32 i32 i32) (result i32)))
        (import "env" "ws_set_db" (func $set_db (param i32 i32 i32 i32) (result i32)))
        (import "env" "ws_send_mqtt_msg" (func $mqtt (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 64) "key0key1key2key3") {ALLOC}"#
    );
    for place in 0..3 {
        let mut body = String::new();
        for _ in 0..12 {
            let key = format!("(i32.const {}) (i32.const 4)", 64 + 4 * dice.below(4));
            let out = "(i32.const 16) (i32.const 20)";
            let got = "(i32.load (i32.const 16)) (i32.load (i32.const 20))";
            let call = match dice.below(7) {
                0 => format!("(call $get_data (local.get $rid) {out})"),
                1 => format!("(call $get_db {key} {out})"),
                2 | 3 => format!("(call $set_db {key} {got})"),
                4 => format!("(call $mqtt {key} {got})"),
                5 => format!("(call $log (i32.const 4) {got})"),
                _ => format!("(call $random (i32.const 128) (i32.const {}))", dice.below(100)),
            };
            let _ = write!(body, "(local.set $a (i32.add (i32.mul (local.get $a) (i32.const 31)) {call}))");
        }
        if dice.below(3) == 0 {
            body += "(if (i32.and (local.get $rid) (i32.const 1)) (then unreachable))";
        }
        body += "(local.get $a)";
        text += &handler(&format!("h{place}"), &body);
    }
    text
}

/// Recursion, growth, bulk operations, traps and endless loops.
fn mixed(dice: &mut Dice) -> String {
    let mut text = r#"(memory (export "memory") 1) (table $t 4 funcref) (elem (i32.const 0) $down) (type $f (func (param i32) (result i32)))
        (func $down (param i32) (result i32) (local i64 i64)
          (if (result i32) (i32.eqz (local.get 0)) (then (memory.size))
            (else (i32.add (i32.const 1) (call_indirect (type $f) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))))))"#
        .to_owned();
    for place in 0..4 {
        let mut body = String::new();
        for _ in 0..6 {
            let number = format!("(i32.xor (local.get $rid) (i32.const {}))", dice.below(4096));
            let step = match dice.below(8) {
                0 => format!(
                    "(call $down (i32.and {number} (i32.const {})))",
                    [255, 16_383, 65_535][dice.below(3)]
                ),
                1 => format!("(memory.grow (i32.and {number} (i32.const 7)))"),
                2 => format!("(table.grow $t (ref.null func) (i32.and {number} (i32.const 255)))"),
                3 => format!("(call_indirect (type $f) (i32.const 3) (i32.and {number} (i32.const 1)))"),
                4 => format!("(i32.rem_s (i32.const 1000) (i32.and {number} (i32.const 3)))"),
                5 => format!("(i32.load (i32.mul {number} (i32.const {})))", 1 + dice.below(40)),
                6 => format!(
                    "(block (result i32) (memory.fill (i32.const 100) {number} (i32.and {number} (i32.const 0xffff))) (i32.load (i32.const 100)))"
                ),
                _ => format!(
                    "(loop $l (result i32) (br_if $l (i32.lt_u (local.tee $b (i32.add (local.get $b) (i32.const 1))) (i32.mul {number} (i32.const {})))) (local.get $b))",
                    1 + dice.below(64)
                ),
            };
            let _ = write!(body, "(local.set $a (i32.add (i32.mul (local.get $a) (i32.const 31)) {step}))");
        }
        body += "(local.get $a)";
        text += &handler(&format!("h{place}"), &body);
    }
    text
}

/// An arbitrary valid module with a handler for each of its functions.
fn arbitrary(dice: &mut Dice) -> Result<Vec<u8>, String> {
    let noise = dice.bytes(6_000);
    let config = wasm_smith::Config {
        min_funcs: 2,
        max_funcs: 8,
        max_imports: 0,
        min_memories: 1,
        max_memories: 1,
        max_memory32_bytes: 24 << 16,
        max_tables: 3,
        max_table_elements: 500,
        max_elements: 20,
        max_instructions: 300,
        max_data_segments: 3,
        max_nesting_depth: 12,
        allow_start_export: true,
        bulk_memory_enabled: true,
        reference_types_enabled: true,
        multi_value_enabled: true,
        saturating_float_to_int_enabled: true,
        sign_extension_ops_enabled: true,
        simd_enabled: false,
        relaxed_simd_enabled: false,
        threads_enabled: false,
        shared_everything_threads_enabled: false,
        tail_call_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        extended_const_enabled: false,
        wide_arithmetic_enabled: false,
        custom_page_sizes_enabled: false,
        ..wasm_smith::Config::default()
    };
    let smith = wasm_smith::Module::new(config, &mut arbitrary::Unstructured::new(&noise));
    with_handlers(&smith.map_err(|e| format!("wasm-smith: {e}"))?.to_bytes())
}

/// The module with its memory exported, and with an exported handler for each of its functions.
fn with_handlers(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let broken = |e: &dyn std::fmt::Display| format!("an arbitrary module cannot be read: {e}");
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    let (mut signatures, mut defined) = (vec![], vec![]);
    let mut code = CodeSection::new();
    let mut copied = vec![];
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|e| broken(&e))?;
        let section = payload.as_section();
        match payload {
            Payload::TypeSection(section) => {
                for ty in section.into_iter_err_on_gc_types() {
                    let ty = ty.map_err(|e| broken(&e))?;
                    types.ty().func_type(&ty.clone().try_into().map_err(|_| "a type is odd".to_owned())?);
                    signatures.push(ty);
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    let ty = ty.map_err(|e| broken(&e))?;
                    functions.function(ty);
                    defined.push(ty);
                }
            }
            Payload::CodeSectionEntry(body) => {
                RoundtripReencoder.parse_function_body(&mut code, body).map_err(|e| broken(&e))?;
            }
            Payload::ExportSection(_) | Payload::CodeSectionStart { .. } => {}
            _ => {
                if let Some((id, range)) = section {
                    copied.push((id, bytes.get(range).unwrap_or(&[])));
                }
            }
        }
    }
    types.ty().function([ValType::I32], [ValType::I32]);
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    for (place, ty) in (0..).zip(&defined) {
        let ty = signatures.get(*ty as usize).ok_or("a function has no type")?;
        functions.function(types.len() - 1);
        code.function(&calling(place, ty));
        exports.export(
            &format!("h{place}"),
            ExportKind::Func,
            u32::try_from(defined.len()).unwrap_or(0) + place,
        );
    }

    if defined.is_empty() {
        // Nothing to call, but tables, globals and data are still set up for each call.
        functions.function(types.len() - 1);
        let mut nothing = Function::new([]);
        nothing.instructions().local_get(0).end();
        code.function(&nothing);
        exports.export("h0", ExportKind::Func, 0);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions);
    // Table, memory, global; exports; start, elements, data count; code; data.
    let copy = |module: &mut Module, ids: &[u8]| {
        for (id, data) in ids.iter().flat_map(|id| copied.iter().filter(move |(i, _)| i == id)) {
            module.section(&RawSection { id: *id, data });
        }
    };
    copy(&mut module, &[4, 5, 6]);
    module.section(&exports);
    copy(&mut module, &[8, 9, 12]);
    module.section(&code);
    copy(&mut module, &[11]);
    Ok(module.finish())
}

/// A handler that calls a function with arguments made of `rid` and folds its results and some memory into one.
fn calling(target: u32, ty: &wasmparser::FuncType) -> Function {
    use wasmparser::ValType as V;
    let (rid, sum, at) = (0, 1, 2);
    let mut function = Function::new([(1, ValType::I64), (1, ValType::I32)]);
    let mut sink = function.instructions();
    for param in ty.params() {
        sink.local_get(rid);
        match param {
            V::I32 => &mut sink,
            V::I64 => sink.i64_extend_i32_s(),
            V::F32 => sink.f32_reinterpret_i32(),
            V::F64 => sink.f64_convert_i32_s(),
            V::Ref(r) if r.is_func_ref() => sink.drop().ref_null(wasm_encoder::HeapType::FUNC),
            V::Ref(_) | V::V128 => sink.drop().ref_null(wasm_encoder::HeapType::EXTERN),
        };
    }
    sink.call(target);
    let fold = |sink: &mut InstructionSink<'_>| {
        sink.local_get(sum)
            .i64_const(0x9e37_79b9_7f4a_7c15_u64.cast_signed())
            .i64_mul()
            .i64_xor()
            .local_set(sum);
    };
    for result in ty.results().iter().rev() {
        match result {
            V::I32 => sink.i64_extend_i32_u(),
            V::I64 => &mut sink,
            V::F32 => sink.i32_reinterpret_f32().i64_extend_i32_u(),
            V::F64 => sink.i64_reinterpret_f64(),
            V::Ref(_) | V::V128 => sink.ref_is_null().i64_extend_i32_u(),
        };
        fold(&mut sink);
    }
    sink.memory_size(0).if_(BlockType::Empty).loop_(BlockType::Empty);
    sink.local_get(at).i64_load(wasm_encoder::MemArg { offset: 0, align: 3, memory_index: 0 });
    fold(&mut sink);
    sink.local_get(at).i32_const(8).i32_add().local_tee(at).i32_const(4_096).i32_lt_u().br_if(0).end().end();
    sink.local_get(sum).local_get(sum).i64_const(32).i64_shr_u().i64_xor().i32_wrap_i64().end();
    function
}
