//! Devices over MQTT 3.1.1 and 5: an embedded broker for the devices of projects.
//!
//! It is no general broker. A device publishes signed messages to `w3b/{project}/{type}` and nowhere else; what it
//! publishes goes to the node and is not routed to other clients. Clients subscribe to what the node sends:
//! `w3b/{project}/ack/{device}`, `…/refused/{device}`, `…/cmd/{device}` and the outputs of projects. Why, and why
//! the session layer is our own: docs/adr/0003-mqtt-base.md.
//!
//! # Acknowledgements
//! - A PUBACK leaves when the node has accepted the message, not earlier: what that promises is the project's
//!   ack mode. PUBACKs leave in the order of the PUBLISHes, and up to `max_in_flight_per_connection` messages
//!   of one connection wait for theirs together, so that one gateway is not held to one message per commit.
//! - A message that is refused **for ever** gets a PUBACK too, since a client sends it again otherwise and is
//!   stuck. In MQTT 5 with a code (0x87 identity, 0x99 malformed, 0x83 conflict, too old, too large; 0x87 and 0x90
//!   for wrong topics) and a reason string `<code>: <detail>`. In 3.1.1, and at QoS 0, the reason is
//!   published to `w3b/{project}/refused/{device}` (the client id, where the bytes name no device).
//! - A message that is refused **for now**, or whose ack was dropped, never gets a PUBACK, since a client forgets
//!   what was acknowledged with any code. The connection reads no more, is held for `withhold`, and ended with
//!   DISCONNECT 0x97, 0x89 or 0x8B (3.1.1: closed), so that the client comes back and sends again. PUBACKs of
//!   other messages still leave before.
//!
//! # What is spoken
//! QoS 0 and 1 in both directions, clean and resumed sessions (in memory), wildcards, topic aliases from devices,
//! Receive Maximum and Maximum Packet Size both ways, keep alive, takeover of a client id, wills (a signed message
//! to `w3b/{project}/{type}`, with will delay). Not spoken, and said so in CONNACK: QoS 2, retained messages,
//! shared subscriptions, subscription identifiers. Subscribers that ask for QoS 2 get 1.
//!
//! Identity is in the messages' signatures. User name and password are not looked at, so whoever can connect can
//! subscribe to everything: listen where only devices reach, or behind a proxy that ends TLS.
//!
//! # Transports
//! One endpoint listens on any number of addresses ([`MqttConfig::more`]): TCP, TLS, WebSocket, and WebSocket over
//! TLS. TLS is ended by a [`Secure`] that the node brings. MQTT over WebSocket (MQTT 5, section 6) is spoken at the
//! path `/mqtt` with the subprotocol `mqtt`, in binary frames and without compression; web pages connect if their
//! origin is on this machine or in [`MqttConfig::web_socket_origins`]. A WebSocket keeps 4 KiB while it is idle;
//! other connections keep no buffer of ours.
//!
//! # Bounds
//! Connections, sessions, subscriptions, filters' depth, messages and bytes in flight, packets, queues and every wait
//! have a bound in [`MqttConfig`]. What a client publishes per second can be bounded too: from who sends more no
//! more is read for a while. A slow subscriber loses QoS 0 messages, and is disconnected when its queue runs
//! over with QoS 1.

mod answer;
mod config;
mod connect;
mod endpoint;
mod link;
mod metrics;
mod packet;
mod pipe;
mod proto;
mod rate;
mod router;
mod session;
mod shared;
mod slots;
mod stream;
mod topic;
mod upgrade;
mod websocket;

pub use config::MqttConfig;
pub use endpoint::MqttEndpoint;
pub use metrics::Metrics;
pub use stream::{BoxedStream, Listener, PeerInfo, Secure, Stream, Transport};
