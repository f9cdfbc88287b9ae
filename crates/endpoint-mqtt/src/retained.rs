//! Retained messages: the last one of each topic, for those who subscribe later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use w3bstream_endpoint::covers;

use crate::message::Message;
use crate::session::lock;

/// The last message of each topic whose publisher asked for it to be kept.
#[derive(Debug)]
pub(crate) struct Retained {
    most: usize,
    most_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_topic: BTreeMap<String, Arc<Message>>,
    bytes: usize,
}

impl Kept {
    fn remove(&mut self, topic: &str) {
        let old = self.by_topic.remove(topic);
        self.bytes -= old.map_or(0, |m| m.bytes());
    }
}

impl Retained {
    pub(crate) fn new(most: usize, most_bytes: usize) -> Self {
        Self { most, most_bytes, kept: Mutex::default() }
    }

    /// Keeps a message instead of the topic's last one; without a payload none is kept. False if there is no room: then the
    /// last one stays.
    pub(crate) fn keep(&self, message: &Arc<Message>) -> bool {
        let mut kept = lock(&self.kept);
        if message.payload.is_empty() {
            kept.remove(&message.topic);
            return true;
        }
        let (count, bytes) = (kept.by_topic.len(), kept.bytes);
        let old = kept.by_topic.get(&message.topic).map(|m| m.bytes());
        let fits = bytes - old.unwrap_or(0) + message.bytes() <= self.most_bytes;
        if !fits || (old.is_none() && count >= self.most) {
            return false;
        }
        kept.remove(&message.topic);
        kept.bytes += message.bytes();
        kept.by_topic.insert(message.topic.clone(), Arc::clone(message));
        true
    }

    /// The messages that a filter matches and that are not too old.
    pub(crate) fn matching(&self, filter: &str, now: u64) -> Vec<Arc<Message>> {
        let kept = lock(&self.kept);
        let wanted = |m: &&Arc<Message>| !m.is_over(now) && covers(filter, &m.topic);
        kept.by_topic.values().filter(wanted).cloned().collect()
    }

    /// Forgets messages that are too old; their topics.
    pub(crate) fn sweep(&self, now: u64) -> Vec<String> {
        let mut kept = lock(&self.kept);
        let over: Vec<String> =
            kept.by_topic.iter().filter(|(_, m)| m.is_over(now)).map(|(t, _)| t.clone()).collect();
        for topic in &over {
            kept.remove(topic);
        }
        over
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.kept).by_topic.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, payload: &'static str, expires_at: Option<u64>) -> Arc<Message> {
        let node = Message::of_node(topic.to_owned(), payload.into(), None);
        Arc::new(Message { expires_at, ..node })
    }

    fn topics(retained: &Retained, filter: &str, now: u64) -> Vec<String> {
        retained.matching(filter, now).iter().map(|m| m.topic.clone()).collect()
    }

    #[test]
    fn the_last_message_of_a_topic_is_kept_until_an_empty_one() {
        let retained = Retained::new(2, 100);
        assert!(retained.keep(&message("a/b", "1", None)));
        assert!(retained.keep(&message("a/b", "2", None)));
        assert!(retained.keep(&message("a/c", "3", None)));
        assert!(!retained.keep(&message("a/d", "4", None)), "two topics at most");
        assert!(retained.keep(&message("a/c", "5", None)), "a topic that is kept may change");
        assert_eq!(topics(&retained, "a/+", 0), ["a/b", "a/c"]);
        assert!(retained.keep(&message("a/b", "", None)));
        assert_eq!(topics(&retained, "#", 0), ["a/c"]);
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let retained = Retained::new(10, 10);
        assert!(retained.keep(&message("t", "123456789", None)));
        assert!(!retained.keep(&message("u", "1", None)));
        assert!(retained.keep(&message("t", "12", None)));
        assert!(retained.keep(&message("u", "123456", None)));
    }

    #[test]
    fn what_is_too_old_is_not_sent_and_goes() {
        let retained = Retained::new(10, 100);
        assert!(retained.keep(&message("t", "x", Some(5))));
        assert_eq!(topics(&retained, "#", 4).len(), 1);
        assert!(topics(&retained, "#", 5).is_empty());
        assert_eq!(retained.sweep(5), ["t"]);
        assert_eq!(retained.len(), 0);
    }
}
