//! One call's instance.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use w3bstream_engine::Error;
use w3bstream_engine::abi::{self, Guest, HostFunction, Machine, Program, Stopped, Value};
use w3bstream_engine::instrument::{Reserved, ValueType};
use w3bstream_engine::tools::{Place, Template};
use wasmtime::{
    Caller, Extern, FuncType, Global, Instance, InstancePre, Linker, Memory, ModuleExport, RefType, Store,
    Trap, TypedFunc, Val, ValType,
};

use crate::ticker::Timed;
use crate::{Shared, failed, host};

/// Most parameters that a host function has.
const MOST_PARAMS: usize = 9;

/// What instances of a program are made from.
pub(crate) struct Instances {
    shared: Arc<Shared>,
    source: Source,
    globals: [ModuleExport; Reserved::ALL.len()],
    memory: ModuleExport,
    alloc: Option<ModuleExport>,
    /// Whether there are host functions that ask for handles.
    imports: bool,
}

impl std::fmt::Debug for Instances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instances").finish_non_exhaustive()
    }
}

impl Instances {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        module: &wasmtime::Module,
        program: &Program,
    ) -> Result<Self, Error> {
        let source = Source::new(&shared.engine, module, program.functions())?;
        let export = |name: &str| {
            module.get_export_index(name).ok_or_else(|| host(format!("export {name} is missing")))
        };
        let [gas, stack, memory_limit, table_limit, reason] = Reserved::ALL.map(|g| export(g.name()));
        Ok(Self {
            shared: Arc::clone(shared),
            source,
            globals: [gas?, stack?, memory_limit?, table_limit?, reason?],
            memory: export("memory")?,
            alloc: program.alloc().map(export).transpose()?,
            imports: !program.functions().is_empty(),
        })
    }
}

impl Template for Instances {
    type Running<'a> = Running<'a>;

    fn instance(&self) -> Result<Running<'_>, Error> {
        let place = self.shared.places.take();
        let timed = self.shared.ticker.call();
        let mut store = Store::new(&self.shared.engine, Handles::default());
        store.set_epoch_deadline(self.shared.ticks);
        let instance = self.source.instance(&mut store)?;
        if self.imports {
            let memory = instance.get_module_export(&mut store, &self.memory);
            let gas = instance.get_module_export(&mut store, &self.globals[0]);
            let alloc = self.alloc.as_ref().and_then(|a| instance.get_module_export(&mut store, a));
            *store.data_mut() = Handles {
                memory: memory.and_then(Extern::into_memory),
                gas: gas.and_then(Extern::into_global),
                alloc: alloc.and_then(Extern::into_func),
            };
        }
        Ok(Running { store, instance, from: self, _timed: timed, _place: place })
    }
}

enum Source {
    /// Linked once.
    Pre(InstancePre<Handles>),
    /// A linker knows functions by name, and some have two forms with one name: whose program imports both is
    /// linked by place, anew for each instance.
    ByPlace(wasmtime::Module, Vec<(&'static HostFunction, FuncType)>),
}

impl Source {
    fn new(
        engine: &wasmtime::Engine,
        module: &wasmtime::Module,
        functions: &[&'static HostFunction],
    ) -> Result<Self, Error> {
        let twice = |f: &&HostFunction| {
            functions.iter().any(|g| (g.module, g.name) == (f.module, f.name) && g.params != f.params)
        };
        if functions.iter().any(twice) {
            let typed = functions.iter().map(|f| (*f, type_of(engine, f)));
            return Ok(Self::ByPlace(module.clone(), typed.collect()));
        }
        let mut linker = Linker::new(engine);
        // A program may import a function twice.
        linker.allow_shadowing(true);
        for function in functions {
            let ty = type_of(engine, function);
            linker
                .func_new(function.module, function.name, ty, body(function))
                .map_err(|e| failed(format!("{} cannot be linked", function.name), e))?;
        }
        let pre = linker.instantiate_pre(module).map_err(|e| failed("a program cannot be linked", e))?;
        Ok(Self::Pre(pre))
    }

    fn instance(&self, store: &mut Store<Handles>) -> Result<Instance, Error> {
        let made = match self {
            Self::Pre(pre) => pre.instantiate(store),
            Self::ByPlace(module, functions) => {
                let function = |(f, ty): &(&'static HostFunction, FuncType)| {
                    Extern::Func(wasmtime::Func::new(&mut *store, ty.clone(), body(f)))
                };
                let imports: Vec<Extern> = functions.iter().map(function).collect();
                Instance::new(store, module, &imports)
            }
        };
        made.map_err(|e| failed("wasmtime cannot make an instance", e))
    }
}

fn type_of(engine: &wasmtime::Engine, function: &HostFunction) -> FuncType {
    let ty = |t: &ValueType| match t {
        ValueType::I32 => ValType::I32,
        ValueType::I64 => ValType::I64,
        ValueType::F32 => ValType::F32,
        ValueType::F64 => ValType::F64,
        ValueType::Reference => ValType::Ref(RefType::EXTERNREF),
    };
    FuncType::new(engine, function.params.iter().map(ty), function.result.iter().map(ty))
}

/// What runs when a guest calls `function`.
fn body(
    function: &'static HostFunction,
) -> impl Fn(Caller<'_, Handles>, &[Val], &mut [Val]) -> wasmtime::Result<()> + Send + Sync + 'static {
    move |caller: Caller<'_, Handles>, args: &[Val], results: &mut [Val]| -> wasmtime::Result<()> {
        let mut given = [Value::I32(0); MOST_PARAMS];
        for (place, arg) in given.iter_mut().zip(args) {
            *place = match arg {
                Val::I64(v) => Value::I64(*v),
                Val::F64(bits) => Value::F64(*bits),
                other => Value::I32(other.i32().unwrap_or(0)),
            };
        }
        let given = given.get(..args.len()).unwrap_or(&given);
        let answer = abi::invoke(&mut View(caller), function, given)?;
        if let (Some(answer), Some(result)) = (answer, results.first_mut()) {
            *result = match answer {
                Value::I32(v) => Val::I32(v),
                Value::I64(v) => Val::I64(v),
                Value::F64(bits) => Val::F64(bits),
            };
        }
        Ok(())
    }
}

/// What host functions need of the instance; known once there is one.
#[derive(Clone, Copy, Default)]
pub(crate) struct Handles {
    memory: Option<Memory>,
    gas: Option<Global>,
    alloc: Option<wasmtime::Func>,
}

/// A fresh instance in its own store. Fields are dropped in this order: the place is free after the instance is gone.
pub(crate) struct Running<'a> {
    store: Store<Handles>,
    instance: Instance,
    from: &'a Instances,
    _timed: Timed,
    _place: Place<'a>,
}

impl Running<'_> {
    fn global(&mut self, global: Reserved) -> Result<Global, Error> {
        let place = Reserved::ALL.iter().position(|g| *g == global);
        let export = place.and_then(|p| self.from.globals.get(p));
        let found = export.and_then(|e| self.instance.get_module_export(&mut self.store, e));
        let found = found.and_then(Extern::into_global);
        found.ok_or_else(|| host(format!("global {} is missing", global.name())))
    }

    /// Calls a function on a stack of its own, which is long enough whatever this thread's is.
    fn run<P, R>(&mut self, function: &TypedFunc<P, R>, params: P) -> Result<R, Stopped>
    where
        P: wasmtime::WasmParams + Sync,
        R: wasmtime::WasmResults + Sync,
    {
        let running = pin!(function.call_async(&mut self.store, params));
        match running.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result.map_err(stopped),
            Poll::Pending => Err(Stopped::Host(host("wasmtime waits, though nothing here lets it wait"))),
        }
    }
}

impl Machine for Running<'_> {
    fn set(&mut self, global: Reserved, value: i64) -> Result<(), Error> {
        let value = if global.is_i64() {
            Val::I64(value)
        } else {
            #[allow(clippy::cast_possible_truncation, reason = "i32 globals get the lower half")]
            Val::I32(value as i32)
        };
        let target = self.global(global)?;
        target.set(&mut self.store, value).map_err(|e| failed("a global cannot be set", e))
    }

    fn get(&mut self, global: Reserved) -> Result<i64, Error> {
        match self.global(global)?.get(&mut self.store) {
            Val::I64(v) => Ok(v),
            Val::I32(v) => Ok(i64::from(v)),
            _ => Err(host("a reserved global has a wrong type")),
        }
    }

    fn start(&mut self, export: &str) -> Result<(), Stopped> {
        let function = self.instance.get_typed_func::<(), ()>(&mut self.store, export);
        let function = function.map_err(|e| missing(export, e))?;
        self.run(&function, ())
    }

    fn handle(&mut self, export: &str, rid: i32) -> Result<i32, Stopped> {
        let function = self.instance.get_typed_func::<i32, i32>(&mut self.store, export);
        let function = function.map_err(|e| missing(export, e))?;
        self.run(&function, rid)
    }
}

fn missing(export: &str, e: wasmtime::Error) -> Stopped {
    Stopped::Host(failed(format!("export {export} cannot be called"), e))
}

/// Why a guest stopped: traps are its own doing, but for those that are there to protect this node.
fn stopped(e: wasmtime::Error) -> Stopped {
    let guest = e.is::<abi::Trap>();
    match e.downcast_ref::<Trap>().copied() {
        Some(Trap::StackOverflow) => {
            Stopped::Host(failed("a guest reached the end of the native stack before its own limit", e))
        }
        Some(Trap::Interrupt) => Stopped::Host(failed(
            "a call took longer than this node allows, before its gas was used up: if this machine is slow, raise \
             `call-ms` under [engine] in node.toml",
            e,
        )),
        Some(Trap::AllocationTooLarge) | None if !guest => {
            Stopped::Host(failed("wasmtime gave up on a call", e))
        }
        _ => Stopped::Trapped,
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
        let memory = self.0.data().memory;
        memory.is_some_and(|m| m.write(&mut self.0, at as usize, bytes).is_ok())
    }

    fn alloc(&mut self, size: i32) -> Result<i32, Stopped> {
        let missing = || Stopped::Host(host("the guest's alloc is missing or gives no i32"));
        let alloc = self.0.data().alloc.ok_or_else(missing)?;
        let alloc = alloc.typed::<i32, i32>(&self.0).map_err(|_| missing())?;
        // On the guest's stack: the host function was called on it.
        alloc.call(&mut self.0, size).map_err(stopped)
    }

    fn gas(&mut self) -> i64 {
        let gas = self.0.data().gas.map(|g| g.get(&mut self.0));
        gas.and_then(|v| v.i64()).unwrap_or(0)
    }

    fn set_gas(&mut self, gas: i64) {
        if let Some(global) = self.0.data().gas {
            // It is a mutable i64 of this store: this cannot fail.
            let _ = global.set(&mut self.0, Val::I64(gas));
        }
    }
}
