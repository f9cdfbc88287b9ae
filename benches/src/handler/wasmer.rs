//! wasmer alone.

use std::collections::BTreeMap;

use anyhow::anyhow;
use wasmer::sys::{Cranelift, EngineBuilder};
use wasmer::{
    Extern, Function, FunctionEnv, FunctionEnvMut, Instance, Memory, MemoryView, RuntimeError, Store,
    TypedFunction,
};

use super::{Answer, PAYLOAD, RID, Rival};

/// wasmer as somebody would use it who needs no gas, no limits and no agreement between nodes.
pub(super) struct Plain {
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
    pub(super) fn new(program: &[u8]) -> anyhow::Result<Self> {
        let engine: wasmer::Engine = EngineBuilder::new(Cranelift::default()).engine().into();
        let module = wasmer::Module::from_binary(&engine, program)?;
        let imports = module.imports().map(|import| import.name().to_owned()).collect();
        Ok(Self { engine, module, imports })
    }
}

impl Rival for Plain {
    fn call(&mut self) -> anyhow::Result<Answer> {
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
