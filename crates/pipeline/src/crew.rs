//! The threads that run a segment's lanes.
//!
//! Each project runs its blocks on a thread of its own, as ever. Beside these the node has a few *helpers* for all projects
//! together. A project's thread calls for some if its lanes are worth it, and takes lanes itself all the while: it never waits
//! for a helper to become free, only for lanes that a helper has begun. So a project that keeps every helper busy for
//! long costs the others their help, and nothing more.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use w3bstream_tasks::Tasks;
use w3bstream_types::{AppletName, Manifest};

use crate::apply::StateReader;
use crate::segment::{Lane, LaneDone, Place, Runner, Segment};
use crate::{Error, ErrorKind};

/// How much work there must be for one more thread. Waking one takes some 10 µs here and there.
const WORTH: Duration = Duration::from_micros(200);
/// A call that takes less is worth no help. Most of it is making an instance and taking it down, which changes the addresses of the
/// process, and that two cores do one after the other: blocks of such calls were slower on two threads than on one.
const QUICK: Duration = Duration::from_micros(100);

/// The node's helpers.
#[derive(Clone, Debug)]
pub(crate) struct Helpers {
    /// How many threads may run one block, the project's own included.
    threads: usize,
    /// How many more may begin to help now.
    free: Arc<AtomicUsize>,
    tasks: Tasks,
}

/// The right to help, given back when it is dropped.
#[derive(Debug)]
struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Helpers {
    /// For a node that runs a block on so many threads at most.
    pub(crate) fn new(threads: usize, tasks: Tasks) -> Self {
        let threads = threads.max(1);
        Self { threads, free: Arc::new((threads - 1).into()), tasks }
    }

    /// Whether there is anybody at all.
    pub(crate) const fn any(&self) -> bool {
        self.threads > 1
    }

    fn take(&self) -> Option<Permit> {
        let taken = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(1));
        taken.is_ok().then(|| Permit(self.free.clone()))
    }
}

/// How long a project's applets take for a call, in nanoseconds. Only for who decides whether help is worth it.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<BTreeMap<AppletName, u64>>);

impl Pace {
    // What it guards is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppletName, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a call of each applet of a manifest is worth, in its order: nothing, if it is quick. One that has never run is taken
    /// for slow.
    pub(crate) fn of(&self, manifest: &Manifest) -> Vec<u64> {
        let known = self.lock();
        let unknown = u64::try_from(WORTH.as_nanos()).unwrap_or(u64::MAX);
        let worth = |pace: u64| if u128::from(pace) < QUICK.as_nanos() { 0 } else { pace };
        manifest.applets.iter().map(|a| known.get(&a.name).map_or(unknown, |pace| worth(*pace))).collect()
    }

    pub(crate) fn learn(&self, manifest: &Manifest, done: &[LaneDone]) {
        let mut known = self.lock();
        known.retain(|name, _| manifest.applets.iter().any(|a| a.name == *name));
        for (applet, (time, calls)) in done.iter().flat_map(|done| &done.spent) {
            let Some(applet) = manifest.applets.get(*applet) else { continue };
            let mean = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) / calls.max(&1);
            let pace = known.entry(applet.name.clone()).or_insert(mean);
            *pace = *pace - *pace / 4 + mean / 4;
        }
    }
}

/// Who runs a block's lanes.
#[derive(Clone, Debug)]
pub(crate) struct Hands {
    pub(crate) helpers: Helpers,
    /// The project's.
    pub(crate) pace: Arc<Pace>,
}

/// The lanes of a segment while they run.
#[derive(Debug)]
struct Crew {
    inner: Mutex<Inner>,
    /// A helper has ended a lane.
    ended: Condvar,
}

#[derive(Debug)]
struct Inner {
    /// Given away with a lane, and taken back before the lane ends: who waits for all lanes has it alone afterwards.
    segment: Option<Arc<Segment>>,
    /// Lanes that nobody has begun.
    waiting: VecDeque<Lane>,
    /// Lanes that helpers have begun and not ended.
    helped: usize,
    done: Vec<LaneDone>,
    failed: Option<(Place, Error)>,
}

impl Crew {
    // What it guards is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next lane, for the project's own thread.
    fn next(&self) -> Option<Lane> {
        self.lock().waiting.pop_front()
    }

    /// The next lane, for a helper.
    fn help(&self) -> Option<(Lane, Arc<Segment>)> {
        let mut inner = self.lock();
        let segment = inner.segment.clone()?;
        let lane = inner.waiting.pop_front()?;
        inner.helped += 1;
        Some((lane, segment))
    }

    fn take(&self, result: Result<LaneDone, (Place, Error)>, helped: bool) {
        let mut inner = self.lock();
        match result {
            Ok(done) => inner.done.push(done),
            // The first in the block's order is told, as if all had run one after the other.
            Err((place, error)) => {
                if inner.failed.as_ref().is_none_or(|(first, _)| place < *first) {
                    inner.failed = Some((place, error));
                }
            }
        }
        if helped {
            inner.helped = inner.helped.saturating_sub(1);
            self.ended.notify_all();
        }
    }

    /// Waits for what helpers have begun.
    fn finish(&self) -> Result<Vec<LaneDone>, Error> {
        let mut inner = self.lock();
        while inner.helped > 0 {
            inner = self.ended.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.segment = None;
        match inner.failed.take() {
            Some((_, error)) => Err(error),
            None => Ok(std::mem::take(&mut inner.done)),
        }
    }
}

/// Calls for helpers.
struct Caller<'a> {
    crew: &'a Arc<Crew>,
    helpers: &'a Helpers,
    /// Makes readers for helpers.
    reader: Box<dyn StateReader + Send>,
    begun: Instant,
    /// Calls since then, on this thread.
    calls: u32,
    /// Whether it is time to look again.
    called: bool,
}

impl Caller<'_> {
    /// Calls for so many, as far as they are free and have something to do.
    fn call(&mut self, wanted: usize) {
        self.called = true;
        let waiting = self.crew.lock().waiting.len();
        for _ in 0..wanted.min(waiting).min(self.helpers.threads - 1) {
            let Some(permit) = self.helpers.take() else { return };
            let Some(mut reader) = self.reader.fork() else { return };
            let crew = self.crew.clone();
            self.helpers.tasks.spawn_blocking("helps to execute", move || {
                while let Some((lane, segment)) = crew.help() {
                    let result = attempt(&segment, &mut *reader, (&lane, &mut || {}));
                    drop(segment);
                    crew.take(result, true);
                }
                drop(permit);
            });
        }
    }

    /// Behind each call: it takes longer than it was thought.
    fn look(&mut self) {
        self.calls = self.calls.saturating_add(1);
        let spent = self.begun.elapsed();
        if !self.called && spent >= WORTH && spent >= QUICK * self.calls {
            self.call(usize::MAX);
        }
    }
}

/// Runs a lane; a panic is an error.
fn attempt(
    segment: &Segment,
    state: &mut dyn StateReader,
    (lane, between): (&Lane, &mut dyn FnMut()),
) -> Result<LaneDone, (Place, Error)> {
    let mut runner = Runner::new(segment, state);
    // What it leaves half done is dropped with the block.
    let result = catch_unwind(AssertUnwindSafe(|| runner.run(lane, between)));
    let result = result.unwrap_or_else(|_| Err(Error::new(ErrorKind::Fatal, "a handler's call panicked")));
    result.map_err(|error| {
        segment.stop.fetch_min(runner.at.0, Ordering::AcqRel);
        (runner.at, error)
    })
}

/// Runs lanes that need not be in order: on this thread, and on helpers if it is worth it. A lane with the database runs on
/// this one, whose reader has it.
pub(crate) fn run(
    segment: Segment,
    mut lanes: Vec<Lane>,
    (state, reader): (&mut dyn StateReader, Box<dyn StateReader + Send>),
    hands: &Hands,
) -> Result<(Segment, Vec<LaneDone>), Error> {
    // The heaviest first, so that no one is left alone with it at the end.
    lanes.sort_by_key(|lane| (!lane.database, std::cmp::Reverse(lane.weight)));
    let rest = lanes.iter().skip(1).fold(0_u64, |sum, lane| sum.saturating_add(lane.weight));
    let mut lanes = VecDeque::from(lanes);
    let mut own = lanes.pop_front();
    let segment = Arc::new(segment);
    let inner =
        Inner { segment: Some(segment.clone()), waiting: lanes, helped: 0, done: Vec::new(), failed: None };
    let crew = Arc::new(Crew { inner: Mutex::new(inner), ended: Condvar::new() });
    let mut caller = Caller {
        crew: &crew,
        helpers: &hands.helpers,
        reader,
        begun: Instant::now(),
        calls: 0,
        called: false,
    };
    let wanted = rest / u64::try_from(WORTH.as_nanos()).unwrap_or(u64::MAX);
    if wanted > 0 {
        caller.call(usize::try_from(wanted).unwrap_or(usize::MAX));
    }
    while let Some(lane) = own {
        let result = attempt(&segment, state, (&lane, &mut || caller.look()));
        crew.take(result, false);
        own = crew.next();
    }
    let done = crew.finish()?;
    hands.pace.learn(&segment.manifest, &done);
    let segment = Arc::try_unwrap(segment)
        .map_err(|_| Error::new(ErrorKind::Fatal, "a lane has ended and still has its segment"))?;
    Ok((segment, done))
}
