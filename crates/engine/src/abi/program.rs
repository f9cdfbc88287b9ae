//! A program that is ready to be compiled by an engine.

use std::collections::BTreeSet;

use w3bstream_types::Digest;

use super::HostFunction;
use crate::instrument::{Bounds, Instrumented, Signature, ValueType, instrument};
use crate::{Error, ErrorKind};

/// Whether a module is a WASI program and no applet: it imports nothing but WASI, exports no handler `fn(i32) -> i32`,
/// and exports `_start` (a command), or imports something and exports another function without parameters and results
/// (a reactor's handler).
#[must_use]
pub fn is_wasi(module: &Instrumented) -> bool {
    let pure = module.imports.iter().all(|i| i.module == WASI);
    let applet = |(name, ty): &(String, Signature)| {
        ty.params == [ValueType::I32]
            && ty.results == [ValueType::I32]
            && !ALLOCATORS.contains(&name.as_str())
    };
    let nullary = |ty: &Signature| ty.params.is_empty() && ty.results.is_empty();
    let handler = |(name, ty): &(String, Signature)| {
        nullary(ty) && (name == "_start" || (!module.imports.is_empty() && name != "_initialize"))
    };
    pure && module.functions.iter().any(handler) && !module.functions.iter().any(applet)
}

/// The module whose functions are WASI preview 1.
const WASI: &str = "wasi_snapshot_preview1";
/// Exports that give memory to the host, by preference.
const ALLOCATORS: [&str; 2] = ["alloc", "malloc"];

/// A program after instrumentation, with its imports resolved and its exports checked.
#[derive(Debug)]
pub struct Program {
    instrumented: Instrumented,
    functions: Vec<&'static HostFunction>,
    handlers: BTreeSet<String>,
    alloc: Option<&'static str>,
    initialize: bool,
}

impl Program {
    /// Instruments and checks a module.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a [WASI program](is_wasi).
    /// [`ErrorKind::BadProgram`] naming what is wrong: what [`instrument`] does not admit, no `memory`
    /// export, an unknown import with the nearest known one, an import with a wrong type, or no `alloc` although it
    /// imports a function that needs it.
    pub fn prepare(program: &[u8]) -> Result<Self, Error> {
        let instrumented = instrument(program, &Bounds::default())?;
        let bad = |what: &str| Err(Error::new(ErrorKind::BadProgram, what));
        if !instrumented.exports_memory {
            return bad("does not export its memory as `memory`");
        }
        let functions =
            instrumented.imports.iter().map(HostFunction::resolve).collect::<Result<Vec<_>, _>>()?;
        if is_wasi(&instrumented) {
            let what = "is a WASI program, since its handlers take nothing and give nothing; only nodes with the \
                        engine `wasmer` run those (engine-wasix); an applet's handlers are `fn(i32) -> i32`";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        let unary = Signature { params: vec![ValueType::I32], results: vec![ValueType::I32] };
        let nullary = Signature { params: vec![], results: vec![] };
        let exports =
            |name: &str, ty: &Signature| instrumented.functions.iter().any(|(n, t)| n == name && t == ty);
        let alloc = ALLOCATORS.into_iter().find(|name| exports(name, &unary));
        if alloc.is_none()
            && let Some(needs) = functions.iter().find(|f| f.allocates())
        {
            let name = needs.name;
            return bad(&format!("imports {name}, so it must export `alloc` (or `malloc`) as {unary}"));
        }
        let initialize = exports("_initialize", &nullary);
        let handlers = instrumented.functions.iter().filter(|(_, ty)| *ty == unary);
        let handlers = handlers.map(|(name, _)| name.clone()).collect();
        Ok(Self { functions, handlers, alloc, initialize, instrumented })
    }

    /// The module to compile.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.instrumented.bytes
    }

    /// Gives up the module's bytes, which are of no use once it was compiled.
    pub(crate) fn forget_bytes(&mut self) {
        self.instrumented.bytes = Vec::new();
    }

    /// SHA-256 of the program as it was given.
    #[must_use]
    pub const fn program(&self) -> Digest {
        self.instrumented.program
    }

    /// SHA-256 of the program as it runs.
    #[must_use]
    pub const fn instrumented(&self) -> Digest {
        self.instrumented.digest
    }

    /// What it imports, in the module's order. A function may occur more than once.
    #[must_use]
    pub fn functions(&self) -> &[&'static HostFunction] {
        &self.functions
    }

    /// The exported functions of type `fn(i32) -> i32`, sorted.
    #[must_use]
    pub const fn handlers(&self) -> &BTreeSet<String> {
        &self.handlers
    }

    /// The export that gives memory to the host, if the guest has one.
    #[must_use]
    pub const fn alloc(&self) -> Option<&'static str> {
        self.alloc
    }

    /// What is called before a handler, in order; none has parameters or results.
    pub(super) fn starters(&self) -> impl Iterator<Item = &'static str> {
        let start = self.instrumented.has_start.then_some(crate::instrument::START);
        start.into_iter().chain(self.initialize.then_some("_initialize"))
    }

    pub(super) const fn info(&self) -> &Instrumented {
        &self.instrumented
    }
}
