//! The room's conformance kit, with devices that send Confirmable and Non-confirmable messages over UDP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coap_lite::{MessageClass, MessageType, ResponseType};
use tokio::time::timeout;
use w3bstream_endpoint::async_trait;
use w3bstream_endpoint::conformance::{Device, Fixture, Limits, Running, Seen, Sight};
use w3bstream_endpoint_coap::CoapConfig;
use w3bstream_types::Received;

use crate::support::{Client, bind, body, bytes, config, post};

/// How long a device waits for anything before it sends what is not acknowledged again.
const AGAIN_AFTER: Duration = Duration::from_millis(400);

struct CoapFixture {
    kind: MessageType,
    ack_within: Duration,
}

/// A device that sends without waiting, and repeats what is not acknowledged.
#[derive(Debug)]
struct CoapDevice {
    client: Client,
    kind: MessageType,
    next: u16,
    /// Those without an answer, with their bytes.
    open: BTreeMap<u16, Vec<u8>>,
    acknowledged: BTreeSet<u16>,
}

#[async_trait]
impl Fixture for CoapFixture {
    async fn open(&self, limits: Limits) -> Running {
        let endpoint = bind(CoapConfig {
            max_in_flight: limits.max_in_flight,
            // The kit holds messages for long and looks whether they wait.
            overload_wait: Duration::from_secs(60),
            ack_within: self.ack_within,
            ..config()
        })
        .await;
        let client = Client::connect(endpoint.local_addr()).await;
        let (open, acknowledged) = (BTreeMap::new(), BTreeSet::new());
        let device = CoapDevice { client, kind: self.kind, next: 0, open, acknowledged };
        Running { endpoint: Arc::clone(&endpoint) as _, device: Box::new(device) }
    }

    fn answers_in_order(&self) -> bool {
        false
    }
}

#[async_trait]
impl Device for CoapDevice {
    async fn send(&mut self, messages: Vec<Received>) {
        let many = messages.len() > 32;
        for message in messages {
            let bytes = bytes(post(&body(&message)), self.kind, self.next);
            self.client.send(&bytes).await;
            self.open.insert(self.next, bytes);
            self.next += 1;
            if many && self.next.is_multiple_of(8) {
                // A socket's buffer takes some hundred datagrams at once, and the rest is lost.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    async fn seen(&mut self) -> Option<Seen> {
        while !self.open.is_empty() {
            let Ok(reply) = timeout(AGAIN_AFTER, self.client.read()).await else {
                for (id, bytes) in self.open.iter().filter(|(id, _)| !self.acknowledged.contains(id)) {
                    assert!(*id < self.next);
                    self.client.send(bytes).await;
                }
                continue;
            };
            if reply.packet.header.code == MessageClass::Empty {
                self.acknowledged.insert(reply.id);
                continue;
            }
            // A repeat gets its answer twice.
            if self.open.remove(&reply.token()).is_none() {
                continue;
            }
            let sight = match reply.packet.header.code {
                MessageClass::Response(ResponseType::Changed) => Sight::Accepted,
                MessageClass::Response(ResponseType::ServiceUnavailable) => Sight::Transient,
                _ => Sight::Permanent,
            };
            return Some(Seen { index: usize::from(reply.token()), sight });
        }
        None
    }
}

mod piggybacked {
    use std::time::Duration;

    use coap_lite::MessageType;

    w3bstream_endpoint::endpoint_conformance!(
        crate::support::block_on,
        super::CoapFixture { kind: MessageType::Confirmable, ack_within: Duration::from_secs(20) }
    );
}

mod separate {
    use std::time::Duration;

    use coap_lite::MessageType;

    w3bstream_endpoint::endpoint_conformance!(
        crate::support::block_on,
        super::CoapFixture { kind: MessageType::Confirmable, ack_within: Duration::ZERO }
    );
}

mod non_confirmable {
    use std::time::Duration;

    use coap_lite::MessageType;

    w3bstream_endpoint::endpoint_conformance!(
        crate::support::block_on,
        super::CoapFixture { kind: MessageType::NonConfirmable, ack_within: Duration::from_secs(1) }
    );
}
