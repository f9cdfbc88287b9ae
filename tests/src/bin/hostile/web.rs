//! What HTTP/1.1, HTTP/2, gRPC, CoAP and JSON-RPC forbid.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::io::AsyncReadExt as _;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::net::{put, source};
use crate::site::{EVENTS, Site};
use crate::{Found, grpc, http};

/// Longer than the node waits for a head and for the progress of a body.
const PATIENCE: Duration = Duration::from_secs(30);
const AT_ONCE: usize = 32;

type Case = (&'static str, Vec<u8>);

fn heads() -> Vec<Case> {
    let envelope = "Content-Type: application/vnd.w3bstream.envelope\r\n";
    let event = |head: &str, body: &str| {
        format!("POST {EVENTS} HTTP/1.1\r\nHost: x\r\n{envelope}{head}\r\n{body}").into_bytes()
    };
    let get = |head: &str| format!("GET /v1/status HTTP/1.1\r\n{head}\r\n").into_bytes();
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3];
    let mut zipped = event("Content-Encoding: gzip\r\nContent-Length: 13\r\n", "");
    zipped.extend(gzip);
    vec![
        ("no request at all", b"\xff\xfe\xfd\r\n\r\n".to_vec()),
        ("a method with a space", b"GE T / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("HTTP/9.9", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_vec()),
        (
            "a target of 100 KB",
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000)).into_bytes(),
        ),
        ("a header without a colon", get("Host: x\r\nnonsense\r\n")),
        ("a header with U+0000", get("Host: x\r\nA: b\0c\r\n")),
        ("a folded header", get("Host: x\r\nA: b\r\n c: d\r\n\x01: e\r\n")),
        ("one header of 200 KB", get(&format!("Host: x\r\nA: {}\r\n", "a".repeat(200_000)))),
        ("2,000 headers", get(&"A: b\r\n".repeat(2000))),
        ("two lengths", event("Content-Length: 1\r\nContent-Length: 2\r\n", "ab")),
        ("a negative length", event("Content-Length: -1\r\n", "")),
        ("a length of 2^64", event("Content-Length: 18446744073709551616\r\n", "")),
        ("a length of 2^62", event("Content-Length: 4611686018427387904\r\n", "ab")),
        ("a chunk of 2^64", event("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n")),
        ("a chunk that is no number", event("Transfer-Encoding: chunked\r\n", "zz\r\nab\r\n0\r\n\r\n")),
        ("a chunk of the wrong length", event("Transfer-Encoding: chunked\r\n", "2\r\nabcd\r\n0\r\n\r\n")),
        ("another transfer encoding", event("Transfer-Encoding: gzip\r\n", "ab")),
        ("gzip that is none", zipped),
        ("no envelope", event("Content-Length: 3\r\n", "\u{1}ab")),
        ("an unknown coding", event("Content-Encoding: zpaq\r\nContent-Length: 1\r\n", "a")),
        ("two content types", event("Content-Type: text/plain\r\nContent-Length: 1\r\n", "a")),
        ("no length", format!("POST {EVENTS} HTTP/1.1\r\nHost: x\r\n{envelope}\r\n").into_bytes()),
        ("a path that climbs", b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a path that is no text", b"GET /v1/messages/%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("CONNECT elsewhere", b"CONNECT example.org:80 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("TLS where there is none", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
    ]
}

/// One HTTP/2 frame.
pub(crate) fn h2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut out = length.get(1..).unwrap_or_default().to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// The preface and empty settings.
pub(crate) fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), h2(4, 0, 0, &[])].concat()
}

/// A call's head, in HPACK without an index.
pub(crate) fn call(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let text = |s: &str| [vec![u8::try_from(s.len()).unwrap_or(0)], s.as_bytes().to_vec()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn frames() -> Vec<Case> {
    let head = call("/w3bstream.v1.Ingest/Submit");
    let with = |rest: Vec<u8>| [preface(), rest].concat();
    let rapid =
        (0..5000).flat_map(|n| [h2(1, 4, n * 2 + 1, &head), h2(3, 0, n * 2 + 1, &[0, 0, 0, 8])].concat());
    let endless = (0..2000).flat_map(|_| h2(9, 0, 1, &head));
    let one = |message: &[u8]| with([h2(1, 4, 1, &head), h2(0, 1, 1, message)].concat());
    vec![
        ("a bad preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec()),
        ("a frame of 16 MB", with(vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1])),
        ("DATA on stream 0", with(h2(0, 0, 0, b"x"))),
        ("DATA on a stream that is not open", with(h2(0, 0, 7, b"x"))),
        ("HEADERS on stream 0", with(h2(1, 4, 0, &head))),
        ("HPACK that is none", with(h2(1, 4, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))),
        ("SETTINGS of 5 bytes", with(h2(4, 0, 0, &[0; 5]))),
        ("a window of 2^31", with(h2(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]))),
        ("a window update of 0", with(h2(8, 0, 0, &[0; 4]))),
        ("CONTINUATION without end", with([h2(1, 0, 1, &head), endless.collect()].concat())),
        ("5,000 calls, each reset", with(rapid.collect())),
        (
            "SETTINGS, 10,000 times",
            with((0..10_000).flat_map(|_| h2(4, 0, 0, &[])).chain(h2(0, 0, 0, b"x")).collect()),
        ),
        (
            "PING, 10,000 times",
            with((0..10_000).flat_map(|_| h2(6, 0, 0, &[0; 8])).chain(h2(0, 0, 0, b"x")).collect()),
        ),
        ("a message longer than allowed", one(&[0, 0x7f, 0xff, 0xff, 0xff])),
        ("a message that is compressed", one(&[1, 0, 0, 0, 1, 0])),
        ("a message that is no protobuf", one(&grpc::framed(&[0xff; 20]))),
        ("a message that ends early", one(&[0, 0, 0, 0, 9, 1])),
        ("no message", one(&[])),
    ]
}

/// Sends bytes to a listener, and waits until it closes or answers. An answer of success is wrong.
async fn attack(site: &Site, listener: &str, (name, bytes): &Case, n: usize) -> Option<String> {
    let exchange = async {
        let mut io = site.dial(listener, n).await?;
        let _ = put(&mut io, bytes).await;
        let mut all = Vec::new();
        let mut part = [0; 4096];
        while let Ok(n @ 1..) = io.read(&mut part).await {
            all.extend(part.get(..n).unwrap_or_default());
            if decided(&all) {
                break;
            }
        }
        anyhow::Ok(all)
    };
    let what = |why: &str| Some(format!("{name} to {listener}: {why}"));
    match timeout(PATIENCE, exchange).await {
        Err(_) => what("neither answered nor closed in time"),
        Ok(Err(e)) => what(&e.to_string()),
        Ok(Ok(all)) if all.starts_with(b"HTTP/1.1 2") => what("answered with success"),
        Ok(Ok(_)) => None,
    }
}

/// A whole head of HTTP/1.1, or a frame of HTTP/2 that ends a stream or the connection.
pub(crate) fn decided(bytes: &[u8]) -> bool {
    if bytes.starts_with(b"HTTP/1.1 ") {
        return bytes.windows(4).any(|w| w == b"\r\n\r\n");
    }
    let mut rest = bytes;
    while let [a, b, c, kind, flags, _, _, _, _, ..] = rest {
        let ends = matches!(kind, 3 | 7) || matches!(kind, 0 | 1) && flags & 1 == 1;
        if ends {
            return true;
        }
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    false
}

/// Datagrams that are not CoAP, and such that ask for too much.
fn datagrams() -> Vec<Case> {
    let post = |more: &[u8]| {
        let mut out = vec![0x40, 2, 0x12, 0x34, 0xb3];
        out.extend(b"w3b\x0acold-chain\x07reading");
        out.extend(more);
        out
    };
    vec![
        ("nothing", vec![]),
        ("one byte", vec![0x40]),
        ("version 3", vec![0xc0, 1, 0, 1]),
        ("a token of 15 bytes", vec![0x4f, 1, 0, 2]),
        ("a token that is cut", vec![0x48, 1, 0, 3, 1, 2]),
        ("option delta 15", vec![0x40, 1, 0, 4, 0xf0]),
        ("option length 15", vec![0x40, 1, 0, 5, 0x0f]),
        ("an option beyond the datagram", vec![0x40, 1, 0, 6, 0x0d, 0xff]),
        ("a payload marker and nothing", post(&[0xff])),
        ("an empty message with a body", vec![0x40, 0, 0, 7, 0xff, 1]),
        ("a reserved code", vec![0x40, 0xe1, 0, 8]),
        ("an answer to nothing", vec![0x60, 0x45, 0, 9]),
        ("no envelope", post(&[0xff, 1, 2, 3])),
        ("a critical option that there is not", vec![0x40, 1, 0, 10, 0xd1, 0xf0, 0]),
        ("block 1,048,575", post(&[0xd3, 3, 0xff, 0xff, 0xfe, 0xff, 1])),
        ("a block of the reserved size", post(&[0xd1, 3, 0x0f, 0xff, 1])),
        ("a block in the middle", post(&[0xd1, 3, 0x5e, 0xff, 1])),
        (
            "a proxy request",
            vec![
                0x40, 1, 0, 11, 0xdd, 22, 5, b'x', b'x', b'x', b'x', b'x', b'x', b'x', b'x', b'x', b'x',
                b'x', b'x', b'x', b'x', b'x', b'x', b'x', b'x',
            ],
        ),
        ("1,400 bytes of 0xff", vec![0xff; 1400]),
    ]
}

/// Each datagram, then CoAP's own ping: the endpoint must still answer it, and nothing may have succeeded.
async fn coap(site: &Site) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let to = site.at("coap")?;
    for (n, (name, bytes)) in datagrams().into_iter().enumerate() {
        let socket = UdpSocket::bind((source(n), 0)).await?;
        socket.connect(to).await?;
        socket.send(&bytes).await?;
        // An empty Confirmable message is answered with Reset.
        socket.send(&[0x40, 0, 0xbe, 0xef]).await?;
        let alive = async {
            let mut answer = [0; 1500];
            loop {
                let n = socket.recv(&mut answer).await?;
                match answer.get(..n) {
                    Some([0x70, 0, 0xbe, 0xef]) => return anyhow::Ok(true),
                    Some([_, code, ..]) if code >> 5 == 2 && *code != 0x5f => return Ok(false),
                    _ => {}
                }
            }
        };
        match timeout(Duration::from_secs(5), alive).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => wrong.push(format!("{name} over CoAP: answered with success")),
            Ok(Err(e)) => wrong.push(format!("{name} over CoAP: {e}")),
            Err(_) => wrong.push(format!("{name} over CoAP: the endpoint is silent afterwards")),
        }
    }
    Ok(wrong)
}

/// JSON-RPC on the admin listener: an error of its own or of HTTP, and never a crash.
async fn json_rpc(site: &Site) -> anyhow::Result<Vec<String>> {
    let deep = "[".repeat(100_000);
    let batch = format!("[{}]", vec!["{}"; 20_000].join(","));
    let bodies = [
        ("no JSON", "{"),
        ("100,000 brackets", deep.as_str()),
        ("an empty batch", "[]"),
        ("a batch of 20,000", batch.as_str()),
        ("no method", r#"{"jsonrpc":"2.0","id":1}"#),
        ("an unknown method", r#"{"jsonrpc":"2.0","id":1,"method":"w3b_burn"}"#),
        ("wrong parameters", r#"{"jsonrpc":"2.0","id":1,"method":"w3b_project","params":[{"a":[]}]}"#),
        (
            "a path as a parameter",
            r#"{"jsonrpc":"2.0","id":1,"method":"w3b_project","params":["../../v1/status"]}"#,
        ),
        ("an id that is an object", r#"{"jsonrpc":"2.0","id":{},"method":"w3b_status"}"#),
        ("another version", r#"{"jsonrpc":"1.0","id":1,"method":"w3b_status"}"#),
    ];
    let mut wrong = Vec::new();
    for (name, body) in bodies {
        for (token, known) in [(site.token.as_str(), true), ("w3b_wrong", false)] {
            let mut client = http::Client::new(site.dial("admin", 0).await?);
            let head = format!("Authorization: Bearer {token}\r\n");
            let answer = client.ask(&http::post("/rpc", "application/json", &head, body.as_bytes())).await?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let refused =
                if known { answer.status >= 400 || text.contains("\"error\"") } else { answer.status == 401 };
            if !refused {
                wrong.push(format!(
                    "JSON-RPC, {name}: {} {}",
                    answer.status,
                    text.get(..200).unwrap_or(&text)
                ));
            }
        }
    }
    Ok(wrong)
}

fn legacy() -> Vec<Case> {
    let event = "/srv-applet-mgr/v0/event/cold-chain?eventID=1&eventType=DEFAULT&timestamp=";
    let multipart = "multipart/form-data; boundary=B";
    vec![
        ("no login", http::post("/srv-applet-mgr/v0/login", "application/json", "", b"{\"username\":[]}")),
        ("an event without a token", http::post(event, "text/plain", "", b"x")),
        ("a time that is none", http::post(&format!("{event}{}", "9".repeat(400)), "text/plain", "", b"x")),
        (
            "a form without an end",
            http::post(
                "/srv-applet-mgr/v0/applet/x/p",
                multipart,
                "",
                b"--B\r\nContent-Disposition: form-data",
            ),
        ),
        ("a route that there is not", http::post("/srv-applet-mgr/v0/%00", "text/plain", "", b"x")),
    ]
}

pub(crate) async fn run(site: &Site, found: &mut Found) -> anyhow::Result<()> {
    let (heads, frames, legacy) = (heads(), frames(), legacy());
    let each = [
        ("http", &heads),
        ("https", &heads),
        ("legacy", &heads),
        ("legacy", &legacy),
        ("ws", &heads),
        ("http", &frames),
        ("grpc", &frames),
    ];
    let all = each.into_iter().flat_map(|(listener, cases)| cases.iter().map(move |case| (listener, case)));
    let attacks = all.enumerate().map(|(n, (listener, case))| attack(site, listener, case, n));
    let wrong: Vec<Option<String>> = stream::iter(attacks).buffer_unordered(AT_ONCE).collect().await;
    found.note(format!(
        "{} malformed HTTP/1.1 requests to 4 listeners, {} of HTTP/2 and gRPC to 2",
        heads.len(),
        frames.len()
    ));
    found.missed.extend(wrong.into_iter().flatten());
    found.missed.extend(coap(site).await?);
    found.note(format!("{} malformed CoAP datagrams", datagrams().len()));
    found.missed.extend(json_rpc(site).await?);
    Ok(())
}
