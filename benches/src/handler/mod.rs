//! What a handler's call costs, in a fresh instance for each event, on our engines and on their rivals.
//!
//! All compile with the same Cranelift. Ours run the instrumented module through [`w3bstream_engine`]: gas, limits,
//! canonical NaNs, and on wasmtime a clock. The rivals run the module as it was written, with the two host functions
//! that it needs written by hand, without limits: wasmer, wasmtime with its pools, and, as what no fresh
//! instance can reach, one instance of wasmtime that is used again and again.

mod wasmer;
mod wasmtime;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use w3bstream_engine::{Call, Engine, Error, HostState, Module, Outcome};
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};
use w3bstream_engine_wasmtime::{WasmtimeConfig, WasmtimeEngine};
use w3bstream_types::{EventType, GuestLimits};

/// The event that every call handles.
const PAYLOAD: &[u8] = b"21.5";
const RID: i32 = 1;

/// Name and fields of the modules.
pub(crate) const PROGRAMS: [(&str, &str); 3] = [
    (
        "returns a constant",
        r#"(memory (export "memory") 17) (func (export "h") (param i32) (result i32) (i32.const 1))"#,
    ),
    (
        "reads its event, writes a key",
        r#"(import "env" "ws_get_data" (func $get (param i32 i32 i32) (result i32)))
           (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
           (memory (export "memory") 17)
           (func (export "alloc") (param i32) (result i32) (i32.const 1024))
           (func (export "h") (param i32) (result i32)
             (drop (call $get (local.get 0) (i32.const 16) (i32.const 20)))
             (call $set (i32.const 1024) (i32.const 4) (i32.load (i32.const 16)) (i32.load (i32.const 20))))"#,
    ),
    (
        "ten thousand rounds of a loop",
        r#"(memory (export "memory") 17)
           (func (export "h") (param i32) (result i32) (local i32 i32)
             (loop $l
               (local.set 2 (i32.add
                 (i32.mul (local.get 2) (i32.const 31))
                 (i32.xor (local.get 1) (i32.load (i32.and (local.get 1) (i32.const 0xfff0))))))
               (br_if $l (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 10000))))
             (local.get 2))"#,
    ),
];

/// What a call did, as far as both sides can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the handler returned.
    pub code: i32,
    /// The keys that it set.
    pub writes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Somebody who handles events.
trait Rival {
    fn call(&mut self) -> anyhow::Result<Answer>;
}

/// The sides of a comparison, in the order of [`Comparison::sides`].
pub const SIDES: [&str; 5] =
    ["ours on wasmer", "ours on wasmtime", "wasmer", "wasmtime, pooled", "the same, reused"];
/// Which of them the others are held against.
const AGAINST: usize = 3;

/// One side of a comparison.
#[derive(Clone, Debug)]
pub struct Side {
    /// The answer of its calls. It is the same for all of them, or there is no comparison.
    pub answer: Answer,
    /// Half of the calls took no longer.
    pub median: Duration,
    /// 99 of 100 calls took no longer.
    pub p99: Duration,
}

/// One handler on all sides.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What the handler does.
    pub handler: &'static str,
    /// As [`SIDES`].
    pub sides: Vec<Side>,
}

impl Comparison {
    /// How many times as long as wasmtime's pooled instances the median call of a side took.
    #[must_use]
    pub fn ratio(&self, side: &Side) -> f64 {
        let against = self.sides.get(AGAINST).map_or(0.0, |s| s.median.as_secs_f64());
        side.median.as_secs_f64() / against
    }
}

/// Calls each handler `rounds` times on each side, by turns, so that all see the same machine.
///
/// # Errors
/// If a call fails, or does not answer as the one before it did.
pub fn compare(rounds: usize) -> anyhow::Result<Vec<Comparison>> {
    PROGRAMS.iter().map(|(name, fields)| compare_one(name, fields, rounds.max(1)).context(*name)).collect()
}

fn compare_one(handler: &'static str, fields: &str, rounds: usize) -> anyhow::Result<Comparison> {
    let program = wat::parse_str(format!("(module {fields})"))?;
    let [on_wasmer, on_wasmtime] = engines()?;
    let mut rivals: [Box<dyn Rival>; SIDES.len()] = [
        Box::new(Ours::new(&*on_wasmer, &program)?),
        Box::new(Ours::new(&*on_wasmtime, &program)?),
        Box::new(wasmer::Plain::new(&program)?),
        Box::new(wasmtime::Pooled::new(&program, true)?),
        Box::new(wasmtime::Pooled::new(&program, false)?),
    ];
    let mut calls = rivals.each_ref().map(|_| Vec::with_capacity(rounds));
    // A tenth more, before anything counts, warms caches.
    for round in 0..rounds + rounds / 10 {
        for (rival, calls) in rivals.iter_mut().zip(&mut calls) {
            let begin = Instant::now();
            let answer = rival.call()?;
            let took = begin.elapsed();
            if round >= rounds / 10 {
                calls.push((answer, took));
            }
        }
    }
    Ok(Comparison { handler, sides: calls.into_iter().map(side).collect::<Result<_, _>>()? })
}

fn side(calls: Vec<(Answer, Duration)>) -> anyhow::Result<Side> {
    let (answers, mut times): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
    let answer = answers.first().context("no call was made")?;
    if let Some(other) = answers.iter().find(|a| *a != answer) {
        return Err(anyhow!("one call gave {answer:?}, another {other:?}"));
    }
    Ok(Side { answer: answer.clone(), median: percentile(&mut times, 50), p99: percentile(&mut times, 99) })
}

/// The time that so many of 100 did not exceed.
pub(crate) fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Our engines, as the node makes them.
///
/// # Errors
/// If wasmtime cannot reserve its addresses.
pub(crate) fn engines() -> anyhow::Result<[Arc<dyn Engine>; 2]> {
    let wasmtime = WasmtimeEngine::new(&WasmtimeConfig::default())?;
    Ok([Arc::new(WasmerEngine::new(&WasmerConfig::default())), Arc::new(wasmtime)])
}

/// One of our engines, as the pipeline calls it.
pub(crate) struct Ours {
    pub(crate) module: Arc<dyn Module>,
    event_type: EventType,
    pub(crate) limits: GuestLimits,
}

/// A project whose state is empty.
struct Empty;

impl HostState for Empty {
    fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }
}

impl Ours {
    pub(crate) fn new(engine: &dyn Engine, program: &[u8]) -> anyhow::Result<Self> {
        let module = engine.load(program)?;
        Ok(Self { module, event_type: "reading".parse()?, limits: GuestLimits::default() })
    }

    /// Calls the handler `h`.
    pub(crate) fn outcome(&self, rid: i32) -> Result<Outcome, Error> {
        called(&*self.module, "h", rid, (&self.event_type, &self.limits))
    }
}

/// Calls a handler as the pipeline does.
pub(crate) fn called(
    module: &dyn Module,
    handler: &str,
    rid: i32,
    (event_type, limits): (&EventType, &GuestLimits),
) -> Result<Outcome, Error> {
    let call = Call { rid, ..Call::of(handler, event_type, PAYLOAD, limits) };
    module.call(call, &mut Empty)
}

impl Rival for Ours {
    fn call(&mut self) -> anyhow::Result<Answer> {
        let outcome = self.outcome(RID)?;
        let code = outcome.result.map_err(|e| anyhow!("the handler failed: {e:?}"))?;
        Ok(Answer { code, writes: outcome.writes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sides_do_the_same_work() {
        let compared = compare(5).unwrap();
        assert_eq!(compared.len(), PROGRAMS.len());
        for Comparison { handler, sides } in &compared {
            assert_eq!(sides.len(), SIDES.len());
            assert!(sides.iter().all(|side| side.answer == sides[0].answer), "{handler}");
        }
        let answer = |program: usize| compared[program].sides[0].answer.clone();
        assert_eq!(answer(0).code, 1);
        let written = BTreeMap::from([(b"21.5".to_vec(), PAYLOAD.to_vec())]);
        assert_eq!(answer(1), Answer { code: 0, writes: written });
        assert_ne!(answer(2).code, 0);
    }
}
