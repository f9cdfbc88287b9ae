//! A stream of messages from a client: read as far as the limits allow, answered as the answers come.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tonic::{Status, Streaming};

use crate::problem::Problem;
use crate::proto;
use crate::server::{Shared, stopping};
use crate::take::{Ready, hand_over, judge};

/// What a stream carries.
pub(crate) trait Item {
    /// The client's number of the message and the message, if there is one.
    fn parts(self) -> (Option<u64>, Option<proto::SubmitRequest>);
}

impl Item for proto::SubmitRequest {
    fn parts(self) -> (Option<u64>, Option<proto::SubmitRequest>) {
        (None, Some(self))
    }
}

impl Item for proto::SubmitStreamRequest {
    fn parts(self) -> (Option<u64>, Option<proto::SubmitRequest>) {
        (Some(self.tag), self.message)
    }
}

/// What became of one message.
pub(crate) type Outcome = Result<proto::Accepted, Problem>;

/// Why no more is read.
#[derive(Debug)]
pub(crate) enum End {
    /// The client has sent its last message.
    Client,
    /// The node takes no more.
    Stopped,
    /// The stream broke, or was too slow, or its bytes are no messages.
    Broken(Status),
}

type Open = Pin<Box<dyn Future<Output = (u64, Outcome)> + Send>>;
type Acquiring = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// One client's stream.
pub(crate) struct Flow<T> {
    shared: Arc<Shared>,
    incoming: Streaming<T>,
    read: u64,
    /// Handed to the node, without an answer that was read. At most `max_in_flight_per_stream`.
    open: FuturesUnordered<Open>,
    /// The one message that waits for a place in flight. It keeps its turn among all who wait.
    waiting: Option<(u64, Ready, Acquiring)>,
    pub(crate) end: Option<End>,
}

enum Step<T> {
    Done(u64, Outcome),
    Place(OwnedSemaphorePermit),
    Message(T),
    Stop(End),
    Nothing,
}

impl<T: Item> Flow<T> {
    pub(crate) fn new(shared: &Arc<Shared>, incoming: Streaming<T>) -> Self {
        let shared = Arc::clone(shared);
        Self { shared, incoming, read: 0, open: FuturesUnordered::new(), waiting: None, end: None }
    }

    /// How many messages were read.
    pub(crate) const fn read(&self) -> u64 {
        self.read
    }

    /// What became of the next message, by its tag; `None` when no more is read and all are answered.
    pub(crate) async fn next(&mut self) -> Option<(u64, Outcome)> {
        loop {
            let answered = match self.step().await {
                Step::Done(tag, outcome) => Some((tag, outcome)),
                Step::Place(place) => self.place(place),
                Step::Message(item) => self.take(item),
                Step::Stop(end) => {
                    self.end = Some(end);
                    self.waiting.take().map(|(tag, _, _)| (tag, Err(stopping())))
                }
                Step::Nothing => return None,
            };
            if let Some((tag, outcome)) = answered {
                return Some((tag, outcome.map_err(|problem| self.shared.counted(problem))));
            }
        }
    }

    async fn step(&mut self) -> Step<T> {
        let ended = self.end.is_some();
        let most = self.shared.limits.max_in_flight_per_stream;
        let may_read = !ended && self.waiting.is_none() && self.open.len() < most;
        let is_waiting = self.waiting.is_some();
        let waiting = async {
            match &mut self.waiting {
                Some((_, _, place)) => place.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some((tag, outcome)) = self.open.next(), if !self.open.is_empty() => Step::Done(tag, outcome),
            () = self.shared.intake.cancelled(), if !ended || is_waiting => Step::Stop(End::Stopped),
            place = waiting, if is_waiting => match place {
                Ok(place) => Step::Place(place),
                // Nobody closes the semaphore; were it closed, nothing more could be taken.
                Err(_) => Step::Stop(End::Stopped),
            },
            message = self.incoming.message(), if may_read => match message {
                Ok(Some(item)) => Step::Message(item),
                Ok(None) => Step::Stop(End::Client),
                Err(status) => Step::Stop(End::Broken(status)),
            },
            else => Step::Nothing,
        }
    }

    /// A message was read.
    fn take(&mut self, item: T) -> Option<(u64, Outcome)> {
        let (tag, request) = item.parts();
        let tag = tag.unwrap_or(self.read);
        self.read += 1;
        match judge(&self.shared, request.unwrap_or_default()) {
            Err(problem) => Some((tag, Err(problem))),
            Ok(ready) => {
                let place = Arc::clone(&self.shared.in_flight).acquire_owned();
                self.waiting = Some((tag, ready, Box::pin(place)));
                None
            }
        }
    }

    /// There is a place for the message that waits.
    fn place(&mut self, place: OwnedSemaphorePermit) -> Option<(u64, Outcome)> {
        let (tag, ready, _) = self.waiting.take()?;
        match hand_over(&self.shared, ready, place) {
            Err(problem) => Some((tag, Err(problem))),
            Ok(answer) => {
                self.open.push(Box::pin(async move { (tag, answer.await) }));
                None
            }
        }
    }
}
