//! Which calls of a segment run in order, and which need not.
//!
//! The results must be those of running every call in the block's order. Two calls must keep their order if one may read what
//! the other writes. What a handler reads and writes is its applet's state, the project's database if its program
//! imports the functions for it, and, by the events that it sends, whatever the handlers of these touch. Hence the lanes:
//!
//! | The programs that the segment's messages reach | A lane is |
//! | --- | --- |
//! | send no events | an applet; all applets that use the database are one lane |
//! | one of them may send events, which may reach any applet | everything |
//!
//! Which messages are allowed is decided before any handler runs: it depends on control transactions and sequence
//! numbers alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use w3bstream_engine::Uses;
use w3bstream_types::{EventType, Manifest};

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
}

/// The routes of event types, as they are met.
struct Routes<'a> {
    manifest: &'a Manifest,
    known: HashMap<EventType, Arc<[(usize, usize)]>>,
}

impl<'a> Routes<'a> {
    fn new(manifest: &'a Manifest) -> Self {
        Self { manifest, known: HashMap::new() }
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
        let routes = routes.of(segment.record(*index)?.event_type());
        Ok(Item { index: *index, hops: hops(&routes).collect() })
    };
    Ok(Lane { items: accepted.iter().map(&mut item).collect::<Result<_, Error>>()?, ..Lane::default() })
}

/// The lanes of a segment, if there are several, and whether each has all that a message can cause.
pub(crate) fn split(
    segment: &Segment,
    accepted: &[usize],
    (state, pace): (&mut dyn StateReader, &Pace),
) -> Result<Option<Vec<Lane>>, Error> {
    let manifest = &segment.manifest;
    let mut routes = Routes::new(manifest);
    let mut reached = BTreeMap::<usize, Uses>::new();
    for index in accepted {
        for (applet, _) in routes.of(segment.record(*index)?.event_type()).iter() {
            let (false, Some(named)) = (reached.contains_key(applet), manifest.applets.get(*applet)) else {
                continue;
            };
            // In the block's order it fails where its turn is.
            let Ok(module) = segment.module(named, state) else { return Ok(None) };
            reached.insert(*applet, module.uses());
        }
    }
    if reached.values().any(|uses| uses.events) {
        return Ok(None);
    }
    let pace = pace.of(manifest);
    let key = |applet: usize| {
        let uses = reached.get(&applet).is_none_or(|uses| uses.database);
        if uses && manifest.database.is_some() { Key::Database } else { Key::Applet(applet) }
    };
    let (mut places, mut lanes) = (HashMap::<Key, usize>::new(), Vec::<Lane>::new());
    for index in accepted {
        for hop in hops(&routes.of(segment.record(*index)?.event_type())) {
            let key = key(hop.route.0);
            let place = *places.entry(key).or_insert_with(|| {
                lanes.push(Lane { database: key == Key::Database, ..Lane::default() });
                lanes.len() - 1
            });
            let Some(lane) = lanes.get_mut(place) else { continue };
            lane.weight = lane.weight.saturating_add(pace.get(hop.route.0).copied().unwrap_or_default());
            match lane.items.last_mut() {
                Some(item) if item.index == *index => item.hops.push(hop),
                _ => lane.items.push(Item { index: *index, hops: vec![hop] }),
            }
        }
    }
    Ok((lanes.len() > 1).then_some(lanes))
}
