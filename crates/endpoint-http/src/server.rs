//! The listener, its connections, and how they end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use w3bstream_endpoint::{Arrival, Endpoint, Error, ErrorKind, SharedQuery, SharedSessions, async_trait};
use w3bstream_tasks::{Shutdown, Tasks};
use w3bstream_types::{Clock, RefusalKind};

use crate::body::Budget;
use crate::caps::{Caps, Full, Place};
use crate::conn::{Answered, Conn, Cut, Watched};
use crate::ingest::stopping;
use crate::metrics::Metrics;
use crate::problem::{PROBLEM_JSON, Problem};
use crate::{HttpConfig, HttpLimits, openapi, routes};

/// Marks an answer whose request was not read to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unread;

/// What handlers and connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: HttpLimits,
    pub(crate) query: SharedQuery,
    pub(crate) sessions: SharedSessions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) queries: Semaphore,
    pub(crate) budget: Budget,
    pub(crate) caps: Arc<Caps>,
    pub(crate) metrics: Metrics,
    pub(crate) openapi: String,
    arrivals: mpsc::Sender<Arrival>,
    /// No new connection or message is taken.
    pub(crate) intake: CancellationToken,
    /// What is read is handed out, then `next` gives `None`.
    closing: CancellationToken,
    /// Who still waits for the node gets a transient refusal.
    pub(crate) expired: CancellationToken,
    /// Connections are dropped.
    killed: CancellationToken,
}

impl Shared {
    pub(crate) fn intake_stopped(&self) -> bool {
        self.intake.is_cancelled()
    }

    /// Puts an arrival into the queue.
    pub(crate) fn hand_over(&self, arrival: Arrival) -> Result<(), Problem> {
        if self.closing.is_cancelled() {
            return Err(stopping());
        }
        // The queue has a place for each permit of `in_flight`, so it is never full, only closed.
        self.arrivals.try_send(arrival).map_err(|_| stopping())
    }
}

/// Devices over HTTP.
///
/// The socket is bound by [`bind`](Self::bind); connections wait in the kernel's queue until
/// [`start`](Self::start).
#[derive(Debug)]
pub struct HttpEndpoint {
    shared: Arc<Shared>,
    queue: tokio::sync::Mutex<mpsc::Receiver<Arrival>>,
    local: SocketAddr,
    listener: Mutex<Option<StdListener>>,
    extra: Option<Router>,
    started: AtomicBool,
    /// The server's task has ended.
    stopped: CancellationToken,
    failed: Mutex<Option<String>>,
}

/// How long connections may take to send their last answer, after the close timeout.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl HttpEndpoint {
    /// Binds the socket. Nothing is accepted before [`start`](Self::start).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a limit is wrong, [`ErrorKind::Bind`] if the address cannot be listened on.
    pub fn bind(config: HttpConfig, query: SharedQuery, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Error> {
        config.limits.check()?;
        let cannot = |e: std::io::Error| {
            let what = format!(
                "cannot listen on {} for HTTP; choose another address with http.listen",
                config.listen
            );
            Error::new(ErrorKind::Bind, what).with_source(e)
        };
        let listener = StdListener::bind(config.listen).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let local = listener.local_addr().map_err(cannot)?;
        let limits = config.limits;
        let (arrivals, queue) = mpsc::channel(limits.max_in_flight);
        let shared = Arc::new(Shared {
            query,
            sessions: config.sessions,
            clock,
            in_flight: Arc::new(Semaphore::new(limits.max_in_flight)),
            queries: Semaphore::new(limits.max_queries),
            budget: Budget::new(limits.max_buffered_bytes),
            caps: Caps::new(limits.max_connections, limits.max_connections_per_address),
            metrics: Metrics::new(),
            openapi: openapi::document(&limits).to_string(),
            arrivals,
            intake: CancellationToken::new(),
            closing: CancellationToken::new(),
            expired: CancellationToken::new(),
            killed: CancellationToken::new(),
            limits,
        });
        Ok(Arc::new(Self {
            shared,
            queue: tokio::sync::Mutex::new(queue),
            local,
            listener: Mutex::new(Some(listener)),
            extra: config.extra,
            started: AtomicBool::new(false),
            stopped: CancellationToken::new(),
            failed: Mutex::default(),
        }))
    }

    /// Starts to serve, in the task `endpoint-http` of `tasks`. Asked to stop, the task closes the endpoint as
    /// [`Endpoint::close`] does. Needs a tokio runtime with I/O and time. A second call does nothing.
    pub fn start(self: &Arc<Self>, tasks: &Tasks) {
        if !self.started.swap(true, Ordering::SeqCst) {
            tasks.spawn("endpoint-http", Arc::clone(self).run(tasks.shutdown()));
        }
    }

    /// The address that is listened on, with the real port.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The device routes, to be mounted on another server. Limits of messages and bodies hold there too; those
    /// of connections are that server's own matter.
    pub fn router(&self) -> Router {
        routes::router(&self.shared)
    }

    async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let end = End(&self);
        let shared = &self.shared;
        let connections = Tasks::new("endpoint-http");
        if let Some(listener) = self.take_listener() {
            match TcpListener::from_std(listener) {
                Ok(listener) => tokio::select! {
                    () = shared.intake.cancelled() => {}
                    () = shutdown.requested() => {}
                    () = self.accept(listener, &connections) => {}
                },
                Err(e) => self.fail(format!("cannot serve {}: {e}", self.local)),
            }
        }
        // From here on no new message is taken, but answers still go out.
        shared.intake.cancel();
        tokio::select! {
            () = shared.closing.cancelled() => {}
            () = shutdown.requested() => {}
        }
        shared.closing.cancel();
        self.drain(&connections).await;
        drop(end);
    }

    /// Waits for the connections, with less and less patience.
    async fn drain(&self, connections: &Tasks) {
        let shared = &self.shared;
        let patience = shared.limits.close_timeout;
        let mut joined = pin!(connections.join(patience + 2 * LAST_WORDS));
        let steps = async {
            sleep(patience).await;
            shared.expired.cancel();
            sleep(LAST_WORDS).await;
            shared.killed.cancel();
            std::future::pending::<()>().await;
        };
        let result = tokio::select! {
            result = &mut joined => result,
            () = steps => Ok(()),
        };
        if let Err(names) = result {
            self.fail(format!("tasks failed or did not end: {}", names.join(", ")));
        }
    }

    async fn accept(&self, listener: TcpListener, connections: &Tasks) {
        let server = Arc::new(Server::new(&self.shared, self.extra.clone(), connections.clone()));
        let mut failing = false;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    failing = false;
                    server.admit(stream, peer);
                }
                Err(e) => {
                    self.shared.metrics.accept_errors.fetch_add(1, Ordering::Relaxed);
                    // Said once in a row: clients bring this about.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(error = %e, "cannot accept an HTTP connection");
                    }
                    // Mostly "too many open files": others must close first.
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn take_listener(&self) -> Option<StdListener> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn fail(&self, why: String) {
        tracing::error!(%why, "the HTTP endpoint failed");
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }
}

/// However the server's task ends, nobody waits for it for ever.
struct End<'e>(&'e HttpEndpoint);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let shared = &self.0.shared;
        for token in [&shared.intake, &shared.closing, &shared.expired, &shared.killed, &self.0.stopped] {
            token.cancel();
        }
    }
}

#[async_trait]
impl Endpoint for HttpEndpoint {
    fn name(&self) -> &str {
        "http"
    }

    fn urls(&self) -> Vec<String> {
        vec![format!("http://{}", self.local)]
    }

    async fn next(&self) -> Option<Arrival> {
        let mut queue = self.queue.lock().await;
        tokio::select! {
            biased;
            arrival = queue.recv() => arrival,
            () = self.shared.closing.cancelled() => {
                queue.close();
                queue.recv().await
            }
        }
    }

    async fn stop_intake(&self) {
        self.shared.intake.cancel();
        if !self.started.load(Ordering::SeqCst) {
            drop(self.take_listener());
        }
    }

    async fn close(&self) -> Result<(), Error> {
        self.stop_intake().await;
        self.shared.closing.cancel();
        if self.started.load(Ordering::SeqCst) {
            self.stopped.cancelled().await;
        } else {
            // Only the router was used, if anything: its requests are refused.
            self.shared.expired.cancel();
        }
        match &*self.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Task, why.clone())),
        }
    }
}

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
struct Server {
    shared: Arc<Shared>,
    router: Router,
    tasks: Tasks,
    builder: Builder<Streams>,
    goodbyes: Arc<Semaphore>,
}

/// Connections beyond a cap that are told so at the same time; the rest are just closed.
const MAX_GOODBYES: usize = 64;

impl Server {
    fn new(shared: &Arc<Shared>, extra: Option<Router>, tasks: Tasks) -> Self {
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

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let metrics = &self.shared.metrics;
        match self.shared.caps.admit(peer.ip()) {
            Ok(place) => {
                metrics.connections.fetch_add(1, Ordering::Relaxed);
                self.tasks.spawn("http-connection", Arc::clone(self).serve(stream, place));
            }
            Err(full) => {
                let (count, detail) = match full {
                    Full::Total => (&metrics.full_total, "the node has as many connections as it allows"),
                    Full::Address => {
                        (&metrics.full_address, "your address has as many connections as the node allows")
                    }
                };
                count.fetch_add(1, Ordering::Relaxed);
                if let Ok(place) = Arc::clone(&self.goodbyes).try_acquire_owned() {
                    self.tasks.spawn("http-goodbye", async move {
                        let _ = timeout(LAST_WORDS, goodbye(stream, detail)).await;
                        drop(place);
                    });
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, place: Place) {
        // Answers are small and each is waited for.
        let _ = stream.set_nodelay(true);
        let conn = Conn::new(&self.shared.limits);
        let io = TokioIo::new(Watched::new(stream, Arc::clone(&conn)));
        let service = {
            let (server, conn) = (Arc::clone(&self), Arc::clone(&conn));
            service_fn(move |request| Arc::clone(&server).answer(request, Arc::clone(&conn)))
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
                let Some((deadline, why)) = conn.deadline() else { return Poll::Pending };
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
        conn: Arc<Conn>,
    ) -> Result<Response<Answered>, Infallible> {
        let exchange = conn.begin(request.version());
        let http1 = request.version() < Version::HTTP_2;
        let route = routes::label(request.uri().path());
        let request = request.map(axum::body::Body::new);
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
