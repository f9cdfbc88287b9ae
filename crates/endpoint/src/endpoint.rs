//! The trait, and what an endpoint asks of the node.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use w3bstream_types::{MessageId, MessageSettlement, ProjectName, Received, StateChange};

use crate::{Ack, Error};

/// One message that has arrived, with the handle that answers it.
#[derive(Debug)]
pub struct Arrival {
    /// What was received.
    pub received: Received,
    /// Answers the sender.
    pub ack: Ack,
}

/// A source of arrivals: one protocol on one listener.
#[async_trait]
pub trait Endpoint: Send + Sync + Debug {
    /// A short stable name for logs and metrics, such as `mqtt`.
    fn name(&self) -> &str;

    /// Where devices connect, as URLs with the real port, such as `mqtt://127.0.0.1:1883`. Known as soon as
    /// the endpoint is built: sockets are bound by the constructor, not by `next`.
    fn urls(&self) -> Vec<String>;

    /// The next arrival, in the order in which it was read from its connection. `None` after [`close`] when
    /// everything that was read has been handed out. May be called from several tasks at once.
    ///
    /// [`close`]: Endpoint::close
    ///
    /// # Cancel safety
    /// Dropping the future loses no arrival.
    async fn next(&self) -> Option<Arrival>;

    /// Stops reading: no new connection or message is taken. Arrivals in flight can still be answered.
    /// Idempotent.
    async fn stop_intake(&self);

    /// Waits until every answer was written or its connection is gone, then closes the connections.
    /// Unanswered arrivals get a transient refusal. Idempotent.
    ///
    /// # Errors
    /// [`Error`] if a task of the endpoint had failed.
    async fn close(&self) -> Result<(), Error>;
}

/// A message that the node sends to devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The topic, without wildcards.
    pub topic: String,
    /// The bytes.
    pub payload: Vec<u8>,
    /// Stable id of the message for receivers that see it twice (MQTT 5: user property `w3b-id`).
    pub idempotency_key: String,
}

/// An endpoint that can also send (MQTT).
#[async_trait]
pub trait Publisher: Send + Sync + Debug {
    /// Hands the message to every session that subscribes to its topic, at QoS 1 to those that asked for
    /// it. Returns when it is queued for each, not when it was received.
    ///
    /// # Errors
    /// [`Error`] of a kind to retry if the endpoint cannot take it now.
    async fn publish(&self, publication: Publication) -> Result<(), Error>;
}

/// What an endpoint may ask the node. Implemented by the pipeline.
#[async_trait]
pub trait Query: Send + Sync + Debug {
    /// The life of a message so far, oldest first; `None` if this node does not know it.
    ///
    /// # Errors
    /// [`Error`] if the node's state cannot be read.
    async fn message(&self, id: MessageId) -> Result<Option<MessageLife>, Error>;

    /// Whether the node takes messages; if not, why, in words.
    ///
    /// # Errors
    /// The reason.
    fn ready(&self) -> Result<(), String>;

    /// Metrics in the Prometheus text format.
    fn metrics(&self) -> String;
}

/// The life of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLife {
    /// The project that it was sent to.
    pub project: ProjectName,
    /// The states that it has reached, oldest first.
    pub states: Vec<StateChange>,
    /// What its handlers asked to be brought to contracts, by rising index: the first
    /// [`Self::MOST_SETTLEMENTS`].
    pub settlements: Vec<MessageSettlement>,
    /// How many settlements there are in all.
    pub settlement_count: u64,
}

impl MessageLife {
    /// The most settlements that are listed of one message: a handler may ask for very many.
    pub const MOST_SETTLEMENTS: usize = 100;
}

/// A shared [`Query`].
pub type SharedQuery = Arc<dyn Query>;
