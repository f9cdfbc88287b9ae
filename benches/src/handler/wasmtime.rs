//! wasmtime alone, with its pools.

use std::collections::BTreeMap;

use anyhow::anyhow;
use wasmtime::{
    Caller, Config, Engine, InstanceAllocationStrategy, InstancePre, Linker, Memory, Module,
    PoolingAllocationConfig, Store, TypedFunc,
};

use super::{Answer, PAYLOAD, RID, Rival};

/// wasmtime as somebody would use it who needs no gas, no limits, no clock and no agreement between nodes: pools, copy
/// on write, host functions linked once.
pub(super) struct Pooled {
    engine: Engine,
    pre: InstancePre<Host>,
    fresh: bool,
    /// The instance that is used again, where that is what is measured.
    kept: Option<(Store<Host>, TypedFunc<i32, i32>)>,
}

/// What the host functions of one call work on.
#[derive(Default)]
pub(super) struct Host {
    memory: Option<Memory>,
    alloc: Option<TypedFunc<i32, i32>>,
    writes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// An engine with pools, as its documentation recommends.
pub(super) fn pooled() -> anyhow::Result<Engine> {
    let mut pools = PoolingAllocationConfig::new();
    pools.total_core_instances(64).total_memories(64).total_tables(64).linear_memory_keep_resident(64 << 10);
    let mut config = Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pools));
    config.collector(wasmtime::Collector::Null);
    Engine::new(&config).map_err(|e| anyhow!("wasmtime: {e:#}"))
}

impl Pooled {
    /// A rival that makes a fresh instance for each call, or one that keeps its only instance, dirty as it is.
    pub(super) fn new(program: &[u8], fresh: bool) -> anyhow::Result<Self> {
        let engine = pooled()?;
        Self::link(engine, program, fresh).map_err(|e| anyhow!("wasmtime: {e:#}"))
    }

    fn link(engine: Engine, program: &[u8], fresh: bool) -> wasmtime::Result<Self> {
        let module = Module::from_binary(&engine, program)?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap("env", "ws_get_data", get_data)?;
        linker.func_wrap("env", "ws_set_db", set_db)?;
        let pre = linker.instantiate_pre(&module)?;
        Ok(Self { engine, pre, fresh, kept: None })
    }

    fn instance(&self) -> wasmtime::Result<(Store<Host>, TypedFunc<i32, i32>)> {
        let mut store = Store::new(&self.engine, Host::default());
        let instance = self.pre.instantiate(&mut store)?;
        if self.pre.module().imports().len() > 0 {
            let memory = instance.get_memory(&mut store, "memory");
            let alloc = instance.get_typed_func(&mut store, "alloc")?;
            let host = store.data_mut();
            (host.memory, host.alloc) = (memory, Some(alloc));
        }
        let handler = instance.get_typed_func::<i32, i32>(&mut store, "h")?;
        Ok((store, handler))
    }

    fn answer(&mut self) -> wasmtime::Result<Answer> {
        if self.fresh {
            let (mut store, handler) = self.instance()?;
            let code = handler.call(&mut store, RID)?;
            return Ok(Answer { code, writes: std::mem::take(&mut store.data_mut().writes) });
        }
        if self.kept.is_none() {
            self.kept = Some(self.instance()?);
        }
        let (store, handler) = self.kept.as_mut().ok_or_else(|| failed("no instance"))?;
        let code = handler.call(&mut *store, RID)?;
        Ok(Answer { code, writes: std::mem::take(&mut store.data_mut().writes) })
    }
}

impl Rival for Pooled {
    fn call(&mut self) -> anyhow::Result<Answer> {
        self.answer().map_err(|e| anyhow!("wasmtime: {e:#}"))
    }
}

fn failed(what: &'static str) -> wasmtime::Error {
    wasmtime::Error::msg(what)
}

fn get_data(mut caller: Caller<'_, Host>, rid: i32, at: u32, len_at: u32) -> wasmtime::Result<i32> {
    if rid != RID {
        return Err(failed("no such event"));
    }
    let host = caller.data();
    let (Some(alloc), Some(memory)) = (host.alloc.clone(), host.memory) else {
        return Err(failed("no memory"));
    };
    let place = alloc.call(&mut caller, PAYLOAD.len() as i32)?;
    memory.write(&mut caller, place as usize, PAYLOAD)?;
    memory.write(&mut caller, at as usize, &place.to_le_bytes())?;
    memory.write(&mut caller, len_at as usize, &(PAYLOAD.len() as u32).to_le_bytes())?;
    Ok(0)
}

fn set_db(
    mut caller: Caller<'_, Host>,
    key_at: u32,
    key_len: u32,
    at: u32,
    len: u32,
) -> wasmtime::Result<i32> {
    let memory = caller.data().memory.ok_or_else(|| failed("no memory"))?;
    let (mut key, mut value) = (vec![0; key_len as usize], vec![0; len as usize]);
    memory.read(&caller, key_at as usize, &mut key)?;
    memory.read(&caller, at as usize, &mut value)?;
    caller.data_mut().writes.insert(key, value);
    Ok(0)
}
