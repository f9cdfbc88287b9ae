//! Clients that do wrong, on purpose or not. After each, the others are served as before.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Request;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use w3bstream_endpoint::{Feed, async_trait};
use w3bstream_endpoint_grpc::proto::SubmitStreamRequest;
use w3bstream_endpoint_grpc::{Acceptor, GrpcConfig, GrpcLimits, Transport};

use crate::harness::{PATIENCE, Server, accept, bind, by_token, code_of, in_time, quick, requests, start};
use crate::raw::{Raw, STREAM, SUBMIT, framed, outcome};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

async fn still_works(server: &Server) {
    in_time(server.ingest().await.submit(by_token("fine", b""))).await.unwrap();
}

/// Whether the server ends the connection; what it says before does not matter.
async fn ends(stream: &mut TcpStream) -> bool {
    let mut scratch = [0; 4096];
    let read = async { while matches!(stream.read(&mut scratch).await, Ok(n) if n > 0) {} };
    timeout(PATIENCE, read).await.is_ok()
}

async fn plain(server: &Server) -> TcpStream {
    in_time(TcpStream::connect(server.addr)).await.unwrap()
}

#[tokio::test]
async fn what_is_no_http2_is_cut_off() {
    let server = start(quick()).answering(accept);
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: t\r\n\r\n"[..],
        &[0x16, 3, 1, 2, 0, 1],
        &[0xff; 5000],
        b"PRI * HTTP/2.0\r\n\r\n",
    ] {
        let mut stream = plain(&server).await;
        let _ = stream.write_all(bytes).await;
        assert!(ends(&mut stream).await, "{bytes:?}");
    }
    still_works(&server).await;
}

#[tokio::test]
async fn malformed_frames_end_their_connection_alone() {
    let server = start(quick()).answering(accept);
    // Marsaglia's xorshift: the same bytes in every run.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..200_u64 {
        let mut stream = plain(&server).await;
        let mut bytes = [PREFACE, SETTINGS].concat();
        // A frame of every type with nonsense in it, on various streams, then nonsense without a frame.
        let length = random() % 40;
        bytes.extend([0, 0, length as u8, (round % 12) as u8, random() as u8, 0, 0, 0, (random() % 4) as u8]);
        bytes.extend((0..length).map(|_| random() as u8));
        bytes.extend((0..200).map(|_| random() as u8));
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        assert!(ends(&mut stream).await, "round {round}");
    }
    still_works(&server).await;
    server.until("w3bstream_grpc_connections 0").await;
}

#[tokio::test]
async fn broken_framing_is_malformed() {
    let server = start(quick()).answering(accept);
    let raw = Raw::connect(&server).await;
    let good = framed(&by_token("a", b"x").encode_to_vec());
    let cut = &good[..good.len() - 1];
    let twice = [&good[..], &good[..]].concat();
    let compressed = [&[1], &good[1..]].concat();
    for (body, what) in [
        (&b""[..], "no message"),
        (&[0, 0], "half a prefix"),
        (cut, "half a message"),
        (&twice, "two messages"),
        (&compressed, "a compressed message"),
        (&framed(&[0xff; 20]), "no protobuf"),
    ] {
        let seen = raw.call(SUBMIT, body).await;
        assert_eq!(seen, (200, "3".into(), "malformed".into()), "{what}");
    }
    assert_eq!(raw.call(SUBMIT, &good).await, (200, "0".into(), String::new()));
    let seen = raw.call(STREAM, &framed(&[0xff; 20])).await;
    assert_eq!(seen, (200, "3".into(), "malformed".into()), "in a stream");
    assert!(server.metric("w3bstream_grpc_buffered_bytes 0"));
}

#[tokio::test]
async fn an_announced_size_is_refused_before_a_byte_of_it_came() {
    let server = start(quick()).answering(accept);
    let raw = Raw::connect(&server).await;
    for path in [SUBMIT, STREAM] {
        let (feed, answer) = raw.open(path).await;
        feed.send(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff])).await.unwrap();
        let seen = outcome(in_time(answer).await.unwrap()).await;
        assert_eq!(seen, (200, "11".into(), "too-large".into()), "{path}");
    }
    still_works(&server).await;
}

#[tokio::test]
async fn a_slow_message_is_cut_off() {
    let server = start(quick()).answering(accept);
    let raw = Raw::connect(&server).await;
    let message = framed(&by_token("a", &[7; 1000]).encode_to_vec());
    for path in [SUBMIT, STREAM] {
        let start = Instant::now();
        let (feed, answer) = raw.open(path).await;
        let bytes = message.clone();
        server.tasks.spawn("trickle", async move {
            for byte in bytes {
                if feed.send(Bytes::copy_from_slice(&[byte])).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let seen = outcome(in_time(answer).await.unwrap()).await;
        assert_eq!(seen, (200, "14".into(), "request-timeout".into()), "{path}");
        assert!(start.elapsed() < Duration::from_secs(5), "{path}");
    }
    server.until("w3bstream_grpc_buffered_bytes 0").await;
}

#[tokio::test]
async fn a_call_that_never_sends_its_message_ends() {
    let server = start(quick()).answering(accept);
    let raw = Raw::connect(&server).await;
    let (silent, answer) = raw.open(SUBMIT).await;
    assert_eq!(outcome(in_time(answer).await.unwrap()).await.2, "request-timeout");
    drop(silent);
    // A whole message, but the client never says that it was the last.
    let (open, answer) = raw.open(SUBMIT).await;
    open.send(Bytes::from(framed(&by_token("a", b"").encode_to_vec()))).await.unwrap();
    assert_eq!(outcome(in_time(answer).await.unwrap()).await.2, "request-timeout");
}

#[tokio::test]
async fn half_open_streams_end_and_leave_others_alone() {
    let limits = GrpcLimits { stream_idle_timeout: Duration::from_millis(400), max_streams: 8, ..quick() };
    let server = start(limits).answering(accept);
    let raw = Raw::connect(&server).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        let (feed, answer) = raw.open(STREAM).await;
        open.push((feed, in_time(answer).await.unwrap()));
    }
    // The connection is full, not the server.
    still_works(&server).await;
    for (_feed, answer) in open {
        assert_eq!(outcome(answer).await.2, "stream-idle");
    }
    assert_eq!(raw.call(SUBMIT, &framed(&by_token("a", b"").encode_to_vec())).await.1, "0");
}

#[tokio::test]
async fn calls_of_one_connection_are_bounded() {
    let server = start(GrpcLimits { max_streams: 2, ..quick() }).answering(accept);
    let mut client = server.ingest().await;
    let (first, stream) = requests::<SubmitStreamRequest>();
    let _a = client.submit_stream(stream).await.unwrap();
    let (_second, stream) = requests::<SubmitStreamRequest>();
    let _b = client.submit_stream(stream).await.unwrap();
    let mut third = client.clone();
    let call = third.submit(by_token("a", b""));
    tokio::pin!(call);
    assert!(timeout(Duration::from_millis(200), &mut call).await.is_err(), "there is no third place");
    drop(first);
    in_time(call).await.unwrap();
}

#[tokio::test]
async fn a_thousand_idle_connections_are_bounded() {
    let limits = GrpcLimits {
        max_connections: 32,
        handshake_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_millis(300),
        ..quick()
    };
    let server = start(limits).answering(accept);
    let mut all = Vec::new();
    for n in 0..1000 {
        let mut stream = plain(&server).await;
        // Half of them greet and then are silent, half say nothing at all.
        if n % 2 == 0 {
            let _ = stream.write_all(&[PREFACE, SETTINGS].concat()).await;
        }
        all.push(stream);
    }
    server.until("w3bstream_grpc_connections_refused_total{cap=\"total\"} 968").await;
    assert!(server.metric("w3bstream_grpc_connections 32"), "{}", server.endpoint.metrics());
    for stream in &mut all {
        assert!(ends(stream).await);
    }
    server.until("w3bstream_grpc_connections 0").await;
    assert!(server.metric("w3bstream_grpc_connections_cut_total{deadline=\"handshake\"} 16"));
    assert!(server.metric("w3bstream_grpc_connections_cut_total{deadline=\"idle\"} 16"));
    still_works(&server).await;
}

#[tokio::test]
async fn one_address_has_its_share_of_connections() {
    let server = start(GrpcLimits { max_connections_per_address: 2, ..quick() }).answering(accept);
    let (_a, _b) = (plain(&server).await, plain(&server).await);
    server.until("w3bstream_grpc_connections 2").await;
    let mut third = plain(&server).await;
    assert!(ends(&mut third).await);
    assert!(server.metric("w3bstream_grpc_connections_refused_total{cap=\"address\"} 1"));
}

#[tokio::test]
async fn a_client_that_reads_no_answer_is_cut_off() {
    let server = start(quick()).answering(accept);
    let raw = Raw::with_window(&server, 1).await;
    let (feed, answer) = raw.open(STREAM).await;
    let item = SubmitStreamRequest { tag: 1, message: Some(by_token("a", b"")) };
    let item = Bytes::from(framed(&item.encode_to_vec()));
    let unread = in_time(answer).await.unwrap();
    // HTTP/2 takes the first answer into its own buffer. The second one finds that full.
    for accepted in [1, 2] {
        feed.send(item.clone()).await.unwrap();
        server.until(&format!("w3bstream_grpc_accepted_total{{duplicate=\"false\"}} {accepted}")).await;
    }
    server.until("w3bstream_grpc_connections_cut_total{deadline=\"write\"} 1").await;
    server.until("w3bstream_grpc_connections 0").await;
    drop(unread);
    // One answer, and no room for a byte of it.
    let raw = Raw::with_window(&server, 0).await;
    let (feed, answer) = raw.open(SUBMIT).await;
    feed.send(Bytes::from(framed(&by_token("a", b"").encode_to_vec()))).await.unwrap();
    drop(feed);
    let unread = in_time(answer).await.unwrap();
    server.until("w3bstream_grpc_connections_cut_total{deadline=\"write\"} 2").await;
    drop(unread);
    still_works(&server).await;
}

#[tokio::test]
async fn the_memory_of_unfinished_messages_is_bounded() {
    let limits = GrpcLimits { max_message_bytes: 1000, max_buffered_bytes: 1500, ..quick() };
    let server = start(limits).answering(accept);
    let raw = Raw::connect(&server).await;
    let message = framed(&by_token("a", &[7; 800]).encode_to_vec());
    let (feed, _half) = raw.open(STREAM).await;
    feed.send(Bytes::copy_from_slice(&message[..750])).await.unwrap();
    let start = Instant::now();
    while server.metric("w3bstream_grpc_buffered_bytes 0") {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(raw.call(SUBMIT, &message).await, (200, "8".into(), "overloaded".into()));
    drop(feed);
    server.until("w3bstream_grpc_buffered_bytes 0").await;
    assert_eq!(raw.call(SUBMIT, &message).await.1, "0");
}

#[tokio::test]
async fn headers_are_bounded() {
    let server = start(quick()).answering(accept);
    let mut client = server.ingest().await;
    let mut request = tonic::Request::new(by_token("a", b""));
    request.metadata_mut().insert("x-large", "y".repeat(20_000).parse().unwrap());
    assert!(in_time(client.submit(request)).await.is_err());
    still_works(&server).await;
}

#[tokio::test]
async fn what_is_no_grpc_is_told_so() {
    let server = start(quick()).answering(accept);
    let raw = Raw::connect(&server).await;
    let get = Request::get(format!("http://t{SUBMIT}"))
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    assert_eq!(raw.request(get).await.status(), 405);
    for kind in ["application/json", "application/grpc-web"] {
        let post = Request::post(format!("http://t{SUBMIT}")).header("content-type", kind).body(()).unwrap();
        assert_eq!(raw.request(post).await.status(), 415, "{kind}");
    }
    for path in ["/", "/nothing", "/w3bstream.v1.Ingest/Nothing", "/w3bstream.v2.Ingest/Submit"] {
        let (_, status, _) = raw.call(path, &framed(b"")).await;
        assert_eq!(status, "12", "{path}");
    }
    assert!(server.metric("w3bstream_grpc_calls_total{method=\"other\"} 4"));
}

/// In place of TLS: reads a password before anything else.
#[derive(Debug)]
struct Password;

#[async_trait]
impl Acceptor for Password {
    fn scheme(&self) -> &'static str {
        "https"
    }

    async fn accept(&self, mut stream: TcpStream) -> io::Result<Box<dyn Transport>> {
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        if &word == b"open" { Ok(Box::new(stream)) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

#[tokio::test]
async fn another_transport_stands_before_http2() {
    let mut config = GrpcConfig::new("127.0.0.1:0".parse().unwrap());
    config.limits = quick();
    config.acceptor = Arc::new(Password);
    let server = bind(config, Feed::default()).answering(accept);
    server.endpoint.start(&server.tasks);
    let urls = w3bstream_endpoint::Endpoint::urls(&*server.endpoint);
    assert_eq!(urls, [format!("https://{}", server.addr)]);
    for (word, cut) in [(&b"nope"[..], 0), (b"op", 1)] {
        let mut stream = plain(&server).await;
        stream.write_all(word).await.unwrap();
        assert!(ends(&mut stream).await);
        server.until(&format!("w3bstream_grpc_connections_cut_total{{deadline=\"handshake\"}} {cut}")).await;
    }
    let mut stream = plain(&server).await;
    stream.write_all(b"open").await.unwrap();
    stream.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
    let mut frame = [0; 9];
    in_time(stream.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], 4, "the server's SETTINGS");
}

#[tokio::test]
async fn a_cancelled_stream_gives_everything_back() {
    let server = start(quick());
    let raw = Raw::connect(&server).await;
    let (feed, answer) = raw.open(STREAM).await;
    let item = SubmitStreamRequest { tag: 1, message: Some(by_token("a", &[1; 500])) };
    feed.send(Bytes::from(framed(&item.encode_to_vec()))).await.unwrap();
    let arrival = server.arrival().await;
    let mut body = in_time(answer).await.unwrap().into_body();
    assert!(timeout(Duration::from_millis(50), body.frame()).await.is_err());
    drop((body, feed));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.metric("w3bstream_grpc_in_flight 1"), "the node still has it");
    let answer = accept(&arrival.received);
    arrival.ack.answer(answer);
    server.until("w3bstream_grpc_in_flight 0").await;
    server.until("w3bstream_grpc_buffered_bytes 0").await;
    let server = server.answering(accept);
    let status = in_time(server.ingest().await.submit(by_token("", b""))).await.unwrap_err();
    assert_eq!(code_of(&status), "malformed");
}

#[tokio::test]
async fn calls_that_are_cancelled_at_once_cost_only_their_own_connection() {
    let server = start(quick()).answering(accept);
    let raw = Raw::connect(&server).await;
    for _ in 0..3000 {
        // HTTP/2 ends a connection that does too much of this (CVE-2023-44487), so a failure is fine.
        let Some((feed, answer)) = raw.try_open(STREAM).await else { break };
        tokio::task::yield_now().await;
        drop((feed, answer));
    }
    let none = "w3bstream_grpc_calls_total{method=\"w3bstream.v1.Ingest/SubmitStream\"} 0";
    assert!(!server.metric(none), "none of them came");
    still_works(&server).await;
    drop(raw);
    server.until("w3bstream_grpc_connections 0").await;
    assert!(server.metric("w3bstream_grpc_buffered_bytes 0"));
}
