//! What code costs, in gas. Part of what a subnet agrees on: a change is a new [`super::VERSION`].
//!
//! One unit is about one simple instruction. Blocks, loop headers, `else` and `end` are free, since they do nothing.

use wasmparser::Operator;

/// Slots that each call takes beside its locals and operands: return address, saved registers.
pub const FRAME_SLOTS: u32 = 8;
/// Gas for entering a function, beside its locals.
pub const ENTER: u64 = 2;
/// Locals per unit of gas when a function is entered: they are set to zero.
pub const LOCALS_PER_GAS: u64 = 4;
/// Bytes per unit of gas in bulk operations and segments.
pub const BYTES_PER_GAS: u64 = 8;
/// Gas for each page of 64 KiB by which memory grows.
pub const PAGE: u64 = 8_192;
/// Gas for each element that a bulk table operation or growth touches.
pub const ELEMENT: u64 = 1;

/// What one instruction costs, without what depends on its operands.
#[must_use]
pub const fn of(operator: &Operator<'_>) -> u64 {
    use Operator as O;
    match operator {
        O::Block { .. } | O::Loop { .. } | O::Else | O::End => 0,
        O::Call { .. } => 4,
        O::CallIndirect { .. } => 8,
        O::BrTable { .. } | O::TableGet { .. } | O::TableSet { .. } | O::RefFunc { .. } => 2,
        O::I32DivS
        | O::I32DivU
        | O::I32RemS
        | O::I32RemU
        | O::I64DivS
        | O::I64DivU
        | O::I64RemS
        | O::I64RemU
        | O::F32Div
        | O::F64Div
        | O::F32Sqrt
        | O::F64Sqrt => 8,
        O::F32Add
        | O::F64Add
        | O::F32Sub
        | O::F64Sub
        | O::F32Mul
        | O::F64Mul
        | O::F32Min
        | O::F64Min
        | O::F32Max
        | O::F64Max
        | O::F32Ceil
        | O::F64Ceil
        | O::F32Floor
        | O::F64Floor
        | O::F32Trunc
        | O::F64Trunc
        | O::F32Nearest
        | O::F64Nearest
        | O::F32DemoteF64
        | O::F64PromoteF32 => 3,
        O::MemoryGrow { .. }
        | O::TableGrow { .. }
        | O::MemoryFill { .. }
        | O::MemoryCopy { .. }
        | O::MemoryInit { .. }
        | O::TableFill { .. }
        | O::TableCopy { .. }
        | O::TableInit { .. } => 16,
        _ => 1,
    }
}
