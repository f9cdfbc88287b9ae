//! The room's conformance kit, over MQTT 3.1.1 and 5, and over every transport.

use std::collections::VecDeque;
use std::sync::Arc;

use w3bstream_endpoint::async_trait;
use w3bstream_endpoint::conformance::{Device, Fixture, Limits, Running, Seen, Sight};
use w3bstream_endpoint_mqtt::{MqttConfig, Transport};
use w3bstream_types::Received;

use crate::support::{Client, Hello, TOPIC, bind, block_on, body, config, parse_puback, via};

struct MqttFixture {
    v5: bool,
}

/// A device that keeps Receive Maximum in MQTT 5, and sends everything at once in 3.1.1.
#[derive(Debug)]
struct MqttDevice {
    client: Client,
    window: usize,
    next: usize,
    waiting: VecDeque<(usize, Vec<u8>)>,
    open: VecDeque<usize>,
    gone: bool,
}

#[async_trait]
impl Fixture for MqttFixture {
    async fn open(&self, limits: Limits) -> Running {
        let max_in_flight = u16::try_from(limits.max_in_flight).unwrap();
        let endpoint = bind(MqttConfig {
            max_in_flight_per_connection: max_in_flight,
            max_in_flight_total: limits.max_in_flight,
            ..config()
        })
        .await;
        let client = Client::connect(&endpoint, &Hello::new(self.v5, "kit")).await;
        let window = if self.v5 { limits.max_in_flight } else { usize::MAX };
        let device = MqttDevice {
            client,
            window,
            next: 0,
            waiting: VecDeque::new(),
            open: VecDeque::new(),
            gone: false,
        };
        Running { endpoint: Arc::clone(&endpoint) as _, device: Box::new(device) }
    }

    fn answers_in_order(&self) -> bool {
        true
    }

    fn shows_permanent_refusals(&self) -> bool {
        self.v5
    }

    fn transient_ends_connection(&self) -> bool {
        true
    }
}

impl MqttDevice {
    async fn send_what_may(&mut self) {
        let mut bytes = Vec::new();
        while self.open.len() < self.window
            && let Some((index, body)) = self.waiting.pop_front()
        {
            bytes.extend(self.client.publish_bytes(TOPIC, u16::try_from(index + 1).unwrap(), &body));
            self.open.push_back(index);
        }
        if !bytes.is_empty() && !self.gone {
            self.client.try_write(&bytes).await;
        }
    }
}

#[async_trait]
impl Device for MqttDevice {
    async fn send(&mut self, messages: Vec<Received>) {
        for message in messages {
            self.waiting.push_back((self.next, body(&message)));
            self.next += 1;
        }
        self.send_what_may().await;
    }

    async fn seen(&mut self) -> Option<Seen> {
        while !self.gone {
            match self.client.read_patiently().await {
                Some((0x40, body)) => {
                    let ack = parse_puback(&body);
                    let index = usize::from(ack.id) - 1;
                    self.open.retain(|open| *open != index);
                    self.send_what_may().await;
                    let sight = if ack.code < 0x80 { Sight::Accepted } else { Sight::Permanent };
                    return Some(Seen { index, sight });
                }
                Some((0xe0, _)) | None => self.gone = true,
                Some(other) => panic!("unexpected packet {other:?}"),
            }
        }
        let index = self.open.pop_front().or_else(|| self.waiting.pop_front().map(|(index, _)| index))?;
        Some(Seen { index, sight: Sight::Transient })
    }
}

mod v4 {
    w3bstream_endpoint::endpoint_conformance!(crate::support::block_on, super::MqttFixture { v5: false });
}

mod v5 {
    w3bstream_endpoint::endpoint_conformance!(crate::support::block_on, super::MqttFixture { v5: true });
}

fn over_tls<F: Future>(future: F) -> F::Output {
    via(Transport::Tls, || block_on(future))
}

fn over_web_socket<F: Future>(future: F) -> F::Output {
    via(Transport::WebSocket, || block_on(future))
}

fn over_both<F: Future>(future: F) -> F::Output {
    via(Transport::WebSocketTls, || block_on(future))
}

mod v5_over_tls {
    w3bstream_endpoint::endpoint_conformance!(super::over_tls, super::MqttFixture { v5: true });
}

mod v4_over_web_socket {
    w3bstream_endpoint::endpoint_conformance!(super::over_web_socket, super::MqttFixture { v5: false });
}

mod v5_over_web_socket_over_tls {
    w3bstream_endpoint::endpoint_conformance!(super::over_both, super::MqttFixture { v5: true });
}
