//! Settings.

use std::fmt;
use std::time::Duration;

use w3bstream_endpoint::{Error, ErrorKind};
use w3bstream_tls::ClientSettings;

/// Settings of the endpoint. Every queue and every wait has a bound here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokersConfig {
    /// The brokers, by names that differ.
    pub brokers: Vec<BrokerConfig>,
    /// Messages in flight over all brokers.
    pub max_in_flight_total: usize,
    /// Bytes of packets in flight over all brokers; a packet counts in whole KiB.
    pub max_in_flight_bytes: usize,
    /// The largest packet that is read or sent, fixed header included. A larger message is refused for ever.
    pub max_packet_bytes: usize,
    /// From the look-up of the broker's name to its CONNACK, TLS included.
    pub connect_timeout: Duration,
    /// How long a transient refusal is held back before the connection is ended, so that the broker sends again what was
    /// not acknowledged.
    pub withhold: Duration,
    /// How long a broker may leave a packet unfinished, or its side of the connection unread.
    pub stall_timeout: Duration,
    /// The first pause before a broker is connected to again. It doubles with each failure, and a part is by chance.
    pub min_backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// Messages that wait to be sent to one broker.
    pub max_queued_messages: usize,
    /// Messages on their way to one broker that it has not acknowledged.
    pub max_outgoing_in_flight: u16,
    /// How long a publication may wait for the brokers' acknowledgements.
    pub publish_timeout: Duration,
}

impl Default for BrokersConfig {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            max_in_flight_total: 16_384,
            max_in_flight_bytes: 256 << 20,
            max_packet_bytes: 256 << 10,
            connect_timeout: Duration::from_secs(10),
            withhold: Duration::from_secs(1),
            stall_timeout: Duration::from_secs(20),
            min_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(60),
            max_queued_messages: 256,
            max_outgoing_in_flight: 32,
            publish_timeout: Duration::from_secs(10),
        }
    }
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// What the operator calls it, in logs and metrics.
    pub name: String,
    /// `mqtt://host:port` or `mqtts://host:port`; the ports are 1883 and 8883 if left away.
    pub url: String,
    /// The protocol.
    pub version: MqttVersion,
    /// The name of this node's session at the broker. It must stay the same over restarts, and no other client may have
    /// it: nodes that share a subscription have one each.
    pub client_id: String,
    /// What the broker asks for.
    pub credentials: Option<Credentials>,
    /// For `mqtts`: whom to trust, and the certificate to show.
    pub tls: ClientSettings,
    /// Filters of the topics that devices publish to.
    pub topics: Vec<String>,
    /// The group of nodes that split the messages between them (`$share/{group}/…`); `None` takes all.
    pub share: Option<String>,
    /// At which quality the broker is asked to deliver.
    pub qos: Delivery,
    /// How long the broker keeps the session, with what waits in it, while this node is away. In MQTT 3.1.1 the broker
    /// decides.
    pub session_expiry: Duration,
    /// Messages of this broker that may wait for the node's answer. MQTT 5 brokers are told it as Receive Maximum; from
    /// others no more is read until something is answered.
    pub max_in_flight: u16,
    /// How often this node says that it lives. The broker may shorten it.
    pub keep_alive: Duration,
    /// What devices are told through the broker, on `w3b/{project}/ack/{device}` and `…/refused/{device}`.
    pub tell: Tell,
    /// Whether what the node publishes (commands, outputs) goes to this broker.
    pub publish: bool,
}

impl BrokerConfig {
    /// A broker with the defaults: MQTT 5, QoS 1, `w3b/+/+`, a session that is kept for a week, 256 messages in flight,
    /// refusals told, publications sent.
    pub fn new(name: impl Into<String>, url: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            version: MqttVersion::V5,
            client_id: client_id.into(),
            credentials: None,
            tls: ClientSettings::default(),
            topics: vec!["w3b/+/+".to_owned()],
            share: None,
            qos: Delivery::AtLeastOnce,
            session_expiry: Duration::from_secs(7 * 86_400),
            max_in_flight: 256,
            keep_alive: Duration::from_secs(30),
            tell: Tell::Refusals,
            publish: true,
        }
    }
}

/// The version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

/// The quality of service of a subscription. Each message is stored once in either case, since the node knows messages
/// by their id; QoS 0 would lose them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
}

impl Delivery {
    pub(crate) const fn level(self) -> u8 {
        match self {
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}

/// What devices are told through the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// Nothing.
    Nothing,
    /// That a message was refused for ever, and why: they see it in no other way, as the broker has acknowledged it.
    Refusals,
    /// That, and each acceptance: one message to the broker for each one from it.
    All,
}

/// A user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub user: String,
    /// The password, or a token.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, &'static str> {
        let (tls, rest) = match url.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err("begins with mqtt:// or mqtts://"),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err("has a host and a port, and no path");
        }
        if rest.contains('@') {
            return Err("has no user name and password; they have settings of their own");
        }
        let default = if tls { 8883 } else { 1883 };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or("has an IPv6 address in [ ]")?;
                (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("")))
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, Some("")),
            },
        };
        let port = match port.ok_or("has a port behind ':'")? {
            "" => default,
            port => port.parse().map_err(|_| "has a port between 1 and 65535")?,
        };
        if host.is_empty() || port == 0 {
            return Err("has a host, and a port between 1 and 65535");
        }
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

/// The least that `max_packet_bytes` may be: an envelope with its longest DID URL fits.
const MIN_PACKET_BYTES: usize = 1024;
/// The most: what the four length bytes of MQTT can say.
const MAX_PACKET_BYTES: usize = 268_435_460;

fn wrong<T>(what: String) -> Result<T, Error> {
    Err(Error::new(ErrorKind::Config, format!("brokers: {what}")))
}

impl BrokersConfig {
    /// Checks that the settings make sense together.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the setting and the values that it may have.
    pub fn check(&self) -> Result<(), Error> {
        if !(MIN_PACKET_BYTES..=MAX_PACKET_BYTES).contains(&self.max_packet_bytes) {
            return wrong(format!(
                "max_packet_bytes must be between {MIN_PACKET_BYTES} and {MAX_PACKET_BYTES}"
            ));
        }
        if self.max_in_flight_bytes < self.max_packet_bytes {
            return wrong("max_in_flight_bytes must be at least max_packet_bytes".to_owned());
        }
        let counts = [
            ("max_in_flight_total", self.max_in_flight_total),
            ("max_queued_messages", self.max_queued_messages),
            ("max_outgoing_in_flight", self.max_outgoing_in_flight.into()),
        ];
        // Tokio's semaphores and channels take no more than this.
        let most = tokio::sync::Semaphore::MAX_PERMITS >> 3;
        if let Some((name, _)) = counts.iter().find(|(_, n)| *n == 0 || *n > most) {
            return wrong(format!("{name} must be at least 1 and no more than {most}"));
        }
        let waits = [self.connect_timeout, self.stall_timeout, self.min_backoff, self.publish_timeout];
        if waits.iter().any(Duration::is_zero) || self.max_backoff < self.min_backoff {
            return wrong(
                "connect_timeout, stall_timeout, publish_timeout and min_backoff must be longer than nothing, and max_backoff no shorter than min_backoff".to_owned(),
            );
        }
        for (place, broker) in self.brokers.iter().enumerate() {
            broker.check()?;
            if self.brokers.iter().take(place).any(|b| b.name == broker.name) {
                return wrong(format!("there are two brokers with the name {:?}", broker.name));
            }
        }
        Ok(())
    }
}

impl BrokerConfig {
    fn check(&self) -> Result<(), Error> {
        let name = &self.name;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return wrong(format!("{name:?} is no name for a broker; use a-z, 0-9 and '-'"));
        }
        if let Err(why) = Address::parse(&self.url) {
            return wrong(format!("{name}: the url {why}; mqtts://broker.example.org:8883 is one"));
        }
        if self.client_id.is_empty() || self.client_id.len() > 256 || self.client_id.contains('\0') {
            return wrong(format!(
                "{name}: client_id must have between 1 and 256 bytes, and be this node's own"
            ));
        }
        if self.topics.is_empty() || !self.topics.iter().all(|topic| is_filter(topic)) {
            return wrong(format!("{name}: topics must be filters such as w3b/+/+, and at least one"));
        }
        let group = |g: &String| !g.is_empty() && g.len() <= 256 && !g.contains(['/', '+', '#', '\0']);
        if !self.share.as_ref().is_none_or(group) {
            return wrong(format!("{name}: share must be a name without '/', '+' and '#'"));
        }
        if self.max_in_flight == 0 {
            return wrong(format!("{name}: max_in_flight must be at least 1"));
        }
        if !(1..=65_535).contains(&self.keep_alive.as_secs()) {
            return wrong(format!("{name}: keep_alive must be between 1 and 65535 seconds"));
        }
        Ok(())
    }

    /// What is subscribed to.
    pub(crate) fn filters(&self) -> impl Iterator<Item = String> + '_ {
        self.topics.iter().map(|topic| match &self.share {
            Some(group) => format!("$share/{group}/{topic}"),
            None => topic.clone(),
        })
    }
}

/// True for a topic filter: `+` alone in its level, `#` alone in the last.
fn is_filter(filter: &str) -> bool {
    let last = filter.split('/').count() - 1;
    let level = |(place, level): (usize, &str)| {
        !level.contains(['+', '#']) || level == "+" || (level == "#" && place == last)
    };
    (1..=1024).contains(&filter.len()) && !filter.contains('\0') && filter.split('/').enumerate().all(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(broker: BrokerConfig) -> BrokersConfig {
        BrokersConfig { brokers: vec![broker], ..BrokersConfig::default() }
    }

    fn broker() -> BrokerConfig {
        BrokerConfig::new("plant", "mqtt://localhost", "node-1")
    }

    #[test]
    fn addresses_are_read() {
        let read = |url| Address::parse(url).map(|a| (a.host, a.port, a.tls));
        assert_eq!(read("mqtt://b"), Ok(("b".to_owned(), 1883, false)));
        assert_eq!(read("mqtts://b.example.org/"), Ok(("b.example.org".to_owned(), 8883, true)));
        assert_eq!(read("mqtt://127.0.0.1:7"), Ok(("127.0.0.1".to_owned(), 7, false)));
        assert_eq!(read("mqtts://[::1]:9"), Ok(("::1".to_owned(), 9, true)));
        assert_eq!(read("mqtt://[::1]"), Ok(("::1".to_owned(), 1883, false)));
        for bad in [
            "b",
            "http://b",
            "mqtt://",
            "mqtt://:1",
            "mqtt://b:0",
            "mqtt://b:x",
            "mqtt://b:65536",
            "mqtt://b/x",
            "mqtt://u:p@b",
            "mqtt://[::1",
            "mqtt://[::1]x",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wrong_setting_is_named() {
        one(broker()).check().unwrap();
        let wrong = [
            ("name", one(BrokerConfig { name: "A".to_owned(), ..broker() })),
            ("url", one(BrokerConfig { url: "b".to_owned(), ..broker() })),
            ("client_id", one(BrokerConfig { client_id: String::new(), ..broker() })),
            ("topics", one(BrokerConfig { topics: vec!["a/#/b".to_owned()], ..broker() })),
            ("topics", one(BrokerConfig { topics: Vec::new(), ..broker() })),
            ("share", one(BrokerConfig { share: Some("a/b".to_owned()), ..broker() })),
            ("max_in_flight", one(BrokerConfig { max_in_flight: 0, ..broker() })),
            ("keep_alive", one(BrokerConfig { keep_alive: Duration::ZERO, ..broker() })),
            ("two brokers", BrokersConfig { brokers: vec![broker(), broker()], ..BrokersConfig::default() }),
            ("max_packet_bytes", BrokersConfig { max_packet_bytes: 1, ..BrokersConfig::default() }),
            ("max_in_flight_bytes", BrokersConfig { max_in_flight_bytes: 2000, ..BrokersConfig::default() }),
            ("max_queued_messages", BrokersConfig { max_queued_messages: 0, ..BrokersConfig::default() }),
            ("max_backoff", BrokersConfig { max_backoff: Duration::ZERO, ..BrokersConfig::default() }),
        ];
        for (name, config) in wrong {
            let error = config.check().unwrap_err();
            assert!(error.to_string().contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn a_share_is_part_of_the_filter_and_a_password_of_no_log() {
        let shared = BrokerConfig { share: Some("g".to_owned()), ..broker() };
        assert_eq!(shared.filters().collect::<Vec<_>>(), ["$share/g/w3b/+/+"]);
        let credentials = Credentials { user: "u".to_owned(), password: "secret".to_owned() };
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
