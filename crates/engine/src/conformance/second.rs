//! A second engine, on the interpreter wasmi: slow, simple, and another implementation of everything but the
//! pass and the host functions. What it and an engine disagree on is a bug in one of them.

use std::sync::Arc;

use wasmi::{
    AsContext, AsContextMut, Caller, Config, Extern, Func, FuncType, Global, Instance, Memory, Store,
    TrapCode, Val, ValType,
};

use crate::abi::{self, Guest, HostFunction, Machine, Program, Stopped, Value};
use crate::instrument::{Reserved, ValueType};
use crate::tools::{Compiled, Template};
use crate::{Engine, Error, ErrorKind, Module};

/// The engine.
#[derive(Clone, Debug)]
pub struct Interpreter {
    engine: wasmi::Engine,
}

impl Default for Interpreter {
    fn default() -> Self {
        Self::new()
    }
}

impl Interpreter {
    /// A new engine.
    #[must_use]
    pub fn new() -> Self {
        let mut config = Config::default();
        // The injected stack limit must be the one that is reached.
        config.set_max_recursion_depth(1 << 20).set_max_stack_height(64 << 20);
        Self { engine: wasmi::Engine::new(&config) }
    }
}

impl Engine for Interpreter {
    fn name(&self) -> &'static str {
        "wasmi"
    }

    fn load(&self, program: &[u8]) -> Result<Arc<dyn Module>, Error> {
        let program = Program::prepare(program)?;
        let module = wasmi::Module::new(&self.engine, program.bytes()).map_err(|e| {
            Error::new(ErrorKind::Host, "wasmi refuses an instrumented module").with_source(e)
        })?;
        let (functions, alloc) = (program.functions().to_vec(), program.alloc());
        let instances = Instances { engine: self.engine.clone(), module, functions, alloc };
        Ok(Arc::new(Compiled::new(program, instances)))
    }
}

/// What instances of a program are made from.
#[derive(Debug)]
struct Instances {
    engine: wasmi::Engine,
    module: wasmi::Module,
    functions: Vec<&'static HostFunction>,
    alloc: Option<&'static str>,
}

/// What host functions need of the instance; known once there is one.
#[derive(Clone, Copy, Default)]
struct Handles {
    memory: Option<Memory>,
    gas: Option<Global>,
    alloc: Option<Func>,
}

struct Running {
    store: Store<Handles>,
    instance: Instance,
}

impl Template for Instances {
    type Running<'a> = Running;

    fn instance(&self) -> Result<Running, Error> {
        let failed =
            |e: wasmi::Error| Error::new(ErrorKind::Host, "wasmi cannot make an instance").with_source(e);
        let mut store = Store::new(&self.engine, Handles::default());
        let imports: Vec<Extern> = self.functions.iter().map(|f| Extern::Func(link(&mut store, f))).collect();
        let instance = Instance::new(&mut store, &self.module, &imports).map_err(failed)?;
        let handles = Handles {
            memory: instance.get_memory(&store, "memory"),
            gas: instance.get_global(&store, Reserved::Gas.name()),
            alloc: self.alloc.and_then(|name| instance.get_func(&store, name)),
        };
        *store.data_mut() = handles;
        Ok(Running { store, instance })
    }
}

impl Running {
    fn global(&self, global: Reserved) -> Result<Global, Error> {
        let found = self.instance.get_global(&self.store, global.name());
        found.ok_or_else(|| Error::new(ErrorKind::Host, format!("global {} is missing", global.name())))
    }

    fn call(&mut self, export: &str, args: &[Val], results: &mut [Val]) -> Result<(), Stopped> {
        let function = self.instance.get_func(&self.store, export).ok_or_else(|| {
            Stopped::Host(Error::new(ErrorKind::Host, format!("export {export} is missing")))
        })?;
        function.call(&mut self.store, args, results).map_err(stopped)
    }
}

/// Why a guest stopped: traps are its own doing, but for those that its instrumentation is there to prevent.
fn stopped(e: wasmi::Error) -> Stopped {
    match e.as_trap_code() {
        Some(TrapCode::StackOverflow) => {
            Stopped::Host(Error::new(ErrorKind::Host, "wasmi ran out of its own stack").with_source(e))
        }
        _ => Stopped::Trapped,
    }
}

impl Machine for Running {
    fn set(&mut self, global: Reserved, value: i64) -> Result<(), Error> {
        let value = if global.is_i64() {
            Val::I64(value)
        } else {
            #[allow(clippy::cast_possible_truncation, reason = "i32 globals get the lower half")]
            Val::I32(value as i32)
        };
        let target = self.global(global)?;
        target
            .set(&mut self.store, value)
            .map_err(|e| Error::new(ErrorKind::Host, "a global cannot be set").with_source(e))
    }

    fn get(&mut self, global: Reserved) -> Result<i64, Error> {
        match self.global(global)?.get(&self.store) {
            Val::I64(v) => Ok(v),
            Val::I32(v) => Ok(i64::from(v)),
            _ => Err(Error::new(ErrorKind::Host, "a reserved global has a wrong type")),
        }
    }

    fn start(&mut self, export: &str) -> Result<(), Stopped> {
        self.call(export, &[], &mut [])
    }

    fn handle(&mut self, export: &str, rid: i32) -> Result<i32, Stopped> {
        let mut results = [Val::I32(0)];
        self.call(export, &[Val::I32(rid)], &mut results)?;
        match results {
            [Val::I32(v)] => Ok(v),
            _ => Err(Stopped::Host(Error::new(ErrorKind::Host, "a handler gave no i32"))),
        }
    }
}

/// A host function's view of the guest that called it.
struct View<'a>(Caller<'a, Handles>);

impl Guest for View<'_> {
    fn memory_size(&mut self) -> u64 {
        self.0.data().memory.map_or(0, |m| m.data_size(&self.0) as u64)
    }

    fn read(&mut self, at: u32, into: &mut [u8]) -> bool {
        self.0.data().memory.is_some_and(|m| m.read(&self.0, at as usize, into).is_ok())
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> bool {
        self.0.data().memory.is_some_and(|m| m.write(&mut self.0, at as usize, bytes).is_ok())
    }

    fn alloc(&mut self, size: i32) -> Result<i32, Stopped> {
        let missing =
            || Stopped::Host(Error::new(ErrorKind::Host, "the guest's alloc is missing or gives no i32"));
        let alloc = self.0.data().alloc.ok_or_else(missing)?;
        let mut results = [Val::I32(0)];
        alloc.call(self.0.as_context_mut(), &[Val::I32(size)], &mut results).map_err(stopped)?;
        match results {
            [Val::I32(at)] => Ok(at),
            _ => Err(missing()),
        }
    }

    fn gas(&mut self) -> i64 {
        match self.0.data().gas.map(|g| g.get(self.0.as_context())) {
            Some(Val::I64(v)) => v,
            _ => 0,
        }
    }

    fn set_gas(&mut self, gas: i64) {
        if let Some(global) = self.0.data().gas {
            // It is a mutable i64: this cannot fail.
            let _ = global.set(self.0.as_context_mut(), Val::I64(gas));
        }
    }
}

fn link(store: &mut Store<Handles>, function: &'static HostFunction) -> Func {
    let ty = |t: &ValueType| match t {
        ValueType::I64 => ValType::I64,
        ValueType::F32 => ValType::F32,
        ValueType::F64 => ValType::F64,
        ValueType::I32 | ValueType::Reference => ValType::I32,
    };
    let signature = FuncType::new(function.params.iter().map(ty), function.result.iter().map(ty));
    Func::new(store, signature, move |caller: Caller<'_, Handles>, args, results| {
        let args: Vec<Value> = args
            .iter()
            .map(|arg| match arg {
                Val::I64(v) => Value::I64(*v),
                Val::F64(v) => Value::F64(v.to_bits()),
                other => Value::I32(other.i32().unwrap_or(0)),
            })
            .collect();
        let answer =
            abi::invoke(&mut View(caller), function, &args).map_err(|e| wasmi::Error::new(e.to_string()))?;
        if let (Some(answer), Some(result)) = (answer, results.first_mut()) {
            *result = match answer {
                Value::I32(v) => Val::I32(v),
                Value::I64(v) => Val::I64(v),
                Value::F64(bits) => Val::F64(wasmi::F64::from_bits(bits)),
            };
        }
        Ok(())
    })
}
