//! What a module may use, and how much of it.

use wasmparser::WasmFeatures;

/// The admitted features. `GC_TYPES` is no feature of programs: without it the parser refuses `funcref`.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::FLOATS
    .union(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::MUTABLE_GLOBAL)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::REFERENCE_TYPES);

/// How large a program may be. They keep compilers, which are not linear in everything, from being the weapon.
///
/// The default is what version 1 of the pass admits; other values are for tests and for nodes that serve one
/// trusted project, since members with other bounds would not agree on what is a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the whole module.
    pub module_bytes: usize,
    /// Types.
    pub types: usize,
    /// Imported functions.
    pub imports: usize,
    /// Functions with a body.
    pub functions: usize,
    /// Bytes of one function's body.
    pub function_bytes: usize,
    /// Locals of one function, parameters included.
    pub locals: u32,
    /// Operands on the stack of one function.
    pub operands: u32,
    /// Blocks inside each other.
    pub nesting: u32,
    /// Parameters or results of one function type.
    pub arity: usize,
    /// Targets of one `br_table`.
    pub branch_targets: u32,
    /// Globals.
    pub globals: usize,
    /// Exports.
    pub exports: usize,
    /// Bytes of an exported name.
    pub name_bytes: usize,
    /// Tables.
    pub tables: usize,
    /// Elements of all tables together, when the module is started.
    pub table_elements: u64,
    /// Elements of all element segments together.
    pub segment_elements: u64,
    /// Data and element segments.
    pub segments: usize,
    /// Pages of 64 KiB of the memory, when the module is started.
    pub memory_pages: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            module_bytes: 16 << 20,
            types: 10_000,
            imports: 1_000,
            functions: 50_000,
            function_bytes: 1 << 20,
            locals: 4_096,
            operands: 4_096,
            nesting: 4_096,
            arity: 128,
            branch_targets: 16_384,
            globals: 10_000,
            exports: 10_000,
            name_bytes: 1_024,
            tables: 16,
            table_elements: 1_000_000,
            segment_elements: 1_000_000,
            segments: 50_000,
            memory_pages: 16_384,
        }
    }
}
