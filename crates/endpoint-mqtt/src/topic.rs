//! Topics and filters: which are well-formed, and which are ours.

use w3bstream_types::{EventType, ProjectName};

/// Levels of a topic or filter. Ours have four at most; a filter with thousands of levels is an attack.
const MAX_LEVELS: usize = 16;
/// Bytes of a topic or filter.
const MAX_BYTES: usize = 1024;

/// What a device publishes to: `w3b/{project}/{type}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ingress {
    pub(crate) project: ProjectName,
    pub(crate) event_type: EventType,
}

/// Why a device may not publish to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoIngress {
    /// The node writes there: `w3b/{project}/ack/…`, `…/refused/…`, `…/cmd/…`.
    Reserved,
    /// It is no topic of this broker.
    Unknown,
}

impl NoIngress {
    pub(crate) const fn why(self) -> &'static str {
        match self {
            Self::Reserved => "only the node publishes to this topic",
            Self::Unknown => "devices publish to w3b/{project}/{type}, with a-z, 0-9 and '-' in both names",
        }
    }
}

impl Ingress {
    pub(crate) fn parse(topic: &str) -> Result<Self, NoIngress> {
        let mut levels = topic.split('/');
        let (Some("w3b"), Some(project), Some(third)) = (levels.next(), levels.next(), levels.next()) else {
            return Err(NoIngress::Unknown);
        };
        if levels.next().is_some() {
            let reserved = matches!(third, "ack" | "refused" | "cmd");
            return Err(if reserved { NoIngress::Reserved } else { NoIngress::Unknown });
        }
        match (project.parse(), third.parse()) {
            (Ok(project), Ok(event_type)) => Ok(Self { project, event_type }),
            _ => Err(NoIngress::Unknown),
        }
    }
}

/// Where the node tells `sender` something: `what` is `ack` or `refused`, `sender` a device's DID, or the client
/// id of a connection whose bytes named no device.
pub(crate) fn device_topic(project: &ProjectName, what: &str, sender: &str) -> String {
    format!("w3b/{project}/{what}/{sender}")
}

/// True if the text may be a level of a topic.
pub(crate) fn is_level(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && !text.contains(['/', '+', '#', '\0'])
}

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
    fn devices_publish_to_project_and_type_only() {
        let ok = Ingress::parse("w3b/cold-chain/reading").unwrap();
        assert_eq!((ok.project.as_str(), ok.event_type.as_str()), ("cold-chain", "reading"));
        // A type may be called like a reserved word: it has no fourth level.
        assert!(Ingress::parse("w3b/p/ack").is_ok());
        for reserved in ["w3b/p/ack/did:key:z", "w3b/p/refused/d", "w3b/p/cmd/d", "w3b/p/cmd/d/e"] {
            assert_eq!(Ingress::parse(reserved), Err(NoIngress::Reserved), "{reserved}");
        }
        for unknown in
            ["", "w3b", "w3b/p", "w3b/p/t/x", "W3B/p/t", "w3b/P/t", "w3b/p/t_x", "w3b//t", "a/b/c", "$SYS/x"]
        {
            assert_eq!(Ingress::parse(unknown), Err(NoIngress::Unknown), "{unknown}");
        }
    }

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
