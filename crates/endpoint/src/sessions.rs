//! Sessions of devices that cannot sign each message: for protocols over which one can be opened (HTTP).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use w3bstream_types::{Did, ProjectName, Refusal, RefusalKind, Timestamp};

/// A session that was opened.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenedSession {
    /// Its JWT, a secret: whoever holds it can send as the device until it ends.
    pub token: String,
    /// The device.
    pub device: Did,
    /// The node that vouches for its messages.
    pub node: Did,
    /// When it ends.
    pub expires: Timestamp,
}

impl fmt::Debug for OpenedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedSession").field("device", &self.device).finish_non_exhaustive()
    }
}

/// What a device without a clock signs instead of the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// To be the nonce of one introduction.
    pub nonce: String,
    /// The node, which the introduction names.
    pub node: Did,
    /// Until when it is taken.
    pub expires: Timestamp,
}

/// Opens sessions. Implemented by the node.
#[async_trait]
pub trait Sessions: Send + Sync + fmt::Debug {
    /// Opens a session for the device that has signed `introduction`, a compact JWS.
    ///
    /// # Errors
    /// A [`Refusal`] as for a message of that device.
    async fn open(&self, project: &ProjectName, introduction: &str) -> Result<OpenedSession, Refusal>;

    /// A nonce for one introduction. Keeps nothing, so that nobody can fill the node with them.
    ///
    /// # Errors
    /// A [`Refusal`] if the node serves no such project, or it takes no sessions.
    fn challenge(&self, project: &ProjectName) -> Result<Challenge, Refusal>;
}

/// A node that opens none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoSessions;

fn none() -> Refusal {
    Refusal::new(RefusalKind::NotAllowed, "this node opens no sessions; sign each message")
}

#[async_trait]
impl Sessions for NoSessions {
    async fn open(&self, _: &ProjectName, _: &str) -> Result<OpenedSession, Refusal> {
        Err(none())
    }

    fn challenge(&self, _: &ProjectName) -> Result<Challenge, Refusal> {
        Err(none())
    }
}

/// Shared [`Sessions`].
pub type SharedSessions = Arc<dyn Sessions>;
