//! Events of the original W3bstream's clients: their topics in, their answers out.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::sync::mpsc;
use w3bstream_endpoint::{Answer, async_trait};
use w3bstream_tasks::Shutdown;
use w3bstream_types::Timestamp;
use w3bstream_wire::legacy::Channel;

use crate::message::Message;
use crate::shared::Shared;

/// Answers that wait to be written down. Beyond it an answer is not told; the event's PUBACK is not touched.
pub(crate) const MAX_WAITING: usize = 4096;

/// An event as its sender must be told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalEvent {
    /// Where it was sent.
    pub channel: Channel,
    /// The publisher's token, a secret.
    pub token: String,
    /// Its id.
    pub event_id: String,
    /// Its time.
    pub time: Timestamp,
}

/// Words answers as the original did. Implemented by the node, which knows its publishers.
#[async_trait]
pub trait Originals: Send + Sync + Debug {
    /// The topic on which an event's sender waits for its answer, and the answer; `None` if the sender is nobody.
    async fn word(&self, event: OriginalEvent, answer: Answer) -> Option<(String, Vec<u8>)>;
}

/// Whether who may not subscribe to anything else may to this: the answers of one publisher, by its key.
pub(crate) fn is_answers(filter: &str) -> bool {
    filter.strip_prefix("ack/").is_some_and(|key| !key.is_empty() && !key.contains(['/', '+', '#']))
}

/// Tells answers until it is asked to stop.
pub(crate) async fn tell(
    shared: Arc<Shared>,
    mut answers: mpsc::Receiver<(OriginalEvent, Answer)>,
    shutdown: Shutdown,
) {
    loop {
        let next = tokio::select! {
            () = shutdown.requested() => return,
            next = answers.recv() => next,
        };
        let (Some((event, answer)), Some(originals)) = (next, shared.originals.get()) else { return };
        if let Some((topic, body)) = originals.word(event, answer).await {
            shared.hub.publish(topic, |topic| Message::of_node(topic, body.into(), None));
        }
    }
}
