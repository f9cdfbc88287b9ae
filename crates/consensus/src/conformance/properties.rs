//! What every backend must do, one function per promise.

use std::collections::VecDeque;

use w3bstream_types::{Digest, Entry, Timestamp};

use super::world::{Conditions, Crash, World};
use super::{Builder, Subnet};
use crate::{Action, Built, Damage, DriverInput, ErrorKind, MemoryDisk, Verdict};

/// Rounds of a run: one entry alone, then more than fit into one block.
const ROUNDS: usize = 2;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// A run under these conditions, in which at least three blocks were made.
fn run<'b>(builder: &'b dyn Builder, conditions: Conditions) -> Result<World<'b>, String> {
    let mut world = World::new(builder, conditions)?;
    for round in 0..ROUNDS {
        world.submit(1 + 2 * round);
        world.settle()?;
    }
    let made = world.oracle.heights();
    ensure(made > ROUNDS as u64, || format!("only {made} blocks were made"))?;
    Ok(world)
}

/// Agreement, no gap, every entry once, certificates of a quorum, no time before the parent's, even if the
/// host's clock is set back.
///
/// # Errors
/// What was seen instead.
pub fn orders_everything_once(builder: &dyn Builder) -> Result<(), String> {
    run(builder, Conditions::default()).map(drop)
}

fn crash_everywhere(builder: &dyn Builder, base: Conditions, damages: &[Damage]) -> Result<(), String> {
    let plain = run(builder, base)?;
    let mut points = Vec::new();
    for node in 0..builder.members() {
        for operation in 0..plain.disk(node).operations() {
            // The first member meets every damage at every place, the others one damage at each.
            let turn = usize::try_from(operation + u64::from(node)).unwrap_or(0) % damages.len();
            let here = if node == 0 { damages } else { &damages[turn..=turn] };
            points.extend(here.iter().map(|&damage| Crash::Disk { node, operation, damage }));
        }
        for nth in 0..plain.actions(node) {
            points.push(Crash::Action { node, nth, damage: Damage::Lost });
        }
    }
    ensure(points.len() > 10, || format!("there are only {} places to crash at", points.len()))?;
    for crash in points {
        let at = |e| format!("crash {crash:?}: {e}");
        let world = run(builder, Conditions { crash: Some(crash), ..base }).map_err(at)?;
        ensure(world.crashes == 1, || at(format!("crashed {} times, not once", world.crashes)))?;
    }
    Ok(())
}

/// Each member's process ends at every operation of its disk, the first one's with every kind of damage, and
/// before every action of its driver; all goes on, and nothing that had left is contradicted.
///
/// # Errors
/// What was seen instead, with the place of the crash.
pub fn survives_a_crash_anywhere(builder: &dyn Builder) -> Result<(), String> {
    crash_everywhere(builder, Conditions::default(), &Damage::ALL)
}

/// The same while the log is replaced by a snapshot again and again, and execution lags behind.
///
/// # Errors
/// What was seen instead, with the place of the crash.
pub fn survives_a_crash_anywhere_while_compacting(builder: &dyn Builder) -> Result<(), String> {
    let base = Conditions { compact_bytes: 1, lag: lag(builder)?, ..Conditions::default() };
    crash_everywhere(builder, base, &[Damage::Torn])
}

/// Up to two heights, if the backend orders so far ahead.
fn lag(builder: &dyn Builder) -> Result<u64, String> {
    let factory = builder.factory();
    let genesis = Subnet::new(builder.members(), factory.name()).genesis;
    let profile = factory.profile(&builder.config(), &genesis).map_err(|e| e.to_string())?;
    Ok(u64::from(profile.max_in_flight.saturating_sub(1)).min(2))
}

/// Many crashes one after the other, of any member, at places that a seed chooses.
///
/// # Errors
/// What was seen instead, with the seed.
pub fn survives_a_storm_of_crashes(builder: &dyn Builder) -> Result<(), String> {
    for seed in 1..=12_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let lag = lag(builder)?.min(next(3));
        let compact_bytes = 1 + next(4_000);
        let at = |e| format!("seed {seed}: {e}");
        let mut world =
            World::new(builder, Conditions { lag, compact_bytes, ..Conditions::default() }).map_err(at)?;
        let mut rounds = 0;
        while world.crashes < 6 {
            rounds += 1;
            ensure(rounds < 100, || at(format!("only {} crashes happened", world.crashes)))?;
            let node = u32::try_from(next(u64::from(builder.members()))).unwrap_or(0);
            let damage = Damage::ALL[usize::try_from(next(4)).unwrap_or(0)];
            let disk = world.disk(node);
            disk.crash_at(disk.operations() + next(6), damage);
            world.submit(1);
            world.settle().map_err(at)?;
        }
    }
    Ok(())
}

/// After a restart, and after a second one, the blocks come again that the host has not applied.
///
/// # Errors
/// What was seen instead.
pub fn repeats_commits_until_they_are_applied(builder: &dyn Builder) -> Result<(), String> {
    let lag = lag(builder)?;
    let mut world = run(builder, Conditions { lag, ..Conditions::default() })?;
    let tip = world.oracle.heights();
    for damage in [Damage::Lost, Damage::Kept] {
        let applied = world.applied(0);
        ensure(applied + lag == tip, || format!("applied {applied} of {tip}"))?;
        let copy = world.disk(0).synced_copy();
        let mut drive = builder.open(world.setup(0), &copy).map_err(|e| e.to_string())?;
        let start = DriverInput::Start { applied };
        let actions = drive.handle_batch(Timestamp(world.now), vec![start]).map_err(|e| e.to_string())?;
        let heights: Vec<u64> = actions.iter().filter_map(height_of).collect();
        let expected: Vec<u64> = (applied + 1..=tip).collect();
        ensure(heights == expected, || format!("heights {heights:?} came again, not {expected:?}"))?;
        world.restart(0, damage)?;
    }
    world.submit(2);
    world.settle()
}

fn height_of(action: &Action) -> Option<u64> {
    match action {
        Action::Committed(block) => Some(block.block.header().height),
        _ => None,
    }
}

/// The barrier: whatever a call lets out is on the disk by then.
///
/// # Errors
/// What was seen instead.
pub fn lets_nothing_out_before_it_is_durable(builder: &dyn Builder) -> Result<(), String> {
    let world =
        run(builder, Conditions { check_barrier: true, lag: lag(builder)?, ..Conditions::default() })?;
    ensure(world.barriers_checked > 5, || "the barrier was hardly looked at".into())?;
    ensure(world.syncs() > 0, || "nothing was ever synced".into())
}

/// If the log cannot be synced, nothing leaves, then or ever after.
///
/// # Errors
/// What was seen instead.
pub fn stops_when_the_disk_fails(builder: &dyn Builder) -> Result<(), String> {
    let mut failures = 0;
    for at in 1..4 {
        let world = World::new(builder, Conditions::default())?;
        let disk = MemoryDisk::new();
        disk.fail_sync_at(at);
        let mut drive = builder.open(world.setup(0), &disk).map_err(|e| e.to_string())?;
        let mut inputs = VecDeque::from([DriverInput::Start { applied: 0 }, DriverInput::Pending]);
        let mut now = world.now;
        while let Some(input) = inputs.pop_front() {
            now += 1;
            match drive.handle_batch(Timestamp(now), vec![input]) {
                Ok(actions) if disk.has_crashed() => {
                    return Err(format!("the disk failed, but {} actions left", actions.len()));
                }
                Ok(actions) => inputs.extend(answers(&actions, now)),
                Err(_) if disk.has_crashed() => {
                    failures += 1;
                    for input in [DriverInput::Pending, DriverInput::Tick] {
                        let after = drive.handle_batch(Timestamp(now + 1), vec![input]);
                        ensure(after.is_err(), || "the driver goes on after the disk failed".into())?;
                    }
                    break;
                }
                Err(e) => return Err(format!("stopped for another reason: {e}")),
            }
            ensure(now < world.now + 1_000, || "it does not come to rest".into())?;
        }
    }
    // In a larger subnet one member alone may write little or nothing.
    ensure(failures == 3 || builder.members() > 1, || "the disk failed too seldom".into())
}

/// What a host without a network answers.
fn answers(actions: &[Action], now: u64) -> Vec<DriverInput> {
    let entry = Entry::Control(Digest::of(&now.to_be_bytes()));
    let mut inputs = Vec::new();
    for action in actions {
        match action {
            Action::Build(request) => {
                inputs.push(DriverInput::Pending);
                let (slot, time) = (request.slot, Timestamp(now));
                inputs.push(DriverInput::Built(Built { slot, entries: vec![entry], time }));
            }
            Action::Validate(block) => {
                inputs.push(DriverInput::Validated { block: block.id(), verdict: Verdict::Accept });
            }
            _ => {}
        }
    }
    inputs
}

/// A bit that flips anywhere but in the last write is noticed, and the member refuses to run. In the last
/// write it looks like a crash; then what the host has applied tells.
///
/// # Errors
/// What was seen instead.
pub fn refuses_a_damaged_log(builder: &dyn Builder) -> Result<(), String> {
    let world = run(builder, Conditions::default())?;
    let bytes = world.disk(0).bytes();
    let mut refused = 0;
    for at in (0..bytes.len()).step_by(3) {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        match builder.open(world.setup(0), &MemoryDisk::of_bytes(bad)) {
            Err(e) if e.kind() == ErrorKind::CorruptWal => refused += 1,
            Err(e) => return Err(format!("byte {at} is damaged, and it says {:?}: {e}", e.kind())),
            Ok(mut drive) => {
                let start = DriverInput::Start { applied: world.applied(0) };
                let result = drive.handle_batch(Timestamp(world.now), vec![start]);
                let last_write_is_small = at * 2 > bytes.len();
                ensure(last_write_is_small, || {
                    format!("byte {at} of {} is damaged, unnoticed", bytes.len())
                })?;
                // A member whose last write held no commit may go on: its others know what it said.
                if builder.members() == 1 {
                    ensure(result.is_err(), || format!("byte {at} is damaged, and a commit is lost"))?;
                }
            }
        }
    }
    ensure(refused > 10, || format!("only {refused} damages were refused"))
}

/// A log of another subnet or an older one than the node's state is refused.
///
/// # Errors
/// What was seen instead.
pub fn refuses_what_does_not_belong_together(builder: &dyn Builder) -> Result<(), String> {
    let world = run(builder, Conditions::default())?;
    let mut setup = world.setup(0);
    setup.genesis.created = Timestamp(setup.genesis.created.0 + 1);
    let kind = builder.open(setup, &world.disk(0).synced_copy()).err().map(|e| e.kind());
    ensure(kind == Some(ErrorKind::Incompatible), || format!("the log of another genesis: {kind:?}"))?;
    let open = |disk: &MemoryDisk| builder.open(world.setup(0), disk).map_err(|e| e.to_string());
    let ahead = DriverInput::Start { applied: world.oracle.heights() + 1 };
    let kind = open(&world.disk(0).synced_copy())?.handle_batch(Timestamp(1), vec![ahead]);
    let kind = kind.err().map(|e| e.kind());
    ensure(kind == Some(ErrorKind::Incompatible), || {
        format!("an older log than the node's state: {kind:?}")
    })?;
    let mut drive = open(&MemoryDisk::new())?;
    let kind = drive.handle_batch(Timestamp(1), vec![DriverInput::Pending]).err().map(|e| e.kind());
    ensure(kind == Some(ErrorKind::Input), || format!("an input before the start: {kind:?}"))
}

/// With nothing to order, an hour passes without a message, a block or a write, even if a build is asked for
/// in vain.
///
/// # Errors
/// What was seen instead.
pub fn is_quiet_when_idle(builder: &dyn Builder) -> Result<(), String> {
    let mut world = run(builder, Conditions::default())?;
    let heights = world.oracle.heights();
    // Builds that find nothing, and what they cause, come to rest too.
    for node in 0..builder.members() {
        world.give(node, DriverInput::Pending)?;
    }
    world.drain()?;
    let (syncs, left) = (world.syncs(), world.oracle.left);
    let end = world.now + 3_600_000;
    let mut wakes = 0_u32;
    while world.now < end {
        world.now = world.next_wake().map_or(end, |t| t.0.clamp(world.now, end));
        for node in 0..builder.members() {
            world.give(node, DriverInput::Tick)?;
        }
        world.drain()?;
        wakes += 1;
        ensure(wakes < 1_000, || "it wakes up all the time".into())?;
    }
    ensure(world.oracle.heights() == heights, || "a block was made of nothing".into())?;
    ensure(world.syncs() == syncs, || format!("{} syncs in an idle hour", world.syncs() - syncs))?;
    ensure(world.oracle.left == left, || format!("{} actions in an idle hour", world.oracle.left - left))
}

/// Two instances side by side never differ, and two runs give the same bytes.
///
/// # Errors
/// What was seen instead.
pub fn is_deterministic(builder: &dyn Builder) -> Result<(), String> {
    let conditions = Conditions { check_determinism: true, ..Conditions::default() };
    let (one, two) = (run(builder, conditions)?, run(builder, conditions)?);
    ensure(one.oracle.trace == two.oracle.trace, || "two runs differ".into())?;
    let plain = run(builder, Conditions::default())?;
    ensure(one.oracle.trace == plain.oracle.trace, || "it runs differently beside a twin".into())
}

/// However many blocks are made, the log keeps its size.
///
/// # Errors
/// What was seen instead.
pub fn keeps_its_log_small(builder: &dyn Builder) -> Result<(), String> {
    let mut world = World::new(builder, Conditions { compact_bytes: 4_096, ..Conditions::default() })?;
    let mut largest = 0;
    for round in 0..60 {
        world.submit(1);
        world.settle()?;
        if round >= 10 {
            let sizes = (0..builder.members()).map(|n| world.disk(n).bytes().len());
            largest = largest.max(sizes.max().unwrap_or(0));
        }
    }
    ensure(world.oracle.heights() >= 60, || "too few blocks were made".into())?;
    ensure(largest < 65_536, || format!("the log grew to {largest} bytes"))?;
    world.restart(0, Damage::Lost)?;
    world.submit(1);
    world.settle()
}

/// Bytes that are no message, from members and others, change nothing and stop nothing.
///
/// # Errors
/// What was seen instead.
pub fn bears_garbage(builder: &dyn Builder) -> Result<(), String> {
    let mut world = run(builder, Conditions::default())?;
    let disk = world.disk(0).synced_copy();
    let mut drive = builder.open(world.setup(0), &disk).map_err(|e| e.to_string())?;
    let start = DriverInput::Start { applied: world.applied(0) };
    drive.handle_batch(Timestamp(world.now), vec![start]).map_err(|e| e.to_string())?;
    let syncs = disk.syncs();
    let too_large = builder.factory().max_message_bytes() + 1;
    for from in [0, 1, builder.members(), u32::MAX] {
        for bytes in [vec![], vec![0; 64], vec![0xff; 1_000], vec![0; too_large]] {
            let result = drive.handle_batch(Timestamp(world.now), vec![DriverInput::Message { from, bytes }]);
            let actions = result.map_err(|e| format!("garbage from {from} stopped it: {e}"))?;
            let fine =
                actions.iter().all(|a| matches!(a, Action::Penalise { member, .. } if *member == from));
            ensure(fine && actions.len() == 1, || format!("garbage from {from} caused {actions:?}"))?;
        }
    }
    ensure(disk.syncs() == syncs, || "garbage was written to the log".into())?;
    world.submit(1);
    world.settle()
}
