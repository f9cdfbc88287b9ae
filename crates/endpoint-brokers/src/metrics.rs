//! What is seen of a broker from outside.

use w3bstream_limits::counters;
use w3bstream_types::Timestamp;

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

counters! {
    /// What was counted at one broker since the endpoint was opened.
    pub BrokerMetrics {
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
}
