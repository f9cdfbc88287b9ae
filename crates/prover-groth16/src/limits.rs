//! What wasmer allocates for a witness program: no more than is allowed.

use std::ptr::NonNull;

use wasmer::sys::vm::{
    MemoryError, MemoryStyle, TableStyle, VMConfig, VMMemory, VMMemoryDefinition, VMTable, VMTableDefinition,
};
use wasmer::sys::{BaseTunables, Tunables};
use wasmer::{MemoryType, Pages, TableType};

/// The most elements of a table: circom makes one for each template and function.
const MAX_TABLE: u32 = 1 << 20;

/// wasmer's defaults with a limit for each memory and table.
pub(crate) struct Limited {
    base: BaseTunables,
    pages: Pages,
}

impl Limited {
    /// With at most `bytes` for a memory, rounded down to pages of 64 KiB.
    pub(crate) fn new(bytes: u64) -> Self {
        let pages = u32::try_from(bytes >> 16).unwrap_or(u32::MAX).min(1 << 16);
        Self { base: BaseTunables::new(), pages: Pages(pages) }
    }

    fn memory(&self, ty: &MemoryType) -> MemoryType {
        MemoryType { maximum: Some(ty.maximum.unwrap_or(self.pages).min(self.pages)), ..*ty }
    }

    fn allowed_memory(&self, ty: &MemoryType) -> Result<MemoryType, MemoryError> {
        if ty.minimum > self.pages || ty.shared {
            let why =
                format!("the program wants {} pages of memory; it may have {}", ty.minimum.0, self.pages.0);
            return Err(MemoryError::Generic(why));
        }
        Ok(self.memory(ty))
    }

    fn allowed_table(ty: &TableType) -> Result<TableType, String> {
        if ty.minimum > MAX_TABLE {
            return Err(format!(
                "the program wants a table of {}; it may have one of {MAX_TABLE}",
                ty.minimum
            ));
        }
        Ok(TableType { maximum: Some(ty.maximum.unwrap_or(MAX_TABLE).min(MAX_TABLE)), ..*ty })
    }
}

#[allow(
    unsafe_code,
    reason = "two methods of the trait are unsafe; they are handed on to wasmer's own with a smaller maximum"
)]
impl Tunables for Limited {
    fn memory_style(&self, memory: &MemoryType) -> MemoryStyle {
        self.base.memory_style(&self.memory(memory))
    }

    fn table_style(&self, table: &TableType) -> TableStyle {
        self.base.table_style(table)
    }

    fn create_host_memory(&self, ty: &MemoryType, style: &MemoryStyle) -> Result<VMMemory, MemoryError> {
        self.base.create_host_memory(&self.allowed_memory(ty)?, style)
    }

    unsafe fn create_vm_memory(
        &self,
        ty: &MemoryType,
        style: &MemoryStyle,
        place: NonNull<VMMemoryDefinition>,
    ) -> Result<VMMemory, MemoryError> {
        let ty = self.allowed_memory(ty)?;
        // SAFETY: our caller's promise about `place` is the one that is asked of us.
        unsafe { self.base.create_vm_memory(&ty, style, place) }
    }

    fn create_host_table(&self, ty: &TableType, style: &TableStyle) -> Result<VMTable, String> {
        self.base.create_host_table(&Self::allowed_table(ty)?, style)
    }

    unsafe fn create_vm_table(
        &self,
        ty: &TableType,
        style: &TableStyle,
        place: NonNull<VMTableDefinition>,
    ) -> Result<VMTable, String> {
        let ty = Self::allowed_table(ty)?;
        // SAFETY: our caller's promise about `place` is the one that is asked of us.
        unsafe { self.base.create_vm_table(&ty, style, place) }
    }

    fn vmconfig(&self) -> &VMConfig {
        self.base.vmconfig()
    }
}
