//! Names and identifiers.

use std::fmt;
use std::str::FromStr;

use crate::text::text_serde;
use crate::{Canonical as _, Did, Digest, Malformed, TriggerHeader};

/// Checks the alphabet shared by project names, event types, applet names and publishers.
fn check_label(what: &'static str, s: &str) -> Result<(), Malformed> {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if s.is_empty() || s.len() > 63 {
        return Err(Malformed::new(what, format!("must have 1 to 63 characters, has {}", s.len())));
    }
    if let Some(c) = s.chars().find(|c| !c.is_ascii() || !known(*c as u8)) {
        return Err(Malformed::new(what, format!("may have only a-z, 0-9 and '-', has {c:?}")));
    }
    Ok(())
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(s: &str) -> Result<Self, Malformed> {
                check_label($what, s)?;
                Ok(Self(s.into()))
            }
        }

        text_serde!($name);
    };
}

label!(
    /// A project's name in paths and topics: `[a-z0-9-]{1,63}`, unique per node.
    ProjectName,
    "project name"
);
label!(
    /// An event type: `[a-z0-9-]{1,63}`. Routes match it; `default` catches what no route names.
    EventType,
    "event type"
);
label!(
    /// An applet's name inside its project: `[a-z0-9-]{1,63}`.
    AppletName,
    "applet name"
);
label!(
    /// A token publisher's name inside its project: `[a-z0-9-]{1,63}`.
    PublisherName,
    "publisher name"
);
label!(
    /// A settlement's name inside its project: `[a-z0-9-]{1,63}`.
    SettlementName,
    "settlement name"
);
label!(
    /// The name of an account from which a project sends transactions: `[a-z0-9-]{1,63}`.
    OperatorName,
    "operator name"
);
label!(
    /// A trigger's name inside its project: `[a-z0-9-]{1,63}`.
    TriggerName,
    "trigger name"
);

macro_rules! digest_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Digest);

        impl $name {
            /// The digest that this id is.
            #[must_use]
            pub const fn digest(&self) -> &Digest {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(s: &str) -> Result<Self, Malformed> {
                s.parse().map(Self)
            }
        }

        text_serde!($name);
    };
}

digest_id!(
    /// A project: H(owner DID ‖ name). Also the audience that a device signs and the subnet's id.
    ProjectId
);
digest_id!(
    /// A device message: H(signing input), without the signature, so that two valid signatures over the
    /// same input (ECDSA is malleable) are one message.
    MessageId
);

impl ProjectId {
    /// The id of the project `name` owned by `owner`.
    #[must_use]
    pub fn new(owner: &Did, name: &ProjectName) -> Self {
        Self(Digest::tagged("w3b/project/1", &[owner.as_str().as_bytes(), name.as_str().as_bytes()]))
    }
}

impl MessageId {
    /// The id of a message with these signed bytes.
    #[must_use]
    pub fn of_signing_input(signing_input: &[u8]) -> Self {
        Self(Digest::tagged("w3b/message/1", &[signing_input]))
    }

    /// The id of a trigger's message.
    #[must_use]
    pub fn of_trigger(header: &TriggerHeader) -> Self {
        Self(Digest::tagged("w3b/trigger-message/1", &[&header.to_canonical()]))
    }

    /// The id of a message that carries a token instead of a signature.
    #[must_use]
    pub fn of_token_event(project: &ProjectId, publisher: &PublisherName, event_id: &str) -> Self {
        let parts = [&project.0.as_bytes()[..], publisher.as_str().as_bytes(), event_id.as_bytes()];
        Self(Digest::tagged("w3b/token-message/1", &parts))
    }

    /// The id of a message that came in a device's session.
    #[must_use]
    pub fn of_session_event(project: &ProjectId, device: &Did, event_id: &str) -> Self {
        let parts = [&project.0.as_bytes()[..], device.as_str().as_bytes(), event_id.as_bytes()];
        Self(Digest::tagged("w3b/session-message/1", &parts))
    }
}

/// Who a message is from: a device's DID, a publisher that holds a token, or a trigger of the project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceId {
    /// A device that signs, or has opened a session.
    Device(Did),
    /// A publisher that shows a token.
    Publisher(PublisherName),
    /// A trigger that fired.
    Trigger(TriggerName),
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(did) => did.fmt(f),
            Self::Publisher(name) => write!(f, "publisher:{name}"),
            Self::Trigger(name) => write!(f, "trigger:{name}"),
        }
    }
}

impl FromStr for SourceId {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        match (s.strip_prefix("publisher:"), s.strip_prefix("trigger:")) {
            (Some(name), _) => name.parse().map(Self::Publisher),
            (_, Some(name)) => name.parse().map(Self::Trigger),
            _ => s.parse().map(Self::Device),
        }
    }
}

text_serde!(SourceId);
