//! What all brokers of one endpoint share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, watch};
use w3bstream_endpoint::{Ack, Answer, Arrival};
use w3bstream_limits::{InFlight, Permit};
use w3bstream_types::{Clock, MessageId, ProjectName, Received, Refusal, RefusalKind, Submission};

use crate::BrokersConfig;

/// How far the endpoint has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// Nothing more is read; what is in flight can be answered.
    Stopping,
    /// Connections are ended in good order.
    Closing,
}

/// Shared by the endpoint and its brokers.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: BrokersConfig,
    pub(crate) clock: Arc<dyn Clock>,
    /// What is in flight over all brokers.
    pub(crate) budget: InFlight,
    pub(crate) phase: watch::Sender<Phase>,
    arrivals: Mutex<Option<mpsc::Sender<Arrival>>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the data whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// With the place where arrivals come out.
    pub(crate) fn new(config: BrokersConfig, clock: Arc<dyn Clock>) -> (Arc<Self>, mpsc::Receiver<Arrival>) {
        // As many as the budget lets in, so the channel is never full.
        let (sender, receiver) = mpsc::channel(config.max_in_flight_total);
        let shared = Self {
            budget: InFlight::new(config.max_in_flight_total, config.max_in_flight_bytes),
            config,
            clock,
            phase: watch::Sender::new(Phase::Running),
            arrivals: Mutex::new(Some(sender)),
        };
        (Arc::new(shared), receiver)
    }

    /// Goes on to a later phase.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
        if phase >= Phase::Closing {
            *lock(&self.arrivals) = None;
        }
    }

    /// The way in for arrivals; `None` when the endpoint is closing.
    pub(crate) fn arrivals(&self) -> Option<mpsc::Sender<Arrival>> {
        lock(&self.arrivals).clone()
    }
}

/// Where the answers for one connection are put. Those for a connection that has ended are read by nobody: the broker
/// sends their messages again.
#[derive(Debug)]
pub(crate) struct Mailbox {
    wake: Arc<Notify>,
    answers: Mutex<Vec<Completion>>,
}

/// The answer to one message of a connection.
#[derive(Debug)]
pub(crate) struct Completion {
    /// The number of its place; `None` at QoS 0.
    pub(crate) place: Option<u64>,
    pub(crate) origin: Origin,
    pub(crate) answer: Answer,
}

/// What must be known of a message to tell its sender about it.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) project: ProjectName,
    /// The device's DID; `None` if the bytes named none.
    pub(crate) sender: Option<String>,
    pub(crate) id: Option<MessageId>,
}

impl Origin {
    fn of(received: &Received) -> Self {
        let (sender, id) = match &received.submission {
            Submission::Signed(record) => (Some(record.source().to_string()), Some(record.id())),
            Submission::Token { .. } | Submission::Session { .. } => (None, None),
        };
        Self { project: received.project.clone(), sender, id }
    }
}

impl Mailbox {
    pub(crate) fn new(wake: Arc<Notify>) -> Self {
        Self { wake, answers: Mutex::default() }
    }

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

/// Hands over a message. Its answer comes to the mailbox, whatever happens.
pub(crate) fn offer(
    arrivals: &mpsc::Sender<Arrival>,
    (mailbox, place): (&Arc<Mailbox>, Option<u64>),
    received: Received,
    permit: Permit,
) {
    let origin = Origin::of(&received);
    let mailbox = Arc::clone(mailbox);
    let ack = Ack::new(move |answer| {
        drop(permit);
        mailbox.put(Completion { place, origin, answer });
    });
    if let Err(error) = arrivals.try_send(Arrival { received, ack }) {
        let (kind, arrival) = match error {
            mpsc::error::TrySendError::Full(arrival) => (RefusalKind::Overloaded, arrival),
            mpsc::error::TrySendError::Closed(arrival) => (RefusalKind::ShuttingDown, arrival),
        };
        arrival.ack.refuse(Refusal::new(kind, "the node takes no messages now; send it again"));
    }
}
