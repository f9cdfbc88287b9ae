//! Connections: how each is served and ended.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tower::ServiceExt as _;
use w3bstream_limits::{Full, Place};
use w3bstream_tasks::Tasks;
use w3bstream_types::RefusalKind;

use crate::access::BoxIo;
use crate::conn::{Answered, Conn, Cut, Watched};
use crate::problem::{PROBLEM_JSON, Problem};
use crate::routes;
use crate::server::{LAST_WORDS, Shared};

/// Marks an answer whose request was not read to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unread;

/// Marks an answer that may end before its request was read to the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MayEndEarly;

/// Who asks, in a request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// hyper's executor for HTTP/2 streams.
#[derive(Clone, Debug)]
struct Streams(Tasks);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn("http2-stream", stream);
    }
}

/// What a connection is served with.
pub(crate) struct Server {
    shared: Arc<Shared>,
    router: Router,
    tasks: Tasks,
    builder: Builder<Streams>,
    goodbyes: Arc<Semaphore>,
}

/// Connections beyond a cap that are told so at the same time; the rest are just closed.
const MAX_GOODBYES: usize = 64;

impl Server {
    pub(crate) fn new(shared: &Arc<Shared>, extra: Option<Router>, tasks: Tasks) -> Self {
        let limits = &shared.limits;
        let mut builder = Builder::new(Streams(tasks.clone()));
        builder
            .http1()
            .timer(TokioTimer::new())
            // Ours are stricter, see `conn`; this one also covers a next head that came with the last body.
            .header_read_timeout(limits.head_timeout + limits.idle_timeout)
            // `pipeline_flush` stays off: with it, answers to a request that breaks off inside hyper's buffer are lost.
            .max_buf_size(limits.max_header_bytes);
        let most = u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(most)
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(256 * 1024)
            .keep_alive_interval(limits.idle_timeout)
            .keep_alive_timeout(limits.head_timeout);
        let router = routes::with_extra(shared, extra);
        let goodbyes = Arc::new(Semaphore::new(MAX_GOODBYES));
        Self { shared: Arc::clone(shared), router, tasks, builder, goodbyes }
    }

    pub(crate) fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let metrics = &self.shared.metrics;
        match self.shared.caps.admit(peer.ip()) {
            Ok(place) => {
                metrics.connections.fetch_add(1, Ordering::Relaxed);
                self.tasks.spawn("http-connection", Arc::clone(self).serve(stream, peer.ip(), place));
            }
            Err(full) => {
                let (count, detail) = match full {
                    Full::Total => (&metrics.full_total, "the node has as many connections as it allows"),
                    Full::Address => {
                        (&metrics.full_address, "your address has as many connections as the node allows")
                    }
                };
                count.fetch_add(1, Ordering::Relaxed);
                if self.shared.accept.is_some() {
                    // A handshake for a goodbye is too much.
                    return;
                }
                if let Ok(place) = Arc::clone(&self.goodbyes).try_acquire_owned() {
                    self.tasks.spawn("http-goodbye", async move {
                        let _ = timeout(LAST_WORDS, goodbye(stream, detail)).await;
                        drop(place);
                    });
                }
            }
        }
    }

    /// The socket, or what the handshake makes of it.
    async fn open(&self, stream: TcpStream, conn: &Arc<Conn>) -> Option<BoxIo> {
        let metrics = &self.shared.metrics;
        let watched: BoxIo = Box::new(Watched::new(stream, Arc::clone(conn)));
        let Some(accept) = &self.shared.accept else { return Some(watched) };
        tokio::select! {
            biased;
            () = self.shared.intake.cancelled() => None,
            shaken = timeout(self.shared.limits.head_timeout, accept.accept(watched)) => match shaken {
                Ok(Ok(stream)) => Some(stream),
                Ok(Err(e)) => {
                    metrics.handshakes_failed.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(error = %e, "a handshake failed");
                    None
                }
                Err(_) => {
                    metrics.cut(Cut::Head);
                    None
                }
            },
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, peer: IpAddr, place: Place) {
        // Answers are small and each is waited for.
        let _ = stream.set_nodelay(true);
        let conn = Conn::new(&self.shared.limits);
        let Some(stream) = self.open(stream, &conn).await else { return };
        let io = TokioIo::new(stream);
        let service = {
            let (server, conn) = (Arc::clone(&self), Arc::clone(&conn));
            service_fn(move |request| Arc::clone(&server).answer(request, peer, Arc::clone(&conn)))
        };
        let mut connection = pin!(self.builder.serve_connection(io, service));
        let mut intake = pin!(self.shared.intake.cancelled());
        let mut killed = pin!(self.shared.killed.cancelled());
        let mut alarm = pin!(sleep_until(Instant::now()));
        let mut armed = None;
        let mut ending = false;
        let cut = poll_fn(|cx| {
            if killed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(Cut::Close));
            }
            loop {
                if !ending && intake.as_mut().poll(cx).is_ready() {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                let Some((deadline, why)) = conn.deadline(cx.waker()) else { return Poll::Pending };
                if deadline <= Instant::now() {
                    if why != Cut::Idle || ending {
                        return Poll::Ready(Some(why));
                    }
                    // Silent for long: say goodbye, and go round to let hyper do it.
                    self.shared.metrics.cut(Cut::Idle);
                    ending = true;
                    conn.ending();
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
                // A later deadline is looked at when the earlier alarm rings: most alarms are never moved.
                if armed.is_none_or(|at| deadline < at) {
                    alarm.as_mut().reset(deadline);
                    armed = Some(deadline);
                }
                if alarm.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                armed = None;
            }
        })
        .await;
        match cut {
            // Counted when it was asked to end.
            None | Some(Cut::Idle) => {}
            Some(why) => self.shared.metrics.cut(why),
        }
        drop(place);
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: IpAddr,
        conn: Arc<Conn>,
    ) -> Result<Response<Answered>, Infallible> {
        let exchange = conn.begin(request.version());
        let http1 = request.version() < Version::HTTP_2;
        let route = routes::label(request.uri().path());
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(Peer(peer));
        let mut response = match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        self.shared.metrics.answered(route, response.status().as_u16());
        let unread = response.extensions_mut().remove::<Unread>().is_some();
        if http1 && (unread || self.shared.intake_stopped()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            conn.linger();
        }
        if response.extensions_mut().remove::<MayEndEarly>().is_some() {
            conn.linger();
        }
        Ok(response.map(|body| Answered::new(body, exchange)))
    }
}

/// Tells a client that its connection is one too many.
async fn goodbye(mut stream: TcpStream, detail: &str) -> std::io::Result<()> {
    let problem = Problem::refusal(RefusalKind::Overloaded, detail);
    let body = problem.to_json();
    let text = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {PROBLEM_JSON}\r\nretry-after: {}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        problem.kind.retry_after().unwrap_or(1),
        body.len()
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    // What the client has sent is read, or its kernel would throw our answer away.
    let mut scratch = [0; 1024];
    while stream.read(&mut scratch).await? > 0 {}
    Ok(())
}
