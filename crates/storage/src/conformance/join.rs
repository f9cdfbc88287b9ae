//! Several futures at once, without a runtime.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

pub(super) type Task<'t, T> = Pin<Box<dyn Future<Output = T> + Send + 't>>;

/// Drives all of them together and gives their results in order.
pub(super) async fn join<T: Send>(tasks: Vec<Task<'_, T>>) -> Vec<T> {
    let mut running: Vec<(Option<T>, Task<'_, T>)> = tasks.into_iter().map(|task| (None, task)).collect();
    poll_fn(|cx| {
        let mut pending = false;
        for (result, task) in running.iter_mut().filter(|(result, _)| result.is_none()) {
            match task.as_mut().poll(cx) {
                Poll::Ready(value) => *result = Some(value),
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(result, _)| result).collect()
}

/// Lets the others go on once.
pub(super) async fn give_way() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
