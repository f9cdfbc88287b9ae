//! All sessions: who has which, who wants what, and what is kept for those who subscribe later.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use w3bstream_endpoint::{Error, Gate};

use crate::MqttConfig;
use crate::log::{Change, Log, Saved};
use crate::message::{Delivery, Message, Options, Qos};
use crate::metrics::Counters;
use crate::retained::Retained;
use crate::rights::Rights;
use crate::router::Router;
use crate::session::{Claim, ConnId, Limits, Session, SessionId, State, Will, lock};
use crate::topic;
use crate::wills::KeptWill;

/// All sessions and their subscriptions.
#[derive(Debug)]
pub(crate) struct Hub {
    limits: Limits,
    sessions: Mutex<Sessions>,
    router: RwLock<Router<Key>>,
    retained: Retained,
    log: Option<Arc<Log>>,
    /// Wills of sessions that have ended while there was no node.
    overdue: Mutex<Vec<Will>>,
    /// As many as the router holds, to look without its lock.
    subscriptions: AtomicUsize,
    /// Counts what was given to members of shared subscriptions.
    turn: AtomicUsize,
    counters: Arc<Counters>,
}

/// Whose subscription it is: a session's own, or its part in one that a group shares. A group's name is that of
/// the group and the filter, as each filter is a subscription of its own (MQTT 5, section 4.8.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Own(SessionId),
    Shared(Arc<str>, SessionId),
}

#[derive(Debug, Default)]
struct Sessions {
    next: SessionId,
    by_client: HashMap<Arc<str>, Arc<Session>>,
    by_id: HashMap<SessionId, Arc<Session>>,
}

/// Why a session was not attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManySessions;

/// What one session gets of a message.
#[derive(Debug)]
struct Wish {
    qos: Qos,
    retain_as_published: bool,
    ids: Vec<NonZeroU32>,
}

impl Wish {
    fn of(options: &Options) -> Self {
        let ids = options.id.into_iter().collect();
        Self { qos: options.qos, retain_as_published: options.retain_as_published, ids }
    }

    /// One message for all filters that match (MQTT 5, section 3.3.4): at the best QoS, with all identifiers.
    fn join(&mut self, other: Self) {
        self.qos = self.qos.max(other.qos);
        self.retain_as_published |= other.retain_as_published;
        self.ids.extend(other.ids);
    }

    fn delivery(self, message: &Arc<Message>) -> Delivery {
        Delivery {
            qos: self.qos.min(message.qos),
            retain: self.retain_as_published && message.retain,
            ids: self.ids,
            message: Arc::clone(message),
            stored: None,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX >> 1)
}

impl Hub {
    pub(crate) fn new(config: &MqttConfig, counters: Arc<Counters>, log: Option<Arc<Log>>) -> Self {
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
            retained: Retained::new(config.max_retained_messages, config.max_retained_bytes),
            log,
            overdue: Mutex::default(),
            subscriptions: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            counters,
        }
    }

    /// Takes in the sessions and retained messages of an earlier run, as of `now`.
    pub(crate) async fn restore(&self, config: &MqttConfig, now: u64) -> Result<(), Error> {
        let Some(log) = &self.log else { return Ok(()) };
        let (sessions, retained) = log.load().await?;
        for (client, saved) in sessions {
            self.restore_session(&client, saved, (config, now));
        }
        for message in retained.iter().filter(|m| !m.is_over(now)) {
            self.retained.keep(message);
        }
        self.counters.retained_now.set(self.retained.len());
        Ok(())
    }

    fn restore_session(&self, client: &str, saved: Saved, (config, now): (&MqttConfig, u64)) {
        // One that was connected when the node ended has its whole time left.
        let left = saved.ends_at.map_or(saved.expiry, |at| Duration::from_millis(at.saturating_sub(now)));
        let will = saved.will.and_then(|(due_at, kept)| Some((due_at, kept.read(config)?)));
        if left.is_zero() {
            lock(&self.overdue).extend(will.map(|(_, will)| will));
            if let Some(log) = &self.log {
                log.note(Change::Ended { client: client.into() });
            }
            return;
        }
        let mut sessions = lock(&self.sessions);
        let mut state = State::default();
        state.expiry = saved.expiry;
        let here = Instant::now();
        state.ends_at = Some(here + left);
        state.filters = saved.filters.iter().cloned().collect();
        let session = self.enter(&mut sessions, client, state);
        session.restore(saved.queue, saved.sent);
        if let Some((due_at, mut will)) = will {
            // The connection that the node's end has cut is as if it had been cut now.
            let wait = due_at.map_or(will.delay, |at| Duration::from_millis(at.saturating_sub(now)));
            will.sent_by(session.id);
            let mut state = lock(&session.state);
            state.will = Some((here + wait.min(left), will));
            state.will_kept = true;
        }
        let mut router = self.router.write().unwrap_or_else(PoisonError::into_inner);
        for (filter, options) in saved.filters {
            if let Some((key, filter)) = key_of(&filter, session.id) {
                router.subscribe(filter, key, options);
            }
        }
        self.count(&router);
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
        let mut state = State::default();
        state.own(&claim);
        let session = self.enter(&mut sessions, &claim.client_id, state);
        note_session(&session, &mut lock(&session.state), claim.will);
        Ok((session, false, due))
    }

    /// Asks the connection that has a client's session, if one has, to take what its peer has sent; see [`Session::ask`].
    pub(crate) fn ask(&self, client_id: &str) -> Option<Arc<Notify>> {
        let session = lock(&self.sessions).by_client.get(client_id).cloned();
        session?.ask()
    }

    /// Lets go on who has asked the connection `conn`.
    pub(crate) fn answer(&self, session: &Session, conn: ConnId) {
        let mut state = lock(&session.state);
        if state.owner == conn {
            session.answer(&mut state);
        }
    }

    /// Ends the connections whose rights hold no longer. How many.
    pub(crate) fn recheck(&self, gate: &dyn Gate) -> usize {
        let rights = |session: &Arc<Session>| {
            let state = lock(&session.state);
            let rights = state.rights.as_ref().filter(|r| state.owner != 0 && r.rest_on_something())?;
            Some((Arc::clone(session), state.owner, Arc::clone(rights)))
        };
        // The gate is asked without the lock.
        let connected: Vec<_> = lock(&self.sessions).by_id.values().filter_map(rights).collect();
        let revoked = |(session, conn, rights): &(Arc<Session>, ConnId, Arc<Rights>)| {
            !rights.hold(gate) && session.revoke(*conn)
        };
        connected.iter().filter(|one| revoked(one)).count()
    }

    /// Takes from a session that goes on what its client may not have any more.
    pub(crate) fn confine(&self, session: &Session, rights: &Rights) {
        let bare = |filter: &str| topic::shared(filter).map_or(filter.to_owned(), |(_, f)| f.to_owned());
        let kept: Vec<String> = lock(&session.state).filters.keys().cloned().collect();
        let lost: Vec<&String> = kept.iter().filter(|f| !rights.keep(&bare(f))).collect();
        if !lost.is_empty() {
            for filter in lost {
                self.unsubscribe(session, filter);
            }
            session.drop_queued(&mut lock(&session.state), |topic| rights.keep(topic));
        }
    }

    /// Gives a session that exists to `claim`, or ends it if it must begin anew.
    fn resume(&self, session: &Session, claim: &Claim, due: &mut Option<Will>) -> bool {
        let mut state = lock(&session.state);
        session.answer(&mut state);
        if state.owner != 0 {
            self.counters.takeovers.add(1);
        }
        // The old connection looks, and sees that the session is no longer its own.
        if let Some(wake) = state.wake.take() {
            wake.notify_one();
        }
        // One without an expiry ends with its connection, which this one takes the place of.
        let over = state.expiry.is_zero() || state.ends_at.is_some_and(|at| at <= Instant::now());
        let ended = claim.clean || over;
        let will = state.will.take();
        if ended {
            state.owner = 0;
            *due = will.map(|(_, will)| will);
            return false;
        }
        if claim.expiry.is_zero() {
            // It ends with this connection: a restart does not bring it back.
            session.note(&mut state, |client| Change::Ended { client });
        }
        state.own(claim);
        note_session(session, &mut state, claim.will.clone());
        true
    }

    fn enter(&self, sessions: &mut Sessions, client_id: &str, state: State) -> Arc<Session> {
        let id = sessions.next;
        sessions.next += 1;
        let client_id: Arc<str> = client_id.into();
        let with = (self.limits, self.log.clone());
        let session = Arc::new(Session::new((id, Arc::clone(&client_id)), with, state));
        sessions.by_client.insert(client_id, Arc::clone(&session));
        sessions.by_id.insert(id, Arc::clone(&session));
        self.counters.sessions_now.set(sessions.by_client.len());
        session
    }

    /// The connection has ended, at `now`. `will` is to be submitted if nobody comes back before its delay; if it is
    /// due at once it comes back. One that is stored waits for the node's restart, if that is why the connection has ended
    /// (MQTT 5, section 3.1.2.5).
    pub(crate) fn detach(
        &self,
        (session, conn): (&Arc<Session>, ConnId),
        (will, restart): (Option<Will>, bool),
        now: u64,
    ) -> Option<Will> {
        let mut sessions = lock(&self.sessions);
        let mut state = lock(&session.state);
        if state.owner == conn {
            session.answer(&mut state);
        }
        if state.owner != conn {
            // Taken over: a session that goes on needs the will no more, unless it has no delay; one that has ended does.
            let ended = !sessions.by_id.contains_key(&session.id);
            return will.filter(|w| w.delay.is_zero() || ended);
        }
        if state.expiry.is_zero() {
            drop(state);
            self.forget(&mut sessions, session);
            return will;
        }
        let (will, due) = match will {
            Some(will) if will.delay.is_zero() && !(restart && state.will_kept) => (None, Some(will)),
            will => (will, None),
        };
        let (here, expiry) = (Instant::now(), state.expiry);
        state.rest(here + expiry);
        let ends_at = Some(now.saturating_add(millis(expiry)));
        session.note(&mut state, |client| Change::Session { client, expiry, ends_at });
        if restart && will.is_some() && state.will_kept {
            return None;
        }
        let Some(will) = will.filter(|w| !w.delay.is_zero()) else {
            session.forget_will(&mut state);
            return due;
        };
        let wait = will.delay.min(expiry);
        let due_at = Some(now.saturating_add(millis(wait)));
        session.keep_will(&mut state, KeptWill::of(&will).map(Arc::new), due_at);
        state.will = Some((here + wait, will));
        None
    }

    /// Ends sessions that are over their time, and gives the wills that are due. Forgets retained messages that are too
    /// old at `now`.
    pub(crate) fn sweep(&self, now: u64) -> Vec<Will> {
        let here = Instant::now();
        let mut sessions = lock(&self.sessions);
        let mut over = Vec::new();
        let mut wills = std::mem::take(&mut *lock(&self.overdue));
        for session in sessions.by_id.values() {
            let mut state = lock(&session.state);
            let ended = state.owner == 0 && state.ends_at.is_some_and(|at| at <= here);
            if let Some((_, will)) = state.will.take_if(|(at, _)| *at <= here || ended) {
                wills.push(will);
                session.forget_will(&mut state);
            }
            if ended {
                over.push(Arc::clone(session));
            }
        }
        for session in over {
            self.forget(&mut sessions, &session);
        }
        drop(sessions);
        for topic in self.retained.sweep(now) {
            self.note_not_retained(topic);
        }
        wills
    }

    fn note_not_retained(&self, topic: String) {
        if let Some(log) = &self.log {
            log.note(Change::NotRetained { topic });
        }
        self.counters.retained_now.set(self.retained.len());
    }

    fn forget(&self, sessions: &mut Sessions, session: &Arc<Session>) {
        if sessions.by_id.remove(&session.id).is_some() {
            sessions.by_client.remove(&session.client_id);
        }
        self.counters.sessions_now.set(sessions.by_client.len());
        let mut state = lock(&session.state);
        session.note(&mut state, |client| Change::Ended { client });
        state.clear();
        // A session's state is held while the router changes, so that both always agree.
        let mut router = self.router.write().unwrap_or_else(PoisonError::into_inner);
        for filter in std::mem::take(&mut state.filters).into_keys() {
            if let Some((key, filter)) = key_of(&filter, session.id) {
                router.unsubscribe(filter, &key);
            }
        }
        self.count(&router);
    }

    fn count(&self, router: &Router<Key>) {
        self.subscriptions.store(router.len(), Ordering::Relaxed);
        self.counters.subscriptions_now.set(router.len());
    }

    /// Subscribes, and queues the retained messages that the subscription asks for; false if the session has too many
    /// subscriptions, or is no longer that of `conn`.
    pub(crate) fn subscribe(
        &self,
        (session, conn): (&Session, ConnId),
        (asked, options): (&str, Options),
        now: u64,
    ) -> bool {
        let Some((key, filter)) = key_of(asked, session.id) else { return false };
        let new = {
            let mut state = lock(&session.state);
            let known = state.filters.contains_key(asked);
            if state.owner != conn || (!known && state.filters.len() >= self.limits.subscriptions) {
                return false;
            }
            state.filters.insert(asked.to_owned(), options);
            let noted = asked.to_owned();
            session.note(&mut state, |client| Change::Subscribed { client, filter: noted, options });
            let mut router = self.router.write().unwrap_or_else(PoisonError::into_inner);
            let new = router.subscribe(filter, key.clone(), options);
            self.count(&router);
            new
        };
        let wants = options.retain_handling == 0 || (options.retain_handling == 1 && new);
        if wants && matches!(key, Key::Own(_)) {
            for message in self.retained.matching(filter, now) {
                if options.no_local && message.from == Some(session.id) {
                    continue;
                }
                let delivery = Wish::of(&options).delivery(&message);
                self.counted(session.push_retained(Delivery { retain: true, ..delivery }));
            }
        }
        true
    }

    fn counted(&self, queued: bool) {
        let counter = if queued { &self.counters.queued } else { &self.counters.dropped };
        counter.add(1);
    }

    /// Takes a subscription back; false if there was none.
    pub(crate) fn unsubscribe(&self, session: &Session, asked: &str) -> bool {
        let mut state = lock(&session.state);
        if state.filters.remove(asked).is_none() {
            return false;
        }
        let noted = asked.to_owned();
        session.note(&mut state, |client| Change::Unsubscribed { client, filter: noted });
        let mut router = self.router.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((key, filter)) = key_of(asked, session.id) {
            router.unsubscribe(filter, &key);
        }
        self.count(&router);
        true
    }

    /// Queues a message for every session that wants `topic`, and for one of each group that shares a subscription. The
    /// message is made only if there is one. How many wanted it.
    pub(crate) fn publish(&self, topic: String, make: impl FnOnce(String) -> Message) -> usize {
        let wanted = self.wanted(&topic);
        if wanted.is_empty() {
            return 0;
        }
        self.send(wanted, &Arc::new(make(topic)))
    }

    /// The same of a message that is made already.
    pub(crate) fn forward(&self, message: &Arc<Message>) -> usize {
        self.send(self.wanted(&message.topic), message)
    }

    fn wanted(&self, topic: &str) -> Vec<(Key, Options)> {
        if self.subscriptions.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        self.router.read().unwrap_or_else(PoisonError::into_inner).matches(topic)
    }

    fn send(&self, wanted: Vec<(Key, Options)>, message: &Arc<Message>) -> usize {
        if wanted.is_empty() {
            return 0;
        }
        let targets = self.targets(wanted, message.from);
        let count = targets.len();
        for (session, wish) in targets {
            self.counted(session.push(wish.delivery(message)));
        }
        count
    }

    /// The sessions that get a message of `from`, each once, and one of each group.
    fn targets(&self, wanted: Vec<(Key, Options)>, from: Option<SessionId>) -> Vec<(Arc<Session>, Wish)> {
        let mut own: BTreeMap<SessionId, Wish> = BTreeMap::new();
        let mut groups: BTreeMap<Arc<str>, Vec<(SessionId, Options)>> = BTreeMap::new();
        for (key, options) in wanted {
            match key {
                Key::Own(id) if options.no_local && from == Some(id) => {}
                Key::Own(id) => match own.entry(id) {
                    std::collections::btree_map::Entry::Occupied(mut at) => {
                        at.get_mut().join(Wish::of(&options));
                    }
                    std::collections::btree_map::Entry::Vacant(at) => drop(at.insert(Wish::of(&options))),
                },
                Key::Shared(group, id) => groups.entry(group).or_default().push((id, options)),
            }
        }
        let sessions = lock(&self.sessions);
        let find = |id: &SessionId| sessions.by_id.get(id).cloned();
        let mut targets: Vec<_> = own.into_iter().filter_map(|(id, wish)| Some((find(&id)?, wish))).collect();
        for members in groups.into_values() {
            let members: Vec<_> =
                members.iter().filter_map(|(id, o)| Some((find(id)?, Wish::of(o)))).collect();
            targets.extend(self.pick(members));
        }
        targets
    }

    /// The member of a group that has the least to do; of several, the one that was not asked for longest. One that is
    /// not connected only if none is.
    fn pick(&self, mut members: Vec<(Arc<Session>, Wish)>) -> Option<(Arc<Session>, Wish)> {
        let best = (0..members.len()).min_by_key(|i| members.get(*i).map(|(session, _)| session.load()))?;
        let picked = members.swap_remove(best);
        picked.0.serve(self.turn.fetch_add(1, Ordering::Relaxed));
        Some(picked)
    }

    /// Keeps a message for those who subscribe later, or forgets the topic's last one; false if there is no room.
    pub(crate) fn retain(&self, message: &Arc<Message>) -> bool {
        if !self.retained.keep(message) {
            return false;
        }
        if message.payload.is_empty() {
            self.note_not_retained(message.topic.clone());
        } else if let Some(log) = self.log.as_ref().filter(|_| !message.topic.starts_with('$')) {
            log.note(Change::Retained { message: Arc::clone(message) });
        }
        self.counters.retained_now.set(self.retained.len());
        true
    }

    /// Waits until everything that was queued, kept or subscribed to is durable, as far as it is to be.
    pub(crate) async fn flush(&self) {
        if let Some(log) = &self.log {
            log.flush().await;
        }
    }

    /// Whether it is, without waiting.
    pub(crate) fn is_flushed(&self) -> bool {
        self.log.as_ref().is_none_or(|log| log.is_flushed())
    }
}

/// Notes that a connection has a session, and its will.
fn note_session(session: &Session, state: &mut State, will: Option<Arc<KeptWill>>) {
    let expiry = state.expiry;
    session.note(state, |client| Change::Session { client, expiry, ends_at: None });
    session.keep_will(state, will, None);
}

/// What the router knows a subscription by: its key, and the filter without the group that shares it.
fn key_of(asked: &str, session: SessionId) -> Option<(Key, &str)> {
    match topic::shared(asked) {
        None => Some((Key::Own(session), asked)),
        Some((_, "")) => None,
        // `asked` names group and filter.
        Some((_, filter)) => Some((Key::Shared(asked.into(), session), filter)),
    }
}
