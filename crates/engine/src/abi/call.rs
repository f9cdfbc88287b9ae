//! One call, from its limits to its outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::context::count_dropped;
use super::{Context, Program, Stop, scope};
use crate::instrument::{Reason, Reserved};
use crate::{Call, Cut, Error, ErrorKind, GuestError, HostState, Outcome};

/// Most stack slots that a call gets, whatever its limits say: engines provide native stack for so many.
pub const MAX_STACK_SLOTS: u64 = 256 * 1024;
/// Most elements that a call's tables get, whatever its limits say.
pub const MAX_TABLE_ELEMENTS: u64 = 10_000_000;
/// Pages of a 32-bit memory.
const MAX_PAGES: u64 = 65_536;

/// A fresh instance, as [`execute`] needs it.
pub trait Machine {
    /// Sets an injected global. i32 globals get the lower half.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    fn set(&mut self, global: Reserved, value: i64) -> Result<(), Error>;

    /// Reads an injected global.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    fn get(&mut self, global: Reserved) -> Result<i64, Error>;

    /// Calls an export without parameters and results.
    ///
    /// # Errors
    /// [`Stopped`].
    fn start(&mut self, export: &str) -> Result<(), Stopped>;

    /// Calls an export `fn(i32) -> i32`.
    ///
    /// # Errors
    /// [`Stopped`].
    fn handle(&mut self, export: &str, rid: i32) -> Result<i32, Stopped>;
}

/// Why an export did not return.
#[derive(Debug)]
pub enum Stopped {
    /// The guest trapped, whatever the reason.
    Trapped,
    /// Not the guest's doing: the native stack was used up, an export is missing, …
    Host(Error),
}

/// Runs a call: checks limits, makes the instance, starts it, calls the handler, collects the outcome.
///
/// `instantiate` makes a fresh instance of the program, without running any of it. Host functions that it
/// calls reach this call through [`super::invoke`] on this thread.
///
/// # Errors
/// Those of `instantiate` and of `state`; [`ErrorKind::Host`] if the engine fails, panics included.
pub fn execute<M: Machine>(
    program: &Program,
    call: Call<'_>,
    state: &mut dyn HostState,
    instantiate: impl FnOnce() -> Result<M, Error>,
) -> Result<Outcome, Error> {
    if let Err(refused) = admit(program, &call) {
        let gas = if refused == GuestError::OutOfGas { gas_limit(&call) } else { 0 };
        return Ok(failed(refused, gas));
    }
    let mut context = Context::new(call, state);
    let run = || -> Result<(Result<i32, Stopped>, Left), Error> {
        let mut machine = instantiate()?;
        let result = drive(&mut machine, program, &call)?;
        let left = Left {
            gas: machine.get(Reserved::Gas)?,
            reason: Reason::from_i64(machine.get(Reserved::Reason)?),
        };
        Ok((result, left))
    };
    let ran = scope::enter(&mut context, || catch_unwind(AssertUnwindSafe(run)));
    let Ok(ran) = ran else {
        return Err(Error::new(
            ErrorKind::Host,
            format!("the engine panicked in program {}", program.program()),
        ));
    };
    let (result, left) = ran?;
    conclude(context, result, &left)
}

/// What the injected globals said at the end.
struct Left {
    gas: i64,
    reason: Reason,
}

/// Whether the call can begin at all.
fn admit(program: &Program, call: &Call<'_>) -> Result<(), GuestError> {
    let info = program.info();
    if !program.handlers().contains(call.handler) {
        return Err(GuestError::NoHandler);
    }
    if info.memory_pages > page_limit(call) || info.table_elements > call.limits.table_elements {
        return Err(GuestError::MemoryLimit);
    }
    if info.start_gas > gas_limit(call) {
        return Err(GuestError::OutOfGas);
    }
    Ok(())
}

fn gas_limit(call: &Call<'_>) -> u64 {
    call.limits.gas.min(i64::MAX.cast_unsigned())
}

fn page_limit(call: &Call<'_>) -> u64 {
    (call.limits.memory_bytes / 65_536).min(MAX_PAGES)
}

fn drive<M: Machine>(
    machine: &mut M,
    program: &Program,
    call: &Call<'_>,
) -> Result<Result<i32, Stopped>, Error> {
    let limits = call.limits;
    let gas = gas_limit(call) - program.info().start_gas;
    for (global, value) in [
        (Reserved::Gas, gas),
        (Reserved::Stack, limits.stack_slots.min(MAX_STACK_SLOTS)),
        (Reserved::MemoryLimit, page_limit(call)),
        (Reserved::TableLimit, limits.table_elements.min(MAX_TABLE_ELEMENTS)),
    ] {
        machine.set(global, value.cast_signed())?;
    }
    for export in program.starters() {
        if let Err(stopped) = machine.start(export) {
            return Ok(Err(stopped));
        }
    }
    Ok(machine.handle(call.handler, call.rid))
}

fn conclude(mut context: Context<'_>, result: Result<i32, Stopped>, left: &Left) -> Result<Outcome, Error> {
    let limit = gas_limit(&context.call);
    context.flush(0);
    context.flush(1);
    count_dropped(&mut context.logs, context.cut.log_lines);
    let error = match (context.stopped.take(), result) {
        (Some(Stop::Host(e)), _) | (None, Err(Stopped::Host(e))) => return Err(e),
        (Some(Stop::Guest(e)), _) => e,
        (_, Err(_)) => match left.reason {
            Reason::OutOfGas => GuestError::OutOfGas,
            Reason::StackOverflow => GuestError::StackOverflow,
            Reason::Host => {
                let what = "the host has no memory that the limits of the call promise; give the node more";
                return Err(Error::new(ErrorKind::Host, what));
            }
            Reason::None => GuestError::Trap,
        },
        (_, Ok(value)) => {
            let gas = limit.saturating_sub(left.gas.max(0).cast_unsigned());
            let Context { writes, outputs, logs, cut, .. } = context;
            let removed = BTreeSet::new();
            return Ok(Outcome { result: Ok(value), gas, writes, removed, outputs, logs, cut });
        }
    };
    let gas = if error == GuestError::OutOfGas {
        limit
    } else {
        limit.saturating_sub(left.gas.max(0).cast_unsigned())
    };
    Ok(Outcome { logs: context.logs, cut: context.cut, ..failed(error, gas) })
}

fn failed(error: GuestError, gas: u64) -> Outcome {
    let (writes, removed) = (BTreeMap::new(), BTreeSet::new());
    Outcome { result: Err(error), gas, writes, removed, outputs: vec![], logs: vec![], cut: Cut::default() }
}
