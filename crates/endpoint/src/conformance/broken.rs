//! Endpoints that each break one promise, to show that the kit notices.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use w3bstream_types::{Accepted, AckMode, RefusalKind, Submission};

use super::fixture::MemoryDevice;
use super::timing::pause;
use super::{Fixture, Limits, Running};
use crate::{Ack, Arrival, Endpoint, Error, MemoryEndpoint};

/// What is wrong with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Accepts as soon as the message is handed out.
    AcksEarly,
    /// Takes an ack that was dropped for an acceptance.
    DropIsAcceptance,
    /// Loses every fourth answer.
    LosesAnswers,
    /// Tells a transient refusal as a permanent one.
    TransientIsPermanent,
    /// Has no bound on what is in flight.
    Unbounded,
    /// Hands out one message at a time.
    OneAtATime,
    /// Hands out pairs of messages in the wrong order.
    Shuffles,
    /// Loses the arrival if `next` is dropped while it waits for the second look.
    LosesOnCancel,
    /// Claims that its protocol keeps the order of answers, and does not.
    AnswersOutOfOrder,
    /// Forgets at the end what was not answered.
    ForgetsOnClose,
}

impl Flaw {
    /// Every flaw.
    pub const ALL: [Self; 10] = [
        Self::AcksEarly,
        Self::DropIsAcceptance,
        Self::LosesAnswers,
        Self::TransientIsPermanent,
        Self::Unbounded,
        Self::OneAtATime,
        Self::Shuffles,
        Self::LosesOnCancel,
        Self::AnswersOutOfOrder,
        Self::ForgetsOnClose,
    ];

    /// The property that must fail.
    #[must_use]
    pub const fn broken_property(self) -> &'static str {
        match self {
            Self::AcksEarly => "nothing_is_answered_before_the_ack",
            Self::DropIsAcceptance => "a_dropped_ack_is_a_transient_refusal",
            Self::LosesAnswers | Self::Shuffles => "accepted_messages_are_accepted_once",
            Self::TransientIsPermanent => "a_transient_refusal_is_never_an_acknowledgement",
            Self::Unbounded => "in_flight_is_bounded",
            Self::OneAtATime => "messages_are_pipelined",
            Self::LosesOnCancel => "next_may_be_cancelled",
            Self::AnswersOutOfOrder => "answers_keep_the_order_of_the_protocol",
            Self::ForgetsOnClose => "stopping_answers_or_refuses_everything",
        }
    }
}

/// Opens endpoints with a flaw.
#[derive(Clone, Copy, Debug)]
pub struct BrokenFixture(pub Flaw);

#[async_trait]
impl Fixture for BrokenFixture {
    async fn open(&self, limits: Limits) -> Running {
        let max_in_flight = match self.0 {
            Flaw::Unbounded => usize::MAX,
            Flaw::OneAtATime => 1,
            _ => limits.max_in_flight,
        };
        let inner = MemoryEndpoint::new(max_in_flight);
        let device = Box::new(MemoryDevice::new(inner.client()));
        let endpoint = Broken { flaw: self.0, inner, count: AtomicUsize::new(0), put_back: Mutex::default() };
        Running { endpoint: Arc::new(endpoint), device }
    }

    fn answers_in_order(&self) -> bool {
        self.0 == Flaw::AnswersOutOfOrder
    }
}

#[derive(Debug)]
struct Broken {
    flaw: Flaw,
    inner: MemoryEndpoint,
    count: AtomicUsize,
    put_back: Mutex<VecDeque<Arrival>>,
}

fn accepted(submission: &Submission) -> Option<Accepted> {
    let Submission::Signed(record) = submission else { return None };
    Some(Accepted { id: record.id(), duplicate: false, mode: AckMode::Durable, results: Vec::new() })
}

impl Broken {
    fn spoil(&self, Arrival { received, ack }: Arrival) -> Arrival {
        let count = self.count.fetch_add(1, Ordering::SeqCst);
        let good = accepted(&received.submission);
        let ack = match (self.flaw, good) {
            (Flaw::AcksEarly, Some(good)) => {
                ack.accept(good);
                Ack::new(|_| ())
            }
            (Flaw::DropIsAcceptance, Some(good)) => Ack::new(move |answer| match answer {
                Err(r) if r.kind == RefusalKind::ShuttingDown => ack.accept(good),
                answer => ack.answer(answer),
            }),
            (Flaw::LosesAnswers, _) if count % 4 == 3 => {
                // Never answered, never dropped.
                Ack::new(move |_| std::mem::forget(ack))
            }
            (Flaw::TransientIsPermanent, _) => Ack::new(move |answer| {
                ack.answer(answer.map_err(|mut refusal| {
                    refusal.kind = RefusalKind::TooLarge;
                    refusal
                }));
            }),
            _ => ack,
        };
        Arrival { received, ack }
    }

    fn put_back(&self) -> std::sync::MutexGuard<'_, VecDeque<Arrival>> {
        self.put_back.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Endpoint for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn urls(&self) -> Vec<String> {
        Vec::new()
    }

    async fn next(&self) -> Option<Arrival> {
        if let Some(arrival) = self.put_back().pop_front() {
            return Some(arrival);
        }
        let arrival = self.spoil(self.inner.next().await?);
        match self.flaw {
            Flaw::Shuffles if self.count.load(Ordering::SeqCst) < 40 => {
                let second = self.spoil(self.inner.next().await?);
                self.put_back().push_back(arrival);
                Some(second)
            }
            Flaw::LosesOnCancel => {
                pause().await;
                Some(arrival)
            }
            _ => Some(arrival),
        }
    }

    async fn stop_intake(&self) {
        self.inner.stop_intake().await;
    }

    async fn close(&self) -> Result<(), Error> {
        if self.flaw == Flaw::ForgetsOnClose {
            self.inner.stop_intake().await;
            return Ok(());
        }
        self.inner.close().await
    }
}
