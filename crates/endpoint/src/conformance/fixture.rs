//! What an implementation gives the kit, and the fixture of the reference.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use w3bstream_types::{
    Algorithm, Did, Draft, Form, Jws, ProjectId, ProjectName, Received, Record, SecretKey, Sequence,
    Submission, Timestamp,
};

use crate::{Answer, Endpoint, MemoryClient, MemoryEndpoint};

/// Limits with which the kit opens an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many messages may be in flight, over all connections and for each one.
    pub max_in_flight: usize,
}

/// What the kit runs.
#[derive(Debug)]
pub struct Running {
    /// The endpoint under test.
    pub endpoint: Arc<dyn Endpoint>,
    /// One device that is connected to it.
    pub device: Box<dyn Device>,
}

/// Opens endpoints for the kit.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Opens a fresh endpoint with `limits`, and connects a device.
    async fn open(&self, limits: Limits) -> Running;

    /// True if the protocol demands that answers leave in the order of the messages (MQTT).
    fn answers_in_order(&self) -> bool;

    /// True if a device can tell a permanent refusal from an acceptance by the answer alone. MQTT 3.1.1
    /// cannot: there a permanent refusal may be seen as [`Sight::Accepted`].
    fn shows_permanent_refusals(&self) -> bool {
        true
    }

    /// True if a transient refusal ends the connection, so that messages beside it are seen as
    /// [`Sight::Transient`] too although they may have been accepted.
    fn transient_ends_connection(&self) -> bool {
        false
    }
}

/// How one message ended, as the device sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It may forget the message: the node has it.
    Accepted,
    /// It may forget the message: the node will never take it.
    Permanent,
    /// It must send the message again. Also what a device sees when its connection ends before the answer.
    Transient,
}

/// One answer, as the device sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which message: its place among all that this device was given, from 0.
    pub index: usize,
    /// What was seen.
    pub sight: Sight,
}

/// A device on one connection.
#[async_trait]
pub trait Device: Send + Debug {
    /// Hands over messages that are to be sent one after the other without waiting for answers. Returns when
    /// the device has them, not when they are sent; called before answers of earlier messages are read.
    async fn send(&mut self, messages: Vec<Received>);

    /// The next answer, in the order in which the device sees them. After the connection has ended: a
    /// [`Sight::Transient`] for each message without an answer, then `None`.
    async fn seen(&mut self) -> Option<Seen>;
}

/// `count` signed messages of one device to the project `kit`, sequence numbers from `first`. They are in the
/// compact JWS form, so that every protocol can carry [`Jws::compact`] as the body.
///
/// # Panics
/// Never: the names and keys in it are constants.
#[must_use]
#[allow(clippy::expect_used, reason = "constants of a test kit")]
pub fn messages(first: u32, count: u32) -> Vec<Received> {
    let key = SecretKey::from_bytes(Algorithm::EdDSA, &[7; 32]).expect("a valid key");
    let did = Did::key(&key.public());
    let project: ProjectName = "kit".parse().expect("a valid name");
    let message = |counter| {
        let draft = Draft {
            audience: ProjectId::new(&did, &project),
            key: did.default_key_id(),
            event_type: "reading".parse().expect("a valid type"),
            sequence: Sequence::new(1, counter),
            time: Timestamp(1_700_000_000_000),
            payload: counter.to_be_bytes().to_vec(),
        };
        let jws = Jws::parse(&draft.sign_jws(&key)).expect("what we signed");
        Received {
            project: project.clone(),
            submission: Submission::Signed(Record::new(Form::Jws(jws))),
            received_at: Timestamp::NONE,
        }
    };
    (first..first + count).map(message).collect()
}

/// The fixture of [`MemoryEndpoint`].
#[derive(Clone, Copy, Debug)]
pub struct MemoryFixture;

#[async_trait]
impl Fixture for MemoryFixture {
    async fn open(&self, limits: Limits) -> Running {
        let endpoint = MemoryEndpoint::new(limits.max_in_flight);
        let device = Box::new(MemoryDevice::new(endpoint.client()));
        Running { endpoint: Arc::new(endpoint), device }
    }

    fn answers_in_order(&self) -> bool {
        false
    }
}

type Pending = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A device that sends through a [`MemoryClient`].
pub(super) struct MemoryDevice {
    client: MemoryClient,
    sent: usize,
    open: Vec<(usize, Pending)>,
}

impl Debug for MemoryDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryDevice").field("open", &self.open.len()).finish_non_exhaustive()
    }
}

impl MemoryDevice {
    pub(super) fn new(client: MemoryClient) -> Self {
        Self { client, sent: 0, open: Vec::new() }
    }
}

#[async_trait]
impl Device for MemoryDevice {
    async fn send(&mut self, messages: Vec<Received>) {
        for message in messages {
            self.open.push((self.sent, Box::pin(self.client.send(message))));
            self.sent += 1;
        }
        // The futures must be polled once, in order, to have been sent.
        std::future::poll_fn(|cx| {
            let mut done = Vec::new();
            for (index, pending) in &mut self.open {
                if let Poll::Ready(answer) = pending.as_mut().poll(cx) {
                    done.push((*index, answer));
                }
            }
            for (index, answer) in done {
                if let Some(place) = self.open.iter().position(|(open, _)| *open == index) {
                    self.open[place].1 = Box::pin(std::future::ready(answer));
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    async fn seen(&mut self) -> Option<Seen> {
        if self.open.is_empty() {
            return None;
        }
        std::future::poll_fn(|cx| {
            for place in 0..self.open.len() {
                let (index, pending) = &mut self.open[place];
                if let Poll::Ready(answer) = pending.as_mut().poll(cx) {
                    let seen = Seen { index: *index, sight: sight(&answer) };
                    drop(self.open.remove(place));
                    return Poll::Ready(Some(seen));
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn sight(answer: &Answer) -> Sight {
    match answer {
        Ok(_) => Sight::Accepted,
        Err(refusal) if refusal.kind.is_permanent() => Sight::Permanent,
        Err(_) => Sight::Transient,
    }
}
