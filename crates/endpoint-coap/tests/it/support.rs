//! A bare CoAP client that can say anything, and an endpoint to say it to.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use w3bstream_endpoint::conformance::messages;
use w3bstream_endpoint::{Answer, Arrival, Endpoint};
use w3bstream_endpoint_coap::{CoapConfig, CoapEndpoint};
use w3bstream_types::{Received, SystemClock};

pub(crate) use w3bstream_endpoint::conformance::{
    PlayedQuery as FakeQuery, accepted, compact as body, refused,
};

pub(crate) const PATH: &str = "w3b/kit/reading";
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing must come before we believe that nothing will.
pub(crate) const QUIET: Duration = Duration::from_millis(150);

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { timeout(Duration::from_secs(30), future).await.expect("the test hangs") })
}

pub(crate) fn config() -> CoapConfig {
    CoapConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        ack_timeout: Duration::from_millis(200),
        ..CoapConfig::default()
    }
}

pub(crate) async fn bind(config: CoapConfig) -> Arc<CoapEndpoint> {
    CoapEndpoint::bind(config, Arc::new(FakeQuery::default()), Arc::new(SystemClock)).await.unwrap()
}

pub(crate) async fn next(endpoint: &CoapEndpoint) -> Arrival {
    timeout(PATIENCE, endpoint.next()).await.expect("an arrival comes").expect("the endpoint is open")
}

/// True if no arrival comes.
pub(crate) async fn idle(endpoint: &CoapEndpoint) -> bool {
    timeout(QUIET, endpoint.next()).await.is_err()
}

pub(crate) fn answer(arrival: Arrival, with: impl FnOnce(&Received) -> Answer) {
    let answer = with(&arrival.received);
    arrival.ack.answer(answer);
}

/// The bytes of a good message.
pub(crate) fn message(counter: u32) -> Vec<u8> {
    body(&messages(counter, 1)[0])
}

/// A request as a packet without type, id and token.
pub(crate) fn request(method: RequestType, path: &str, payload: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.header.code = MessageClass::Request(method);
    for segment in path.split('/') {
        packet.add_option(CoapOption::UriPath, segment.as_bytes().to_vec());
    }
    packet.payload = payload.to_vec();
    packet
}

pub(crate) fn post(payload: &[u8]) -> Packet {
    request(RequestType::Post, PATH, payload)
}

pub(crate) fn with(mut packet: Packet, option: u16, value: &[u8]) -> Packet {
    packet.add_option(CoapOption::from(option), value.to_vec());
    packet
}

/// The bytes of a message.
pub(crate) fn bytes(mut packet: Packet, kind: MessageType, id: u16) -> Vec<u8> {
    packet.header.set_version(1);
    packet.header.set_type(kind);
    packet.header.message_id = id;
    packet.set_token(id.to_be_bytes().to_vec());
    packet.to_bytes_unlimited().unwrap()
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) kind: MessageType,
    pub(crate) id: u16,
    pub(crate) code: String,
    pub(crate) packet: Packet,
    pub(crate) bytes: usize,
}

impl Reply {
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.option(12), Some(vec![50]), "{self:?}");
        serde_json::from_slice(&self.packet.payload).unwrap()
    }

    pub(crate) fn option(&self, number: u16) -> Option<Vec<u8>> {
        self.packet.get_first_option(CoapOption::from(number)).cloned()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.packet.payload.clone()).unwrap()
    }

    /// The id that [`bytes`] has put into the token.
    pub(crate) fn token(&self) -> u16 {
        u16::from_be_bytes(self.packet.get_token().try_into().unwrap())
    }
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) socket: UdpSocket,
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(to).await.unwrap();
        Self { socket }
    }

    pub(crate) async fn send(&self, bytes: &[u8]) {
        // A port that is closed is told on the next call; what was sent to it is lost, as datagrams are.
        match self.socket.send(bytes).await {
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {}
            sent => drop(sent.unwrap()),
        }
    }

    /// The next message, whatever it is; acknowledged if it wants to be.
    pub(crate) async fn read(&self) -> Reply {
        let reply = self.read_only().await;
        if reply.kind == MessageType::Confirmable {
            let mut ack = Packet::new();
            ack.header.code = MessageClass::Empty;
            ack.header.set_version(1);
            ack.header.set_type(MessageType::Acknowledgement);
            ack.header.message_id = reply.id;
            self.send(&ack.to_bytes().unwrap()).await;
        }
        reply
    }

    pub(crate) async fn read_only(&self) -> Reply {
        let mut buffer = [0; 2000];
        let read = async {
            loop {
                match self.socket.recv(&mut buffer).await {
                    Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {}
                    read => return read.unwrap(),
                }
            }
        };
        let length = timeout(PATIENCE, read).await.expect("an answer comes");
        let packet = Packet::from_bytes(&buffer[..length]).unwrap();
        let code = packet.header.code.to_string();
        Reply { kind: packet.header.get_type(), id: packet.header.message_id, code, packet, bytes: length }
    }

    /// True if nothing comes.
    pub(crate) async fn hears_nothing(&self) -> bool {
        timeout(QUIET, self.socket.recv(&mut [0; 2000])).await.is_err()
    }

    /// One Confirmable request and what comes back.
    pub(crate) async fn ask(&self, packet: Packet, id: u16) -> Reply {
        self.send(&bytes(packet, MessageType::Confirmable, id)).await;
        self.read().await
    }
}
