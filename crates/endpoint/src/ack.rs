//! The handle that answers one arrival.

use std::fmt;

use w3bstream_types::{Accepted, Refusal, RefusalKind};

/// The answer to one arrival.
pub type Answer = Result<Accepted, Refusal>;

/// Answers one arrival, exactly once. Dropped without an answer it refuses with
/// [`RefusalKind::ShuttingDown`], which is transient, so the sender tries again and nothing is lost.
pub struct Ack(Option<Box<dyn FnOnce(Answer) + Send>>);

impl Ack {
    /// A handle that hands the answer to `send`. `send` must not block.
    #[must_use]
    pub fn new(send: impl FnOnce(Answer) + Send + 'static) -> Self {
        Self(Some(Box::new(send)))
    }

    /// Answers.
    pub fn answer(mut self, answer: Answer) {
        if let Some(send) = self.0.take() {
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
        if let Some(send) = self.0.take() {
            send(Err(Refusal::new(
                RefusalKind::ShuttingDown,
                "the node stopped working on this message; send it again",
            )));
        }
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Ack(open)" } else { "Ack(answered)" })
    }
}
