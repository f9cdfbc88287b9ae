//! Topics and filters: which are well-formed, and which are ours.

pub(crate) use w3bstream_wire::{Ingress, NoIngress, device_topic, is_level};

/// Levels of a topic or filter. Ours have four at most; a filter with thousands of levels is an attack.
const MAX_LEVELS: usize = 16;
/// Bytes of a topic or filter.
const MAX_BYTES: usize = 1024;

/// True for a topic name: no wildcards, no U+0000, not empty, not too long.
pub(crate) fn is_topic(topic: &str) -> bool {
    !topic.contains(['+', '#']) && is_text(topic)
}

/// Group and filter of a shared subscription, `$share/{group}/{filter}`; the filter is empty if it is not well-formed.
/// `None` if it is no shared subscription.
pub(crate) fn shared(filter: &str) -> Option<(&str, &str)> {
    let (group, filter) = filter.strip_prefix("$share/")?.split_once('/').unwrap_or_default();
    let good = !group.is_empty() && !group.contains(['+', '#']) && is_filter(filter);
    Some((group, if good { filter } else { "" }))
}

/// True for a topic filter: `+` alone in its level, `#` alone in the last.
pub(crate) fn is_filter(filter: &str) -> bool {
    if !is_text(filter) {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        let wild = level.contains(['+', '#']);
        if wild && !(level == "+" || (level == "#" && last)) {
            return false;
        }
    }
    true
}

fn is_text(topic: &str) -> bool {
    !topic.is_empty()
        && topic.len() <= MAX_BYTES
        && !topic.contains('\0')
        && topic.bytes().filter(|b| *b == b'/').count() < MAX_LEVELS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_subscription_names_group_and_filter() {
        assert_eq!(shared("a/#"), None);
        assert_eq!(shared("$share/g/a/#"), Some(("g", "a/#")));
        for bad in
            ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a", "$share/g/a#"]
        {
            assert_eq!(shared(bad).unwrap().1, "", "{bad}");
        }
    }

    #[test]
    fn filters_follow_the_standard() {
        for good in ["#", "+", "a/#", "+/b/#", "a//b", "/", "w3b/+/cmd/did:key:z6", "$SYS/#"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "a/#/b", "a#", "#a", "a+/b", "+a", "a\0b"] {
            assert!(!is_filter(bad), "{bad:?}");
        }
        assert!(!is_filter(&"/".repeat(65_535)), "as many levels as MQTT can write");
        assert!(is_filter(&"a/".repeat(MAX_LEVELS - 1)));
        assert!(!is_filter(&"a/".repeat(MAX_LEVELS)));
        assert!(!is_topic("a/+") && !is_topic("a/#") && !is_topic("") && is_topic("a/b"));
    }
}
