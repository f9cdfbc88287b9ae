//! Connections and their calls.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use w3bstream_limits::{Full, Place};
use w3bstream_tasks::Tasks;

use crate::acceptor::Acceptor;
use crate::conn::{Answered, Conn, Cut, Watched};
use crate::health::Health;
use crate::ingest::Ingest;
use crate::messages::Messages;
use crate::meter::Meter;
use crate::proto;
use crate::server::Shared;

/// The interface as clients are told it. Made by `cargo xtask codegen`.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// Methods to which a client sends more than one message.
const CLIENT_STREAMS: [&str; 3] = ["SubmitMany", "SubmitStream", "ServerReflectionInfo"];
/// Methods whose clients may leave answers unread: those answers are not kept for them.
const PATIENT: [&str; 1] = ["Watch"];

/// hyper's executor for the calls of a connection.
#[derive(Clone, Debug)]
struct Calls(Tasks);

impl<F> hyper::rt::Executor<F> for Calls
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, call: F) {
        self.0.spawn("grpc-call", call);
    }
}

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// One gRPC service, whatever its type.
struct Route {
    name: &'static str,
    call: Box<dyn Fn(Request<Body>) -> Answering + Send + Sync>,
}

fn route<S>(name: &'static str, service: S) -> Route
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    // The services are always ready: tonic's `poll_ready` says so.
    let call = move |request| -> Answering {
        let answer = service.clone().call(request);
        Box::pin(async move {
            match answer.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    };
    Route { name, call: Box::new(call) }
}

/// What a connection is served with.
pub(crate) struct Server {
    shared: Arc<Shared>,
    acceptor: Arc<dyn Acceptor>,
    routes: Vec<Route>,
    tasks: Tasks,
    builder: Builder<Calls>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

fn routes(shared: &Arc<Shared>) -> Result<Vec<Route>, String> {
    let most = shared.limits.max_message_bytes;
    let ingest = Ingest(Arc::clone(shared));
    let messages = Messages(Arc::clone(shared));
    let health = Health(Arc::clone(shared));
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Either version tells of both.
            .include_reflection_service(false)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
    };
    let bad = |e: tonic_reflection::server::Error| format!("the interface's description is broken: {e}");
    Ok(vec![
        route(
            "w3bstream.v1.Ingest",
            proto::ingest_server::IngestServer::new(ingest).max_decoding_message_size(most),
        ),
        route(
            "w3bstream.v1.Messages",
            proto::messages_server::MessagesServer::new(messages).max_decoding_message_size(most),
        ),
        route("grpc.health.v1.Health", tonic_health::pb::health_server::HealthServer::new(health)),
        route("grpc.reflection.v1.ServerReflection", described().build_v1().map_err(bad)?),
        route("grpc.reflection.v1alpha.ServerReflection", described().build_v1alpha().map_err(bad)?),
    ])
}

impl Server {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        acceptor: &Arc<dyn Acceptor>,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, String> {
        let limits = &shared.limits;
        let mut builder = Builder::new(Calls(tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(limits.max_header_bytes)
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(256 * 1024)
            .max_send_buf_size(64 * 1024)
            .keep_alive_interval(limits.keep_alive_interval)
            .keep_alive_timeout(limits.keep_alive_timeout);
        Ok(Arc::new(Self {
            shared: Arc::clone(shared),
            acceptor: Arc::clone(acceptor),
            routes: routes(shared)?,
            tasks: tasks.clone(),
            builder,
        }))
    }

    /// Serves a connection if there is a place for it, else closes it: its client sees it as unavailable.
    pub(crate) fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let metrics = &self.shared.metrics;
        match self.shared.caps.admit(peer.ip()) {
            Ok(place) => {
                metrics.connections.fetch_add(1, Ordering::Relaxed);
                self.tasks.spawn("grpc-connection", Arc::clone(self).serve(stream, place));
            }
            Err(Full::Total) => {
                metrics.full_total.fetch_add(1, Ordering::Relaxed);
            }
            Err(Full::Address) => {
                metrics.full_address.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, place: Place) {
        // Answers are small and each is waited for.
        let _ = stream.set_nodelay(true);
        let greeting = timeout(self.shared.limits.handshake_timeout, self.acceptor.accept(stream));
        let greeted = tokio::select! {
            biased;
            () = self.shared.intake.cancelled() => return,
            greeted = greeting => greeted,
        };
        let cut = match greeted {
            Ok(Ok(stream)) => self.converse(stream).await,
            Ok(Err(e)) => {
                tracing::debug!(error = %e, "a connection was not accepted");
                None
            }
            Err(_) => Some(Cut::Handshake),
        };
        if let Some(why) = cut {
            self.shared.metrics.cut(why);
        }
        drop(place);
    }

    /// Serves calls until the connection ends; says which deadline ended it.
    async fn converse(self: &Arc<Self>, stream: Box<dyn crate::Transport>) -> Option<Cut> {
        let conn = Conn::new(&self.shared.limits);
        let io = TokioIo::new(Watched::new(stream, Arc::clone(&conn)));
        let service = {
            let (server, conn) = (Arc::clone(self), Arc::clone(&conn));
            service_fn(move |request| Arc::clone(&server).answer(request, Arc::clone(&conn)))
        };
        let mut connection = pin!(self.builder.serve_connection(io, service));
        let mut intake = pin!(self.shared.intake.cancelled());
        let mut killed = pin!(self.shared.killed.cancelled());
        let mut alarm = pin!(sleep_until(Instant::now()));
        let mut armed = None;
        let (mut ending, mut idle) = (false, None);
        poll_fn(|cx| {
            if killed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(Cut::Close));
            }
            loop {
                if !ending && intake.as_mut().poll(cx).is_ready() {
                    ending = true;
                    conn.ending();
                    connection.as_mut().graceful_shutdown();
                }
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(idle);
                }
                let Some((deadline, why)) = conn.deadline(cx) else { return Poll::Pending };
                if deadline <= Instant::now() {
                    if why != Cut::Idle || ending {
                        return Poll::Ready(idle.or(Some(why)));
                    }
                    // Silent for long: say goodbye, and go round to let hyper do it.
                    idle = Some(Cut::Idle);
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
        .await
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        conn: Arc<Conn>,
    ) -> Result<Response<Answered>, Infallible> {
        let exchange = conn.begin();
        let path = request.uri().path();
        self.shared.metrics.called(path);
        let (service, method) = path.strip_prefix('/').and_then(|p| p.split_once('/')).unwrap_or_default();
        let single = !CLIENT_STREAMS.contains(&method);
        let patient = PATIENT.contains(&method);
        let route = self.routes.iter().find(|r| r.name == service);
        let response = match (not_grpc(&request), route) {
            (Some(status), _) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = status;
                response
            }
            (None, None) => {
                let detail = "this endpoint has no such service; ask its reflection service which it has";
                Status::unimplemented(detail).into_http()
            }
            (None, Some(route)) => {
                let request = request.map(|body| Body::new(Meter::new(body, &self.shared, single)));
                (route.call)(request).await
            }
        };
        Ok(response.map(|body| Answered::new(body, exchange, patient)))
    }
}

/// What a request that is no gRPC is answered with (gRPC over HTTP/2, "Requests").
fn not_grpc(request: &Request<Incoming>) -> Option<StatusCode> {
    if request.method() != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let grpc =
        kind.is_some_and(|k| k.starts_with("application/grpc") && !k.starts_with("application/grpc-web"));
    (!grpc).then_some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}
