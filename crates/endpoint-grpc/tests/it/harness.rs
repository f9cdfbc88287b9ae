//! A server in this process, and clients as programs make them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint as Connector};
use tonic::{Code, Status};
use w3bstream_endpoint::{Answer, Arrival, Endpoint as _, Feed, Query};
use w3bstream_endpoint_grpc::proto::ingest_client::IngestClient;
use w3bstream_endpoint_grpc::proto::messages_client::MessagesClient;
use w3bstream_endpoint_grpc::proto::submit_request::Message;
use w3bstream_endpoint_grpc::proto::{SubmitRequest, TokenMessage};
use w3bstream_endpoint_grpc::{CODE_KEY, GrpcConfig, GrpcEndpoint, GrpcLimits};
use w3bstream_tasks::Tasks;
use w3bstream_types::{ManualClock, Received, Submission, Timestamp};
use w3bstream_wire::encode_envelope;

pub use w3bstream_endpoint::conformance::{
    PlayedQuery as FakeQuery, accepted as accept, device_key, draft, id_of,
};

pub const NOW: Timestamp = Timestamp(1_800_000_000_123);
/// Nothing here takes longer, unless something hangs.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// So long nothing must happen before we believe that nothing will.
pub const QUIET: Duration = Duration::from_millis(150);

pub struct Server {
    pub endpoint: Arc<GrpcEndpoint>,
    pub query: Arc<FakeQuery>,
    pub feed: Feed,
    pub tasks: Tasks,
    pub addr: SocketAddr,
}

/// Short deadlines.
pub fn quick() -> GrpcLimits {
    GrpcLimits {
        max_message_bytes: 64 * 1024,
        handshake_timeout: Duration::from_millis(300),
        message_timeout: Duration::from_millis(500),
        stream_idle_timeout: Duration::from_secs(5),
        overload_wait: Duration::from_millis(50),
        ack_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        write_timeout: Duration::from_millis(500),
        close_timeout: Duration::from_millis(400),
        health_interval: Duration::from_millis(20),
        ..GrpcLimits::default()
    }
}

pub fn bind(config: GrpcConfig, feed: Feed) -> Server {
    let query = Arc::new(FakeQuery::default());
    let shared: Arc<dyn Query> = Arc::<FakeQuery>::clone(&query);
    let clock = Arc::new(ManualClock::new(NOW));
    let endpoint = GrpcEndpoint::bind(config, shared, feed.clone(), clock).unwrap();
    let addr = endpoint.local_addr();
    Server { endpoint, query, feed, tasks: Tasks::new("test"), addr }
}

/// A server whose arrivals nobody takes yet.
pub fn start(limits: GrpcLimits) -> Server {
    start_with(limits, Feed::default())
}

pub fn start_with(limits: GrpcLimits, feed: Feed) -> Server {
    let mut config = GrpcConfig::new("127.0.0.1:0".parse().unwrap());
    config.limits = limits;
    let server = bind(config, feed);
    server.endpoint.start(&server.tasks);
    server
}

impl Server {
    /// Answers every arrival with what `judge` says.
    pub fn answering(self, judge: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let endpoint = Arc::clone(&self.endpoint);
        self.tasks.spawn("judge", async move {
            while let Some(arrival) = endpoint.next().await {
                let answer = judge(&arrival.received);
                arrival.ack.answer(answer);
            }
        });
        self
    }

    pub async fn channel(&self) -> Channel {
        let url = format!("http://{}", self.addr);
        in_time(Connector::from_shared(url).unwrap().connect()).await.unwrap()
    }

    pub async fn ingest(&self) -> IngestClient<Channel> {
        IngestClient::new(self.channel().await)
    }

    pub async fn messages(&self) -> MessagesClient<Channel> {
        MessagesClient::new(self.channel().await)
    }

    pub async fn arrival(&self) -> Arrival {
        in_time(self.endpoint.next()).await.expect("an arrival")
    }

    /// Takes arrivals until none comes.
    pub async fn all_arrivals(&self) -> Vec<Arrival> {
        let mut out = Vec::new();
        while let Ok(Some(arrival)) = timeout(QUIET, self.endpoint.next()).await {
            out.push(arrival);
        }
        out
    }

    pub fn metric(&self, line: &str) -> bool {
        self.endpoint.metrics().lines().any(|l| l == line)
    }

    /// Waits until the metrics have this line.
    pub async fn until(&self, line: &str) {
        let start = std::time::Instant::now();
        while !self.metric(line) {
            assert!(start.elapsed() < PATIENCE, "{line} does not come in\n{}", self.endpoint.metrics());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub async fn in_time<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("in time")
}

/// A stream of what is sent to the returned sender.
pub fn requests<T: Send + 'static>() -> (mpsc::Sender<T>, impl Stream<Item = T> + Send + 'static) {
    let (send, receive) = mpsc::channel(64);
    (send, stream::unfold(receive, |mut r: mpsc::Receiver<T>| async { r.recv().await.map(|t| (t, r)) }))
}

pub fn event_id(received: &Received) -> &str {
    match &received.submission {
        Submission::Token { event_id, .. } | Submission::Session { event_id, .. } => event_id,
        Submission::Signed(_) => panic!("not by token"),
    }
}

pub fn by_token(event_id: &str, payload: &[u8]) -> SubmitRequest {
    let token = TokenMessage {
        token: "secret".into(),
        event_id: event_id.into(),
        r#type: String::new(),
        time: 7,
        payload: payload.to_vec(),
    };
    of(Message::Token(token))
}

pub fn of(message: Message) -> SubmitRequest {
    SubmitRequest { project: "kit".into(), message: Some(message) }
}

pub fn envelope(payload: &[u8]) -> Vec<u8> {
    encode_envelope(&draft(payload).sign_envelope([3; 16], &device_key()))
}

pub fn jws(payload: &[u8]) -> String {
    draft(payload).sign_jws(&device_key())
}

/// The stable code of a failed call.
pub fn code_of(status: &Status) -> &str {
    status.metadata().get(CODE_KEY).and_then(|v| v.to_str().ok()).unwrap_or("none")
}

pub fn expect_problem<T: std::fmt::Debug>(result: Result<T, Status>, status: Code, code: &str) {
    let error = result.expect_err("a problem");
    assert_eq!((error.code(), code_of(&error)), (status, code), "{error:?}");
    assert!(error.message().starts_with(code), "{error:?}");
}
