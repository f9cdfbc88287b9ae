//! A guest on its thread, from its instance to its end.

use std::sync::Arc;

use w3bstream_engine::abi::MAX_STACK_SLOTS;
use w3bstream_engine::instrument::{Reason, Reserved};
use w3bstream_engine::{Error, GuestError};
use wasmer::sys::vm::TrapCode;
use wasmer::{Extern, FunctionEnv, Instance, RuntimeError, Store, Value};
use wasmer_wasix::{WasiEnv, WasiFunctionEnv, WasiVersion, generate_import_object_from_env};

use crate::book::{Shared, Stop};
use crate::files::Files;
use crate::host;
use crate::host::Closed;
use crate::link::{Handles, link};
use crate::program::WasiProgram;
use crate::stdio::Stream;
use crate::tree::ROOT;

/// What a guest is given.
pub(crate) struct Plan {
    pub(crate) handler: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) payload: Vec<u8>,
    pub(crate) book: Shared,
    pub(crate) files: Files,
}

/// How it ended.
pub(crate) struct End {
    /// Why it did not come to its end, if so.
    pub(crate) error: Option<GuestError>,
    /// Gas that is left.
    pub(crate) gas: u64,
}

/// Runs a guest.
///
/// # Errors
/// What is not its doing.
pub(crate) fn run(program: &WasiProgram, closed: &Arc<Closed>, plan: Plan) -> Result<End, Error> {
    let _context = closed.enter();
    let mut store = Store::new(program.engine.clone());
    let (instance, handles, mut wasi) = instantiate(&mut store, program, closed, &plan)?;
    let global = |name: Reserved| {
        let found = instance.exports.get_global(name.name()).cloned();
        found.map_err(|e| host::failed(format!("global {} is missing", name.name())).with_source(e))
    };
    let gas = global(Reserved::Gas)?;
    let memory = instance.exports.get_memory("memory").cloned();
    let memory = memory.map_err(|e| host::failed("the memory is missing").with_source(e))?;
    let known = handles.as_mut(&mut store);
    (known.memory, known.gas) = (Some(memory), Some(gas.clone()));
    wasi.initialize(&mut store, instance.clone())
        .map_err(|e| host::failed("wasmer-wasix does not take the instance").with_source(e))?;
    let limits = plan.book.lock().limits;
    let info = &program.info;
    for (name, value) in [
        (Reserved::Gas, limits.gas - info.start_gas),
        (Reserved::Stack, limits.stack_slots.min(MAX_STACK_SLOTS)),
        (Reserved::MemoryLimit, crate::call::page_limit(&limits)),
        (Reserved::TableLimit, limits.table_elements.min(crate::call::MAX_TABLE_ELEMENTS)),
    ] {
        let value = value.cast_signed();
        #[allow(clippy::cast_possible_truncation, reason = "i32 globals get the lower half")]
        let value = if name.is_i64() { Value::I64(value) } else { Value::I32(value as i32) };
        global(name)?
            .set(&mut store, value)
            .map_err(|e| host::failed("a global cannot be set").with_source(e))?;
    }
    let mut exports: Vec<&str> = program.starters(&plan.handler).collect();
    exports.push(&plan.handler);
    let result = exports.iter().try_for_each(|export| {
        let function = instance.exports.get_typed_function::<(), ()>(&store, export);
        let function =
            function.map_err(|e| Halt::Host(host::failed(format!("no export {export}")).with_source(e)))?;
        function.call(&mut store).map_err(stopped)
    });
    let left = gas.get(&mut store).i64().unwrap_or(0);
    let reason = global(Reserved::Reason)?.get(&mut store).i32().unwrap_or(0);
    conclude(&plan.book, result, Reason::from_i64(i64::from(reason)))
        .map(|error| End { error, gas: left.max(0).cast_unsigned() })
}

fn instantiate(
    store: &mut Store,
    program: &WasiProgram,
    closed: &Arc<Closed>,
    plan: &Plan,
) -> Result<(Instance, FunctionEnv<Handles>, WasiFunctionEnv), Error> {
    let wasi = environment(store, closed, plan)?;
    let layer = generate_import_object_from_env(store, &wasi.env, WasiVersion::Snapshot1);
    let lookup = match layer.get_export("wasi_snapshot_preview1", "path_filestat_get") {
        Some(Extern::Function(lookup)) => Some(lookup),
        _ => None,
    };
    let handles = Handles { book: plan.book.clone(), memory: None, gas: None, lookup };
    let handles = FunctionEnv::new(store, handles);
    let mut imports = Vec::with_capacity(program.rules.len());
    for (name, rule) in &program.rules {
        let Some(Extern::Function(function)) = layer.get_export("wasi_snapshot_preview1", name) else {
            return Err(host::failed(format!("wasmer-wasix has no {name}")));
        };
        imports.push(Extern::Function(link(store, &handles, (name, *rule), function)));
    }
    let instance = Instance::new_by_index(store, &program.module, &imports)
        .map_err(|e| host::failed("wasmer cannot make an instance").with_source(e))?;
    Ok((instance, handles, wasi))
}

/// The WASI layer's idea of a process: everything that it would take from the host by default is given here.
fn environment(store: &mut Store, closed: &Arc<Closed>, plan: &Plan) -> Result<WasiFunctionEnv, Error> {
    let mut builder = WasiEnv::builder(plan.handler.clone());
    builder.add_args(&plan.args);
    builder.add_envs(plan.env.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())));
    builder.set_stdin(Box::new(Stream::In { payload: plan.payload.clone(), at: 0 }));
    builder.set_stdout(Box::new(Stream::Out(plan.book.clone())));
    builder.set_stderr(Box::new(Stream::Err(plan.book.clone())));
    let files: Arc<dyn virtual_fs::FileSystem + Send + Sync> = Arc::new(plan.files.clone());
    builder.set_fs(files);
    let runtime: Arc<dyn wasmer_wasix::Runtime + Send + Sync> = closed.clone();
    builder.set_runtime(runtime);
    builder.set_disable_default_builtins(true);
    let capabilities = builder.capabilities_mut();
    capabilities.insecure_allow_all = false;
    capabilities.threading.max_threads = Some(1);
    capabilities.threading.enable_asynchronous_threading = false;
    let broken = |e: String| host::failed(format!("wasmer-wasix cannot make an environment: {e}"));
    builder
        .add_preopen_build(|p| p.directory(ROOT).read(true).write(true).create(true))
        .map_err(|e| broken(e.to_string()))?;
    builder.finalize(store).map_err(|e| broken(e.to_string()))
}

/// Why an export did not return.
enum Halt {
    Trapped,
    Host(Error),
}

/// Traps are the guest's doing, but for those that its instrumentation is there to prevent.
fn stopped(e: RuntimeError) -> Halt {
    match e.clone().to_trap() {
        Some(TrapCode::StackOverflow) => Halt::Host(
            host::failed("a guest reached the end of the native stack before its own limit").with_source(e),
        ),
        _ => Halt::Trapped,
    }
}

fn conclude(book: &Shared, result: Result<(), Halt>, reason: Reason) -> Result<Option<GuestError>, Error> {
    let stop = book.lock().stop.take();
    Ok(match (stop, result) {
        (Some(Stop::Host(e)), _) | (None, Err(Halt::Host(e))) => return Err(e),
        (Some(Stop::Guest(e)), _) => Some(e),
        (Some(Stop::Done), _) | (None, Ok(())) => None,
        (None, Err(Halt::Trapped)) => Some(match reason {
            Reason::OutOfGas => GuestError::OutOfGas,
            Reason::StackOverflow => GuestError::StackOverflow,
            Reason::Host => {
                return Err(host::failed(
                    "the host has no memory that the limits of the call promise; give the node more",
                ));
            }
            Reason::None => GuestError::Trap,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Book;
    use crate::quota::Quota;
    use crate::tree::Tree;
    use w3bstream_types::{Digest, GuestLimits};

    fn plan() -> Plan {
        let book = Shared::new(Book::new(GuestLimits::default(), Digest::ZERO, 0));
        let tree = Tree::new(Box::new(|_| Ok(None)), book.clone(), Quota::default());
        Plan {
            handler: "_start".into(),
            args: vec![],
            env: vec![],
            payload: vec![],
            book,
            files: Files::new(tree),
        }
    }

    #[test]
    fn nothing_of_a_guest_outlives_it() {
        let text = r#"(module
            (import "wasi_snapshot_preview1" "path_open"
              (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 64) "f")
            (func (export "_start")
              (if (call $open (i32.const 4) (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 1)
                (i64.const 0x1fffffff) (i64.const 0) (i32.const 0) (i32.const 32)) (then unreachable))))"#;
        let engine = wasmer::Engine::default();
        let closed = Arc::new(Closed::new(engine.clone()).expect("a runtime"));
        let module = wat::parse_str(text).expect("valid text");
        let program = WasiProgram::prepare(engine, &module).expect("a good program");
        for _ in 0..3 {
            let plan = plan();
            let watch = plan.files.watch();
            let end = run(&program, &closed, plan).expect("an end");
            assert_eq!(end.error, None);
            assert!(watch.upgrade().is_none(), "the WASI layer keeps the files of a guest");
        }
        assert_eq!(Arc::strong_count(&closed), 1, "the WASI layer keeps its runtime");
    }
}
