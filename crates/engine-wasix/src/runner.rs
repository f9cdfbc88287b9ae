//! A developer's runner: a program as any WASI runtime runs it, with real folders, clock, randomness and exit code.
//!
//! Nothing of it is used by a node for its projects. It is for looking at a program, and for public test suites.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use virtual_fs::MountFileSystem;
use w3bstream_engine::{Error, ErrorKind};
use wasmer::sys::{Cranelift, EngineBuilder};
use wasmer::{Module, RuntimeError, Store};
use wasmer_wasix::runtime::task_manager::tokio::TokioTaskManager;
use wasmer_wasix::{PluggableRuntime, WasiEnv, WasiError};

/// The modules whose functions there are.
const KNOWN: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The module, binary or text.
    pub program: Vec<u8>,
    /// The first argument.
    pub name: String,
    /// The others.
    pub args: Vec<String>,
    /// Its variables; none of this process's.
    pub env: Vec<(String, String)>,
    /// Folders of this machine, with the name that each has for the program.
    pub dirs: Vec<(PathBuf, String)>,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It returned or left, with this code.
    Exit(i32),
    /// It trapped, for this reason.
    Trap(String),
}

/// Runs a program to its end, on this thread: standard input, output and error are this process's.
///
/// # Errors
/// [`ErrorKind::BadProgram`] if it is no WASI command, with the reason; [`ErrorKind::Host`] if a folder is not there, or the
/// WASI layer does not start.
pub fn run(run: &Run, runtime: &tokio::runtime::Handle) -> Result<Ended, Error> {
    let _entered = runtime.enter();
    let engine: wasmer::Engine = EngineBuilder::new(Cranelift::default()).engine().into();
    let module = Module::new(&engine, &run.program)
        .map_err(|e| bad("is no WebAssembly module that wasmer takes").with_source(e))?;
    check(&module)?;
    let mut store = Store::new(engine.clone());
    let mut layer = PluggableRuntime::new(Arc::new(TokioTaskManager::new(runtime.clone())));
    layer.set_engine(engine);
    let mut builder = WasiEnv::builder(run.name.clone());
    builder.add_args(&run.args);
    builder.add_envs(run.env.iter().cloned());
    builder.set_runtime(Arc::new(layer));
    builder.capabilities_mut().threading.max_threads = Some(1);
    let files = MountFileSystem::new();
    for (host, guest) in &run.dirs {
        let place = mount(&files, host, guest, runtime)?;
        let preopen = builder.add_preopen_build(|p| {
            let p = p.directory(&place).read(true).write(true).create(true);
            if guest.starts_with('/') { p } else { p.alias(guest) }
        });
        preopen.map_err(|e| failed(format!("--dir {}::{guest}", host.display())).with_source(e))?;
    }
    builder.set_mount_fs(files);
    let (instance, env) = builder
        .instantiate(module, &mut store)
        .map_err(|e| failed("the program cannot be started").with_source(e))?;
    let start = instance.exports.get_typed_function::<(), ()>(&store, "_start");
    let start = start.map_err(|e| bad("its _start cannot be called").with_source(e))?;
    let ended = match start.call(&mut store) {
        Ok(()) => Ended::Exit(0),
        Err(e) => ended(e),
    };
    let code = if let Ended::Exit(code) = ended { code } else { 1 };
    env.on_exit(&mut store, Some(code.into()));
    Ok(ended)
}

fn bad(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadProgram, what)
}

fn failed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Host, what)
}

/// Refuses what is no command of preview 1, with the reason.
fn check(module: &Module) -> Result<(), Error> {
    if let Some(import) = module.imports().find(|i| !KNOWN.contains(&i.module())) {
        return Err(bad(format!(
            "imports {}.{}: only functions of {} are there; an applet is run by `w3bstream applet run`",
            import.module(),
            import.name(),
            KNOWN[0]
        )));
    }
    let starts = |e: wasmer::ExportType<wasmer::FunctionType>| {
        e.name() == "_start" && e.ty().params().is_empty() && e.ty().results().is_empty()
    };
    if !module.exports().functions().any(starts) {
        return Err(bad(
            "exports no `_start` without parameters and results, so it is no command; a reactor's functions are called by a \
             node, or by `w3bstream applet run --handler NAME`",
        ));
    }
    Ok(())
}

/// Puts a folder of this machine where the program looks for it.
fn mount(
    files: &MountFileSystem,
    host: &Path,
    guest: &str,
    runtime: &tokio::runtime::Handle,
) -> Result<PathBuf, Error> {
    let wrong = || format!("--dir {}::{guest}", host.display());
    if !host.is_dir() {
        return Err(failed(format!("{}: {} is no folder of this machine", wrong(), host.display())));
    }
    let names = Path::new(guest).components().filter_map(|c| match c {
        std::path::Component::Normal(name) => Some(name),
        _ => None,
    });
    let place: PathBuf = std::iter::once(std::ffi::OsStr::new("/")).chain(names).collect();
    let real = virtual_fs::host_fs::FileSystem::new(runtime.clone(), host)
        .map_err(|e| failed(wrong()).with_source(e))?;
    files.mount(&place, Arc::new(real)).map_err(|e| failed(wrong()).with_source(e))?;
    Ok(place)
}

fn ended(e: RuntimeError) -> Ended {
    match e.downcast::<WasiError>() {
        Ok(WasiError::Exit(code)) => Ended::Exit(code.raw()),
        Ok(other) => Ended::Trap(other.to_string()),
        Err(e) => Ended::Trap(e.message()),
    }
}
