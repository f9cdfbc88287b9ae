//! What wasmer-wasix asks of its host beside files: all of it closed. Its own default has the host's network, threads
//! without a limit, an HTTP client and a package registry.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use virtual_net::{DynVirtualNetworking, UnsupportedVirtualNetworking};
use w3bstream_engine::{Error, ErrorKind};
use wasmer_wasix::runtime::ModuleInput;
use wasmer_wasix::runtime::module_cache::progress::ModuleLoadProgressReporter;
use wasmer_wasix::runtime::resolver::{MultiSource, Source};
use wasmer_wasix::runtime::task_manager::TaskWasm;
use wasmer_wasix::{Runtime, SpawnError, VirtualTaskManager, WasiThreadError};

/// An error of this engine or its host.
pub(crate) fn failed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Host, what)
}

/// A host without network, threads, packages and subprocesses.
#[derive(Debug)]
pub(crate) struct Closed {
    engine: wasmer::Engine,
    networking: DynVirtualNetworking,
    tasks: Arc<dyn VirtualTaskManager>,
    idle: Idle,
}

impl Closed {
    /// # Errors
    /// [`ErrorKind::Host`] if the system gives nothing for a runtime.
    pub(crate) fn new(engine: wasmer::Engine) -> Result<Self, Error> {
        let idle = tokio::runtime::Builder::new_current_thread().build();
        let idle =
            idle.map_err(|e| failed("cannot make an idle runtime for WASI programs").with_source(e))?;
        Ok(Self {
            engine,
            networking: Arc::new(UnsupportedVirtualNetworking::default()),
            tasks: Arc::new(NoTasks),
            idle: Idle(Some(idle)),
        })
    }

    /// The layer makes the host's standard input, and drops it for the guest's, which needs a runtime around it. This one
    /// runs nothing.
    pub(crate) fn enter(&self) -> Option<tokio::runtime::EnterGuard<'_>> {
        self.idle.0.as_ref().map(tokio::runtime::Runtime::enter)
    }
}

/// A runtime that nobody drives, and that may be dropped within another one.
#[derive(Debug)]
struct Idle(Option<tokio::runtime::Runtime>);

impl Drop for Idle {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Runtime for Closed {
    fn networking(&self) -> &DynVirtualNetworking {
        &self.networking
    }

    fn task_manager(&self) -> &Arc<dyn VirtualTaskManager> {
        &self.tasks
    }

    fn source(&self) -> Arc<dyn Source + Send + Sync> {
        // A source of no packages.
        Arc::new(MultiSource::default())
    }

    fn engine(&self) -> wasmer::Engine {
        self.engine.clone()
    }

    fn resolve_module<'a>(
        &'a self,
        _: ModuleInput<'a>,
        _: Option<&wasmer::Engine>,
        _: Option<ModuleLoadProgressReporter>,
    ) -> BoxFuture<'a, Result<wasmer::Module, SpawnError>> {
        Box::pin(async { Err(SpawnError::AccessDenied) })
    }
}

/// Runs nothing.
#[derive(Debug)]
struct NoTasks;

impl VirtualTaskManager for NoTasks {
    fn sleep_now(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + Sync + 'static>> {
        Box::pin(async {})
    }

    fn task_shared(
        &self,
        _: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send + 'static>,
    ) -> Result<(), WasiThreadError> {
        Err(WasiThreadError::Unsupported)
    }

    fn task_wasm(&self, _: TaskWasm) -> Result<(), WasiThreadError> {
        Err(WasiThreadError::Unsupported)
    }

    fn task_dedicated(&self, _: Box<dyn FnOnce() + Send + 'static>) -> Result<(), WasiThreadError> {
        Err(WasiThreadError::Unsupported)
    }

    fn thread_parallelism(&self) -> Result<usize, WasiThreadError> {
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_run_loaded_or_reached() {
        let closed = Closed::new(wasmer::Engine::default()).expect("a runtime");
        let tasks = closed.task_manager();
        assert!(tasks.task_dedicated(Box::new(|| ())).is_err());
        assert!(tasks.task_shared(Box::new(|| Box::pin(async {}))).is_err());
        assert_eq!(tasks.thread_parallelism().expect("a number"), 1);
        assert!(closed.http_client().is_none() && closed.tty().is_none());
        let module = ModuleInput::Bytes(b"\0asm\x01\0\0\0".into());
        assert!(pollster::block_on(closed.resolve_module(module, None, None)).is_err());
        let local = "127.0.0.1:1".parse().expect("an address");
        let connected = pollster::block_on(closed.networking().connect_tcp(local, local));
        assert!(connected.is_err(), "the guest has a network");
    }
}
