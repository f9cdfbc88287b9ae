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
//! - Compiled modules are kept for the programs used last, as many as [`WasmerConfig::cache_entries`]. The code of the others is
//!   given back to the system.

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
use memory::Pool;

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

/// Makes engines of wasmer's that share what is used again. A program has one of its own: the code that one of them has compiled
/// is given back with the whole of it, and not before.
type Engines = Arc<dyn Fn() -> wasmer::Engine + Send + Sync>;

fn engines(instances: usize) -> Engines {
    let pool = Pool::new(instances);
    Arc::new(move || {
        let mut engine: wasmer::Engine = EngineBuilder::new(Cranelift::default()).engine().into();
        engine.set_tunables(tunables::Pooling::new(Arc::clone(&pool)));
        engine
    })
}

/// The engine.
pub struct WasmerEngine {
    engines: Engines,
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
        let instances = config.instances.max(1);
        let places = Arc::new(Places::new(instances));
        Self { engines: engines(instances), places, cache: Cache::new(config.cache_entries) }
    }

    /// Makes wasmer's own engines with the stack that guests need, for whoever runs other programs on them.
    #[must_use]
    pub fn shared(&self) -> Arc<dyn Fn() -> wasmer::Engine + Send + Sync> {
        Arc::clone(&self.engines)
    }

    fn compile(&self, program: &[u8]) -> Result<Arc<Compiled<Instances>>, Error> {
        let program = Program::prepare(program)?;
        let engine = (self.engines)();
        let compile = || wasmer::Module::from_binary(&engine, program.bytes());
        let module = std::panic::catch_unwind(std::panic::AssertUnwindSafe(compile))
            .map_err(|_| host(format!("the compiler panicked on program {}", program.program())))?
            .map_err(|e| host("wasmer refuses an instrumented module").with_source(e))?;
        let instances = Instances::new((engine.clone(), module), &program, &self.places);
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
