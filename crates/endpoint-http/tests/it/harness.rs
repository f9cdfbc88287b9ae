//! A server in this process and clients made of plain sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use w3bstream_endpoint::{Answer, Challenge, Endpoint as _, OpenedSession, Query, Sessions, async_trait};
use w3bstream_endpoint_http::{HttpConfig, HttpEndpoint, HttpLimits};
use w3bstream_tasks::Tasks;
use w3bstream_types::{
    Algorithm, Did, ManualClock, ProjectName, Received, Refusal, RefusalKind, SecretKey, Timestamp,
};
use w3bstream_wire::encode_envelope;

pub use w3bstream_endpoint::conformance::{
    PlayedQuery as FakeQuery, accepted as accept, device_key, draft, id_of,
};

pub const NOW: Timestamp = Timestamp(1_800_000_000_123);
/// Nothing here takes longer, unless something hangs.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Takes the introduction `good` for the project `kit`.
#[derive(Debug)]
pub struct FakeSessions;

fn only_kit(project: &ProjectName) -> Result<(), Refusal> {
    if project.as_str() == "kit" {
        Ok(())
    } else {
        Err(Refusal::new(RefusalKind::UnknownProject, "not here"))
    }
}

fn anybody() -> Did {
    Did::key(&SecretKey::from_bytes(Algorithm::EdDSA, &[5; 32]).unwrap().public())
}

#[async_trait]
impl Sessions for FakeSessions {
    async fn open(&self, project: &ProjectName, introduction: &str) -> Result<OpenedSession, Refusal> {
        only_kit(project)?;
        if introduction != "good" {
            return Err(Refusal::new(RefusalKind::BadSignature, "not good"));
        }
        let (token, expires) = (format!("{project}'s token"), Timestamp(7));
        Ok(OpenedSession { token, device: anybody(), node: anybody(), expires })
    }

    fn challenge(&self, project: &ProjectName) -> Result<Challenge, Refusal> {
        only_kit(project)?;
        Ok(Challenge { nonce: format!("{project}'s nonce"), node: anybody(), expires: Timestamp(7) })
    }
}

pub struct Server {
    pub endpoint: Arc<HttpEndpoint>,
    pub query: Arc<FakeQuery>,
    pub tasks: Tasks,
    pub addr: SocketAddr,
}

/// Short deadlines, all different.
pub fn quick() -> HttpLimits {
    HttpLimits {
        head_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(900),
        body_progress_timeout: Duration::from_millis(250),
        body_progress_bytes: 16,
        overload_wait: Duration::from_millis(50),
        ack_timeout: Duration::from_secs(5),
        max_wait: Duration::from_secs(4),
        idle_timeout: Duration::from_millis(600),
        write_timeout: Duration::from_millis(500),
        close_timeout: Duration::from_millis(400),
        max_body_bytes: 64 * 1024,
        max_header_bytes: 8192,
        batch_line_bytes: 64 * 1024,
        event_keep_alive: Duration::from_millis(150),
        ..HttpLimits::default()
    }
}

pub fn bind(limits: HttpLimits, extra: Option<Router>) -> Server {
    bind_with(HttpConfig { limits, extra, ..local() })
}

pub fn local() -> HttpConfig {
    let config = HttpConfig::new("127.0.0.1:0".parse().unwrap());
    HttpConfig { sessions: Arc::new(FakeSessions), ..config }
}

pub fn start_with(config: HttpConfig) -> Server {
    let server = bind_with(config);
    server.endpoint.start(&server.tasks);
    server
}

pub fn bind_with(config: HttpConfig) -> Server {
    let query = Arc::new(FakeQuery::default());
    let shared: Arc<dyn Query> = Arc::<FakeQuery>::clone(&query);
    let endpoint = HttpEndpoint::bind(config, shared, Arc::new(ManualClock::new(NOW))).unwrap();
    let addr = endpoint.local_addr();
    Server { endpoint, query, tasks: Tasks::new("test"), addr }
}

/// A server whose arrivals nobody takes yet.
pub fn start(limits: HttpLimits) -> Server {
    let server = bind(limits, None);
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

    pub async fn client(&self) -> Client {
        Client::connect(self.addr).await
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, request: &[u8]) -> Reply {
        let mut client = self.client().await;
        client.send(request).await;
        client.reply().await.expect("an answer")
    }

    pub async fn metric(&self, line: &str) -> bool {
        let reply = self.ask(&get("/metrics")).await;
        reply.text().lines().any(|l| l == line)
    }
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n").into_bytes()
}

/// A request with a body and its length.
pub fn post(path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    let head = format!("POST {path} HTTP/1.1\r\nhost: t\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub const EVENTS: &str = "/v1/projects/kit/events";
pub const BATCH: &str = "/v1/projects/kit/events:batch";
pub const BEARER: &str = "authorization: Bearer secret";

/// A good message with a token.
pub fn token_event(event_id: &str, body: &[u8]) -> Vec<u8> {
    post(EVENTS, &[BEARER, &format!("idempotency-key: {event_id}")], body)
}

pub fn envelope(payload: &[u8]) -> Vec<u8> {
    encode_envelope(&draft(payload).sign_envelope([3; 16], &device_key()))
}

pub fn jws(payload: &[u8]) -> String {
    draft(payload).sign_jws(&device_key())
}

pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// Checks that this is a problem with `status` and `code`, in the form that is promised.
    pub fn expect_problem(&self, status: u16, code: &str) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let json = self.json();
        assert_eq!((self.status, json["code"].as_str()), (status, Some(code)), "{}", self.text());
        assert_eq!(json["status"], status);
        let urn = json["type"].as_str().unwrap();
        assert!(
            urn == format!("urn:w3bstream:refusal:{code}") || urn == format!("urn:w3bstream:problem:{code}")
        );
        assert!(!json["title"].as_str().unwrap().is_empty() && !json["detail"].as_str().unwrap().is_empty());
        let retry = matches!(status, 408 | 503 | 504);
        assert_eq!(self.header("retry-after").is_some(), retry, "{self:?}");
        assert_eq!(self.header("www-authenticate").is_some(), status == 401, "{self:?}");
    }
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream =
            timeout(PATIENCE, TcpStream::connect(addr)).await.expect("in time").expect("a connection");
        Self { stream, buffer: Vec::new() }
    }

    /// One whose kernel takes hardly anything that it does not read: with buffers of megabytes a server writes for long before it
    /// notices, and the slower this machine is, the longer.
    pub async fn connect_small(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = timeout(PATIENCE, socket.connect(addr)).await.expect("in time").expect("a connection");
        Self { stream, buffer: Vec::new() }
    }

    /// Writes; a server that closes meanwhile is no failure here.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server reads");
    }

    /// The next answer; `None` if the connection ended before.
    pub async fn reply(&mut self) -> Option<Reply> {
        let mut reply = self.head().await?;
        if reply.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                reply.body.extend(chunk);
            }
            return Some(reply);
        }
        let length = reply.header("content-length").map_or(0, |v| v.parse().unwrap());
        while self.buffer.len() < length {
            assert!(self.fill().await, "the answer's body is cut off");
        }
        reply.body = self.buffer.drain(..length).collect();
        Some(reply)
    }

    /// The next answer's head.
    pub async fn head(&mut self) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill().await {
                assert!(self.buffer.is_empty(), "cut off: {:?}", String::from_utf8_lossy(&self.buffer));
                return None;
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).expect("an ASCII head");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        if status == 100 {
            return Box::pin(self.head()).await;
        }
        let headers: Vec<(String, String)> = lines
            .map(|l| l.split_once(':').expect("a header"))
            .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
            .collect();
        Some(Reply { status, headers, body: Vec::new() })
    }

    /// The next chunk of a streamed body; `None` at its end.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let end = loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                break at;
            }
            assert!(self.fill().await, "the stream breaks off");
        };
        let size = std::str::from_utf8(&self.buffer[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        while self.buffer.len() < end + 2 + size + 2 {
            assert!(self.fill().await, "the chunk breaks off");
        }
        let chunk: Vec<u8> = self.buffer.drain(..end + 2 + size + 2).skip(end + 2).take(size).collect();
        (!chunk.is_empty()).then_some(chunk)
    }

    /// Reads chunks until `wanted` stands in what came.
    pub async fn until(&mut self, wanted: &str) -> String {
        let mut text = String::new();
        while !text.contains(wanted) {
            text.push_str(&String::from_utf8(self.chunk().await.expect(wanted)).unwrap());
        }
        text
    }

    /// True if the server closes the connection without another byte.
    pub async fn ends(&mut self) -> bool {
        !self.fill().await && self.buffer.is_empty()
    }

    async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("bytes or an end");
        read.is_ok_and(|n| n > 0)
    }
}
