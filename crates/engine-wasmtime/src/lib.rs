//! Applets on wasmtime, compiled by Cranelift, with memory, tables and stacks from pools.
//!
//! **Takes** programs and calls; **gives** the outcomes that every engine gives: instrumentation and host
//! functions are those of the engine room, so this crate only makes instances and carries values.
//!
//! # Invariants
//! - A fresh store and instance per call; the compiled module and what links it are shared. The pools hand a slot on
//!   only after it was reset: nothing of a guest outlives its call.
//! - The injected stack limit is reached before the native stack, which is [`NATIVE_STACK_BYTES`] long and
//!   a guest's own. Should a guest reach its end anyway, that is an error of this node and no outcome.
//! - Pools have room for whatever the room admits, so no limit is met here that another engine does not have. Who finds
//!   all instances in use waits.
//! - A call ends: gas bounds what a guest runs, and every host function is paid for. A call that takes longer
//!   than [`WasmtimeConfig::call_time`] is stopped as an error of this node, which is no outcome: a clock must not decide what a
//!   subnet agrees on.
//! - Compiled modules are kept for the programs used last, as many as [`WasmtimeConfig::cache_entries`].

mod instance;
mod settings;
mod ticker;

use std::sync::Arc;

use w3bstream_engine::abi::Program;
use w3bstream_engine::tools::{Cache, Compiled, Places};
use w3bstream_engine::{Engine, EngineStats, Error, ErrorKind, Module};
use w3bstream_types::Digest;

pub use settings::{NATIVE_STACK_BYTES, WasmtimeConfig};
pub use ticker::TICK;

use instance::Instances;
use ticker::Ticker;

/// The engine.
#[derive(Debug)]
pub struct WasmtimeEngine {
    shared: Arc<Shared>,
    cache: Cache<Arc<Compiled<Instances>>>,
}

/// What programs need of their engine, and keep alive.
struct Shared {
    engine: wasmtime::Engine,
    places: Places,
    ticker: Ticker,
    /// Ticks that a call may take.
    ticks: u64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("places", &self.places).finish_non_exhaustive()
    }
}

impl WasmtimeEngine {
    /// A new engine with an empty cache. Reserves addresses, not memory, for all its instances: about 4 GiB each.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] if the system gives no addresses or no thread.
    pub fn new(config: &WasmtimeConfig) -> Result<Self, Error> {
        let make = || wasmtime::Engine::new(&settings::of(config));
        let engine = std::panic::catch_unwind(make)
            .map_err(|_| host("wasmtime panicked over its settings"))?
            .map_err(|e| {
                let what = "wasmtime cannot reserve addresses for its instances: allow the process more of them \
                            (`ulimit -v`), or lower `instances` under [engine] in node.toml";
                host(what).with_source(e.into_boxed_dyn_error())
            })?;
        let ticker = Ticker::start(engine.clone())?;
        let places = Places::new(config.instances as usize);
        let ticks = ticker::ticks(config.call_time);
        let shared = Arc::new(Shared { engine, places, ticker, ticks });
        Ok(Self { shared, cache: Cache::new(config.cache_entries) })
    }

    fn compile(&self, program: &[u8]) -> Result<Arc<Compiled<Instances>>, Error> {
        let program = Program::prepare(program)?;
        let compile = || wasmtime::Module::from_binary(&self.shared.engine, program.bytes());
        let module = std::panic::catch_unwind(std::panic::AssertUnwindSafe(compile))
            .map_err(|_| host(format!("the compiler panicked on program {}", program.program())))?
            .map_err(|e| failed("wasmtime refuses an instrumented module", e))?;
        let instances = Instances::new(&self.shared, &module, &program)?;
        Ok(Arc::new(Compiled::new(program, instances)))
    }
}

impl Engine for WasmtimeEngine {
    fn name(&self) -> &'static str {
        "wasmtime"
    }

    fn load(&self, program: &[u8]) -> Result<Arc<dyn Module>, Error> {
        Ok(self.cache.get_or(Digest::of(program), || self.compile(program))?)
    }

    fn stats(&self) -> EngineStats {
        self.shared.places.stats()
    }
}

fn host(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Host, what)
}

/// An error of this node that wasmtime tells.
fn failed(what: impl Into<String>, e: wasmtime::Error) -> Error {
    host(what).with_source(e.into_boxed_dyn_error())
}
