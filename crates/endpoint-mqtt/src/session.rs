//! One session: what a client id is subscribed to, what waits to be sent to it, and what is under way in both directions.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use w3bstream_types::Received;

use crate::log::{Change, Log};
use crate::message::{Delivery, Message, Options, Qos};
use crate::rights::Rights;
use crate::wills::KeptWill;

/// The number of a session; never used twice.
pub(crate) type SessionId = u64;
/// The number of a connection; never used twice, never 0.
pub(crate) type ConnId = u64;

/// Bounds of one session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) sessions: usize,
    pub(crate) subscriptions: usize,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// One client id's session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// Whose session it is, and the client id.
    pub(crate) client_id: Arc<str>,
    pub(crate) limits: Limits,
    pub(crate) log: Option<Arc<Log>>,
    pub(crate) state: Mutex<State>,
    /// The last change in the log that is about this session.
    noted: AtomicU64,
    /// Somebody waits for the connection to take what it has received; see [`Self::ask`].
    asked: AtomicBool,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// The connection that has the session; 0 if none.
    pub(crate) owner: ConnId,
    /// Wakes that connection.
    pub(crate) wake: Option<Arc<Notify>>,
    /// How long the session is kept without a connection.
    pub(crate) expiry: Duration,
    /// When it ends, while it has no connection.
    pub(crate) ends_at: Option<Instant>,
    /// By filter, as it was asked for.
    pub(crate) filters: HashMap<String, Options>,
    queue: VecDeque<Delivery>,
    queued_bytes: usize,
    /// Sent at QoS 1 or 2 and not yet done with, in the order in which they were sent.
    sent: BTreeMap<u64, Flight>,
    next_sent: u64,
    next_packet_id: u16,
    next_stored: u64,
    /// QoS 2 messages from the device that were accepted and not yet released by it.
    received: BTreeSet<NonZeroU16>,
    pub(crate) overflow: bool,
    pub(crate) will: Option<(Instant, Will)>,
    /// The log has a will of this session.
    pub(crate) will_kept: bool,
    /// What the connection may do.
    pub(crate) rights: Option<Arc<Rights>>,
    /// It may no more.
    revoked: bool,
    /// Who waits for the connection to take what it has received.
    asker: Option<Arc<Notify>>,
    /// When a shared subscription last gave it a message.
    served: usize,
}

/// A message on its way to the peer.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) id: NonZeroU16,
    pub(crate) stage: Stage,
}

/// How far it is.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// PUBLISH was sent.
    Published(Delivery),
    /// PUBREC came, PUBREL was sent (QoS 2).
    Released(Option<u64>),
}

/// A message that its sender left to be submitted if it goes without a word.
#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub(crate) last: Last,
    pub(crate) delay: Duration,
}

impl Will {
    /// Notes whose it is, so that its sender's own subscription without local messages does not get it.
    pub(crate) fn sent_by(&mut self, session: SessionId) {
        if let Last::Clients(message) = &mut self.last {
            message.from = Some(session);
        }
    }
}

/// Where a will goes.
#[derive(Clone, Debug)]
pub(crate) enum Last {
    /// To the node, like any message of a device.
    Node(Box<Received>),
    /// To the subscribers of an open topic.
    Clients(Box<Message>),
}

/// What the connection must do with its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Mine,
    TakenOver,
    Overflowed,
    Revoked,
}

/// An acknowledgement that does not go with the message of its packet id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongAck;

/// How a client asks for its session.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    pub(crate) expiry: Duration,
    pub(crate) conn: ConnId,
    pub(crate) wake: Arc<Notify>,
    pub(crate) rights: Arc<Rights>,
    /// The will of the connection, if it has one.
    pub(crate) will: Option<Arc<KeptWill>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the data whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    pub(crate) fn own(&mut self, claim: &Claim) {
        self.owner = claim.conn;
        self.wake = Some(Arc::clone(&claim.wake));
        self.expiry = claim.expiry;
        self.rights = Some(Arc::clone(&claim.rights));
        self.ends_at = None;
        self.overflow = false;
        self.revoked = false;
    }

    /// Nobody is connected any more: what nobody promised is forgotten.
    pub(crate) fn rest(&mut self, ends_at: Instant) {
        self.owner = 0;
        self.wake = None;
        self.rights = None;
        self.ends_at = Some(ends_at);
        self.queue.retain(|d| d.qos > Qos::AtMostOnce);
        self.queued_bytes = self.queue.iter().map(|d| d.message.bytes()).sum();
        self.overflow = false;
    }

    pub(crate) fn clear(&mut self) {
        self.owner = 0;
        self.rights = None;
        self.queue.clear();
        self.queued_bytes = 0;
        self.sent.clear();
        self.received.clear();
    }

    fn packet_id(&mut self) -> NonZeroU16 {
        // Fewer are in use than there are, as `sent` is bounded by a u16 that is checked before.
        loop {
            self.next_packet_id = self.next_packet_id.wrapping_add(1);
            if let Some(id) = NonZeroU16::new(self.next_packet_id)
                && !self.sent.values().any(|flight| flight.id == id)
            {
                return id;
            }
        }
    }

    fn flight(&self, id: NonZeroU16) -> Option<u64> {
        self.sent.iter().find(|(_, flight)| flight.id == id).map(|(number, _)| *number)
    }

    fn no_more(&self, limits: &Limits, bytes: usize) -> bool {
        self.queue.len() >= limits.messages || self.queued_bytes + bytes > limits.bytes
    }
}

impl Session {
    pub(crate) fn new(
        (id, client_id): (SessionId, Arc<str>),
        (limits, log): (Limits, Option<Arc<Log>>),
        state: State,
    ) -> Self {
        let state = state.into();
        Self { id, client_id, limits, log, state, noted: AtomicU64::new(0), asked: AtomicBool::new(false) }
    }

    /// The client id, as the client says it.
    pub(crate) fn client(&self) -> &str {
        let (len, rest) = self.client_id.split_once(':').unwrap_or_default();
        len.parse().ok().and_then(|len: usize| rest.get(len + 1..)).unwrap_or(&self.client_id)
    }

    /// Notes a change, if this session is kept beyond its connection and there is a log.
    pub(crate) fn note(&self, state: &mut State, make: impl FnOnce(Arc<str>) -> Change) {
        if let Some(log) = &self.log
            && !state.expiry.is_zero()
        {
            // Under the lock of the state, so that it rises.
            self.noted.store(log.note(make(Arc::clone(&self.client_id))), Ordering::Release);
        }
    }

    /// Waits until everything that was noted of this session is durable.
    pub(crate) async fn kept(&self) {
        let Some(log) = &self.log else { return };
        log.written(self.noted.load(Ordering::Acquire)).await;
    }

    /// Whether it is, without waiting.
    pub(crate) fn is_kept(&self) -> bool {
        self.log.as_ref().is_none_or(|log| log.is_written(self.noted.load(Ordering::Acquire)))
    }

    /// Asks the connection that has the session, if one has, to take what its peer has sent before another one takes the session:
    /// a DISCONNECT with which the peer has just ended it may still be unread. What is given rings when that is done.
    pub(crate) fn ask(&self) -> Option<Arc<Notify>> {
        let mut state = lock(&self.state);
        let wake = state.wake.as_ref().filter(|_| state.owner != 0)?;
        wake.notify_one();
        let asker = Arc::<Notify>::default();
        if let Some(earlier) = state.asker.replace(Arc::clone(&asker)) {
            earlier.notify_one();
        }
        self.asked.store(true, Ordering::Release);
        Some(asker)
    }

    /// Whether somebody has asked.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Lets go on who has asked.
    pub(crate) fn answer(&self, state: &mut State) {
        self.asked.store(false, Ordering::Release);
        if let Some(asker) = state.asker.take() {
            asker.notify_one();
        }
    }

    /// What the connection may do holds no longer; false if the session is no longer that of `conn`.
    pub(crate) fn revoke(&self, conn: ConnId) -> bool {
        let mut state = lock(&self.state);
        if state.owner != conn {
            return false;
        }
        state.revoked = true;
        if let Some(wake) = &state.wake {
            wake.notify_one();
        }
        true
    }

    /// Stores the will of a connection, or that it has none.
    pub(crate) fn keep_will(&self, state: &mut State, will: Option<Arc<KeptWill>>, due_at: Option<u64>) {
        let Some(will) = will else { return self.forget_will(state) };
        self.note(state, |client| Change::Will { client, due_at, will });
        state.will_kept = self.log.is_some() && !state.expiry.is_zero();
    }

    /// Takes the will out of the store.
    pub(crate) fn forget_will(&self, state: &mut State) {
        if std::mem::take(&mut state.will_kept) {
            self.note(state, |client| Change::NoWill { client });
        }
    }

    /// Drops what waits on topics that are not allowed any more.
    pub(crate) fn drop_queued(&self, state: &mut State, allowed: impl Fn(&str) -> bool) {
        for delivery in std::mem::take(&mut state.queue) {
            if allowed(&delivery.message.topic) {
                state.queue.push_back(delivery);
            } else {
                state.queued_bytes -= delivery.message.bytes();
                self.done(state, delivery.stored);
            }
        }
    }

    /// Queues a message; false if it was dropped.
    pub(crate) fn push(&self, mut delivery: Delivery) -> bool {
        let mut state = lock(&self.state);
        if state.owner == 0 && delivery.qos == Qos::AtMostOnce {
            return false;
        }
        let bytes = delivery.message.bytes();
        let full = state.no_more(&self.limits, bytes);
        if !full {
            if self.log.is_some() && delivery.qos > Qos::AtMostOnce && !state.expiry.is_zero() {
                let number = state.next_stored;
                state.next_stored += 1;
                delivery.stored = Some(number);
                let copy = delivery.clone();
                self.note(&mut state, |client| Change::Queued { client, number, delivery: copy });
            }
            state.queued_bytes += bytes;
            state.queue.push_back(delivery);
        } else if delivery.qos > Qos::AtMostOnce {
            state.overflow = true;
        }
        if let Some(wake) = &state.wake {
            wake.notify_one();
        }
        !full
    }

    /// Queues a retained message of a new subscription, if there is room: nobody is cut off for asking.
    pub(crate) fn push_retained(&self, delivery: Delivery) -> bool {
        let room = !lock(&self.state).no_more(&self.limits, delivery.message.bytes());
        room && self.push(delivery)
    }

    /// How unwise it is for a shared subscription to give a message to this session: whether it cannot take one now, what it
    /// has to do, and when it was last given one.
    pub(crate) fn load(&self) -> (bool, usize, usize) {
        let state = lock(&self.state);
        let unable = state.owner == 0 || state.no_more(&self.limits, 0);
        (unable, state.queue.len() + state.sent.len(), state.served)
    }

    /// Notes that a shared subscription gives this session its message of this number.
    pub(crate) fn serve(&self, number: usize) {
        lock(&self.state).served = number + 1;
    }

    /// What the connection `conn` must do.
    pub(crate) fn standing(&self, conn: ConnId) -> Standing {
        let state = lock(&self.state);
        match (state.owner == conn, state.overflow) {
            (false, _) => Standing::TakenOver,
            (true, _) if state.revoked => Standing::Revoked,
            (true, true) => Standing::Overflowed,
            (true, false) => Standing::Mine,
        }
    }

    /// The next message to send to the peer, which takes `window` at QoS 1 and 2 without acknowledging.
    pub(crate) fn pop(&self, conn: ConnId, window: u16, now: u64) -> Option<(Delivery, Option<NonZeroU16>)> {
        let mut state = lock(&self.state);
        if state.owner != conn {
            return None;
        }
        loop {
            let front = state.queue.front()?;
            let over = front.message.is_over(now);
            let with_id = front.qos > Qos::AtMostOnce;
            if !over && with_id && state.sent.len() >= usize::from(window) {
                return None;
            }
            let delivery = state.queue.pop_front()?;
            state.queued_bytes -= delivery.message.bytes();
            if over {
                self.done(&mut state, delivery.stored);
                continue;
            }
            if !with_id {
                return Some((delivery, None));
            }
            let (id, number) = (state.packet_id(), state.next_sent);
            state.next_sent += 1;
            if let Some(stored) = delivery.stored {
                self.note(&mut state, |client| Change::Sent { client, number: stored, packet_id: id });
            }
            state.sent.insert(number, Flight { id, stage: Stage::Published(delivery.clone()) });
            return Some((delivery, Some(id)));
        }
    }

    fn done(&self, state: &mut State, stored: Option<u64>) {
        if let Some(number) = stored {
            self.note(state, |client| Change::Done { client, number });
        }
    }

    /// The peer has acknowledged a QoS 1 message, or refused a QoS 2 message, or does not take it at all.
    ///
    /// # Errors
    /// If `qos` is given and not that of the message of this id, or it was released already.
    pub(crate) fn acknowledged(&self, id: NonZeroU16, qos: Option<Qos>) -> Result<(), WrongAck> {
        let mut state = lock(&self.state);
        let Some(number) = state.flight(id) else { return Ok(()) };
        let stored = match state.sent.get(&number).map(|flight| &flight.stage) {
            Some(Stage::Published(delivery)) if qos.is_none_or(|qos| qos == delivery.qos) => delivery.stored,
            _ => return Err(WrongAck),
        };
        state.sent.remove(&number);
        self.done(&mut state, stored);
        Ok(())
    }

    /// The peer has a QoS 2 message; false if there is none of this id.
    ///
    /// # Errors
    /// If the message of this id is one of QoS 1.
    pub(crate) fn taken(&self, id: NonZeroU16) -> Result<bool, WrongAck> {
        let mut state = lock(&self.state);
        let Some(number) = state.flight(id) else { return Ok(false) };
        let Some(flight) = state.sent.get_mut(&number) else { return Ok(false) };
        if let Stage::Published(delivery) = &flight.stage {
            if delivery.qos != Qos::ExactlyOnce {
                return Err(WrongAck);
            }
            let stored = delivery.stored;
            flight.stage = Stage::Released(stored);
            if let Some(number) = stored {
                self.note(&mut state, |client| Change::Released { client, number });
            }
        }
        Ok(true)
    }

    /// The peer is done with a QoS 2 message.
    ///
    /// # Errors
    /// If the message of this id was not released.
    pub(crate) fn completed(&self, id: NonZeroU16) -> Result<(), WrongAck> {
        let mut state = lock(&self.state);
        let Some(number) = state.flight(id) else { return Ok(()) };
        let Some(Flight { stage: Stage::Released(stored), .. }) = state.sent.get(&number) else {
            return Err(WrongAck);
        };
        let stored = *stored;
        state.sent.remove(&number);
        self.done(&mut state, stored);
        Ok(())
    }

    /// What was sent on an earlier connection and is not done with, to be sent again.
    pub(crate) fn unfinished(&self) -> Vec<Flight> {
        lock(&self.state).sent.values().cloned().collect()
    }

    /// Notes that a QoS 2 message of the device was accepted: a repetition is not handed over again.
    pub(crate) fn accept(&self, id: NonZeroU16) {
        lock(&self.state).received.insert(id);
    }

    /// Whether a QoS 2 message was accepted and not yet released.
    pub(crate) fn has_accepted(&self, id: NonZeroU16) -> bool {
        lock(&self.state).received.contains(&id)
    }

    /// The device has released a QoS 2 message; false if there was none of this id.
    pub(crate) fn release(&self, id: NonZeroU16) -> bool {
        lock(&self.state).received.remove(&id)
    }

    /// How many QoS 2 messages of the device are accepted and not yet released.
    pub(crate) fn unreleased(&self) -> usize {
        lock(&self.state).received.len()
    }

    /// Changes how long the session is kept (MQTT 5 DISCONNECT); false for one that was to end with its connection and now is not.
    pub(crate) fn set_expiry(&self, expiry: Duration) -> bool {
        let mut state = lock(&self.state);
        if state.expiry.is_zero() {
            return expiry.is_zero();
        }
        if expiry.is_zero() {
            self.note(&mut state, |client| Change::Ended { client });
        }
        state.expiry = expiry;
        true
    }

    /// Takes in what the log had of this session.
    pub(crate) fn restore(&self, queue: Vec<(u64, Delivery)>, sent: Vec<(u64, Flight)>) {
        let mut state = lock(&self.state);
        for (number, flight) in sent {
            state.next_stored = state.next_stored.max(number + 1);
            state.next_packet_id = state.next_packet_id.max(flight.id.get());
            let place = state.next_sent;
            state.next_sent += 1;
            state.sent.insert(place, flight);
        }
        for (number, delivery) in queue {
            state.next_stored = state.next_stored.max(number + 1);
            state.queued_bytes += delivery.message.bytes();
            state.queue.push_back(delivery);
        }
    }
}
