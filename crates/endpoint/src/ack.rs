//! The handle that answers one arrival.

use std::fmt;

use w3bstream_types::{Accepted, AckMode, MessageId, Refusal, RefusalKind};

/// The answer to one arrival.
pub type Answer = Result<Accepted, Refusal>;

/// Answers one arrival, exactly once. Dropped without an answer it refuses with
/// [`RefusalKind::ShuttingDown`], which is transient, so the sender tries again and nothing is lost.
pub struct Ack {
    send: Option<Box<dyn FnOnce(Answer) + Send>>,
    wanted: Option<Wanted>,
}

/// What a sender waits for beyond what its project promises.
struct Wanted {
    mode: AckMode,
    stored: Option<Box<dyn FnOnce(MessageId, bool) + Send>>,
}

impl Ack {
    /// A handle that hands the answer to `send`. `send` must not block.
    #[must_use]
    pub fn new(send: impl FnOnce(Answer) + Send + 'static) -> Self {
        Self { send: Some(Box::new(send)), wanted: None }
    }

    /// The sender waits until `mode` is reached, although its project may promise less. `stored` is told the message's id,
    /// and whether it had been accepted before, as soon as the message is durable; it must not block.
    #[must_use]
    pub fn waiting_for(
        mut self,
        mode: AckMode,
        stored: impl FnOnce(MessageId, bool) + Send + 'static,
    ) -> Self {
        self.wanted = Some(Wanted { mode, stored: Some(Box::new(stored)) });
        self
    }

    /// The mode that must be reached before the answer: the project's, or a later one that the sender waits for.
    #[must_use]
    pub fn mode(&self, of_project: AckMode) -> AckMode {
        self.wanted.as_ref().map_or(of_project, |wanted| wanted.mode.max(of_project))
    }

    /// Says that the message is durable. Nobody is told who does not wait for more.
    pub fn stored(&mut self, id: MessageId, duplicate: bool) {
        if let Some(tell) = self.wanted.as_mut().and_then(|wanted| wanted.stored.take()) {
            tell(id, duplicate);
        }
    }

    /// Answers.
    pub fn answer(mut self, answer: Answer) {
        if let Some(send) = self.send.take() {
            send(answer);
        }
    }

    /// Answers that the message was accepted. What that promises is in `accepted.mode`.
    pub fn accept(self, accepted: Accepted) {
        self.answer(Ok(accepted));
    }

    /// Answers that the message was refused.
    pub fn refuse(self, refusal: Refusal) {
        self.answer(Err(refusal));
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(send) = self.send.take() {
            send(Err(Refusal::new(
                RefusalKind::ShuttingDown,
                "the node stopped working on this message; send it again",
            )));
        }
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.send.is_some() { "Ack(open)" } else { "Ack(answered)" })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use w3bstream_types::Digest;

    use super::*;

    #[test]
    fn who_waits_for_more_is_told_once_that_the_message_is_durable() {
        let id = MessageId(Digest::of(b"1"));
        let (tell, told) = mpsc::sync_channel(4);
        let plain = Ack::new(|_| {});
        assert_eq!(plain.mode(AckMode::Durable), AckMode::Durable);
        let stored = move |id, duplicate| tell.send((id, duplicate)).expect("somebody listens");
        let mut ack = Ack::new(|_| {}).waiting_for(AckMode::Committed, stored);
        assert_eq!(ack.mode(AckMode::Durable), AckMode::Committed);
        assert_eq!(ack.mode(AckMode::Executed), AckMode::Executed);
        ack.stored(id, true);
        ack.stored(id, false);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [(id, true)]);
    }
}
