//! Counters.

use w3bstream_limits::counters;

counters! {
    /// What the endpoint has counted since it was made, except for `…_now`, which is at this moment.
    pub Metrics {
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
}
