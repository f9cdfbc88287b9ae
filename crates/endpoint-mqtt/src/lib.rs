//! Devices over MQTT 3.1.1 and 5: an embedded broker for the devices of projects.
//!
//! A device publishes signed messages to `w3b/{project}/{type}`; what it publishes goes to the node and is not routed to
//! other clients. Clients subscribe to what the node sends: `w3b/{project}/ack/{device}`, `…/refused/{device}`,
//! `…/cmd/{device}` and the outputs of projects. On topics that the operator has opened
//! ([`MqttConfig::open_topics`]; none, unless set) clients publish to each other, as with any broker. Why the session
//! layer is our own: docs/adr/0003-mqtt-base.md.
//!
//! # Acknowledgements
//! - A PUBACK (QoS 2: PUBREC) leaves when the node has accepted the message, not earlier: what that promises is the project's
//!   ack mode. They leave in the order of the PUBLISHes, and up to `max_in_flight_per_connection` messages
//!   of one connection wait for theirs together, so that one gateway is not held to one message per commit.
//! - A message that is refused **for ever** gets one too, since a client sends it again otherwise and is
//!   stuck. In MQTT 5 with a code (0x87 identity, 0x99 malformed, 0x83 conflict, too old, too large; 0x87 and 0x90
//!   for wrong topics) and a reason string `<code>: <detail>`. In 3.1.1, and at QoS 0, the reason is
//!   published to `w3b/{project}/refused/{device}` (the client id, where the bytes name no device).
//! - A message that is refused **for now**, or whose ack was dropped, never gets one, since a client forgets
//!   what was acknowledged with any code. The connection reads no more, is held for `withhold`, and ended with
//!   DISCONNECT 0x97, 0x89 or 0x8B (3.1.1: closed), so that the client comes back and sends again. Answers to
//!   other messages still leave before.
//! - At QoS 2 a repetition with the same packet id is not handed over again while the session lives. After a restart of the
//!   node it is, and the node knows a signed message by its id: one effect either way.
//!
//! # What is spoken
//! QoS 0, 1 and 2 in both directions, clean and resumed sessions, wildcards, shared subscriptions, subscription
//! identifiers and options, retained messages, topic aliases, Receive Maximum and Maximum Packet Size both ways, message
//! expiry, user properties, request and response, keep alive, takeover of a client id, wills with delay (a signed message
//! to `w3b/{project}/{type}`, or anything to an open topic), `$SYS/broker/…`. Not spoken, and said so in CONNACK:
//! enhanced authentication (AUTH).
//!
//! Sessions with an expiry, what is queued for them at QoS 1 and 2, and retained messages are in
//! [`MqttConfig::sessions_file`] before the client is told of them. So are the wills of such sessions: one whose connection the
//! node's end has cut is submitted after the restart when its delay is over, if its client has not come back, and once at most.
//!
//! # Who may do what
//! A [`Gate`](w3bstream_endpoint::Gate) sees user name, password and certificate at CONNECT and says to what the client may
//! publish and subscribe. Identity of messages is in their signatures. A client for whom the gate vouches may
//! send bodies without a signature: events, with the user properties `w3b-event-id` (what makes a repetition a repetition;
//! without it each PUBLISH is an event of its own) and `w3b-time` (milliseconds since the epoch).
//!
//! Every [`MqttConfig::recheck_every`] the gate is asked again for each open connection, and [`Shown`] about what the TLS
//! handshake has shown: whose device, token or certificate was revoked is disconnected (0x87). A session that goes on keeps those
//! of its subscriptions that the gate still allows.
//!
//! # Transports
//! One endpoint listens on any number of addresses ([`MqttConfig::more`]): TCP, TLS, WebSocket, and WebSocket over
//! TLS. TLS is ended by a [`Secure`] that the node brings. MQTT over WebSocket (MQTT 5, section 6) is spoken at the
//! path `/mqtt` with the subprotocol `mqtt`, in binary frames and without compression; web pages connect if their
//! origin is on this machine or in [`MqttConfig::web_socket_origins`]. A WebSocket keeps 4 KiB while it is idle;
//! other connections keep no buffer of ours.
//!
//! # Clients of the original
//! With [`MqttEndpoint::serve_originals`] the topics of the original W3bstream's clients are spoken too: `{channel}` with a
//! protobuf event and `{channel}/push/{token}/{type}`, and `ack/{publisher}` for the answers. Their events carry a token.
//!
//! # Bounds
//! Connections, sessions, subscriptions, filters' depth, messages and bytes in flight, packets, queues, retained messages and every wait
//! have a bound in [`MqttConfig`]. What a client publishes per second can be bounded too: from who sends more no
//! more is read for a while. A slow subscriber loses QoS 0 messages, and is disconnected when its queue runs
//! over with QoS 1 or 2; what is retained and does not fit into its queue is left out.

mod answer;
mod config;
mod connect;
mod endpoint;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hub;
mod incoming;
mod link;
mod log;
mod message;
mod metrics;
mod open;
mod originals;
mod packet;
mod pipe;
mod proto;
mod publish;
mod rate;
mod retained;
mod rights;
mod router;
mod session;
mod shared;
mod slots;
mod stream;
mod sys;
mod topic;
mod upgrade;
mod websocket;
mod wills;

pub use config::MqttConfig;
pub use endpoint::MqttEndpoint;
pub use metrics::Metrics;
pub use originals::{OriginalEvent, Originals};
pub use stream::{BoxedStream, Listener, PeerInfo, Secure, Shown, Stream, Transport};
