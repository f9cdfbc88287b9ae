//! Which calls of a segment run in order, and which need not.
//!
//! The results must be those of running every call in the block's order. Two calls must keep their order if one may read what
//! the other writes. What a handler reads and writes is its applet's state, the project's database if its program
//! imports the functions for it, and, by the events that it sends, whatever the handlers of these touch. Hence the lanes:
//!
//! | The programs that the segment's messages reach | A lane is |
//! | --- | --- |
//! | send no events | an applet; a part of an applet whose state is split by device; all applets that use the database together |
//! | one of them may send events, which may reach any applet | everything |
//! | the same, and the states of all the project's applets are split | what is of one device, publisher or trigger |
//!
//! Which messages are allowed is decided before any handler runs: it depends on control transactions and sequence
//! numbers alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use w3bstream_engine::Uses;
use w3bstream_types::{Digest, EventType, Manifest, Record};
use w3bstream_vfs::key;

use crate::Error;
use crate::apply::StateReader;
use crate::crew::Pace;
use crate::segment::{Hop, Item, Lane, Segment};

/// What keeps calls in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// The project's database.
    Database,
    /// An applet, by its place in the manifest.
    Applet(usize),
    /// A part of an applet's state.
    Part(usize, Digest),
    /// What is of one device, publisher or trigger, in all applets.
    Source(Digest),
}

/// The routes of event types, as they are met.
struct Routes<'a> {
    manifest: &'a Manifest,
    known: HashMap<EventType, Arc<[(usize, usize)]>>,
    /// Whether the state of an applet is split.
    split: bool,
}

impl<'a> Routes<'a> {
    fn new(manifest: &'a Manifest) -> Self {
        let split = manifest.applets.iter().any(|a| !a.partition.is_none());
        Self { manifest, known: HashMap::new(), split }
    }

    /// The message's part of states that are split.
    fn part(&self, record: &Record) -> Option<Digest> {
        self.split.then(|| key::part_of(&record.source()))
    }

    fn of(&mut self, event_type: &EventType) -> Arc<[(usize, usize)]> {
        if let Some(known) = self.known.get(event_type) {
            return known.clone();
        }
        let found: Arc<[_]> = self.manifest.routes_at(event_type).into();
        self.known.insert(event_type.clone(), found.clone());
        found
    }
}

fn hops(routes: &[(usize, usize)]) -> impl Iterator<Item = Hop> {
    let calls = routes.len() as u64;
    (0..).zip(routes).map(move |(call, route)| Hop { call, calls, route: *route })
}

/// All calls of a segment in the block's order.
pub(crate) fn whole(segment: &Segment, accepted: &[usize]) -> Result<Lane, Error> {
    let mut routes = Routes::new(&segment.manifest);
    let mut item = |index: &usize| {
        let record = segment.record(*index)?;
        let part = routes.part(record);
        Ok(Item { index: *index, part, hops: hops(&routes.of(record.event_type())).collect() })
    };
    Ok(Lane { items: accepted.iter().map(&mut item).collect::<Result<_, Error>>()?, ..Lane::default() })
}

/// What the programs use that the segment's messages reach, by their applets' places. `None` if one does not load: in the
/// block's order that is an error where its turn is.
fn uses(
    segment: &Segment,
    accepted: &[usize],
    (routes, state): (&mut Routes<'_>, &mut dyn StateReader),
) -> Result<Option<BTreeMap<usize, Uses>>, Error> {
    let mut reached = BTreeMap::new();
    for index in accepted {
        for (place, _) in routes.of(segment.record(*index)?.event_type()).iter() {
            if let (false, Some(applet)) = (reached.contains_key(place), segment.manifest.applets.get(*place))
            {
                let Ok(module) = segment.module(applet, state) else { return Ok(None) };
                reached.insert(*place, module.uses());
            }
        }
    }
    Ok(Some(reached))
}

/// What keeps a call in order.
fn key(manifest: &Manifest, (applet, uses): (usize, Option<&Uses>), part: Option<Digest>) -> Key {
    let split = manifest.applets.get(applet).is_some_and(|a| !a.partition.is_none());
    match part {
        Some(part) if split => Key::Part(applet, part),
        _ if manifest.database.is_some() && uses.is_none_or(|uses| uses.database) => Key::Database,
        _ => Key::Applet(applet),
    }
}

/// The lanes of a segment, and whether each has all that its messages can cause; `None` if there is just one.
pub(crate) fn split(
    segment: &Segment,
    accepted: &[usize],
    (state, pace): (&mut dyn StateReader, &Pace),
) -> Result<Option<(Vec<Lane>, bool)>, Error> {
    let manifest = &segment.manifest;
    let mut routes = Routes::new(manifest);
    let Some(reached) = uses(segment, accepted, (&mut routes, state))? else { return Ok(None) };
    let whole = reached.values().any(|uses| uses.events);
    if whole && manifest.applets.iter().any(|a| a.partition.is_none()) {
        return Ok(None);
    }
    let pace = pace.of(manifest);
    let (mut places, mut lanes) = (HashMap::<Key, usize>::new(), Vec::<Lane>::new());
    for index in accepted {
        let record = segment.record(*index)?;
        let part = routes.part(record);
        for hop in hops(&routes.of(record.event_type())) {
            let applet = hop.route.0;
            let key = match part {
                Some(part) if whole => Key::Source(part),
                part => key(manifest, (applet, reached.get(&applet)), part),
            };
            let place = *places.entry(key).or_insert_with(|| {
                lanes.push(Lane { database: key == Key::Database, ..Lane::default() });
                lanes.len() - 1
            });
            let Some(lane) = lanes.get_mut(place) else { continue };
            lane.weight = lane.weight.saturating_add(pace.get(applet).copied().unwrap_or_default());
            match lane.items.last_mut() {
                Some(item) if item.index == *index => item.hops.push(hop),
                _ => lane.items.push(Item { index: *index, part, hops: vec![hop] }),
            }
        }
    }
    Ok((lanes.len() > 1).then_some((lanes, whole)))
}

#[cfg(test)]
mod tests;
