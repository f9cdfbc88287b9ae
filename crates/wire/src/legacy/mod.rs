//! The forms in which clients of the original W3bstream (2022 to 2025) send and are answered.
//!
//! They carry a publisher's token instead of a device's signature; what becomes of them is a
//! [`Submission::Token`](w3bstream_types::Submission::Token).
//!
//! | Form | Here |
//! | --- | --- |
//! | `POST …/event/{channel}`: raw body, everything else in the query | [`EventQuery`] to [`Event`], answered by [`EventAnswer`] |
//! | the same with `eventType=DA-TA_PU-SH`: a JSON list | [`read_batch`], answered by [`BatchAnswer`]s |
//! | MQTT, topic is the channel, protobuf | [`read_mqtt`] |
//! | MQTT, topic `{channel}/push/{token}/{type}`, raw | [`read_mqtt`] |
//! | MQTT answers | [`ack_topic`], [`EventAnswer`] |
//! | `POST /message` of the second generation | [`SproutMessage`], [`SproutStates`] |
//! | `POST /v1/task` of the third | [`Task`], [`TaskStates`] |
//!
//! # Invariants
//! - Pure: the time and random bytes come from the caller, in [`Fill`].
//! - Names of the original may have any characters, those of a node `[a-z0-9-]{1,63}`; [`fold_name`] says how one becomes
//!   the other, the same on every node.

mod batch;
mod channel;
mod event;
mod json;
mod mqtt;
mod name;
mod sprout;
mod task;

pub use batch::{BatchAnswer, BatchItem, MAX_BATCH, read_batch};
pub use channel::{Channel, Owner};
pub use event::{Event, EventAnswer, EventQuery, EventResult, Fill, TIME_TOLERANCE_MS, repair_time};
pub use mqtt::{MqttEvent, ack_topic, encode_event, is_legacy_topic, read_mqtt};
pub use name::{event_type_of, fold_name, publisher_of};
pub use sprout::{SproutAnswer, SproutMessage, SproutState, SproutStates};
pub use task::{Signer, Task, TaskAnswer, TaskState, TaskStates};

/// The event type that says that a body is a batch.
pub const BATCH_EVENT_TYPE: &str = "DA-TA_PU-SH";
