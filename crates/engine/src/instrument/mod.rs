//! The instrumentation pass: a module as it was uploaded in, a module that counts for itself out.
//!
//! Every engine runs the output of this pass and nothing else, so gas, stack depth, limits and the bits of
//! every NaN are the same everywhere, whatever an engine offers of its own. The pass has a [`VERSION`]; the
//! same version gives the same bytes for the same program. A subnet's genesis names it, since with other bytes
//! or other costs its members would not agree.
//!
//! # What is admitted
//! WebAssembly 1.0, mutable globals, sign extension, saturating float-to-int, bulk memory, multi-value and
//! reference types, inside [`Bounds`]. Nothing else: no SIMD, threads, 64-bit or several memories, tail calls,
//! exceptions, extended constant expressions or garbage collection. Only functions may be imported.
//! Segments that would not fit the initial memory or table are refused, so that instantiation cannot trap.
//!
//! # What is injected
//! - **Gas.** Each straight-line stretch of code is paid for before it runs, by the table in [`cost`]; bulk
//!   operations and growth pay for what they touch.
//! - **Stack.** A function takes its parameters, locals, deepest operand stack and [`cost::FRAME_SLOTS`] from the
//!   slots that are left when it is entered, and gives them back when it returns.
//! - **NaNs.** A float operation whose NaN the specification leaves open is followed by a replacement with
//!   the canonical one (`0x7fc00000`, `0x7ff8000000000000`), unless the next instruction cannot see its bits.
//! - **Growth.** `memory.grow` and `table.grow` answer −1 beyond the limit of the call. If the host has no
//!   memory below that limit, the module traps with [`Reason::Host`], which is no outcome.
//! - Left away: code that cannot be reached, custom sections, and exports other than `memory` and functions of
//!   the types `fn(i32) -> i32` and `fn()`.
//!
//! # How a host talks to it
//! Through mutable globals that are exported under reserved names, [`Reserved`]: set the limits after
//! instantiation, read what is left and why it stopped afterwards. The start function is not a start function any more but
//! the export [`START`], so that it runs under the same limits.

mod bounds;
pub mod cost;
mod emit;
mod function;
mod helpers;
mod scan;

use w3bstream_types::Digest;

pub use bounds::Bounds;

use crate::{Error, ErrorKind};

/// Version of the pass, its cost table and its bounds.
pub const VERSION: u16 = 1;

/// What every reserved export begins with. Programs that export such a name are refused.
pub const RESERVED_PREFIX: &str = "__w3b_";

/// The start function, if the program has one: no parameters, no results. Called once, before anything else.
pub const START: &str = "__w3b_start";

/// The injected globals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reserved {
    /// Gas that is left: i64. Negative once it was used up.
    Gas,
    /// Stack slots that are left: i32.
    Stack,
    /// Pages that memory may have at most: i32.
    MemoryLimit,
    /// Elements that all tables together may have at most: i32.
    TableLimit,
    /// Why the module stopped itself, a [`Reason`]: i32.
    Reason,
}

impl Reserved {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 5] = [Self::Gas, Self::Stack, Self::MemoryLimit, Self::TableLimit, Self::Reason];

    /// The name under which it is exported.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gas => "__w3b_gas",
            Self::Stack => "__w3b_stack",
            Self::MemoryLimit => "__w3b_memory_limit",
            Self::TableLimit => "__w3b_table_limit",
            Self::Reason => "__w3b_reason",
        }
    }

    /// Whether it is an i64; the others are i32.
    #[must_use]
    pub const fn is_i64(self) -> bool {
        matches!(self, Self::Gas)
    }

    /// Its place in [`Self::ALL`].
    const fn index(self) -> u32 {
        self as u32
    }
}

/// Why a module stopped itself, as it stands in [`Reserved::Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Reason {
    /// It did not.
    None = 0,
    /// The gas was used up.
    OutOfGas = 1,
    /// No stack slots were left.
    StackOverflow = 2,
    /// The host refused memory that the limit allows. Not the guest's doing.
    Host = 3,
}

impl Reason {
    /// Reads the global. Unknown values are [`Reason::None`].
    #[must_use]
    pub const fn from_i64(value: i64) -> Self {
        match value {
            1 => Self::OutOfGas,
            2 => Self::StackOverflow,
            3 => Self::Host,
            _ => Self::None,
        }
    }
}

/// The type of a parameter or result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// Reference to a function or to something of the host.
    Reference,
}

/// The type of a function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Signature {
    /// Types of the parameters.
    pub params: Vec<ValueType>,
    /// Types of the results.
    pub results: Vec<ValueType>,
}

impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |types: &[ValueType]| {
            let names: Vec<&str> = types
                .iter()
                .map(|t| match t {
                    ValueType::I32 => "i32",
                    ValueType::I64 => "i64",
                    ValueType::F32 => "f32",
                    ValueType::F64 => "f64",
                    ValueType::Reference => "ref",
                })
                .collect();
            names.join(", ")
        };
        write!(f, "({}) -> ({})", list(&self.params), list(&self.results))
    }
}

/// A function that the program imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The module's name, such as `env`.
    pub module: String,
    /// The function's name.
    pub name: String,
    /// Its type.
    pub signature: Signature,
}

/// A program that was instrumented, with what a host must know of it.
#[derive(Clone, Debug)]
pub struct Instrumented {
    /// The module to run.
    pub bytes: Vec<u8>,
    /// SHA-256 of [`Self::bytes`].
    pub digest: Digest,
    /// SHA-256 of the program as it was given.
    pub program: Digest,
    /// Imports, in the module's order.
    pub imports: Vec<Import>,
    /// Exported functions of the program itself, in the module's order.
    pub functions: Vec<(String, Signature)>,
    /// Whether the program exports its memory as `memory`.
    pub exports_memory: bool,
    /// Whether there is a [`START`] to call.
    pub has_start: bool,
    /// Initial size of the memory, in pages of 64 KiB.
    pub memory_pages: u64,
    /// Initial size of all tables together, in elements.
    pub table_elements: u64,
    /// Gas that instantiation costs: for the segments that it copies.
    pub start_gas: u64,
}

/// Checks a program and injects what the module docs describe.
///
/// Deterministic: depends on the bytes, the bounds and [`VERSION`] only. The output has passed validation.
///
/// # Errors
/// [`ErrorKind::BadProgram`] naming what is not admitted and where; [`ErrorKind::Host`] if the pass made a
/// module that is not valid, which would be its own fault.
pub fn instrument(program: &[u8], bounds: &Bounds) -> Result<Instrumented, Error> {
    let scanned = scan::scan(program, bounds)?;
    let bytes = emit::emit(program, &scanned)?;
    wasmparser::Validator::new_with_features(bounds::FEATURES)
        .validate_all(&bytes)
        .map_err(|e| Error::new(ErrorKind::Host, "the instrumented module is not valid").with_source(e))?;
    Ok(Instrumented {
        digest: Digest::of(&bytes),
        program: Digest::of(program),
        bytes,
        imports: scanned.imports,
        functions: scanned.functions,
        exports_memory: scanned.exports_memory,
        has_start: scanned.start.is_some(),
        memory_pages: scanned.memory.map_or(0, |m| m.initial),
        table_elements: scanned.tables.iter().map(|t| t.initial).sum(),
        start_gas: scanned.start_gas,
    })
}

/// An error about the program.
fn bad(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadProgram, what)
}

/// An error about the program that the parser found.
fn malformed(e: wasmparser::BinaryReaderError) -> Error {
    // The parser's text may have several lines.
    let why: Vec<&str> = e.message().split_whitespace().collect();
    bad(format!("no WebAssembly module with the admitted features: {} at byte {}", why.join(" "), e.offset()))
}

#[cfg(test)]
mod tests;
