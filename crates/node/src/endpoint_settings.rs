//! Settings of what listens: endpoints, TLS, brokers of others, sessions.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The HTTP endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpSettings {
    /// Address and port.
    pub listen: SocketAddr,
    /// Connections at a time.
    pub max_connections: usize,
    /// What the status page shows.
    pub status: StatusPage,
    /// A further address, for HTTPS with the certificate of `[tls]`. Its status page is brief.
    pub tls_listen: Option<SocketAddr>,
    /// Origins of web pages that may use the device routes, such as `https://app.example`. None, unless set.
    pub cors: Vec<String>,
    /// The longest deadline that a sender may set for its handlers' answer (`?wait=`), in milliseconds.
    pub max_wait_ms: u64,
}

impl Default for HttpSettings {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8889));
        Self {
            listen,
            max_connections: 8192,
            status: StatusPage::default(),
            tls_listen: None,
            cors: Vec::new(),
            max_wait_ms: 30_000,
        }
    }
}

/// What the status page shows, which everybody can read who reaches the HTTP endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusPage {
    /// Everything if the endpoint listens on loopback and is asked by an address or as localhost; else as `brief`.
    #[default]
    Auto,
    /// Everything.
    Full,
    /// Counts, states, blocks and transactions. No messages, devices, accounts, or reasons of settlements.
    Brief,
}

/// The MQTT endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MqttSettings {
    /// Whether there is one.
    pub enabled: bool,
    /// Address and port.
    pub listen: SocketAddr,
    /// Connections at a time.
    pub max_connections: usize,
    /// New connections per second, over TCP, TLS and WebSocket together; the others wait for their turn. 0 for no limit.
    pub max_connection_rate: u32,
    /// The largest packet, in bytes.
    pub max_packet_bytes: usize,
    /// Messages of all connections together that the node has and has not answered. The longest wait of accepted messages under
    /// overload is this many divided by what the node takes in a second.
    pub max_in_flight: usize,
    /// What a client without credentials may do.
    pub anonymous: Anonymous,
    /// The file of users with passwords, relative to the data folder. `w3bstream mqtt user` writes it.
    pub users: PathBuf,
    /// What a client may do whose certificate names no registered device.
    pub unknown_certificates: UnknownCertificates,
    /// How often an address may fail to connect with credentials before it has to wait for the rest of a minute.
    pub max_failures_per_minute: u32,
    /// A further address, for MQTT over TLS with the certificate of `[tls]`.
    pub tls_listen: Option<SocketAddr>,
    /// A further address, for MQTT over WebSocket, at the path `/mqtt`.
    pub ws_listen: Option<SocketAddr>,
    /// A further address, for MQTT over WebSocket and TLS.
    pub wss_listen: Option<SocketAddr>,
    /// Origins of web pages that may connect by WebSocket. Those of this machine always may.
    pub web_socket_origins: Vec<String>,
    /// Filters of topics on which clients publish to each other, such as `site/#`. None, unless set.
    pub open_topics: Vec<String>,
    /// How long a session is kept without a connection, at most, in seconds.
    pub max_session_seconds: u64,
    /// Messages per second that one client may publish, over some time; 0 for no limit.
    pub max_publish_rate: u32,
    /// How often open connections are looked at for those whose certificate, registration, token or user was revoked, in
    /// seconds; they are ended. 0 for never.
    pub recheck_seconds: u64,
}

/// What a client without credentials may do over MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anonymous {
    /// Everything if the broker listens on loopback and the client is on loopback; else as `publish`.
    #[default]
    Auto,
    /// Everything.
    Full,
    /// Publish signed messages to `w3b/+/+`, and subscribe to nothing.
    Publish,
    /// Nothing.
    None,
}

/// What a client may do whose certificate names no registered device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownCertificates {
    /// What one without credentials may.
    #[default]
    Anonymous,
    /// Nothing.
    Refuse,
}

impl Default for MqttSettings {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 1883));
        Self {
            enabled: true,
            listen,
            max_connections: 10_000,
            max_connection_rate: 2000,
            max_packet_bytes: 256 * 1024,
            max_in_flight: 512,
            anonymous: Anonymous::default(),
            users: "mqtt-users.toml".into(),
            unknown_certificates: UnknownCertificates::default(),
            max_failures_per_minute: 20,
            tls_listen: None,
            ws_listen: None,
            wss_listen: None,
            web_socket_origins: Vec::new(),
            open_topics: Vec::new(),
            max_session_seconds: 86_400,
            max_publish_rate: 0,
            recheck_seconds: 5,
        }
    }
}

/// Sessions of devices that cannot sign each message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SessionSettings {
    /// How long a session lasts, in seconds; at most a day.
    pub life_seconds: u64,
    /// Introductions of the last two minutes that are remembered; beyond it no session is opened until some are old.
    pub max_nonces: usize,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { life_seconds: 3600, max_nonces: 65_536 }
    }
}

/// Clients of the original W3bstream. Off unless it is switched on: what they send has a token and no signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LegacySettings {
    /// Whether they are served.
    pub enabled: bool,
    /// Address and port of the event routes and of the management routes, which the original had on two.
    pub listen: SocketAddr,
    /// Connections at a time.
    pub max_connections: usize,
    /// Events and other requests under way at a time.
    pub max_in_flight: usize,
}

impl Default for LegacySettings {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8887));
        Self { enabled: false, listen, max_connections: 4096, max_in_flight: 1024 }
    }
}

/// The gRPC endpoint. Off unless it is switched on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GrpcSettings {
    /// Whether there is one.
    pub enabled: bool,
    /// Address and port.
    pub listen: SocketAddr,
    /// Connections at a time.
    pub max_connections: usize,
    /// Whether connections are encrypted, with the certificate of `[tls]`.
    pub tls: bool,
}

impl Default for GrpcSettings {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8890));
        Self { enabled: false, listen, max_connections: 4096, tls: false }
    }
}

/// The CoAP endpoint. Off unless it is switched on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CoapSettings {
    /// Whether there is one.
    pub enabled: bool,
    /// Address and UDP port.
    pub listen: SocketAddr,
    /// The largest message, in bytes.
    pub max_message_bytes: usize,
    /// Messages that wait for their answer, at most.
    pub max_in_flight: usize,
}

impl Default for CoapSettings {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 5683));
        Self { enabled: false, listen, max_message_bytes: 256 * 1024, max_in_flight: 1024 }
    }
}

/// The node's certificate, and those that devices show. Files are PEM, relative to the data folder, and read again when they
/// change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsFiles {
    /// The certificate, followed by those of the authorities in between.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// The authorities that issue devices' certificates. Without it none are asked for.
    pub client_authorities: Option<PathBuf>,
    /// Their revocation lists.
    pub client_crl: Option<PathBuf>,
    /// Whether who shows no certificate is refused, over MQTT.
    pub require_client_certificates: bool,
    /// Whether certificates are still taken when their revocation list is out of date.
    pub allow_stale_crl: bool,
    /// How long what was read from these files is used before they are looked at again, in seconds.
    pub reload_seconds: u64,
}

impl Default for TlsFiles {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            client_authorities: None,
            client_crl: None,
            require_client_certificates: false,
            allow_stale_crl: false,
            reload_seconds: 60,
        }
    }
}

/// A broker of others, through which devices send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BrokerSettings {
    /// What the operator calls it.
    pub name: String,
    /// `mqtt://host:port` or `mqtts://host:port`.
    pub url: String,
    /// The name of this node's session there. The same over restarts, and of nobody else.
    pub client_id: String,
    /// The user name that the broker asks for.
    #[serde(default)]
    pub user: Option<String>,
    /// A file with the password, relative to the data folder.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// For `mqtts`: the authorities that are trusted; those of the system if left away.
    #[serde(default)]
    pub authorities: Option<PathBuf>,
    /// For `mqtts`: this node's certificate, with `key`.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Whether the broker speaks MQTT 3.1.1 only.
    #[serde(default)]
    pub mqtt_3: bool,
    /// Filters of the topics that devices publish to.
    #[serde(default = "device_topics")]
    pub topics: Vec<String>,
    /// The group of nodes that split the messages between them.
    #[serde(default)]
    pub share: Option<String>,
    /// Whether the broker is asked for QoS 2 and not 1.
    #[serde(default)]
    pub qos_2: bool,
    /// What devices are told through the broker.
    #[serde(default)]
    pub tell: BrokerTells,
    /// Messages that may wait for this node's answer.
    #[serde(default = "broker_in_flight")]
    pub max_in_flight: u16,
    /// Whether commands and outputs go to this broker too.
    #[serde(default = "yes")]
    pub publish: bool,
}

/// What devices are told through a broker of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BrokerTells {
    /// Nothing.
    Nothing,
    /// That a message was refused for ever, and why.
    #[default]
    Refusals,
    /// That, and each acceptance.
    All,
}

fn device_topics() -> Vec<String> {
    vec!["w3b/+/+".into()]
}

const fn broker_in_flight() -> u16 {
    256
}

const fn yes() -> bool {
    true
}
