//! The reference endpoint: arrivals come from clients in the same process. It needs no executor of its own.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use w3bstream_types::{Received, Refusal, RefusalKind};

use crate::{Ack, Answer, Arrival, Endpoint, Error};

/// An endpoint that is fed by [`MemoryClient`]s.
///
/// At most `max_in_flight` messages wait for their answer at any time, over all clients; a client that
/// sends more waits for its turn.
#[derive(Debug)]
pub struct MemoryEndpoint(Arc<Shared>);

/// Sends messages to a [`MemoryEndpoint`]. Clones are further clients of the same endpoint.
#[derive(Clone, Debug)]
pub struct MemoryClient(Arc<Shared>);

struct Shared {
    max_in_flight: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_id: u64,
    /// Taken in, not yet handed out.
    queue: VecDeque<(u64, Received)>,
    /// Taken in, not yet answered, in the order of arrival. Its length is what `max_in_flight` bounds.
    open: Vec<(u64, Arc<Reply>)>,
    stopped: bool,
    closed: bool,
    /// Those who wait for an arrival, for room, or for the end. All are woken by every change: simple, and
    /// fast enough for a reference.
    waiting: Vec<Waker>,
}

/// Where one answer is put down and picked up.
#[derive(Default)]
struct Reply(Mutex<(Option<Answer>, Option<Waker>)>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MemoryEndpoint")
            .field("max_in_flight", &self.max_in_flight)
            .field("queued", &state.queue.len())
            .field("open", &state.open.len())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the data whole, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stopping() -> Answer {
    Err(Refusal::new(RefusalKind::ShuttingDown, "the node is stopping; send the message again"))
}

impl Reply {
    fn put(&self, answer: Answer) {
        let waker = {
            let mut slot = lock(&self.0);
            slot.0 = Some(answer);
            slot.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Answer> {
        let mut slot = lock(&self.0);
        match slot.0.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                slot.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Changes the state, then wakes all who wait for a change.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (out, wakers) = {
            let mut state = self.lock();
            let out = change(&mut state);
            (out, std::mem::take(&mut state.waiting))
        };
        wakers.into_iter().for_each(Waker::wake);
        out
    }

    /// Resolves when `ready` gives a value. Asked again after every change.
    async fn when<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        poll_fn(|cx| {
            let mut state = self.lock();
            if let Some(value) = ready(&mut state) {
                return Poll::Ready(value);
            }
            if !state.waiting.iter().any(|w| w.will_wake(cx.waker())) {
                state.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// Takes nothing more, and refuses whatever has no answer.
    fn end(&self) {
        let open = self.change(|state| {
            state.stopped = true;
            state.closed = true;
            std::mem::take(&mut state.open)
        });
        open.iter().for_each(|(_, reply)| reply.put(stopping()));
    }

    /// Gives the answer of message `id`, unless it has one already.
    fn answer(&self, id: u64, answer: Answer) {
        let reply = self.change(|state| {
            let place = state.open.iter().position(|(open, _)| *open == id)?;
            Some(state.open.remove(place).1)
        });
        if let Some(reply) = reply {
            reply.put(answer);
        }
    }
}

impl MemoryEndpoint {
    /// An endpoint that holds at most `max_in_flight` messages without an answer; at least one.
    #[must_use]
    pub fn new(max_in_flight: usize) -> Self {
        Self(Arc::new(Shared { max_in_flight: max_in_flight.max(1), state: Mutex::default() }))
    }

    /// A client of this endpoint.
    #[must_use]
    pub fn client(&self) -> MemoryClient {
        MemoryClient(Arc::clone(&self.0))
    }
}

impl Drop for MemoryEndpoint {
    /// As if the process had ended: nobody is left waiting.
    fn drop(&mut self) {
        self.0.end();
    }
}

impl MemoryClient {
    /// Sends a message. The future gives the node's answer; after [`Endpoint::stop_intake`] that is a
    /// transient refusal.
    ///
    /// Messages arrive in the order in which their futures are polled first.
    ///
    /// # Cancel safety
    /// If the future is dropped before the message was taken in, nothing was sent; later, the node works on
    /// it and the answer is lost.
    pub fn send(&self, received: Received) -> impl Future<Output = Answer> + Send + use<> {
        let shared = Arc::clone(&self.0);
        async move {
            let mut received = Some(received);
            let reply = shared
                .when(|state| {
                    if state.stopped {
                        return Some(None);
                    }
                    if state.open.len() >= shared.max_in_flight {
                        return None;
                    }
                    let reply = Arc::new(Reply::default());
                    let id = state.next_id;
                    state.next_id += 1;
                    state.queue.push_back((id, received.take()?));
                    state.open.push((id, Arc::clone(&reply)));
                    Some(Some(reply))
                })
                .await;
            let Some(reply) = reply else { return stopping() };
            shared.change(|_| ());
            poll_fn(|cx| reply.poll(cx)).await
        }
    }
}

#[async_trait]
impl Endpoint for MemoryEndpoint {
    fn name(&self) -> &str {
        "memory"
    }

    fn urls(&self) -> Vec<String> {
        Vec::new()
    }

    async fn next(&self) -> Option<Arrival> {
        let taken = self
            .0
            .when(|state| match state.queue.pop_front() {
                Some(next) => Some(Some(next)),
                None => state.closed.then_some(None),
            })
            .await;
        let (id, received) = taken?;
        let shared = Arc::clone(&self.0);
        let ack = Ack::new(move |answer| shared.answer(id, answer));
        Some(Arrival { received, ack })
    }

    async fn stop_intake(&self) {
        self.0.change(|state| state.stopped = true);
    }

    async fn close(&self) -> Result<(), Error> {
        self.0.end();
        Ok(())
    }
}
