//! An engine whose calls run in processes of their own.
//!
//! **Takes** programs and calls; **gives** what the engine gives that its workers have. A worker is a child process that
//! runs one call at a time. It asks the node for whatever of the state a guest reads, and has nothing of the node's
//! otherwise: no variables, no descriptors but its connection.
//!
//! # Invariants
//! - A worker that dies takes its call with it, as an error of this node that names program, handler and signal; all other
//!   calls go on. It is started anew when it is needed, later and later if many die.
//! - A call that takes longer than [`WorkerConfig::call_time`] is ended with its worker, as an error of this node, which is no
//!   outcome. What the node itself takes to answer does not count.
//! - Whatever a worker says is an outcome, a question or an error: each frame has a bound, and one that is none ends the
//!   worker. No panic is reachable from it.
//! - A worker ends when its node does, however that ends.
//! - The same module, call and state give the same outcome as in this process: it is the same engine.
//!
//! # A worker
//! Is a program that calls [`run`] with an engine, such as `w3bstream engine-worker`, which makes the one that the node's
//! settings name. The frames are no format for others: both sides must be of the same build.

mod child;
mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod pool;
mod process;
#[cfg(any(test, feature = "fuzzing"))]
mod samples;
mod serve;
mod talk;
mod values;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use w3bstream_engine::tools::Cache;
use w3bstream_engine::{Call, Engine, EngineStats, Error, ErrorKind, HostState, Module, Outcome, Uses};
use w3bstream_types::Digest;

pub use child::run;
pub use serve::serve;
pub use values::Terms;

use frame::Fault;
use pool::Pool;
use talk::{Program, Times};
use values::About;

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The program that is a worker, and its arguments. It is given no environment.
    pub command: Vec<OsString>,
    /// How many workers there are at most, and so how many calls run at the same time; further ones wait. At least one.
    /// They are started when they are needed.
    pub workers: usize,
    /// How many programs the node keeps, and each worker compiled. At least one.
    pub cache_entries: usize,
    /// How long a call may take: a guard for this node, far above what a call's gas buys.
    pub call_time: Duration,
    /// How long a worker may take to check and compile a program.
    pub load_time: Duration,
    /// How long a worker may take to be ready.
    pub start_time: Duration,
    /// The most bytes of memory of one worker, without addresses that it only reserves (`RLIMIT_DATA`); 0 for no limit.
    pub memory_bytes: u64,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cache_entries: 64,
            call_time: Duration::from_secs(60),
            load_time: Duration::from_secs(120),
            start_time: Duration::from_secs(30),
            memory_bytes: 4 << 30,
        }
    }
}

/// The engine.
#[derive(Debug)]
pub struct WorkerEngine {
    name: String,
    pool: Arc<Pool>,
    cache: Cache<Arc<Loaded>>,
}

impl WorkerEngine {
    /// Starts the first worker, whose engine gives this one its name.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] if the command cannot be started, is no worker, or one of another version; those of its engine.
    pub fn start(config: WorkerConfig) -> Result<Self, Error> {
        let cache = Cache::new(config.cache_entries);
        let pool = Arc::new(Pool::new(config));
        Ok(Self { name: pool.begin()?, pool, cache })
    }

    /// Process ids of the workers that run now.
    #[must_use]
    pub fn workers(&self) -> Vec<u32> {
        self.pool.pids()
    }

    /// How many workers run, were started, and ended by which reason, in the Prometheus text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.pool.metrics()
    }
}

impl Engine for WorkerEngine {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self, program: &[u8]) -> Result<Arc<dyn Module>, Error> {
        let digest = Digest::of(program);
        let load = || {
            let program = Program { digest, bytes: program.into() };
            let (pool, time) = (Arc::clone(&self.pool), self.pool.config().load_time);
            let load = |talk: &mut talk::Talk| talk.load(&program, time);
            let about = with_worker(&pool, &program, time, "while it was loaded", load)?;
            Ok::<_, Error>(Arc::new(Loaded { program, about, pool }))
        };
        Ok(self.cache.get_or(digest, load)?)
    }

    fn stats(&self) -> EngineStats {
        self.pool.stats()
    }
}

/// Talks to a worker, and ends it if that fails.
fn with_worker<T>(
    pool: &Pool,
    program: &Program,
    time: Duration,
    doing: &str,
    talk: impl FnOnce(&mut talk::Talk) -> Result<Result<T, Error>, Fault>,
) -> Result<T, Error> {
    let mut leased = pool.take(&program.digest)?;
    let Some(worker) = leased.worker() else { return Err(host("a worker that is none")) };
    match talk(&mut worker.talk) {
        Ok(given) => {
            if given.is_ok() {
                worker.got(program.digest);
            }
            given
        }
        Err(fault) => {
            let ended = leased.end(&fault, time).map(|ended| ended.to_string()).unwrap_or_default();
            let digest = program.digest;
            let what = format!(
                "program {digest}, {doing}: {ended}; there is no outcome. The node's log has what the process said \
                 last; docs/worker-processes.md says what to do"
            );
            tracing::error!("{what}");
            Err(host(what))
        }
    }
}

/// A program that a worker has taken.
#[derive(Debug)]
struct Loaded {
    program: Program,
    about: About,
    pool: Arc<Pool>,
}

impl Module for Loaded {
    fn program(&self) -> Digest {
        self.program.digest
    }

    fn instrumented(&self) -> Digest {
        self.about.instrumented
    }

    fn handlers(&self) -> Vec<String> {
        self.about.handlers.clone()
    }

    fn uses(&self) -> Uses {
        self.about.uses
    }

    fn call(&self, call: Call<'_>, state: &mut dyn HostState) -> Result<Outcome, Error> {
        let config = self.pool.config();
        let times = Times { call: config.call_time, load: config.load_time };
        let doing = format!("handler {:?}", call.handler);
        with_worker(&self.pool, &self.program, config.call_time, &doing, |worker| {
            worker.call(&self.program, &call, state, times)
        })
    }
}

fn host(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Host, what)
}
