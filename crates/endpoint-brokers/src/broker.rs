//! One broker: what the rest of the endpoint sees of it, and its life from one connection to the next.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use w3bstream_limits::Counter;
use w3bstream_types::Timestamp;

use crate::config::BrokerConfig;
use crate::link;
use crate::metrics::{BrokerStatus, Counters};
use crate::packet::Message;
use crate::session::End;
use crate::shared::{Phase, Shared, lock};

/// A message that waits to be sent to a broker.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) message: Message,
    /// Hears of the broker's acknowledgement; dropped if the connection ends before.
    pub(crate) done: Option<oneshot::Sender<Result<(), String>>>,
}

/// One broker.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) config: BrokerConfig,
    pub(crate) counters: Counters,
    /// Messages of this broker that wait for the node's answer.
    pub(crate) in_flight: Counter,
    /// Wakes the connection.
    pub(crate) wake: Arc<Notify>,
    max_queued: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    connected: bool,
    since: Timestamp,
    last_error: Option<String>,
    /// A session was granted before, so the broker should have it.
    had_session: bool,
    queue: VecDeque<Outgoing>,
}

impl Broker {
    pub(crate) fn new(config: BrokerConfig, max_queued: usize, now: Timestamp) -> Self {
        let state = State {
            connected: false,
            since: now,
            last_error: None,
            had_session: false,
            queue: VecDeque::new(),
        };
        Self {
            config,
            counters: Counters::default(),
            in_flight: Counter::default(),
            wake: Arc::default(),
            max_queued,
            state: Mutex::new(state),
        }
    }

    pub(crate) fn status(&self) -> BrokerStatus {
        let state = lock(&self.state);
        BrokerStatus {
            name: self.config.name.clone(),
            url: self.config.url.clone(),
            connected: state.connected,
            since: state.since,
            last_error: state.last_error.clone(),
            in_flight: self.in_flight.get(),
            metrics: self.counters.snapshot(),
        }
    }

    /// Puts a message into the queue; false if it is full or the broker away.
    pub(crate) fn queue(&self, outgoing: Outgoing) -> bool {
        let mut state = lock(&self.state);
        let room = state.connected && state.queue.len() < self.max_queued;
        if room {
            state.queue.push_back(outgoing);
            self.wake.notify_one();
        }
        room
    }

    pub(crate) fn unqueue(&self) -> Option<Outgoing> {
        lock(&self.state).queue.pop_front()
    }

    /// The broker has granted the connection.
    pub(crate) fn granted(&self, session_present: bool) {
        self.counters.connects.add(1);
        let lost = {
            let mut state = lock(&self.state);
            std::mem::replace(&mut state.had_session, true) && !session_present
        };
        if lost {
            self.counters.sessions_lost.add(1);
            tracing::warn!(
                broker = %self.config.name,
                "the broker has forgotten this node's session; what waited in it is lost: look at its persistence and session expiry"
            );
        }
    }

    /// Every subscription was granted.
    pub(crate) fn online(&self, now: Timestamp) {
        let mut state = lock(&self.state);
        if !std::mem::replace(&mut state.connected, true) {
            state.since = now;
            tracing::info!(broker = %self.config.name, "connected to the broker");
        }
    }

    fn offline(&self, now: Timestamp, why: Option<String>) {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.connected, false) {
            state.since = now;
        }
        if why.is_some() && state.last_error != why {
            tracing::warn!(broker = %self.config.name, why, "no connection to the broker");
            state.last_error = why;
        }
        // Those who wait hear that nobody will acknowledge; they may come again.
        state.queue.clear();
    }
}

/// Connects, serves the connection, and connects again, until the endpoint stops.
pub(crate) async fn live(broker: Arc<Broker>, shared: Arc<Shared>) {
    let mut phase = shared.phase.subscribe();
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let end = link::connection(&broker, &shared, &mut phase).await;
        let now = shared.clock.now();
        match end {
            End::Closing => return broker.offline(now, None),
            End::Transient(why) => {
                broker.counters.ended_transient.add(1);
                let what = format!("the node could not take a message, so the broker sends it again: {why}");
                broker.offline(now, Some(what));
            }
            End::Fault(why) | End::Gone(why) => broker.offline(now, Some(why)),
        }
        // A connection that has lasted was no failure.
        let lasted = began.elapsed() > shared.config.max_backoff;
        failures = if lasted { 0 } else { failures + 1 };
        let pause = backoff(&shared, &broker.config, failures);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = reached(&mut phase, Phase::Stopping) => return,
        }
    }
}

/// Resolves when the endpoint has come so far.
pub(crate) async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // Without a sender there is no endpoint any more.
    let _ = phase.wait_for(|now| *now >= wanted).await;
}

/// Doubles with each failure up to the longest; of that, between a half and all, differently for each node, so that
/// nodes that were cut off together do not come back together.
fn backoff(shared: &Shared, broker: &BrokerConfig, failures: u32) -> Duration {
    let (min, max) = (shared.config.min_backoff, shared.config.max_backoff);
    let full = min.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max);
    let mut hasher = DefaultHasher::new();
    (&broker.client_id, &broker.name, failures, shared.clock.now().millis()).hash(&mut hasher);
    let part = u32::try_from(hasher.finish() % 1000).unwrap_or(0);
    full / 2 + full / 2 * part / 1000
}

#[cfg(test)]
mod tests {
    use w3bstream_types::{ManualClock, Timestamp};

    use super::*;
    use crate::BrokersConfig;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let (shared, _arrivals) =
            Shared::new(BrokersConfig::default(), Arc::new(ManualClock::new(Timestamp(7))));
        let pause = |id: &str, failures| {
            backoff(&shared, &BrokerConfig::new("b", "mqtt://b", id), failures).as_millis()
        };
        for (failures, full) in [(1, 500), (2, 1000), (5, 8000), (8, 60_000), (u32::MAX, 60_000)] {
            let pause = pause("node-1", failures);
            assert!((full / 2..=full).contains(&pause), "{failures}: {pause}");
        }
        let first: std::collections::BTreeSet<_> = (0..20).map(|n| pause(&format!("node-{n}"), 1)).collect();
        assert!(first.len() > 10, "{first:?}");
    }
}
