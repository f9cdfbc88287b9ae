//! Two engines on the same programs, blocks and state: everything that they give must be equal.

use std::sync::Arc;

use w3bstream_types::{EventType, GuestLimits};

use super::MemoryState;
use super::generate::{Dice, program};
use crate::{Call, Engine, ErrorKind, GuestError, Module, Outcome};

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
            run_block(&modules, &mut states, (seed, 0, block), plan, &mut seen)?;
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

/// Where a block stands: the program's seed, a partition of its state, the block's number.
pub(super) type Place = (u64, u64, usize);

/// An event of a generated block.
pub(super) struct Event {
    handler: String,
    payload: Vec<u8>,
    rid: i32,
}

/// The events of a block: the same for every engine.
pub(super) fn events(place: Place, plan: &Plan, handlers: &[String]) -> Result<Vec<Event>, String> {
    let (seed, partition, block) = place;
    let mut dice = Dice::new(seed << 32 | partition << 24 | block as u64);
    let handlers: Vec<&String> = handlers.iter().filter(|h| h.starts_with('h')).collect();
    let mut event = || -> Result<Event, String> {
        let len = dice.below(100);
        let payload = dice.bytes(len);
        let rid = 1 + i32::try_from(dice.below(65_536) * (1 + dice.below(30_000))).unwrap_or(1);
        let handler = handlers.get(dice.below(handlers.len())).ok_or("a generated program has no handler")?;
        Ok(Event { handler: (*handler).clone(), payload, rid })
    };
    (0..plan.events).map(|_| event()).collect()
}

/// Calls a module with an event and stores what it writes.
pub(super) fn apply(
    module: &dyn Module,
    state: &mut MemoryState,
    event: &Event,
    plan: &Plan,
) -> Result<Outcome, String> {
    let event_type: EventType = "reading".parse().map_err(|e| format!("{e}"))?;
    let limits = GuestLimits {
        gas: plan.gas,
        memory_bytes: 40 << 16,
        table_elements: 2_000,
        ..GuestLimits::default()
    };
    let call = Call { rid: event.rid, ..Call::of(&event.handler, &event_type, &event.payload, &limits) };
    let outcome = module.call(call, state).map_err(|e| format!("no outcome: {e}"))?;
    state.0.extend(outcome.writes.clone());
    Ok(outcome)
}

fn run_block(
    modules: &[Arc<dyn Module>],
    states: &mut [MemoryState],
    place: Place,
    plan: &Plan,
    seen: &mut Seen,
) -> Result<(), String> {
    let handlers = modules.first().map(|m| m.handlers()).unwrap_or_default();
    let (seed, _, block) = place;
    for (number, event) in events(place, plan, &handlers)?.iter().enumerate() {
        let at = || format!("program {seed}, block {block}, event {number}");
        let mut outcomes = vec![];
        for (module, state) in modules.iter().zip(states.iter_mut()) {
            let outcome = apply(&**module, state, event, plan).map_err(|e| format!("{}: {e}", at()))?;
            outcomes.push(outcome);
        }
        if let Some(pair) = outcomes.windows(2).find(|pair| pair[0] != pair[1]) {
            let (a, b) = (&pair[0], &pair[1]);
            return Err(format!("{}: {a:?} is not {b:?}", at()));
        }
        outcomes.first().into_iter().for_each(|outcome| seen.count(outcome));
    }
    Ok(())
}

impl Seen {
    /// Counts an outcome.
    pub(super) fn count(&mut self, outcome: &Outcome) {
        match outcome.result {
            Ok(_) => self.returned += 1,
            Err(GuestError::Trap) => self.trapped += 1,
            Err(GuestError::OutOfGas) => self.out_of_gas += 1,
            Err(GuestError::StackOverflow) => self.overflowed += 1,
            Err(_) => self.other += 1,
        }
        self.writes += outcome.writes.len();
        self.outputs += outcome.outputs.len();
    }

    /// Adds what was seen elsewhere.
    pub(super) fn add(&mut self, other: &Self) {
        self.programs += other.programs;
        self.refused += other.refused;
        self.blocks += other.blocks;
        self.returned += other.returned;
        self.trapped += other.trapped;
        self.out_of_gas += other.out_of_gas;
        self.overflowed += other.overflowed;
        self.other += other.other;
        self.writes += other.writes;
        self.outputs += other.outputs;
    }
}
