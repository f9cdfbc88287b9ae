//! Events that handlers of a message send to handlers of their project.
//!
//! They are executed in the message's own block, before its next entry: first all handlers of the message, then those of
//! each event in the order in which the events were sent, so that what an event's handlers send comes behind all that
//! was sent before. Nothing of it is stored apart from the block's outputs: whoever executes the block finds the same
//! events again, and the block's effects are stored at once or not at all.

use std::collections::VecDeque;

use w3bstream_engine::Caused;
use w3bstream_types::{Digest, EventRecord, EventType, Manifest, Output, OutputKind, Record, payload_digest};

use crate::{Error, ErrorKind};

/// An event that waits for its handlers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Digest,
    pub(crate) event_type: EventType,
    pub(crate) payload: Vec<u8>,
    /// How many events lead from the message to it.
    depth: u64,
}

/// What one message has set off. Bounded by the limits on events of the applets that send them.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    waiting: VecDeque<Event>,
    events: u64,
    bytes: u64,
}

impl Chain {
    /// The event whose handlers are next.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.waiting.pop_front()
    }

    /// What a call with `event`, or with the message itself, is told of it.
    pub(crate) fn caused(&self, event: Option<&Event>) -> Caused {
        let depth = event.map_or(0, |event| event.depth);
        Caused { depth, events: self.events, bytes: self.bytes }
    }

    /// Takes the events among a call's outputs, and leaves their records in their places. `call` names the call.
    pub(crate) fn take(
        &mut self,
        outputs: &mut [Output],
        (call, event): (Digest, Option<&Event>),
        (record, manifest): (&Record, &Manifest),
    ) -> Result<(), Error> {
        let depth = event.map_or(0, |event| event.depth) + 1;
        let sent = outputs.iter_mut().filter(|output| output.kind == OutputKind::Event);
        for (n, output) in (0..).zip(sent) {
            let event_type = event_type(output)
                .ok_or_else(|| Error::new(ErrorKind::Fatal, "the engine gave an event whose type is none"))?;
            let payload = std::mem::take(&mut output.data);
            self.events += 1;
            self.bytes += (output.target.len() + payload.len()) as u64;
            let (id, calls) = (EventRecord::id_of(&call, n), manifest.routes(&event_type).len() as u64);
            let salt = record.salt().copied().unwrap_or_default();
            let told = EventRecord { id, depth, calls, payload: payload_digest(&salt, &payload) };
            *output = told.to_output(&event_type);
            if calls > 0 {
                self.waiting.push_back(Event { id, event_type, payload, depth });
            }
        }
        Ok(())
    }
}

/// The type of an event's output.
pub(crate) fn event_type(output: &Output) -> Option<EventType> {
    std::str::from_utf8(&output.target).ok()?.parse().ok()
}
