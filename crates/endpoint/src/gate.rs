//! Who may connect, and to what: for protocols with connections and topics (MQTT).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use w3bstream_types::{Did, ProjectName, PublisherName, Refusal};

/// What a client shows when it connects. It is a stranger's text until a [`Gate`] has judged it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The client id.
    pub client_id: String,
    /// The user name, if one was given.
    pub username: Option<String>,
    /// The password, token, JWT or signed statement, if one was given. A secret.
    pub password: Option<Vec<u8>>,
    /// DIDs in the client's certificate, which the TLS handshake has verified.
    pub certificate_dids: Vec<Did>,
    /// True if the peer's address is a loopback address.
    pub from_loopback: bool,
    /// The peer's address, by which failed attempts are counted; `None` if the protocol has none.
    pub address: Option<IpAddr>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password is a secret.
        f.debug_struct("Credentials")
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("certificate_dids", &self.certificate_dids)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Whom the gate has recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nobody in particular: what it sends must carry its own signature.
    Anyone,
    /// A user of the node's own list.
    User(String),
    /// The device, which has shown that it holds its key.
    Device(Did),
    /// The holder of a publisher's token of a project.
    Publisher(ProjectName, PublisherName),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::User(name) => write!(f, "user {name}"),
            Self::Device(did) => did.fmt(f),
            Self::Publisher(project, name) => write!(f, "publisher {name} of {project}"),
        }
    }
}

/// What a message without a signature of its own is handed in as.
#[derive(Clone, PartialEq, Eq)]
pub enum Vouched {
    /// By a publisher's token, a secret.
    Token(String),
    /// By the JWT of a device's session with a node, a secret.
    Session(String),
}

impl fmt::Debug for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(..)",
            Self::Session(_) => "Session(..)",
        })
    }
}

/// What a connection may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who it is.
    pub principal: Principal,
    /// Topic filters: it publishes to topics that one of them matches.
    pub publish: Vec<String>,
    /// Topic filters: it subscribes to filters that match nothing but what one of them matches.
    pub subscribe: Vec<String>,
    /// How bodies without a signature are handed in; `None`: they are refused.
    pub vouched: Option<Vouched>,
    /// When the connection ends because what it showed does, in milliseconds since the epoch.
    pub until: Option<u64>,
    /// Registrations of devices that it rests on. It holds no longer than all of them.
    pub rests_on: Vec<(ProjectName, Did)>,
}

impl Access {
    /// All rights, for everybody: a node on a developer's own machine.
    #[must_use]
    pub fn everything() -> Self {
        let all = || vec!["#".to_owned(), "$SYS/#".to_owned()];
        Self {
            principal: Principal::Anyone,
            publish: all(),
            subscribe: all(),
            vouched: None,
            until: None,
            rests_on: vec![],
        }
    }

    /// Whether it may publish to a topic.
    #[must_use]
    pub fn may_publish(&self, topic: &str) -> bool {
        self.publish.iter().any(|f| covers(f, topic))
    }

    /// Whether it may subscribe to a filter.
    #[must_use]
    pub fn may_subscribe(&self, filter: &str) -> bool {
        self.subscribe.iter().any(|f| covers(f, filter))
    }
}

/// Whether everything that `inner` matches is matched by `outer` (MQTT 5, section 4.7). A topic is a filter that matches itself.
#[must_use]
pub fn covers(outer: &str, inner: &str) -> bool {
    // A wildcard in the first level does not match topics that begin with '$'.
    if inner.starts_with('$') && outer.starts_with(['#', '+']) {
        return false;
    }
    let (mut outer, mut inner) = (outer.split('/').peekable(), inner.split('/').peekable());
    loop {
        match (outer.next(), inner.next()) {
            (Some("#"), _) | (None, None) => return true,
            // `a/+` does not match what `a/#` does; `a/#` matches `a` too.
            (Some(_), Some("#")) | (None, Some(_)) | (Some(_), None) => return false,
            (Some("+"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            (Some(_), Some(_)) => return false,
        }
    }
}

/// Judges who connects. Implemented by the node.
#[async_trait]
pub trait Gate: Send + Sync + fmt::Debug {
    /// What a client with these credentials may do.
    ///
    /// # Errors
    /// A [`Refusal`] with words for the client: of a kind to retry if the node cannot tell now.
    async fn admit(&self, credentials: Credentials) -> Result<Access, Refusal>;

    /// Whether what was admitted still is. Asked every few seconds for each open connection of somebody, so it answers from memory; who
    /// holds no longer is disconnected. A gate that revokes nothing need not implement it.
    fn holds(&self, _access: &Access) -> bool {
        true
    }
}

/// Lets everybody do everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenGate;

#[async_trait]
impl Gate for OpenGate {
    async fn admit(&self, _: Credentials) -> Result<Access, Refusal> {
        Ok(Access::everything())
    }
}

/// A shared [`Gate`].
pub type SharedGate = Arc<dyn Gate>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_covers_what_it_matches_and_no_more() {
        for (outer, inner) in [
            ("#", "a/b"),
            ("#", "+/#"),
            ("a/#", "a"),
            ("a/#", "a/#"),
            ("a/#", "a/+/c"),
            ("a/+", "a/b"),
            ("a/+", "a/+"),
            ("a/+/c", "a/b/c"),
            ("a/+/#", "a/b/#"),
            ("$SYS/#", "$SYS/broker/uptime"),
        ] {
            assert!(covers(outer, inner), "{outer} covers {inner}");
        }
        for (outer, inner) in [
            ("a/b", "a/+"),
            ("a/+", "a/#"),
            ("a/+", "a"),
            ("a/+", "a/b/c"),
            ("a/b", "a/b/c"),
            ("a/b/c", "a/b"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("+", "#"),
        ] {
            assert!(!covers(outer, inner), "{outer} does not cover {inner}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let shown = Credentials { password: Some(b"hunter2".to_vec()), ..Credentials::default() };
        assert!(!format!("{shown:?} {:?}", Vouched::Token("hunter2".into())).contains("hunter2"));
    }
}
