//! Which calls of a segment run in order, and which need not.

use crate::Error;
use crate::segment::{Hop, Item, Lane, Segment};

/// All calls of a segment in the block's order.
pub(crate) fn whole(segment: &Segment, accepted: &[usize]) -> Result<Lane, Error> {
    let item = |index: &usize| {
        let routes = segment.manifest.routes_at(segment.record(*index)?.event_type());
        let calls = routes.len() as u64;
        let hops = (0..).zip(routes).map(|(call, route)| Hop { call, calls, route }).collect();
        Ok(Item { index: *index, hops })
    };
    Ok(Lane { items: accepted.iter().map(item).collect::<Result<_, Error>>()? })
}
