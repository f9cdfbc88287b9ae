//! A stretch of a block's messages between two control transactions: what a manifest's handlers do with them.
//!
//! Its calls stand in *lanes*. A lane runs its calls in the block's order, and sees what it has written itself, what the block
//! wrote before the segment, and the state before the block. No lane writes a key that another one reads
//! ([`crate::lanes`]), so it does not matter which of them runs first, or at the same time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use w3bstream_engine::{Cut, Engine, LogLine, Module, Outcome};
use w3bstream_types::{
    Applet, AppletName, Canonical, Digest, Entry, GuestLimits, Manifest, Output, OutputKind, Record,
    ResultRecord, Route, Timestamp,
};
use w3bstream_vfs::{Writes, key};

use crate::apply::{Resolved, StateReader};
use crate::call::{Frame, GuestView, Traced, Trial};
use crate::events::{Chain, Event};
use crate::{Error, ErrorKind};

/// Where a call stands: the entry's index in the block, then its number among the calls that the entry caused.
pub(crate) type Place = (usize, u64);

/// Programs that a block has loaded, by their digests.
#[derive(Debug, Default)]
pub(crate) struct Modules(Mutex<BTreeMap<Digest, Arc<dyn Module>>>);

/// What all lanes of a segment share.
#[derive(Debug)]
pub(crate) struct Segment {
    /// The block's time.
    pub(crate) time: Timestamp,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) engine: Arc<dyn Engine>,
    /// The operator's caps on guests.
    pub(crate) caps: GuestLimits,
    /// What is tried beside it.
    pub(crate) trial: Trial,
    /// The block's entries.
    pub(crate) entries: Arc<Vec<(Entry, Resolved)>>,
    /// What the block wrote before the segment.
    pub(crate) written: Writes,
    pub(crate) modules: Arc<Modules>,
    /// Whether a lane has all calls that a message can cause, so that handlers may send events.
    pub(crate) whole: bool,
    /// The first entry in which a call could not be made. Nobody needs what comes behind it.
    pub(crate) stop: AtomicUsize,
}

/// Calls that run in order.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// By rising index.
    pub(crate) items: Vec<Item>,
    /// Whether the project's database is used.
    pub(crate) database: bool,
    /// How many nanoseconds it will take, as far as one can tell.
    pub(crate) weight: u64,
}

/// The calls of a lane with one message.
#[derive(Debug)]
pub(crate) struct Item {
    /// The message's index in the block.
    pub(crate) index: usize,
    /// Whose part of an applet's state it sees, if the state of an applet is split.
    pub(crate) part: Option<Digest>,
    pub(crate) hops: Vec<Hop>,
}

/// A call with the message itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    /// Which of the calls with the message this is.
    pub(crate) call: u64,
    /// How many they are.
    pub(crate) calls: u64,
    /// The applet's place in the manifest, and its route's.
    pub(crate) route: (usize, usize),
}

/// What one call did to the block.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) place: Place,
    pub(crate) applet: AppletName,
    /// Its result, and what it put out.
    pub(crate) outputs: Vec<Output>,
    pub(crate) logs: Vec<LogLine>,
    /// What limits took away.
    pub(crate) cut: Cut,
    /// If it was to be traced.
    pub(crate) traced: Option<Traced>,
}

/// What a lane did.
#[derive(Debug, Default)]
pub(crate) struct LaneDone {
    /// By rising place.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) writes: Writes,
    /// How long calls took and how many they were, by the applet's place in the manifest.
    pub(crate) spent: BTreeMap<usize, (Duration, u64)>,
}

impl LaneDone {
    /// What all lanes did, in the block's order.
    pub(crate) fn join(all: Vec<Self>) -> Self {
        let mut joined = Self::default();
        for done in all {
            joined.pieces.extend(done.pieces);
            debug_assert!(
                done.writes.keys().all(|key| !joined.writes.contains_key(key)),
                "two lanes wrote one key"
            );
            joined.writes.extend(done.writes);
        }
        joined.pieces.sort_unstable_by_key(|piece| piece.place);
        joined
    }
}

impl Modules {
    pub(crate) fn get(
        &self,
        applet: &Applet,
        (engine, trial): (&dyn Engine, &Trial),
        state: &mut dyn StateReader,
    ) -> Result<Arc<dyn Module>, Error> {
        if let Some(module) = trial.instead_of(&applet.name) {
            return Ok(module.clone());
        }
        let digest = applet.program;
        // What it guards is whole between any two statements. Two lanes may load the same program at once.
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = known().get(&digest) {
            return Ok(module.clone());
        }
        let program = state.program(digest)?;
        let module = engine.load(&program).map_err(|e| {
            Error::new(ErrorKind::Fatal, format!("program {digest} was deployed but does not load"))
                .with_source(e)
        })?;
        known().insert(digest, module.clone());
        Ok(module)
    }
}

impl Segment {
    /// The message at an index of the block.
    pub(crate) fn record(&self, index: usize) -> Result<&Record, Error> {
        match self.entries.get(index) {
            Some((_, Resolved::Message(ordered))) => Ok(ordered.record()),
            _ => Err(Error::new(ErrorKind::Fatal, format!("entry {index} of the block is no message"))),
        }
    }

    pub(crate) fn module(
        &self,
        applet: &Applet,
        state: &mut dyn StateReader,
    ) -> Result<Arc<dyn Module>, Error> {
        self.modules.get(applet, (&*self.engine, &self.trial), state)
    }

    fn route(&self, (applet, route): (usize, usize)) -> Result<(&Applet, &Route), Error> {
        let found = self.manifest.applets.get(applet).and_then(|a| Some((a, a.routes.get(route)?)));
        found.ok_or_else(|| Error::new(ErrorKind::Fatal, "a call has a route that is none of the manifest's"))
    }
}

/// Runs a lane.
pub(crate) struct Runner<'a> {
    pub(crate) segment: &'a Segment,
    pub(crate) state: &'a mut dyn StateReader,
    /// The call that it is at.
    pub(crate) at: Place,
    done: LaneDone,
}

/// What a handler is called with.
struct About<'a> {
    /// The message and its resource id: its place in the block, from 1. Itself, or what caused the event.
    message: (i32, &'a Record),
    /// The message's part of states that are split.
    part: &'a [u8],
    /// The event; `None` for the message itself.
    event: Option<&'a Event>,
    /// Which of the calls with the message, or with the event, this is.
    call: u64,
    /// How many they are.
    calls: u64,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(segment: &'a Segment, state: &'a mut dyn StateReader) -> Self {
        Self { segment, state, at: (0, 0), done: LaneDone::default() }
    }

    /// Runs a lane; `between` is called behind each call.
    pub(crate) fn run(&mut self, lane: &Lane, between: &mut dyn FnMut()) -> Result<LaneDone, Error> {
        for item in &lane.items {
            if item.index > self.segment.stop.load(Ordering::Acquire) {
                break;
            }
            self.item(item, between)?;
        }
        Ok(std::mem::take(&mut self.done))
    }

    /// Runs a message's handlers, then those of the events that they sent, in the order in which they sent them.
    fn item(&mut self, item: &Item, between: &mut dyn FnMut()) -> Result<(), Error> {
        let segment = self.segment;
        let rid = i32::try_from(item.index + 1).unwrap_or(i32::MAX);
        let message = (rid, segment.record(item.index)?);
        let part = item.part.as_ref().map_or(&[][..], |part| part.as_bytes());
        let (mut chain, mut last) = (Chain::default(), 0);
        for Hop { call, calls, route } in &item.hops {
            self.at = (item.index, *call);
            last = *call;
            let about = About { message, part, event: None, call: *call, calls: *calls };
            self.call(*route, &about, &mut chain)?;
            between();
        }
        while let Some(event) = chain.next() {
            let routes = segment.manifest.routes_at(&event.event_type);
            let calls = routes.len() as u64;
            for (call, route) in (0..).zip(routes) {
                last += 1;
                self.at = (item.index, last);
                let about = About { message, part, event: Some(&event), call, calls };
                self.call(route, &about, &mut chain)?;
                between();
            }
        }
        Ok(())
    }

    fn call(&mut self, at: (usize, usize), about: &About<'_>, chain: &mut Chain) -> Result<(), Error> {
        let segment = self.segment;
        let (applet, route) = segment.route(at)?;
        let module = segment.module(applet, self.state)?;
        let begun = Instant::now();
        let (rid, record) = about.message;
        let manifest = &segment.manifest;
        let frame = Frame {
            record,
            rid,
            event: about.event,
            caused: chain.caused(about.event),
            applet: &applet.name,
            partition: if applet.partition.is_none() { &[] } else { about.part },
            handler: &route.handler,
            limits: applet.limits.capped_by(&segment.caps),
            manifest,
            device: record.of_device(),
            block_time: segment.time,
        };
        let mut view = GuestView {
            applet: &applet.name,
            partition: frame.partition,
            writes: [&self.done.writes, &segment.written],
            state: &mut *self.state,
            // Its statements would have to run in the block's order, whatever part they are of.
            database: manifest.database.as_ref().filter(|_| applet.partition.is_none()),
            in_sql: false,
        };
        let mut outcome = module.call(frame.call(), &mut view)?;
        if view.in_sql {
            self.state.sql()?.end_call(outcome.result.is_ok())?;
        }
        let traced = segment.trial.traces(&applet.name).then(|| frame.traced(&outcome));
        chain.take(&mut outcome.outputs, (frame.id(), about.event), (record, manifest))?;
        if !segment.whole && chain.caused(None).events > 0 {
            let why = format!("{} sent an event, although its program was said to send none", applet.name);
            return Err(Error::new(ErrorKind::Fatal, why));
        }
        self.keep(&frame, (&*module, about), (outcome, traced));
        let (time, calls) = self.done.spent.entry(at.0).or_default();
        (*time, *calls) = (*time + begun.elapsed(), *calls + 1);
        Ok(())
    }

    /// Takes over what a call did: its result, its outputs, its writes, its log.
    fn keep(
        &mut self,
        frame: &Frame<'_>,
        (module, about): (&dyn Module, &About<'_>),
        (outcome, traced): (Outcome, Option<Traced>),
    ) {
        let (applet, message) = (frame.applet, frame.record.id());
        let (code, error) = match outcome.result {
            Ok(code) => (code, None),
            Err(why) => (-1, Some(why.code().to_owned())),
        };
        let result = ResultRecord {
            message,
            applet: applet.clone(),
            handler: frame.handler.to_owned(),
            program: module.program(),
            instrumented: module.instrumented(),
            code,
            error,
            gas: outcome.gas,
            call: about.call,
            calls: about.calls,
            outputs: outcome.outputs.len() as u64,
            event: about.event.map(|event| event.id),
        };
        let (target, data) = (message.0.as_bytes().to_vec(), result.to_canonical());
        let mut outputs = outcome.outputs;
        outputs.insert(0, Output { kind: OutputKind::Result, chain_id: 0, target, data });
        let key = |name: Vec<u8>| key::guest(applet, frame.partition, &name);
        self.done.writes.extend(outcome.writes.into_iter().map(|(k, v)| (key(k), Some(v))));
        let removed = outcome.removed.into_iter().map(|k| (key(k), None));
        self.done.writes.extend(removed);
        let (applet, logs, cut) = (applet.clone(), outcome.logs, outcome.cut);
        self.done.pieces.push(Piece { place: self.at, applet, outputs, logs, cut, traced });
    }
}
