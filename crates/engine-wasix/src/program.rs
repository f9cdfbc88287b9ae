//! A WASI program that is ready to run.

use w3bstream_engine::abi::{HostFunction, is_wasi};
use w3bstream_engine::instrument::{Bounds, Instrumented, START, instrument};
use w3bstream_engine::{Error, ErrorKind};

use crate::host;
use crate::rules::{Rule, rule};

/// What a reactor exports to be called first.
const INITIALIZE: &str = "_initialize";

/// A program after instrumentation, compiled.
#[derive(Debug)]
pub(crate) struct WasiProgram {
    pub(crate) module: wasmer::Module,
    /// Owns the module's code.
    pub(crate) engine: wasmer::Engine,
    pub(crate) info: Instrumented,
    /// What it imports, in the module's order, with what becomes of it.
    pub(crate) rules: Vec<(String, Rule)>,
    pub(crate) handlers: Vec<String>,
    initialize: bool,
}

impl WasiProgram {
    /// Instruments, checks and compiles a module.
    ///
    /// # Errors
    /// [`ErrorKind::BadProgram`] for what is no WASI program, or imports what there is not, with the nearest that there
    /// is; [`ErrorKind::Host`] if the compiler fails.
    pub(crate) fn prepare(engine: wasmer::Engine, program: &[u8]) -> Result<Self, Error> {
        let mut info = instrument(program, &Bounds::default())?;
        let bad = |what: &str| Err(Error::new(ErrorKind::BadProgram, what));
        if !is_wasi(&info) {
            return bad("is no WASI program");
        }
        if !info.exports_memory {
            return bad("does not export its memory as `memory`");
        }
        let mut rules = Vec::with_capacity(info.imports.len());
        for import in &info.imports {
            let name = HostFunction::resolve(import)?.name;
            let rule = rule(name).ok_or_else(|| host::failed(format!("there is no rule for {name}")))?;
            rules.push((name.to_owned(), rule));
        }
        let compile = || wasmer::Module::from_binary(&engine, &info.bytes);
        let module = std::panic::catch_unwind(std::panic::AssertUnwindSafe(compile))
            .map_err(|_| host::failed(format!("the compiler panicked on program {}", info.program)))?
            .map_err(|e| host::failed("wasmer refuses an instrumented module").with_source(e))?;
        info.bytes = Vec::new();
        let nullary: Vec<&str> = info
            .functions
            .iter()
            .filter(|(_, ty)| ty.params.is_empty() && ty.results.is_empty())
            .map(|(name, _)| name.as_str())
            .collect();
        let initialize = nullary.contains(&INITIALIZE);
        let mut handlers: Vec<String> =
            nullary.iter().filter(|name| **name != INITIALIZE).map(|name| (*name).to_owned()).collect();
        handlers.sort();
        Ok(Self { module, engine, info, rules, handlers, initialize })
    }

    /// What is called before a handler, in order.
    pub(crate) fn starters(&self, handler: &str) -> impl Iterator<Item = &'static str> {
        let start = self.info.has_start.then_some(START);
        // A command initialises itself.
        let initialize = (self.initialize && handler != "_start").then_some(INITIALIZE);
        start.into_iter().chain(initialize)
    }
}
