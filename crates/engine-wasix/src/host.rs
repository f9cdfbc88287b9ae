//! What wasmer-wasix asks of its host beside files: all of it closed. Its own default has the host's network, threads
//! without a limit, an HTTP client and a package registry.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use virtual_net::{DynVirtualNetworking, UnsupportedVirtualNetworking};
use w3bstream_engine::{Error, ErrorKind};
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
}

impl Closed {
    pub(crate) fn new(engine: wasmer::Engine) -> Self {
        Self {
            engine,
            networking: Arc::new(UnsupportedVirtualNetworking::default()),
            tasks: Arc::new(NoTasks),
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

    fn load_module<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<wasmer::Module, SpawnError>> {
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
    use virtual_net::VirtualNetworking as _;

    #[test]
    fn nothing_is_run_loaded_or_reached() {
        let closed = Closed::new(wasmer::Engine::default());
        let tasks = closed.task_manager();
        assert!(tasks.task_dedicated(Box::new(|| ())).is_err());
        assert!(tasks.task_shared(Box::new(|| Box::pin(async {}))).is_err());
        assert_eq!(tasks.thread_parallelism().expect("a number"), 1);
        assert!(closed.http_client().is_none() && closed.tty().is_none());
        let empty = b"\0asm\x01\0\0\0";
        assert!(pollster::block_on(closed.load_module(empty)).is_err());
        let local = "127.0.0.1:1".parse().expect("an address");
        let connected = pollster::block_on(closed.networking().connect_tcp(local, local));
        assert!(connected.is_err(), "the guest has a network");
    }
}
