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
    /// Connections now, of every transport.
    connections_now,
    /// Connections that were accepted.
    connections,
    /// Connections that were closed at once because there were too many.
    connections_over_cap,
    /// Connections that ended without a valid CONNECT in time, TLS and WebSocket handshakes that failed included.
    handshakes_failed,
    /// CONNECTs that were refused with a CONNACK.
    connects_refused,
    /// Sessions now, with and without a connection.
    sessions_now,
    /// Connections that were ended by another one with the same client id.
    takeovers,
    /// Subscriptions now.
    subscriptions_now,
    /// Retained messages now.
    retained_now,
    /// Messages that clients published to other clients, on open topics.
    relayed,
    /// PUBLISHes and SUBSCRIBEs that the gate's rules did not allow.
    not_allowed,
    /// PUBLISH packets from devices.
    publishes,
    /// Bytes of these packets.
    publish_bytes,
    /// PUBLISH packets that were held back because their client sends more than it may.
    publishes_delayed,
    /// Messages that the node accepted.
    accepted,
    /// Of these, messages that it already had.
    duplicates,
    /// Messages to topics that devices may not publish to.
    wrong_topics,
    /// QoS 0 messages lost because of a transient refusal.
    lost_at_qos_0,
    /// PUBACKs and PUBRECs sent, whatever their code.
    pubacks,
    /// Connections that were ended because of a transient refusal.
    ended_transient,
    /// Connections that were ended because the peer broke the protocol.
    ended_protocol,
    /// Connections that were ended because the peer was silent or slow for too long.
    ended_timeout,
    /// Connections that were ended because their session's queue ran over.
    ended_overflow,
    /// Messages put into sessions' queues.
    queued,
    /// Messages that were not put into a session's queue, because it was full or nobody was connected.
    dropped,
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

    pub(crate) fn sub(&self, n: usize) {
        self.0.fetch_sub(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: usize) {
        self.0.store(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
