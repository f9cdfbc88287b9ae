//! Counters.

use w3bstream_limits::counters;

counters! {
    /// What the endpoint has counted since it was made, except for `…_now`, which is at this moment.
    pub Metrics {
        /// Connections now, of every transport.
        connections_now,
        /// Connections that were accepted.
        connections,
        /// Connections that were closed at once because there were too many.
        connections_over_cap,
        /// Times that connections were left waiting in the kernel because too many came at once.
        accepts_paused,
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
}
