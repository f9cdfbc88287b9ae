//! What the wallet asks of a project's replicated registry. Implemented by the pipeline.

use std::fmt::Debug;
use std::sync::Arc;

use w3bstream_types::{
    DeviceRegistration, Did, Digest, Manifest, ProjectId, ProjectName, SequenceWindow, TokenRegistration,
};

/// A project that this node serves.
#[derive(Clone, Debug)]
pub struct ProjectView {
    /// Its id.
    pub id: ProjectId,
    /// The manifest in force.
    pub manifest: Arc<Manifest>,
    /// The DIDs of the subnet's members, by whose word sessions count.
    pub members: Arc<[Did]>,
}

/// What the registry knows of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceStatus {
    /// Nothing.
    Unknown,
    /// It is registered.
    Registered(Arc<DeviceRegistration>),
    /// It was revoked.
    Revoked,
}

/// What the registry knows of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    /// Nothing.
    Unknown,
    /// It is registered.
    Registered(Arc<TokenRegistration>),
}

/// The replicated registry as of the last applied block. Answers from memory; never blocks.
pub trait Registry: Send + Sync + Debug {
    /// The project with this name; `None` if this node does not serve it.
    fn project(&self, name: &ProjectName) -> Option<ProjectView>;

    /// The height at which the owner of the project with this name has removed it; `None` if that did not happen on this
    /// node. A removed project is none that the node serves: [`Registry::project`] does not know it.
    fn removed(&self, name: &ProjectName) -> Option<u64> {
        let _ = name;
        None
    }

    /// Every project that this node serves.
    fn projects(&self) -> Vec<ProjectView>;

    /// A device of a project.
    fn device(&self, project: ProjectId, did: &Did) -> DeviceStatus;

    /// The token with this hash.
    fn token(&self, project: ProjectId, hash: &Digest) -> TokenStatus;

    /// A device's sequence window.
    fn window(&self, project: ProjectId, did: &Did) -> SequenceWindow;
}
