//! Functions that the pass adds: for what depends on operands and is too long to repeat at each place.

use wasm_encoder::{BlockType, Function, InstructionSink, ValType};
use wasmparser::TableType;

use super::{Reason, Reserved, cost, scan::Scanned};

/// A function that the pass adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Helper {
    /// `(n) -> n`: pays for `n` bytes.
    PayBytes,
    /// `(n) -> n`: pays for `n` elements.
    PayElements,
    /// `(n) -> i32`: `memory.grow` inside the limit.
    GrowMemory,
    /// `(reference, n) -> i32`: `table.grow` of that table inside the limit.
    GrowTable(u32),
}

impl Helper {
    /// Parameters and results.
    pub(super) fn signature(self, scanned: &Scanned<'_>) -> Option<(Vec<ValType>, Vec<ValType>)> {
        let mut params = vec![ValType::I32];
        if let Self::GrowTable(index) = self {
            let table = scanned.tables.get(index as usize)?;
            params.insert(0, ValType::Ref(table.element_type.try_into().ok()?));
        }
        Some((params, vec![ValType::I32]))
    }

    /// The body. `global` is the index of the first injected global.
    pub(super) fn body(self, scanned: &Scanned<'_>, global: u32) -> Function {
        match self {
            Self::PayBytes => pay_for_operand(global, |sink| {
                let round_up = cost::BYTES_PER_GAS.cast_signed() - 1;
                sink.i64_const(round_up).i64_add();
                sink.i64_const(cost::BYTES_PER_GAS.cast_signed()).i64_div_u();
            }),
            Self::PayElements => pay_for_operand(global, |sink| {
                sink.i64_const(cost::ELEMENT.cast_signed()).i64_mul();
            }),
            Self::GrowMemory => grow_memory(scanned, global),
            Self::GrowTable(index) => grow_table(scanned, global, index),
        }
    }
}

/// Takes the i64 on the stack from the gas; `scratch` is a local of type i64.
pub(super) fn pay(sink: &mut InstructionSink<'_>, global: u32, scratch: u32) {
    let gas = global + Reserved::Gas.index();
    // left = gas - cost, in that order of operands.
    sink.local_set(scratch).global_get(gas).local_get(scratch).i64_sub();
    settle(sink, global, scratch);
}

/// Stores the i64 on the stack as the gas that is left, and stops the module if there is none.
pub(super) fn settle(sink: &mut InstructionSink<'_>, global: u32, scratch: u32) {
    let gas = global + Reserved::Gas.index();
    sink.local_tee(scratch).global_set(gas).local_get(scratch).i64_const(0).i64_lt_s();
    stop_if(sink, global, Reason::OutOfGas);
}

/// Stops the module for `reason` if the i32 on the stack is not zero.
pub(super) fn stop_if(sink: &mut InstructionSink<'_>, global: u32, reason: Reason) {
    sink.if_(BlockType::Empty);
    sink.i32_const(reason as i32).global_set(global + Reserved::Reason.index()).unreachable();
    sink.end();
}

fn pay_for_operand(global: u32, price: impl FnOnce(&mut InstructionSink<'_>)) -> Function {
    let mut function = Function::new([(1, ValType::I64)]);
    let mut sink = function.instructions();
    sink.local_get(0).i64_extend_i32_u();
    price(&mut sink);
    pay(&mut sink, global, 1);
    sink.local_get(0).end();
    function
}

fn grow_memory(scanned: &Scanned<'_>, global: u32) -> Function {
    let most = scanned.memory.and_then(|m| m.maximum).unwrap_or(65_536);
    let (by, wanted, answer) = (0, 1, 2);
    let mut function = Function::new([(1, ValType::I64), (1, ValType::I32)]);
    let mut sink = function.instructions();
    sink.memory_size(0).i64_extend_i32_u().local_get(by).i64_extend_i32_u().i64_add().local_set(wanted);
    refuse_over(&mut sink, wanted, global + Reserved::MemoryLimit.index(), most);
    sink.local_get(by).i64_extend_i32_u().i64_const(cost::PAGE.cast_signed()).i64_mul();
    pay(&mut sink, global, wanted);
    sink.local_get(by).memory_grow(0).local_tee(answer).i32_const(-1).i32_eq();
    stop_if(&mut sink, global, Reason::Host);
    sink.local_get(answer).end();
    function
}

fn grow_table(scanned: &Scanned<'_>, global: u32, table: u32) -> Function {
    let most = scanned.tables.get(table as usize).and_then(|t: &TableType| t.maximum);
    let most = most.unwrap_or(u64::from(u32::MAX));
    let (value, by, wanted, answer) = (0, 1, 2, 3);
    let mut function = Function::new([(1, ValType::I64), (1, ValType::I32)]);
    let mut sink = function.instructions();
    sink.local_get(by).i64_extend_i32_u().local_set(wanted);
    for each in (0..).take(scanned.tables.len()) {
        sink.local_get(wanted).table_size(each).i64_extend_i32_u().i64_add().local_set(wanted);
    }
    refuse_over(&mut sink, wanted, global + Reserved::TableLimit.index(), u64::MAX >> 1);
    sink.table_size(table).i64_extend_i32_u().local_get(by).i64_extend_i32_u().i64_add().local_set(wanted);
    sink.local_get(wanted).i64_const(most.cast_signed()).i64_gt_u();
    sink.if_(BlockType::Empty).i32_const(-1).return_().end();
    sink.local_get(by).i64_extend_i32_u().i64_const(cost::ELEMENT.cast_signed()).i64_mul();
    pay(&mut sink, global, wanted);
    sink.local_get(value).local_get(by).table_grow(table).local_tee(answer).i32_const(-1).i32_eq();
    stop_if(&mut sink, global, Reason::Host);
    sink.local_get(answer).end();
    function
}

/// Returns −1 if the local `wanted` is over the i32 global `limit` or over `most`.
fn refuse_over(sink: &mut InstructionSink<'_>, wanted: u32, limit: u32, most: u64) {
    sink.local_get(wanted).global_get(limit).i64_extend_i32_u().i64_gt_u();
    sink.local_get(wanted).i64_const(most.cast_signed()).i64_gt_u();
    sink.i32_or().if_(BlockType::Empty).i32_const(-1).return_().end();
}
