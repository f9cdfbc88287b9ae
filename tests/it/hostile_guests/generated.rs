//! Generated modules that mean harm. Each is refused when it is deployed, with a reason that there is, or it runs to an end that
//! there is; what is good beside them goes on; nothing panics, nothing halts, nothing is left behind.
//!
//! `W3B_GUESTS` says how many (2,000 if it is not set, 100,000 at night), `W3B_GUESTS_SEED` with which seed they begin.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use w3bstream_engine::conformance::native::{self, Usage};
use w3bstream_engine::conformance::wild::{Kind, module};
use w3bstream_engine::{Engine, GuestError};
use w3bstream_types::{Applet, Digest, GuestLimits};

use super::world::{Project, WELL, World, applet, block_on, engine};

/// Modules that are deployed together.
const BATCH: u64 = 50;
/// Modules after which the pipeline and its stores begin anew, on the same engine: what they keep on purpose is not to hide
/// what the engine keeps without one.
const GENERATION: u64 = 1_000;
/// Handlers of one module that are called.
const HANDLERS: usize = 4;

/// Words that stand in every reason for which a module is refused when it is uploaded.
const REASONS: &[&str] = &[
    "no WebAssembly",
    "is no module",
    "does not export its memory",
    "so it must export `alloc`",
    "too many",
    "does not fit",
    "imports",
    "reserved",
    "is a component",
    "no constant",
    "has an unknown type",
];

fn number(name: &str, default: u64) -> u64 {
    #[allow(clippy::disallowed_methods, reason = "how much is tried is the caller's to say")]
    std::env::var(name).map_or(default, |n| n.parse().unwrap())
}

/// What was seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Modules of each kind: made, and taken.
    kinds: BTreeMap<Kind, (u64, u64)>,
    refused: BTreeMap<&'static str, u64>,
    without_handler: u64,
    /// How handlers ended.
    ends: BTreeMap<String, u64>,
}

impl Seen {
    fn refuse(&mut self, why: &str) -> Result<(), String> {
        let known = REASONS.iter().find(|reason| why.contains(*reason));
        let reason = known.ok_or_else(|| format!("it is refused for no known reason: {why}"))?;
        *self.refused.entry(reason).or_default() += 1;
        Ok(())
    }
}

/// What all batches share.
struct Campaign {
    engine: Arc<dyn Engine>,
    good: Vec<Vec<u8>>,
    seen: Seen,
}

/// A pipeline with a project for the guests and one beside it.
struct Stage {
    world: World,
    well: Applet,
    other: Project,
    /// Messages that each project got.
    sent: (u32, u32),
}

impl Stage {
    async fn new(engine: &Arc<dyn Engine>) -> Self {
        let world =
            World::start(engine.clone(), GuestLimits { gas: 1 << 40, ..GuestLimits::default() }).await;
        let program = world.put(wat::parse_str(WELL).unwrap()).await.unwrap();
        let well = applet("well", program, &[("check", "well")], GuestLimits::default());
        let other = world.deploy("other", vec![well.clone()]).await.unwrap();
        world.deploy("hostile", vec![well.clone()]).await.unwrap();
        Self { world, well, other, sent: (0, 0) }
    }

    /// The good applet beside the guests counts on, and so does that of the other project.
    async fn check(&mut self, hostile: &Project) -> Result<(), String> {
        for (project, sent) in [(hostile, &mut self.sent.0), (&self.other, &mut self.sent.1)] {
            let n = *sent;
            *sent += 1;
            // Messages of the guests lie in between.
            let place = if project.name == self.other.name { n } else { 2 * n + 1 };
            let results = self.world.send(project, place, ("check", b"")).await?;
            let codes: Vec<i32> = results.iter().map(|r| r.code).collect();
            if codes != [i32::try_from(n).unwrap()] {
                return Err(format!("the good applet of {} gave {codes:?}, not {n}", project.name));
            }
        }
        for project in ["hostile", "other"] {
            if self.world.halted(project) {
                return Err(format!("project {project} was halted"));
            }
        }
        Ok(())
    }

    /// Deploys modules, sends them an event, and looks at all that comes of it.
    async fn batch(&mut self, campaign: &mut Campaign, seeds: &[u64]) -> Result<(), String> {
        let mut applets = vec![self.well.clone()];
        for seed in seeds {
            let bytes = module(*seed, &campaign.good)?;
            let counted = campaign.seen.kinds.entry(Kind::of(*seed)).or_default();
            counted.0 += 1;
            let program = match self.world.put(bytes.clone()).await {
                Ok(program) => program,
                Err(why) => {
                    campaign.seen.refuse(&why)?;
                    continue;
                }
            };
            let handlers = campaign.engine.load(&bytes).map_err(|e| e.to_string())?.handlers();
            if handlers.is_empty() {
                campaign.seen.without_handler += 1;
                self.needs_a_handler(program).await?;
                continue;
            }
            campaign.seen.kinds.entry(Kind::of(*seed)).or_default().1 += 1;
            let routes: Vec<(&str, &str)> =
                handlers.iter().take(HANDLERS).map(|handler| ("default", handler.as_str())).collect();
            applets.push(applet(&format!("m-{seed}"), program, &routes, LIMITS));
        }
        let expected: usize = applets.iter().skip(1).map(|a| a.routes.len()).sum();
        let hostile = self.world.deploy("hostile", applets).await?;
        let place = 2 * self.sent.0;
        let results = self.world.send(&hostile, place, ("go", br#"{"a":1}"#)).await?;
        // An event that a guest sends reaches all of them again.
        if results.len() < expected {
            return Err(format!("{} results of {expected} handlers", results.len()));
        }
        for result in results {
            let end = result.error.unwrap_or_else(|| "returned".into());
            let known = end == "returned" || GuestError::ALL.iter().any(|e| e.code() == end);
            if !known || result.gas > LIMITS.gas {
                return Err(format!(
                    "{}.{} ended as {end} for {} gas",
                    result.applet, result.handler, result.gas
                ));
            }
            *campaign.seen.ends.entry(end).or_default() += 1;
        }
        self.check(&hostile).await
    }

    /// A module without a handler is a program, but no applet.
    async fn needs_a_handler(&self, program: Digest) -> Result<(), String> {
        let applets = vec![self.well.clone(), applet("none", program, &[("default", "h0")], LIMITS)];
        match self.world.deploy("hostile", applets).await {
            Err(why) if why.contains("exports no handler") => Ok(()),
            other => Err(format!("an applet without a handler: {other:?}")),
        }
    }
}

const LIMITS: GuestLimits = GuestLimits {
    gas: 400_000,
    memory_bytes: 24 << 16,
    table_elements: 1_000,
    stack_slots: 16 * 1024,
    log_bytes: 2_048,
    output_bytes: 64 * 1024,
    kv_bytes: 256 * 1024,
    host_calls: 500,
    sql_bytes: 64 * 1024,
    events: 1,
    event_bytes: 1_024,
    event_depth: 1,
};

/// The committed modules of the examples.
fn examples() -> Vec<Vec<u8>> {
    let folder = std::fs::read_dir(Path::new("../artefacts/applets")).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "wasm"));
    files.sort();
    assert!(files.len() >= 18, "{files:?}");
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Runs each of these by itself, and says which of them fails.
async fn blame(campaign: &mut Campaign, seeds: &[u64]) -> String {
    let mut text = String::new();
    for seed in seeds {
        let mut stage = Stage::new(&campaign.engine).await;
        if let Err(why) = stage.batch(campaign, &[*seed]).await {
            text += &format!(
                "seed {seed} ({:?}): {why}\n  W3B_GUESTS=1 W3B_GUESTS_SEED={seed} cargo test -p w3bstream-tests --test it -- \
                 --nocapture hostile_guests::generated\n",
                Kind::of(*seed)
            );
        }
        stage.world.stop().await;
    }
    if text.is_empty() { format!("none of seeds {seeds:?} fails by itself") } else { text }
}

async fn run(campaign: &mut Campaign, (first, count): (u64, u64)) -> Vec<Usage> {
    let mut usages = vec![];
    let seeds: Vec<u64> = (first..first + count).collect();
    for generation in seeds.chunks(GENERATION as usize) {
        let mut stage = Stage::new(&campaign.engine).await;
        for batch in generation.chunks(BATCH as usize) {
            if let Err(why) = stage.batch(campaign, batch).await {
                let blamed = blame(campaign, batch).await;
                panic!("seeds {} to {}: {why}\n{blamed}", batch[0], batch[batch.len() - 1]);
            }
        }
        stage.world.stop().await;
        usages.push(Usage::now());
    }
    usages
}

/// In a process of its own: the number of panics and what it holds are then this test's alone.
#[test]
fn modules_are_refused_or_end_and_harm_nobody() {
    let name = concat!(module_path!(), "::modules_are_refused_or_end_and_harm_nobody");
    native::alone(name, campaign).unwrap_or_else(|why| panic!("{why}"));
}

#[allow(clippy::print_stdout, reason = "a test tells its numbers")]
fn campaign() -> Result<(), String> {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(info);
    }));
    let (count, first) = (number("W3B_GUESTS", 2_000), number("W3B_GUESTS_SEED", 0));
    // More than a batch, so that what was checked is not compiled again; less than all, so that it is forgotten too.
    let engine = engine(128, Duration::from_secs(300));
    let mut campaign = Campaign { engine, good: examples(), seen: Seen::default() };
    let begin = Instant::now();
    let usages = block_on(run(&mut campaign, (first, count)));
    let (took, seen) = (begin.elapsed(), &campaign.seen);
    println!("{count} modules from seed {first} in {took:?}: {seen:#?}\n{usages:?}");
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "something panicked, and was caught");
    let [early, .., late] = usages.as_slice() else { return Ok(()) };
    assert!(late.mappings <= early.mappings + 200, "mappings: {usages:?}");
    // The allocator keeps pieces of what compilers and stores had: a few KiB for a module.
    let pieces = usize::try_from(count).unwrap_or(0) * (8 << 10);
    assert!(late.resident <= early.resident + (64 << 20) + pieces, "memory: {usages:?}");
    // Not vacuous: every kind was taken and refused, and ended in every way that it can.
    assert!(seen.kinds.values().all(|(made, _)| *made > count / 20), "{seen:#?}");
    let taken: u64 = seen.kinds.values().map(|(_, taken)| taken).sum();
    assert!(taken > count * 4 / 10 && seen.refused.len() >= 5, "{seen:#?}");
    for end in ["returned", "trap", "out-of-gas", "host-call-limit", "memory-limit", "kv-limit", "exit"] {
        assert!(seen.ends.contains_key(end), "nothing ended as {end}: {seen:#?}");
    }
    Ok(())
}
