//! WASI preview 1 programs, on wasmer-wasix.
//!
//! **Takes** programs whose handlers are `_start` or another export without parameters and results; **gives** outcomes as every
//! engine does: the event on standard input, the answer on standard output ([`OutputKind::Answer`]), the log on standard
//! error, the applet's state below `/data`. All else it leaves to the engine that it wraps. `docs/wasi.md` says what of
//! preview 1 is there.
//!
//! # Invariants
//! - The instrumentation pass runs over the module first, as over every applet: gas, stack, memory and tables are counted by it.
//! - Nothing of the host reaches a guest: no folder, clock, randomness, network, thread or process. What
//!   wasmer-wasix has open by default is closed in `host` and `guest`; what it would take from the host in its
//!   functions, `own` does instead; what is not in `rules` is not linked.
//! - The same module, call and state give the same outcome. Only one engine runs these programs, so a subnet that has one runs
//!   wasmer on all its members.
//! - A call that fails changes nothing. `proc_exit` with another code than 0 is a failure.
//! - A panic of the WASI layer ends the call that met it, and nothing else.
//!
//! [`OutputKind::Answer`]: w3bstream_types::OutputKind::Answer

mod book;
mod call;
mod files;
mod guest;
mod host;
mod link;
mod own;
mod program;
mod quota;
mod rules;
pub mod runner;
mod state;
mod stdio;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use w3bstream_engine::tools::{Cache, Places};
use w3bstream_engine::{Call, Engine, EngineStats, Error, ErrorKind, HostState, Module, Outcome, Uses};
use w3bstream_types::Digest;

pub use quota::Quota;

use call::Setup;
use host::Closed;
use program::WasiProgram;

/// Settings of the engine.
#[derive(Clone, Copy, Debug)]
pub struct WasixConfig {
    /// How many compiled programs are kept. At least one is.
    pub cache_entries: usize,
    /// How many programs run at the same time at most; further calls wait for their turn. At least one does.
    pub instances: usize,
    /// How much an applet may keep in files.
    pub quota: Quota,
    /// How long a call may take before its guest is given up, which is an error of this node and no outcome. Gas ends a guest
    /// long before; this is for a WASI layer that hangs.
    pub guard: Duration,
}

impl Default for WasixConfig {
    fn default() -> Self {
        Self { cache_entries: 64, instances: 64, quota: Quota::default(), guard: Duration::from_secs(300) }
    }
}

/// Makes engines of wasmer's: a program has one of its own, which gives its code back.
pub type Engines = Arc<dyn Fn() -> wasmer::Engine + Send + Sync>;

/// An engine for WASI programs, around one for applets.
pub struct WasixEngine {
    applets: Arc<dyn Engine>,
    engines: Engines,
    setup: Setup,
    cache: Cache<Arc<Loaded>>,
}

impl std::fmt::Debug for WasixEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasixEngine").field("applets", &self.applets).finish_non_exhaustive()
    }
}

impl WasixEngine {
    /// WASI programs on what `engines` makes, whose native stack must hold [`MAX_STACK_SLOTS`](w3bstream_engine::abi::MAX_STACK_SLOTS); all
    /// other programs on `applets`.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] if the system gives nothing for a runtime.
    pub fn new(applets: Arc<dyn Engine>, engines: Engines, config: WasixConfig) -> Result<Self, Error> {
        let WasixConfig { cache_entries, instances, quota, guard } = config;
        let places = Arc::new(Places::new(instances));
        let setup = Setup { closed: Arc::new(Closed::new(engines())?), places, quota, guard };
        Ok(Self { applets, engines, setup, cache: Cache::new(cache_entries) })
    }
}

impl Engine for WasixEngine {
    fn name(&self) -> &str {
        self.applets.name()
    }

    fn load(&self, program: &[u8]) -> Result<Arc<dyn Module>, Error> {
        let digest = Digest::of(program);
        if let Some(loaded) = self.cache.get(&digest) {
            return Ok(loaded);
        }
        match self.applets.load(program) {
            Err(e) if e.kind() == ErrorKind::Unsupported => {}
            other => return other,
        }
        let program = Arc::new(WasiProgram::prepare((self.engines)(), program)?);
        let loaded = Arc::new(Loaded { program, setup: self.setup.clone() });
        self.cache.put(digest, Arc::clone(&loaded));
        Ok(loaded)
    }

    fn stats(&self) -> EngineStats {
        self.applets.stats() + self.setup.places.stats()
    }
}

/// A compiled program.
#[derive(Debug)]
struct Loaded {
    program: Arc<WasiProgram>,
    setup: Setup,
}

impl Module for Loaded {
    fn program(&self) -> Digest {
        self.program.info.program
    }

    fn instrumented(&self) -> Digest {
        self.program.info.digest
    }

    fn handlers(&self) -> Vec<String> {
        self.program.handlers.clone()
    }

    fn uses(&self) -> Uses {
        // It imports no functions of ours: it is sent events, and sends none.
        Uses::NOTHING
    }

    fn call(&self, call: Call<'_>, state: &mut dyn HostState) -> Result<Outcome, Error> {
        call::run(&self.program, &self.setup, call, state)
    }
}
