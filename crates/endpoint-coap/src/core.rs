//! The protocol without sockets: datagrams, answers and time go in, what is to be done comes out.

mod judge;
mod tell;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coap_lite::{MessageType, Packet, ResponseType};
use tokio::time::Instant;
use w3bstream_endpoint::{Answer, MessageLife};
use w3bstream_types::{Clock, MessageId, Received, Refusal, RefusalKind, Submission};

use crate::CoapConfig;
use crate::answer::{Format, MAX_MESSAGE_BYTES, Reply, life};
use crate::codec::{Block, Datagram, Head, empty, read};
use crate::config::one_for_many;
use crate::exchange::{Exchanges, Peer, Seen, Told};
use crate::metrics::Counters;
use crate::separate::{Due, Separate};
use crate::upload::Uploads;

/// How often is looked for what is past its time.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// What this node has (RFC 6690).
const LINKS: &str = r#"</w3b>;rt="w3b.events";ct="42 0",</w3b/message>;rt="w3b.life";ct="50 60""#;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Send bytes.
    Send(SocketAddr, Vec<u8>),
    /// Hand a message to the node; its answer comes to [`Core::answered`].
    Submit(u64, Box<Received>),
    /// Ask the node for a message; the answer comes to [`Core::found`].
    Ask(u64, MessageId),
}

/// Where a request is that has no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Waiting,
    InFlight,
    Query,
}

/// A request that has no answer yet.
#[derive(Debug)]
struct Job {
    asked: Asked,
    place: Place,
    /// What it counts among the open bytes.
    bytes: usize,
    /// The message, or that which is asked for.
    id: Option<MessageId>,
    /// When an empty acknowledgement is due.
    ack_at: Option<Instant>,
}

/// What an answer needs to know of its request.
#[derive(Clone, Debug)]
struct Asked {
    peer: Peer,
    head: Head,
    format: Format,
    block1: Option<Block>,
    block2: Option<Block>,
    no_response: u8,
    /// True once an empty acknowledgement has left.
    acknowledged: bool,
}

/// What to do with a request.
enum Verdict {
    Silence,
    Reply(Reply),
    Submit(Box<Received>, usize),
    Ask(MessageId),
}

/// The state of the endpoint.
#[derive(Debug)]
pub(crate) struct Core {
    config: CoapConfig,
    clock: Arc<dyn Clock>,
    pub(crate) counters: Arc<Counters>,
    exchanges: Exchanges,
    uploads: Uploads,
    separate: Separate,
    jobs: HashMap<u64, Job>,
    waiting: VecDeque<(u64, Box<Received>, Instant)>,
    acks_due: BTreeSet<(Instant, u64)>,
    in_flight: usize,
    queries: usize,
    open_bytes: usize,
    stopped: bool,
    next_id: u16,
    sweep_at: Instant,
    random: RandomState,
    effects: Vec<Effect>,
}

fn refusal(kind: RefusalKind, why: &str) -> Refusal {
    Refusal::new(kind, why)
}

fn stopping() -> Refusal {
    refusal(
        RefusalKind::ShuttingDown,
        "the node is stopping; send the message again, here or to another member",
    )
}

impl Core {
    pub(crate) fn new(
        now: Instant,
        config: CoapConfig,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
    ) -> Self {
        let random = RandomState::new();
        // Not the same after each start, so that answers are not taken for repeats of earlier ones.
        let [low, high, ..] = random.hash_one(0_u8).to_le_bytes();
        Self {
            exchanges: Exchanges::new(config.clone()),
            config,
            clock,
            counters,
            uploads: Uploads::default(),
            separate: Separate::default(),
            jobs: HashMap::new(),
            waiting: VecDeque::new(),
            acks_due: BTreeSet::new(),
            in_flight: 0,
            queries: 0,
            open_bytes: 0,
            stopped: false,
            next_id: u16::from_le_bytes([low, high]),
            sweep_at: now + SWEEP_EVERY,
            random,
            effects: Vec::new(),
        }
    }

    /// What is to be done now.
    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.effects.push(Effect::Send(to, bytes));
    }

    /// Takes a datagram; `whole` is false if its end was cut off.
    pub(crate) fn datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8], whole: bool) {
        self.counters.datagrams.add(1);
        self.counters.datagram_bytes.add(bytes.len());
        // No host sends from such an address.
        if from.port() == 0 || one_for_many(from.ip()) {
            self.counters.malformed.add(1);
            return;
        }
        match read(bytes, whole) {
            Datagram::Nothing => self.counters.malformed.add(1),
            Datagram::Reject(id) => {
                self.counters.malformed.add(1);
                self.counters.resets.add(1);
                self.send(from, empty(MessageType::Reset, id));
            }
            Datagram::Acknowledged(id) => {
                let _ = self.separate.settle((from, id));
            }
            Datagram::Reset(id) => {
                self.counters.unacknowledged.add(usize::from(self.separate.settle((from, id))))
            }
            Datagram::TooLong(head) => self.request(now, from, (bytes, head), None),
            Datagram::Request(head, packet) => self.request(now, from, (bytes, head), Some(&packet)),
        }
    }

    fn request(
        &mut self,
        now: Instant,
        from: SocketAddr,
        (bytes, head): (&[u8], Head),
        packet: Option<&Packet>,
    ) {
        let (peer, print) = ((from, head.id), self.random.hash_one(bytes));
        if let Seen::Before(told) = self.exchanges.seen(now, peer, print, bytes.len()) {
            self.counters.repeats.add(1);
            let again = match told {
                Told::Nothing => return,
                Told::Acknowledged => empty(MessageType::Acknowledgement, head.id),
                Told::Answer(answer) => answer,
            };
            if self.exchanges.spend(peer, again.len()) {
                self.send(from, again);
            }
            return;
        }
        let Some(number) = self.exchanges.begin(now, peer, print, bytes.len()) else {
            // The client asks again.
            self.counters.no_room.add(1);
            return;
        };
        self.counters.requests.add(1);
        let (format, no_response) = (Format::Json, 0);
        let mut asked =
            Asked { peer, head, format, block1: None, block2: None, no_response, acknowledged: false };
        match self.judge(now, &mut asked, packet, bytes.len()) {
            Verdict::Silence => self.exchanges.tell(peer, Told::Nothing, true),
            Verdict::Reply(reply) => self.reply(now, &asked, &reply),
            Verdict::Submit(received, bytes) => self.submit(now, number, asked, received, bytes),
            Verdict::Ask(id) => self.ask(now, number, asked, id),
        }
    }

    /// A refusal as an answer, counted.
    fn refuse(&mut self, asked: &Asked, id: Option<MessageId>, refusal: &Refusal) -> Verdict {
        self.counters.refused(refusal.kind);
        if !asked.head.confirmable && !refusal.kind.is_permanent() {
            self.counters.lost_non.add(1);
        }
        Verdict::Reply(Reply::refusal(id, refusal, asked.format))
    }

    fn refuse_now(&mut self, now: Instant, asked: &Asked, id: Option<MessageId>, refusal: &Refusal) {
        if let Verdict::Reply(reply) = self.refuse(asked, id, refusal) {
            self.reply(now, asked, &reply);
        }
    }

    fn crowded(&self, source: SocketAddr) -> Option<Refusal> {
        (self.exchanges.open_of(source) > self.config.max_open_per_source).then(|| {
            refusal(RefusalKind::Overloaded, "too many requests of this device wait for their answers")
        })
    }

    fn submit(&mut self, now: Instant, number: u64, asked: Asked, received: Box<Received>, bytes: usize) {
        let id = match &received.submission {
            Submission::Signed(record) => Some(record.id()),
            Submission::Token { .. } | Submission::Session { .. } => None,
        };
        let full = self.in_flight >= self.config.max_in_flight;
        let refused = self.crowded(asked.peer.0).or_else(|| {
            let much = self.open_bytes.saturating_add(bytes) > self.config.max_open_bytes;
            let many = full && self.waiting.len() >= self.config.max_waiting;
            (much || many).then(|| refusal(RefusalKind::Overloaded, "too many messages wait; send it again"))
        });
        if let Some(refused) = refused {
            return self.refuse_now(now, &asked, id, &refused);
        }
        self.open_bytes += bytes;
        let place = if full { Place::Waiting } else { Place::InFlight };
        self.open(now, number, Job { asked, place, bytes, id, ack_at: None });
        if full {
            self.waiting.push_back((number, received, now + self.config.overload_wait));
        } else {
            self.in_flight += 1;
            self.effects.push(Effect::Submit(number, received));
        }
    }

    fn ask(&mut self, now: Instant, number: u64, asked: Asked, id: MessageId) {
        let refused = self.crowded(asked.peer.0).or_else(|| {
            (self.queries >= self.config.max_queries)
                .then(|| refusal(RefusalKind::Overloaded, "too many questions at once"))
        });
        if let Some(refused) = refused {
            let reply = Reply::refusal(Some(id), &refused, asked.format);
            return self.reply(now, &asked, &reply);
        }
        self.queries += 1;
        self.open(now, number, Job { asked, place: Place::Query, bytes: 0, id: Some(id), ack_at: None });
        self.effects.push(Effect::Ask(number, id));
    }

    fn open(&mut self, now: Instant, number: u64, mut job: Job) {
        if job.asked.head.confirmable {
            let at = now + self.config.ack_within;
            job.ack_at = Some(at);
            self.acks_due.insert((at, number));
        }
        self.jobs.insert(number, job);
    }

    /// Ends a request's wait and gives its part of what is bounded back.
    fn close(&mut self, number: u64) -> Option<Job> {
        let job = self.jobs.remove(&number)?;
        if let Some(at) = job.ack_at {
            self.acks_due.remove(&(at, number));
        }
        self.open_bytes = self.open_bytes.saturating_sub(job.bytes);
        match job.place {
            Place::Waiting => {}
            Place::InFlight => self.in_flight -= 1,
            Place::Query => self.queries -= 1,
        }
        Some(job)
    }

    /// The node's answer to a message.
    pub(crate) fn answered(&mut self, now: Instant, number: u64, answer: &Answer) {
        // None if the endpoint has refused it meanwhile, since it is closing.
        let Some(job) = self.close(number) else { return };
        match answer {
            Ok(accepted) => {
                self.counters.accepted.add(1);
                self.counters.duplicates.add(accepted.duplicate.into());
                self.reply(now, &job.asked, &Reply::accepted(accepted, job.asked.format));
            }
            Err(refusal) => self.refuse_now(now, &job.asked, job.id, refusal),
        }
        self.admit();
    }

    /// Hands over those who have waited for it.
    fn admit(&mut self) {
        while self.in_flight < self.config.max_in_flight
            && let Some((number, received, _)) = self.waiting.pop_front()
        {
            if let Some(job) = self.jobs.get_mut(&number) {
                job.place = Place::InFlight;
                self.in_flight += 1;
                self.effects.push(Effect::Submit(number, received));
            }
        }
    }

    /// The node's answer to a question.
    pub(crate) fn found(&mut self, now: Instant, number: u64, answer: &Result<Option<MessageLife>, Refusal>) {
        let Some(job) = self.close(number) else { return };
        let Asked { format, block2, peer, .. } = job.asked;
        let reply = match (answer, job.id) {
            (Ok(Some(found)), Some(id)) => {
                let body = life(id, found, format);
                // Four bytes are for a separate message's acknowledgement by us, should it be needed again.
                Reply::part(&body, format, block2, self.exchanges.room(peer).saturating_sub(4))
            }
            (Ok(_), _) => {
                let why = "no such message was accepted here, or its record is past retention";
                Reply::diagnostic(ResponseType::NotFound, why)
            }
            (Err(refusal), id) => Reply::refusal(id, refusal, format),
        };
        self.reply(now, &job.asked, &reply);
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some((at, number)) = self.acks_due.first().copied().filter(|(at, _)| *at <= now) {
            self.acks_due.remove(&(at, number));
            let Some(job) = self.jobs.get_mut(&number) else { continue };
            job.ack_at = None;
            job.asked.acknowledged = true;
            let (peer, bytes) = (job.asked.peer, empty(MessageType::Acknowledgement, job.asked.head.id));
            self.exchanges.tell(peer, Told::Acknowledged, false);
            if self.exchanges.spend(peer, bytes.len()) {
                self.counters.empty_acks.add(1);
                self.send(peer.0, bytes);
            }
        }
        while self.waiting.front().is_some_and(|(_, _, until)| *until <= now) {
            let why = refusal(RefusalKind::Overloaded, "too many messages wait; send it again");
            self.refuse_first_waiting(now, &why);
        }
        while let Some(due) = self.separate.pop(now, &self.config) {
            match due {
                Due::GivenUp => self.counters.unacknowledged.add(1),
                Due::Again(peer, bytes) => {
                    self.counters.retransmissions.add(1);
                    self.send(peer.0, bytes);
                }
            }
        }
        if now >= self.sweep_at {
            self.sweep_at = now + SWEEP_EVERY;
            self.exchanges.expire(now);
            self.uploads.expire(now, &self.config);
        }
        self.count();
    }

    fn refuse_first_waiting(&mut self, now: Instant, why: &Refusal) {
        let Some((number, _, _)) = self.waiting.pop_front() else { return };
        if let Some(job) = self.close(number) {
            self.refuse_now(now, &job.asked, job.id, why);
        }
    }

    fn count(&mut self) {
        let counters = &self.counters;
        counters.exchanges_now.set(self.exchanges.len());
        counters.sources_now.set(self.exchanges.sources());
        counters.forgotten.add(std::mem::take(&mut self.exchanges.forgotten));
        counters.in_flight_now.set(self.in_flight);
        counters.waiting_now.set(self.waiting.len());
        counters.uploads_now.set(self.uploads.len());
        counters.uploads_dropped.add(std::mem::take(&mut self.uploads.dropped));
    }

    /// When [`Self::tick`] is to be called at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        let ack = self.acks_due.first().map(|(at, _)| *at);
        let wait = self.waiting.front().map(|(_, _, until)| *until);
        [ack, wait, self.separate.next()].into_iter().flatten().fold(self.sweep_at, Instant::min)
    }

    /// Takes no more messages. Those in flight can still be answered.
    pub(crate) fn stop(&mut self, now: Instant) {
        self.stopped = true;
        self.uploads.clear();
        while !self.waiting.is_empty() {
            self.refuse_first_waiting(now, &stopping());
        }
    }

    /// Refuses whatever has no answer.
    pub(crate) fn refuse_all(&mut self, now: Instant) {
        self.stop(now);
        let open: Vec<u64> = self.jobs.keys().copied().collect();
        for number in open {
            self.answered(now, number, &Err(stopping()));
        }
    }

    /// Whether no answer waits for its acknowledgement.
    pub(crate) fn is_settled(&self) -> bool {
        self.separate.len() == 0
    }

    /// How much there is of everything, for tests of the bounds.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn sizes(&self) -> [usize; 9] {
        [
            self.exchanges.len(),
            self.exchanges.sources(),
            self.uploads.len(),
            self.uploads.bytes(),
            self.separate.len(),
            self.waiting.len(),
            self.in_flight,
            self.open_bytes,
            self.queries,
        ]
    }
}

const _: () = assert!(LINKS.len() < MAX_MESSAGE_BYTES, "the links fit into one message");
