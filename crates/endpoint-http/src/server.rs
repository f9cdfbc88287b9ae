//! The listener, its connections, and how they end.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use w3bstream_endpoint::{
    Arrival, Endpoint, Error, ErrorKind, Feed, SharedQuery, SharedSessions, async_trait,
};
use w3bstream_limits::{ByteBudget, Caps};
use w3bstream_tasks::{Shutdown, Tasks};
use w3bstream_types::Clock;

use crate::idempotency::Keys;
use crate::ingest::stopping;
use crate::metrics::{Gauges, Metrics};
use crate::problem::Problem;
use crate::serve::Server;
use crate::trace::Tracer;
use crate::{Accept, HttpConfig, HttpLimits, Origin, Readers, openapi, routes};

/// What handlers and connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: HttpLimits,
    pub(crate) query: SharedQuery,
    pub(crate) sessions: SharedSessions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) queries: Semaphore,
    pub(crate) budget: ByteBudget,
    pub(crate) caps: Arc<Caps>,
    pub(crate) metrics: Metrics,
    pub(crate) openapi: String,
    pub(crate) feed: Feed,
    pub(crate) readers: Readers,
    pub(crate) cors: Vec<Origin>,
    pub(crate) accept: Option<Arc<dyn Accept>>,
    pub(crate) tracer: Tracer,
    pub(crate) keys: Keys,
    /// Places of streams of live changes, and of batches.
    pub(crate) streams: Arc<Caps>,
    pub(crate) batches: Arc<Caps>,
    pub(crate) batch_tasks: Tasks,
    arrivals: mpsc::Sender<Arrival>,
    /// No new connection or message is taken.
    pub(crate) intake: CancellationToken,
    /// What is read is handed out, then `next` gives `None`.
    closing: CancellationToken,
    /// Who still waits for the node gets a transient refusal.
    pub(crate) expired: CancellationToken,
    /// Connections are dropped.
    pub(crate) killed: CancellationToken,
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

    pub(crate) fn gauges(&self) -> Gauges {
        let limits = &self.limits;
        Gauges {
            connections: self.caps.open(),
            in_flight: limits.max_in_flight - self.in_flight.available_permits(),
            buffered_bytes: limits.max_buffered_bytes - self.budget.free(),
            batches: self.batches.open(),
            event_streams: self.streams.open(),
        }
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
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

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
            budget: ByteBudget::new(limits.max_buffered_bytes),
            caps: Caps::new(limits.max_connections, limits.max_connections_per_address),
            metrics: Metrics::new(),
            openapi: openapi::document(&limits).to_string(),
            feed: config.feed,
            readers: config.readers,
            cors: config.cors,
            accept: config.accept,
            tracer: Tracer::default(),
            keys: Keys::default(),
            streams: Caps::new(limits.max_event_streams, limits.max_event_streams_per_address),
            batches: Caps::new(limits.max_batches, limits.max_batches_per_address),
            batch_tasks: Tasks::new("endpoint-http-batches"),
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
        // They end with what they wait for, which is over now.
        let batches = shared.batch_tasks.join(LAST_WORDS).await;
        for names in [result, batches].into_iter().filter_map(Result::err) {
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
        let scheme = self.shared.accept.as_ref().map_or("http", |a| a.scheme());
        vec![format!("{scheme}://{}", self.local)]
    }

    async fn next(&self) -> Option<Arrival> {
        w3bstream_limits::next(&self.queue, &self.shared.closing).await
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
