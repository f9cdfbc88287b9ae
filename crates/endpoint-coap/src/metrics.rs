//! Counters.

use std::sync::atomic::{AtomicU64, Ordering};

use w3bstream_types::RefusalKind;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What the endpoint has counted since it was made, except for `…_now`, which is at this moment.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Metrics {
            $($(#[$doc])* pub $name: u64,)+
            /// Messages refused, by kind; kinds that never happened are left out. Those that the endpoint
            /// itself refused as malformed are among them.
            pub refused: Vec<(RefusalKind, u64)>,
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)+
            refused: [Counter; RefusalKind::ALL.len()],
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Metrics {
                let refused = RefusalKind::ALL.into_iter().zip(&self.refused);
                Metrics {
                    $($name: self.$name.get(),)+
                    refused: refused.map(|(k, c)| (k, c.get())).filter(|(_, n)| *n > 0).collect(),
                }
            }
        }
    };
}

counters! {
    /// Datagrams that were read.
    datagrams,
    /// Bytes of these datagrams.
    datagram_bytes,
    /// Datagrams that were no CoAP message, or one that has no meaning here.
    malformed,
    /// Resets sent: for malformed Confirmable messages and for pings.
    resets,
    /// Datagrams that could not be sent.
    send_errors,
    /// Requests that were not seen before.
    requests,
    /// Requests that were seen before, and not handed over again.
    repeats,
    /// Requests with a critical option that is not understood.
    bad_options,
    /// Requests that were not even answered, since all that is remembered waits for an answer.
    no_room,
    /// Answered requests that were forgotten before their time, for new ones.
    forgotten,
    /// Requests that are remembered now.
    exchanges_now,
    /// Sources of these now.
    sources_now,
    /// Messages that the node has and has not answered now.
    in_flight_now,
    /// Messages that wait to be handed over now.
    waiting_now,
    /// Blocks of uploads that were taken.
    blocks,
    /// Uploads that are not complete now.
    uploads_now,
    /// Uploads that were given up: too slow, or for others.
    uploads_dropped,
    /// Messages that the node accepted.
    accepted,
    /// Of these, messages that it already had.
    duplicates,
    /// Non-confirmable messages that were refused for now: nobody may send them again.
    lost_non,
    /// Empty acknowledgements sent, with the answer to follow.
    empty_acks,
    /// Answers that followed in a message of their own.
    separate,
    /// Of these, messages that were sent again.
    retransmissions,
    /// Of these, answers that no client ever acknowledged.
    unacknowledged,
    /// Answers that left with less than they had to say, since they would have been more than three times what was
    /// asked with.
    shortened,
}

impl Counters {
    pub(crate) fn refused(&self, kind: RefusalKind) {
        if let Some(place) = RefusalKind::ALL.iter().position(|k| *k == kind) {
            self.refused[place].add(1);
        }
    }
}

/// One counter. Its order relative to other memory does not matter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: usize) {
        self.0.store(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
