//! Settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use w3bstream_endpoint::{Error, ErrorKind, covers};

use crate::topic;

use crate::Listener;

/// Settings of the endpoint. Every queue and every wait has a bound here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttConfig {
    /// Where to listen. Port 0 takes a free one; see [`urls`](w3bstream_endpoint::Endpoint::urls).
    pub listen: SocketAddr,
    /// Connections at a time, those that have not sent CONNECT included. More are closed at once.
    pub max_connections: usize,
    /// New connections per second, over all listeners; 0 is without limit. A twentieth of a second's may come at once. More wait
    /// in the kernel, so that who is connected is served while thousands come back.
    pub max_connection_rate: u32,
    /// Messages of one connection that may wait for their answer. MQTT 5 devices are told as Receive Maximum;
    /// from others no more is read until something is answered.
    pub max_in_flight_per_connection: u16,
    /// The same over all connections. Connections take their places in turn, one message each, so who sends little waits behind
    /// this many messages and not behind all that others have sent.
    pub max_in_flight_total: usize,
    /// Bytes of packets in flight over all connections; a packet counts in whole KiB.
    pub max_in_flight_bytes: usize,
    /// The largest packet that is read or sent, fixed header included.
    pub max_packet_bytes: usize,
    /// From the TCP connection to the complete CONNECT.
    pub connect_timeout: Duration,
    /// The longest keep alive. MQTT 5 devices are told it as Server Keep Alive; others that ask for more, or
    /// for none, are closed after one and a half times this without a packet.
    pub max_keep_alive: Duration,
    /// How long a transient refusal is held back before the connection is ended, so that a device that
    /// reconnects and sends again does not spin.
    pub withhold: Duration,
    /// How long a peer may leave a packet unfinished, or its side of the connection unread.
    pub stall_timeout: Duration,
    /// Sessions at a time, those without a connection included.
    pub max_sessions: usize,
    /// The longest time that a session is kept without a connection.
    pub max_session_expiry: Duration,
    /// The file that sessions and retained messages are kept in across restarts; `None`: in memory only.
    pub sessions_file: Option<PathBuf>,
    /// Topic filters of the topics on which clients publish to each other. None of them may match a topic of the node's:
    /// `w3b/…` and `$SYS/…`.
    pub open_topics: Vec<String>,
    /// Retained messages at a time.
    pub max_retained_messages: usize,
    /// Bytes (topic, payload, properties) of all retained messages.
    pub max_retained_bytes: usize,
    /// How often `$SYS/broker/…` is published; zero: never.
    pub sys_every: Duration,
    /// Subscriptions of one session.
    pub max_subscriptions: usize,
    /// Messages that wait to be sent to one session.
    pub max_queued_messages: usize,
    /// Bytes (topic and payload) that wait to be sent to one session.
    pub max_queued_bytes: usize,
    /// QoS 1 and 2 messages on their way to one session that it has not acknowledged.
    pub max_outgoing_in_flight: u16,
    /// Where else to listen, and for what.
    pub more: Vec<Listener>,
    /// TLS and WebSocket handshakes at a time. Others wait for their turn within `connect_timeout`.
    pub max_handshakes: usize,
    /// Bytes of the HTTP request that begins a WebSocket.
    pub max_upgrade_bytes: usize,
    /// Bytes of a WebSocket message, and of one frame of it.
    pub max_web_socket_message_bytes: usize,
    /// Web pages that may connect by WebSocket, by their origin (`https://app.example`), those on this machine
    /// (`localhost`, loopback addresses) besides; `*` is all pages. Who is no browser sends no origin, and is
    /// not asked for one. A page is not trusted for being named like the node, as its owner may let his name
    /// point to the node.
    pub web_socket_origins: Vec<String>,
    /// PUBLISH packets that one client may send per second; 0 is without limit. From who sends more no more is
    /// read for a while, its other packets included.
    pub max_publish_rate: u32,
    /// PUBLISH packets that may come at once, if there were none for a while.
    pub publish_burst: u32,
    /// Bytes of PUBLISH packets that one client may send per second, and at once; 0 is without limit.
    pub max_publish_byte_rate: u64,
    /// How often open connections are looked at for those whose certificate, registration or token was revoked; zero: never.
    pub recheck_every: Duration,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            max_connections: 10_000,
            max_connection_rate: 2000,
            max_in_flight_per_connection: 256,
            max_in_flight_total: 512,
            max_in_flight_bytes: 256 << 20,
            max_packet_bytes: 256 << 10,
            connect_timeout: Duration::from_secs(5),
            max_keep_alive: Duration::from_secs(600),
            withhold: Duration::from_secs(1),
            stall_timeout: Duration::from_secs(20),
            max_sessions: 20_000,
            max_session_expiry: Duration::from_secs(86_400),
            sessions_file: None,
            open_topics: Vec::new(),
            max_retained_messages: 1000,
            max_retained_bytes: 16 << 20,
            sys_every: Duration::from_secs(10),
            max_subscriptions: 32,
            max_queued_messages: 256,
            max_queued_bytes: 1 << 20,
            max_outgoing_in_flight: 32,
            more: Vec::new(),
            max_handshakes: 512,
            max_upgrade_bytes: 8 << 10,
            max_web_socket_message_bytes: 512 << 10,
            web_socket_origins: Vec::new(),
            max_publish_rate: 0,
            publish_burst: 100,
            max_publish_byte_rate: 0,
            recheck_every: Duration::from_secs(5),
        }
    }
}

/// The least that [`MqttConfig::max_packet_bytes`] may be: an envelope with its longest DID URL fits.
const MIN_PACKET_BYTES: usize = 1024;
/// The most: what the four length bytes of MQTT can say.
const MAX_PACKET_BYTES: usize = 268_435_460;

impl MqttConfig {
    /// Checks that the settings make sense together.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the setting and the values that it may have.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Config, format!("mqtt: {what}")));
        if !(MIN_PACKET_BYTES..=MAX_PACKET_BYTES).contains(&self.max_packet_bytes) {
            return wrong("max_packet_bytes must be between 1024 and 268435460");
        }
        if self.max_in_flight_bytes < self.max_packet_bytes {
            return wrong("max_in_flight_bytes must be at least max_packet_bytes");
        }
        let counts = [
            ("max_connections", self.max_connections),
            ("max_in_flight_per_connection", self.max_in_flight_per_connection.into()),
            ("max_in_flight_total", self.max_in_flight_total),
            ("max_sessions", self.max_sessions),
            ("max_queued_messages", self.max_queued_messages),
            ("max_outgoing_in_flight", self.max_outgoing_in_flight.into()),
            ("max_handshakes", self.max_handshakes),
            ("publish_burst", usize::try_from(self.publish_burst).unwrap_or(usize::MAX)),
        ];
        // Tokio's semaphores and channels take no more than this.
        let most = tokio::sync::Semaphore::MAX_PERMITS >> 3;
        if let Some((name, _)) = counts.iter().find(|(_, n)| *n == 0 || *n > most) {
            return wrong(&format!("{name} must be at least 1 and no more than {most}"));
        }
        if self.more.iter().any(|l| l.transport.is_web_socket()) {
            if self.max_web_socket_message_bytes < self.max_packet_bytes {
                return wrong("max_web_socket_message_bytes must be at least max_packet_bytes");
            }
            if !(512..=1 << 20).contains(&self.max_upgrade_bytes) {
                return wrong("max_upgrade_bytes must be between 512 and 1048576");
            }
        }
        let keep_alive = self.max_keep_alive.as_secs();
        if keep_alive == 0 || keep_alive > u16::MAX.into() {
            return wrong("max_keep_alive must be between 1 and 65535 seconds");
        }
        for filter in &self.open_topics {
            let ours = ["w3b/p/t", "w3b/p/ack/d", "$SYS/x"].iter().any(|t| covers(filter, t));
            if !topic::is_filter(filter) || ours || filter.starts_with('$') || filter.starts_with("w3b/") {
                return wrong(&format!(
                    "open_topics has {filter:?}; it takes topic filters that match nothing under w3b/ or $SYS/, such as \"site/#\""
                ));
            }
        }
        let waits = [self.connect_timeout, self.stall_timeout];
        if waits.iter().any(Duration::is_zero) {
            return wrong("connect_timeout and stall_timeout must be longer than nothing");
        }
        Ok(())
    }

    /// Whether clients publish to each other on a topic.
    pub(crate) fn is_open(&self, topic: &str) -> bool {
        self.open_topics.iter().any(|f| covers(f, topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound() {
        MqttConfig::default().check().unwrap();
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let zero = MqttConfig { max_connections: 0, ..MqttConfig::default() };
        assert!(zero.check().unwrap_err().to_string().contains("max_connections"));
        let tiny = MqttConfig { max_packet_bytes: 10, ..MqttConfig::default() };
        assert_eq!(tiny.check().unwrap_err().kind(), ErrorKind::Config);
        for filter in ["#", "+/#", "w3b/x/#", "+/p/t", "$SYS/#", "a#", ""] {
            let open = MqttConfig { open_topics: vec![filter.to_owned()], ..MqttConfig::default() };
            assert!(open.check().unwrap_err().to_string().contains("open_topics"), "{filter}");
        }
        let open = MqttConfig { open_topics: vec!["site/#".to_owned()], ..MqttConfig::default() };
        open.check().unwrap();
        assert!(open.is_open("site/a/b") && !open.is_open("w3b/p/t"));
        let less = MqttConfig { max_in_flight_bytes: 2000, ..MqttConfig::default() };
        assert!(less.check().unwrap_err().to_string().contains("max_in_flight_bytes"));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let more = vec![Listener { address, transport: crate::Transport::WebSocket }];
        let small = MqttConfig { more, max_web_socket_message_bytes: 2000, ..MqttConfig::default() };
        assert!(small.check().unwrap_err().to_string().contains("max_web_socket_message_bytes"));
        let none = MqttConfig { publish_burst: 0, ..MqttConfig::default() };
        assert!(none.check().unwrap_err().to_string().contains("publish_burst"));
    }
}
