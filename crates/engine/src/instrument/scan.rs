//! First look at a program: is it valid, inside the bounds, and what is in it.

use wasmparser::{
    DataKind, ElementItems, ElementKind, ExternalKind, FuncToValidate, FuncType, FunctionBody, MemoryType,
    Operator, Parser, Payload, TableType, TypeRef, ValType, ValidPayload, Validator, ValidatorResources,
};

use super::{Bounds, Import, RESERVED_PREFIX, Signature, ValueType, bad, bounds::FEATURES, cost, malformed};
use crate::Error;

/// What a program contains, as far as the emitter must know it.
#[derive(Default)]
pub(super) struct Scanned<'a> {
    pub(super) types: Vec<FuncType>,
    pub(super) imports: Vec<Import>,
    /// Type index of each function with a body.
    pub(super) defined: Vec<u32>,
    pub(super) tables: Vec<TableType>,
    pub(super) memory: Option<MemoryType>,
    pub(super) globals: u32,
    pub(super) globals_section: Option<wasmparser::GlobalSectionReader<'a>>,
    /// Exports that a host may call: name and function.
    pub(super) callable: Vec<(&'a str, u32)>,
    pub(super) start: Option<u32>,
    pub(super) bodies: Vec<Body<'a>>,
    /// Sections that are copied as they are: id and bytes.
    pub(super) copied: Vec<(u8, &'a [u8])>,
    pub(super) functions: Vec<(String, Signature)>,
    pub(super) exports_memory: bool,
    pub(super) start_gas: u64,
    function_types: Vec<u32>,
    table_elements: u64,
    segments: usize,
    segment_elements: u64,
}

/// A function's body and what its validation showed.
pub(super) struct Body<'a> {
    pub(super) body: FunctionBody<'a>,
    /// Parameters and declared locals.
    pub(super) locals: u32,
    /// The deepest operand stack.
    pub(super) operands: u32,
}

/// Reads and validates the whole program.
pub(super) fn scan<'a>(program: &'a [u8], bounds: &Bounds) -> Result<Scanned<'a>, Error> {
    within("bytes", program.len(), bounds.module_bytes)?;
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    let mut validator = Validator::new_with_features(FEATURES);
    let mut allocations = wasmparser::FuncValidatorAllocations::default();
    let mut scanned = Scanned::default();
    for payload in parser.parse_all(program) {
        let payload = payload.map_err(malformed)?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(malformed)? {
            allocations = scanned.body(function, body, allocations, bounds)?;
        }
        scanned.section(program, payload, bounds)?;
    }
    Ok(scanned)
}

impl<'a> Scanned<'a> {
    fn section(&mut self, program: &'a [u8], payload: Payload<'a>, bounds: &Bounds) -> Result<(), Error> {
        if let Some((id, range)) = payload.as_section()
            && matches!(
                payload,
                Payload::ImportSection(_)
                    | Payload::TableSection(_)
                    | Payload::MemorySection(_)
                    | Payload::ElementSection(_)
                    | Payload::DataCountSection { .. }
                    | Payload::DataSection(_)
            )
        {
            let bytes = program.get(range).ok_or_else(|| bad("a section ends behind the module"))?;
            self.copied.push((id, bytes));
        }
        match payload {
            Payload::TypeSection(section) => {
                within("types", section.count() as usize, bounds.types)?;
                for ty in section.into_iter_err_on_gc_types() {
                    let ty = ty.map_err(malformed)?;
                    within("parameters of one function", ty.params().len(), bounds.arity)?;
                    within("results of one function", ty.results().len(), bounds.arity)?;
                    self.types.push(ty);
                }
            }
            Payload::ImportSection(section) => self.imports(section, bounds)?,
            Payload::FunctionSection(section) => {
                within("functions", section.count() as usize, bounds.functions)?;
                for ty in section {
                    let ty = ty.map_err(malformed)?;
                    self.defined.push(ty);
                    self.function_types.push(ty);
                }
            }
            Payload::TableSection(section) => self.tables(section, bounds)?,
            Payload::MemorySection(section) => {
                for memory in section {
                    let memory = memory.map_err(malformed)?;
                    let pages = usize::try_from(memory.initial).unwrap_or(usize::MAX);
                    within("initial pages of memory", pages, clamp(bounds.memory_pages))?;
                    self.memory = Some(memory);
                }
            }
            Payload::GlobalSection(section) => {
                within("globals", section.count() as usize, bounds.globals)?;
                self.globals = section.count();
                self.start_gas += u64::from(section.count());
                self.globals_section = Some(section);
            }
            Payload::ExportSection(section) => self.exports(section, bounds)?,
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(section) => self.elements(section, bounds)?,
            Payload::DataSection(section) => self.data(section, bounds)?,
            _ => {}
        }
        Ok(())
    }

    fn imports(
        &mut self,
        section: wasmparser::ImportSectionReader<'a>,
        bounds: &Bounds,
    ) -> Result<(), Error> {
        within("imports", section.count() as usize, bounds.imports)?;
        for import in section.into_imports() {
            let import = import.map_err(malformed)?;
            let TypeRef::Func(ty) = import.ty else {
                let what = match import.ty {
                    TypeRef::Memory(_) => "a memory (build the module so that it exports its own)",
                    TypeRef::Table(_) => "a table (build the module so that it has its own)",
                    _ => "something that is no function",
                };
                return Err(bad(format!("imports {}.{}, {what}", import.module, import.name)));
            };
            self.function_types.push(ty);
            let signature = self.signature(ty)?;
            self.imports.push(Import {
                module: import.module.to_owned(),
                name: import.name.to_owned(),
                signature,
            });
        }
        Ok(())
    }

    fn tables(&mut self, section: wasmparser::TableSectionReader<'a>, bounds: &Bounds) -> Result<(), Error> {
        within("tables", section.count() as usize, bounds.tables)?;
        for table in section {
            let table = table.map_err(malformed)?;
            self.table_elements = self.table_elements.saturating_add(table.ty.initial);
            self.tables.push(table.ty);
        }
        within("initial elements of tables", clamp(self.table_elements), clamp(bounds.table_elements))
    }

    fn exports(
        &mut self,
        section: wasmparser::ExportSectionReader<'a>,
        bounds: &Bounds,
    ) -> Result<(), Error> {
        within("exports", section.count() as usize, bounds.exports)?;
        for export in section {
            let export = export.map_err(malformed)?;
            within("bytes of an exported name", export.name.len(), bounds.name_bytes)?;
            if export.name.starts_with(RESERVED_PREFIX) {
                let name = export.name;
                return Err(bad(format!(
                    "exports `{name}`: names in {RESERVED_PREFIX}* are reserved, rename it"
                )));
            }
            match export.kind {
                ExternalKind::Func => {
                    let ty = self.function_types.get(export.index as usize).copied();
                    let signature = self.signature(ty.unwrap_or(u32::MAX))?;
                    if callable(&signature) {
                        self.callable.push((export.name, export.index));
                    }
                    self.functions.push((export.name.to_owned(), signature));
                }
                ExternalKind::Memory if export.name == "memory" => self.exports_memory = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn elements(
        &mut self,
        section: wasmparser::ElementSectionReader<'a>,
        bounds: &Bounds,
    ) -> Result<(), Error> {
        self.segments += section.count() as usize;
        within("segments", self.segments, bounds.segments)?;
        for element in section {
            let element = element.map_err(malformed)?;
            let count = u64::from(match &element.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            });
            self.segment_elements += count;
            within("elements in segments", clamp(self.segment_elements), clamp(bounds.segment_elements))?;
            if let ElementKind::Active { table_index, offset_expr } = element.kind {
                let table = self.tables.get(table_index.unwrap_or(0) as usize);
                let end = u64::from(constant(&offset_expr)?) + count;
                if table.is_none_or(|t| t.initial < end) {
                    return Err(bad("an element segment does not fit its table's initial size"));
                }
                self.start_gas += count * cost::ELEMENT;
            }
        }
        Ok(())
    }

    fn data(&mut self, section: wasmparser::DataSectionReader<'a>, bounds: &Bounds) -> Result<(), Error> {
        self.segments += section.count() as usize;
        within("segments", self.segments, bounds.segments)?;
        for data in section {
            let data = data.map_err(malformed)?;
            if let DataKind::Active { offset_expr, .. } = data.kind {
                let end = u64::from(constant(&offset_expr)?) + data.data.len() as u64;
                if self.memory.is_none_or(|m| m.initial * 65_536 < end) {
                    return Err(bad("a data segment does not fit the memory's initial size"));
                }
                self.start_gas += 1 + data.data.len() as u64 / cost::BYTES_PER_GAS;
            }
        }
        Ok(())
    }

    /// Validates a function and measures its frame.
    fn body(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: FunctionBody<'a>,
        allocations: wasmparser::FuncValidatorAllocations,
        bounds: &Bounds,
    ) -> Result<wasmparser::FuncValidatorAllocations, Error> {
        let index = function.index;
        let here = |e: Error| Error::new(e.kind(), format!("function {index}")).with_source(e);
        within("bytes of its body", body.as_bytes().len(), bounds.function_bytes).map_err(here)?;
        let mut validator = function.into_validator(allocations);
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader).map_err(malformed)?;
        let mut reader = wasmparser::OperatorsReader::new(reader);
        let (mut operands, mut nesting) = (0, 0);
        while !reader.eof() {
            let (operator, offset) = reader.read_with_offset().map_err(malformed)?;
            if let Operator::BrTable { targets } = &operator {
                within("targets of a br_table", targets.len() as usize, bounds.branch_targets as usize)
                    .map_err(here)?;
            }
            validator.op(offset, &operator).map_err(malformed)?;
            operands = operands.max(validator.operand_stack_height());
            nesting = nesting.max(validator.control_stack_height());
            within("blocks inside each other", nesting as usize, bounds.nesting as usize).map_err(here)?;
        }
        reader.finish().map_err(malformed)?;
        let locals = validator.len_locals();
        within("locals", locals as usize, bounds.locals as usize).map_err(here)?;
        within("operands", operands as usize, bounds.operands as usize).map_err(here)?;
        self.bodies.push(Body { body, locals, operands });
        Ok(validator.into_allocations())
    }

    fn signature(&self, ty: u32) -> Result<Signature, Error> {
        let ty = self.types.get(ty as usize).ok_or_else(|| bad("a function has an unknown type"))?;
        let all = |types: &[ValType]| types.iter().map(value_type).collect();
        Ok(Signature { params: all(ty.params()), results: all(ty.results()) })
    }
}

/// `fn(i32) -> i32`, a handler or `alloc`; or `fn()`, something to start with.
fn callable(signature: &Signature) -> bool {
    let list = (signature.params.as_slice(), signature.results.as_slice());
    matches!(list, ([], []) | ([ValueType::I32], [ValueType::I32]))
}

const fn value_type(ty: &ValType) -> ValueType {
    match ty {
        ValType::I32 => ValueType::I32,
        ValType::I64 => ValueType::I64,
        ValType::F32 => ValueType::F32,
        ValType::F64 => ValueType::F64,
        // V128 is not admitted.
        ValType::Ref(_) | ValType::V128 => ValueType::Reference,
    }
}

/// The offset of an active segment. Globals cannot be imported, so nothing but a constant is left.
fn constant(expression: &wasmparser::ConstExpr<'_>) -> Result<u32, Error> {
    match expression.get_operators_reader().read().map_err(malformed)? {
        Operator::I32Const { value } => Ok(value.cast_unsigned()),
        _ => Err(bad("a segment's offset is no constant")),
    }
}

fn within(what: &str, have: usize, most: usize) -> Result<(), Error> {
    if have > most {
        return Err(bad(format!("too many {what}: {have}, at most {most} are admitted")));
    }
    Ok(())
}

fn clamp(v: u64) -> usize {
    usize::try_from(v).unwrap_or(usize::MAX)
}
