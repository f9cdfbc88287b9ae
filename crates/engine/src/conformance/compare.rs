//! Two engines on the same programs, blocks and state: everything that they give must be equal.

use std::sync::Arc;

use w3bstream_types::{EventType, GuestLimits};

use super::MemoryState;
use super::generate::{Dice, program};
use crate::{Call, Engine, ErrorKind, GuestError, Module, Outcome, Source};

/// How much is compared.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first seed.
    pub seed: u64,
    /// Programs.
    pub programs: u64,
    /// Blocks for each program; the state goes from one to the next.
    pub blocks: usize,
    /// Events in each block.
    pub events: usize,
    /// Gas of each event. An interpreter takes about a second for 100 million.
    pub gas: u64,
}

/// What was compared, so that a caller can see that it was not nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Programs that ran.
    pub programs: u64,
    /// Programs that no engine admitted.
    pub refused: u64,
    /// Blocks.
    pub blocks: usize,
    /// Calls that returned.
    pub returned: usize,
    /// Calls that trapped.
    pub trapped: usize,
    /// Calls that ran out of gas.
    pub out_of_gas: usize,
    /// Calls whose stack overflowed.
    pub overflowed: usize,
    /// Calls that ended otherwise.
    pub other: usize,
    /// Keys that were written.
    pub writes: usize,
    /// Outputs.
    pub outputs: usize,
}

/// Runs a plan on all engines. The first one leads; an engine may occur twice, to be compared with itself.
///
/// # Errors
/// What they disagree on: seed, block, event and the two outcomes.
pub fn compare(engines: &[Arc<dyn Engine>], plan: &Plan) -> Result<Seen, String> {
    let mut seen = Seen::default();
    for seed in plan.seed..plan.seed + plan.programs {
        let bytes = program(seed)?;
        let mut modules = vec![];
        let mut refusals = vec![];
        for engine in engines {
            match engine.load(&bytes) {
                Ok(module) => modules.push(module),
                Err(e) if e.kind() == ErrorKind::BadProgram => refusals.push(e.to_string()),
                Err(e) => return Err(format!("program {seed}: {} cannot load it: {e}", engine.name())),
            }
        }
        if modules.is_empty() && refusals.windows(2).all(|pair| pair[0] == pair[1]) {
            seen.refused += 1;
            continue;
        }
        if !refusals.is_empty() {
            return Err(format!("program {seed}: some engines refuse it: {refusals:?}"));
        }
        same_digests(seed, &modules)?;
        seen.programs += 1;
        let mut states = vec![MemoryState::default(); modules.len()];
        for block in 0..plan.blocks {
            seen.blocks += 1;
            run_block(&modules, &mut states, (seed, block), plan, &mut seen)?;
        }
    }
    Ok(seen)
}

fn same_digests(seed: u64, modules: &[Arc<dyn Module>]) -> Result<(), String> {
    let digests = |m: &Arc<dyn Module>| (m.program(), m.instrumented(), m.handlers());
    if modules.windows(2).any(|pair| digests(&pair[0]) != digests(&pair[1])) {
        return Err(format!("program {seed}: digests or handlers differ"));
    }
    Ok(())
}

fn run_block(
    modules: &[Arc<dyn Module>],
    states: &mut [MemoryState],
    (seed, block): (u64, usize),
    plan: &Plan,
    seen: &mut Seen,
) -> Result<(), String> {
    let mut dice = Dice::new(seed << 32 | block as u64);
    let event_type: EventType = "reading".parse().map_err(|e| format!("{e}"))?;
    let limits = GuestLimits {
        gas: plan.gas,
        memory_bytes: 40 << 16,
        table_elements: 2_000,
        ..GuestLimits::default()
    };
    for event in 0..plan.events {
        let handlers = modules.first().map(|m| m.handlers()).unwrap_or_default();
        let handlers: Vec<&String> = handlers.iter().filter(|h| h.starts_with('h')).collect();
        let len = dice.below(100);
        let payload = dice.bytes(len);
        let rid = 1 + i32::try_from(dice.below(65_536) * (1 + dice.below(30_000))).unwrap_or(1);
        let handler = handlers.get(dice.below(handlers.len())).ok_or("a generated program has no handler")?;
        let mut outcomes = vec![];
        for (module, state) in modules.iter().zip(states.iter_mut()) {
            let call = Call {
                handler,
                event_type: &event_type,
                payload: &payload,
                rid,
                env: &[],
                source: Source::default(),
                settlements: &[],
                chains: &[],
                triggers: &[],
                id: w3bstream_types::Digest::ZERO,
                limits: &limits,
            };
            let outcome = module
                .call(call, state)
                .map_err(|e| format!("program {seed}, block {block}, event {event}: no outcome: {e}"))?;
            state.0.extend(outcome.writes.clone());
            outcomes.push(outcome);
        }
        if let Some(pair) = outcomes.windows(2).find(|pair| pair[0] != pair[1]) {
            let (a, b) = (&pair[0], &pair[1]);
            return Err(format!("program {seed}, block {block}, event {event}: {a:?} is not {b:?}"));
        }
        outcomes.first().into_iter().for_each(|outcome| count(seen, outcome));
    }
    Ok(())
}

fn count(seen: &mut Seen, outcome: &Outcome) {
    match outcome.result {
        Ok(_) => seen.returned += 1,
        Err(GuestError::Trap) => seen.trapped += 1,
        Err(GuestError::OutOfGas) => seen.out_of_gas += 1,
        Err(GuestError::StackOverflow) => seen.overflowed += 1,
        Err(_) => seen.other += 1,
    }
    seen.writes += outcome.writes.len();
    seen.outputs += outcome.outputs.len();
}
