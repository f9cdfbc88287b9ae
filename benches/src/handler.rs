//! What instrumentation, gas and the shared host functions cost per event.
//!
//! Both sides compile with the same Cranelift and make a fresh store and instance for each event. Ours runs
//! the instrumented module through [`w3bstream_engine`]; plain wasmer runs the module as it was written, with
//! the two host functions that it needs written by hand, without limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use w3bstream_engine::{Call, Engine as _, Error, HostState, Source};
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};
use w3bstream_types::{EventType, GuestLimits};
use wasmer::sys::{Cranelift, EngineBuilder};
use wasmer::{
    Extern, Function, FunctionEnv, FunctionEnvMut, Instance, Memory, MemoryView, RuntimeError, Store,
    TypedFunction,
};

/// The event that every call handles.
const PAYLOAD: &[u8] = b"21.5";
const RID: i32 = 1;

/// Name and fields of the modules.
const PROGRAMS: [(&str, &str); 3] = [
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

/// One handler on both sides.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What the handler does.
    pub handler: &'static str,
    /// The node's engine.
    pub ours: Side,
    /// wasmer alone.
    pub plain: Side,
    /// Gas that a call used on our side.
    pub gas: u64,
}

impl Comparison {
    /// How many times as long the median of our calls took.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.ours.median.as_secs_f64() / self.plain.median.as_secs_f64()
    }
}

/// Calls each handler `rounds` times on each side, by turns, so that both see the same machine.
///
/// # Errors
/// If a call fails, or does not answer as the one before it did.
pub fn compare(rounds: usize) -> anyhow::Result<Vec<Comparison>> {
    PROGRAMS.iter().map(|(name, fields)| compare_one(name, fields, rounds.max(1)).context(*name)).collect()
}

fn compare_one(handler: &'static str, fields: &str, rounds: usize) -> anyhow::Result<Comparison> {
    let program = wat::parse_str(format!("(module {fields})"))?;
    let (ours, plain) = (Ours::new(&program)?, Plain::new(&program)?);
    // A tenth more, before anything counts, warms caches.
    for _ in 0..rounds / 10 {
        ours.call()?;
        plain.call()?;
    }
    let (mut of_ours, mut of_plain) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for _ in 0..rounds {
        of_ours.push(timed(|| ours.call())?);
        of_plain.push(timed(|| plain.call().map(|answer| (answer, 0)))?);
    }
    let gas = of_ours.first().map_or(0, |((_, gas), _)| *gas);
    Ok(Comparison { handler, ours: side(of_ours)?, plain: side(of_plain)?, gas })
}

/// An answer with its gas, and the time that it took.
type Timed = ((Answer, u64), Duration);

fn timed(call: impl FnOnce() -> anyhow::Result<(Answer, u64)>) -> anyhow::Result<Timed> {
    let begin = Instant::now();
    let answer = call()?;
    Ok((answer, begin.elapsed()))
}

fn side(calls: Vec<Timed>) -> anyhow::Result<Side> {
    let (answers, mut times): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
    let answer = answers.first().context("no call was made")?;
    if let Some(other) = answers.iter().find(|a| *a != answer) {
        return Err(anyhow!("one call gave {answer:?}, another {other:?}"));
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    Ok(Side { answer: answer.0.clone(), median: at(50), p99: at(99) })
}

/// The node's engine, as the pipeline calls it.
struct Ours {
    module: Arc<dyn w3bstream_engine::Module>,
    event_type: EventType,
    limits: GuestLimits,
}

/// A project whose state is empty.
struct Empty;

impl HostState for Empty {
    fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }
}

impl Ours {
    fn new(program: &[u8]) -> anyhow::Result<Self> {
        let module = WasmerEngine::new(&WasmerConfig::default()).load(program)?;
        Ok(Self { module, event_type: "reading".parse()?, limits: GuestLimits::default() })
    }

    fn call(&self) -> anyhow::Result<(Answer, u64)> {
        let (event_type, limits) = (&self.event_type, &self.limits);
        let call = Call {
            handler: "h",
            event_type,
            payload: PAYLOAD,
            rid: RID,
            source: Source::default(),
            env: &[],
            settlements: &[],
            chains: &[],
            triggers: &[],
            id: w3bstream_types::Digest::ZERO,
            limits,
        };
        let outcome = self.module.call(call, &mut Empty)?;
        let code = outcome.result.map_err(|e| anyhow!("the handler failed: {e:?}"))?;
        Ok((Answer { code, writes: outcome.writes }, outcome.gas))
    }
}

/// wasmer as somebody would use it who needs no gas, no limits and no agreement between nodes.
struct Plain {
    engine: wasmer::Engine,
    module: wasmer::Module,
    imports: Vec<String>,
}

/// What the host functions of one call work on.
#[derive(Default)]
struct Host {
    memory: Option<Memory>,
    alloc: Option<TypedFunction<i32, i32>>,
    writes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Plain {
    fn new(program: &[u8]) -> anyhow::Result<Self> {
        let engine: wasmer::Engine = EngineBuilder::new(Cranelift::default()).engine().into();
        let module = wasmer::Module::from_binary(&engine, program)?;
        let imports = module.imports().map(|import| import.name().to_owned()).collect();
        Ok(Self { engine, module, imports })
    }

    fn call(&self) -> anyhow::Result<Answer> {
        let mut store = Store::new(self.engine.clone());
        let env = FunctionEnv::new(&mut store, Host::default());
        let mut imports = Vec::with_capacity(self.imports.len());
        for name in &self.imports {
            imports.push(Extern::Function(match name.as_str() {
                "ws_get_data" => Function::new_typed_with_env(&mut store, &env, get_data),
                "ws_set_db" => Function::new_typed_with_env(&mut store, &env, set_db),
                other => return Err(anyhow!("no host function {other}")),
            }));
        }
        let instance = Instance::new_by_index(&mut store, &self.module, &imports)?;
        if !imports.is_empty() {
            let memory = instance.exports.get_memory("memory")?.clone();
            let alloc = instance.exports.get_typed_function(&store, "alloc")?;
            let host = env.as_mut(&mut store);
            (host.memory, host.alloc) = (Some(memory), Some(alloc));
        }
        let handler = instance.exports.get_typed_function::<i32, i32>(&store, "h")?;
        let code = handler.call(&mut store, RID)?;
        Ok(Answer { code, writes: std::mem::take(&mut env.as_mut(&mut store).writes) })
    }
}

fn failed(what: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::new(what.to_string())
}

fn view<'a>(host: &Host, store: &'a impl wasmer::AsStoreRef) -> Result<MemoryView<'a>, RuntimeError> {
    host.memory.as_ref().map(|m| m.view(store)).ok_or_else(|| failed("no memory"))
}

fn get_data(mut env: FunctionEnvMut<'_, Host>, rid: i32, at: u32, len_at: u32) -> Result<i32, RuntimeError> {
    if rid != RID {
        return Err(failed("no such event"));
    }
    let (host, mut store) = env.data_and_store_mut();
    let alloc = host.alloc.as_ref().ok_or_else(|| failed("no alloc"))?;
    let place = alloc.call(&mut store, PAYLOAD.len() as i32)?;
    let memory = view(host, &store)?;
    memory.write(u64::from(place as u32), PAYLOAD).map_err(failed)?;
    memory.write(u64::from(at), &place.to_le_bytes()).map_err(failed)?;
    memory.write(u64::from(len_at), &(PAYLOAD.len() as u32).to_le_bytes()).map_err(failed)?;
    Ok(0)
}

fn set_db(
    mut env: FunctionEnvMut<'_, Host>,
    key_at: u32,
    key_len: u32,
    at: u32,
    len: u32,
) -> Result<i32, RuntimeError> {
    let (host, store) = env.data_and_store_mut();
    let (mut key, mut value) = (vec![0; key_len as usize], vec![0; len as usize]);
    let memory = view(host, &store)?;
    memory.read(u64::from(key_at), &mut key).map_err(failed)?;
    memory.read(u64::from(at), &mut value).map_err(failed)?;
    host.writes.insert(key, value);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_do_the_same_work() {
        let compared = compare(5).unwrap();
        assert_eq!(compared.len(), PROGRAMS.len());
        for Comparison { handler, ours, plain, gas } in &compared {
            assert_eq!(ours.answer, plain.answer, "{handler}");
            assert!(*gas > 0, "{handler} was not metered");
        }
        assert_eq!(compared[0].ours.answer.code, 1);
        let written = BTreeMap::from([(b"21.5".to_vec(), PAYLOAD.to_vec())]);
        assert_eq!(compared[1].ours.answer, Answer { code: 0, writes: written });
        assert!(compared[2].gas > 10_000, "the loop did not run");
        assert_ne!(compared[2].ours.answer.code, 0);
    }
}
