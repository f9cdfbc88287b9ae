//! Many engines, each on several numbers of threads: all must give the same roots.
//!
//! Each program runs on a few partitions of state, which go side by side where there are threads for them, as a node
//! runs them. Every block ends in a root over all that its calls gave and over the root before it; the last one also
//! covers the state. Where two roots differ, [`compare`] says why.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use w3bstream_types::Digest;

use super::MemoryState;
use super::compare::{Plan, Seen, apply, compare, events};
use super::generate::program;
use crate::{Engine, ErrorKind, Module};

/// Partitions of each program's state.
pub const PARTITIONS: u64 = 2;

/// What a program is to an engine.
enum Program {
    Ready(Arc<dyn Module>),
    /// With the reason, on which engines must agree too.
    Refused(String),
}

/// What one run of a program on a partition gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trail {
    /// The program as it was given and as it runs; or why it does not.
    program: Vec<Digest>,
    refused: Option<String>,
    /// After each block: the root, and gas that all calls so far have used.
    blocks: Vec<(Digest, u64)>,
    seen: Seen,
}

/// Runs a plan on each engine on each number of threads, and compares all with the first.
///
/// # Errors
/// The first block on which two disagree, with what they disagree on.
pub fn agree(engines: &[Arc<dyn Engine>], plan: &Plan, threads: &[usize]) -> Result<Seen, String> {
    let mut first: Option<(usize, usize, Vec<Trail>)> = None;
    for (number, engine) in engines.iter().enumerate() {
        let programs = load(&**engine, plan)?;
        for threads in threads {
            let trails = run(&programs, plan, *threads)
                .map_err(|e| format!("{} on {threads} threads: {e}", engine.name()))?;
            let Some((leader, of_leader, expected)) = &first else {
                first = Some((number, *threads, trails));
                continue;
            };
            let Some((job, block)) = difference(expected, &trails) else { continue };
            let seed = plan.seed + job as u64 / PARTITIONS;
            let leader = engines.get(*leader).ok_or("the first engine is gone")?;
            // On partition 0, one call after the other, the reason shows; elsewhere it takes threads to see it.
            let one = Plan { seed, programs: 1, blocks: block + 1, ..*plan };
            let why = compare(&[Arc::clone(leader), Arc::clone(engine)], &one);
            let why = why.err().unwrap_or_else(|| "side by side they agree".to_owned());
            return Err(format!(
                "program {seed}, partition {}, block {block}: {} on {of_leader} threads and {} on {threads} disagree: {why}",
                job as u64 % PARTITIONS,
                leader.name(),
                engine.name(),
            ));
        }
    }
    let mut seen = Seen::default();
    first.into_iter().flat_map(|(_, _, trails)| trails).for_each(|trail| seen.add(&trail.seen));
    Ok(seen)
}

fn load(engine: &dyn Engine, plan: &Plan) -> Result<Vec<Program>, String> {
    let seeds = plan.seed..plan.seed + plan.programs;
    let load = |seed| match engine.load(&program(seed)?) {
        Ok(module) => Ok(Program::Ready(module)),
        Err(e) if e.kind() == ErrorKind::BadProgram => Ok(Program::Refused(e.to_string())),
        Err(e) => Err(format!("program {seed}: {} cannot load it: {e}", engine.name())),
    };
    seeds.map(load).collect()
}

/// All programs on all partitions; the trails are in that order, whichever thread took which.
fn run(programs: &[Program], plan: &Plan, threads: usize) -> Result<Vec<Trail>, String> {
    let jobs = programs.len() * usize::try_from(PARTITIONS).unwrap_or(1);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(vec![Trail::default(); jobs]);
    let work = || -> Result<(), String> {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            let seed = job as u64 / PARTITIONS;
            let Some(program) = programs.get(usize::try_from(seed).unwrap_or(usize::MAX)) else {
                return Ok(());
            };
            let trail = follow(program, plan, (plan.seed + seed, job as u64 % PARTITIONS))?;
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = done.get_mut(job) {
                *place = trail;
            }
        }
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        running
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn follow(program: &Program, plan: &Plan, (seed, partition): (u64, u64)) -> Result<Trail, String> {
    let mut trail = Trail::default();
    let module = match program {
        Program::Ready(module) => module,
        Program::Refused(why) => {
            trail.seen.refused = 1 - partition.min(1);
            trail.refused = Some(why.clone());
            return Ok(trail);
        }
    };
    trail.program = vec![module.program(), module.instrumented()];
    trail.seen.programs = 1 - partition.min(1);
    let (handlers, mut state) = (module.handlers(), MemoryState::default());
    let (mut root, mut gas) = (Digest::ZERO, 0);
    for block in 0..plan.blocks {
        trail.seen.blocks += 1;
        for event in events((seed, partition, block), plan, &handlers)? {
            let outcome = apply(&**module, &mut state, &event, plan)
                .map_err(|e| format!("program {seed}, partition {partition}, block {block}: {e}"))?;
            trail.seen.count(&outcome);
            gas += outcome.gas;
            // Its text names every field, those too that an outcome gets one day.
            root = Digest::tagged("w3b/kit-root", &[root.as_bytes(), format!("{outcome:?}").as_bytes()]);
        }
        if block + 1 == plan.blocks {
            root = Digest::tagged("w3b/kit-root", &[root.as_bytes(), format!("{state:?}").as_bytes()]);
        }
        trail.blocks.push((root, gas));
    }
    Ok(trail)
}

/// The first job and block that differ.
fn difference(expected: &[Trail], got: &[Trail]) -> Option<(usize, usize)> {
    let job = expected.iter().zip(got).position(|(a, b)| a != b)?;
    let (expected, got) = (expected.get(job)?, got.get(job)?);
    Some((job, expected.blocks.iter().zip(&got.blocks).position(|(a, b)| a != b).unwrap_or(0)))
}
