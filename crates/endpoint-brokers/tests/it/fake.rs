//! A broker that does what a test says, and an endpoint that connects to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use w3bstream_endpoint::{Arrival, Endpoint as _};
use w3bstream_endpoint_brokers::{
    BrokerConfig, BrokerMetrics, BrokersConfig, BrokersEndpoint, Delivery, MqttVersion,
};
use w3bstream_types::SystemClock;

pub(crate) use w3bstream_endpoint::conformance::{accepted, compact as body, messages, refused};

use crate::bare::split;
pub(crate) use crate::bare::{block_on, packet, text};

pub(crate) const TOPIC: &str = "w3b/kit/reading";
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What the endpoint and its broker speak.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speech {
    pub(crate) version: MqttVersion,
    pub(crate) qos: Delivery,
}

pub(crate) const V5: Speech = Speech { version: MqttVersion::V5, qos: Delivery::AtLeastOnce };
pub(crate) const V5_TWICE: Speech = Speech { version: MqttVersion::V5, qos: Delivery::ExactlyOnce };
pub(crate) const V4: Speech = Speech { version: MqttVersion::V4, qos: Delivery::AtLeastOnce };
pub(crate) const V4_TWICE: Speech = Speech { version: MqttVersion::V4, qos: Delivery::ExactlyOnce };
pub(crate) const ALL: [Speech; 4] = [V5, V5_TWICE, V4, V4_TWICE];

#[derive(Debug)]
pub(crate) struct Fake {
    listener: TcpListener,
    pub(crate) speech: Speech,
}

impl Fake {
    pub(crate) async fn new(speech: Speech) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), speech }
    }

    pub(crate) fn broker(&self) -> BrokerConfig {
        let url = format!("mqtt://{}", self.listener.local_addr().unwrap());
        BrokerConfig {
            version: self.speech.version,
            qos: self.speech.qos,
            ..BrokerConfig::new("fake", url, "node-1")
        }
    }

    pub(crate) fn open(&self) -> Arc<BrokersEndpoint> {
        open(quick(self.broker()))
    }

    /// A connection after its CONNECT.
    pub(crate) async fn knock(&self) -> Conn {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.expect("it connects").unwrap();
        stream.set_nodelay(true).unwrap();
        let v5 = self.speech.version == MqttVersion::V5;
        let mut conn = Conn { stream, v5, buf: Vec::new(), connect: Vec::new(), subscribe: Vec::new() };
        let (first, connect) = conn.read().await.expect("a CONNECT");
        assert_eq!(first, 0x10);
        conn.connect = connect;
        conn
    }

    /// A connection that was granted, with its subscriptions.
    pub(crate) async fn accept(&self) -> Conn {
        self.accept_with(false, &[self.level()]).await
    }

    fn level(&self) -> u8 {
        if self.speech.qos == Delivery::AtLeastOnce { 1 } else { 2 }
    }

    pub(crate) async fn accept_with(&self, session_present: bool, codes: &[u8]) -> Conn {
        let mut conn = self.knock().await;
        conn.grant(session_present, &[]).await;
        let (first, subscribe) = conn.read().await.expect("a SUBSCRIBE");
        assert_eq!(first, 0x82);
        let mut ack = subscribe[..2].to_vec();
        if conn.v5 {
            ack.push(0);
        }
        ack.extend_from_slice(codes);
        conn.write(&packet(0x90, &ack)).await;
        conn.subscribe = subscribe;
        conn
    }
}

pub(crate) fn quick(broker: BrokerConfig) -> BrokersConfig {
    BrokersConfig {
        brokers: vec![broker],
        withhold: Duration::from_millis(50),
        min_backoff: Duration::from_millis(20),
        max_backoff: Duration::from_millis(200),
        ..BrokersConfig::default()
    }
}

pub(crate) fn open(config: BrokersConfig) -> Arc<BrokersEndpoint> {
    BrokersEndpoint::open(config, Arc::new(SystemClock)).unwrap()
}

pub(crate) async fn next(endpoint: &BrokersEndpoint) -> Arrival {
    timeout(PATIENCE, endpoint.next()).await.expect("an arrival comes").expect("the endpoint is open")
}

pub(crate) fn metrics(endpoint: &BrokersEndpoint) -> BrokerMetrics {
    endpoint.status().remove(0).metrics
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, so: impl Fn() -> bool) {
    for _ in 0..500 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} does not come");
}

pub(crate) fn accept(arrival: Arrival) {
    let answer = accepted(&arrival.received);
    arrival.ack.answer(answer);
}

/// `count` messages as their bytes on the wire.
pub(crate) fn bodies(count: u32) -> Vec<Vec<u8>> {
    messages(0, count).iter().map(body).collect()
}

/// An acknowledgement from the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acked {
    /// 4 for PUBACK, 5 for PUBREC.
    pub(crate) kind: u8,
    pub(crate) id: u16,
    pub(crate) code: u8,
    pub(crate) reason: String,
}

impl Acked {
    pub(crate) fn parse(first: u8, body: &[u8]) -> Self {
        let reason = body.get(7..).map(|r| String::from_utf8(r.to_vec()).unwrap()).unwrap_or_default();
        let id = u16::from_be_bytes([body[0], body[1]]);
        Self { kind: first >> 4, id, code: body.get(2).copied().unwrap_or(0), reason }
    }
}

/// The broker's side of one connection.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: TcpStream,
    pub(crate) v5: bool,
    buf: Vec<u8>,
    /// The body of CONNECT.
    pub(crate) connect: Vec<u8>,
    /// The body of SUBSCRIBE.
    pub(crate) subscribe: Vec<u8>,
}

impl Conn {
    /// CONNACK; the properties are for MQTT 5, without their length.
    pub(crate) async fn grant(&mut self, session_present: bool, properties: &[u8]) {
        let mut ack = vec![u8::from(session_present), 0];
        if self.v5 {
            ack.push(u8::try_from(properties.len()).unwrap());
            ack.extend_from_slice(properties);
        }
        self.write(&packet(0x20, &ack)).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the endpoint reads").unwrap();
    }

    /// Writes, whether the endpoint still listens or not; true if it took it.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("no deadlock").is_ok()
    }

    pub(crate) fn publish_bytes(&self, (topic, level): (&str, u8), id: u16, payload: &[u8]) -> Vec<u8> {
        let mut b = text(topic);
        if level > 0 {
            b.extend_from_slice(&id.to_be_bytes());
        }
        if self.v5 {
            b.push(0);
        }
        b.extend_from_slice(payload);
        packet(0x30 | level << 1, &b)
    }

    pub(crate) async fn publish(&mut self, level: u8, id: u16, payload: &[u8]) {
        let bytes = self.publish_bytes((TOPIC, level), id, payload);
        self.write(&bytes).await;
    }

    /// The next packet; `None` when the endpoint has closed the connection.
    pub(crate) async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        timeout(PATIENCE, self.read_patiently()).await.expect("a packet or the end comes")
    }

    /// The same without a time limit. Cancel-safe.
    pub(crate) async fn read_patiently(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(packet) = split(&mut self.buf) {
                return Some(packet);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.buf.extend_from_slice(&chunk[..n]),
            }
        }
    }

    /// True if nothing comes for a while.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        timeout(Duration::from_millis(150), self.read_patiently()).await.is_err()
    }

    pub(crate) async fn acked(&mut self) -> Acked {
        let (first, body) = self.read().await.expect("an acknowledgement, not the end");
        assert!(matches!(first, 0x40 | 0x50), "an acknowledgement, not {first:#x} {body:02x?}");
        Acked::parse(first, &body)
    }

    /// A message of the endpoint: topic, packet id, what follows (in MQTT 5 with its properties).
    pub(crate) async fn message(&mut self) -> (String, u16, Vec<u8>) {
        let (first, body) = self.read().await.expect("a PUBLISH, not the end");
        assert_eq!(first, 0x32, "a PUBLISH at QoS 1, not {first:#x} {body:02x?}");
        let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + len].to_vec()).unwrap();
        let rest = &body[2 + len..];
        (topic, u16::from_be_bytes([rest[0], rest[1]]), rest[2..].to_vec())
    }

    /// The end must come now, with nothing but a DISCONNECT before it.
    pub(crate) async fn end(&mut self) {
        while let Some((first, body)) = self.read().await {
            assert_eq!(first, 0xe0, "a DISCONNECT or the end, not {first:#x} {body:02x?}");
        }
    }
}
