//! What happens to messages, as it happens: for live streams to people and programs.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use w3bstream_types::{EventType, MessageId, ProjectName, StateChange};

/// One message has come one step further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveChange {
    /// The project that the message was sent to.
    pub project: ProjectName,
    /// The message.
    pub id: MessageId,
    /// Who sent it: a device's DID, or `publisher:` and a name.
    pub source: String,
    /// Its event type.
    pub event_type: EventType,
    /// The step.
    pub change: StateChange,
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A change.
    Change(Arc<LiveChange>),
    /// The listener was too slow: so many changes are gone that it has not heard. Ask for the messages themselves.
    Missed(u64),
}

/// Which changes a listener wants. What is `None` is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedFilter {
    /// Of this project only.
    pub project: Option<ProjectName>,
    /// From this sender only, as [`LiveChange::source`] has it.
    pub source: Option<String>,
    /// Of this event type only.
    pub event_type: Option<EventType>,
    /// Of this message only.
    pub id: Option<MessageId>,
}

impl FeedFilter {
    /// Whether a change is wanted.
    #[must_use]
    pub fn wants(&self, change: &LiveChange) -> bool {
        self.project.as_ref().is_none_or(|p| *p == change.project)
            && self.source.as_ref().is_none_or(|s| *s == change.source)
            && self.event_type.as_ref().is_none_or(|t| *t == change.event_type)
            && self.id.is_none_or(|id| id == change.id)
    }
}

/// Live changes: the node tells, endpoints listen. Clones are the same feed.
///
/// It keeps the last changes in memory and waits for nobody: a listener that falls behind is told how many it has
/// missed. It is no record; [`Query`](crate::Query) is asked for what has been.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    capacity: usize,
    /// To look without the lock whether telling is worth the work.
    listeners: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of the oldest change that is kept.
    first: u64,
    changes: VecDeque<Arc<LiveChange>>,
    /// Who waits, by the listener's number: one place each, which goes with it.
    waiting: HashMap<u64, Waker>,
    next_listener: u64,
    closed: bool,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Feed({} listen)", self.listeners())
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self::new(4096)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the data whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&self) -> u64 {
        self.first + self.changes.len() as u64
    }
}

impl Feed {
    /// A feed that keeps the last `capacity` changes; at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let (listeners, state) = (AtomicUsize::new(0), Mutex::default());
        Self(Arc::new(Inner { capacity: capacity.max(1), listeners, state }))
    }

    /// How many listen.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.0.listeners.load(Ordering::Relaxed)
    }

    /// Tells a change, which is made only if somebody listens.
    pub fn tell(&self, make: impl FnOnce() -> LiveChange) {
        if self.listeners() == 0 {
            return;
        }
        let change = Arc::new(make());
        let wakers = {
            let mut state = self.0.lock();
            if state.changes.len() >= self.0.capacity {
                state.changes.pop_front();
                state.first += 1;
            }
            state.changes.push_back(change);
            std::mem::take(&mut state.waiting)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    /// Ends every listener once it has heard what there is. Nothing more is told.
    pub fn close(&self) {
        let wakers = {
            let mut state = self.0.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    /// Listens from now on.
    #[must_use]
    pub fn listen(&self, filter: FeedFilter) -> Listener {
        let mut state = self.0.lock();
        let (at, number) = (state.next(), state.next_listener);
        state.next_listener += 1;
        self.0.listeners.fetch_add(1, Ordering::Relaxed);
        drop(state);
        Listener { inner: Arc::clone(&self.0), filter, at, number }
    }
}

/// Hears what a [`Feed`] tells. Dropped, it listens no more.
pub struct Listener {
    inner: Arc<Inner>,
    filter: FeedFilter,
    /// The number of the change that it hears next.
    at: u64,
    /// Its own number.
    number: u64,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("filter", &self.filter).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.waiting.remove(&self.number);
        let left = self.inner.listeners.fetch_sub(1, Ordering::Relaxed) - 1;
        if left == 0 {
            // Nobody can ask for them any more.
            state.first = state.next();
            state.changes.clear();
        }
    }
}

impl Listener {
    /// The next change that is wanted; `None` once the feed was closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Heard> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same for hand-written futures.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Heard>> {
        let mut state = self.inner.lock();
        if self.at < state.first {
            let missed = state.first - self.at;
            self.at = state.first;
            return Poll::Ready(Some(Heard::Missed(missed)));
        }
        let start = usize::try_from(self.at - state.first).unwrap_or(usize::MAX);
        for change in state.changes.iter().skip(start) {
            self.at += 1;
            if self.filter.wants(change) {
                return Poll::Ready(Some(Heard::Change(Arc::clone(change))));
            }
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waiting.insert(self.number, cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use w3bstream_types::{MessageState, Timestamp};

    use super::*;

    fn change(n: u8, project: &str) -> LiveChange {
        LiveChange {
            project: project.parse().unwrap(),
            id: MessageId::of_signing_input(&[n]),
            source: format!("publisher:{n}"),
            event_type: "t".parse().unwrap(),
            change: StateChange {
                state: MessageState::Stored,
                time: Timestamp(n.into()),
                reason: String::new(),
            },
        }
    }

    fn number(heard: Option<Heard>) -> u64 {
        match heard {
            Some(Heard::Change(change)) => change.change.time.0,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_listener_hears_what_it_wants_from_when_it_began() {
        let feed = Feed::new(8);
        feed.tell(|| panic!("nobody listens, so nothing is made"));
        let mut all = feed.listen(FeedFilter::default());
        let mut one =
            feed.listen(FeedFilter { project: Some("b".parse().unwrap()), ..FeedFilter::default() });
        feed.tell(|| change(1, "a"));
        feed.tell(|| change(2, "b"));
        assert_eq!(number(pollster::block_on(all.next())), 1);
        assert_eq!(number(pollster::block_on(all.next())), 2);
        assert_eq!(number(pollster::block_on(one.next())), 2);
        feed.close();
        assert_eq!(pollster::block_on(all.next()), None);
    }

    #[test]
    fn a_slow_listener_is_told_how_many_it_missed() {
        let feed = Feed::new(4);
        let mut slow = feed.listen(FeedFilter::default());
        (0..10).for_each(|n| feed.tell(|| change(n, "a")));
        assert_eq!(pollster::block_on(slow.next()), Some(Heard::Missed(6)));
        assert_eq!(number(pollster::block_on(slow.next())), 6);
    }

    #[test]
    fn a_waiting_listener_is_woken() {
        let feed = Feed::new(4);
        let mut listener = feed.listen(FeedFilter::default());
        let waits = std::thread::spawn(move || number(pollster::block_on(listener.next())));
        while feed.0.lock().waiting.is_empty() {
            std::thread::yield_now();
        }
        feed.tell(|| change(7, "a"));
        assert_eq!(waits.join().unwrap(), 7);
        assert_eq!(feed.listeners(), 0);
        assert!(feed.0.lock().changes.is_empty(), "what nobody hears is not kept");
    }

    #[test]
    fn a_listener_that_goes_is_waited_for_no_more() {
        let feed = Feed::new(4);
        let stays = feed.listen(FeedFilter::default());
        for _ in 0..100 {
            let mut goes = feed.listen(FeedFilter::default());
            let polled = pollster::block_on(poll_fn(|cx| {
                let first = goes.poll_next(cx).is_pending();
                Poll::Ready(first && goes.poll_next(cx).is_pending())
            }));
            assert!(polled);
        }
        assert!(feed.0.lock().waiting.is_empty(), "on a quiet node, who comes and goes takes no memory");
        assert_eq!(feed.listeners(), 1);
        drop(stays);
    }

    #[test]
    fn every_part_of_a_filter_counts() {
        let it = change(1, "a");
        let exact = FeedFilter {
            project: Some(it.project.clone()),
            source: Some(it.source.clone()),
            event_type: Some(it.event_type.clone()),
            id: Some(it.id),
        };
        assert!(exact.wants(&it));
        let other = change(2, "b");
        for wrong in [
            FeedFilter { project: Some(other.project), ..exact.clone() },
            FeedFilter { source: Some(other.source), ..exact.clone() },
            FeedFilter { event_type: Some("u".parse().unwrap()), ..exact.clone() },
            FeedFilter { id: Some(other.id), ..exact.clone() },
        ] {
            assert!(!wrong.wants(&it), "{wrong:?}");
        }
    }
}
