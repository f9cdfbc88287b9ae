//! WebSocket, frame by frame: as it may come, and as nobody should send it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use w3bstream_endpoint_mqtt::{Listener, MqttConfig, MqttEndpoint, Transport};

use crate::support::{Hello, bind, block_on, config, counted, packet};
use crate::transports::answer_to;

const GOOD: &str = "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n";

const BINARY: u8 = 2;
const PING: u8 = 9;
const FIN: u8 = 0x80;

fn with_web_socket() -> MqttConfig {
    let more = vec![Listener { address: config().listen, transport: Transport::WebSocket }];
    MqttConfig { more, ..config() }
}

/// A frame as a client sends it, masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = header(first, payload.len() as u64);
    out.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

fn header(first: u8, len: u64) -> Vec<u8> {
    let mut out = vec![first];
    match len {
        0..126 => out.push(0x80 | u8::try_from(len).unwrap()),
        126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out.extend_from_slice(&[1, 2, 3, 4]);
    out
}

struct Socket(TcpStream);

impl Socket {
    async fn open(endpoint: &MqttEndpoint) -> Self {
        let at = endpoint.listeners()[1].address;
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(format!("{GOOD}\r\n").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        assert!(head.contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{head}");
        assert!(!head.contains("Extensions"), "no compression: {head}");
        Self(stream)
    }

    async fn connect(endpoint: &MqttEndpoint) -> Self {
        let mut socket = Self::open(endpoint).await;
        socket.write(&frame(FIN | BINARY, &Hello::new(true, "ws").bytes())).await;
        let (first, connack) = socket.read().await.unwrap();
        assert_eq!((first, connack[0], connack[3]), (FIN | BINARY, 0x20, 0));
        socket
    }

    async fn write(&mut self, bytes: &[u8]) {
        // The endpoint may have closed already.
        let _ = self.0.write_all(bytes).await;
    }

    /// The next frame: first byte and payload; `None` at the end.
    async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        timeout(Duration::from_secs(5), async {
            let first = self.0.read_u8().await.ok()?;
            let len = match self.0.read_u8().await.ok()? {
                126 => self.0.read_u16().await.ok()?.into(),
                127 => panic!("no frame of ours is so long"),
                len => usize::from(len),
            };
            let mut payload = vec![0; len];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((first, payload))
        })
        .await
        .expect("a frame or the end comes")
    }

    /// The code of the Close frame that must come now, followed by the end.
    async fn closed(&mut self) -> u16 {
        let (first, payload) = self.read().await.expect("a Close frame, not the end");
        assert_eq!(first, 0x88, "{payload:02x?}");
        assert_eq!(self.read().await, None);
        u16::from_be_bytes([payload[0], payload[1]])
    }
}

#[test]
fn frames_are_no_packets() {
    block_on(async {
        let endpoint = bind(with_web_socket()).await;
        let mut socket = Socket::open(&endpoint).await;
        let connect = Hello::new(true, "ws").bytes();
        // One packet in fragments of one byte, empty ones among them, with a ping in the midst.
        for (place, byte) in connect.iter().enumerate() {
            socket.write(&frame(if place == 0 { BINARY } else { 0 }, &[*byte])).await;
            socket.write(&frame(0, &[])).await;
            if place == 7 {
                socket.write(&frame(FIN | PING, b"there?")).await;
                assert_eq!(socket.read().await, Some((0x8a, b"there?".to_vec())));
            }
        }
        socket.write(&frame(FIN, &[])).await;
        assert_eq!(socket.read().await.unwrap().1[0], 0x20);
        // Half a packet ends one message; the other half and two more are the next.
        socket.write(&frame(FIN | BINARY, &[0xc0])).await;
        socket.write(&frame(FIN | BINARY, &[])).await;
        socket.write(&frame(FIN | BINARY, &[0, 0xc0, 0, 0xc0, 0])).await;
        let mut answers = Vec::new();
        while answers.len() < 6 {
            let (first, payload) = socket.read().await.unwrap();
            assert_eq!(first, FIN | BINARY);
            answers.extend(payload);
        }
        assert_eq!(answers, [0xd0, 0].repeat(3));
        // A DISCONNECT ends it with a Close frame of ours; a Close frame of theirs is answered.
        socket.write(&frame(FIN | BINARY, &packet(0xe0, &[]))).await;
        assert_eq!(socket.closed().await, 1000);
        let mut socket = Socket::connect(&endpoint).await;
        socket.write(&frame(0x88, &1001_u16.to_be_bytes())).await;
        assert_eq!(socket.closed().await, 1001);
        counted(&endpoint, |m| m.connections_now == 0).await;
    });
}

#[test]
fn text_is_refused_with_1003_before_and_after_connect() {
    block_on(async {
        let endpoint = bind(with_web_socket()).await;
        let mut socket = Socket::open(&endpoint).await;
        socket.write(&frame(FIN | 1, b"hello")).await;
        assert_eq!(socket.closed().await, 1003);
        let mut socket = Socket::connect(&endpoint).await;
        socket.write(&frame(FIN | 1, b"hello")).await;
        let (first, disconnect) = socket.read().await.unwrap();
        assert_eq!((first, disconnect[0], disconnect[2]), (FIN | BINARY, 0xe0, 0x82));
        assert_eq!(socket.closed().await, 1003);
        counted(&endpoint, |m| (m.handshakes_failed, m.ended_protocol) == (1, 1)).await;
    });
}

#[test]
fn frames_that_must_not_be_end_the_connection_with_their_code() {
    block_on(async {
        let limits =
            MqttConfig { max_packet_bytes: 2048, max_web_socket_message_bytes: 4096, ..with_web_socket() };
        let endpoint = bind(limits).await;
        let fragments = |count: usize| {
            let mut bytes = frame(BINARY, &[0x30; 100]);
            bytes.extend(frame(0, &[0x30; 100]).repeat(count));
            bytes
        };
        let cases: Vec<(&str, Vec<u8>, u16)> = vec![
            ("a header that announces 2^62 bytes", header(FIN | BINARY, 1 << 62), 1009),
            ("a frame over the limit", header(FIN | BINARY, 4097), 1009),
            ("fragments without end", fragments(60), 1009),
            ("no mask", vec![FIN | BINARY, 1, 0], 1002),
            ("reserved bits", frame(FIN | 0x40 | BINARY, &[0]), 1002),
            ("an unknown opcode", frame(FIN | 3, &[0]), 1002),
            ("a fragmented ping", frame(PING, &[0]), 1002),
            ("a ping that is too long", frame(FIN | PING, &[0; 126]), 1002),
            ("a continuation of nothing", frame(FIN, &[0]), 1002),
            ("a length of 2^63", header(FIN | BINARY, u64::MAX), 1009),
        ];
        for (what, bytes, code) in cases {
            let mut socket = Socket::open(&endpoint).await;
            socket.write(&bytes).await;
            assert_eq!(socket.closed().await, code, "{what}");
        }
        // As large as it may be: what is in it is then MQTT's own.
        let mut socket = Socket::connect(&endpoint).await;
        let pings = packet(0xc0, &[]).repeat(2048);
        socket.write(&frame(FIN | BINARY, &pings)).await;
        assert_eq!(socket.read().await.unwrap().1[..2], [0xd0, 0]);
    });
}

#[test]
fn what_is_never_finished_is_a_stall() {
    block_on(async {
        let stall_timeout = Duration::from_millis(200);
        let endpoint = bind(MqttConfig { stall_timeout, ..with_web_socket() }).await;
        // A frame that is complete, with a packet that is not.
        let mut socket = Socket::connect(&endpoint).await;
        socket.write(&frame(FIN | BINARY, &[0x30, 100, 0])).await;
        let (_, disconnect) = socket.read().await.unwrap();
        assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x80));
        assert_eq!(socket.closed().await, 1000);
        // A frame shorter than its header says, and fragments that trickle.
        for trickle in [Vec::new(), frame(0, &[0])] {
            let mut socket = Socket::connect(&endpoint).await;
            let begun = if trickle.is_empty() { header(FIN | BINARY, 100) } else { frame(BINARY, &[0x30]) };
            socket.write(&begun).await;
            let began = std::time::Instant::now();
            let (_, disconnect) = loop {
                socket.write(&trickle).await;
                match timeout(Duration::from_millis(20), socket.0.peek(&mut [0])).await {
                    Ok(_) => break socket.read().await.unwrap(),
                    Err(_) => assert!(began.elapsed() < Duration::from_secs(3)),
                }
            };
            assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x80));
            assert!(began.elapsed() >= Duration::from_millis(190));
            assert_eq!(socket.closed().await, 1000);
        }
        assert_eq!(endpoint.metrics().ended_timeout, 3);
        // Who is idle between messages does not stall.
        let mut socket = Socket::connect(&endpoint).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        socket.write(&frame(FIN | BINARY, &[0xc0, 0])).await;
        assert_eq!(socket.read().await, Some((FIN | BINARY, vec![0xd0, 0])));
    });
}

#[test]
fn requests_are_bounded_and_refused_in_words() {
    block_on(async {
        let limits = MqttConfig {
            connect_timeout: Duration::from_millis(300),
            max_upgrade_bytes: 1024,
            web_socket_origins: vec!["https://app.example".to_owned()],
            ..with_web_socket()
        };
        let endpoint = bind(limits).await;
        let say = async |request: String| {
            let answer = answer_to(&endpoint, Transport::WebSocket, request.as_bytes()).await;
            String::from_utf8(answer).unwrap()
        };
        for (request, status) in [
            (
                GOOD.replace("Upgrade: websocket\r\n", "") + "\r\n",
                "426 Upgrade Required\r\nUpgrade: websocket",
            ),
            (GOOD.replace("/mqtt", "/") + "\r\n", "404 Not Found"),
            (GOOD.replace(": mqtt", ": mqttv3.1") + "\r\n", "400 Bad Request"),
            (format!("{GOOD}Origin: https://evil.example\r\n\r\n"), "403 Forbidden"),
            (format!("{GOOD}X: {}", "y".repeat(2000)), "431 Request Header Fields Too Large"),
        ] {
            let answer = say(request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{status}: {answer}");
        }
        // A request that is never finished is not answered.
        let began = std::time::Instant::now();
        assert_eq!(say(GOOD.to_owned()).await, "");
        assert!(began.elapsed() >= Duration::from_millis(290));
        counted(&endpoint, |m| m.handshakes_failed == 6).await;
        // A page that is named connects; it then says nothing, and is closed in time.
        let answer = say(format!("{GOOD}Origin: https://app.example\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    });
}
