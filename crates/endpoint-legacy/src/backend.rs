//! What this crate asks of the node.

use std::fmt;

use w3bstream_endpoint::async_trait;
use w3bstream_types::{Applet, Control, Database, Digest, ProjectId, ProjectName, PublisherName, Trigger};

/// What is deployed of a project. The node adds the owner and the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub project: ProjectName,
    /// Settings that guests read, sorted by name.
    pub env: Vec<(String, String)>,
    /// The applets that run.
    pub applets: Vec<Applet>,
    /// The database that its handlers use; `None` leaves what is there.
    pub database: Option<Database>,
    /// Its cron jobs, each under a name that begins with [`crate::CRON`]; other triggers stay as they are.
    pub triggers: Vec<Trigger>,
    /// Whether it is made now. A project of the same name that was deployed another way is left alone.
    pub new: bool,
    /// Whether anybody with a token may send; false once it is deleted.
    pub open: bool,
}

/// Why the node did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of reason.
    pub kind: FaultKind,
    /// In words for the client.
    pub why: String,
}

/// Kinds of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// What was asked for is wrong and stays so.
    Refused,
    /// The name belongs to another owner.
    Taken,
    /// It may work later.
    Unavailable,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Fault {}

/// The node. It keeps a key for each account and signs as that project's owner, so whoever has the account's password
/// owns what it has deployed.
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug {
    /// A secret of this node, always the same, from which tokens are derived.
    fn secret(&self) -> [u8; 32];

    /// Random bytes.
    ///
    /// # Errors
    /// If the operating system gives none.
    fn random(&self) -> Result<[u8; 32], Fault>;

    /// The name that the original gives the node's software.
    fn version(&self) -> String;

    /// Keeps a module after checking that it can run.
    async fn put_program(&self, module: Vec<u8>) -> Result<Digest, Fault>;

    /// Deploys a project for an account. Returns when it is in force.
    async fn deploy(&self, account: u64, plan: Plan) -> Result<(), Fault>;

    /// Makes one other change to an account's project. Returns when it is in force.
    async fn change(&self, account: u64, project: &ProjectName, change: Control) -> Result<(), Fault>;

    /// The id of a project, if the node serves it.
    fn project(&self, name: &ProjectName) -> Option<ProjectId>;

    /// Whose token this is.
    fn publisher(&self, project: &ProjectName, token: &str) -> Option<PublisherName>;
}
