//! Results on their way to a client: made by a task, taken by the connection when the client reads.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use axum::body::Bytes;
use hyper::body::Frame;
use tokio::sync::Notify;

/// The task's end.
#[derive(Debug)]
pub(crate) struct Outbox(Arc<Inner>);

/// The connection's end: the body of the answer.
#[derive(Debug)]
pub(crate) struct OutboxBody(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    state: Mutex<State>,
    taken: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    reader: Option<Waker>,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All results are there.
    Whole,
    /// The task broke off.
    Broken,
    /// Nobody reads any more.
    Unread,
}

/// Nobody reads any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

/// An outbox that keeps at most `most` bytes, or one result if that is larger.
pub(crate) fn outbox(most: usize) -> (Outbox, OutboxBody) {
    let inner = Arc::new(Inner { most, state: Mutex::default(), taken: Notify::new() });
    (Outbox(Arc::clone(&inner)), OutboxBody(inner))
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the data whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: End) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        self.taken.notify_one();
    }
}

impl Outbox {
    /// Puts `bytes` in, waiting for room.
    pub(crate) async fn push(&self, bytes: &[u8]) -> Result<(), Gone> {
        loop {
            {
                let mut state = self.0.lock();
                if state.end.is_some() {
                    return Err(Gone);
                }
                if state.bytes.is_empty() || state.bytes.len() + bytes.len() <= self.0.most {
                    state.bytes.extend_from_slice(bytes);
                    let reader = state.reader.take();
                    drop(state);
                    reader.into_iter().for_each(Waker::wake);
                    return Ok(());
                }
            }
            self.0.taken.notified().await;
        }
    }

    /// All was put in.
    pub(crate) fn finish(self) {
        self.0.end(End::Whole);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.0.end(End::Broken);
    }
}

impl Drop for OutboxBody {
    fn drop(&mut self) {
        self.0.end(End::Unread);
    }
}

impl hyper::body::Body for OutboxBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut state = self.0.lock();
        if !state.bytes.is_empty() {
            let bytes = std::mem::take(&mut state.bytes);
            drop(state);
            self.0.taken.notify_one();
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(bytes)))));
        }
        match state.end {
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(End::Whole | End::Unread) => Poll::Ready(None),
            // The client must not take what came for all.
            Some(End::Broken) => Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn who_is_not_read_waits_and_what_is_taken_makes_room() {
        block_on(async {
            let (outbox, mut body) = outbox(8);
            outbox.push(b"12345").await.unwrap();
            let full = tokio::time::timeout(std::time::Duration::from_millis(20), outbox.push(b"6789")).await;
            assert!(full.is_err());
            let (pushed, frame) = tokio::join!(outbox.push(b"6789"), body.frame());
            pushed.unwrap();
            assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "12345");
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "6789");
            outbox.push(b"larger than all the room").await.unwrap();
            outbox.finish();
            assert!(body.frame().await.unwrap().is_ok());
            assert!(body.frame().await.is_none());
        });
    }

    #[test]
    fn either_side_notices_that_the_other_is_gone() {
        block_on(async {
            let (first, body) = outbox(8);
            first.push(b"12345678").await.unwrap();
            let (pushed, ()) = tokio::join!(first.push(b"9"), async { drop(body) });
            assert!(pushed.is_err());
            let (second, mut body) = outbox(8);
            drop(second);
            assert!(body.frame().await.unwrap().is_err(), "a broken end is no end");
        });
    }
}
