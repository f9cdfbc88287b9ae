//! The listener of the admin API: who may be here, and for how long.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use w3bstream_tasks::Tasks;

use super::problem;

/// Bounds of the listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at a time; the rest wait to be accepted.
    connections: usize,
    /// How long the head of a request may take, and how long a connection may be silent.
    head: Duration,
    /// How long a request may take, its body included.
    answer: Duration,
}

/// More connections than a stuck tool leaves behind: whoever waits here is the operator. The command line waits for an answer as
/// long as it may take.
pub(super) const BOUNDS: Bounds =
    Bounds { connections: 512, head: Duration::from_secs(10), answer: Duration::from_secs(60) };

/// Serves the routes over HTTP/1.1 until the group stops.
pub(super) async fn run(listener: Arc<TcpListener>, routes: Router, bounds: Bounds, group: Tasks) {
    let shutdown = group.shutdown();
    let routes = in_time(routes, bounds.answer);
    let places = Arc::new(Semaphore::new(bounds.connections));
    loop {
        let place = tokio::select! {
            () = shutdown.requested() => return,
            place = places.clone().acquire_owned() => place,
        };
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            () = shutdown.requested() => return,
            accepted = listener.accept() => accepted,
        };
        // An error here is about one connection (or a passing lack of descriptors).
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let service = TowerToHyperService::new(routes.clone());
        let end = group.shutdown();
        group.spawn("admin connection", async move {
            // Not both versions of HTTP: a connection that says nothing has no version, and no deadline.
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(bounds.head);
            let served = builder.serve_connection(TokioIo::new(socket), service);
            tokio::select! {
                _ = served => {}
                () = end.requested() => {}
            }
            drop(place);
        });
    }
}

/// Who sends a body slowly does not keep its place.
fn in_time(routes: Router, within: Duration) -> Router {
    routes.layer(middleware::from_fn(move |request: Request, next: Next| async move {
        let answer = tokio::time::timeout(within, next.run(request)).await;
        let why = || format!("no answer within {} s", within.as_secs_f64());
        answer.unwrap_or_else(|_| problem(StatusCode::REQUEST_TIMEOUT, "request-timeout", &why()))
    }))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Instant;

    use axum::body::Bytes;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    /// Nothing here takes longer, unless something hangs.
    const PATIENCE: Duration = Duration::from_secs(20);
    const SHORT: Bounds =
        Bounds { connections: 2, head: Duration::from_millis(300), answer: Duration::from_millis(600) };
    const HALF_A_HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: localhost\r\nX: ";
    const HALF_A_BODY: &[u8] = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf";
    const WHOLE: &[u8] =
        b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

    async fn start(bounds: Bounds) -> (SocketAddr, Tasks) {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new("test"));
        let routes = Router::new().route("/", post(async |body: Bytes| body));
        tasks.spawn("admin", run(listener, routes, bounds, tasks.clone()));
        (address, tasks)
    }

    /// Sends, then reads until the node ends the connection; gives what it said, and how long the connection lived.
    async fn talk(address: SocketAddr, bytes: &[u8]) -> (String, Duration) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let began = Instant::now();
        stream.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it ends").ok();
        (String::from_utf8_lossy(&said).into_owned(), began.elapsed())
    }

    #[tokio::test]
    async fn a_whole_request_is_answered() {
        let (address, _tasks) = start(SHORT).await;
        let (said, _) = talk(address, WHOLE).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\n\r\nok"), "{said}");
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_and_silence_are_cut_off() {
        let (address, _tasks) = start(SHORT).await;
        for bytes in [HALF_A_HEAD, b""] {
            let (said, lived) = talk(address, bytes).await;
            assert!(!said.contains("200"), "{said}");
            assert!(lived >= SHORT.head, "{lived:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_is_answered_with_408() {
        let (address, _tasks) = start(SHORT).await;
        let (said, lived) = talk(address, HALF_A_BODY).await;
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("\"request-timeout\""), "{said}");
        assert!(said.contains("no answer within 0.6 s"), "{said}");
        assert!(lived >= SHORT.answer, "{lived:?}");
    }

    /// Where both versions are spoken, it is answered with frames.
    #[tokio::test]
    async fn a_preface_of_http_2_is_not_understood() {
        let (address, _tasks) = start(SHORT).await;
        let (said, _) = talk(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said:?}");
    }

    #[tokio::test]
    async fn who_waits_for_a_place_gets_it_when_the_slow_ones_are_gone() {
        let (address, tasks) = start(SHORT).await;
        let mut slow = Vec::new();
        for bytes in [HALF_A_HEAD, b""] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            slow.push(stream);
        }
        let (said, waited) = talk(address, WHOLE).await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        assert!(waited >= SHORT.head / 2, "both places were taken: {waited:?}");
        tasks.stop();
    }

    #[test]
    fn the_bounds_of_a_node() {
        let Bounds { connections, head, answer } = BOUNDS;
        assert_eq!((connections, head.as_secs(), answer.as_secs()), (512, 10, 60));
    }
}
