//! A bare MQTT client that can say anything, and an endpoint to say it to.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;
use w3bstream_endpoint::{Answer, Arrival, Endpoint, OpenGate};
use w3bstream_endpoint_mqtt::{BoxedStream, Listener, Metrics, MqttConfig, MqttEndpoint, Transport};
use w3bstream_types::{Received, Submission, SystemClock};

use crate::transports::{dial, secure};

pub(crate) use w3bstream_endpoint::conformance::{accepted, compact as body, messages, refused};

use crate::bare::split;
pub(crate) use crate::bare::{block_on, packet, text};

pub(crate) const TOPIC: &str = "w3b/kit/reading";
const PATIENCE: Duration = Duration::from_secs(5);

thread_local! {
    /// What the clients of this thread's test connect over.
    static VIA: std::cell::Cell<Transport> = const { std::cell::Cell::new(Transport::Tcp) };
}

/// Runs a test with clients that connect over something else than TCP alone.
pub(crate) fn via<T>(transport: Transport, test: impl FnOnce() -> T) -> T {
    VIA.set(transport);
    let done = test();
    VIA.set(Transport::Tcp);
    done
}

pub(crate) fn config() -> MqttConfig {
    MqttConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        withhold: Duration::from_millis(50),
        // Published at odd times, they would disturb those who listen to everything.
        sys_every: Duration::ZERO,
        ..MqttConfig::default()
    }
}

pub(crate) async fn bind(config: MqttConfig) -> Arc<MqttEndpoint> {
    let transport = VIA.get();
    let mut config = config;
    if transport != Transport::Tcp {
        config.more.push(Listener { address: config.listen, transport });
    }
    MqttEndpoint::bind_with(config, Arc::new(SystemClock), Arc::new(OpenGate), Some(secure())).await.unwrap()
}

/// Waits until the counters say something.
pub(crate) async fn counted(endpoint: &MqttEndpoint, enough: impl Fn(&Metrics) -> bool) {
    let waits = async {
        while !enough(&endpoint.metrics()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, waits).await.is_ok(), "{:?}", endpoint.metrics());
}

pub(crate) async fn next(endpoint: &MqttEndpoint) -> Arrival {
    timeout(PATIENCE, endpoint.next()).await.expect("an arrival comes").expect("the endpoint is open")
}

pub(crate) fn answer(arrival: Arrival, with: impl FnOnce(&Received) -> Answer) {
    let answer = with(&arrival.received);
    arrival.ack.answer(answer);
}

/// Accepts everything until the endpoint closes.
pub(crate) async fn accept_all(endpoint: Arc<MqttEndpoint>) {
    while let Some(arrival) = endpoint.next().await {
        answer(arrival, accepted);
    }
}

/// `count` messages as their bytes on the wire.
pub(crate) fn bodies(count: u32) -> Vec<Vec<u8>> {
    messages(0, count).iter().map(body).collect()
}

pub(crate) fn device() -> String {
    let Submission::Signed(record) = &messages(0, 1)[0].submission else { panic!("devices sign") };
    record.device().unwrap().to_string()
}

/// What a CONNECT says.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) v5: bool,
    pub(crate) id: &'static str,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    /// MQTT 5 properties, without their length.
    pub(crate) properties: Vec<u8>,
    /// Topic and message, at QoS 1.
    pub(crate) will: Option<(String, Vec<u8>)>,
    /// How long the will waits, in seconds (MQTT 5).
    pub(crate) will_delay: u8,
}

impl Hello {
    pub(crate) fn new(v5: bool, id: &'static str) -> Self {
        Self { v5, id, clean: true, keep_alive: 60, properties: Vec::new(), will: None, will_delay: 0 }
    }

    pub(crate) fn resuming(mut self) -> Self {
        self.clean = false;
        if self.v5 {
            self.properties.extend_from_slice(&[0x11, 0, 0, 0, 60]);
        }
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut b = text("MQTT");
        let will = if self.will.is_some() { 0b0000_1100 } else { 0 };
        b.extend_from_slice(&[if self.v5 { 5 } else { 4 }, u8::from(self.clean) << 1 | will]);
        b.extend_from_slice(&self.keep_alive.to_be_bytes());
        if self.v5 {
            b.push(u8::try_from(self.properties.len()).unwrap());
            b.extend_from_slice(&self.properties);
        }
        b.extend(text(self.id));
        if let Some((topic, message)) = &self.will {
            if self.v5 && self.will_delay > 0 {
                b.extend_from_slice(&[5, 0x18, 0, 0, 0, self.will_delay]);
            } else if self.v5 {
                b.push(0);
            }
            b.extend(text(topic));
            b.extend_from_slice(&u16::try_from(message.len()).unwrap().to_be_bytes());
            b.extend_from_slice(message);
        }
        packet(0x10, &b)
    }
}

/// A PUBACK as a device reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PubAck {
    pub(crate) id: u16,
    pub(crate) code: u8,
    pub(crate) reason: String,
}

/// A client that writes and reads packets, and nothing by itself.
pub(crate) struct Client {
    stream: BoxedStream,
    /// What carries the bytes, where that is no stream by itself.
    _carrier: JoinSet<()>,
    pub(crate) v5: bool,
    buf: Vec<u8>,
    pub(crate) connack: Vec<u8>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("v5", &self.v5).field("buf", &self.buf).finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) async fn raw(endpoint: &MqttEndpoint, v5: bool) -> Self {
        let transport = VIA.get();
        let at = endpoint.listeners().iter().find(|l| l.transport == transport).unwrap();
        let mut carrier = JoinSet::new();
        let stream = dial(*at, &mut carrier).await;
        Self { stream, _carrier: carrier, v5, buf: Vec::new(), connack: Vec::new() }
    }

    /// Connects; whether the CONNACK grants it is for the caller to see.
    pub(crate) async fn say(endpoint: &MqttEndpoint, hello: &Hello) -> Self {
        let mut client = Self::raw(endpoint, hello.v5).await;
        client.write(&hello.bytes()).await;
        if let Some((first, body)) = client.read().await {
            assert_eq!(first, 0x20, "the first packet is a CONNACK");
            client.connack = body;
        }
        client
    }

    /// Connects and is granted it.
    pub(crate) async fn connect(endpoint: &MqttEndpoint, hello: &Hello) -> Self {
        let client = Self::say(endpoint, hello).await;
        assert_eq!(client.connack.get(1), Some(&0), "the CONNACK grants: {:?}", client.connack);
        client
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(PATIENCE, written).await.expect("the endpoint reads").unwrap();
    }

    /// Writes, whether the endpoint still listens or not.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        let _ = timeout(PATIENCE, written).await.expect("no deadlock");
    }

    pub(crate) fn publish_bytes(&self, topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
        let mut b = text(topic);
        if id != 0 {
            b.extend_from_slice(&id.to_be_bytes());
        }
        if self.v5 {
            b.push(0);
        }
        b.extend_from_slice(payload);
        packet(if id == 0 { 0x30 } else { 0x32 }, &b)
    }

    /// Publishes at QoS 1, or at QoS 0 if `id` is 0.
    pub(crate) async fn publish(&mut self, topic: &str, id: u16, payload: &[u8]) {
        let bytes = self.publish_bytes(topic, id, payload);
        self.write(&bytes).await;
    }

    /// Subscribes to one filter and gives the code of the SUBACK.
    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) -> u8 {
        let mut b = vec![0, 9];
        if self.v5 {
            b.push(0);
        }
        b.extend(text(filter));
        b.push(qos);
        self.write(&packet(0x82, &b)).await;
        let (first, body) = self.read().await.expect("a SUBACK");
        assert_eq!((first, &body[..2]), (0x90, &[0, 9][..]));
        *body.last().unwrap()
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

    pub(crate) async fn puback(&mut self) -> PubAck {
        let (first, body) = self.read().await.expect("a PUBACK, not the end");
        assert_eq!(first, 0x40, "a PUBACK, not {first:#x} {body:02x?}");
        parse_puback(&body)
    }

    /// The reason code of the DISCONNECT that must come now, followed by the end; `None` if the end comes at once.
    pub(crate) async fn goodbye(&mut self) -> Option<u8> {
        let (first, body) = self.read().await?;
        assert_eq!(first, 0xe0, "a DISCONNECT, not {first:#x} {body:02x?}");
        assert_eq!(self.read().await, None, "nothing follows a DISCONNECT");
        Some(body.first().copied().unwrap_or(0))
    }

    /// The message of a PUBLISH that must come now: topic, packet id (0 at QoS 0), repeated, payload.
    pub(crate) async fn message(&mut self) -> (String, u16, bool, Vec<u8>) {
        let (first, body) = self.read().await.expect("a PUBLISH, not the end");
        assert_eq!(first >> 4, 3, "a PUBLISH, not {first:#x} {body:02x?}");
        let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + len].to_vec()).unwrap();
        let mut rest = &body[2 + len..];
        let mut id = 0;
        if first & 0b0110 != 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        if self.v5 {
            rest = &rest[1 + usize::from(rest[0])..];
        }
        (topic, id, first & 0b1000 != 0, rest.to_vec())
    }
}

pub(crate) fn parse_puback(body: &[u8]) -> PubAck {
    let reason = body.get(7..).map(|r| String::from_utf8(r.to_vec()).unwrap()).unwrap_or_default();
    PubAck { id: u16::from_be_bytes([body[0], body[1]]), code: body.get(2).copied().unwrap_or(0), reason }
}
