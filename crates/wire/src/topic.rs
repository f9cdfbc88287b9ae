//! MQTT topics of devices, wherever the broker is.

use w3bstream_types::{EventType, ProjectName};

/// What a device publishes to: `w3b/{project}/{type}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// The project.
    pub project: ProjectName,
    /// The event type.
    pub event_type: EventType,
}

/// Why a topic is none that devices publish to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoIngress {
    /// The node writes there: `w3b/{project}/ack/…`, `…/refused/…`, `…/cmd/…`.
    Reserved,
    /// It is another topic.
    Unknown,
}

impl NoIngress {
    /// The reason in words.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Reserved => "only the node publishes to this topic",
            Self::Unknown => "devices publish to w3b/{project}/{type}, with a-z, 0-9 and '-' in both names",
        }
    }
}

impl Ingress {
    /// Reads a topic.
    ///
    /// # Errors
    /// [`NoIngress`] if devices do not publish there.
    pub fn parse(topic: &str) -> Result<Self, NoIngress> {
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
#[must_use]
pub fn device_topic(project: &ProjectName, what: &str, sender: &str) -> String {
    format!("w3b/{project}/{what}/{sender}")
}

/// True if the text may be a level of a topic.
#[must_use]
pub fn is_level(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && !text.contains(['/', '+', '#', '\0'])
}
