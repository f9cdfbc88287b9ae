//! One call, from its limits to its outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use w3bstream_engine::abi::count_dropped;
use w3bstream_engine::tools::Places;
use w3bstream_engine::{Call, Cut, Error, GuestError, HostState, Outcome};
use w3bstream_types::{GuestLimits, Output, OutputKind};

use crate::book::{Book, Shared};
use crate::files::Files;
use crate::guest::{self, End, Plan};
use crate::host::{self, Closed};
use crate::program::WasiProgram;
use crate::quota::Quota;
use crate::state::{NoEnd, channel};
use crate::tree::Tree;

/// Most elements that a call's tables get, whatever its limits say.
pub(crate) const MAX_TABLE_ELEMENTS: u64 = 10_000_000;
/// Pages of a 32-bit memory.
const MAX_PAGES: u64 = 65_536;
/// Stack of a guest's thread, on which the WASI layer runs; the guest has one of its own.
const THREAD_STACK_BYTES: usize = 8 * 1024 * 1024;

/// What all calls share.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) closed: Arc<Closed>,
    /// For so many programs at once: each has a thread, a stack and a memory.
    pub(crate) places: Arc<Places>,
    pub(crate) quota: Quota,
    pub(crate) guard: Duration,
}

/// Pages that a guest's memory may have.
pub(crate) fn page_limit(limits: &GuestLimits) -> u64 {
    (limits.memory_bytes / 65_536).min(MAX_PAGES)
}

/// Whether the call can begin at all.
fn admit(program: &WasiProgram, handler: &str, limits: &GuestLimits) -> Result<(), GuestError> {
    let info = &program.info;
    if !program.handlers.iter().any(|name| name == handler) {
        return Err(GuestError::NoHandler);
    }
    if info.memory_pages > page_limit(limits) || info.table_elements > limits.table_elements {
        return Err(GuestError::MemoryLimit);
    }
    if info.start_gas > limits.gas {
        return Err(GuestError::OutOfGas);
    }
    Ok(())
}

fn failed(error: GuestError, gas: u64) -> Outcome {
    let (writes, removed) = (BTreeMap::new(), BTreeSet::new());
    Outcome { result: Err(error), gas, writes, removed, outputs: vec![], logs: vec![], cut: Cut::default() }
}

/// Arguments: the handler, which the layer puts first, and the event type.
fn plan(call: &Call<'_>, book: &Shared, files: &Files) -> Plan {
    // What cannot be a variable is none; every node leaves out the same.
    let good = |(name, value): &&(String, String)| {
        !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
    };
    let mut env: Vec<(String, String)> = call.env.iter().filter(good).cloned().collect();
    let source = call.source;
    let known = [
        ("W3BSTREAM_PROJECT", source.project.map(|p| p.to_string())),
        ("W3BSTREAM_DEVICE", source.device.map(|d| d.as_str().to_owned())),
        ("W3BSTREAM_TIME", (source.time > 0).then(|| source.time.to_string())),
    ];
    for (name, value) in known {
        env.retain(|(n, _)| n != name);
        env.extend(value.map(|value| (name.to_owned(), value)));
    }
    Plan {
        handler: call.handler.to_owned(),
        args: vec![call.event_type.as_str().to_owned()],
        env,
        payload: call.payload.to_vec(),
        book: book.clone(),
        files: files.clone(),
    }
}

/// Runs a call. The guest has a thread of its own; this one answers what it asks of the state. Should the WASI layer hang, which
/// gas cannot see, this one goes on after the guard, and the other is given up.
pub(crate) fn run(
    program: &Arc<WasiProgram>,
    setup: &Setup,
    call: Call<'_>,
    state: &mut dyn HostState,
) -> Result<Outcome, Error> {
    let mut limits = *call.limits;
    limits.gas = limits.gas.min(i64::MAX.cast_unsigned());
    if let Err(refused) = admit(program, call.handler, &limits) {
        let gas = if refused == GuestError::OutOfGas { limits.gas } else { 0 };
        return Ok(failed(refused, gas));
    }
    let _place = setup.places.take();
    let book = Shared::new(Book::new(limits, call.id, call.source.block_time));
    let (asker, answerer) = channel::<Result<End, Error>>();
    let asker = Arc::new(asker);
    let get = asker.clone();
    let files = Files::new(Tree::new(Box::new(move |key| get.get(key)), book.clone(), setup.quota));
    let plan = plan(&call, &book, &files);
    let (running, closed, digest) = (program.clone(), setup.closed.clone(), program.info.program);
    let body = move || {
        let ran = catch_unwind(AssertUnwindSafe(|| guest::run(&running, &closed, plan)));
        asker.done(ran.unwrap_or_else(|_| {
            Err(host::failed(format!("the engine panicked in program {}", running.info.program)))
        }));
    };
    let thread = std::thread::Builder::new().name("wasi-guest".into()).stack_size(THREAD_STACK_BYTES);
    let thread = thread.spawn(body).map_err(|e| host::failed("no thread for a guest").with_source(e))?;
    let served = catch_unwind(AssertUnwindSafe(|| answerer.serve(state, setup.guard)));
    // Whoever asks from now on, asks nobody.
    drop(answerer);
    let ended = served.map_err(|_| host::failed("the project's state panicked"))?.map_err(|e| match e {
        NoEnd::Silent => host::failed(format!("the thread of program {digest} ended without a word")),
        NoEnd::TooLong => host::failed(format!(
            "program {digest} did not come to its end in {} s, before its gas was used up: the WASI layer hangs, or this \
             machine is slow; if so, raise `wasi-call-ms` under [engine] in node.toml",
            setup.guard.as_secs_f64()
        )),
    })?;
    // It has said that it is done. A panic of its last steps was caught.
    let _ = thread.join();
    Ok(conclude(&call, &book, &files, &ended?, limits.gas))
}

fn conclude(call: &Call<'_>, book: &Shared, files: &Files, end: &End, limit: u64) -> Outcome {
    let mut book = book.lock();
    book.flush();
    let mut logs = std::mem::take(&mut book.logs);
    let cut = Cut { log_lines: book.cut_lines, ..Cut::default() };
    count_dropped(&mut logs, cut.log_lines);
    let output = std::mem::take(&mut book.output);
    drop(book);
    let gas = limit.saturating_sub(end.gas);
    if let Some(error) = end.error {
        let gas = if error == GuestError::OutOfGas { limit } else { gas };
        return Outcome { logs, cut, ..failed(error, gas) };
    }
    let (writes, removed) = files.changes();
    let target = call.handler.as_bytes().to_vec();
    let answer = Output { kind: OutputKind::Answer, chain_id: 0, target, data: output };
    let outputs = if answer.data.is_empty() { vec![] } else { vec![answer] };
    Outcome { result: Ok(0), gas, writes, removed, outputs, logs, cut }
}
