//! The queue of what was read and not yet handed out.

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

/// The next of what was read. After `closing` nothing more is put in, and once it is empty: `None`.
///
/// # Cancel safety
/// Dropping the future loses nothing.
pub async fn next<T>(queue: &Mutex<mpsc::Receiver<T>>, closing: &CancellationToken) -> Option<T> {
    let mut queue = queue.lock().await;
    tokio::select! {
        biased;
        next = queue.recv() => next,
        () = closing.cancelled() => {
            queue.close();
            queue.recv().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_handed_out_before_the_end() {
        let (sender, receiver) = mpsc::channel(2);
        let (queue, closing) = (Mutex::new(receiver), CancellationToken::new());
        sender.try_send(1).unwrap();
        sender.try_send(2).unwrap();
        closing.cancel();
        pollster::block_on(async {
            assert_eq!(next(&queue, &closing).await, Some(1));
            assert_eq!(next(&queue, &closing).await, Some(2));
            assert_eq!(next(&queue, &closing).await, None);
        });
        assert!(sender.try_send(3).is_err());
    }
}
