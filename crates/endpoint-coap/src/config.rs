//! Settings.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use w3bstream_endpoint::{Error, ErrorKind};

/// Settings of the endpoint. Every table, queue and wait has a bound here.
///
/// A *source* is an address with its port, as RFC 7252 §1.2 defines an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoapConfig {
    /// Where to listen. Port 0 takes a free one; see [`urls`](w3bstream_endpoint::Endpoint::urls).
    pub listen: SocketAddr,
    /// The largest datagram that is read. Larger ones are answered with 4.13 and a block size.
    pub max_datagram_bytes: usize,
    /// Messages that the node has and has not answered.
    pub max_in_flight: usize,
    /// Messages that wait until fewer are in flight. Further ones are answered with 5.03.
    pub max_waiting: usize,
    /// How long a message waits so before it is answered with 5.03.
    pub overload_wait: Duration,
    /// Bytes of messages that wait or are in flight.
    pub max_open_bytes: usize,
    /// Requests of one source that have no answer yet.
    pub max_open_per_source: usize,
    /// How long a Confirmable request waits for its answer before an empty acknowledgement leaves and the answer
    /// follows in a message of its own. Less than the 2 seconds after which a client repeats itself.
    pub ack_within: Duration,
    /// How long a request is remembered, to answer its repeats: EXCHANGE_LIFETIME of RFC 7252 §4.8.2.
    pub exchange_lifetime: Duration,
    /// Requests that are remembered. The oldest with an answer is forgotten for a new one.
    pub max_exchanges: usize,
    /// The same of one source.
    pub max_exchanges_per_source: usize,
    /// Sources of which something is remembered.
    pub max_sources: usize,
    /// The largest message, whether it comes whole or in blocks.
    pub max_message_bytes: usize,
    /// Uploads in blocks that are not complete.
    pub max_uploads: usize,
    /// The same of one source.
    pub max_uploads_per_source: usize,
    /// Bytes of all uploads that are not complete.
    pub max_upload_bytes: usize,
    /// How long the next block of an upload may take.
    pub upload_idle: Duration,
    /// How long an upload may take from its first block to its last.
    pub upload_timeout: Duration,
    /// Questions for messages that the node works on. Further ones are answered with 5.03.
    pub max_queries: usize,
    /// How long the node may take for one.
    pub query_timeout: Duration,
    /// Answers in messages of their own that no client has acknowledged yet. Further ones are sent once and
    /// Non-confirmable.
    pub max_separate: usize,
    /// ACK_TIMEOUT of RFC 7252 §4.8: how long, at least, until such an answer is sent again the first time. It
    /// doubles each time.
    pub ack_timeout: Duration,
    /// MAX_RETRANSMIT of RFC 7252 §4.8: how often it is sent again.
    pub max_retransmit: u32,
    /// How long `close` waits for the acknowledgements of such answers.
    pub close_timeout: Duration,
}

impl Default for CoapConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5683)),
            max_datagram_bytes: 2048,
            max_in_flight: 1024,
            max_waiting: 1024,
            overload_wait: Duration::from_secs(2),
            max_open_bytes: 64 << 20,
            max_open_per_source: 256,
            ack_within: Duration::from_secs(1),
            exchange_lifetime: Duration::from_secs(247),
            max_exchanges: 16_384,
            max_exchanges_per_source: 1024,
            max_sources: 8192,
            max_message_bytes: 256 << 10,
            max_uploads: 512,
            max_uploads_per_source: 4,
            max_upload_bytes: 32 << 20,
            upload_idle: Duration::from_secs(60),
            upload_timeout: Duration::from_secs(600),
            max_queries: 64,
            query_timeout: Duration::from_secs(10),
            max_separate: 4096,
            ack_timeout: Duration::from_secs(2),
            max_retransmit: 4,
            close_timeout: Duration::from_secs(2),
        }
    }
}

impl CoapConfig {
    /// Checks that the settings make sense together.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the setting and the values that it may have.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Config, format!("coap: {what}")));
        if one_for_many(self.listen.ip()) {
            return wrong("listen must be the address of one host: multicast and broadcast are not answered");
        }
        if !(256..=65_507).contains(&self.max_datagram_bytes) {
            return wrong("max_datagram_bytes must be between 256 and 65507");
        }
        let counts = [
            ("max_in_flight", self.max_in_flight),
            ("max_open_per_source", self.max_open_per_source),
            ("max_exchanges_per_source", self.max_exchanges_per_source),
            ("max_sources", self.max_sources),
            ("max_uploads", self.max_uploads),
            ("max_uploads_per_source", self.max_uploads_per_source),
            ("max_queries", self.max_queries),
        ];
        // Tokio's channels take no more than this.
        let most = tokio::sync::Semaphore::MAX_PERMITS >> 3;
        if let Some((name, _)) = counts.iter().find(|(_, n)| *n == 0 || *n > most) {
            return wrong(&format!("{name} must be at least 1 and no more than {most}"));
        }
        let open = self.max_in_flight.saturating_add(self.max_waiting).saturating_add(self.max_queries);
        if self.max_exchanges <= open {
            return wrong(
                "max_exchanges must be more than max_in_flight, max_waiting and max_queries together",
            );
        }
        // What Size1 can say is four bytes.
        if self.max_message_bytes < 1024 || u32::try_from(self.max_message_bytes).is_err() {
            return wrong("max_message_bytes must be at least 1024 and fit into 32 bits");
        }
        if self.max_upload_bytes < self.max_message_bytes || self.max_open_bytes < self.max_message_bytes {
            return wrong("max_upload_bytes and max_open_bytes must be at least max_message_bytes");
        }
        // Each has a Message ID of its own.
        if self.max_separate > 32_768 {
            return wrong("max_separate must be at most 32768");
        }
        if self.max_retransmit > 10 {
            return wrong("max_retransmit must be at most 10");
        }
        let waits = [
            self.exchange_lifetime,
            self.upload_idle,
            self.upload_timeout,
            self.query_timeout,
            self.ack_timeout,
        ];
        if waits.iter().any(Duration::is_zero) {
            return wrong(
                "exchange_lifetime, upload_idle, upload_timeout, query_timeout and ack_timeout must be longer than nothing",
            );
        }
        Ok(())
    }
}

/// True for an address that reaches more than one host.
pub(crate) fn one_for_many(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound() {
        CoapConfig::default().check().unwrap();
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let base = CoapConfig::default;
        for (config, name) in [
            (CoapConfig { max_in_flight: 0, ..base() }, "max_in_flight"),
            (CoapConfig { max_datagram_bytes: 10, ..base() }, "max_datagram_bytes"),
            (CoapConfig { max_exchanges: 2000, ..base() }, "max_exchanges"),
            (CoapConfig { max_upload_bytes: 2000, ..base() }, "max_upload_bytes"),
            (CoapConfig { ack_timeout: Duration::ZERO, ..base() }, "ack_timeout"),
            (CoapConfig { max_retransmit: 11, ..base() }, "max_retransmit"),
            (CoapConfig { max_separate: 40_000, ..base() }, "max_separate"),
            (CoapConfig { listen: "224.0.1.187:5683".parse().unwrap(), ..base() }, "multicast"),
            (CoapConfig { listen: "[ff02::fd]:5683".parse().unwrap(), ..base() }, "multicast"),
        ] {
            let error = config.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
