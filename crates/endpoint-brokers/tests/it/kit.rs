//! The room's conformance kit: the device is behind a broker, and what the broker is told is what counts.

use std::collections::VecDeque;
use std::sync::Arc;

use w3bstream_endpoint::async_trait;
use w3bstream_endpoint::conformance::{Device, Fixture, Limits, Running, Seen, Sight};
use w3bstream_endpoint_brokers::{BrokerConfig, BrokersConfig, Delivery};
use w3bstream_types::Received;

use crate::fake::{Acked, Conn, Fake, Speech, TOPIC, V4, V4_TWICE, V5, V5_TWICE, body, open, packet, quick};

struct BrokerFixture(Speech);

/// A broker that keeps Receive Maximum in MQTT 5, and sends everything at once in 3.1.1.
#[derive(Debug)]
struct Broker {
    /// Keeps its port, where the endpoint connects again.
    _fake: Fake,
    conn: Conn,
    level: u8,
    window: usize,
    next: usize,
    waiting: VecDeque<(usize, Vec<u8>)>,
    open: VecDeque<usize>,
    gone: bool,
}

#[async_trait]
impl Fixture for BrokerFixture {
    async fn open(&self, limits: Limits) -> Running {
        let fake = Fake::new(self.0).await;
        let max_in_flight = u16::try_from(limits.max_in_flight).unwrap();
        let broker = BrokerConfig { max_in_flight, ..fake.broker() };
        let endpoint = open(BrokersConfig { max_in_flight_total: limits.max_in_flight, ..quick(broker) });
        let conn = fake.accept().await;
        let device = Broker {
            level: if self.0.qos == Delivery::AtLeastOnce { 1 } else { 2 },
            window: if conn.v5 { limits.max_in_flight } else { usize::MAX },
            conn,
            _fake: fake,
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
        self.0.version == w3bstream_endpoint_brokers::MqttVersion::V5
    }

    fn transient_ends_connection(&self) -> bool {
        true
    }
}

impl Broker {
    async fn send_what_may(&mut self) {
        let mut bytes = Vec::new();
        while self.open.len() < self.window
            && let Some((index, body)) = self.waiting.pop_front()
        {
            let id = u16::try_from(index + 1).unwrap();
            bytes.extend(self.conn.publish_bytes((TOPIC, self.level), id, &body));
            self.open.push_back(index);
        }
        if !bytes.is_empty() && !self.gone {
            self.conn.try_write(&bytes).await;
        }
    }
}

#[async_trait]
impl Device for Broker {
    async fn send(&mut self, messages: Vec<Received>) {
        for message in messages {
            self.waiting.push_back((self.next, body(&message)));
            self.next += 1;
        }
        self.send_what_may().await;
    }

    async fn seen(&mut self) -> Option<Seen> {
        while !self.gone {
            match self.conn.read_patiently().await {
                Some((first @ (0x40 | 0x50), body)) => {
                    let ack = Acked::parse(first, &body);
                    assert_eq!(ack.kind, self.level + 3, "PUBACK at QoS 1, PUBREC at QoS 2");
                    if self.level == 2 && ack.code < 0x80 {
                        self.conn.try_write(&packet(0x62, &ack.id.to_be_bytes())).await;
                    }
                    let index = usize::from(ack.id) - 1;
                    self.open.retain(|open| *open != index);
                    self.send_what_may().await;
                    let sight = if ack.code < 0x80 { Sight::Accepted } else { Sight::Permanent };
                    return Some(Seen { index, sight });
                }
                Some((0x70, _)) => {}
                Some((0xe0, _)) | None => self.gone = true,
                Some((0x32, _)) => {}
                Some(other) => panic!("unexpected packet {other:?}"),
            }
        }
        let index = self.open.pop_front().or_else(|| self.waiting.pop_front().map(|(index, _)| index))?;
        Some(Seen { index, sight: Sight::Transient })
    }
}

mod v5 {
    w3bstream_endpoint::endpoint_conformance!(crate::fake::block_on, super::BrokerFixture(super::V5));
}

mod v5_twice {
    w3bstream_endpoint::endpoint_conformance!(crate::fake::block_on, super::BrokerFixture(super::V5_TWICE));
}

mod v4 {
    w3bstream_endpoint::endpoint_conformance!(crate::fake::block_on, super::BrokerFixture(super::V4));
}

mod v4_twice {
    w3bstream_endpoint::endpoint_conformance!(crate::fake::block_on, super::BrokerFixture(super::V4_TWICE));
}
