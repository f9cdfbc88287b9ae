//! Writing the instrumented module.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ConstExpr, ExportKind, ExportSection, FunctionSection, GlobalSection, GlobalType, Module,
    RawSection, SectionId, TypeSection, ValType,
};

use super::{
    RESERVED_PREFIX, Reserved, START, bad, function::Rewriter, function::encode_type, scan::Scanned,
};
use crate::Error;

/// Writes the module: the program's sections in their order, each with what is added to it.
pub(super) fn emit(program: &[u8], scanned: &Scanned<'_>) -> Result<Vec<u8>, Error> {
    let mut rewriter = Rewriter::new(program, scanned);
    let mut code = CodeSection::new();
    for (index, body) in scanned.bodies.iter().enumerate() {
        code.function(&rewriter.rewrite(index, body)?);
    }
    let mut functions = FunctionSection::new();
    scanned.defined.iter().for_each(|ty| {
        functions.function(*ty);
    });
    for helper in rewriter.helpers.clone() {
        let ty = helper.signature(scanned).ok_or_else(|| bad("a table has an unknown type"))?;
        functions.function(rewriter.type_index(ty));
        code.function(&helper.body(scanned, rewriter.global));
    }

    let mut module = Module::new();
    module.section(&types(scanned, &rewriter)?);
    copy(&mut module, scanned, SectionId::Import);
    if !functions.is_empty() {
        module.section(&functions);
    }
    copy(&mut module, scanned, SectionId::Table);
    copy(&mut module, scanned, SectionId::Memory);
    module.section(&globals(scanned)?);
    module.section(&exports(scanned, rewriter.global));
    copy(&mut module, scanned, SectionId::Element);
    copy(&mut module, scanned, SectionId::DataCount);
    if !code.is_empty() {
        module.section(&code);
    }
    copy(&mut module, scanned, SectionId::Data);
    Ok(module.finish())
}

fn copy(module: &mut Module, scanned: &Scanned<'_>, id: SectionId) {
    if let Some((id, data)) = scanned.copied.iter().find(|(i, _)| *i == id as u8) {
        module.section(&RawSection { id: *id, data });
    }
}

fn types(scanned: &Scanned<'_>, rewriter: &Rewriter<'_, '_>) -> Result<TypeSection, Error> {
    let mut types = TypeSection::new();
    for ty in &scanned.types {
        let all = |list: &[wasmparser::ValType]| list.iter().map(|t| encode_type(*t)).collect();
        let (params, results): (Result<Vec<_>, _>, Result<Vec<_>, _>) = (all(ty.params()), all(ty.results()));
        types.ty().function(params?, results?);
    }
    for (params, results) in &rewriter.types {
        types.ty().function(params.iter().copied(), results.iter().copied());
    }
    Ok(types)
}

fn globals(scanned: &Scanned<'_>) -> Result<GlobalSection, Error> {
    let mut globals = GlobalSection::new();
    if let Some(section) = scanned.globals_section.clone() {
        RoundtripReencoder
            .parse_global_section(&mut globals, section)
            .map_err(|e| bad(format!("a global cannot be copied: {e}")))?;
    }
    for reserved in Reserved::ALL {
        // Zero until the host sets them: a host that forgets gets a guest that does nothing.
        let (val_type, init) = if reserved.is_i64() {
            (ValType::I64, ConstExpr::i64_const(0))
        } else {
            (ValType::I32, ConstExpr::i32_const(0))
        };
        globals.global(GlobalType { val_type, mutable: true, shared: false }, &init);
    }
    Ok(globals)
}

fn exports(scanned: &Scanned<'_>, global: u32) -> ExportSection {
    let mut exports = ExportSection::new();
    // What no host looks at is left away: each export costs time in each instance.
    for (name, index) in &scanned.callable {
        exports.export(name, ExportKind::Func, *index);
    }
    if scanned.exports_memory {
        exports.export("memory", ExportKind::Memory, 0);
    }
    for reserved in Reserved::ALL {
        debug_assert!(reserved.name().starts_with(RESERVED_PREFIX));
        exports.export(reserved.name(), ExportKind::Global, global + reserved.index());
    }
    if let Some(start) = scanned.start {
        exports.export(START, ExportKind::Func, start);
    }
    exports
}
