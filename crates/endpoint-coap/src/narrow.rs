//! A core with limits that a few datagrams reach, and answers for it: for properties and fuzzing.

use w3bstream_types::{Accepted, AckMode, MessageId, Refusal, RefusalKind};

use crate::CoapConfig;

pub(crate) fn config() -> CoapConfig {
    CoapConfig {
        max_in_flight: 3,
        max_waiting: 3,
        max_open_per_source: 4,
        max_queries: 2,
        max_exchanges: 12,
        max_exchanges_per_source: 6,
        max_sources: 4,
        max_message_bytes: 1024,
        max_open_bytes: 2048,
        max_uploads: 3,
        max_uploads_per_source: 2,
        max_upload_bytes: 1024,
        max_separate: 4,
        ..CoapConfig::default()
    }
}

/// The most that each of [`Core::sizes`](crate::core::Core::sizes) may be with them.
pub(crate) const BOUNDS: [usize; 9] = [12, 4, 3, 1024, 4, 3, 3, 2048, 2];

/// A refusal of each kind, and above those a message that is accepted.
pub(crate) fn answer(how: u8) -> w3bstream_endpoint::Answer {
    match RefusalKind::ALL.get(usize::from(how)) {
        Some(kind) => Err(Refusal::new(*kind, "x".repeat(usize::from(how) * 40))),
        None => {
            let id = MessageId::of_signing_input(&[how]);
            Ok(Accepted { id, duplicate: how.is_multiple_of(2), mode: AckMode::Durable, results: Vec::new() })
        }
    }
}
