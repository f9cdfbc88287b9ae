//! Applets on wasmer, compiled by Cranelift.
//!
//! **Takes** programs and calls; **gives** the outcomes that every engine gives: instrumentation and host
//! functions are those of the engine room, so this crate only makes instances and carries values.
//!
//! # Invariants
//! - A fresh store and instance per call; the compiled module is shared. Nothing of a guest outlives its call: the addresses
//!   of its memory are used again, empty.
//! - No more than [`WasmerConfig::instances`] instances at once; who finds none free waits.
//! - The injected stack limit is reached before the native stack, which is [`NATIVE_STACK_BYTES`] long.
//!   Should a guest reach its end anyway, that is an error of this node and no outcome.
//! - A call ends: gas bounds what a guest runs, and every host function is paid for. There is no
//!   wall-clock guard, since a guest that is slow here is as slow on every node.
//! - Compiled modules are kept for the programs used last, as many as [`WasmerConfig::cache_entries`].

mod instance;
mod memory;
mod tunables;

use std::sync::Arc;

use w3bstream_engine::abi::Program;
use w3bstream_engine::tools::{Cache, Compiled, Places};
use w3bstream_engine::{Engine, EngineStats, Error, ErrorKind, Module};
use w3bstream_types::Digest;
use wasmer::sys::{Cranelift, EngineBuilder, NativeEngineExt as _};

pub use tunables::NATIVE_STACK_BYTES;

use instance::Instances;

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct WasmerConfig {
    /// How many compiled programs are kept. At least one is.
    pub cache_entries: usize,
    /// How many calls run at the same time at most; further ones wait for their turn. At least one does.
    pub instances: usize,
}

impl Default for WasmerConfig {
    fn default() -> Self {
        Self { cache_entries: 64, instances: 64 }
    }
}

/// The engine.
pub struct WasmerEngine {
    engine: wasmer::Engine,
    places: Arc<Places>,
    cache: Cache<Arc<Compiled<Instances>>>,
}

impl std::fmt::Debug for WasmerEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmerEngine").finish_non_exhaustive()
    }
}

impl WasmerEngine {
    /// A new engine with an empty cache.
    #[must_use]
    pub fn new(config: &WasmerConfig) -> Self {
        let mut engine: wasmer::Engine = EngineBuilder::new(Cranelift::default()).engine().into();
        let instances = config.instances.max(1);
        engine.set_tunables(tunables::Pooling::new(instances));
        let places = Arc::new(Places::new(instances));
        Self { engine, places, cache: Cache::new(config.cache_entries) }
    }

    /// wasmer's own engine with the stack that guests need, for whoever runs other programs on it.
    #[must_use]
    pub fn shared(&self) -> wasmer::Engine {
        self.engine.clone()
    }

    fn compile(&self, program: &[u8]) -> Result<Arc<Compiled<Instances>>, Error> {
        let program = Program::prepare(program)?;
        let compile = || wasmer::Module::from_binary(&self.engine, program.bytes());
        let module = std::panic::catch_unwind(std::panic::AssertUnwindSafe(compile))
            .map_err(|_| host(format!("the compiler panicked on program {}", program.program())))?
            .map_err(|e| host("wasmer refuses an instrumented module").with_source(e))?;
        let instances = Instances::new(&self.engine, module, &program, &self.places);
        Ok(Arc::new(Compiled::new(program, instances)))
    }
}

impl Engine for WasmerEngine {
    fn name(&self) -> &'static str {
        "wasmer"
    }

    fn load(&self, program: &[u8]) -> Result<Arc<dyn Module>, Error> {
        Ok(self.cache.get_or(Digest::of(program), || self.compile(program))?)
    }

    fn stats(&self) -> EngineStats {
        self.places.stats()
    }
}

fn host(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Host, what)
}
