//! What all connections of one endpoint share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rmqtt_codec::v5::PublishAckReason;
use tokio::sync::{Notify, mpsc};
use w3bstream_endpoint::{Ack, Answer, Arrival, SharedGate};
use w3bstream_limits::{InFlight, Permit};
use w3bstream_types::{Clock, MessageId, ProjectName, Received, Refusal, RefusalKind, Submission};
use w3bstream_wire::{AckBody, RefusalBody};

use crate::MqttConfig;
use crate::hub::Hub;
use crate::log::Log;
use crate::message::Message;
use crate::metrics::Counters;
use crate::originals::{MAX_WAITING, OriginalEvent, Originals};
use crate::session::{ConnId, Last, Will};
use crate::topic;

/// How far the endpoint has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running = 0,
    /// Nothing more is read; what is in flight can be answered.
    Stopping = 1,
    /// What has no answer is refused, connections are ended in good order.
    Closing = 2,
    /// Connections are cut.
    Gone = 3,
}

/// Shared by the endpoint, its listener and its connections.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: MqttConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) gate: SharedGate,
    pub(crate) counters: Arc<Counters>,
    pub(crate) hub: Hub,
    pub(crate) originals: OnceLock<Arc<dyn Originals>>,
    /// Answers to the original's clients, to be worded.
    pub(crate) worded: mpsc::Sender<(OriginalEvent, Answer)>,
    /// What is in flight over all connections.
    pub(crate) budget: InFlight,
    pub(crate) next_conn: AtomicU64,
    /// Tells client ids that this endpoint assigns from those of an earlier one.
    pub(crate) instance: u64,
    phase: AtomicU8,
    arrivals: Mutex<Option<mpsc::Sender<Arrival>>>,
    mailboxes: Mutex<HashMap<ConnId, Arc<Mailbox>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the data whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the answers for one connection are put, and what wakes it.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    pub(crate) wake: Arc<Notify>,
    answers: Mutex<Vec<Completion>>,
}

/// The answer to one message of a connection.
#[derive(Debug)]
pub(crate) struct Completion {
    /// The number of its slot; `None` at QoS 0.
    pub(crate) slot: Option<u64>,
    pub(crate) origin: Origin,
    pub(crate) answer: Answer,
}

/// What must be known of a message to tell its sender about it.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) project: ProjectName,
    /// The device's DID; the client id if the bytes named none.
    pub(crate) sender: String,
    pub(crate) id: Option<MessageId>,
    /// An event of the original's clients, who are told in their own words.
    pub(crate) original: Option<Box<OriginalEvent>>,
}

impl Origin {
    /// Of what was received.
    pub(crate) fn of(received: &Received) -> Self {
        let (sender, id) = match &received.submission {
            Submission::Signed(record) => (record.source().to_string(), Some(record.id())),
            Submission::Token { event_id, .. } | Submission::Session { event_id, .. } => {
                (event_id.clone(), None)
            }
        };
        Self { project: received.project.clone(), sender, id, original: None }
    }
}

impl Mailbox {
    fn put(&self, completion: Completion) {
        let first = {
            let mut answers = lock(&self.answers);
            answers.push(completion);
            answers.len() == 1
        };
        // Those who come while the connection has not looked need not wake it again.
        if first {
            self.wake.notify_one();
        }
    }

    pub(crate) fn take(&self) -> Vec<Completion> {
        std::mem::take(&mut *lock(&self.answers))
    }
}

impl Shared {
    /// With the place where arrivals come out.
    pub(crate) fn new(
        config: MqttConfig,
        clock: Arc<dyn Clock>,
        (gate, log): (SharedGate, Option<Arc<Log>>),
    ) -> (Arc<Self>, mpsc::Receiver<Arrival>, mpsc::Receiver<(OriginalEvent, Answer)>) {
        // As many as the budget lets in, so the channel is never full.
        let (sender, receiver) = mpsc::channel(config.max_in_flight_total);
        let (worded, words) = mpsc::channel(MAX_WAITING);
        let counters = Arc::new(Counters::default());
        let shared = Self {
            hub: Hub::new(&config, Arc::clone(&counters), log),
            originals: OnceLock::new(),
            worded,
            gate,
            budget: InFlight::new(config.max_in_flight_total, config.max_in_flight_bytes),
            config,
            instance: clock.now().millis(),
            clock,
            counters,
            next_conn: AtomicU64::new(1),
            phase: AtomicU8::new(0),
            arrivals: Mutex::new(Some(sender)),
            mailboxes: Mutex::default(),
        };
        (Arc::new(shared), receiver, words)
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Stopping,
            2 => Phase::Closing,
            _ => Phase::Gone,
        }
    }

    /// Goes on to a later phase and wakes every connection.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        if phase >= Phase::Closing {
            *lock(&self.arrivals) = None;
        }
        for mailbox in lock(&self.mailboxes).values() {
            mailbox.wake.notify_one();
        }
    }

    /// Enters a connection, so that it hears of later phases.
    pub(crate) fn enter(&self, conn: ConnId) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox::default());
        lock(&self.mailboxes).insert(conn, Arc::clone(&mailbox));
        // A phase that began meanwhile is seen, since the connection looks before it waits.
        mailbox
    }

    pub(crate) fn leave(&self, conn: ConnId) {
        lock(&self.mailboxes).remove(&conn);
    }

    /// The way in for arrivals; `None` when the endpoint is closing.
    pub(crate) fn arrivals(&self) -> Option<mpsc::Sender<Arrival>> {
        lock(&self.arrivals).clone()
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now().millis()
    }

    /// Hands a will over, or publishes it to clients.
    pub(crate) fn submit_will(self: &Arc<Self>, will: Will) {
        match will.last {
            Last::Node(received) => self.submit_last(*received),
            Last::Clients(mut message) => {
                message.expires_at = message.expires_at.map(|after| self.now().saturating_add(after));
                self.relay(*message);
            }
        }
    }

    /// Nobody waits for the answer to a will, so its refusal is only counted and told.
    fn submit_last(self: &Arc<Self>, mut received: Received) {
        received.received_at = self.clock.now();
        let size = match &received.submission {
            Submission::Signed(record) => record.payload().len(),
            Submission::Token { payload, .. } | Submission::Session { payload, .. } => payload.len(),
        };
        let (Some(arrivals), Some(permit)) = (self.arrivals(), self.budget.take(size)) else {
            self.counters.lost_at_qos_0.add(1);
            return;
        };
        let origin = Origin::of(&received);
        let shared = Arc::clone(self);
        let ack = Ack::new(move |answer| {
            drop(permit);
            shared.tell(&origin, &answer, true);
        });
        // A failure drops the ack, which counts it.
        let _ = arrivals.try_send(Arrival { received, ack });
    }

    /// Publishes a client's message on an open topic, to others and for later; what its publisher is told.
    pub(crate) fn relay(&self, message: Message) -> PublishAckReason {
        self.counters.relayed.add(1);
        let message = Arc::new(message);
        if message.retain && !self.hub.retain(&message) {
            return PublishAckReason::QuotaExceeded;
        }
        match self.hub.forward(&message) {
            0 => PublishAckReason::NoMatchingSubscribers,
            _ => PublishAckReason::Success,
        }
    }

    /// Counts an answer and tells it to those who subscribe: acceptances on the ack topic, and refusals on the
    /// refusal topic if `refusals`, as the sender gets no other word.
    pub(crate) fn tell(&self, origin: &Origin, answer: &Answer, refusals: bool) {
        if let Some(event) = &origin.original
            && self.worded.try_send((OriginalEvent::clone(event), answer.clone())).is_err()
        {
            self.counters.dropped.add(1);
        }
        match answer {
            Ok(accepted) => {
                self.counters.accepted.add(1);
                self.counters.duplicates.add(accepted.duplicate.into());
                if self.has_subscribers() {
                    let topic = topic::device_topic(&origin.project, "ack", &origin.sender);
                    self.publish_json(topic, &AckBody::from(accepted));
                }
            }
            Err(refusal) => {
                self.counters.refused(refusal.kind);
                if refusals && refusal.kind.is_permanent() {
                    self.tell_refusal(origin, refusal);
                }
            }
        }
    }

    fn has_subscribers(&self) -> bool {
        self.counters.subscriptions_now.get() > 0
    }

    fn tell_refusal(&self, origin: &Origin, refusal: &Refusal) {
        if self.has_subscribers() && topic::is_level(&origin.sender) {
            let topic = topic::device_topic(&origin.project, "refused", &origin.sender);
            self.publish_json(topic, &RefusalBody::new(origin.id, refusal));
        }
    }

    fn publish_json(&self, topic: String, body: &impl serde::Serialize) {
        self.hub.publish(topic, |topic| {
            Message::of_node(topic, serde_json::to_vec(body).unwrap_or_default().into(), None)
        });
    }
}

/// Hands over a message of a connection. Its answer comes to the mailbox, whatever happens.
pub(crate) fn offer(
    arrivals: &mpsc::Sender<Arrival>,
    (mailbox, slot): (&Arc<Mailbox>, Option<u64>),
    (received, origin): (Received, Origin),
    permit: Permit,
) {
    let mailbox = Arc::clone(mailbox);
    let ack = Ack::new(move |answer| {
        drop(permit);
        mailbox.put(Completion { slot, origin, answer });
    });
    if let Err(error) = arrivals.try_send(Arrival { received, ack }) {
        let (kind, arrival) = match error {
            mpsc::error::TrySendError::Full(arrival) => (RefusalKind::Overloaded, arrival),
            mpsc::error::TrySendError::Closed(arrival) => (RefusalKind::ShuttingDown, arrival),
        };
        arrival.ack.refuse(Refusal::new(kind, "the node takes no messages now; send it again"));
    }
}
