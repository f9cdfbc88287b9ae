//! One call's instance.

use std::sync::Arc;

use w3bstream_engine::Error;
use w3bstream_engine::abi::{self, Guest, HostFunction, Machine, Program, Stopped, Value};
use w3bstream_engine::instrument::{Reserved, ValueType};
use w3bstream_engine::tools::{Place, Places, Template};
use wasmer::sys::vm::TrapCode;
use wasmer::{
    AsStoreMut, Extern, Function, FunctionEnv, FunctionEnvMut, FunctionType, Global, Instance, Memory,
    RuntimeError, Store, Type,
};

use crate::host;

/// What instances of a program are made from.
#[derive(Debug)]
pub(crate) struct Instances {
    module: wasmer::Module,
    /// Owns the module's code.
    engine: wasmer::Engine,
    functions: Vec<(&'static HostFunction, FunctionType)>,
    alloc: Option<&'static str>,
    places: Arc<Places>,
}

impl Instances {
    pub(crate) fn new(
        (engine, module): (wasmer::Engine, wasmer::Module),
        program: &Program,
        places: &Arc<Places>,
    ) -> Self {
        let functions = program.functions().iter().map(|f| (*f, function_type(f))).collect();
        Self { module, engine, functions, alloc: program.alloc(), places: Arc::clone(places) }
    }
}

impl Template for Instances {
    type Running<'a> = Running<'a>;

    fn instance(&self) -> Result<Running<'_>, Error> {
        let place = self.places.take();
        let mut store = Store::new(self.engine.clone());
        let mut imports = Vec::with_capacity(self.functions.len());
        let env = FunctionEnv::new(&mut store, Handles::default());
        for (function, ty) in &self.functions {
            imports.push(Extern::Function(link(&mut store, &env, function, ty)));
        }
        let instance = Instance::new_by_index(&mut store, &self.module, &imports)
            .map_err(|e| host("wasmer cannot make an instance").with_source(e))?;
        if !imports.is_empty() {
            let exports = &instance.exports;
            *env.as_mut(&mut store) = Handles {
                memory: exports.get_memory("memory").ok().cloned(),
                gas: exports.get_global(Reserved::Gas.name()).ok().cloned(),
                alloc: self.alloc.and_then(|name| exports.get_function(name).ok()).cloned(),
            };
        }
        Ok(Running { store, instance, _place: place })
    }
}

fn function_type(function: &HostFunction) -> FunctionType {
    let ty = |t: &ValueType| match t {
        ValueType::I32 => Type::I32,
        ValueType::I64 => Type::I64,
        ValueType::F32 => Type::F32,
        ValueType::F64 => Type::F64,
        ValueType::Reference => Type::ExternRef,
    };
    let params: Vec<Type> = function.params.iter().map(ty).collect();
    let results: Vec<Type> = function.result.iter().map(ty).collect();
    FunctionType::new(params, results)
}

/// What host functions need of the instance; known once there is one.
#[derive(Clone, Default)]
struct Handles {
    memory: Option<Memory>,
    gas: Option<Global>,
    alloc: Option<Function>,
}

/// A fresh instance in its own store. Fields are dropped in this order: the place is free after the instance is gone.
pub(crate) struct Running<'a> {
    store: Store,
    instance: Instance,
    _place: Place<'a>,
}

impl Running<'_> {
    fn global(&self, global: Reserved) -> Result<&Global, Error> {
        let found = self.instance.exports.get_global(global.name());
        found.map_err(|e| host(format!("global {} is missing", global.name())).with_source(e))
    }
}

impl Machine for Running<'_> {
    fn set(&mut self, global: Reserved, value: i64) -> Result<(), Error> {
        let value = if global.is_i64() {
            wasmer::Value::I64(value)
        } else {
            #[allow(clippy::cast_possible_truncation, reason = "i32 globals get the lower half")]
            wasmer::Value::I32(value as i32)
        };
        let target = self.global(global)?.clone();
        target.set(&mut self.store, value).map_err(|e| host("a global cannot be set").with_source(e))
    }

    fn get(&mut self, global: Reserved) -> Result<i64, Error> {
        match self.global(global)?.clone().get(&mut self.store) {
            wasmer::Value::I64(v) => Ok(v),
            wasmer::Value::I32(v) => Ok(i64::from(v)),
            _ => Err(host("a reserved global has a wrong type")),
        }
    }

    fn start(&mut self, export: &str) -> Result<(), Stopped> {
        let exports = &self.instance.exports;
        let function =
            exports.get_typed_function::<(), ()>(&self.store, export).map_err(|e| missing(export, e))?;
        function.call(&mut self.store).map_err(stopped)
    }

    fn handle(&mut self, export: &str, rid: i32) -> Result<i32, Stopped> {
        let exports = &self.instance.exports;
        let function =
            exports.get_typed_function::<i32, i32>(&self.store, export).map_err(|e| missing(export, e))?;
        function.call(&mut self.store, rid).map_err(stopped)
    }
}

fn missing(export: &str, e: wasmer::ExportError) -> Stopped {
    Stopped::Host(host(format!("export {export} cannot be called")).with_source(e))
}

/// Why a guest stopped: traps are its own doing, but for those that its instrumentation is there to prevent.
fn stopped(e: RuntimeError) -> Stopped {
    match e.clone().to_trap() {
        Some(TrapCode::StackOverflow) => Stopped::Host(
            host("a guest reached the end of the native stack before its own limit").with_source(e),
        ),
        _ => Stopped::Trapped,
    }
}

/// A host function's view of the guest that called it.
struct View<'a> {
    env: FunctionEnvMut<'a, Handles>,
}

impl Guest for View<'_> {
    fn memory_size(&mut self) -> u64 {
        let (handles, store) = self.env.data_and_store_mut();
        handles.memory.as_ref().map_or(0, |m| m.view(&store).data_size())
    }

    fn read(&mut self, at: u32, into: &mut [u8]) -> bool {
        let (handles, store) = self.env.data_and_store_mut();
        handles.memory.as_ref().is_some_and(|m| m.view(&store).read(u64::from(at), into).is_ok())
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> bool {
        let (handles, store) = self.env.data_and_store_mut();
        handles.memory.as_ref().is_some_and(|m| m.view(&store).write(u64::from(at), bytes).is_ok())
    }

    fn alloc(&mut self, size: i32) -> Result<i32, Stopped> {
        let missing = || Stopped::Host(host("the guest's alloc is missing or gives no i32"));
        let alloc = self.env.data().alloc.clone().ok_or_else(missing)?;
        let results =
            alloc.call(&mut self.env.as_store_mut(), &[wasmer::Value::I32(size)]).map_err(stopped)?;
        results.first().and_then(wasmer::Value::i32).ok_or_else(missing)
    }

    fn gas(&mut self) -> i64 {
        let (handles, mut store) = self.env.data_and_store_mut();
        let gas = handles.gas.as_ref().map(|g| g.get(&mut store));
        gas.and_then(|v| v.i64()).unwrap_or(0)
    }

    fn set_gas(&mut self, gas: i64) {
        let (handles, mut store) = self.env.data_and_store_mut();
        if let Some(global) = &handles.gas {
            // It is a mutable i64 of this store: this cannot fail.
            let _ = global.set(&mut store, wasmer::Value::I64(gas));
        }
    }
}

fn link(
    store: &mut Store,
    env: &FunctionEnv<Handles>,
    function: &'static HostFunction,
    ty: &FunctionType,
) -> Function {
    Function::new_with_env(store, env, ty, move |env: FunctionEnvMut<'_, Handles>, args: &[wasmer::Value]| {
        let args: Vec<Value> = args
            .iter()
            .map(|arg| match arg {
                wasmer::Value::I64(v) => Value::I64(*v),
                wasmer::Value::F64(v) => Value::F64(v.to_bits()),
                other => Value::I32(other.i32().unwrap_or(0)),
            })
            .collect();
        let answer =
            abi::invoke(&mut View { env }, function, &args).map_err(|e| RuntimeError::user(Box::new(e)))?;
        let result = answer.map(|value| match value {
            Value::I32(v) => wasmer::Value::I32(v),
            Value::I64(v) => wasmer::Value::I64(v),
            Value::F64(bits) => wasmer::Value::F64(f64::from_bits(bits)),
        });
        Ok(result.into_iter().collect())
    })
}
