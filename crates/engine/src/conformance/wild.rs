//! Modules that mean harm, from a seed: what is no module, sizes that are lies, good modules with changed bytes, and programs
//! that call every host function with whatever pointers.
//!
//! An engine either refuses such a module as [`crate::ErrorKind::BadProgram`], or runs it to one of the ends that there are.

use std::fmt::Write as _;

use super::generate::{Dice, program};
use super::rig::module as assembled;
use crate::abi::HostFunction;
use crate::instrument::ValueType;

/// What a module of a seed is made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A generated valid program, as engines are compared with.
    Valid,
    /// Calls functions of `env` and `stat` with wild numbers; its memory, `alloc` and start function may lie.
    Calls,
    /// A WASI program that calls functions of preview 1 with wild numbers.
    Wasi,
    /// A good module with a few bytes changed.
    Changed,
    /// Sizes and counts that are too large, or just not.
    Sizes,
    /// No module.
    Noise,
}

impl Kind {
    /// The kind of a seed's module.
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        match seed % 10 {
            0 | 1 => Self::Valid,
            2..=4 => Self::Calls,
            5 => Self::Wasi,
            6 | 7 => Self::Changed,
            8 => Self::Sizes,
            _ => Self::Noise,
        }
    }
}

/// The module of a seed. `good` are modules of which some are changed.
///
/// # Errors
/// What is wrong with the kit itself.
pub fn module(seed: u64, good: &[Vec<u8>]) -> Result<Vec<u8>, String> {
    let mut dice = Dice::new(seed ^ 0x5731_1d00);
    match Kind::of(seed) {
        Kind::Valid => program(seed),
        Kind::Calls => assembled(&calls(&mut dice)),
        Kind::Wasi => assembled(&wasi(&mut dice)),
        Kind::Changed => {
            let from = match good.get(dice.below(2 * good.len())) {
                Some(good) => good.clone(),
                None if dice.below(2) == 0 => assembled(&calls(&mut dice))?,
                None => program(seed)?,
            };
            Ok(changed(from, &mut dice))
        }
        Kind::Sizes => Ok(sizes(&mut dice)),
        Kind::Noise => Ok(noise(&mut dice)),
    }
}

/// Numbers that are odd as pointers, lengths, ids and flags.
const ODD: [i64; 20] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    64,
    100,
    1_024,
    4_096,
    65_532,
    65_535,
    65_536,
    131_072,
    i32::MAX as i64,
    i32::MIN as i64,
    -1,
    -8,
];

fn number(dice: &mut Dice) -> i64 {
    match dice.below(8) {
        // Inside memory.
        0..3 => i64::try_from(dice.below(2_048)).unwrap_or(0),
        3 => {
            i64::from(u32::from_le_bytes([dice.byte(), dice.byte(), dice.byte(), dice.byte()]).cast_signed())
        }
        _ => ODD.get(dice.below(ODD.len())).copied().unwrap_or(0),
    }
}

/// A call of the function number `place`, with wild arguments; its result is dropped.
fn call(dice: &mut Dice, place: usize, function: &HostFunction) -> String {
    let mut text = format!("(call $f{place}");
    for ty in function.params {
        let n = number(dice);
        let _ = match ty {
            ValueType::I64 => write!(text, " (i64.const {n})"),
            ValueType::F64 => write!(text, " (f64.const {n})"),
            _ => write!(text, " (i32.const {n})"),
        };
    }
    text.push(')');
    if function.result.is_some() { format!("(drop {text})") } else { text }
}

fn import(place: usize, function: &HostFunction) -> String {
    let name = |t: &ValueType| match t {
        ValueType::I64 => "i64",
        ValueType::F64 => "f64",
        _ => "i32",
    };
    let params: Vec<&str> = function.params.iter().map(name).collect();
    let result = function.result.as_ref().map(|t| format!("(result {})", name(t))).unwrap_or_default();
    let (from, function) = (function.module, function.name);
    format!(r#"(import "{from}" "{function}" (func $f{place} (param {}) {result}))"#, params.join(" "))
}

/// A few functions of those that a filter admits.
fn some(dice: &mut Dice, admits: impl Fn(&HostFunction) -> bool) -> Vec<&'static HostFunction> {
    let all: Vec<&HostFunction> = HostFunction::all().iter().filter(|f| admits(f)).collect();
    (0..3 + dice.below(8)).filter_map(|_| all.get(dice.below(all.len())).copied()).collect()
}

/// Text that functions may find where they look: requests, paths, lists of buffers.
const TEXTS: [&str; 8] = [
    r#"{\"statement\":\"INSERT INTO t (v) VALUES ('x')\",\"params\":[]}"#,
    r#"{\"statement\":\"SELECT * FROM t, t AS u, t AS w\",\"params\":[{\"int64\":9}]}"#,
    r#"{\"to\":\"0x00000000000000000000000000000000000000ff\",\"value\":\"1\",\"data\":\"00\"}"#,
    r#"{\"Method\":\"GET\",\"Url\":\"w3bstream://w3bstream.com/system/hello\",\"Header\":{},\"Body\":\"\"}"#,
    r#"{\"a\":{\"a\":{\"a\":{\"a\":[[[[[[[[]]]]]]]]}}}}"#,
    "../../../../etc/passwd",
    "/data/../../x/",
    r"\04\00\00\00\10\00\00\00\ff\ff\ff\ff\ff\ff\ff\ff",
];

/// Data at the beginning of memory.
fn data(dice: &mut Dice) -> String {
    let at = |i: usize| 128 * i;
    (0..8)
        .map(|i| {
            format!("(data (i32.const {}) \"{}\")", at(i), TEXTS.get(dice.below(8)).copied().unwrap_or(""))
        })
        .collect()
}

/// Calls in a row, or over and over.
fn body(dice: &mut Dice, functions: &[&'static HostFunction], count: usize) -> String {
    let calls: String = (0..count)
        .filter_map(|_| {
            let place = dice.below(functions.len());
            functions.get(place).map(|f| call(dice, place, f))
        })
        .collect();
    match dice.below(4) {
        0 => format!("(loop $again {calls} (br $again))"),
        1 => format!("{calls} (drop (memory.grow (i32.const {}))) {calls}", number(dice)),
        _ => calls,
    }
}

fn calls(dice: &mut Dice) -> String {
    let functions = some(dice, |f| f.module != "wasi_snapshot_preview1");
    let imports: String = (0..).zip(&functions).map(|(place, f)| import(place, f)).collect();
    let memory = match dice.below(24) {
        0 => "(memory 1)".to_owned(),
        1 => r#"(memory 1) (global (export "memory") i32 (i32.const 0))"#.to_owned(),
        2 => r#"(memory 1) (func (export "memory"))"#.to_owned(),
        3 => r#"(memory (export "memory") 0)"#.to_owned(),
        4 => r#"(memory (export "memory") 65536)"#.to_owned(),
        5 => r#"(memory (export "memory") 1 1)"#.to_owned(),
        _ => r#"(memory (export "memory") 1)"#.to_owned(),
    };
    let data = if memory.contains(" 0)") { String::new() } else { data(dice) };
    let alloc = |body: &str| format!(r#"(func $alloc (export "alloc") (param i32) (result i32) {body})"#);
    let alloc = match dice.below(14) {
        0 => String::new(),
        1 => alloc("unreachable"),
        2 => alloc("(loop $l (br $l)) (i32.const 0)"),
        3 => alloc("(call $alloc (local.get 0))"),
        4 => alloc(&format!("{} (i32.const 4096)", body(dice, &functions, 2))),
        5 => alloc(&format!("(i32.const {})", number(dice))),
        6 => alloc("(i32.mul (memory.grow (i32.const 1)) (i32.const 65536))"),
        7 => r#"(func (export "alloc") (param i64) (result i32) (i32.const 4096))"#.to_owned(),
        8 => r#"(func (export "malloc") (param i32) (result i32) (i32.const 4096))"#.to_owned(),
        _ => alloc("(i32.const 4096)"),
    };
    let start = match dice.below(16) {
        0 => "(func $start (loop $l (br $l))) (start $start)".to_owned(),
        1 => "(func $start unreachable) (start $start)".to_owned(),
        2 => format!("(func $start {}) (start $start)", body(dice, &functions, 3)),
        3 => format!(r#"(func (export "_initialize") {})"#, body(dice, &functions, 3)),
        _ => String::new(),
    };
    let handlers: String = (0..2)
        .map(|n| {
            let body = body(dice, &functions, 12);
            format!(r#"(func (export "h{n}") (param i32) (result i32) {body} (i32.const {n}))"#)
        })
        .collect();
    format!("{imports} {memory} {data} {alloc} {start} {handlers}")
}

fn wasi(dice: &mut Dice) -> String {
    let functions = some(dice, |f| f.module == "wasi_snapshot_preview1");
    let imports: String = (0..).zip(&functions).map(|(place, f)| import(place, f)).collect();
    let export = ["_start", "reading"].get(dice.below(2)).copied().unwrap_or("_start");
    let (data, body) = (data(dice), body(dice, &functions, 24));
    format!(r#"{imports} (memory (export "memory") 1) {data} (func (export "{export}") {body})"#)
}

/// A module with bytes flipped, put in, taken out or doubled.
fn changed(mut bytes: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    // Often one alone: with more, hardly any is still a module.
    for _ in 0..1 + (dice.below(4) / 3) * dice.below(6) {
        let at = dice.below(bytes.len()).max(8);
        let Some(byte) = bytes.get_mut(at) else { break };
        match dice.below(12) {
            0..8 => *byte ^= 1 << dice.below(8),
            8 => *byte = dice.byte(),
            9 => bytes.insert(at, dice.byte()),
            10 => drop(bytes.remove(at)),
            _ => {
                let part = bytes.get(at..bytes.len().min(at + 16)).unwrap_or(&[]).to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

fn noise(dice: &mut Dice) -> Vec<u8> {
    let len = dice.below(2_000);
    let mut bytes = dice.bytes(len);
    let head: &[u8] = match dice.below(5) {
        0 => b"",
        // A component, another version, text, a script.
        1 => b"\0asm\x0d\0\x01\0",
        2 => b"\0asm\x02\0\0\0",
        3 => b"(module (memory (export \"memory\") 1))",
        _ => b"\0asm\x01\0\0\0",
    };
    bytes.splice(0..0, head.iter().copied());
    bytes
}

fn leb(mut n: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while n >= 128 {
        bytes.push(u8::try_from(n & 127).unwrap_or(0) | 128);
        n >>= 7;
    }
    bytes.push(u8::try_from(n).unwrap_or(0));
    bytes
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len() as u64), content].concat()
}

/// The bodies of functions as a section.
fn code(bodies: &[Vec<u8>]) -> Vec<u8> {
    let sized = bodies.iter().flat_map(|body| [leb(body.len() as u64), body.clone()].concat());
    section(10, &leb(bodies.len() as u64).into_iter().chain(sized).collect::<Vec<u8>>())
}

/// A module with a memory and a handler `h0` of this body: locals, operators, the end.
fn with_handler(body: Vec<u8>) -> Vec<u8> {
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, &[1, 0]),
        section(5, &[1, 0, 1]),
        section(7, b"\x02\x06memory\x02\x00\x02h0\x00\x00"),
        code(&[body]),
    ]
    .concat()
}

fn sizes(dice: &mut Dice) -> Vec<u8> {
    // About a bound of the instrumentation pass, or far from all of them.
    let near = |dice: &mut Dice, bound: usize| bound - 3 + dice.below(6);
    match dice.below(10) {
        // A count that is a lie, in any section.
        0..3 => {
            let id = 1 + u8::try_from(dice.below(12)).unwrap_or(0);
            let count = [u64::from(u32::MAX), 1 << 31, 1 << 20, 1_000_001, u64::MAX];
            let mut content = leb(count.get(dice.below(5)).copied().unwrap_or(0));
            content.extend(dice.bytes(40));
            [b"\0asm\x01\0\0\0".to_vec(), section(id, &content)].concat()
        }
        // A section that is longer than the module.
        3 => {
            let id = u8::try_from(dice.below(13)).unwrap_or(0);
            [b"\0asm\x01\0\0\0".to_vec(), vec![id], leb(u64::from(u32::MAX)), dice.bytes(20)].concat()
        }
        // Memory and table of any size.
        4 => {
            let table = [&[1, 0x70, 0][..], &leb(1 << dice.below(33))].concat();
            let memory = [&[1, 0][..], &leb(1 << dice.below(18))].concat();
            let export = b"\x02\x06memory\x02\x00\x02h0\x00\x00";
            [
                b"\0asm\x01\0\0\0".to_vec(),
                section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]),
                section(3, &[1, 0]),
                section(4, &table),
                section(5, &memory),
                section(7, export),
                code(&[vec![0, 0x41, 1, 0x0b]]),
            ]
            .concat()
        }
        // Locals, declared in one line.
        5 => {
            let locals = [near(dice, 4_096) as u64, 1 << 31, u64::from(u32::MAX)];
            let locals = locals.get(dice.below(3)).copied().unwrap_or(0);
            with_handler([&[1][..], &leb(locals), &[0x7e, 0x41, 1, 0x0b]].concat())
        }
        // Blocks inside each other.
        6 => {
            let depth = near(dice, 4_096);
            let blocks = [0x02, 0x40].repeat(depth);
            with_handler([&[0][..], &blocks, &vec![0x0b; depth], &[0x41, 1, 0x0b]].concat())
        }
        // Operands: the handler's parameter so many times, and then their sum.
        7 => {
            let depth = near(dice, 4_096);
            let (gets, adds) = ([0x20, 0].repeat(depth), vec![0x6a; depth - 1]);
            with_handler([&[0][..], &gets, &adds, &[0x0b]].concat())
        }
        // A table of jumps.
        8 => {
            let targets = near(dice, 16_384);
            let table = [&[0x20, 0, 0x0e][..], &leb(targets as u64), &vec![0; targets + 1]].concat();
            with_handler([&[0, 0x02, 0x40][..], &table, &[0x0b, 0x41, 1, 0x0b]].concat())
        }
        // Functions without end.
        _ => {
            let count = near(dice, 3_000);
            let types = [leb(count as u64), vec![0; count]].concat();
            [
                b"\0asm\x01\0\0\0".to_vec(),
                section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]),
                section(3, &types),
                section(5, &[1, 0, 1]),
                section(7, b"\x02\x06memory\x02\x00\x02h0\x00\x00"),
                code(&vec![vec![0, 0x20, 0, 0x10, 0, 0x0b]; count]),
            ]
            .concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_module_and_every_kind_is_made() {
        let good = [assembled(r#"(memory (export "memory") 1)"#).unwrap()];
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let made = module(seed, &good).unwrap_or_else(|why| panic!("{seed}: {why}"));
            assert_eq!(module(seed, &good).unwrap(), made, "{seed}");
            seen.insert(Kind::of(seed));
        }
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn what_is_made_as_good_is_taken() {
        let prepared = |seed| crate::abi::Program::prepare(&module(seed, &[]).unwrap());
        let taken = |kind| (0..400).filter(|seed| Kind::of(*seed) == kind && prepared(*seed).is_ok()).count();
        let all = |kind| (0..400).filter(|seed| Kind::of(*seed) == kind).count();
        assert!(taken(Kind::Valid) > all(Kind::Valid) * 8 / 10);
        assert!(taken(Kind::Calls) > all(Kind::Calls) / 2, "{} of {}", taken(Kind::Calls), all(Kind::Calls));
        assert!(taken(Kind::Changed) > all(Kind::Changed) / 10, "{}", taken(Kind::Changed));
        assert!(taken(Kind::Sizes) > 0 && taken(Kind::Sizes) < all(Kind::Sizes));
    }
}
