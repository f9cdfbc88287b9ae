//! Limits of the endpoint, and what they must be.

use std::time::Duration;

use w3bstream_endpoint::{Error, ErrorKind};
use w3bstream_limits::check_spans;

/// Limits. Whoever crosses one is refused or cut off; nobody else notices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections, of all addresses together.
    pub max_connections: usize,
    /// Connections of one address (IPv6: one network of 64 bits).
    pub max_connections_per_address: usize,
    /// Messages that were handed to the node and are not answered yet. Beyond it a message waits for
    /// [`overload_wait`](Self::overload_wait); then: 503.
    pub max_in_flight: usize,
    /// Other requests at once: message queries, metrics, the routes of [`HttpConfig::extra`](crate::HttpConfig::extra). Beyond it: 503.
    pub max_queries: usize,
    /// Bytes of request bodies held in memory, of all clients together: those being read, and those of
    /// messages in flight. Beyond it: 503.
    pub max_buffered_bytes: usize,
    /// Bytes of one request body. Beyond it: 413.
    pub max_body_bytes: usize,
    /// Bytes of one request's head, at least 8,192. Beyond it: 431.
    pub max_header_bytes: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// How long a request's head may take, from the first byte to the last; for the first request of a
    /// connection, from the moment it was accepted.
    pub head_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// In each span of this length [`body_progress_bytes`](Self::body_progress_bytes) must arrive.
    pub body_progress_timeout: Duration,
    /// The least progress of a body, in bytes.
    pub body_progress_bytes: usize,
    /// How long a message waits for a place in flight. Short: what is refused early can go elsewhere.
    pub overload_wait: Duration,
    /// How long a message may wait for its acknowledgement. Then: 504, and the sender tries again.
    pub ack_timeout: Duration,
    /// The longest deadline that a sender may set for its handlers' answer, with `?wait=`. It is held to
    /// [`max_in_flight`](Self::max_in_flight) as any message is. Beyond it: 400.
    pub max_wait: Duration,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
    /// How long a client may leave an answer unread.
    pub write_timeout: Duration,
    /// How long `close` waits for the answers to messages in flight.
    pub close_timeout: Duration,
    /// Batches that are read at once, of all addresses together. Beyond it: 503.
    pub max_batches: usize,
    /// Batches of one address (IPv6: one network of 64 bits). Beyond it: 503.
    pub max_batches_per_address: usize,
    /// Messages of one batch that were handed to the node and are not answered yet. Beyond it the batch is not
    /// read further. With the default, batches take no more than half of [`max_in_flight`](Self::max_in_flight).
    pub batch_in_flight: usize,
    /// Lines of one batch, empty ones included. Beyond it the batch ends with 413.
    pub batch_lines: usize,
    /// Bytes of one line. Beyond it the line gets 413, and the next line is read.
    pub batch_line_bytes: usize,
    /// Bytes of one batch, decompressed. Beyond it the batch ends with 413.
    pub batch_bytes: usize,
    /// Bytes of results of one batch that are kept for a client which does not read them yet. Beyond it the batch
    /// is not read further. The default holds the results of [`batch_lines`](Self::batch_lines) accepted messages, so
    /// a client may send all before it reads.
    pub batch_answer_bytes: usize,
    /// How long one batch may take.
    pub batch_timeout: Duration,
    /// Streams of live changes, of all addresses together. Beyond it: 503.
    pub max_event_streams: usize,
    /// Streams of live changes of one address (IPv6: one network of 64 bits). Beyond it: 503.
    pub max_event_streams_per_address: usize,
    /// After this time without a change a stream gets a comment, so that nobody takes it for dead.
    pub event_keep_alive: Duration,
    /// How many times as large as it was sent a compressed body may become, behind its first 64 KiB. Beyond it: 413.
    pub max_compression_ratio: usize,
    /// Idempotency keys of signed messages that are remembered. Beyond it the oldest is forgotten.
    pub idempotency_keys: usize,
    /// How long an idempotency key of a signed message is remembered.
    pub idempotency_time: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_connections: 8192,
            max_connections_per_address: 512,
            max_in_flight: 4096,
            max_queries: 64,
            max_buffered_bytes: 64 * 1024 * 1024,
            max_body_bytes: 2 * 1024 * 1024,
            max_header_bytes: 64 * 1024,
            max_streams: 128,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            body_progress_timeout: Duration::from_secs(10),
            body_progress_bytes: 512,
            overload_wait: Duration::from_millis(250),
            ack_timeout: Duration::from_secs(30),
            max_wait: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(10),
            max_batches: 16,
            max_batches_per_address: 4,
            batch_in_flight: 128,
            batch_lines: 10_000,
            batch_line_bytes: 2 * 1024 * 1024,
            batch_bytes: 256 * 1024 * 1024,
            batch_answer_bytes: 2 * 1024 * 1024,
            batch_timeout: Duration::from_secs(600),
            max_event_streams: 1024,
            max_event_streams_per_address: 128,
            event_keep_alive: Duration::from_secs(15),
            max_compression_ratio: 200,
            idempotency_keys: 65_536,
            idempotency_time: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// hyper panics below this, and no request would fit.
const LEAST_HEADER_BYTES: usize = 8192;

impl HttpLimits {
    /// Checks that the endpoint can work with these limits.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the first setting that is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let bad = |why: String| Err(Error::new(ErrorKind::Config, format!("http endpoint: {why}")));
        let counts = [
            ("max_connections", self.max_connections),
            ("max_connections_per_address", self.max_connections_per_address),
            ("max_in_flight", self.max_in_flight),
            ("max_queries", self.max_queries),
            ("max_body_bytes", self.max_body_bytes),
            ("max_streams", self.max_streams as usize),
            ("max_batches", self.max_batches),
            ("max_batches_per_address", self.max_batches_per_address),
            ("batch_in_flight", self.batch_in_flight),
            ("batch_lines", self.batch_lines),
            ("batch_line_bytes", self.batch_line_bytes),
            ("batch_bytes", self.batch_bytes),
            ("batch_answer_bytes", self.batch_answer_bytes),
            ("max_event_streams", self.max_event_streams),
            ("max_event_streams_per_address", self.max_event_streams_per_address),
            ("max_compression_ratio", self.max_compression_ratio),
            ("idempotency_keys", self.idempotency_keys),
        ];
        // Semaphores and windows take no more; nobody means more.
        const MOST: usize = u32::MAX as usize / 2;
        if let Some((name, v)) = counts.iter().find(|(_, v)| *v == 0 || *v > MOST) {
            return bad(format!("{name} is {v}, it must be 1 to {MOST}"));
        }
        if self.max_header_bytes < LEAST_HEADER_BYTES || self.max_header_bytes > MOST {
            return bad(format!(
                "max_header_bytes is {}, it must be {LEAST_HEADER_BYTES} to {MOST}",
                self.max_header_bytes
            ));
        }
        let (have, least) = (self.max_buffered_bytes, self.max_body_bytes.max(self.batch_line_bytes));
        if have < least || have > MOST {
            let of = "the larger of max_body_bytes and batch_line_bytes";
            return bad(format!("max_buffered_bytes is {have}, it must be {least} ({of}) to {MOST}"));
        }
        self.check_times()
    }

    fn check_times(&self) -> Result<(), Error> {
        let spans = [
            ("head_timeout", self.head_timeout),
            ("body_timeout", self.body_timeout),
            ("body_progress_timeout", self.body_progress_timeout),
            ("ack_timeout", self.ack_timeout),
            ("max_wait", self.max_wait),
            ("idle_timeout", self.idle_timeout),
            ("write_timeout", self.write_timeout),
            ("batch_timeout", self.batch_timeout),
            ("event_keep_alive", self.event_keep_alive),
            ("idempotency_time", self.idempotency_time),
        ];
        let may_be_zero = [("overload_wait", self.overload_wait), ("close_timeout", self.close_timeout)];
        check_spans(&spans, &may_be_zero)
            .map_err(|why| Error::new(ErrorKind::Config, format!("http endpoint: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_possible_and_each_limit_is_checked() {
        HttpLimits::default().check().unwrap();
        type Break = fn(&mut HttpLimits);
        let breaks: [(&str, Break); 14] = [
            ("max_connections", |l| l.max_connections = 0),
            ("max_in_flight", |l| l.max_in_flight = usize::MAX),
            ("max_streams", |l| l.max_streams = 0),
            ("max_header_bytes", |l| l.max_header_bytes = 100),
            ("max_buffered_bytes", |l| l.max_buffered_bytes = l.max_body_bytes - 1),
            ("head_timeout", |l| l.head_timeout = Duration::ZERO),
            ("max_wait", |l| l.max_wait = Duration::ZERO),
            ("idle_timeout", |l| l.idle_timeout = Duration::MAX),
            ("close_timeout", |l| l.close_timeout = Duration::MAX),
            ("batch_in_flight", |l| l.batch_in_flight = 0),
            ("max_buffered_bytes", |l| l.batch_line_bytes = l.max_buffered_bytes + 1),
            ("max_event_streams", |l| l.max_event_streams = 0),
            ("event_keep_alive", |l| l.event_keep_alive = Duration::ZERO),
            ("idempotency_time", |l| l.idempotency_time = Duration::MAX),
        ];
        for (name, break_it) in breaks {
            let mut limits = HttpLimits::default();
            break_it(&mut limits);
            let error = limits.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(name), "{error} should name {name}");
        }
    }
}
