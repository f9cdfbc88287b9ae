//! What wasmer allocates for an instance: as it does by default, but with a longer native stack, and with memories from
//! a pool.

use std::ptr::NonNull;
use std::sync::Arc;

use wasmer::sys::vm::{
    MemoryError, MemoryStyle, TableStyle, VMConfig, VMMemory, VMMemoryDefinition, VMTable, VMTableDefinition,
};
use wasmer::sys::{BaseTunables, Tunables};
use wasmer::{MemoryType, TableType};

use w3bstream_engine::abi::MAX_STACK_SLOTS;

use crate::memory::{Pool, Pooled};

/// Bytes of the stack that guests run on. A slot of the injected count is 8 bytes; compiled frames also hold
/// saved registers, spilled temporaries and padding. Pages are only backed once they are touched.
pub const NATIVE_STACK_BYTES: usize = 16 * 8 * MAX_STACK_SLOTS as usize;

/// wasmer's defaults with [`NATIVE_STACK_BYTES`] and a pool of memories.
pub(crate) struct Pooling {
    base: BaseTunables,
    config: VMConfig,
    pool: Arc<Pool>,
}

impl Pooling {
    /// Takes memories from `pool`.
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        let config = VMConfig { wasm_stack_size: Some(NATIVE_STACK_BYTES) };
        Self { base: BaseTunables::new(), config, pool }
    }
}

#[allow(
    unsafe_code,
    reason = "two methods of the trait are unsafe; they are handed on to wasmer's own as they are"
)]
impl Tunables for Pooling {
    fn memory_style(&self, memory: &MemoryType) -> MemoryStyle {
        self.base.memory_style(memory)
    }

    fn table_style(&self, table: &TableType) -> TableStyle {
        self.base.table_style(table)
    }

    fn create_host_memory(&self, ty: &MemoryType, style: &MemoryStyle) -> Result<VMMemory, MemoryError> {
        self.base.create_host_memory(ty, style)
    }

    unsafe fn create_vm_memory(
        &self,
        ty: &MemoryType,
        style: &MemoryStyle,
        place: NonNull<VMMemoryDefinition>,
    ) -> Result<VMMemory, MemoryError> {
        if cfg!(not(target_os = "linux")) || ty.shared || !matches!(style, MemoryStyle::Static) {
            // Elsewhere the system empties memory in other ways.
            // SAFETY: our caller's promise about `place` is the one that is asked of us.
            return unsafe { self.base.create_vm_memory(ty, style, place) };
        }
        // SAFETY: as above.
        let memory = unsafe { Pooled::new(&self.pool, ty, place) }?;
        Ok(VMMemory(Box::new(memory)))
    }

    fn create_host_table(&self, ty: &TableType, style: &TableStyle) -> Result<VMTable, String> {
        self.base.create_host_table(ty, style)
    }

    unsafe fn create_vm_table(
        &self,
        ty: &TableType,
        style: &TableStyle,
        place: NonNull<VMTableDefinition>,
    ) -> Result<VMTable, String> {
        // SAFETY: our caller's promise about `place` is the one that is asked of us.
        unsafe { self.base.create_vm_table(ty, style, place) }
    }

    fn vmconfig(&self) -> &VMConfig {
        &self.config
    }
}
