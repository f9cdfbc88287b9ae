//! Programs as text, and calls of them on a state in memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use w3bstream_engine::abi::HostFunction;
use w3bstream_engine::instrument::ValueType;
use w3bstream_engine::{Call, Engine, Error, GuestError, HostState, Module, Outcome, Source};
use w3bstream_engine_wasix::{WasixConfig, WasixEngine};
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};
use w3bstream_types::{Digest, EventType, GuestLimits, OutputKind};

/// The block's time, in milliseconds.
pub(crate) const BLOCK_TIME: u64 = 1_700_000_000_123;

pub(crate) fn engine() -> Arc<dyn Engine> {
    static ENGINE: OnceLock<Arc<dyn Engine>> = OnceLock::new();
    let make = || -> Arc<dyn Engine> {
        let applets = WasmerEngine::new(&WasmerConfig::default());
        let shared = applets.shared();
        Arc::new(WasixEngine::new(Arc::new(applets), shared, WasixConfig::default()).expect("an engine"))
    };
    ENGINE.get_or_init(make).clone()
}

/// Where the text of a program is kept in its memory.
const TEXT_AT: usize = 4_096;

/// All functions of preview 1 under their names, and `$say`, which writes the low byte of a number to standard output.
fn prelude() -> String {
    let mut text = String::new();
    for f in HostFunction::all().iter().filter(|f| f.module == "wasi_snapshot_preview1") {
        let params: Vec<&str> =
            f.params.iter().map(|t| if *t == ValueType::I64 { "i64" } else { "i32" }).collect();
        let result = if f.result.is_some() { "(result i32)" } else { "" };
        let name = f.name;
        let _ = writeln!(
            text,
            r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {}) {result}))"#,
            params.join(" ")
        );
    }
    text += r#"
        (memory (export "memory") 2 16)
        (global $fd (mut i32) (i32.const 0))
        (func $say (param $byte i32)
          (i32.store8 (i32.const 16) (local.get $byte))
          (call $print (i32.const 16) (i32.const 1)))
        ;; Writes a stretch of memory to standard output.
        (func $print (param i32 i32)
          (drop (call $put (i32.const 1) (local.get 0) (local.get 1))))
        ;; Writes a stretch of memory to a descriptor: the error. How many bytes it were stands at 8.
        (func $put (param i32 i32 i32) (result i32)
          (i32.store (i32.const 0) (local.get 1)) (i32.store (i32.const 4) (local.get 2))
          (call $fd_write (local.get 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        ;; Reads from a descriptor to 32768, up to 1024 bytes: how many. Traps on an error.
        (func $get (param i32) (result i32)
          (i32.store (i32.const 0) (i32.const 32768)) (i32.store (i32.const 4) (i32.const 1024))
          (if (call $fd_read (local.get 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
          (i32.load (i32.const 8)))
        ;; Opens a path below /data with flags (1 create, 2 directory, 4 exclusive, 8 truncate) and descriptor's flags (1 append):
        ;; the error; the descriptor is $fd.
        (func $open (param $at i32) (param $len i32) (param $how i32) (param $flags i32) (result i32)
          (local $error i32)
          (local.set $error (call $path_open (i32.const 4) (i32.const 1) (local.get $at) (local.get $len) (local.get $how)
            (select (i64.const 0x20204000) (i64.const 0x1fffffff) (i32.and (local.get $how) (i32.const 2)))
            (i64.const 0x1fffffff) (local.get $flags) (i32.const 20)))
          (if (i32.eqz (local.get $error)) (then (global.set $fd (i32.load (i32.const 20)))))
          (local.get $error))
        ;; Makes a file with contents.
        (func $make (param $at i32) (param $len i32) (param $from i32) (param $bytes i32) (result i32)
          (local $error i32)
          (local.set $error (call $open (local.get $at) (local.get $len) (i32.const 9) (i32.const 0)))
          (if (local.get $error) (then (return (local.get $error))))
          (local.set $error (call $put (global.get $fd) (local.get $from) (local.get $bytes)))
          (if (local.get $error) (then (return (local.get $error))))
          (call $fd_close (global.get $fd)))
        ;; Prints a file's contents, up to 1024 bytes.
        (func $cat (param $at i32) (param $len i32) (result i32)
          (local $error i32)
          (local.set $error (call $open (local.get $at) (local.get $len) (i32.const 0) (i32.const 0)))
          (if (local.get $error) (then (return (local.get $error))))
          (call $print (i32.const 32768) (call $get (global.get $fd)))
          (call $fd_close (global.get $fd)))
    "#;
    text
}

/// A module of fields as text, on the prelude. `'some text'` stands for address and length of it.
pub(crate) fn module(fields: &str) -> Vec<u8> {
    let (mut text, mut data) = (prelude(), String::new());
    let mut at = TEXT_AT;
    for (i, part) in fields.split('\'').enumerate() {
        if i % 2 == 0 {
            text += part;
            continue;
        }
        let _ = write!(text, "(i32.const {at}) (i32.const {})", part.len());
        let bytes: String = part.bytes().map(|b| format!("\\{b:02x}")).collect();
        let _ = writeln!(data, "(data (i32.const {at}) \"{bytes}\")");
        at += part.len();
    }
    let text = format!("(module {text} {data})");
    wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// A command. It may use the locals `$a`, `$b` and `$i`.
pub(crate) fn program(body: &str) -> Vec<u8> {
    module(&format!(r#"(func (export "_start") (local $a i32) (local $b i32) (local $i i32) {body})"#))
}

/// The state of an applet, and what its calls get.
pub(crate) struct World {
    pub(crate) state: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) payload: Vec<u8>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) id: Digest,
    pub(crate) limits: GuestLimits,
}

struct Kept<'a>(&'a BTreeMap<Vec<u8>, Vec<u8>>);

impl HostState for Kept<'_> {
    fn kv_get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key).cloned())
    }
}

impl Default for World {
    fn default() -> Self {
        Self {
            state: BTreeMap::new(),
            payload: b"21.5".to_vec(),
            env: vec![],
            id: Digest::of(b"a call"),
            limits: GuestLimits::default(),
        }
    }
}

impl World {
    /// Calls a handler on the state, and changes nothing.
    pub(crate) fn call(&self, module: &dyn Module, handler: &str) -> Result<Outcome, Error> {
        let event_type: EventType = "reading".parse().expect("a label");
        let call = Call {
            env: &self.env,
            source: Source { block_time: BLOCK_TIME, time: 77, ..Source::default() },
            id: self.id,
            ..Call::of(handler, &event_type, &self.payload, &self.limits)
        };
        module.call(call, &mut Kept(&self.state))
    }

    /// Runs a command and takes over what it changed. What fails must have changed nothing.
    pub(crate) fn run(&mut self, body: &str) -> Outcome {
        let module = engine().load(&program(body)).expect("a good program");
        let outcome = self.call(&*module, "_start").expect("an outcome");
        if outcome.result.is_err() {
            assert!(outcome.writes.is_empty() && outcome.removed.is_empty() && outcome.outputs.is_empty());
        }
        self.state.extend(outcome.writes.clone());
        self.state.retain(|key, _| !outcome.removed.contains(key));
        outcome
    }

    /// Runs a command that must come to its end: what it wrote to standard output.
    pub(crate) fn says(&mut self, body: &str) -> Vec<u8> {
        let outcome = self.run(body);
        assert_eq!(outcome.result, Ok(0), "{:?}", outcome.logs);
        answer(&outcome)
    }

    /// Runs a command that must fail.
    pub(crate) fn fails(&mut self, body: &str, error: GuestError) -> Outcome {
        let outcome = self.run(body);
        assert_eq!(outcome.result, Err(error), "{:?}", outcome.logs);
        outcome
    }

    /// The keys of the state as text.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.state.keys().map(|k| String::from_utf8_lossy(k).into_owned()).collect()
    }

    /// A value of the state as text.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        self.state.get(key.as_bytes()).map(|v| String::from_utf8_lossy(v).into_owned())
    }
}

/// What a call wrote to standard output.
pub(crate) fn answer(outcome: &Outcome) -> Vec<u8> {
    match outcome.outputs.as_slice() {
        [] => vec![],
        [one] => {
            assert_eq!((one.kind, one.target.as_slice()), (OutputKind::Answer, b"_start".as_slice()));
            one.data.clone()
        }
        more => panic!("{} outputs", more.len()),
    }
}
