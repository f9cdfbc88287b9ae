//! What is seen of a broker from outside.

use std::sync::atomic::{AtomicU64, Ordering};

use w3bstream_types::{RefusalKind, Timestamp};

/// One broker, as it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerStatus {
    /// The operator's name for it.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// True while this node is connected and the broker has granted every subscription.
    pub connected: bool,
    /// Since when that is so, or is not so.
    pub since: Timestamp,
    /// Why the last connection failed or ended; kept while the next one is good.
    pub last_error: Option<String>,
    /// Messages of this broker that wait for the node's answer.
    pub in_flight: u64,
    /// What was counted.
    pub metrics: BrokerMetrics,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What was counted at one broker since the endpoint was opened.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct BrokerMetrics {
            $($(#[$doc])* pub $name: u64,)+
            /// Messages refused, by kind; kinds that never happened are left out. Those that the endpoint itself refused
            /// are among them.
            pub refused: Vec<(RefusalKind, u64)>,
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)+
            pub(crate) in_flight: Counter,
            refused: [Counter; RefusalKind::ALL.len()],
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> BrokerMetrics {
                let refused = RefusalKind::ALL.into_iter().zip(&self.refused);
                BrokerMetrics {
                    $($name: self.$name.get(),)+
                    refused: refused.map(|(k, c)| (k, c.get())).filter(|(_, n)| *n > 0).collect(),
                }
            }
        }
    };
}

counters! {
    /// Connections that the broker granted.
    connects,
    /// Attempts that failed before that.
    connects_failed,
    /// Connections after which the broker had forgotten this node's session, with what waited in it.
    sessions_lost,
    /// Messages from the broker.
    publishes,
    /// Bytes of their packets.
    publish_bytes,
    /// Of these, messages that the broker marked as sent again.
    redelivered,
    /// Messages that the node accepted.
    accepted,
    /// Of these, messages that it already had.
    duplicates,
    /// Messages on topics that devices do not publish to.
    wrong_topics,
    /// QoS 0 messages lost because of a transient refusal.
    lost_at_qos_0,
    /// PUBACKs and PUBRECs sent, whatever their code.
    acknowledged,
    /// Connections that this node ended because of a transient refusal.
    ended_transient,
    /// Messages sent to the broker.
    sent,
    /// Of these, those that it acknowledged.
    sent_acknowledged,
    /// Messages for devices that were not sent, as the queue was full, the broker away, or the packet over its limit.
    dropped,
}

impl Counters {
    pub(crate) fn refused(&self, kind: RefusalKind) {
        if let Some(counter) =
            RefusalKind::ALL.iter().position(|k| *k == kind).and_then(|place| self.refused.get(place))
        {
            counter.add(1);
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
