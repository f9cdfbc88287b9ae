//! What wasmtime is set to.

use std::time::Duration;

use w3bstream_engine::abi::{MAX_STACK_SLOTS, MAX_TABLE_ELEMENTS};
use w3bstream_engine::instrument::Bounds;
use wasmtime::{Collector, Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// Bytes of the stack that guests run on. A slot of the injected count is 8 bytes; compiled frames also hold
/// saved registers, spilled temporaries and padding. Pages are only backed once they are touched.
pub const NATIVE_STACK_BYTES: usize = 16 * 8 * MAX_STACK_SLOTS as usize;
/// Bytes of stack for host functions, below which a guest cannot come.
const HOST_STACK_BYTES: usize = 1 << 20;
/// Bytes of memory and of each table that a slot keeps, set to zero, for its next instance: page faults cost more than
/// that.
const KEPT_BYTES: usize = 64 << 10;
/// Bytes of an instance's own data: globals and function references. The room's bounds need 2 MiB.
const INSTANCE_BYTES: usize = 8 << 20;
/// Bytes that a 32-bit memory may have.
const MEMORY_BYTES: usize = 4 << 30;

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct WasmtimeConfig {
    /// How many compiled programs are kept. At least one is.
    pub cache_entries: usize,
    /// How many calls run at the same time at most; further ones wait for their turn. At least one does.
    pub instances: u32,
    /// How long a call may take: a guard for this node, far above what a call's gas buys.
    pub call_time: Duration,
}

impl Default for WasmtimeConfig {
    fn default() -> Self {
        Self { cache_entries: 64, instances: 64, call_time: Duration::from_secs(60) }
    }
}

/// wasmtime's own settings.
pub(crate) fn of(config: &WasmtimeConfig) -> Config {
    let mut own = Config::new();
    own.allocation_strategy(InstanceAllocationStrategy::Pooling(pools(config.instances.max(1))));
    own.memory_reservation(MEMORY_BYTES as u64).memory_init_cow(true);
    own.epoch_interruption(true);
    own.max_wasm_stack(NATIVE_STACK_BYTES).async_stack_size(NATIVE_STACK_BYTES + HOST_STACK_BYTES);
    // What a call has left on its stack is given back to the system.
    own.async_stack_zeroing(true);
    own.cranelift_opt_level(OptLevel::Speed);
    // Nobody reads them: a trap is a trap wherever it was.
    own.generate_address_map(false).native_unwind_info(false);
    // The pass admits less than wasmtime does; what it does not admit shall not be compiled either.
    own.wasm_simd(false).wasm_relaxed_simd(false).wasm_multi_memory(false).wasm_memory64(false);
    own.wasm_tail_call(false).wasm_extended_const(false).wasm_wide_arithmetic(false);
    own.wasm_gc(false).wasm_function_references(false).wasm_exceptions(false);
    // References to the host are all null, so there is nothing to collect.
    own.collector(Collector::Null);
    own
}

fn pools(instances: u32) -> PoolingAllocationConfig {
    let bounds = Bounds::default();
    let tables = u32::try_from(bounds.tables).unwrap_or(u32::MAX);
    let mut pools = PoolingAllocationConfig::new();
    pools.total_core_instances(instances).max_core_instance_size(INSTANCE_BYTES);
    pools.total_memories(instances).max_memory_size(MEMORY_BYTES).linear_memory_keep_resident(KEPT_BYTES);
    pools.total_tables(instances.saturating_mul(tables)).max_tables_per_module(tables);
    pools.table_elements(MAX_TABLE_ELEMENTS as usize).table_keep_resident(KEPT_BYTES);
    pools.total_stacks(instances).async_stack_keep_resident(0);
    pools.total_gc_heaps(instances);
    // Slots that are warm for other programs are used again before new ones are, so that memory stays flat.
    pools.max_unused_warm_slots(instances / 2);
    pools
}
