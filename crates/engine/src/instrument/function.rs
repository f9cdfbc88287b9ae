//! Rewriting of one function's body.

use std::collections::BTreeMap;

use wasm_encoder::{BlockType, Function, Ieee32, Ieee64, InstructionSink, ValType};
use wasmparser::{FuncType, Operator, OperatorsReader};

use super::{
    Reason, Reserved, bad, cost,
    helpers::{Helper, settle, stop_if},
    malformed,
    scan::{Body, Scanned},
};
use crate::Error;

/// Rewrites the bodies of a program, one after the other, and collects what they need beside.
pub(super) struct Rewriter<'p, 'a> {
    program: &'a [u8],
    scanned: &'p Scanned<'a>,
    /// Index of the first injected global.
    pub(super) global: u32,
    /// Helpers in the order of their first use; the first has the index after the program's last function.
    pub(super) helpers: Vec<Helper>,
    /// Types beside the program's own.
    pub(super) types: Vec<NewType>,
    /// Their places in `types`.
    places: BTreeMap<NewType, usize>,
}

/// Parameters and results of a type that the program does not have.
type NewType = (Vec<ValType>, Vec<ValType>);

/// Locals that the pass adds to a function.
#[derive(Clone, Copy)]
struct Scratch {
    i64: u32,
    f32: u32,
    f64: u32,
}

impl<'p, 'a> Rewriter<'p, 'a> {
    pub(super) fn new(program: &'a [u8], scanned: &'p Scanned<'a>) -> Self {
        let (helpers, types, places) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { program, scanned, global: scanned.globals, helpers, types, places }
    }

    /// Rewrites the body of defined function `index`.
    pub(super) fn rewrite(&mut self, index: usize, body: &Body<'a>) -> Result<Function, Error> {
        let ty = self.scanned.defined.get(index).and_then(|t| self.scanned.types.get(*t as usize));
        let ty = ty.ok_or_else(|| bad(format!("body {index} belongs to no function")))?;
        let stretches = stretches(body)?;
        let frame = i32::try_from(body.locals + body.operands + cost::FRAME_SLOTS)
            .map_err(|_| bad(format!("body {index} needs too large a frame")))?;
        let (mut function, scratch) = new_function(body)?;
        let wrapper = self.block_type(ty)?;
        self.enter(&mut function.instructions(), frame);
        function.instructions().block(wrapper);

        let mut live = Live::new(body)?;
        let mut stretches = stretches.into_iter().peekable();
        let mut item = live.next()?;
        let mut at = 0;
        while let Some(current) = item {
            if let Some(stretch) = stretches.next_if(|s| s.at == at)
                && stretch.cost > 0
            {
                self.charge(&mut function.instructions(), stretch.cost, scratch.i64);
            }
            item = live.next()?;
            self.copy(&mut function, &current)?;
            if let Some(kind) = opens_nan(&current.operator)
                && !item.as_ref().is_some_and(|next| hides_nan(&next.operator, kind))
            {
                canonicalise(&mut function.instructions(), kind, scratch);
            }
            at += 1;
        }
        // The body's own `end` has closed the wrapper.
        self.leave(&mut function.instructions(), frame);
        Ok(function)
    }

    /// Copies one operator, or puts something else in its place.
    fn copy(&mut self, function: &mut Function, item: &Item<'a>) -> Result<(), Error> {
        match item.operator {
            Operator::Return => {
                // Out of the wrapper, so that the slots are given back.
                function.instructions().br(item.depth - 1);
                return Ok(());
            }
            Operator::MemoryGrow { .. } => {
                let helper = self.helper(Helper::GrowMemory);
                function.instructions().call(helper);
                return Ok(());
            }
            Operator::TableGrow { table } => {
                let helper = self.helper(Helper::GrowTable(table));
                function.instructions().call(helper);
                return Ok(());
            }
            Operator::MemoryFill { .. } | Operator::MemoryCopy { .. } | Operator::MemoryInit { .. } => {
                let helper = self.helper(Helper::PayBytes);
                function.instructions().call(helper);
            }
            Operator::TableFill { .. } | Operator::TableCopy { .. } | Operator::TableInit { .. } => {
                let helper = self.helper(Helper::PayElements);
                function.instructions().call(helper);
            }
            _ => {}
        }
        // No index changes, so the bytes are the same.
        let bytes = self.program.get(item.range.clone());
        function.raw(bytes.ok_or_else(|| bad("an instruction ends behind the module"))?.iter().copied());
        Ok(())
    }

    /// Index of a helper, which is added if it is new.
    fn helper(&mut self, helper: Helper) -> u32 {
        let place = self.helpers.iter().position(|h| *h == helper).unwrap_or_else(|| {
            self.helpers.push(helper);
            self.helpers.len() - 1
        });
        // Bounds keep all of these far from the end of u32.
        u32::try_from(self.scanned.imports.len() + self.scanned.defined.len() + place).unwrap_or(u32::MAX)
    }

    /// Index of a type, which is added if it is new.
    pub(super) fn type_index(&mut self, ty: NewType) -> u32 {
        let place = *self.places.entry(ty).or_insert_with_key(|ty| {
            self.types.push(ty.clone());
            self.types.len() - 1
        });
        u32::try_from(self.scanned.types.len() + place).unwrap_or(u32::MAX)
    }

    fn block_type(&mut self, ty: &FuncType) -> Result<BlockType, Error> {
        let results = ty.results().iter().map(|t| encode_type(*t)).collect::<Result<Vec<_>, _>>()?;
        Ok(match results.as_slice() {
            [] => BlockType::Empty,
            [one] => BlockType::Result(*one),
            _ => BlockType::FunctionType(self.type_index((vec![], results))),
        })
    }

    fn enter(&self, sink: &mut InstructionSink<'_>, frame: i32) {
        let stack = self.global + Reserved::Stack.index();
        sink.global_get(stack).i32_const(frame).i32_sub().global_set(stack);
        sink.global_get(stack).i32_const(0).i32_lt_s();
        stop_if(sink, self.global, Reason::StackOverflow);
    }

    fn leave(&self, sink: &mut InstructionSink<'_>, frame: i32) {
        let stack = self.global + Reserved::Stack.index();
        sink.global_get(stack).i32_const(frame).i32_add().global_set(stack).end();
    }

    fn charge(&self, sink: &mut InstructionSink<'_>, cost: u64, scratch: u32) {
        sink.global_get(self.global + Reserved::Gas.index()).i64_const(cost.cast_signed()).i64_sub();
        settle(sink, self.global, scratch);
    }
}

/// A function with the program's locals and those that the pass adds.
fn new_function(body: &Body<'_>) -> Result<(Function, Scratch), Error> {
    let mut locals = Vec::new();
    for group in body.body.get_locals_reader().map_err(malformed)? {
        let (count, ty) = group.map_err(malformed)?;
        locals.push((count, encode_type(ty)?));
    }
    locals.push((1, ValType::I64));
    let (mut f32, mut f64) = (0, 0);
    let (mut next, mut live) = (body.locals + 1, Live::new(body)?);
    while let Some(item) = live.next()? {
        let (place, ty) = match opens_nan(&item.operator) {
            Some(Float::F32) => (&mut f32, ValType::F32),
            Some(Float::F64) => (&mut f64, ValType::F64),
            None => continue,
        };
        if *place == 0 {
            *place = next;
            next += 1;
            locals.push((1, ty));
        }
    }
    Ok((Function::new(locals), Scratch { i64: body.locals, f32, f64 }))
}

pub(super) fn encode_type(ty: wasmparser::ValType) -> Result<ValType, Error> {
    ty.try_into().map_err(|_| bad(format!("the type {ty} is not admitted")))
}

/// Code that runs from its first to its last instruction once it was entered (traps and calls aside).
struct Stretch {
    /// Index of its first instruction among the live ones.
    at: usize,
    /// Gas for all of it.
    cost: u64,
}

fn stretches(body: &Body<'_>) -> Result<Vec<Stretch>, Error> {
    let mut live = Live::new(body)?;
    let enter = cost::ENTER + u64::from(body.locals) / cost::LOCALS_PER_GAS;
    let mut all = vec![];
    let mut current = Stretch { at: 0, cost: enter };
    let mut at = 0;
    while let Some(item) = live.next()? {
        current.cost += cost::of(&item.operator);
        at += 1;
        if item.ends_stretch {
            all.push(std::mem::replace(&mut current, Stretch { at, cost: 0 }));
        }
    }
    all.push(current);
    Ok(all)
}

/// An instruction that can be reached.
struct Item<'a> {
    operator: Operator<'a>,
    /// Its bytes in the program.
    range: std::ops::Range<usize>,
    /// How many labels are open, the function's own included.
    depth: u32,
    /// Whether control can leave behind it, or enter.
    ends_stretch: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Opener {
    /// The function, a block or an `if`: its label is at its end.
    Block,
    /// Its label is at its beginning.
    Loop,
}

/// Yields the instructions of a body and leaves those away that follow a jump inside their block.
struct Live<'a> {
    reader: OperatorsReader<'a>,
    /// Open blocks, and whether anything jumps to their end.
    labels: Vec<(Opener, bool)>,
    /// Blocks that were opened since control was lost, if it is.
    dead: Option<u32>,
}

impl<'a> Live<'a> {
    fn new(body: &Body<'a>) -> Result<Self, Error> {
        let reader = body.body.get_operators_reader().map_err(malformed)?;
        Ok(Self { reader, labels: vec![(Opener::Block, false)], dead: None })
    }

    fn next(&mut self) -> Result<Option<Item<'a>>, Error> {
        while !self.reader.eof() {
            let (operator, start) = self.reader.read_with_offset().map_err(malformed)?;
            let Some(was_dead) = self.revive(&operator) else { continue };
            let depth = u32::try_from(self.labels.len()).unwrap_or(u32::MAX);
            let ends_stretch = self.step(&operator, was_dead);
            let range = start..self.reader.original_position();
            return Ok(Some(Item { operator, range, depth, ends_stretch }));
        }
        Ok(None)
    }

    /// `None` if the operator cannot be reached; else whether control was lost right before it.
    fn revive(&mut self, operator: &Operator<'_>) -> Option<bool> {
        let Some(opened) = self.dead else { return Some(false) };
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                self.dead = Some(opened + 1);
            }
            Operator::Else | Operator::End if opened == 0 => {
                self.dead = None;
                return Some(true);
            }
            Operator::End => self.dead = Some(opened - 1),
            _ => {}
        }
        None
    }

    fn step(&mut self, operator: &Operator<'_>, was_dead: bool) -> bool {
        match operator {
            Operator::Block { .. } => {
                self.labels.push((Opener::Block, false));
                false
            }
            Operator::Loop { .. } => {
                self.labels.push((Opener::Loop, false));
                true
            }
            Operator::If { .. } => {
                // Its end is where the two ways meet.
                self.labels.push((Opener::Block, true));
                true
            }
            Operator::Else => true,
            Operator::End => {
                let joined = matches!(self.labels.pop(), Some((Opener::Block, true)));
                joined || was_dead
            }
            Operator::BrIf { relative_depth } => {
                self.target(*relative_depth);
                true
            }
            Operator::Br { relative_depth } => {
                self.target(*relative_depth);
                self.lose()
            }
            Operator::BrTable { targets } => {
                self.target(targets.default());
                targets.targets().flatten().for_each(|depth| self.target(depth));
                self.lose()
            }
            Operator::Return | Operator::Unreachable => self.lose(),
            _ => false,
        }
    }

    const fn lose(&mut self) -> bool {
        self.dead = Some(0);
        true
    }

    fn target(&mut self, depth: u32) {
        let place = self.labels.len().checked_sub(1 + depth as usize);
        if let Some(label) = place.and_then(|p| self.labels.get_mut(p)) {
            label.1 = true;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Float {
    F32,
    F64,
}

/// The type of arithmetic that takes floats and gives one of the same type, whose NaN may have any bits.
const fn arithmetic(operator: &Operator<'_>) -> Option<Float> {
    use Operator as O;
    match operator {
        O::F32Add
        | O::F32Sub
        | O::F32Mul
        | O::F32Div
        | O::F32Min
        | O::F32Max
        | O::F32Sqrt
        | O::F32Ceil
        | O::F32Floor
        | O::F32Trunc
        | O::F32Nearest => Some(Float::F32),
        O::F64Add
        | O::F64Sub
        | O::F64Mul
        | O::F64Div
        | O::F64Min
        | O::F64Max
        | O::F64Sqrt
        | O::F64Ceil
        | O::F64Floor
        | O::F64Trunc
        | O::F64Nearest => Some(Float::F64),
        _ => None,
    }
}

/// The type of the operator's result if the specification leaves the bits of a NaN in it open.
const fn opens_nan(operator: &Operator<'_>) -> Option<Float> {
    match operator {
        Operator::F32DemoteF64 => Some(Float::F32),
        Operator::F64PromoteF32 => Some(Float::F64),
        _ => arithmetic(operator),
    }
}

/// The type of the float on the top of the stack that a comparison or a conversion consumes. Conversions to integers
/// trap or saturate.
const fn reads_float(operator: &Operator<'_>) -> Option<Float> {
    use Operator as O;
    match operator {
        O::F64PromoteF32
        | O::F32Eq
        | O::F32Ne
        | O::F32Lt
        | O::F32Gt
        | O::F32Le
        | O::F32Ge
        | O::I32TruncF32S
        | O::I32TruncF32U
        | O::I64TruncF32S
        | O::I64TruncF32U
        | O::I32TruncSatF32S
        | O::I32TruncSatF32U
        | O::I64TruncSatF32S
        | O::I64TruncSatF32U => Some(Float::F32),
        O::F32DemoteF64
        | O::F64Eq
        | O::F64Ne
        | O::F64Lt
        | O::F64Gt
        | O::F64Le
        | O::F64Ge
        | O::I32TruncF64S
        | O::I32TruncF64U
        | O::I64TruncF64S
        | O::I64TruncF64U
        | O::I32TruncSatF64S
        | O::I32TruncSatF64U
        | O::I64TruncSatF64S
        | O::I64TruncSatF64U => Some(Float::F64),
        _ => None,
    }
}

/// Whether the operator consumes a float of that type from the top of the stack and cannot tell NaNs apart:
/// arithmetic, whose own NaN is replaced; comparisons; conversions.
fn hides_nan(operator: &Operator<'_>, float: Float) -> bool {
    [arithmetic(operator), reads_float(operator)].contains(&Some(float))
}

/// Replaces a NaN on the stack by the canonical one, without a branch.
fn canonicalise(sink: &mut InstructionSink<'_>, float: Float, scratch: Scratch) {
    match float {
        Float::F32 => {
            sink.local_tee(scratch.f32).f32_const(Ieee32::new(0x7fc0_0000));
            sink.local_get(scratch.f32).local_get(scratch.f32).f32_eq().select();
        }
        Float::F64 => {
            sink.local_tee(scratch.f64).f64_const(Ieee64::new(0x7ff8_0000_0000_0000));
            sink.local_get(scratch.f64).local_get(scratch.f64).f64_eq().select();
        }
    }
}
