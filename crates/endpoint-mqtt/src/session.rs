//! Sessions: what a client id is subscribed to, and what waits to be sent to it. In memory only.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use w3bstream_types::Received;

use crate::MqttConfig;
use crate::metrics::Counters;
use crate::packet::Outgoing;
use crate::router::{Qos, Router};

/// The number of a session; never used twice.
pub(crate) type SessionId = u64;
/// The number of a connection; never used twice, never 0.
pub(crate) type ConnId = u64;

/// All sessions and their subscriptions.
#[derive(Debug)]
pub(crate) struct Hub {
    limits: Limits,
    sessions: Mutex<Sessions>,
    router: RwLock<Router<SessionId>>,
    /// As many as the router holds, to look without its lock.
    subscriptions: AtomicUsize,
    counters: Arc<Counters>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    sessions: usize,
    subscriptions: usize,
    messages: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Sessions {
    next: SessionId,
    by_client: HashMap<Arc<str>, Arc<Session>>,
    by_id: HashMap<SessionId, Arc<Session>>,
}

/// One client id's session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) client_id: Arc<str>,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The connection that has the session; 0 if none.
    owner: ConnId,
    /// Wakes that connection.
    wake: Option<Arc<Notify>>,
    /// How long the session is kept without a connection.
    expiry: Duration,
    /// When it ends, while it has no connection.
    ends_at: Option<Instant>,
    filters: HashSet<String>,
    queue: VecDeque<(Arc<Outgoing>, Qos)>,
    queued_bytes: usize,
    /// Sent at QoS 1 and not yet acknowledged, in the order in which they were sent.
    sent: BTreeMap<u64, (NonZeroU16, Arc<Outgoing>)>,
    next_sent: u64,
    next_packet_id: u16,
    overflow: bool,
    will: Option<(Instant, Will)>,
}

/// A message that its sender left to be submitted if it goes without a word.
#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub(crate) received: Received,
    pub(crate) delay: Duration,
}

/// Why a session was not attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManySessions;

/// What the connection must do with its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Mine,
    TakenOver,
    Overflowed,
}

/// How a client asks for its session.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    pub(crate) expiry: Duration,
    pub(crate) conn: ConnId,
    pub(crate) wake: Arc<Notify>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the data whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outgoing {
    fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.key.as_ref().map_or(0, String::len)
    }
}

impl Hub {
    pub(crate) fn new(config: &MqttConfig, counters: Arc<Counters>) -> Self {
        let limits = Limits {
            sessions: config.max_sessions,
            subscriptions: config.max_subscriptions,
            messages: config.max_queued_messages,
            bytes: config.max_queued_bytes,
        };
        Self {
            limits,
            sessions: Mutex::default(),
            router: RwLock::default(),
            subscriptions: AtomicUsize::new(0),
            counters,
        }
    }

    /// Gives the client its session, taking it from another connection if one has it. True if the session was
    /// there before. A will of the old connection that is now due comes back to be submitted.
    pub(crate) fn attach(&self, claim: Claim) -> Result<(Arc<Session>, bool, Option<Will>), TooManySessions> {
        let mut sessions = lock(&self.sessions);
        let mut due = None;
        if let Some(old) = sessions.by_client.get(claim.client_id.as_str()).cloned() {
            if self.resume(&old, &claim, &mut due) {
                return Ok((old, true, None));
            }
            self.forget(&mut sessions, &old);
        }
        if sessions.by_client.len() >= self.limits.sessions {
            return Err(TooManySessions);
        }
        let session = self.create(&mut sessions, &claim);
        Ok((session, false, due))
    }

    /// Gives a session that exists to `claim`, or ends it if it must begin anew.
    fn resume(&self, session: &Session, claim: &Claim, due: &mut Option<Will>) -> bool {
        let mut state = lock(&session.state);
        if state.owner != 0 {
            self.counters.takeovers.add(1);
        }
        // The old connection looks, and sees that the session is no longer its own.
        if let Some(wake) = state.wake.take() {
            wake.notify_one();
        }
        let ended = claim.clean || state.ends_at.is_some_and(|at| at <= Instant::now());
        let will = state.will.take();
        if ended {
            state.owner = 0;
            *due = will.map(|(_, will)| will);
        } else {
            state.own(claim);
        }
        !ended
    }

    fn create(&self, sessions: &mut Sessions, claim: &Claim) -> Arc<Session> {
        let id = sessions.next;
        sessions.next += 1;
        let client_id: Arc<str> = claim.client_id.as_str().into();
        let mut state = State::default();
        state.own(claim);
        let session = Arc::new(Session {
            id,
            client_id: Arc::clone(&client_id),
            limits: self.limits,
            state: state.into(),
        });
        sessions.by_client.insert(client_id, Arc::clone(&session));
        sessions.by_id.insert(id, Arc::clone(&session));
        self.counters.sessions_now.set(sessions.by_client.len());
        session
    }

    /// The connection has ended. `will` is to be submitted if nobody comes back before its delay; if it is due
    /// at once it comes back.
    pub(crate) fn detach(&self, session: &Arc<Session>, conn: ConnId, will: Option<Will>) -> Option<Will> {
        let mut sessions = lock(&self.sessions);
        let mut state = lock(&session.state);
        if state.owner != conn {
            // Taken over: the delay ends early, as the session goes on elsewhere, or has ended.
            return will.filter(|w| w.delay.is_zero());
        }
        let now = Instant::now();
        state.owner = 0;
        state.wake = None;
        let waits = will.as_ref().is_some_and(|w| !w.delay.is_zero()) && !state.expiry.is_zero();
        if state.expiry.is_zero() {
            drop(state);
            self.forget(&mut sessions, session);
            return will;
        }
        state.ends_at = Some(now + state.expiry);
        state.queue.retain(|(_, qos)| *qos == Qos::AtLeastOnce);
        state.queued_bytes = state.queue.iter().map(|(m, _)| m.bytes()).sum();
        state.overflow = false;
        if !waits {
            return will;
        }
        state.will = will.map(|w| (now + w.delay.min(state.expiry), w));
        None
    }

    /// Ends sessions that are over their time, and gives the wills that are due.
    pub(crate) fn sweep(&self) -> Vec<Will> {
        let now = Instant::now();
        let mut sessions = lock(&self.sessions);
        let (mut wills, mut over) = (Vec::new(), Vec::new());
        for session in sessions.by_id.values() {
            let mut state = lock(&session.state);
            let ended = state.owner == 0 && state.ends_at.is_some_and(|at| at <= now);
            wills.extend(state.will.take_if(|(at, _)| *at <= now || ended).map(|(_, will)| will));
            if ended {
                over.push(Arc::clone(session));
            }
        }
        for session in over {
            self.forget(&mut sessions, &session);
        }
        wills
    }

    fn forget(&self, sessions: &mut Sessions, session: &Arc<Session>) {
        if sessions.by_id.remove(&session.id).is_some() {
            sessions.by_client.remove(&session.client_id);
        }
        self.counters.sessions_now.set(sessions.by_client.len());
        let mut state = lock(&session.state);
        state.owner = 0;
        state.queue.clear();
        state.sent.clear();
        // A session's state is held while the router changes, so that both always agree.
        let mut router = self.router.write().unwrap_or_else(PoisonError::into_inner);
        for filter in std::mem::take(&mut state.filters) {
            router.unsubscribe(&filter, session.id);
        }
        self.count(&router);
    }

    fn count(&self, router: &Router<SessionId>) {
        self.subscriptions.store(router.len(), Ordering::Relaxed);
        self.counters.subscriptions_now.set(router.len());
    }

    /// Subscribes; false if the session has too many subscriptions, or is no longer that of `conn`.
    pub(crate) fn subscribe(&self, (session, conn): (&Session, ConnId), filter: &str, qos: Qos) -> bool {
        let mut state = lock(&session.state);
        let known = state.filters.contains(filter);
        if state.owner != conn || (!known && state.filters.len() >= self.limits.subscriptions) {
            return false;
        }
        if !known {
            state.filters.insert(filter.to_owned());
        }
        let mut router = self.router.write().unwrap_or_else(PoisonError::into_inner);
        router.subscribe(filter, session.id, qos);
        self.count(&router);
        true
    }

    /// Takes a subscription back; false if there was none.
    pub(crate) fn unsubscribe(&self, session: &Session, filter: &str) -> bool {
        let mut state = lock(&session.state);
        if !state.filters.remove(filter) {
            return false;
        }
        let mut router = self.router.write().unwrap_or_else(PoisonError::into_inner);
        router.unsubscribe(filter, session.id);
        self.count(&router);
        true
    }

    /// Queues a message for every session that wants `topic`. The message is made only if there is one.
    pub(crate) fn publish(&self, topic: &str, make: impl FnOnce() -> Outgoing) {
        if self.subscriptions.load(Ordering::Relaxed) == 0 {
            return;
        }
        let wanted = self.router.read().unwrap_or_else(PoisonError::into_inner).matches(topic);
        if wanted.is_empty() {
            return;
        }
        let targets: Vec<(Arc<Session>, Qos)> = {
            let sessions = lock(&self.sessions);
            wanted.iter().filter_map(|(id, qos)| Some((Arc::clone(sessions.by_id.get(id)?), *qos))).collect()
        };
        let message = Arc::new(make());
        for (session, qos) in targets {
            let counter =
                if session.push(&message, qos) { &self.counters.queued } else { &self.counters.dropped };
            counter.add(1);
        }
    }
}

impl State {
    fn own(&mut self, claim: &Claim) {
        self.owner = claim.conn;
        self.wake = Some(Arc::clone(&claim.wake));
        self.expiry = claim.expiry;
        self.ends_at = None;
        self.overflow = false;
    }

    fn packet_id(&mut self) -> NonZeroU16 {
        // Fewer are in use than there are, as `sent` is bounded by a u16 that is checked before.
        loop {
            self.next_packet_id = self.next_packet_id.wrapping_add(1);
            if let Some(id) = NonZeroU16::new(self.next_packet_id)
                && !self.sent.values().any(|(used, _)| *used == id)
            {
                return id;
            }
        }
    }
}

impl Session {
    /// Queues a message; false if it was dropped.
    fn push(&self, message: &Arc<Outgoing>, qos: Qos) -> bool {
        let mut state = lock(&self.state);
        if state.owner == 0 && qos == Qos::AtMostOnce {
            return false;
        }
        let full = state.queue.len() >= self.limits.messages
            || state.queued_bytes + message.bytes() > self.limits.bytes;
        if !full {
            state.queued_bytes += message.bytes();
            state.queue.push_back((Arc::clone(message), qos));
        } else if qos == Qos::AtLeastOnce {
            state.overflow = true;
        }
        if let Some(wake) = &state.wake {
            wake.notify_one();
        }
        !full
    }

    /// What the connection `conn` must do.
    pub(crate) fn standing(&self, conn: ConnId) -> Standing {
        let state = lock(&self.state);
        match (state.owner == conn, state.overflow) {
            (false, _) => Standing::TakenOver,
            (true, true) => Standing::Overflowed,
            (true, false) => Standing::Mine,
        }
    }

    /// The next message to send to the peer, which takes `window` at QoS 1 without acknowledging.
    pub(crate) fn pop(&self, conn: ConnId, window: u16) -> Option<(Arc<Outgoing>, Option<NonZeroU16>)> {
        let mut state = lock(&self.state);
        if state.owner != conn {
            return None;
        }
        let (_, qos) = state.queue.front()?;
        let with_id = *qos == Qos::AtLeastOnce;
        if with_id && state.sent.len() >= usize::from(window) {
            return None;
        }
        let (message, _) = state.queue.pop_front()?;
        state.queued_bytes -= message.bytes();
        if !with_id {
            return Some((message, None));
        }
        let (id, number) = (state.packet_id(), state.next_sent);
        state.next_sent += 1;
        state.sent.insert(number, (id, Arc::clone(&message)));
        Some((message, Some(id)))
    }

    /// The peer has acknowledged a message.
    pub(crate) fn acknowledged(&self, id: NonZeroU16) {
        let mut state = lock(&self.state);
        if let Some(number) = state.sent.iter().find(|(_, (sent, _))| *sent == id).map(|(n, _)| *n) {
            state.sent.remove(&number);
        }
    }

    /// What was sent on an earlier connection and not acknowledged, to be sent again.
    pub(crate) fn unacknowledged(&self) -> Vec<(NonZeroU16, Arc<Outgoing>)> {
        lock(&self.state).sent.values().cloned().collect()
    }

    /// Changes how long the session is kept (MQTT 5 DISCONNECT).
    pub(crate) fn set_expiry(&self, expiry: Duration) {
        lock(&self.state).expiry = expiry;
    }
}
