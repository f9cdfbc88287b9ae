//! The kit that every engine is held against.
//!
//! [`PROPERTIES`] are named functions, one property each; [`run_all`] runs them and names those that an engine
//! violates; [`engine_conformance!`](crate::engine_conformance) makes a `#[test]` of each. [`compare`] runs generated
//! programs on engines side by side and finds what they disagree on; [`agree`] runs many, on several threads, and
//! compares roots. [`native`] is for engines that compile: stack, leaks, threads. [`second`] is an engine to compare with, [`wild`] makes modules that mean harm, and
//! [`broken`] holds engines that the kit must find out: whoever changes the kit can see that it still does.

mod abi;
pub mod agree;
pub mod broken;
pub mod compare;
mod events;
mod exact;
mod generate;
mod hostile;
mod limits;
pub mod native;
mod program;
mod rig;
pub mod second;
mod sql;
mod system;
pub mod wild;

use std::sync::Arc;

pub use rig::MemoryState;

use crate::Engine;

/// What a property says of an engine: nothing, or what is wrong with it.
pub type Checked = Result<(), String>;

/// A property of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Checks it.
    pub check: fn(&Arc<dyn Engine>) -> Checked,
}

macro_rules! properties {
    ($($path:ident :: $name:ident),+ $(,)?) => {
        /// All properties.
        pub const PROPERTIES: &[Property] = &[$(Property { name: stringify!($name), check: $path::$name }),+];

        $(
            #[doc = concat!("Property `", stringify!($name), "`.")]
            ///
            /// # Errors
            /// What the engine does instead.
            pub fn $name(engine: &Arc<dyn Engine>) -> Checked {
                $path::$name(engine)
            }
        )+

        /// Makes a `#[test]` of each property, for the engine that an expression builds.
        ///
        /// ```ignore
        /// w3bstream_engine::engine_conformance!(|| std::sync::Arc::new(MyEngine::new()));
        /// ```
        #[macro_export]
        macro_rules! engine_conformance {
            ($build:expr) => {
                $(
                    #[test]
                    fn $name() {
                        let engine: std::sync::Arc<dyn $crate::Engine> = ($build)();
                        if let Err(why) = $crate::conformance::$name(&engine) {
                            panic!("{why}");
                        }
                    }
                )+
            };
        }
    };
}

properties! {
    abi::event_data_reaches_the_guest,
    abi::resources_can_be_set,
    abi::key_value_reads_its_own_writes,
    abi::settings_are_found,
    abi::logs_keep_level_and_text,
    abi::mqtt_messages_become_outputs,
    abi::the_source_is_the_hosts_word,
    abi::settlements_become_outputs,
    abi::contracts_answer_by_what_was_agreed_on,
    abi::transactions_become_outputs_with_ids,
    abi::metrics_must_be_objects,
    abi::assemblyscript_functions_answer,
    abi::wasi_denies_all_but_output,
    abi::wasi_links_every_function,
    sql::statements_answer_in_three_shapes,
    sql::statements_that_fail_have_codes,
    sql::statements_are_paid_and_limited,
    events::events_become_outputs_within_what_a_message_may_cause,
    events::a_call_answers_once,
    system::the_system_api_answers,
    system::the_system_api_sends_transactions,
    system::old_forms_answer,
    hostile::pointers_outside_memory_get_codes,
    hostile::out_pointers_outside_memory_get_code_5,
    hostile::malloc_stands_in_for_alloc,
    hostile::lying_alloc_gets_code_5,
    hostile::trapping_alloc_ends_the_call,
    hostile::alloc_that_asks_for_data_gets_code_5,
    hostile::traps_are_outcomes,
    hostile::trap_drops_writes_and_outputs_but_not_logs,
    limits::endless_loop_runs_out_of_gas,
    limits::endless_recursion_overflows_the_counted_stack,
    limits::memory_grows_to_its_limit,
    limits::tables_grow_to_their_limit,
    limits::initial_sizes_over_the_limit_do_not_start,
    limits::host_calls_are_limited,
    limits::outputs_are_limited,
    limits::key_value_bytes_are_limited,
    limits::logs_are_cut,
    limits::bulk_operations_are_paid_by_length,
    limits::host_functions_are_paid_by_length,
    limits::excesses_leave_the_next_calls_alone,
    program::bad_programs_are_named,
    program::handlers_are_those_of_the_right_type,
    program::what_a_program_uses_is_what_it_imports,
    program::start_and_initialize_run_first,
    program::digests_are_of_program_and_instrumented_module,
    program::wasi_programs_run_or_are_unsupported,
    exact::gas_is_exact,
    exact::floats_are_exact,
    exact::nans_are_canonical,
    exact::outputs_keep_their_order,
    exact::multiplications_cost_one,
    exact::globals_and_memory_do_not_survive,
    exact::state_does_not_leak_between_calls,
    exact::calls_are_repeatable,
    exact::unreadable_state_is_no_outcome,
}

/// Runs all properties.
///
/// # Errors
/// Each violated property with what was found.
pub fn run_all(engine: &Arc<dyn Engine>) -> Result<(), Vec<String>> {
    let check = |p: &Property| (p.check)(engine).err().map(|why| format!("{}: {why}", p.name));
    let violated: Vec<String> = PROPERTIES.iter().filter_map(check).collect();
    if violated.is_empty() { Ok(()) } else { Err(violated) }
}
