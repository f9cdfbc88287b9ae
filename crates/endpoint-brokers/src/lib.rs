//! Devices that speak to MQTT brokers of others: this node is a client of each broker.
//!
//! **Takes** messages that devices have published to `w3b/{project}/{type}` at a broker; **gives** arrivals, and sends the
//! broker its acknowledgement when the node has answered. docs/external-brokers.md is the same for operators.
//!
//! # Acknowledgements
//! - PUBACK (QoS 1) or PUBREC (QoS 2) leaves when the node has accepted the message, not earlier, and in the order in
//!   which the messages came. Until then the broker keeps it.
//! - A message that is refused **for ever** is acknowledged too, since the broker would send it for ever. In MQTT 5 with a
//!   code and a reason. The device has had its acknowledgement from the broker before, so it is told on
//!   `w3b/{project}/refused/{device}`, if [`BrokerConfig::tell`] says so.
//! - A message that is refused **for now**, or whose ack was dropped, is never acknowledged. The connection reads no more,
//!   is held for [`BrokersConfig::withhold`], and ended; acknowledgements of other messages leave before. The session is
//!   kept by the broker, so the next connection is sent the message again.
//! - An answer that comes when its connection has ended is not sent on the next one. The message comes again, the node
//!   knows it by its id, and it is acknowledged as a repeat.
//!
//! So nothing that a broker holds for this node's session is lost, and nothing is stored twice. What a broker has
//! acknowledged to a device and then lost itself, this node never sees: **the broker's durability bounds the promise.**
//!
//! # Sessions
//! Each broker keeps one session for [`BrokerConfig::client_id`], which is never begun clean. Nodes that share a
//! subscription ([`BrokerConfig::share`]) have a client id each. When a broker has forgotten the session, the log and
//! [`BrokerMetrics::sessions_lost`] say so.
//!
//! # What is used of rumqttc
//! Its packets, not its event loop, which cannot do what is promised above: it reads on while nothing may be in flight any
//! more, and ends the connection at each PUBREL of an earlier connection, for ever. Its decoder runs behind
//! `catch_unwind`, so that a broker cannot end the node.
//!
//! # Bounds
//! Messages and bytes in flight, packets, queues and every wait have a bound in [`BrokersConfig`] and [`BrokerConfig`]. A
//! message that is too large is refused without being read into memory, and is in nobody's way.

mod broker;
mod config;
mod endpoint;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod incoming;
mod link;
mod metrics;
mod order;
mod packet;
mod session;
mod shared;

pub use config::{BrokerConfig, BrokersConfig, Credentials, Delivery, MqttVersion, Tell};
pub use endpoint::BrokersEndpoint;
pub use metrics::{BrokerMetrics, BrokerStatus};
