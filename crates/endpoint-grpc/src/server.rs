//! The listener, and how it ends.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use w3bstream_endpoint::{Arrival, Endpoint, Error, ErrorKind, Feed, SharedQuery, async_trait};
use w3bstream_limits::{ByteBudget, Caps};
use w3bstream_tasks::{Shutdown, Tasks};
use w3bstream_types::{Clock, RefusalKind};

use crate::acceptor::Acceptor;
use crate::metrics::{Gauges, Metrics};
use crate::problem::Problem;
use crate::serve::Server;
use crate::{GrpcConfig, GrpcLimits};

/// What services and connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: GrpcLimits,
    pub(crate) query: SharedQuery,
    pub(crate) feed: Feed,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) queries: Semaphore,
    pub(crate) watches: Arc<Semaphore>,
    pub(crate) budget: ByteBudget,
    pub(crate) caps: Arc<Caps>,
    pub(crate) metrics: Metrics,
    arrivals: mpsc::Sender<Arrival>,
    /// No new connection or message is taken.
    pub(crate) intake: CancellationToken,
    /// What is read is handed out, then `next` gives `None`.
    pub(crate) closing: CancellationToken,
    /// Who still waits for the node gets a transient refusal.
    pub(crate) expired: CancellationToken,
    /// Connections are dropped.
    pub(crate) killed: CancellationToken,
}

impl Shared {
    /// Puts an arrival into the queue.
    pub(crate) fn hand_over(&self, arrival: Arrival) -> Result<(), Problem> {
        if self.closing.is_cancelled() {
            return Err(stopping());
        }
        // The queue has a place for each permit of `in_flight`, so it is never full, only closed.
        self.arrivals.try_send(arrival).map_err(|_| stopping())
    }

    /// Counts a problem on its way to a client.
    pub(crate) fn counted(&self, problem: Problem) -> Problem {
        self.metrics.problem(problem.kind);
        problem
    }

    /// A share of the memory for messages.
    pub(crate) fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        self.budget.take(bytes).ok_or_else(|| {
            Problem::refusal(RefusalKind::Overloaded, "the node holds too many bytes of unanswered messages")
        })
    }
}

pub(crate) fn stopping() -> Problem {
    Problem::refusal(
        RefusalKind::ShuttingDown,
        "the node takes no more messages; send it again, here or to another member",
    )
}

/// Devices over gRPC.
///
/// The socket is bound by [`bind`](Self::bind); connections wait in the kernel's queue until
/// [`start`](Self::start).
#[derive(Debug)]
pub struct GrpcEndpoint {
    shared: Arc<Shared>,
    queue: tokio::sync::Mutex<mpsc::Receiver<Arrival>>,
    local: SocketAddr,
    listener: Mutex<Option<StdListener>>,
    acceptor: Arc<dyn Acceptor>,
    started: AtomicBool,
    /// The server's task has ended.
    stopped: CancellationToken,
    failed: Mutex<Option<String>>,
}

/// How long connections may take to send their last answer, after the close timeout.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl GrpcEndpoint {
    /// Binds the socket. Nothing is accepted before [`start`](Self::start).
    ///
    /// `feed` must tell a change only when `query` can already see it: a watcher of one message begins to listen,
    /// then asks what has been.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a limit is wrong, [`ErrorKind::Bind`] if the address cannot be listened on.
    pub fn bind(
        config: GrpcConfig,
        query: SharedQuery,
        feed: Feed,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        config.limits.check()?;
        let cannot = |e: std::io::Error| {
            let what = format!(
                "cannot listen on {} for gRPC; choose another address with grpc.listen",
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
            feed,
            clock,
            in_flight: Arc::new(Semaphore::new(limits.max_in_flight)),
            queries: Semaphore::new(limits.max_queries),
            watches: Arc::new(Semaphore::new(limits.max_watches)),
            budget: ByteBudget::new(limits.max_buffered_bytes),
            caps: Caps::new(limits.max_connections, limits.max_connections_per_address),
            metrics: Metrics::new(),
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
            acceptor: config.acceptor,
            started: AtomicBool::new(false),
            stopped: CancellationToken::new(),
            failed: Mutex::default(),
        }))
    }

    /// Starts to serve, in the task `endpoint-grpc` of `tasks`. Asked to stop, the task closes the endpoint as
    /// [`Endpoint::close`] does. Needs a tokio runtime with I/O and time. A second call does nothing.
    pub fn start(self: &Arc<Self>, tasks: &Tasks) {
        if !self.started.swap(true, Ordering::SeqCst) {
            tasks.spawn("endpoint-grpc", Arc::clone(self).run(tasks.shutdown()));
        }
    }

    /// The address that is listened on, with the real port.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The endpoint's own metrics in the Prometheus text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        let (shared, limits) = (&self.shared, &self.shared.limits);
        shared.metrics.text(&Gauges {
            connections: shared.caps.open(),
            in_flight: limits.max_in_flight.saturating_sub(shared.in_flight.available_permits()),
            buffered_bytes: limits.max_buffered_bytes.saturating_sub(shared.budget.free()),
            watchers: limits.max_watches.saturating_sub(shared.watches.available_permits()),
        })
    }

    async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let end = End(&self);
        let shared = &self.shared;
        let connections = Tasks::new("endpoint-grpc");
        if let Some(listener) = self.take_listener() {
            match (TcpListener::from_std(listener), Server::new(shared, &self.acceptor, &connections)) {
                (Ok(listener), Ok(server)) => tokio::select! {
                    () = shared.intake.cancelled() => {}
                    () = shutdown.requested() => {}
                    () = self.accept(listener, server) => {}
                },
                (Err(e), _) => self.fail(format!("cannot serve {}: {e}", self.local)),
                (_, Err(why)) => self.fail(why),
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

    async fn accept(&self, listener: TcpListener, server: Arc<Server>) {
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
                        tracing::warn!(error = %e, "cannot accept a gRPC connection");
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
        tracing::error!(%why, "the gRPC endpoint failed");
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }
}

/// However the server's task ends, nobody waits for it for ever.
struct End<'e>(&'e GrpcEndpoint);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let shared = &self.0.shared;
        for token in [&shared.intake, &shared.closing, &shared.expired, &shared.killed, &self.0.stopped] {
            token.cancel();
        }
    }
}

#[async_trait]
impl Endpoint for GrpcEndpoint {
    fn name(&self) -> &str {
        "grpc"
    }

    fn urls(&self) -> Vec<String> {
        vec![format!("{}://{}", self.acceptor.scheme(), self.local)]
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
        }
        match &*self.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Task, why.clone())),
        }
    }
}
