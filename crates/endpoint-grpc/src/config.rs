//! Settings of the endpoint.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use w3bstream_endpoint::{Error, ErrorKind};
use w3bstream_limits::check_spans;

use crate::acceptor::{Acceptor, Plain};

/// Settings of a [`GrpcEndpoint`](crate::GrpcEndpoint).
#[derive(Clone, Debug)]
pub struct GrpcConfig {
    /// The address to listen on. Port 0 takes a free one; [`urls`](w3bstream_endpoint::Endpoint::urls) tells
    /// which.
    pub listen: SocketAddr,
    /// What one client, and all of them, may use.
    pub limits: GrpcLimits,
    /// What connections go through before HTTP/2: [`Plain`] TCP, or TLS.
    pub acceptor: Arc<dyn Acceptor>,
}

impl GrpcConfig {
    /// Default limits, plain TCP.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, limits: GrpcLimits::default(), acceptor: Arc::new(Plain) }
    }
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 8890)))
    }
}

/// Limits. Whoever crosses one is refused or cut off; nobody else notices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcLimits {
    /// Whether `Watch` may be asked for all messages, or of a project, a sender, a type. Else only for one that is named by its id.
    pub watch_all: bool,
    /// Connections, of all addresses together.
    pub max_connections: usize,
    /// Connections of one address (IPv6: one network of 64 bits).
    pub max_connections_per_address: usize,
    /// Calls at once on one connection.
    pub max_streams: u32,
    /// Messages that were handed to the node and are not answered yet. Beyond it a `Submit` waits for
    /// [`overload_wait`](Self::overload_wait), then it is refused; streams are not read meanwhile.
    pub max_in_flight: usize,
    /// Messages of one stream without an answer, or with one that the client has not read. Beyond it the stream
    /// is not read.
    pub max_in_flight_per_stream: usize,
    /// Calls of `Messages.Get` at once. Beyond it: `RESOURCE_EXHAUSTED`.
    pub max_queries: usize,
    /// Watchers at once, of messages and of health. Beyond it: `RESOURCE_EXHAUSTED`.
    pub max_watches: usize,
    /// Bytes of messages held in memory, of all clients together: those being read, and those in flight. Beyond
    /// it: `RESOURCE_EXHAUSTED`.
    pub max_buffered_bytes: usize,
    /// Bytes of one encoded message. Beyond it: `OUT_OF_RANGE`.
    pub max_message_bytes: usize,
    /// Bytes of one call's headers. Beyond it HTTP/2 refuses the call.
    pub max_header_bytes: u32,
    /// Refusals that the summary of one `SubmitMany` lists.
    pub max_listed_refusals: usize,
    /// How long a new connection may take to greet (TLS and HTTP/2).
    pub handshake_timeout: Duration,
    /// How long one message may take, from its first byte to its last; where a call takes one message only, from
    /// its head to its end.
    pub message_timeout: Duration,
    /// How long a client's stream may be silent between messages.
    pub stream_idle_timeout: Duration,
    /// How long a `Submit` waits for a place in flight. Short: what is refused early can go elsewhere.
    pub overload_wait: Duration,
    /// How long a message may wait for its acknowledgement. Then it is refused for now, and sent again.
    pub ack_timeout: Duration,
    /// A peer that is silent for so long is asked whether it is there (an HTTP/2 ping).
    pub keep_alive_interval: Duration,
    /// How long it may take to answer that.
    pub keep_alive_timeout: Duration,
    /// How long a connection without a call is kept.
    pub idle_timeout: Duration,
    /// How long a client may leave answers unread. Not of `Watch`, which is told what it has missed.
    pub write_timeout: Duration,
    /// How long `close` waits for the answers to messages in flight.
    pub close_timeout: Duration,
    /// How often a watcher of health looks.
    pub health_interval: Duration,
}

impl Default for GrpcLimits {
    fn default() -> Self {
        Self {
            watch_all: true,
            max_connections: 4096,
            max_connections_per_address: 256,
            max_streams: 64,
            max_in_flight: 4096,
            max_in_flight_per_stream: 256,
            max_queries: 64,
            max_watches: 256,
            max_buffered_bytes: 64 * 1024 * 1024,
            max_message_bytes: 2 * 1024 * 1024,
            max_header_bytes: 16 * 1024,
            max_listed_refusals: 1000,
            handshake_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(20),
            stream_idle_timeout: Duration::from_secs(300),
            overload_wait: Duration::from_millis(250),
            ack_timeout: Duration::from_secs(30),
            keep_alive_interval: Duration::from_secs(60),
            keep_alive_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(10),
            health_interval: Duration::from_secs(1),
        }
    }
}

/// Semaphores and windows take no more; nobody means more.
const MOST: usize = u32::MAX as usize / 2;
/// A token alone may have 4 KiB, and every client sends some headers of its own.
const LEAST_HEADER_BYTES: u32 = 4096;

impl GrpcLimits {
    /// Checks that the endpoint can work with these limits.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the first setting that is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let bad = |why: String| Err(Error::new(ErrorKind::Config, format!("grpc endpoint: {why}")));
        let counts = [
            ("max_connections", self.max_connections),
            ("max_connections_per_address", self.max_connections_per_address),
            ("max_streams", self.max_streams as usize),
            ("max_in_flight", self.max_in_flight),
            ("max_in_flight_per_stream", self.max_in_flight_per_stream),
            ("max_queries", self.max_queries),
            ("max_watches", self.max_watches),
            ("max_message_bytes", self.max_message_bytes),
            ("max_listed_refusals", self.max_listed_refusals),
        ];
        if let Some((name, v)) = counts.iter().find(|(_, v)| *v == 0 || *v > MOST) {
            return bad(format!("{name} is {v}, it must be 1 to {MOST}"));
        }
        if self.max_header_bytes < LEAST_HEADER_BYTES || self.max_header_bytes as usize > MOST {
            let have = self.max_header_bytes;
            return bad(format!("max_header_bytes is {have}, it must be {LEAST_HEADER_BYTES} to {MOST}"));
        }
        if self.max_buffered_bytes < self.max_message_bytes || self.max_buffered_bytes > MOST {
            let (have, least) = (self.max_buffered_bytes, self.max_message_bytes);
            return bad(format!(
                "max_buffered_bytes is {have}, it must be {least} (max_message_bytes) to {MOST}"
            ));
        }
        let spans = [
            ("handshake_timeout", self.handshake_timeout),
            ("message_timeout", self.message_timeout),
            ("stream_idle_timeout", self.stream_idle_timeout),
            ("ack_timeout", self.ack_timeout),
            ("keep_alive_interval", self.keep_alive_interval),
            ("keep_alive_timeout", self.keep_alive_timeout),
            ("idle_timeout", self.idle_timeout),
            ("write_timeout", self.write_timeout),
            ("health_interval", self.health_interval),
        ];
        let may_be_zero = [("overload_wait", self.overload_wait), ("close_timeout", self.close_timeout)];
        check_spans(&spans, &may_be_zero).or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/hostile-traffic.md promises it; `a_slow_message_is_cut_off` shows that the limit holds.
    #[test]
    fn by_default_who_sends_slowly_is_gone_within_half_a_minute() {
        let limits = GrpcLimits::default();
        assert_eq!(limits.message_timeout, Duration::from_secs(20));
        assert!(limits.handshake_timeout + limits.message_timeout <= Duration::from_secs(30));
    }

    #[test]
    fn the_defaults_are_possible_and_each_limit_is_checked() {
        GrpcLimits::default().check().unwrap();
        type Change = fn(&mut GrpcLimits);
        let wrong: [(&str, Change); 8] = [
            ("max_connections", |l| l.max_connections = 0),
            ("max_streams", |l| l.max_streams = 0),
            ("max_in_flight_per_stream", |l| l.max_in_flight_per_stream = 0),
            ("max_header_bytes", |l| l.max_header_bytes = 100),
            ("max_buffered_bytes", |l| l.max_buffered_bytes = l.max_message_bytes - 1),
            ("message_timeout", |l| l.message_timeout = Duration::ZERO),
            ("idle_timeout", |l| l.idle_timeout = Duration::MAX),
            ("close_timeout", |l| l.close_timeout = Duration::MAX),
        ];
        for (name, change) in wrong {
            let mut limits = GrpcLimits::default();
            change(&mut limits);
            let error = limits.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
