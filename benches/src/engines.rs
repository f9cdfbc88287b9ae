//! What our engines cost beside the handler's own work: a host call, a start from the cache, the end of a runaway, the
//! instrumentation.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use w3bstream_engine::instrument::{Bounds, Reserved, instrument};
use w3bstream_engine::{Engine, GuestError};
use w3bstream_engine_wasmtime::{WasmtimeConfig, WasmtimeEngine};
use w3bstream_types::{EventType, GuestLimits};

use crate::handler::{Ours, called, engines, in_workers, percentile};

/// Host calls of one measured call.
const HOST_CALLS: u32 = 10_000;
/// How long a runaway may take before the clock stops it.
const CALL_TIME: Duration = Duration::from_millis(100);

/// A figure of one engine.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// On what.
    pub engine: String,
    /// Half were no longer.
    pub median: Duration,
    /// 99 of 100 were no longer.
    pub p99: Duration,
}

fn figure(what: &str, engine: &dyn Engine, mut times: Vec<Duration>) -> Figure {
    let (median, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    Figure { what: what.to_owned(), engine: engine.name().to_owned(), median, p99 }
}

fn timed<T>(rounds: usize, mut run: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<Vec<Duration>> {
    let mut once = || {
        let begin = Instant::now();
        run().map(|_| begin.elapsed())
    };
    (0..rounds / 10 + 1).try_for_each(|_| once().map(|_| ()))?;
    (0..rounds).map(|_| once()).collect()
}

fn program(fields: &str) -> anyhow::Result<Vec<u8>> {
    Ok(wat::parse_str(format!(r#"(module {fields})"#))?)
}

/// A handler that repeats something as often as its resource id says.
fn repeats(imports: &str, body: &str) -> String {
    format!(
        r#"{imports} (memory (export "memory") 17) (func (export "h") (param i32) (result i32) (local i32)
        (loop $l {body} (br_if $l (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (local.get 0))))
        (local.get 1))"#
    )
}

/// All figures of both engines, and of wasmer in a process of its own; see [`compare`](crate::handler::compare).
///
/// # Errors
/// If a call does not end as it should.
pub fn figures(rounds: usize, applet: &[u8], worker: &[OsString]) -> anyhow::Result<Vec<Figure>> {
    let mut all = vec![];
    for engine in engines()? {
        all.extend(host_calls(&*engine, rounds / 10 + 1)?);
        all.extend(starts(&*engine, rounds, applet)?);
        all.push(end_of_gas(&*engine, rounds / 100 + 1)?);
    }
    let workers = in_workers(worker)?;
    let figures = [host_calls(&workers, rounds / 100 + 1)?, starts(&workers, rounds, applet)?];
    all.extend(
        figures.into_iter().flatten().map(|f| Figure { engine: format!("{}, worker", f.engine), ..f }),
    );
    all.push(end_of_time(rounds / 1_000 + 1)?);
    Ok(all)
}

fn host_calls(engine: &dyn Engine, rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let cases = [
        (
            "host call: answers a number",
            repeats(
                r#"(import "wasi_snapshot_preview1" "sched_yield" (func $f (result i32)))"#,
                "(drop (call $f))",
            ),
        ),
        (
            "host call: sets 4 bytes",
            repeats(
                r#"(import "env" "ws_set_data" (func $f (param i32 i32 i32) (result i32)))"#,
                "(drop (call $f (i32.const 9) (i32.const 64) (i32.const 4)))",
            ),
        ),
        (
            // The state is the node's, so a worker has to ask.
            "host call: looks for a key",
            repeats(
                r#"(import "env" "ws_get_db" (func $f (param i32 i32 i32 i32) (result i32)))
                   (func (export "alloc") (param i32) (result i32) (i32.const 1024))"#,
                "(drop (call $f (i32.const 64) (i32.const 4) (i32.const 16) (i32.const 20)))",
            ),
        ),
    ];
    cases
        .iter()
        .map(|(what, fields)| {
            let mut ours = Ours::new(engine, &program(fields)?)?;
            ours.limits.host_calls = u64::from(HOST_CALLS) + 1;
            ours.limits.gas = 1 << 40;
            ours.limits.kv_bytes = 1 << 30;
            let run = |calls: u32| {
                let result = ours.outcome(calls.cast_signed())?.result;
                ensure!(result == Ok(calls.cast_signed()), "{calls} host calls gave {result:?}");
                Ok(())
            };
            // What remains without host calls is the instance, a thousandth of all.
            let times = timed(rounds, || run(HOST_CALLS))?.into_iter().map(|t| t / HOST_CALLS).collect();
            Ok(figure(what, engine, times))
        })
        .collect()
}

/// A real applet of the examples: how long until it was called, and until it is there when it was loaded before.
fn starts(engine: &dyn Engine, rounds: usize, applet: &[u8]) -> anyhow::Result<Vec<Figure>> {
    let module = engine.load(applet)?;
    let handlers = module.handlers();
    let handler = handlers.iter().find(|h| *h != "alloc").context("the applet has no handler")?;
    let (event_type, limits) = ("reading".parse::<EventType>()?, GuestLimits::default());
    let start = timed(rounds, || Ok(called(&*module, handler, 1, (&event_type, &limits))?))?;
    let load = timed(rounds, || Ok(engine.load(applet)?))?;
    Ok(vec![
        figure("warm start: an applet's call, all of it", engine, start),
        figure("cached load of that applet", engine, load),
    ])
}

/// How much longer a call takes that is stopped for gas than one that returns just before.
fn end_of_gas(engine: &dyn Engine, rounds: usize) -> anyhow::Result<Figure> {
    let mut ours = Ours::new(engine, &program(&repeats("", "(nop)"))?)?;
    let turns = 1_000_000;
    let outcome = ours.outcome(turns)?;
    ensure!(outcome.result == Ok(turns), "the loop gave {:?}", outcome.result);
    ours.limits.gas = outcome.gas;
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begin = Instant::now();
        ensure!(ours.outcome(turns)?.result == Ok(turns), "there was not enough gas");
        let returned = begin.elapsed();
        let begin = Instant::now();
        ensure!(ours.outcome(i32::MAX)?.result == Err(GuestError::OutOfGas), "there was too much gas");
        times.push(begin.elapsed().saturating_sub(returned));
    }
    Ok(figure("runaway stopped after its last gas", engine, times))
}

/// How long after its time a call is stopped that has gas without end.
fn end_of_time(rounds: usize) -> anyhow::Result<Figure> {
    let config = WasmtimeConfig { call_time: CALL_TIME, ..WasmtimeConfig::default() };
    let engine = WasmtimeEngine::new(&config)?;
    let mut ours = Ours::new(&engine, &program(&repeats("", "(br $l)"))?)?;
    ours.limits.gas = u64::MAX;
    let times = timed(rounds, || {
        let stopped = ours.outcome(1).err().ok_or_else(|| anyhow!("a runaway came to an end"))?;
        ensure!(stopped.to_string().contains("call-ms"), "{stopped}");
        Ok(())
    })?;
    let late = times.into_iter().map(|t| t.saturating_sub(CALL_TIME)).collect();
    Ok(figure("runaway stopped after its time", &engine, late))
}

/// A kernel with and without instrumentation.
#[derive(Clone, Debug)]
pub struct Cost {
    /// What it does.
    pub kernel: &'static str,
    /// As it was written.
    pub plain: Duration,
    /// As nodes run it.
    pub instrumented: Duration,
    /// Bytes of the two modules.
    pub bytes: (usize, usize),
}

const KERNELS: [(&str, &str); 4] = [
    (
        "integers in a loop, with loads",
        r#"(func (export "h") (param i32) (result i32) (local i32 i32)
          (loop $l
            (local.set 2 (i32.add (i32.mul (local.get 2) (i32.const 31))
              (i32.xor (local.get 1) (i32.load (i32.and (local.get 1) (i32.const 0xfff0))))))
            (br_if $l (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 1000000))))
          (local.get 2))"#,
    ),
    (
        "floats in a loop",
        r#"(func (export "h") (param i32) (result i32) (local i32) (local $x f64) (local $y f64)
          (local.set $x (f64.const 0.3)) (local.set $y (f64.const 0.7))
          (loop $l
            (local.set $x (f64.add (f64.mul (local.get $x) (local.get $x)) (f64.sub (f64.const -0.7) (f64.mul (local.get $y) (local.get $y)))))
            (local.set $y (f64.min (f64.const 1) (f64.add (f64.mul (local.get $x) (local.get $y)) (f64.const 0.27))))
            (br_if $l (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 1000000))))
          (i32.trunc_sat_f64_s (f64.mul (f64.const 1000) (local.get $y))))"#,
    ),
    (
        "recursion (Fibonacci of 27)",
        r#"(func $f (param i32) (result i32)
          (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0))
            (else (i32.add (call $f (i32.sub (local.get 0) (i32.const 1))) (call $f (i32.sub (local.get 0) (i32.const 2)))))))
          (func (export "h") (param i32) (result i32) (call $f (i32.const 27)))"#,
    ),
    (
        "bytes: a table-driven checksum",
        r#"(func (export "h") (param i32) (result i32) (local $at i32) (local $sum i32) (local $round i32)
          (loop $rounds
            (local.set $at (i32.const 0))
            (loop $l
              (local.set $sum (i32.xor (i32.shr_u (local.get $sum) (i32.const 8))
                (i32.load (i32.shl (i32.and (i32.xor (local.get $sum) (i32.load8_u offset=1024 (local.get $at))) (i32.const 255)) (i32.const 2)))))
              (br_if $l (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 60000))))
            (br_if $rounds (i32.lt_u (local.tee $round (i32.add (local.get $round) (i32.const 1))) (i32.const 10))))
          (local.get $sum))"#,
    ),
];

/// Runs each kernel with and without instrumentation on the same wasmtime, by turns, the instance already made.
///
/// # Errors
/// If the two do not answer the same.
pub fn costs(rounds: usize) -> anyhow::Result<Vec<Cost>> {
    KERNELS.iter().map(|(kernel, fields)| cost(kernel, fields, rounds).context(*kernel)).collect()
}

fn cost(kernel: &'static str, fields: &str, rounds: usize) -> anyhow::Result<Cost> {
    let mut text = fields.to_owned();
    let _ = write!(text, r#"(memory (export "memory") 2)"#);
    let plain = program(&text)?;
    let instrumented = instrument(&plain, &Bounds::default())?.bytes;
    let bytes = (plain.len(), instrumented.len());
    let (mut plain, mut ours) = (Kernel::new(&plain)?, Kernel::new(&instrumented)?);
    let (mut times, mut of_ours) = (vec![], vec![]);
    for _ in 0..rounds {
        for (kernel, times) in [(&mut plain, &mut times), (&mut ours, &mut of_ours)] {
            kernel.fill()?;
            let begin = Instant::now();
            let answer = kernel.call()?;
            times.push(begin.elapsed());
            ensure!(kernel.answer.replace(answer).is_none_or(|last| last == answer), "answers differ");
        }
    }
    ensure!(plain.answer == ours.answer, "{:?} is not {:?}", plain.answer, ours.answer);
    let (plain, instrumented) = (percentile(&mut times, 50), percentile(&mut of_ours, 50));
    Ok(Cost { kernel, plain, instrumented, bytes })
}

struct Kernel {
    store: wasmtime::Store<()>,
    instance: wasmtime::Instance,
    handler: wasmtime::TypedFunc<i32, i32>,
    answer: Option<i32>,
}

impl Kernel {
    fn new(program: &[u8]) -> anyhow::Result<Self> {
        let make = || -> wasmtime::Result<Self> {
            let engine = wasmtime::Engine::default();
            let mut store = wasmtime::Store::new(&engine, ());
            let module = wasmtime::Module::from_binary(&engine, program)?;
            let instance = wasmtime::Instance::new(&mut store, &module, &[])?;
            let handler = instance.get_typed_func(&mut store, "h")?;
            Ok(Self { store, instance, handler, answer: None })
        };
        make().map_err(|e| anyhow!("wasmtime: {e:#}"))
    }

    /// Gives gas and stack, where there are such.
    fn fill(&mut self) -> anyhow::Result<()> {
        for (global, value) in
            [(Reserved::Gas, wasmtime::Val::I64(1 << 60)), (Reserved::Stack, wasmtime::Val::I32(1 << 20))]
        {
            if let Some(global) = self.instance.get_global(&mut self.store, global.name()) {
                global.set(&mut self.store, value).map_err(|e| anyhow!("wasmtime: {e:#}"))?;
            }
        }
        Ok(())
    }

    fn call(&mut self) -> anyhow::Result<i32> {
        self.handler.call(&mut self.store, 1).map_err(|e| anyhow!("wasmtime: {e:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_of_what_it_says() {
        let applet = program(&repeats("", "(nop)")).unwrap();
        let figures = figures(1, &applet, &crate::handler::tests::worker_of_tests()).unwrap();
        assert_eq!(figures.len(), 2 * 6 + 5 + 1);
        assert!(figures.iter().all(|f| f.median <= f.p99));
        for cost in costs(1).unwrap() {
            assert!(cost.bytes.0 < cost.bytes.1, "{} was not instrumented", cost.kernel);
        }
    }
}
