//! Which sessions want a topic: a tree of topic levels.

use std::collections::HashMap;
use std::hash::Hash;

use crate::message::Options;

/// Subscriptions of sessions that are known by a `K`. Filters must be well-formed; their depth is bounded by
/// [`crate::topic::is_filter`], so recursion is too.
#[derive(Debug)]
pub(crate) struct Router<K> {
    root: Node<K>,
    len: usize,
}

#[derive(Debug)]
struct Node<K> {
    children: HashMap<Box<str>, Node<K>>,
    /// Subscriptions that end here.
    here: HashMap<K, Options>,
    /// Subscriptions with `#` below here.
    all_below: HashMap<K, Options>,
}

impl<K> Default for Node<K> {
    fn default() -> Self {
        Self { children: HashMap::new(), here: HashMap::new(), all_below: HashMap::new() }
    }
}

impl<K> Node<K> {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.here.is_empty() && self.all_below.is_empty()
    }
}

impl<K> Default for Router<K> {
    fn default() -> Self {
        Self { root: Node::default(), len: 0 }
    }
}

impl<K: Clone + Eq + Hash> Router<K> {
    /// The number of subscriptions.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Adds or replaces a subscription; true if it is new.
    pub(crate) fn subscribe(&mut self, filter: &str, key: K, options: Options) -> bool {
        let (path, all) = split(filter);
        let mut node = &mut self.root;
        for level in path {
            node = node.children.entry(level.into()).or_default();
        }
        let place = if all { &mut node.all_below } else { &mut node.here };
        let new = place.insert(key, options).is_none();
        self.len += usize::from(new);
        new
    }

    /// Takes a subscription away; false if there was none.
    pub(crate) fn unsubscribe(&mut self, filter: &str, key: &K) -> bool {
        let (path, all) = split(filter);
        let levels: Vec<&str> = path.collect();
        let found = remove(&mut self.root, &levels, all, key);
        if found {
            self.len -= 1;
        }
        found
    }

    /// The subscriptions that want `topic`: a key comes as often as it has filters that match.
    pub(crate) fn matches(&self, topic: &str) -> Vec<(K, Options)> {
        let mut out = Vec::new();
        if self.len > 0 {
            let levels: Vec<&str> = topic.split('/').collect();
            collect(&self.root, &levels, !topic.starts_with('$'), &mut out);
        }
        out
    }
}

fn split(filter: &str) -> (impl Iterator<Item = &str>, bool) {
    let (path, all) = match filter.strip_suffix('#') {
        Some("") => (None, true),
        Some(path) => (path.strip_suffix('/'), true),
        None => (Some(filter), false),
    };
    (path.into_iter().flat_map(|p| p.split('/')), all)
}

fn remove<K: Eq + Hash>(node: &mut Node<K>, levels: &[&str], all: bool, key: &K) -> bool {
    let Some((level, rest)) = levels.split_first() else {
        return if all { node.all_below.remove(key) } else { node.here.remove(key) }.is_some();
    };
    let Some(child) = node.children.get_mut(*level) else { return false };
    let found = remove(child, rest, all, key);
    if child.is_empty() {
        node.children.remove(*level);
    }
    found
}

fn collect<K: Clone + Eq + Hash>(node: &Node<K>, levels: &[&str], wild: bool, out: &mut Vec<(K, Options)>) {
    let mut add = |from: &HashMap<K, Options>| out.extend(from.iter().map(|(k, o)| (k.clone(), *o)));
    // `a/#` also means `a`. A wildcard does not mean a first level that begins with '$'.
    if wild {
        add(&node.all_below);
    }
    let Some((level, rest)) = levels.split_first() else {
        add(&node.here);
        return;
    };
    if let Some(child) = node.children.get(*level) {
        collect(child, rest, true, out);
    }
    if wild && let Some(child) = node.children.get("+") {
        collect(child, rest, true, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Qos;

    /// The standard's rules, written as slowly and plainly as possible.
    fn wants(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            (["+", f @ ..], [_, t @ ..]) => wants(f, t),
            ([a, f @ ..], [b, t @ ..]) => a == b && wants(f, t),
            _ => false,
        }
    }

    fn plain(filter: &str, topic: &str) -> bool {
        let hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
        let (f, t): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
        !hidden && wants(&f, &t)
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("+"), Just("$x")];
        (proptest::collection::vec(level, 0..5), any::<bool>()).prop_map(|(mut levels, all)| {
            if all || levels.is_empty() {
                levels.push("#");
            }
            levels.join("/")
        })
    }

    proptest! {
        #[test]
        fn the_tree_agrees_with_the_rules(
            filters in proptest::collection::vec(filter(), 1..12),
            topic in proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just(""), Just("$x")], 1..5),
            gone in 0..12_usize,
        ) {
            let topic = topic.join("/");
            let mut router = Router::default();
            for (key, filter) in filters.iter().enumerate() {
                router.subscribe(filter, key, Options::plain(Qos::AtLeastOnce));
            }
            if let Some(filter) = filters.get(gone) {
                prop_assert!(router.unsubscribe(filter, &gone));
                prop_assert!(!router.unsubscribe(filter, &gone));
            }
            let found = router.matches(&topic);
            for (key, filter) in filters.iter().enumerate() {
                let expected = key != gone && plain(filter, &topic);
                prop_assert_eq!(found.iter().any(|(k, _)| *k == key), expected, "{} and {}", filter, topic);
            }
            for (key, filter) in filters.iter().enumerate() {
                router.unsubscribe(filter, &key);
            }
            prop_assert!(router.root.is_empty(), "nothing is left of taken back subscriptions");
            prop_assert_eq!(router.len(), 0);
        }
    }

    #[test]
    fn every_filter_that_matches_is_told_and_the_same_filter_replaces() {
        let mut router = Router::default();
        assert!(router.subscribe("a/#", 1, Options::plain(Qos::AtMostOnce)));
        assert!(router.subscribe("a/b", 1, Options::plain(Qos::AtLeastOnce)));
        assert_eq!(router.matches("a/b").len(), 2);
        assert!(!router.subscribe("a/b", 1, Options::plain(Qos::ExactlyOnce)), "it was there");
        assert_eq!(router.len(), 2);
        let best = router.matches("a/b").into_iter().map(|(_, o)| o.qos).max();
        assert_eq!(best, Some(Qos::ExactlyOnce));
    }
}
